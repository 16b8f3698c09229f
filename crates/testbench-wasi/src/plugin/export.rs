//! The exports of a plugin.

use std::fmt;

use wasmtime::ExternType;

use super::Signature;
use crate::module::show;

/// One export of a plugin's module.
///
/// It is shown with its type: `add_one: a function (i32) -> i32`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    name: String,
    signature: Option<Signature>,
    shown: String,
}

impl Export {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type, if it is a function.
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    pub(super) fn all(module: &wasmtime::Module) -> Vec<Export> {
        let exports = module.exports().map(|export| {
            let ty = export.ty();
            let signature = match &ty {
                ExternType::Func(ty) => Some(Signature::from_wasm(ty)),
                _ => None,
            };
            let shown = match &signature {
                Some(signature) => format!("a function {signature}"),
                None => show(&ty),
            };
            Export { name: export.name().to_owned(), signature, shown }
        });
        exports.collect()
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shown)
    }
}
