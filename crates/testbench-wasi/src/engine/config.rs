//! How modules are compiled: the settings that are the same for every run of a module.

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use super::{CoreFeatures, Engines, Flavour};
use crate::cache::CompilationCache;

/// The choices for all modules of an [`Engine`].
///
/// An immutable builder: each method returns a changed value.
/// The choices for each run are in [`GuestSpec`](crate::GuestSpec) and
/// [`Limits`](crate::Limits).
///
/// | | default |
/// | --- | --- |
/// | [core features](EngineConfig::core_features) | WebAssembly 3.0 and atomics |
/// | [memory reserve](EngineConfig::memory_reserve_bytes) | 4 GiB of addresses for each memory |
/// | [debug information](EngineConfig::debug_info) in backtraces | on |
/// | [canonical NaNs](EngineConfig::canonical_nans) | on |
/// | [interruptible](EngineConfig::interruptible) | yes |
/// | [cache](EngineConfig::cache) of compiled code | [`CompilationCache::shared`] |
/// | [custom sections](EngineConfig::custom_sections) kept | no |
///
/// ```
/// use testbench_wasi::{CompilationCache, CoreFeatures, EngineConfig, Module};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let older = EngineConfig::new()
///     .core_features(CoreFeatures::V2)
///     .cache(CompilationCache::in_memory())
///     .build()?;
/// let wasm = wat::parse_str("(module (func $f (return_call $f)))")?;
/// assert!(Module::from_bytes("tail", wasm.clone()).is_ok());
/// let refused = Module::from_bytes_on(&older, "tail", wasm).unwrap_err();
/// assert!(refused.to_string().contains("tail calls"), "{refused}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "each method gives a changed value"]
pub struct EngineConfig {
    pub(crate) flavour: Flavour,
    pub(crate) cache: CompilationCache,
    pub(crate) custom_sections: bool,
}

impl EngineConfig {
    /// The addresses, in bytes, that each memory reserves by default: all that 32-bit addresses
    /// reach, so that a memory never moves and its bounds are checked by the hardware.
    pub const MEMORY_RESERVE_BYTES: u64 = 4 << 30;

    /// The defaults of the table above.
    pub fn new() -> Self {
        EngineConfig {
            flavour: Flavour::default(),
            cache: CompilationCache::shared().clone(),
            custom_sections: false,
        }
    }

    /// Which additions to WebAssembly 1.0 are accepted, by default [`CoreFeatures::V3`]. A module
    /// that uses another one is refused ([`ModuleError::Unsupported`](crate::ModuleError)).
    pub fn core_features(mut self, features: CoreFeatures) -> Self {
        self.flavour.features = features;
        self
    }

    /// How many bytes of addresses are reserved for each memory, by default
    /// [`EngineConfig::MEMORY_RESERVE_BYTES`]. No memory is used by that: pages come when the
    /// guest grows into them and touches them.
    ///
    /// With less, a memory that outgrows its reserve is moved to a larger place, and the code
    /// checks bounds by itself, which takes time. That is for where addresses are short: a
    /// process under `ulimit -v`, very many guests at once. A few KiB are a sensible value there;
    /// what such guests may use is still up to
    /// [`Limits::memory_bytes_max`](crate::Limits::memory_bytes_max).
    pub fn memory_reserve_bytes(mut self, bytes: u64) -> Self {
        // As much as the default is the default, which has the pool.
        self.flavour.reserve_bytes =
            Some(bytes).filter(|&b| b < EngineConfig::MEMORY_RESERVE_BYTES);
        self
    }

    /// Whether backtraces tell source files and lines, where a module carries debug information;
    /// by default they do. Without it, compiled modules are smaller.
    pub fn debug_info(mut self, on: bool) -> Self {
        self.flavour.no_debug_info = !on;
        self
    }

    /// Whether the bits of every NaN that a guest computes are the canonical ones; by default they
    /// are.
    ///
    /// Without it, programs that compute with scalar floats run about twice as fast, and what
    /// they compute is the same unless they look at the bits of a NaN, which differ between
    /// processors.
    pub fn canonical_nans(mut self, on: bool) -> Self {
        self.flavour.native_nans = !on;
        self
    }

    /// Whether a running guest can be ended from outside; by default it can.
    ///
    /// Without it, tight loops run up to twice as fast, and a guest that loops is **never** ended
    /// by [`Limits::watchdog`](crate::Limits::watchdog), [`Cancel`](crate::Cancel) or
    /// [`Running::kill`](crate::Running::kill); these then only reach a guest that waits.
    pub fn interruptible(mut self, on: bool) -> Self {
        self.flavour.unstoppable = !on;
        self
    }

    /// Where compiled code is kept, by default [`CompilationCache::shared`]: in memory, and in the
    /// user's cache directory. Others are [`CompilationCache::at`] a directory,
    /// [`CompilationCache::in_memory`] and [`CompilationCache::off`].
    pub fn cache(mut self, cache: CompilationCache) -> Self {
        self.cache = cache;
        self
    }

    /// Whether [`Module::custom_sections`](crate::Module::custom_sections) keeps the module's
    /// custom sections; by default they are not kept, because those with debug information can be
    /// far larger than the code.
    pub fn custom_sections(mut self, keep: bool) -> Self {
        self.custom_sections = keep;
        self
    }

    /// The engine.
    ///
    /// # Errors
    ///
    /// When wasmtime cannot make one: for a set of features of which some need others, or on a
    /// machine that lacks something.
    pub fn build(self) -> Result<Engine, EngineError> {
        let engine = Engine::lazy(self);
        match engine.engines() {
            Ok(_) => Ok(engine),
            Err(error) => Err(EngineError {
                features: engine.config().flavour.features,
                reason: format!("{error:#}"),
            }),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig::new()
    }
}

/// Compiles modules and runs them. Cloning is cheap, and clones are the same engine.
///
/// Engines with the same configuration share everything but the cache. Made by
/// [`EngineConfig::build`].
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: EngineConfig,
    /// Keeps the engines of the configuration alive while this one is.
    engines: OnceLock<Arc<Engines>>,
}

impl Engine {
    /// The engine with the defaults of [`EngineConfig`], which is used wherever none is given.
    pub fn shared() -> &'static Engine {
        static SHARED: LazyLock<Engine> = LazyLock::new(|| Engine::lazy(EngineConfig::new()));
        &SHARED
    }

    /// The defaults, with another cache.
    pub fn with_cache(cache: CompilationCache) -> Engine {
        Engine::lazy(EngineConfig::new().cache(cache))
    }

    /// How it was configured.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    fn lazy(config: EngineConfig) -> Engine {
        Engine { inner: Arc::new(Inner { config, engines: OnceLock::new() }) }
    }

    fn engines(&self) -> wasmtime::Result<&Arc<Engines>> {
        if let Some(engines) = self.inner.engines.get() {
            return Ok(engines);
        }
        let engines = self.inner.config.flavour.engines()?;
        Ok(self.inner.engines.get_or_init(|| engines))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// Why there is no [`Engine`] with a configuration.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no engine with these features: {features}: {reason}")]
#[non_exhaustive]
pub struct EngineError {
    /// The requested features.
    pub features: CoreFeatures,
    /// wasmtime's error.
    pub reason: String,
}
