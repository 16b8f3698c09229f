//! Traps, exits, limits and kills; and what comes after them.

use std::time::Duration;

use serde_json::{Value, json};
use testbench_wasi::{
    AfterEnd, Cancel, Exit, GuestSpec, Limit, Limits, Plugin, PluginError, PluginSpec, TrapKind,
};

use super::{module, notes, plugin, text};

/// A function for each way to end, and a count that an instance keeps.
const WAYS: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (table $table 1 funcref)
    (global $count (mut i32) (i32.const 0))
    (func (export "count") (result i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))
    (func $oops (unreachable))
    (func $trap (export "trap") (call $oops))
    (func $spin (export "spin") (loop $again (br $again)))
    (func $deep (export "deep") (call $deep))
    (func (export "exit") (param i32) (call $exit (local.get 0)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

fn limited(limits: Limits) -> Plugin {
    Plugin::new(GuestSpec::new(module(WAYS)).limits(limits)).unwrap()
}

fn count(plugin: &mut Plugin) -> Result<i32, PluginError> {
    plugin.call::<(), i32>("count", ())
}

#[track_caller]
fn exit_of<T: std::fmt::Debug>(result: Result<T, PluginError>) -> Exit {
    match result.unwrap_err() {
        PluginError::Ended { exit, .. } => exit,
        other => panic!("{other}"),
    }
}

#[test]
fn a_trap_has_its_kind_and_place() {
    let mut plugin = plugin(WAYS);
    let error = plugin.call::<(), ()>("trap", ()).unwrap_err();
    insta::assert_snapshot!(error, @r"
    `plugin` ended in `trap`: trap: `unreachable` was executed (an abort, a panic or a failed assertion)
        at oops
        at trap
    ");
    let PluginError::Ended { exit: Exit::Trap(trap), backtrace, .. } = error else { panic!() };
    assert_eq!((trap.kind, backtrace.len()), (TrapKind::Unreachable, 2));
    let exit = exit_of(plugin.call::<(), ()>("deep", ()));
    assert_eq!(exit.limit(), Some(Limit::Stack));
    assert_eq!(plugin.take_output().limits_hit, [Limit::Stack]);
}

#[test]
fn the_next_call_begins_with_a_new_instance() {
    let mut plugin = plugin(WAYS);
    assert_eq!([count(&mut plugin).unwrap(), count(&mut plugin).unwrap()], [1, 2]);
    assert_eq!(exit_of(plugin.call::<i32, ()>("exit", 3)).code(), Some(3));
    assert_eq!(plugin.ended().unwrap().code(), Some(3));
    assert_eq!((plugin.restarts(), plugin.memory_pages()), (0, 0));
    assert_eq!(count(&mut plugin).unwrap(), 1);
    assert_eq!((plugin.restarts(), plugin.memory_pages()), (1, 1));
    assert!(plugin.ended().is_none());
    // An exit with 0 is an end all the same: the call has no result.
    assert!(exit_of(plugin.call::<i32, ()>("exit", 0)).success());
    // A wrong call begins one as well, and goes on with it.
    assert!(matches!(plugin.call::<(), ()>("absent", ()), Err(PluginError::NoExport { .. })));
    assert_eq!((count(&mut plugin).unwrap(), plugin.restarts()), (1, 2));
    plugin.restart().unwrap();
    assert_eq!((count(&mut plugin).unwrap(), plugin.restarts()), (1, 3));
}

#[test]
fn or_every_later_call_is_refused() {
    let spec = PluginSpec::from(module(WAYS)).after_end(AfterEnd::Refuse);
    let mut plugin = Plugin::new(spec).unwrap();
    assert_eq!(count(&mut plugin).unwrap(), 1);
    exit_of(plugin.call::<i32, ()>("exit", 3));
    insta::assert_snapshot!(text(count(&mut plugin)), @"`plugin` has ended in an earlier call (exited with code 3); `restart` makes a new instance of it");
    assert!(matches!(count(&mut plugin), Err(PluginError::Over { .. })));
    assert_eq!(plugin.restarts(), 0);
    plugin.restart().unwrap();
    assert_eq!((count(&mut plugin).unwrap(), plugin.restarts()), (1, 1));
}

#[test]
fn start_functions_may_end_it() {
    let ends = |body: &str| {
        text(Plugin::new(module(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1) {body})"#
        ))))
    };
    insta::assert_snapshot!(ends(r#"(func (export "_initialize") (call $exit (i32.const 4)))"#), @"`plugin` ended in `_initialize`: exited with code 4");
    insta::assert_snapshot!(ends(r#"(func $s unreachable) (start $s)"#), @r"
    `plugin` ended in `start`: trap: `unreachable` was executed (an abort, a panic or a failed assertion)
        at s
    ");
    insta::assert_snapshot!(ends(r#"(memory 60000)"#), @"`plugin` ended in `start`: ended by a limit: it wanted a memory larger than 1073741824 bytes (limit `memory_bytes_max`)");
}

#[test]
fn an_instance_that_cannot_be_replaced() {
    // The first one is initialized, the second one traps: it finds what the first one wrote.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_initialize")
            (drop (call $random (i32.const 0) (i32.const 1)))
            (if (i32.load8_u (i32.const 0)) (then unreachable)))
        (func (export "trap") unreachable))"#;
    let bytes: &[u8] = &[0, 1, 0];
    let random = testbench_wasi::Random::reader(bytes);
    let mut plugin = Plugin::new(GuestSpec::new(module(wat)).random(random)).unwrap();
    exit_of(plugin.call::<(), ()>("trap", ()));
    let PluginError::Ended { function, .. } = plugin.call::<(), ()>("trap", ()).unwrap_err() else {
        panic!("the second instance should trap")
    };
    assert_eq!(function, "_initialize");
    assert!(plugin.ended().is_some());
    // The third one does not.
    plugin.restart().unwrap();
    assert_eq!(plugin.restarts(), 2);
}

#[test]
fn fuel_is_for_each_call() {
    let mut plugin = limited(Limits { fuel: Some(1000), ..Limits::default() });
    for expected in 1..=2000 {
        assert_eq!(count(&mut plugin).unwrap(), expected);
    }
    insta::assert_snapshot!(text(plugin.call::<(), ()>("spin", ())), @"`plugin` ended in `spin`: ended by a limit: it wanted more than 1000 units of work (limit `fuel`)");
    assert_eq!(plugin.take_output().limits_hit, [Limit::Fuel { units: 1000 }]);
    assert_eq!(count(&mut plugin).unwrap(), 1);
}

#[test]
fn the_watchdog_is_for_each_call() {
    let after = Duration::from_millis(40);
    let mut plugin = limited(Limits { watchdog: Some(after), ..Limits::default() });
    // Longer in all than one may take.
    let begun = testbench_clock::instant_now();
    let mut calls = 0;
    while testbench_clock::instant_now().duration_since(begun) < 3 * after {
        calls += 1;
        assert_eq!(count(&mut plugin).unwrap(), calls);
    }
    for round in 0..3 {
        let begun = testbench_clock::instant_now();
        let error = plugin.call::<(), ()>("spin", ()).unwrap_err();
        let took = testbench_clock::instant_now().duration_since(begun);
        assert!(took >= after, "round {round}: ended after {took:?}");
        let PluginError::Ended { exit: Exit::Limit(limit), backtrace, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((limit, &*backtrace[0].function), (Limit::Watchdog { after }, "spin"));
        // Idle for longer than a call may take, which is no call.
        testbench_clock::sleep(2 * after);
        assert_eq!(count(&mut plugin).unwrap(), 1);
    }
}

#[test]
fn a_call_that_hangs_in_its_start_is_watched_too() {
    let limits = Limits { watchdog: Some(Duration::from_millis(20)), ..Limits::default() };
    let wat = r#"(module (func (export "_initialize") (loop $l (br $l))))"#;
    let error = text(Plugin::new(GuestSpec::new(module(wat)).limits(limits)));
    insta::assert_snapshot!(error, @"`plugin` ended in `_initialize`: ended by a limit: it wanted more than 20ms of real time (limit `watchdog`)");
}

#[test]
fn the_virtual_deadline_is_for_each_call() {
    let limits = Limits { virtual_deadline: Some(Duration::from_secs(10)), ..Limits::default() };
    let mut notes = Plugin::new(notes().limits(limits)).unwrap();
    for _ in 0..5 {
        let slept: Value = notes.call_json("sleep", &json!({ "ms": 9000 })).unwrap();
        assert_eq!(slept["slept_ns"], 9_000_000_000_u64);
    }
    insta::assert_snapshot!(text(notes.call_json::<_, Value>("sleep", &json!({ "ms": 10_001 }))), @"`notes` ended in `oxide_invoke`: ended by a limit: it wanted more than 10s of virtual time (limit `virtual_deadline`)");
    let slept: Value = notes.call_json("sleep", &json!({ "ms": 10_000 })).unwrap();
    assert_eq!(slept["slept_ns"], 10_000_000_000_u64);
}

#[test]
fn memory_is_refused_at_its_limit() {
    let mut plugin = limited(Limits { memory_bytes_max: 3 << 16, ..Limits::default() });
    assert_eq!(plugin.call::<u32, i32>("grow", 2).unwrap(), 1);
    assert_eq!(plugin.call::<u32, i32>("grow", 1).unwrap(), -1);
    assert_eq!(plugin.take_output().limits_hit, [Limit::Memory { bytes_max: 3 << 16 }]);
    assert_eq!(plugin.memory_pages(), 3);
}

#[test]
fn output_is_captured_until_it_is_taken() {
    let limits = Limits { output_bytes_max: 10, ..Limits::default() };
    let mut notes = Plugin::new(notes().limits(limits)).unwrap();
    let say = |notes: &mut Plugin, text: &str| notes.call_json::<_, Value>("say", text);
    for _ in 0..3 {
        say(&mut notes, "abc").unwrap();
        say(&mut notes, "defg").unwrap();
        assert_eq!(notes.take_output().stdout, b"abc\ndefg\n");
    }
    say(&mut notes, "0123").unwrap();
    insta::assert_snapshot!(text(say(&mut notes, "456789")), @"`notes` ended in `oxide_invoke`: ended by a limit: it wanted more than 10 bytes of captured output (limit `output_bytes_max`)");
    // What fitted is there, also after a new instance has begun.
    assert_eq!(notes.call::<i32, i32>("add_one", 1).unwrap(), 2);
    let output = notes.take_output();
    assert_eq!(output.stdout, b"0123\n45678");
    assert_eq!(output.limits_hit, [Limit::Output { bytes_max: 10 }]);
    say(&mut notes, "again").unwrap();
}

#[test]
fn another_thread_ends_a_call() {
    let cancel = Cancel::new();
    let mut plugin = Plugin::new(GuestSpec::new(module(WAYS)).cancel(cancel.clone())).unwrap();
    assert_eq!(count(&mut plugin).unwrap(), 1);
    let other = std::thread::spawn(move || cancel.cancel("the test is over"));
    insta::assert_snapshot!(exit_of(plugin.call::<(), ()>("spin", ())), @"killed: the test is over");
    other.join().unwrap();
    // A handle that was used ends every instance that has it.
    insta::assert_snapshot!(text(count(&mut plugin)), @"`plugin` ended in `start`: killed: the test is over");
}

#[test]
fn a_kill_between_calls_ends_the_next_one() {
    let cancel = Cancel::new();
    let mut plugin = Plugin::new(GuestSpec::new(module(WAYS)).cancel(cancel.clone())).unwrap();
    cancel.cancel("meanwhile");
    insta::assert_snapshot!(text(count(&mut plugin)), @"`plugin` ended in `count`: killed: meanwhile");
}

#[test]
fn a_panic_in_a_closure_goes_through_and_the_plugin_recovers() {
    struct Panics;
    impl std::io::Write for Panics {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            panic!("on purpose, in a test")
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let spec = notes().stdout(testbench_wasi::Stdout::writer(Panics));
    let mut notes = Plugin::new(spec).unwrap();
    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        notes.call_json::<_, Value>("say", "x")
    }));
    assert!(said.is_err());
    assert_eq!(notes.call::<i32, i32>("add_one", 1).unwrap(), 2);
    assert_eq!(notes.restarts(), 1);
}
