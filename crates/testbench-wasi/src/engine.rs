//! The wasmtime engines: one for each distinct configuration, made when first needed and kept for
//! the life of the process.
//!
//! What wasmtime fixes for a whole engine and guests may choose is a [`Flavour`]. Everything else
//! stands once, in [`Flavour::config`]:
//!
//! | option of wasmtime | here | why |
//! | --- | --- | --- |
//! | `epoch_interruption` | on, unless [`Flavour::unstoppable`] | nothing else ends a running loop |
//! | `consume_fuel` | with [`Flavour::fuel`] | counting costs time, so only where asked for |
//! | `cranelift_nan_canonicalization` | on, unless [`Flavour::native_nans`] | same bits on every machine |
//! | `relaxed_simd_deterministic` | on | same bits on every machine |
//! | `max_wasm_stack` | 512 KiB | guests run on their caller's thread |
//! | GC, final exceptions | on | cost nothing to modules that use none: a store makes its GC heap late |
//! | `wasm_backtrace_details` | on | not left to an environment variable |
//! | `native_unwind_info` | off, but on Windows | only outside debuggers use it, and loading is faster |
//! | pool | the common flavour | see below |
//!
//! The common flavour runs in a pool of [`SLOTS`] slots that are reset, not unmapped, between
//! guests. What does not fit there (more guests at once, two memories, larger tables) runs on a
//! twin engine without a pool, from the **same compiled artifact**: the twins differ in nothing
//! that compiled code can see. So a guest never learns which of them it is on.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, Linker, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::exit::BACKTRACE_FRAMES_MAX;
use crate::kernel::Thread;
use crate::limits::Limits;
use crate::p1;

/// The stack that a guest's own frames may use, in bytes; wasmtime's default, which also leaves
/// room for the host on the 2 MiB stack of a Rust test.
pub(crate) const WASM_STACK_BYTES: usize = 512 << 10;

/// The stack that the host needs above and below the guest's frames, in bytes: host functions
/// walk paths, format traces and compile regular expressions of subscribers.
pub(crate) const HOST_STACK_BYTES: usize = 256 << 10;

/// How many guests of the common flavour run in the pool at once. They cost address space only
/// (4 GiB each of 128 TiB), and more than these run without the pool.
const SLOTS: u32 = 256;

/// How much of a memory, in bytes, is wiped and kept instead of being given back to the system,
/// where the kernel can tell which of its pages were touched. A guest that stays below it costs
/// no page faults and no `madvise` when it is run again.
const KEEP_RESIDENT_BYTES: usize = 16 << 20;

/// The same where the kernel cannot tell, so that all of it is wiped after every run.
const KEEP_RESIDENT_BLIND_BYTES: usize = 64 << 10;

/// How many slots stay warm for each other module's next run; bounds what the pool keeps resident.
const WARM_SLOTS: u32 = 32;

/// What a guest may choose of what wasmtime fixes for a whole engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flavour {
    /// Work is counted, so that it can be limited.
    pub(crate) fuel: bool,
    /// NaNs have the bits that the processor gives them.
    pub(crate) native_nans: bool,
    /// Code has no checks by which it could be ended.
    pub(crate) unstoppable: bool,
}

/// A flavour's engines.
#[derive(Debug)]
pub(crate) struct Engines {
    pooled: Option<Host>,
    on_demand: Host,
}

/// An engine, and all that guests may import on it.
pub(crate) struct Host {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) linker: Linker<Thread>,
}

/// Where a guest's memories and tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Pool,
    OnDemand,
}

impl Flavour {
    const COUNT: usize = 1 << 3;

    fn index(self) -> usize {
        usize::from(self.fuel)
            | usize::from(self.native_nans) << 1
            | usize::from(self.unstoppable) << 2
    }

    /// Only the common flavour is: each pool reserves a terabyte of addresses.
    fn is_pooled(self) -> bool {
        self == Flavour::default()
    }

    /// This flavour's engines.
    ///
    /// # Errors
    ///
    /// wasmtime's, where it does not support this machine.
    pub(crate) fn engines(self) -> Result<&'static Engines, &'static wasmtime::Error> {
        static ALL: [OnceLock<wasmtime::Result<Engines>>; Flavour::COUNT] =
            [const { OnceLock::new() }; Flavour::COUNT];
        ALL[self.index()].get_or_init(|| Engines::new(self)).as_ref()
    }

