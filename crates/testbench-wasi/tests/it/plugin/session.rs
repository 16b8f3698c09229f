//! Everything that a plugin reads and writes is its session's: time, files, randomness, streams.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use testbench_clock::{Clock, MockClock, MonoTime, Participant, Seed, WallTime};
use testbench_overlay::{MemoryDir, Overlay};
use testbench_wasi::{Mount, Plugin, PluginError, Random, Stdin, run};

use super::{NOTES, module, notes};

#[test]
fn by_default_it_is_hermetic() {
    let first = |method: &str| Plugin::new(notes()).unwrap().call_json::<_, Value>(method, &());
    assert_eq!(first("now").unwrap(), json!({ "unix_ns": 946_684_800_000_000_000_u64 }));
    assert_eq!(first("random").unwrap(), first("random").unwrap());
    let denied = json!({ "error": "the file cannot be written" });
    let mut plugin = Plugin::new(notes()).unwrap();
    let input = json!({ "path": "/tmp/out.txt", "text": "x" });
    assert_eq!(plugin.call_json::<_, Value>("write", &input).unwrap(), denied);
}

#[test]
fn its_time_is_the_timeline_s() {
    let start = WallTime::from_unix_secs(1_000_000_000);
    let clock = MockClock::builder().start(start).build();
    let mut plugin = Plugin::new(notes().clock(clock.clone())).unwrap();
    let now = |plugin: &mut Plugin| {
        plugin.call_json::<_, Value>("now", &()).unwrap()["unix_ns"].as_u64().unwrap()
    };
    assert_eq!(now(&mut plugin), 1_000_000_000_000_000_000);
    // Its owner's time passes for it between calls, and what it sleeps passes for its owner.
    clock.advance(Duration::from_secs(5)).unwrap();
    assert_eq!(now(&mut plugin), 1_000_000_005_000_000_000);
    plugin.call_json::<_, Value>("sleep", &json!({ "ms": 2500 })).unwrap();
    assert_eq!(clock.mono().nanos(), 7_500_000_000);
    assert_eq!(now(&mut plugin), 1_000_000_007_500_000_000);
}

#[test]
fn it_lives_on_what_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = MockClock::builder().start(WallTime::from_unix_secs(77)).build();
    let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build().unwrap();
    let _clock = clock.install();
    let _files = testbench_overlay::install(overlay.clone());

    let mut plugin = Plugin::from_bytes("notes", NOTES).unwrap();
    let now: Value = plugin.call_json("now", &()).unwrap();
    assert_eq!(now["unix_ns"], 77_000_000_000_u64);
    plugin.call_json::<_, Value>("sleep", &json!({ "ms": 1000 })).unwrap();
    assert_eq!(testbench_clock::now(), WallTime::from_unix_secs(78));

    // Host and plugin name a file alike, and the disk is not touched.
    let file = dir.path().join("out.txt");
    let input = json!({ "path": file, "text": "from a plugin" });
    assert_eq!(plugin.call_json::<_, Value>("write", &input).unwrap(), json!({ "bytes": 13 }));
    assert_eq!(testbench_overlay::fs::read(&file).unwrap(), b"from a plugin");
    assert!(!file.exists());
    let diff = overlay.diff().unwrap().to_string();
    assert!(diff.contains("out.txt"), "{diff}");
}

#[test]
fn its_waits_are_named_in_a_deadlock() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\08\00\00\00")
        (func (export "read") (result i32)
            (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))"#;
    let (reader, _writer) = testbench_wasi::pipe();
    let spec = testbench_wasi::GuestSpec::new(module(wat)).name("waiter").stdin(reader);
    let error = Plugin::new(spec).unwrap().call::<(), i32>("read", ()).unwrap_err();
    insta::assert_snapshot!(error, @r"
    `waiter` ended in `read`: deadlock: it waits for something that can never come
      `waiter`: fd_read of descriptor 0, a pipe
    ");
}

/// No participant waits for a plugin that is not called: its owner's place is not lent meanwhile.
#[test]
fn an_owner_that_is_stuck_is_noticed() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(100)).build();
    let mut plugin = Plugin::new(notes().clock(clock.clone())).unwrap();
    plugin.call_json::<_, Value>("sleep", &json!({ "ms": 1 })).unwrap();
    let sleeper = clock.join("sleeper", testbench_clock::Role::Guest);
    let slept = std::thread::spawn(move || {
        sleeper.begin().and_then(|()| {
            let deadline = sleeper.mono().saturating_add(Duration::from_secs(1));
            let wait = testbench_clock::Wait { deadline: Some(deadline), on: &[], what: &"sleep" };
            sleeper.wait(wait).map(drop)
        })
    });
    // Outside of the timeline, which waits for this thread.
    let stuck = slept.join().unwrap().unwrap_err();
    assert!(matches!(stuck, testbench_clock::Stuck::Stalled(_)), "{stuck}");
    drop(plugin);
}

/// A call that computes for longer than others may be away is not taken for a stall.
#[test]
fn a_call_may_compute_for_long() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(400)).build();
    let spin = module(r#"(module (func (export "spin") (loop $l (br $l))))"#);
    let limits = testbench_wasi::Limits {
        watchdog: Some(Duration::from_millis(1200)),
        ..testbench_wasi::Limits::default()
    };
    let spec = testbench_wasi::GuestSpec::new(spin).clock(clock.clone()).limits(limits);
    let mut plugin = Plugin::new(spec).unwrap();
    let sleeper = clock.join("sleeper", testbench_clock::Role::Guest);
    let slept = std::thread::spawn(move || {
        sleeper.begin().and_then(|()| {
            let deadline = sleeper.mono().saturating_add(Duration::from_secs(1));
            let wait = testbench_clock::Wait { deadline: Some(deadline), on: &[], what: &"sleep" };
            sleeper.wait(wait).map(drop)
        })
    });
    clock.yield_now().unwrap();
    assert!(matches!(plugin.call::<(), ()>("spin", ()), Err(PluginError::Ended { .. })));
    clock.advance(Duration::from_secs(2)).unwrap();
    slept.join().unwrap().unwrap();
}

