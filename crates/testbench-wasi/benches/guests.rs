//! The costs of running a guest, of the checks in its code, and of waiting on the timeline; the last
//! has bounds, at its end.
//!
//! `cargo bench --profile dev --config crates/testbench-wasi/benches/optimised.toml -p testbench-wasi
//! --bench guests`, with `-- waits` and the like for one table. In that profile wasmtime and the other
//! dependencies are built already, and optimised; the file optimises our own crates as a user's release
//! build does. Without it they are built for testing (not optimised), where the bounds do not hold.
//! Every figure is the median of rounds in which all cases take turns, so that a busy machine slows
//! all of them alike.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use testbench_clock::{Clock, MockClock, MonoTime};
use testbench_wasi::{
    CompilationCache, Engine, EngineConfig, GuestSpec, Limits, Module, run, start,
};

const ROUNDS: usize = 31;

struct Case {
    name: &'static str,
    /// How often the action is done in a turn.
    repeat: u32,
    /// What a turn's time is divided by.
    units: u32,
    action: Box<dyn FnMut()>,
    times: Vec<Duration>,
}

impl Case {
    fn new(name: &'static str, repeat: u32, action: impl FnMut() + 'static) -> Self {
        Case { name, repeat, units: repeat, action: Box::new(action), times: Vec::new() }
    }

    /// An action that does something so often.
    fn of(self, units: u32) -> Self {
        Case { units: self.repeat * units, ..self }
    }
}

fn main() {
    // A word chooses the measurement, as in other benchmarks.
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    // So that `cargo test --benches` shows that everything runs, without taking long.
    let quick = std::env::args().any(|arg| arg == "--test");
    let rounds = if quick { 1 } else { ROUNDS };
    if wanted("spawns") {
        println!("spawns, back to back, one thread");
        measure(spawns(), rounds);
    }
    if wanted("loops") {
        println!("\nloops of 10,000,000 rounds");
        measure(loops(), rounds);
    }
    if !wanted("waits") {
        return;
    }
    println!("\nwaits on the timeline");
    let kept = waits(if quick { 1 } else { SLEEP_ROUNDS });
    assert!(kept || quick, "NOT KEPT");
}

/// Runs all cases in turn and prints the median of each.
fn measure(mut cases: Vec<Case>, rounds: usize) -> Vec<f64> {
    for round in 0..=rounds {
        for case in &mut cases {
            let start = Instant::now();
            (0..case.repeat).for_each(|_| (case.action)());
            // The first round compiles and warms up.
            if round > 0 {
                case.times.push(start.elapsed());
            }
        }
    }
    let print_median = |case: &mut Case| {
        case.times.sort();
        let each_ns = case.times[rounds / 2].as_nanos() as f64 / f64::from(case.units);
        let shown = Duration::from_nanos(each_ns as u64);
        match each_ns {
            ..1000.0 => println!("{:<52} {each_ns:>10.1}ns", case.name),
            _ => println!("{:<52} {shown:>12.2?}", case.name),
        }
        each_ns
    };
    cases.iter_mut().map(print_median).collect()
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

/// How often a guest of [`waits`] waits in a turn; how often two do, and how many more there are.
const SLEEPS: u32 = 10_000;
const TURNS: u32 = 500;
const CROWD: u32 = 200;

/// In a hundred rounds, a million.
const SLEEP_ROUNDS: usize = 101;

const SLEEP_MAX_NS: f64 = 50.0;
const HAND_OVER_MAX_NS: f64 = 15_000.0;

/// Guests that do nothing but wait, alone and with others; and the same loop with a call that only
/// reads the clock, to tell the cost of the call alone. Returns whether the promises are kept.
fn waits(rounds: usize) -> bool {
    let read = "(drop (call $time (i32.const 1) (i64.const 0) (i32.const 64)))";
    let sleep = "(drop (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 192)))";
    let (reading, sleeping) = (waiting(read, SLEEPS), waiting(sleep, SLEEPS));
    let (in_turn, few) = (waiting(sleep, TURNS), waiting(sleep, 10));
    let beside = sleeping.clone();
    let inline = |module: Module| move || run_for_ns(&module, 5 * u64::from(SLEEPS));
    let figures = measure(
        vec![
            Case::new("a reading of the clock", 1, move || run_for_ns(&reading, 0)).of(SLEEPS),
            Case::new("a sleep", 1, inline(sleeping)).of(SLEEPS),
            Case::new("a sleep, on a thread beside the host", 1, move || crowd(&beside, 1, SLEEPS))
                .of(SLEEPS),
        ],
        rounds,
    );
    let together = measure(
        vec![
            Case::new("a hand-over: two guests sleep in turn", 1, move || {
                crowd(&in_turn, 2, TURNS)
            })
            .of(2 * TURNS),
            Case::new("a guest of 200 at once, of 10 sleeps each", 1, move || {
                crowd(&few, CROWD, 10)
            })
            .of(CROWD),
        ],
        rounds.min(ROUNDS),
    );
    println!("(a sleep: at most {SLEEP_MAX_NS} ns; a hand-over: at most {HAND_OVER_MAX_NS} ns)");
    figures[1] <= SLEEP_MAX_NS && together[0] <= HAND_OVER_MAX_NS
}

/// Runs a guest on this thread, which takes so much virtual time.
fn run_for_ns(module: &Module, virtual_ns: u64) {
    let finished = run(GuestSpec::new(module.clone())).expect("our own module");
    assert_eq!(finished.virtual_time, Duration::from_nanos(virtual_ns));
}

/// Starts that many guests at once and waits until all of them have ended. They sleep side by side.
fn crowd(module: &Module, guests: u32, sleeps: u32) {
    let clock = MockClock::builder().build();
    let spec = || GuestSpec::new(module.clone()).clock(clock.clone());
    let running: Vec<_> = (0..guests).map(|_| start(spec()).expect("it starts")).collect();
    for guest in &running {
        let finished = guest.wait(&*clock).expect("no participant is stuck");
        assert!(finished.exit.success(), "{}", finished.exit);
    }
    assert_eq!(clock.mono(), MonoTime::from_nanos(5 * u64::from(sleeps)));
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
