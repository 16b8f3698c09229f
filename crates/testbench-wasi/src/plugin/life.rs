//! One instance of a plugin, from its start functions to its end.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::{ExternType, Store, TypedFunc};

use super::json::Convention;
use super::{PluginError, Signature, Values};
use crate::diagnose::{edit_distance, show};
use crate::error::NameList;
use crate::instance::Live;
use crate::kernel::{Process, Thread};
use crate::stopping::{Cancel, Interrupter};

/// An instance that has not ended.
pub(super) struct Life {
    pub(super) live: Live,
    /// What was called by name, to be found again without asking wasmtime for its type.
    known: HashMap<Box<str>, Known>,
    pub(super) convention: Option<Convention>,
    _held: Held,
}

/// A function, by the types with which it was called last.
struct Known {
    types: TypeId,
    /// A `TypedFunc` of these types.
    function: Box<dyn Any + Send + Sync>,
}

/// Why a call gave nothing.
pub(super) enum Trouble {
    /// The instance has ended in this function.
    Ended { function: String, error: wasmtime::Error },
    /// It goes on.
    Answer(Box<PluginError>),
}

impl From<PluginError> for Trouble {
    fn from(error: PluginError) -> Self {
        Trouble::Answer(Box::new(error))
    }
}

/// What the instance holds outside of its store; let go of when it ends.
pub(super) struct Held {
    process: Arc<Process>,
    interrupter: Interrupter,
    cancel: Cancel,
}

impl Held {
    /// From now on `cancel` ends the instance.
    pub(super) fn new(process: &Arc<Process>, interrupter: Interrupter, cancel: &Cancel) -> Self {
        cancel.attach(&interrupter);
        Held { process: Arc::clone(process), interrupter, cancel: cancel.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.interrupter.guest_ended();
        self.cancel.detach(&self.interrupter);
        self.process.close();
    }
}

impl Life {
    pub(super) fn new(live: Live, held: Held) -> Self {
        Life { live, known: HashMap::new(), convention: None, _held: held }
    }

    pub(super) fn process(&self) -> &Process {
        self.live.store.data().process()
    }

    /// Calls the export `name`.
    pub(super) fn call<P: Values, R: Values>(
        &mut self,
        name: &str,
        params: P,
    ) -> Result<R, Trouble> {
        let types = TypeId::of::<(P, R)>();
        let known = self.known.get(name).filter(|known| known.types == types);
        let known = known.and_then(|known| known.function.downcast_ref::<TypedFunc<P, R>>());
        let called = match known {
            Some(function) => function.call(&mut self.live.store, params),
            None => {
                let function = self.function::<P, R>(name)?;
                let called = function.call(&mut self.live.store, params);
                self.known.insert(name.into(), Known { types, function: Box::new(function) });
                called
            }
        };
        called.map_err(|error| ended(name, error))
    }

    /// The export `name`, if it is a function of these types.
    pub(super) fn function<P: Values, R: Values>(
        &mut self,
        name: &str,
    ) -> Result<TypedFunc<P, R>, PluginError> {
        let Live { store, instance } = &mut self.live;
        let plugin = || store_name(store);
        let module = instance.module(&*store);
        let Some(export) = module.get_export(name) else {
            return Err(no_export(plugin(), name, module));
        };
        let ExternType::Func(ty) = export else {
            let found = show(&export);
            return Err(PluginError::NotAFunction {
                plugin: plugin(),
                name: name.to_owned(),
                found,
            });
        };
        instance.get_typed_func::<P, R>(&mut *store, name).map_err(|_| PluginError::Signature {
            plugin: store_name(store),
            name: name.to_owned(),
            wanted: Signature::of::<P, R>(),
            found: Signature::from_wasm(&ty),
        })
    }
}

pub(super) fn ended(function: &str, error: impl Into<wasmtime::Error>) -> Trouble {
    Trouble::Ended { function: function.to_owned(), error: error.into() }
}

fn store_name(store: &Store<Thread>) -> String {
    store.data().process().name().to_owned()
}

/// Names what is missing, what is there, and what may have been meant.
pub(super) fn no_export(plugin: String, name: &str, module: &wasmtime::Module) -> PluginError {
    /// A name that differs in more than a third of its letters was not meant.
    const PARTS: usize = 3;
    let functions = module.exports().filter(|export| export.ty().func().is_some());
    let nearest = functions
        .map(|export| (edit_distance(name, export.name()), export.name()))
        .filter(|&(distance, _)| distance <= name.len().div_ceil(PARTS))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, nearest)| nearest.to_owned());
    let exports = module.exports().map(|export| format!("`{}`", export.name())).collect();
    PluginError::NoExport { plugin, name: name.to_owned(), nearest, exports: NameList(exports) }
}
