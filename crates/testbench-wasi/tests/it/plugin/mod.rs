//! Plugins: calls, what they may touch, how they end, and that nothing leaks.

mod calls;
mod ending;
mod hostile;
mod json;
mod session;

use testbench_wasi::{GuestSpec, Module, Plugin, PluginError};

/// The module written in C; `guests/plugins/notes.c` of testbench-harness says what it does.
const NOTES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testbench-harness/guests/plugins/notes.wasm"
));

fn notes() -> GuestSpec {
    GuestSpec::new(Module::from_bytes("notes", NOTES).unwrap())
}

fn module(wat: &str) -> Module {
    Module::from_bytes("plugin", wat::parse_str(wat).expect("the test's own module")).unwrap()
}

/// A plugin of its own, on nothing.
fn plugin(wat: &str) -> Plugin {
    Plugin::new(module(wat)).expect("the test's own plugin")
}

/// The text of an error, without what differs in nothing but length.
#[track_caller]
fn text<T: std::fmt::Debug>(result: Result<T, PluginError>) -> String {
    result.unwrap_err().to_string()
}
