//! The exports of a plugin.

use std::fmt;

use crate::module::{Signature, show};

/// One export of a plugin's module.
///
/// Its `Display` is the name and the type: `add_one: a function (i32) -> i32`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    name: String,
    signature: Option<Signature>,
    shown: String,
}

impl Export {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the type, if the export is a function.
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    pub(super) fn all(module: &wasmtime::Module) -> Vec<Export> {
        let exports = module.exports().map(|export| {
            let (name, ty) = (export.name().to_owned(), export.ty());
            Export { name, signature: Signature::from_wasm(&ty), shown: show(&ty) }
        });
        exports.collect()
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shown)
    }
}
