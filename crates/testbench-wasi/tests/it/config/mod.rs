//! Every knob of a run: its default, and that another value makes a difference that can be seen.
//!
//! `docs/RUN_CONFIGURATION.md` names the test of each knob; `table` holds it to that.

mod engine;
mod interruption;
mod limits;
mod process;
mod streams;
mod table;
mod time;

use testbench_wasi::{Finished, GuestSpec, Module, run};

/// A program of testbench-harness's, by its name.
macro_rules! tool {
    ($name:literal) => {{
        let wasm = include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../testbench-harness/guests/",
            $name,
            ".wasm"
        ));
        testbench_wasi::GuestSpec::new(testbench_wasi::Module::from_bytes($name, wasm).unwrap())
    }};
}
pub(crate) use tool;

fn module(wat: &str) -> Module {
    Module::from_bytes("probe", wat::parse_str(wat).expect("the test's own module")).unwrap()
}

/// A program whose `_start` has this body. It can import by the short names.
fn program(body: &str) -> GuestSpec {
    GuestSpec::new(module(&with_imports(&format!(r#"(func $_start (export "_start") {body})"#))))
}

/// A module with these functions, a memory of one page, and these imports of WASI.
fn with_imports(functions: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_res_get" (func $resolution (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func $write (param $at i32) (param $len i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $len))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            {functions})"#
    )
}

fn finished(spec: GuestSpec) -> Finished {
    run(spec).expect("the guest should be started")
}

/// The output of a guest, as text.
fn stdout(spec: GuestSpec) -> String {
    String::from_utf8(finished(spec).stdout).expect("text")
}

/// The number that a guest writes as eight bytes.
fn number(spec: GuestSpec) -> u64 {
    u64::from_le_bytes(finished(spec).stdout.try_into().expect("eight bytes"))
}

/// Runs one ignored test of this program in a process of its own, for what is the process's.
fn in_a_process_of_its_own(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}