#[test]
fn its_randomness_goes_on_over_its_end() {
    let numbers = |spec: testbench_wasi::GuestSpec, traps: bool| -> Vec<Value> {
        let mut plugin = Plugin::new(spec).unwrap();
        (0..4)
            .map(|round| {
                if traps && round == 2 {
                    plugin.call_json::<_, Value>("trap", &()).unwrap_err();
                }
                plugin.call_json::<_, Value>("random", &()).unwrap()["number"].clone()
            })
            .collect()
    };
    let seeded = |number: u64| notes().random(Seed::new(number).stream("plugin"));
    let seven = numbers(seeded(7), false);
    assert_eq!(numbers(seeded(7), false), seven);
    assert_ne!(numbers(seeded(8), false), seven);
    assert_eq!(numbers(seeded(7), true), seven);
    assert!(seven.windows(2).all(|pair| pair[0] != pair[1]));
    let ones = numbers(notes().random(Random::reader(std::io::repeat(1))), false);
    assert_eq!(ones[0], 0x0101_0101_0101_0101_u64);
}

#[test]
fn files_stay_when_an_instance_has_ended() {
    let lower = tempfile::tempdir().unwrap();
    let overlay = Overlay::new(lower.path()).unwrap();
    let clock = MockClock::builder().build();
    let spec = notes().mount(Mount::new(overlay.clone(), "/m")).clock(clock.clone());
    let mut plugin = Plugin::new(spec).unwrap();
    let write = |plugin: &mut Plugin, path: &str| {
        let input = json!({ "path": path, "text": "abc" });
        plugin.call_json::<_, Value>("write", &input).unwrap()
    };
    assert_eq!(write(&mut plugin, "/m/before"), json!({ "bytes": 3 }));
    plugin.call_json::<_, Value>("trap", &()).unwrap_err();
    assert_eq!(write(&mut plugin, "/m/after"), json!({ "bytes": 3 }));
    assert_eq!((plugin.restarts(), clock.mono()), (1, MonoTime::ORIGIN));
    let diff = overlay.diff().unwrap().to_string();
    let changed: Vec<&str> = diff.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(changed, ["A after", "A before"]);
}

#[test]
fn descriptors_are_closed_when_an_instance_has_ended() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 16) "f")
        (func (export "open") (result i32)
            (if (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 0)
                    (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0))
                (then (return (i32.const -1))))
            (i32.load (i32.const 0)))
        (func (export "trap") unreachable))"#;
    let files = Arc::new(MemoryDir::builder().file("f", "text").build().unwrap());
    let limits = testbench_wasi::Limits { open_files_max: 6, ..testbench_wasi::Limits::default() };
    let spec = testbench_wasi::GuestSpec::new(module(wat)).limits(limits);
    let mut plugin = Plugin::new(spec.mount(Mount::new(files, "/"))).unwrap();
    let mut opens = || [(); 3].map(|()| plugin.call::<(), i32>("open", ()).unwrap());
    assert_eq!(opens(), [4, 5, -1], "no more may be open");
    plugin.call::<(), ()>("trap", ()).unwrap_err();
    let mut opens = || [(); 3].map(|()| plugin.call::<(), i32>("open", ()).unwrap());
    assert_eq!(opens(), [4, 5, -1], "the old instance's are closed, the mount is there again");
}

#[test]
fn standard_input_goes_on_where_it_was() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\01\00\00\00")
        (func (export "next") (result i32)
            (i32.store8 (i32.const 16) (i32.const 0))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.load8_u (i32.const 16)))
        (func (export "trap") unreachable))"#;
    let stdin = Stdin::from(b"abc".to_vec());
    let mut plugin = Plugin::new(testbench_wasi::GuestSpec::new(module(wat)).stdin(stdin)).unwrap();
    let mut next = || {
        plugin.call::<(), ()>("trap", ()).unwrap_err();
        plugin.call::<(), i32>("next", ()).unwrap()
    };
    assert_eq!([next(), next(), next(), next()], [97, 98, 99, 0]);
}

#[test]
fn what_a_closed_plugin_held_is_let_go() {
    let (reader, writer) = testbench_wasi::pipe();
    let clock = MockClock::builder().build();
    let mut plugin = Plugin::new(notes().stdout(writer).clock(clock.clone())).unwrap();
    plugin.call_json::<_, Value>("say", "to a pipe").unwrap();
    plugin.call_json::<_, Value>("trap", &()).unwrap_err();
    plugin.call_json::<_, Value>("say", "again").unwrap();
    drop(plugin);
    let mut buf = [0; 64];
    let read = reader.read(&*clock, &mut buf).unwrap();
    assert_eq!(&buf[..read], b"to a pipe\nagain\n");
    assert_eq!(reader.read(&*clock, &mut buf).unwrap(), 0, "the writer is gone");
}

#[test]
fn a_command_and_a_plugin_of_one_module() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 9)))
        (func (export "seven") (result i32) (i32.const 7)))"#;
    let spec = testbench_wasi::GuestSpec::new(module(wat));
    assert_eq!(run(spec.clone()).unwrap().exit.code(), Some(9));
    // A plugin's `_start` is not called.
    assert_eq!(Plugin::new(spec).unwrap().call::<(), i32>("seven", ()).unwrap(), 7);
}
