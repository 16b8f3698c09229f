//! Types of imports and exports, as the specification writes them, near enough.

use std::fmt;

use wasmtime::ExternType;

/// The type of a function: `(i32, i32) -> i64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    params: Box<[String]>,
    results: Box<[String]>,
}

impl Signature {
    pub(crate) fn new<T: ToString>(
        params: impl IntoIterator<Item = T>,
        results: impl IntoIterator<Item = T>,
    ) -> Self {
        let params = params.into_iter().map(|ty| ty.to_string()).collect();
        Signature { params, results: results.into_iter().map(|ty| ty.to_string()).collect() }
    }

    /// The type, if it is that of a function.
    pub(crate) fn from_wasm(ty: &ExternType) -> Option<Self> {
        ty.func().map(|ty| Signature::new(ty.params(), ty.results()))
    }

    /// The names of its parameters' types, as WebAssembly writes them.
    pub fn params(&self) -> &[String] {
        &self.params
    }

    /// The names of its results' types.
    pub fn results(&self) -> &[String] {
        &self.results
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) -> ", self.params.join(", "))?;
        match &self.results[..] {
            [one] => f.write_str(one),
            other => write!(f, "({})", other.join(", ")),
        }
    }
}

/// A type with its kind: `a function (i32, i32) -> i32`.
pub(crate) fn show(ty: &ExternType) -> String {
    if let Some(signature) = Signature::from_wasm(ty) {
        return format!("a function {signature}");
    }
    match ty {
        ExternType::Global(ty) => format!("a global of type {}", ty.content()),
        ExternType::Memory(ty) if ty.is_shared() => "a shared memory".to_owned(),
        ExternType::Memory(_) => "a memory".to_owned(),
        ExternType::Tag(_) => "an exception tag".to_owned(),
        _ => "a table".to_owned(),
    }
}
