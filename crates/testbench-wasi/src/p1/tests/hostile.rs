//! Addresses, lengths and numbers that no honest guest passes: the answer is an errno or a trap.

use std::sync::Arc;

use testbench_clock::Seed;
use testbench_overlay::MemoryDir;

use super::puppet::{import, wasm_type};
use crate::p1::signatures;
use crate::{Exit, GuestSpec, Limits, Module, Mount, Stdin, TrapKind, run};

/// The edges of a memory of one page and of 32 bits, small numbers that mean something, and the
/// places where the guest keeps a path, an array of buffers that overlap everything, and its
/// arguments.
const VALUES: [u64; 20] = [
    0,
    1,
    2,
    3,
    4,
    8,
    24,
    48,
    100,
    200,
    65_528,
    65_535,
    65_536,
    65_537,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff8,
    0xffff_ffff,
    u64::MAX,
    1 << 62,
];

/// The values of the other arguments meanwhile. Often a directory, and otherwise small: else a call would
/// hardly ever get past the check of its first argument.
const MEANINGFUL: [u64; 10] = [3, 3, 3, 0, 1, 2, 4, 8, 24, 100];

/// How often each value is tried in each place.
const TRIES: usize = 8;

#[test]
fn no_arguments_make_the_host_panic_or_hang() {
    let mut seen = [0_u32; 3];
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        // The one function that is not in the table, since it has no result.
        let proc_exit = ("proc_exit", vec!["u32"]);
        for (name, types) in signatures().into_iter().chain([proc_exit]) {
            let compiled = compile(module, name, &types);
            let mut random = Seed::new(1).stream(name);
            for place in 0..types.len() * VALUES.len() * TRIES {
                let (place, value) = (place / VALUES.len() / TRIES, VALUES[place % VALUES.len()]);
                let mut args: Vec<u64> =
                    types.iter().map(|_| MEANINGFUL[random.below(MEANINGFUL.len())]).collect();
                args[place] = value;
                match run(guest(&compiled, &args)).unwrap().exit {
                    Exit::Code(0) => seen[0] += 1,
                    Exit::Code(code) if name == "proc_exit" => {
                        assert_eq!(u64::from(code), args[0] & 0xffff_ffff, "all of it is kept");
                    }
                    Exit::Trap(trap) => {
                        assert_eq!(
                            trap.kind,
                            TrapKind::MemoryOutOfBounds,
                            "{name}{args:?}: {trap}"
                        );
                        seen[1] += 1;
                    }
                    Exit::Deadlock(_) | Exit::Limit(_) | Exit::Killed(_) => seen[2] += 1,
                    other => panic!("{name}{args:?}: {other}"),
                }
            }
        }
    }
    // A generator that only ever met one kind of answer would test little.
    assert!(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 10, "{seen:?}");
}

/// A guest that reads its arguments from stdin and makes the one call.
fn compile(module: &str, name: &str, types: &[&str]) -> Module {
    let args: String = types
        .iter()
        .enumerate()
        .map(|(i, ty)| format!("({}.load (i32.const {}))", wasm_type(ty), 1024 + 8 * i))
        .collect();
    let imports = match name {
        "fd_read" => import(module, name),
        "proc_exit" => {
            let exit = format!(r#"(import "{module}" "proc_exit" (func $proc_exit (param i32)))"#);
            format!("{exit}{}", import(module, "fd_read"))
        }
        name => format!("{}{}", import(module, name), import(module, "fd_read")),
    };
    let call = match name {
        "proc_exit" => format!("(call $proc_exit {args})"),
        name => format!("(drop (call ${name} {args}))"),
    };
    let wat = format!(
        r#"(module {imports}
            (memory (export "memory") 1 1)
            (data (i32.const 0) "file")
            (data (i32.const 8) "\00\00\00\00\ff\ff\ff\ff")
            (data (i32.const 24) "\00\00\00\00\00\00\01\00\04\00\00\00\00\00\01\00\00\00\00\00\04\00\00\00")
            (data (i32.const 512) "\00\04\00\00\80\00\00\00")
            (func (export "_start")
                (drop (call $fd_read (i32.const 0) (i32.const 512) (i32.const 1) (i32.const 520)))
                {call}))"#
    );
    Module::from_bytes(name, wat::parse_str(wat).unwrap()).unwrap()
}

fn guest(module: &Module, args: &[u64]) -> GuestSpec {
    let files = MemoryDir::builder().file("file", "content").dir("dir").build().unwrap();
    let stdin: Vec<u8> = args.iter().flat_map(|arg| arg.to_le_bytes()).collect();
    let limits = Limits { output_bytes_max: 1 << 20, ..Limits::default() };
    GuestSpec::new(module.clone())
        .stdin(Stdin::Bytes(stdin.into()))
        .mount(Mount::new(Arc::new(files), "/"))
        .limits(limits)
}
