//! The wasmtime engines: one for each distinct configuration, made when first needed and shared by
//! all users of that configuration.
//!
//! The options that wasmtime fixes for a whole engine and users may choose are a [`Flavour`], most of which
//! comes from an [`EngineConfig`]. Everything else stands once, in [`Flavour::config`]:
//!
//! | option of wasmtime | here | why |
//! | --- | --- | --- |
//! | `epoch_interruption` | on, unless [`Flavour::unstoppable`] | nothing else ends a running loop |
//! | `consume_fuel` | with [`Flavour::fuel`] | counting costs time, so only where asked for |
//! | `cranelift_nan_canonicalization` | on, unless [`Flavour::native_nans`] | same bits on every machine |
//! | `relaxed_simd_deterministic` | on | same bits on every machine |
//! | proposals | [`Flavour::features`] | by default what wasmtime has on, GC and final exceptions too: they cost nothing to modules that use none |
//! | `memory_reservation` | [`Flavour::reserve_bytes`] | 4 GiB but where addresses are short |
//! | `max_wasm_stack` | 512 KiB | guests run on their caller's thread |
//! | `wasm_backtrace_details` | on, unless [`Flavour::no_debug_info`] | not left to an environment variable |
//! | `native_unwind_info` | off, but on Windows | only outside debuggers use it, and loading is faster |
//! | pool | the common flavour | see below |
//!
//! The common flavour runs in a pool of [`SLOTS`] slots that are reset, not unmapped, between
//! guests. Guests that do not fit there (more at once, two memories, larger tables) run on a
//! twin engine without a pool, from the **same compiled artifact**: the twins differ in nothing
//! that compiled code can see. So a guest never learns which of them it is on.

mod config;
mod features;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, Linker, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

pub use self::config::{Engine, EngineConfig, EngineError};
pub use self::features::CoreFeatures;
use crate::backtrace::BACKTRACE_FRAMES_MAX;
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

/// The options that wasmtime fixes for a whole engine and users may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flavour {
    /// Work is counted, so that it can be limited. Follows from a run's limits.
    pub(crate) fuel: bool,
    /// NaNs have the bits that the processor gives them.
    pub(crate) native_nans: bool,
    /// Code has no checks by which it could be ended.
    pub(crate) unstoppable: bool,
    /// Backtraces have names only.
    pub(crate) no_debug_info: bool,
    /// Which modules are accepted.
    pub(crate) features: CoreFeatures,
    /// The addresses of each memory, if fewer than [`EngineConfig::MEMORY_RESERVE_BYTES`].
    pub(crate) reserve_bytes: Option<u64>,
}

/// A flavour's engines.
#[derive(Debug)]
pub(crate) struct Engines {
    /// With the pool, if the flavour has one here.
    pub(crate) pooled: Option<Host>,
    /// Everything fits on it.
    pub(crate) on_demand: Host,
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
    /// Only the common flavour is: each pool reserves a terabyte of addresses.
    fn is_pooled(self) -> bool {
        self == Flavour::default()
    }

    /// This flavour's engines: those in use, or new ones. The common flavour's stay for
    /// the life of the process, so that its pool is made once.
    ///
    /// # Errors
    ///
    /// wasmtime's, where it does not support this machine or this set of features.
    pub(crate) fn engines(self) -> wasmtime::Result<Arc<Engines>> {
        static ALL: Mutex<Option<All>> = Mutex::new(None);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        if let Some(engines) = all.made.get(&self).and_then(Weak::upgrade) {
            return Ok(engines);
        }
        let engines = Arc::new(Engines::new(self)?);
        if self == Flavour::default() {
            all.common = Some(Arc::clone(&engines));
        }
        all.made.retain(|_, engines| engines.strong_count() > 0);
        all.made.insert(self, Arc::downgrade(&engines));
        Ok(engines)
    }

    /// Everything that both engines of the flavour have in common.
    fn config(self) -> Config {
        let mut config = Config::new();
        let details = match self.no_debug_info {
            true => WasmBacktraceDetails::Disable,
            false => WasmBacktraceDetails::Enable,
        };
        config
            .epoch_interruption(!self.unstoppable)
            .consume_fuel(self.fuel)
            .cranelift_nan_canonicalization(!self.native_nans)
            .relaxed_simd_deterministic(true)
            .max_wasm_stack(WASM_STACK_BYTES)
            .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
            .wasm_backtrace_details(details)
            .gc_support(true);
        if let Some(bytes) = self.reserve_bytes {
            config.memory_reservation(bytes).memory_reservation_for_growth(bytes);
        }
        if cfg!(not(windows)) {
            config.native_unwind_info(false);
        }
        self.features.apply(&mut config);
        config
    }
}

/// The engines that are in use.
#[derive(Default)]
struct All {
    made: HashMap<Flavour, Weak<Engines>>,
    common: Option<Arc<Engines>>,
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

/// Names the compiler in a cache key or in the header of a tape: two engines with the same
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
    // wasmtime accepts artifacts that were made with another choice of some of these.
    flavour.hash(&mut feed);
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

    fn all() -> Vec<Flavour> {
        let common = Flavour::default();
        vec![
            common,
            Flavour { fuel: true, ..common },
            Flavour { native_nans: true, ..common },
            Flavour { unstoppable: true, ..common },
            Flavour { unstoppable: true, fuel: true, ..common },
            Flavour { no_debug_info: true, ..common },
            Flavour { features: CoreFeatures::V1, ..common },
            Flavour { features: CoreFeatures::V2, ..common },
            Flavour { reserve_bytes: Some(0), ..common },
            Flavour { reserve_bytes: Some(1 << 20), ..common },
        ]
    }

    #[test]
    fn twins_compile_to_the_same_code() {
        let flavour = Flavour::default();
        let engines = flavour.engines().unwrap();
        let pooled = engines.pooled.as_ref().expect("a pool on this machine");
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
            .into_iter()
            .map(|flavour| {
                let engines = flavour.engines().unwrap();
                assert_eq!(engines.pooled.is_some(), flavour.is_pooled());
                compiler_fingerprint(engines.compiler(), flavour).to_hex().to_string()
            })
            .collect();
        fingerprints.sort();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), all().len());
    }

    #[test]
    fn engines_are_shared_while_they_are_in_use() {
        let flavour = Flavour { reserve_bytes: Some(12_345), ..Flavour::default() };
        let first = flavour.engines().unwrap();
        assert!(Arc::ptr_eq(&first, &flavour.engines().unwrap()));
        let gone = Arc::downgrade(&first);
        drop(first);
        assert!(gone.upgrade().is_none(), "an unused configuration is kept");
        let common = Arc::downgrade(&Flavour::default().engines().unwrap());
        assert!(common.upgrade().is_some());
    }
}
