//! Plugins of a session: its time, its files, its seed.

use crate::common::{bench, dir_with, tree};
use std::time::Duration;
use testbench_harness::{Exit, Module, PluginError, Session, Testbench};

/// A library that reads the clock, writes a file in the working directory, and asks for randomness.
const NOTES: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 100) "note.txt")
    (data (i32.const 200) "written by a plugin\n")
    (data (i32.const 300) "\c8\00\00\00\14\00\00\00")
    (func (export "now_ns") (result i64)
        (drop (call $time (i32.const 0) (i64.const 0) (i32.const 0)))
        (i64.load (i32.const 0)))
    (func (export "random") (result i64)
        (drop (call $random (i32.const 0) (i32.const 8)))
        (i64.load (i32.const 0)))
    (func (export "sleep_ns") (param i64) (result i32)
        (i64.store (i32.const 424) (local.get 0))
        (call $poll (i32.const 400) (i32.const 500) (i32.const 1) (i32.const 600)))
    (func (export "note") (result i32)
        (local $errno i32)
        (local.set $errno (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 8)
            (i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 0)))
        (if (local.get $errno) (then (return (local.get $errno))))
        (drop (call $write (i32.load (i32.const 0)) (i32.const 300) (i32.const 1) (i32.const 4)))
        (call $close (i32.load (i32.const 0))))
    (func (export "say") (result i32)
        (call $write (i32.const 1) (i32.const 300) (i32.const 1) (i32.const 4)))
    (func (export "spin") (loop $again (br $again))))"#;

fn notes() -> Module {
    Module::from_bytes("notes", wat::parse_str(NOTES).unwrap()).unwrap()
}

#[test]
fn it_reads_the_session_s_time_and_writes_into_its_diff() {
    let dir = dir_with(&[("there.txt", "before\n")]);
    let before = tree(dir.path());
    let session = bench(dir.path()).build().unwrap().enter();
    let mut plugin = session.plugin(notes()).unwrap();

    let start: u64 = plugin.call("now_ns", ()).unwrap();
    assert_eq!(start, 946_684_800_000_000_000);
    testbench_clock::sleep(Duration::from_secs(5));
    assert_eq!(plugin.call::<i64, i32>("sleep_ns", 1_500_000_000).unwrap(), 0);
    assert_eq!(plugin.call::<(), u64>("now_ns", ()).unwrap(), start + 6_500_000_000);
    assert_eq!(session.virtual_time(), Duration::from_millis(6500));

    assert_eq!(plugin.call::<(), i32>("note", ()).unwrap(), 0);
    let written = testbench_overlay::fs::read(dir.path().join("note.txt")).unwrap();
    assert_eq!(written, b"written by a plugin\n");
    plugin.call::<(), i32>("say", ()).unwrap();
    assert_eq!(plugin.take_output().stdout, b"written by a plugin\n");

    drop(plugin);
    let report = session.finish().unwrap();
    insta::assert_snapshot!(report.diff, @r"
    A note.txt

    diff --git a/note.txt b/note.txt
    new file mode 100644
    --- /dev/null
    +++ b/note.txt
    @@ -0,0 +1,1 @@
    +written by a plugin
    ");
    assert!(report.spawns.is_empty(), "a plugin is no spawn");
    assert_eq!(tree(dir.path()), before, "the real directory");
}

#[test]
fn its_randomness_follows_from_the_seed() {
    let numbers = |seed: u64| {
        let session = Testbench::builder().seed(seed).build().unwrap().enter();
        let two = |session: &Session| {
            let mut plugin = session.plugin(notes()).unwrap();
            [(); 2].map(|()| plugin.call::<(), u64>("random", ()).unwrap())
        };
        [two(&session), two(&session)]
    };
    let first = numbers(1);
    assert_eq!(numbers(1), first);
    assert_ne!(numbers(2), first);
    assert_ne!(first[0], first[1], "each plugin has a stream of its own");
}

#[test]
fn the_session_s_limits_bound_its_calls() {
    let limits = testbench_harness::Limits {
        watchdog: Some(Duration::from_millis(20)),
        ..testbench_harness::Limits::default()
    };
    let session = Testbench::builder().limits(limits).build().unwrap().enter();
    let error = session.plugin(notes()).unwrap().call::<(), ()>("spin", ()).unwrap_err();
    assert!(matches!(error, PluginError::Ended { exit: Exit::Limit(_), .. }), "{error}");
}

#[test]
fn after_the_session_it_is_not_called() {
    let dir = dir_with(&[]);
    let session = bench(dir.path()).name("short").build().unwrap().enter();
    let mut plugin = session.plugin(notes()).unwrap();
    let overlay = session.overlay().unwrap().clone();
    plugin.call::<(), u64>("now_ns", ()).unwrap();
    session.finish().unwrap();
    for _ in 0..2 {
        let error = plugin.call::<(), i32>("note", ()).unwrap_err();
        assert!(error.to_string().contains("its session `short` has ended"), "{error}");
    }
    assert!(overlay.diff().unwrap().is_empty());
}
