//! Runs one program in several ways that differ in single knobs.
//!
//! `cargo run -p testbench-wasi --example configure`
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Clock, MockClock, Reading, Seed, WallTime};
use testbench_overlay::{HostDir, MemoryDir, Overlay};
use testbench_wasi::{
    CompilationCache, CoreFeatures, CustomClock, EngineConfig, Finished, GuestSpec, Limits, Module,
    Mount, Random, Stdout, run,
};

/// Prints all that must be deterministic: clocks, random bytes, arguments, environment, files.
const FINGERPRINT: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testbench-harness/guests/fingerprint.wasm"
));

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    // The engine: what holds for every run.
    let engine = EngineConfig::new()
        .core_features(CoreFeatures::V2)
        .debug_info(false)
        .cache(CompilationCache::in_memory())
        .build()?;
    let module = Module::from_bytes_on(&engine, "fingerprint", FINGERPRINT)?;

    // A base, from which each run differs.
    let memory = MemoryDir::builder().file("etc/motd", "hello\n").build()?;
    let base = GuestSpec::new(module)
        .env("LANG", "C")
        .mount(Mount::read_only(Arc::new(memory), "/memory"))
        .arg("/memory");
    let first = show("the base", run(base.clone())?);
    let again = run(base.clone())?;
    println!("the same again: {}", first.stdout == again.stdout);

    let changed =
        run(base.clone().arg0("other").arg("/memory/etc").env("LANG", "de").env("A", "1"))?;
    show("other arguments and environment", changed);

    // Files: a directory under an overlay, and read-only as it is.
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("on-disk.txt"), "x")?;
    let overlay = Overlay::builder(dir.path()).clock(MockClock::builder().build()).build()?;
    let files = base
        .clone()
        .mount(Mount::new(overlay, "/work"))
        .mount(Mount::new(Arc::new(HostDir::open(dir.path())?.read_only()), "/real"))
        .cwd("/work");
    show("more files", run(files)?);

    // Time and randomness.
    let clock = MockClock::builder()
        .start(WallTime::from_unix_secs(1_700_000_000))
        .resolution(Reading::Wall, Duration::from_millis(1))
        .build();
    show(
        "another time, another seed",
        run(base.clone().clock(clock).random(Seed::new(9).stream("x")))?,
    );
    let frozen = CustomClock::over(MockClock::builder().build())
        .wall(|| WallTime::from_unix_secs(0))
        .sleep(|left| println!("  it wants to sleep {left:?}"))
        .build();
    let zeros = Random::reader(std::io::repeat(0));
    show("other functions", run(base.clone().clock(frozen as Arc<dyn Clock>).random(zeros))?);

    // Bounds: the first is refused politely, the second ends the guest.
    let few = Limits { open_files_max: 4, ..Limits::default() };
    println!("with few descriptors: {}", run(base.clone().limits(few))?);
    let little = Limits { fuel: Some(10_000), ..Limits::default() };
    println!("with little fuel: {}", run(base.clone().limits(little).stdout(Stdout::Null))?);

    // Nothing is called: only the module's start section runs.
    let nothing = run(base.start_functions([""; 0]))?;
    println!("with no start functions: {}, {} bytes", nothing.exit, nothing.stdout.len());
    Ok(())
}

fn show(what: &str, finished: Finished) -> Finished {
    println!("== {what}: {}", finished.exit);
    for line in String::from_utf8_lossy(&finished.stdout).lines().take(8) {
        println!("  {line}");
    }
    finished
}
