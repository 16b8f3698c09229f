//! Which proposals to WebAssembly an engine accepts.

use std::fmt;
use std::ops::BitOr;

use wasmtime::{Config, WasmFeatures};

/// A set of the features that have been added to WebAssembly since its first version.
///
/// A module that uses one that is not in the set is refused when it is compiled. The default is
/// [`CoreFeatures::V3`]: everything that wasmtime has on by default, with what the specification
/// leaves to the machine pinned (relaxed SIMD, NaNs).
///
/// ```
/// use testbench_wasi::CoreFeatures;
///
/// let older = CoreFeatures::default().without(CoreFeatures::TAIL_CALL);
/// assert!(older.contains(CoreFeatures::V2));
/// assert_eq!(CoreFeatures::V1.to_string(), "mutable_globals");
/// let both = CoreFeatures::V1 | CoreFeatures::SIMD;
/// assert!(both.contains(CoreFeatures::SIMD) && !both.contains(CoreFeatures::BULK_MEMORY));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CoreFeatures(u32);

/// Declares each feature once: its bit, its name, and what wasmtime calls it.
macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal, $theirs:ident;)*) => {
        impl CoreFeatures {
            $($(#[$doc])* pub const $name: CoreFeatures = CoreFeatures(1 << $bit);)*
        }

        const ALL: &[(CoreFeatures, &str, WasmFeatures)] =
            &[$((CoreFeatures::$name, $text, WasmFeatures::$theirs)),*];
    };
}

features! {
    /// Globals that change can be imported and exported.
    MUTABLE_GLOBALS = 0, "mutable_globals", MUTABLE_GLOBAL;
    /// Conversions of floats to integers that do not trap.
    SATURATING_FLOAT_TO_INT = 1, "saturating_float_to_int", SATURATING_FLOAT_TO_INT;
    /// Sign extension of integers by an instruction.
    SIGN_EXTENSION = 2, "sign_extension", SIGN_EXTENSION;
    /// Functions and blocks with several results.
    MULTI_VALUE = 3, "multi_value", MULTI_VALUE;
    /// `memory.copy`, `memory.fill`, passive segments.
    BULK_MEMORY = 4, "bulk_memory", BULK_MEMORY;
    /// `funcref` and `externref` as values, several tables.
    REFERENCE_TYPES = 5, "reference_types", REFERENCE_TYPES;
    /// 128-bit vectors.
    SIMD = 6, "simd", SIMD;
    /// Arithmetic in the initial values of globals and offsets of segments.
    EXTENDED_CONST = 7, "extended_const", EXTENDED_CONST;
    /// `return_call`.
    TAIL_CALL = 8, "tail_call", TAIL_CALL;
    /// Several memories in a module.
    MULTI_MEMORY = 9, "multi_memory", MULTI_MEMORY;
    /// Memories and tables with 64-bit addresses.
    MEMORY64 = 10, "memory64", MEMORY64;
    /// Vector instructions whose results the machine may choose; here they are the deterministic
    /// ones of the specification.
    RELAXED_SIMD = 11, "relaxed_simd", RELAXED_SIMD;
    /// Atomic instructions.
    THREADS = 12, "threads", THREADS;
    /// Typed references to functions.
    FUNCTION_REFERENCES = 13, "function_references", FUNCTION_REFERENCES;
    /// Structures and arrays that are garbage-collected.
    GC = 14, "gc", GC;
    /// Exceptions, in their final form.
    EXCEPTIONS = 15, "exceptions", EXCEPTIONS;
    /// Addition and multiplication of 128-bit integers. Not in any version of the specification
    /// yet.
    WIDE_ARITHMETIC = 16, "wide_arithmetic", WIDE_ARITHMETIC;
}

impl CoreFeatures {
    /// WebAssembly 1.0 as it was published, with the globals that every compiler uses.
    pub const V1: CoreFeatures = CoreFeatures::MUTABLE_GLOBALS;
    /// WebAssembly 2.0.
    pub const V2: CoreFeatures = CoreFeatures::V1
        .with(CoreFeatures::SATURATING_FLOAT_TO_INT)
        .with(CoreFeatures::SIGN_EXTENSION)
        .with(CoreFeatures::MULTI_VALUE)
        .with(CoreFeatures::BULK_MEMORY)
        .with(CoreFeatures::REFERENCE_TYPES)
        .with(CoreFeatures::SIMD);
    /// WebAssembly 3.0, and atomic instructions.
    pub const V3: CoreFeatures = CoreFeatures::V2
        .with(CoreFeatures::EXTENDED_CONST)
        .with(CoreFeatures::TAIL_CALL)
        .with(CoreFeatures::MULTI_MEMORY)
        .with(CoreFeatures::MEMORY64)
        .with(CoreFeatures::RELAXED_SIMD)
        .with(CoreFeatures::THREADS)
        .with(CoreFeatures::FUNCTION_REFERENCES)
        .with(CoreFeatures::GC)
        .with(CoreFeatures::EXCEPTIONS);

    /// These features and `others`.
    pub const fn with(self, others: CoreFeatures) -> CoreFeatures {
        CoreFeatures(self.0 | others.0)
    }

    /// These features but for `others`.
    pub const fn without(self, others: CoreFeatures) -> CoreFeatures {
        CoreFeatures(self.0 & !others.0)
    }

    /// Whether all of `others` are among these.
    pub const fn contains(self, others: CoreFeatures) -> bool {
        self.0 & others.0 == others.0
    }

    /// The bits, for fingerprints.
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// Turns on and off what differs from wasmtime's own defaults.
    pub(super) fn apply(self, config: &mut Config) {
        for &(feature, _, theirs) in ALL {
            let wanted = self.contains(feature);
            if wanted != CoreFeatures::V3.contains(feature) {
                config.wasm_features(theirs, wanted);
            }
        }
    }
}

impl Default for CoreFeatures {
    fn default() -> Self {
        CoreFeatures::V3
    }
}

impl BitOr for CoreFeatures {
    type Output = CoreFeatures;
    fn bitor(self, others: CoreFeatures) -> CoreFeatures {
        self.with(others)
    }
}

/// The names, in the order of their declaration: `mutable_globals, simd`.
impl fmt::Display for CoreFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ALL.iter().filter(|(feature, ..)| self.contains(*feature));
        let names: Vec<&str> = names.map(|(_, name, _)| *name).collect();
        if names.is_empty() { f.write_str("no features") } else { f.write_str(&names.join(", ")) }
    }
}

impl fmt::Debug for CoreFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreFeatures({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(config: &Config) -> WasmFeatures {
        wasmtime::Engine::new(config).unwrap().get_wasm_features()
    }

    #[test]
    fn the_default_is_wasmtime_s() {
        let untouched = has(&Config::new());
        for &(feature, name, theirs) in ALL {
            assert_eq!(
                untouched.contains(theirs),
                CoreFeatures::default().contains(feature),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_applied_is_what_the_engine_has() {
        for set in [CoreFeatures::V1, CoreFeatures::V2, CoreFeatures(0), CoreFeatures(0x1ffff)] {
            let mut config = Config::new();
            set.apply(&mut config);
            let has = has(&config);
            for &(feature, name, theirs) in ALL {
                assert_eq!(has.contains(theirs), set.contains(feature), "{set}: {name}");
            }
        }
    }
}
