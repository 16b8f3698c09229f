//! The integration tests of this crate in one program, so that wasmtime is linked once. Tests that
//! need a process, a feature or a download of their own stand beside it.

mod config;
mod examples;
mod guests;
mod plugin;
mod together;
