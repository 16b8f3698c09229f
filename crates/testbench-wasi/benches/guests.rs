//! What it costs to run a guest, and what the checks in its code cost.
//!
//! `cargo bench --profile dev -p testbench-wasi --bench guests`: dependencies are optimised in
//! that profile. Every figure is the median of rounds in which all cases take turns, so that a
//! busy machine slows all of them alike.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use testbench_wasi::{CompilationCache, Engine, EngineConfig, GuestSpec, Limits, Module, run};

const ROUNDS: usize = 31;

struct Case {
    name: &'static str,
    repeat: u32,
    action: Box<dyn FnMut()>,
    times: Vec<Duration>,
}

impl Case {
    fn new(name: &'static str, repeat: u32, action: impl FnMut() + 'static) -> Self {
        Case { name, repeat, action: Box::new(action), times: Vec::new() }
    }
}

fn main() {
    println!("spawns, back to back, one thread");
    measure(spawns());
    println!("\nloops of 10,000,000 rounds");
    measure(loops());
}

fn measure(mut cases: Vec<Case>) {
    for round in 0..=ROUNDS {
        for case in &mut cases {
            let start = Instant::now();
            (0..case.repeat).for_each(|_| (case.action)());
            // The first round compiles and warms up.
            if round > 0 {
                case.times.push(start.elapsed() / case.repeat);
            }
        }
    }
    for case in &mut cases {
        case.times.sort();
        println!("{:<52} {:>12.2?}", case.name, case.times[ROUNDS / 2]);
    }
}

fn spawns() -> Vec<Case> {
    let tiny = module(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    let exits = module(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 1))))"#,
    );
    let traps =
        module(r#"(module (memory (export "memory") 1) (func (export "_start") (unreachable)))"#);
    let two =
        module(r#"(module (memory (export "memory") 1) (memory 1) (func (export "_start")))"#);
    let unwatched = Limits { watchdog: None, ..Limits::default() };
    let again = wat::parse_str(r#"(module (func (export "_start")))"#).expect("our own module");
    let spec_of = tiny.clone();
    vec![
        Case::new("a spec with its own mock clock, not run", 200, move || {
            drop(black_box(GuestSpec::new(spec_of.clone())));
        }),
        guest("tiny", 200, tiny.clone(), |spec| spec),
        guest("tiny, no watchdog", 200, tiny.clone(), move |spec| spec.limits(unwatched.clone())),
        guest("proc_exit", 200, exits, |spec| spec),
        guest("trap with a backtrace", 200, traps, |spec| spec),
        guest("two memories: not in the pool", 50, two, |spec| spec),
        guest("another engine: not in the pool", 50, native_nans(&tiny), |spec| spec),
        Case::new("compile a tiny module (no cache)", 1, move || {
            let engine = Engine::with_cache(CompilationCache::off());
            Module::from_bytes_on(&engine, "tiny", again.clone()).expect("our own module");
        }),
    ]
}

fn loops() -> Vec<Case> {
    let count =
        looping("(local.set $n (i32.add (i32.mul (local.get $n) (i32.const 3)) (i32.const 1)))");
    let load = looping(
        "(local.set $n (i32.add (local.get $n) (i32.load (i32.and (local.get $n) (i32.const 0xfff0)))))",
    );
    let call = looping("(local.set $n (call $add (local.get $n) (local.get $i)))");
    let float = looping(
        "(local.set $x (f64.add (f64.mul (local.get $x) (f64.const 0.999)) (f64.const 1)))",
    );
    let fuel = Limits { fuel: Some(u64::MAX), ..Limits::default() };
    let mut cases = Vec::new();
    let bodies = [("integers", count), ("loads", load), ("calls", call), ("f64", float)];
    for (body, module) in bodies {
        let fuel = fuel.clone();
        let name = |flavour: &str| -> &'static str { format!("{body}: {flavour}").leak() };
        cases.extend([
            guest(name("default"), 1, module.clone(), |spec| spec),
            guest(name("not interruptible"), 1, unstoppable(&module), |spec| spec),
            guest(name("fuel as well"), 1, module.clone(), move |spec| spec.limits(fuel.clone())),
            guest(name("native NaNs"), 1, native_nans(&module), |spec| spec),
        ]);
    }
    cases
}

fn looping(body: &str) -> Module {
    module(&format!(
        r#"(module (memory (export "memory") 1)
            (global $out (mut i32) (i32.const 0)) (global $fout (mut f64) (f64.const 0))
            (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
            (func (export "_start") (local $i i32) (local $n i32) (local $x f64)
                (loop $again
                    {body}
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const 10000000))))
                (global.set $out (local.get $n)) (global.set $fout (local.get $x))))"#
    ))
}

fn guest(
    name: &'static str,
    repeat: u32,
    module: Module,
    set_up: impl Fn(GuestSpec) -> GuestSpec + 'static,
) -> Case {
    Case::new(name, repeat, move || {
        run(set_up(GuestSpec::new(module.clone()))).expect("our own module");
    })
}

fn module(wat: &str) -> Module {
    let wasm = wat::parse_str(wat).expect("our own module");
    let engine = Engine::with_cache(CompilationCache::in_memory());
    Module::from_bytes_on(&engine, "bench", wasm).expect("our own module")
}

fn native_nans(module: &Module) -> Module {
    on(module, EngineConfig::new().canonical_nans(false))
}

fn unstoppable(module: &Module) -> Module {
    on(module, EngineConfig::new().interruptible(false))
}

fn on(module: &Module, config: EngineConfig) -> Module {
    let engine = config.cache(CompilationCache::in_memory()).build().expect("an engine");
    module.on(&engine).expect("our own module")
}
