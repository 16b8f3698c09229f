//! What it costs to run a guest, and what the checks in its code cost.
//!
//! `cargo bench --profile dev -p testbench-wasi --bench guests`: dependencies are optimised in
//! that profile. Every figure is the median of rounds in which all cases take turns, so that a
//! busy machine slows all of them alike.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use testbench_clock::MockClock;
use testbench_wasi::{
    CompilationCache, Engine, EngineConfig, GuestSpec, Limits, Module, run, start,
};

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
    // A word chooses what is measured, as in other benchmarks.
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    if wanted("spawns") {
        println!("spawns, back to back, one thread");
        measure(spawns());
    }
    if wanted("loops") {
        println!("\nloops of 10,000,000 rounds");
        measure(loops());
    }
    if !wanted("waits") {
        return;
    }
    println!("\nwaits on the timeline");
    for (name, times, each) in waits() {
        println!("{name:<52} {:>12.1?} each", times[times.len() / 2] / each);
    }
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

/// How often the guests of [`waits`] wait, and how many there are at once.
const SLEEPS: u32 = 1_000_000;
const TURNS: u32 = 10_000;
const CROWD: u32 = 200;

/// Guests that do nothing but wait, alone and with others; and the same loop with a call that only
/// reads the clock, which tells what of it is the call.
fn waits() -> Vec<(&'static str, Vec<Duration>, u32)> {
    let read = "(drop (call $time (i32.const 1) (i64.const 0) (i32.const 64)))";
    let sleep = "(drop (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 192)))";
    vec![
        ("a million readings of the clock", timed(&waiting(read, SLEEPS), 1), SLEEPS),
        ("a million sleeps", timed(&waiting(sleep, SLEEPS), 1), SLEEPS),
        ("a sleep of two guests in turn: a hand-over", timed(&waiting(sleep, TURNS), 2), 2 * TURNS),
        ("200 guests at once, of 10 sleeps each", timed(&waiting(sleep, 10), CROWD), CROWD),
    ]
}

/// How long it takes to start that many guests and to wait until all of them have ended.
fn timed(module: &Module, guests: u32) -> Vec<Duration> {
    let round = |_| {
        let clock = MockClock::builder().build();
        let spec = || GuestSpec::new(module.clone()).clock(clock.clone());
        let began = Instant::now();
        let running: Vec<_> = (0..guests).map(|_| start(spec()).expect("it starts")).collect();
        for guest in &running {
            let finished = guest.wait(&*clock).expect("nobody is stuck");
            assert!(finished.exit.success(), "{}", finished.exit);
        }
        began.elapsed()
    };
    // The first round warms up.
    let mut times: Vec<_> = (0..12).map(round).skip(1).collect();
    times.sort();
    times
}

/// Does so often what `body` says; at address 0 there is a subscription to five nanoseconds.
fn waiting(body: &str, times: u32) -> Module {
    module(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $time (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "\01\00\00\00") (data (i32.const 24) "\05")
            (func (export "_start") (local $i i32)
                (loop $again
                    {body}
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))))"#
    ))
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
