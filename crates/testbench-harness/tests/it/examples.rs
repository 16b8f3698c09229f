//! The examples end well. Each asserts what it shows.

#[path = "../../examples/lua_vm.rs"]
mod lua_vm;
#[path = "../../examples/rhai_vm.rs"]
mod rhai_vm;
#[path = "../../examples/tokio_children.rs"]
mod tokio_children;

#[test]
fn every_example_ends_well() {
    lua_vm::main().unwrap();
    rhai_vm::main().unwrap();
    tokio_children::main().unwrap();
}
