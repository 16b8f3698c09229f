//! Our host beside its peers: the cost of a guest's call, and of running a program.
//!
//! `cargo bench --profile dev --config crates/testbench-wasi/benches/optimised.toml -p testbench-wasi
//! --features oracle --bench peers`; `-- clock_time_get` and the like run one table. Without `--profile` and
//! `--config` wasmtime is built once more, in the release profile. In each table all cases take turns,
//! round by round, so that a busy machine slows all of them alike; a figure is the median of the rounds. The ends of the tables say whether the promises hold: a call costs at most so many
//! times an empty host function of the same signature (`func_wrap`, on an engine configured as
//! ours), and wasmtime-wasi's at least four times as much.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use testbench_clock::{MockClock, WallTime};
use testbench_overlay::Overlay;
use testbench_wasi::{CompilationCache, Engine, GuestSpec, Limits, Module, Mount, run};
use wasmtime::Linker;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

/// An odd number, so that there is a median.
const ROUNDS: usize = 41;

/// The same for calls and sleeps. A case's turn is so short there that hardly any is interrupted, whatever
/// else the machine does.
const CALL_ROUNDS: usize = 301;

fn main() {
    // So that `cargo test --benches` shows that everything runs, without taking long.
    let quick = std::env::args().any(|arg| arg == "--test");
    let (rounds, call_rounds) = if quick { (1, 1) } else { (ROUNDS, CALL_ROUNDS) };
    // A word chooses the measurement, as in other benchmarks.
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut kept = true;
    for call in [&CLOCK_TIME_GET, &FD_WRITE] {
        kept &= !wanted(call.name) || call.measure(call_rounds);
    }
    if wanted("sleeps") {
        kept &= sleeps(call_rounds);
    }
    if wanted("spawns") {
        spawns(rounds);
    }
    if !kept && !quick {
        println!("\nNOT KEPT");
        std::process::exit(1);
    }
}

/// Runs all cases in turn and prints the median of each, per unit of work.
fn medians<const N: usize>(
    rounds: usize,
    units: u32,
    mut cases: [(&str, &mut dyn FnMut()); N],
) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    // The first round compiles and warms up.
    for round in 0..=rounds {
        for (i, (_, case)) in cases.iter_mut().enumerate() {
            let start = Instant::now();
            case();
            if round > 0 {
                times[i].push(start.elapsed());
            }
        }
    }
    std::array::from_fn(|i| {
        times[i].sort();
        let median: Duration = times[i][times[i].len() / 2];
        let nanos = median.as_nanos() as f64 / f64::from(units);
        println!("{:<44} {nanos:>14.1} ns", cases[i].0);
        nanos
    })
}

/// A call in a loop.
struct Call {
    name: &'static str,
    signature: &'static str,
    arguments: &'static str,
    /// At most so many times the empty host function.
    times_empty_max: f64,
    add_empty: fn(&mut Linker<()>) -> wasmtime::Result<()>,
}

/// Calls in one round.
const CALLS: u32 = 10_000;

const CLOCK_TIME_GET: Call = Call {
    name: "clock_time_get",
    signature: "(param i32 i64 i32) (result i32)",
    arguments: "(i32.const 1) (i64.const 0) (i32.const 64)",
    times_empty_max: 4.0,
    add_empty: |linker| {
        let empty = |_: u32, _: u64, _: u32| -> u32 { 0 };
        linker.func_wrap(MODULE, "clock_time_get", empty).map(drop)
    },
};

const FD_WRITE: Call = Call {
    name: "fd_write",
    signature: "(param i32 i32 i32 i32) (result i32)",
    arguments: "(i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)",
    times_empty_max: 6.0,
    add_empty: |linker| {
        let empty = |_: u32, _: u32, _: u32, _: u32| -> u32 { 0 };
        linker.func_wrap(MODULE, "fd_write", empty).map(drop)
    },
};

const MODULE: &str = "wasi_snapshot_preview1";

