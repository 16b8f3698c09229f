//! A module in machine code, loaded into the engines on which it can run.

use std::fmt;
use std::fs::File;
use std::sync::{Arc, OnceLock};

use wasmtime::InstancePre;

use crate::engine::{Engines, Flavour, Host, Place};
use crate::kernel::Thread;

/// A module, compiled for one flavour.
pub(crate) struct Compiled {
    pub(crate) flavour: Flavour,
    pub(crate) engines: Arc<Engines>,
    /// If the module fits the pool.
    pooled: Option<Loaded>,
    /// Made from the same artifact when first needed.
    on_demand: OnceLock<Loaded>,
}

/// The compiler's output, in memory or in a file whose content was verified.
pub(crate) enum Artifact {
    Bytes(Vec<u8>),
    File(File),
}

/// A module in one engine.
struct Loaded {
    module: wasmtime::Module,
    /// With its imports resolved, which is done when it first runs.
    linked: OnceLock<InstancePre<Thread>>,
}

impl Compiled {
    pub(crate) fn from_artifact(
        flavour: Flavour,
        engines: Arc<Engines>,
        artifact: &Artifact,
    ) -> wasmtime::Result<Self> {
        let pooled = engines.pooled.as_ref().and_then(|host| {
            let fits = artifact.load(&host.engine);
            fits.inspect_err(|error| tracing::debug!(%error, "does not fit the pool")).ok()
        });
        let on_demand = OnceLock::new();
        if pooled.is_none() {
            let module = artifact.load(&engines.on_demand.engine)?;
            let _ = on_demand.set(Loaded::new(module));
        }
        Ok(Compiled { flavour, engines, pooled: pooled.map(Loaded::new), on_demand })
    }

    /// The place to run if there is a choice.
    pub(crate) fn best_place(&self) -> Place {
        if self.pooled.is_some() { Place::Pool } else { Place::OnDemand }
    }

    /// The module, for looking at its imports and exports.
    pub(crate) fn any(&self) -> &wasmtime::Module {
        let loaded = self.pooled.as_ref().or_else(|| self.on_demand.get());
        &loaded.expect("made with one of the two").module
    }

    /// The module with its imports resolved, ready to run at `place`.
    ///
    /// # Errors
    ///
    /// wasmtime's, if an import is unknown or of another type.
    pub(crate) fn linked(&self, place: Place) -> wasmtime::Result<&InstancePre<Thread>> {
        match (place, &self.pooled, self.engines.pooled.as_ref()) {
            (Place::Pool, Some(loaded), Some(host)) => loaded.link(host),
            _ => self.on_demand()?.link(&self.engines.on_demand),
        }
    }

    fn on_demand(&self) -> wasmtime::Result<&Loaded> {
        if let Some(loaded) = self.on_demand.get() {
            return Ok(loaded);
        }
        let artifact = Artifact::Bytes(self.any().serialize()?);
        let module = artifact.load(&self.engines.on_demand.engine)?;
        Ok(self.on_demand.get_or_init(|| Loaded::new(module)))
    }
}

impl Artifact {
    fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<wasmtime::Module> {
        match self {
            // SAFETY: the bytes are what `Engine::precompile_module` returned in this process, or
            // what `Module::serialize` returned for such a module.
            #[allow(unsafe_code)]
            Artifact::Bytes(bytes) => unsafe { wasmtime::Module::deserialize(engine, bytes) },
            // SAFETY: `cache::disk` hands out only files that it read through this very handle and
            // found to have the hash that was recorded when they were compiled, or wrote itself
            // through this handle, in a directory that only this user may write. They are never
            // written in place nor truncated: they are replaced by renaming, which leaves this
            // file as it is.
            #[allow(unsafe_code)]
            Artifact::File(file) => unsafe {
                wasmtime::Module::deserialize_open_file(engine, file.try_clone()?)
            },
        }
    }
}

impl Loaded {
    fn new(module: wasmtime::Module) -> Self {
        Loaded { module, linked: OnceLock::new() }
    }

    fn link(&self, host: &Host) -> wasmtime::Result<&InstancePre<Thread>> {
        if let Some(linked) = self.linked.get() {
            return Ok(linked);
        }
        let linked = host.linker.instantiate_pre(&self.module)?;
        Ok(self.linked.get_or_init(|| linked))
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("flavour", &self.flavour)
            .field("place", &self.best_place())
            .finish_non_exhaustive()
    }
}
