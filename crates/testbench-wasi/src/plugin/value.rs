//! The types of a plugin's functions, as Rust names them.

use crate::module::Signature;

/// The parameters or results of a plugin's function: `()`, a number, or up to eight numbers in a tuple.
///
/// The numbers are `i32`, `u32`, `i64`, `u64`, `f32` and `f64`; WebAssembly does not tell signed
/// from unsigned, so `i32` and `u32` name the same type. This trait cannot be implemented elsewhere.
pub trait Values: sealed::Values {}

impl<T: sealed::Values> Values for T {}

pub(super) mod sealed {
    /// wasmtime's view of the same types, and their names.
    pub trait Values: wasmtime::WasmResults + 'static {
        /// As WebAssembly names them.
        const TYPES: &'static [&'static str];
    }
}

macro_rules! numbers {
    ($($number:ty = $name:literal),*) => {
        $(impl sealed::Values for $number {
            const TYPES: &'static [&'static str] = &[$name];
        }
        impl Number for $number {
            const NAME: &'static str = $name;
        })*
    };
}

/// One number.
trait Number {
    const NAME: &'static str;
}

numbers!(i32 = "i32", u32 = "i32", i64 = "i64", u64 = "i64", f32 = "f32", f64 = "f64");

macro_rules! tuples {
    ($(($($number:ident),*))*) => {
        $(impl<$($number: Number),*> sealed::Values for ($($number,)*)
        where
            ($($number,)*): wasmtime::WasmResults + 'static,
        {
            const TYPES: &'static [&'static str] = &[$($number::NAME),*];
        })*
    };
}

tuples! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F)
(A, B, C, D, E, F, G) (A, B, C, D, E, F, G, H) }

impl Signature {
    /// The type of the functions that take `P` and return `R`.
    pub fn of<P: Values, R: Values>() -> Self {
        Signature::new(P::TYPES, R::TYPES)
    }
}