impl Call {
    /// A program that makes the call over and over.
    fn wasm(&self) -> Vec<u8> {
        let Call { name, signature, arguments, .. } = self;
        let wat = format!(
            r#"(module
                (import "{MODULE}" "{name}" (func $call {signature}))
                (memory (export "memory") 1)
                (data (i32.const 0) "\08\00\00\00\06\00\00\00123456")
                (func (export "_start") (local $i i32)
                    (loop $again
                        (if (call $call {arguments}) (then unreachable))
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (br_if $again (i32.lt_u (local.get $i) (i32.const {CALLS}))))))"#
        );
        wat::parse_str(wat).expect("our own module")
    }

    /// Whether the promise is kept.
    fn measure(&self, rounds: usize) -> bool {
        println!("\n{}, {CALLS} calls a round", self.name);
        let wasm = self.wasm();
        let mut empty = empty(&wasm, self.add_empty);
        let mut theirs = Peer::new(&wasm).spawns(|cx| cx);
        let module = in_memory(&wasm);
        let limits = Limits { watchdog: None, ..Limits::default() };
        let mut ours = move || {
            let clock = MockClock::builder().spin_max(u64::MAX).build();
            let spec = GuestSpec::new(module.clone()).clock(clock).limits(limits.clone());
            assert!(run(spec).expect("our own module").exit.success());
        };
        let [empty, ours, theirs] = medians(
            rounds,
            CALLS,
            [
                ("an empty host function", &mut empty),
                ("ours", &mut ours),
                ("wasmtime-wasi", &mut theirs),
            ],
        );
        let (of_empty, of_theirs) = (ours / empty, theirs / ours);
        println!("ours is {of_empty:.2} times the empty one (at most {:.0})", self.times_empty_max);
        println!("wasmtime-wasi's is {of_theirs:.2} times ours (at least 4)");
        of_empty <= self.times_empty_max && of_theirs >= 4.0
    }
}

/// The module on an engine as ours is, with a host function that does nothing.
fn empty(wasm: &[u8], add: fn(&mut Linker<()>) -> wasmtime::Result<()>) -> impl FnMut() {
    let engine = engine();
    let mut linker = Linker::new(&engine);
    add(&mut linker).expect("one function");
    let module = wasmtime::Module::new(&engine, wasm).expect("our own module");
    let linked = linker.instantiate_pre(&module).expect("one import");
    move || {
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = linked.instantiate(&mut store).expect("our own module");
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a program");
        start.call(&mut store, ()).expect("it ends");
    }
}

/// What makes a difference for calls.
fn engine() -> wasmtime::Engine {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true).cranelift_nan_canonicalization(true);
    wasmtime::Engine::new(&config).expect("an engine")
}

/// A program under wasmtime-wasi, compiled once.
struct Peer {
    linked: wasmtime::InstancePre<WasiP1Ctx>,
}

impl Peer {
    fn new(wasm: &[u8]) -> Peer {
        let engine = engine();
        let mut linker = Linker::new(&engine);
        p1::add_to_linker_sync(&mut linker, |cx| cx).expect("its own functions");
        let module = wasmtime::Module::new(&engine, wasm).expect("our own module");
        Peer { linked: linker.instantiate_pre(&module).expect("preview 1 only") }
    }

    fn spawns(self, with: impl Fn(&mut WasiCtxBuilder) -> &mut WasiCtxBuilder) -> impl FnMut() {
        move || {
            let stdout = MemoryOutputPipe::new(64 << 20);
            let mut builder = WasiCtxBuilder::new();
            builder.stdout(stdout.clone()).allow_blocking_current_thread(true);
            let cx = with(&mut builder).build_p1();
            let mut store = wasmtime::Store::new(self.linked.module().engine(), cx);
            store.set_epoch_deadline(1);
            let ended = self.linked.instantiate(&mut store).and_then(|instance| {
                instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
            });
            if let Err(error) = ended {
                assert_eq!(error.downcast_ref::<I32Exit>().map(|exit| exit.0), Some(0), "{error}");
            }
            std::hint::black_box(stdout.contents());
        }
    }
}