    /// Everything that both engines of the flavour have in common.
    fn config(self) -> Config {
        let mut config = Config::new();
        config
            .epoch_interruption(!self.unstoppable)
            .consume_fuel(self.fuel)
            .cranelift_nan_canonicalization(!self.native_nans)
            .relaxed_simd_deterministic(true)
            .max_wasm_stack(WASM_STACK_BYTES)
            .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
            .wasm_backtrace_details(WasmBacktraceDetails::Enable)
            .gc_support(true)
            .wasm_exceptions(true);
        if cfg!(not(windows)) {
            config.native_unwind_info(false);
        }
        config
    }

    /// Stands for the flavour in the key of a compiled module: wasmtime accepts artifacts that
    /// were made with another choice of some of these.
    pub(crate) fn fingerprint(self) -> [u8; 3] {
        [self.fuel, self.native_nans, self.unstoppable].map(u8::from)
    }
}

impl Engines {
    fn new(flavour: Flavour) -> wasmtime::Result<Self> {
        let pooled = if flavour.is_pooled() {
            let mut config = flavour.config();
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
            // A system that limits address space (`ulimit -v`) refuses the pool, not the guests.
            Host::new(&config)
                .inspect_err(|error| tracing::debug!(%error, "guests run without a pool"))
                .ok()
        } else {
            None
        };
        Ok(Engines { pooled, on_demand: Host::new(&flavour.config())? })
    }

    /// The engine with the pool, if the flavour has one here.
    pub(crate) fn pooled(&self) -> Option<&Host> {
        self.pooled.as_ref()
    }

    /// The engine on which everything fits.
    pub(crate) fn on_demand(&self) -> &Host {
        &self.on_demand
    }

    /// The engine that compiles for both.
    pub(crate) fn compiler(&self) -> &wasmtime::Engine {
        &self.on_demand.engine
    }

    /// Makes the checks in all running guests of this flavour look at their stop flags.
    pub(crate) fn interrupt(&self) {
        if let Some(pooled) = &self.pooled {
            pooled.engine.increment_epoch();
        }
        self.on_demand.engine.increment_epoch();
    }
}

impl Host {
    fn new(config: &Config) -> wasmtime::Result<Self> {
        let engine = wasmtime::Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        p1::add_to_linker(&mut linker)?;
        Ok(Host { engine, linker })
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// What names the compiler in a cache key or in the header of a tape: two engines with the same
/// fingerprint compile a module to the same code.
pub(crate) fn compiler_fingerprint(engine: &wasmtime::Engine, flavour: Flavour) -> blake3::Hash {
    /// Feeds what implements [`Hash`] to BLAKE3, whose output does not depend on the process.
    struct Feed(blake3::Hasher);
    impl Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            unreachable!("the whole hash is taken instead")
        }
    }
    let mut feed = Feed(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut feed);
    feed.0.update(&flavour.fingerprint());
    feed.0.finalize()
}

fn pool() -> PoolingAllocationConfig {
    let keep = if PoolingAllocationConfig::is_pagemap_scan_available() {
        KEEP_RESIDENT_BYTES
    } else {
        KEEP_RESIDENT_BLIND_BYTES
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(SLOTS)
        .total_memories(SLOTS)
        .total_tables(SLOTS)
        .total_gc_heaps(SLOTS)
        .total_stacks(SLOTS)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .table_elements(Limits::TABLE_ELEMENTS_MAX as usize)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(keep)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Flavour> {
        (0..Flavour::COUNT).map(|bits| Flavour {
            fuel: bits & 1 != 0,
            native_nans: bits & 2 != 0,
            unstoppable: bits & 4 != 0,
        })
    }

    #[test]
    fn twins_compile_to_the_same_code() {
        let flavour = Flavour::default();
        let engines = flavour.engines().unwrap();
        let pooled = engines.pooled().expect("a pool on this machine");
        assert_eq!(
            compiler_fingerprint(&pooled.engine, flavour),
            compiler_fingerprint(engines.compiler(), flavour),
        );
        let wasm = wat::parse_str(
            "(module (memory 1) (func (export \"f\") (param i32) (result f64)
                (f64.div (f64.load (local.get 0)) (f64.const 0))))",
        );
        let wasm = wasm.unwrap();
        assert!(
            pooled.engine.precompile_module(&wasm).unwrap()
                == engines.compiler().precompile_module(&wasm).unwrap(),
        );
    }

    #[test]
    fn every_flavour_has_engines_and_a_fingerprint_of_its_own() {
        let mut fingerprints: Vec<_> = all()
            .map(|flavour| {
                let engines = flavour.engines().unwrap();
                assert_eq!(engines.pooled().is_some(), flavour.is_pooled());
                compiler_fingerprint(engines.compiler(), flavour).to_hex().to_string()
            })
            .collect();
        fingerprints.sort();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), Flavour::COUNT);
    }
}
