//! Which proposals to WebAssembly an engine accepts.

use std::fmt;
use std::ops::BitOr;

use wasmtime::{Config, WasmFeatures};

/// A set of the features that have been added to WebAssembly since its first version.
///
/// A module that uses one that is not in the set is refused when it is compiled. The default is
/// [`CoreFeatures::V3`]: every feature that wasmtime has on by default. Results that the specification
/// leaves to the machine are pinned (relaxed SIMD, NaNs).
///
/// ```
/// use testbench_wasi::CoreFeatures;
///
/// let older = CoreFeatures::default().without(CoreFeatures::TAIL_CALL);
/// assert!(older.contains(CoreFeatures::V2));
/// assert_eq!(CoreFeatures::V1.to_string(), "mutable_global");
/// let both = CoreFeatures::V1 | CoreFeatures::SIMD;
/// assert!(both.contains(CoreFeatures::SIMD) && !both.contains(CoreFeatures::BULK_MEMORY));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CoreFeatures(WasmFeatures);

/// Declares each feature once: its name, and wasmtime's for it.
macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $theirs:ident;)*) => {
        impl CoreFeatures {
            $($(#[$doc])* pub const $name: CoreFeatures = CoreFeatures(WasmFeatures::$theirs);)*
            /// Every feature that has a name here.
            #[cfg(test)]
            const ALL: &[CoreFeatures] = &[$(CoreFeatures::$name),*];
        }
    };
}

features! {
    /// Globals that change can be imported and exported.
    MUTABLE_GLOBALS = MUTABLE_GLOBAL;
    /// Conversions of floats to integers that do not trap.
    SATURATING_FLOAT_TO_INT = SATURATING_FLOAT_TO_INT;
    /// Sign extension of integers by an instruction.
    SIGN_EXTENSION = SIGN_EXTENSION;
    /// Functions and blocks with several results.
    MULTI_VALUE = MULTI_VALUE;
    /// `memory.copy`, `memory.fill`, passive segments.
    BULK_MEMORY = BULK_MEMORY;
    /// `funcref` and `externref` as values, several tables.
    REFERENCE_TYPES = REFERENCE_TYPES;
    /// 128-bit vectors.
    SIMD = SIMD;
    /// Arithmetic in the initial values of globals and offsets of segments.
    EXTENDED_CONST = EXTENDED_CONST;
    /// `return_call`.
    TAIL_CALL = TAIL_CALL;
    /// Several memories in a module.
    MULTI_MEMORY = MULTI_MEMORY;
    /// Memories and tables with 64-bit addresses.
    MEMORY64 = MEMORY64;
    /// Vector instructions whose results the machine may choose; here they are the deterministic
    /// ones of the specification.
    RELAXED_SIMD = RELAXED_SIMD;
    /// Atomic instructions.
    THREADS = THREADS;
    /// Typed references to functions.
    FUNCTION_REFERENCES = FUNCTION_REFERENCES;
    /// Structures and arrays that are garbage-collected.
    GC = GC;
    /// Exceptions, in their final form.
    EXCEPTIONS = EXCEPTIONS;
    /// Addition and multiplication of 128-bit integers. Not in any version of the specification
    /// yet.
    WIDE_ARITHMETIC = WIDE_ARITHMETIC;
}

impl CoreFeatures {
    /// WebAssembly 1.0 as it was published, with the globals that every compiler uses.
    pub const V1: CoreFeatures = CoreFeatures::added_by(WasmFeatures::WASM1);
    /// WebAssembly 2.0.
    pub const V2: CoreFeatures = CoreFeatures::added_by(WasmFeatures::WASM2);
    /// WebAssembly 3.0, and atomic instructions.
    pub const V3: CoreFeatures = CoreFeatures::added_by(WasmFeatures::WASM3);

    /// The features that a version has more than the first.
    const fn added_by(version: WasmFeatures) -> CoreFeatures {
        CoreFeatures(version.difference(WasmFeatures::MVP))
    }

    /// These features and `others`.
    pub const fn with(self, others: CoreFeatures) -> CoreFeatures {
        CoreFeatures(self.0.union(others.0))
    }

    /// These features without `others`.
    pub const fn without(self, others: CoreFeatures) -> CoreFeatures {
        CoreFeatures(self.0.difference(others.0))
    }

    /// Whether all of `others` are among these.
    pub const fn contains(self, others: CoreFeatures) -> bool {
        self.0.contains(others.0)
    }

    /// Turns on and off the features in which this differs from wasmtime's defaults.
    pub(super) fn apply(self, config: &mut Config) {
        config.wasm_features(self.without(CoreFeatures::V3).0, true);
        config.wasm_features(CoreFeatures::V3.without(self).0, false);
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

/// The names, in wasmtime's order: `mutable_global, simd`.
impl fmt::Display for CoreFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> =
            self.0.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
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
        for &feature in CoreFeatures::ALL {
            let is_default = CoreFeatures::default().contains(feature);
            assert_eq!(untouched.contains(feature.0), is_default, "{feature}");
        }
    }

    #[test]
    fn an_engine_has_the_features_that_were_applied() {
        let none = CoreFeatures(WasmFeatures::empty());
        let all = CoreFeatures::ALL.iter().fold(none, |all, &feature| all.with(feature));
        for set in [CoreFeatures::V1, CoreFeatures::V2, none, all] {
            let mut config = Config::new();
            set.apply(&mut config);
            let has = has(&config);
            for &feature in CoreFeatures::ALL {
                assert_eq!(has.contains(feature.0), set.contains(feature), "{set}: {feature}");
            }
        }
    }
}