/// Sleeps of a guest on a mock clock, as C's `nanosleep` makes them.
fn sleeps(rounds: usize) -> bool {
    const SLEEPS: u32 = 10_000;
    println!("\nsleeps, {SLEEPS} a round");
    let wat = format!(
        r#"(module
            (import "{MODULE}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 24) "\05")
            (func (export "_start") (local $i i32)
                (loop $again
                    (if (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))
                        (then unreachable))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const {SLEEPS}))))))"#
    );
    let module = in_memory(&wat::parse_str(wat).expect("our own module"));
    let mut ours = move || {
        let finished = run(GuestSpec::new(module.clone())).expect("our own module");
        assert_eq!(finished.virtual_time, Duration::from_nanos(5 * u64::from(SLEEPS)));
    };
    let [each] = medians(rounds, SLEEPS, [("a guest's sleep on a mock clock", &mut ours)]);
    println!("(at most 50 ns)");
    each <= 50.0
}

/// One C program, run in every way there is.
fn spawns(rounds: usize) {
    const SPAWNS: u32 = 10;
    println!("\n`echo hello`, {SPAWNS} a round, output captured");
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbench-harness/guests");
    let wasm = std::fs::read(guests.join("echo.wasm")).expect("a committed guest");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let native = compile_natively(&guests.join("echo.c"), dir.path());

    let module = in_memory(&wasm);
    let lower = tempfile::tempdir().expect("a temporary directory");
    let overlay = Overlay::new(lower.path()).expect("an overlay");
    let clock = MockClock::builder().start(WallTime::from_unix_secs(0)).build();
    let mut ours = || {
        let spec = GuestSpec::new(module.clone()).arg("hello").clock(clock.clone());
        let finished = run(spec.mount(Mount::new(overlay.clone(), "/"))).expect("it starts");
        assert_eq!(finished.stdout, b"hello\n");
    };
    let mut naive = || {
        let engine = Engine::with_cache(CompilationCache::off());
        let module = Module::from_bytes_on(&engine, "echo", wasm.clone()).expect("a guest");
        assert!(run(GuestSpec::new(module).arg("hello")).expect("it starts").exit.success());
    };
    let path: Arc<Path> = lower.path().into();
    let mut theirs = Peer::new(&wasm).spawns(move |builder| {
        let preopened =
            builder.args(&["echo", "hello"]).preopened_dir(&path, "/", FsPerms::ReadWrite);
        preopened.expect("a directory")
    });
    let mut fork_and_exec = || {
        let Some(native) = &native else { return };
        let output = Command::new(native).arg("hello").stdin(Stdio::null()).output();
        assert_eq!(output.expect("it starts").stdout, b"hello\n");
    };
    let many = |case: &mut dyn FnMut()| (0..SPAWNS).for_each(|_| case());
    let [ours, theirs, naive, native_ns] = medians(
        rounds,
        SPAWNS,
        [
            ("ours, on an overlay", &mut || many(&mut ours)),
            ("wasmtime-wasi, compiled once", &mut || many(&mut theirs)),
            ("compiled for every spawn", &mut || many(&mut naive)),
            ("native, fork and exec", &mut || many(&mut fork_and_exec)),
        ],
    );
    println!(
        "ours is {:.0} times faster than compiling, {:.1} times than wasmtime-wasi, {:.0} times than native",
        naive / ours,
        theirs / ours,
        native_ns / ours,
    );
    if native.is_none() {
        println!("(no C compiler `cc`: nothing native was run)");
    }
}

/// The same source as the guest's, for this machine.
fn compile_natively(source: &Path, to: &Path) -> Option<PathBuf> {
    let program = to.join("echo");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu17", "-D_GNU_SOURCE", "-Os", "-o"]).arg(&program).arg(source);
    cc.status().is_ok_and(|status| status.success()).then_some(program)
}

fn in_memory(wasm: &[u8]) -> Module {
    let engine = Engine::with_cache(CompilationCache::in_memory());
    Module::from_bytes_on(&engine, "bench", wasm.to_vec()).expect("our own module")
}
