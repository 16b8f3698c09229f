//! The attribute of testbench-clock; use it from there, as `#[testbench_clock::test]`.
//!
//! `arguments.rs` reads what stands in the parentheses, `expand.rs` writes the test. Neither touches
//! the compiler's own token type, so that both are tested as plain functions.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod arguments;
mod expand;

use proc_macro::TokenStream;

/// A test with a mock clock installed; see `testbench_clock::test`.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, function: TokenStream) -> TokenStream {
    match expand::test(arguments.into(), function.into()) {
        Ok(expanded) => expanded.into(),
        Err(error) => error.into_compile_error().into(),
    }
}
