//! One instance of a plugin, from its start functions to its end.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use wasmtime::TypedFunc;

use super::json::Convention;
use super::{PluginError, Values};
use crate::error::NameList;
use crate::kernel::Process;
use crate::module::{Signature, show};
use crate::run::Live;
use crate::stopping::Held;

/// An instance that has not ended.
pub(super) struct Life {
    pub(super) live: Live,
    /// The functions called so far, to be found again without asking wasmtime for their types.
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

/// Why a call failed.
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

impl Life {
    pub(super) fn new(live: Live, held: Held) -> Self {
        Life { live, known: HashMap::new(), convention: None, _held: held }
    }

    pub(super) fn process(&self) -> &Process {
        &self.live.store.data().process
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
        let plugin = self.process().name.clone();
        let Live { store, instance } = &mut self.live;
        let module = instance.module(&*store);
        let Some(export) = module.get_export(name) else {
            return Err(no_export(plugin, name, module));
        };
        let name = name.to_owned();
        let Some(found) = Signature::from_wasm(&export) else {
            return Err(PluginError::NotAFunction { plugin, name, found: show(&export) });
        };
        let function = instance.get_typed_func::<P, R>(&mut *store, &name);
        let wanted = Signature::of::<P, R>();
        function.map_err(|_| PluginError::Signature { plugin, name, wanted, found })
    }
}

pub(super) fn ended(function: &str, error: impl Into<wasmtime::Error>) -> Trouble {
    Trouble::Ended { function: function.to_owned(), error: error.into() }
}

/// Names the missing export, all exports, and the most similar function.
pub(super) fn no_export(plugin: String, name: &str, module: &wasmtime::Module) -> PluginError {
    /// A name of which more than a third of the letters differ is another name.
    const PARTS: usize = 3;
    let functions = module.exports().filter(|export| export.ty().func().is_some());
    let nearest = functions
        .map(|export| (strsim::levenshtein(name, export.name()), export.name()))
        .filter(|&(distance, _)| distance <= name.len().div_ceil(PARTS))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, nearest)| nearest.to_owned());
    let exports = module.exports().map(|export| export.name().to_owned()).collect();
    PluginError::NoExport { plugin, name: name.to_owned(), nearest, exports: NameList(exports) }
}
