//! Four ways to end a guest from outside, each off or far away by default.

use std::time::Duration;

use testbench_clock::{MockClock, Participant};
use testbench_wasi::{Cancel, Exit, Limit, Limits, run};

use super::{finished, program, tool};

const ENDLESS: &str = "(loop $again (br $again))";

#[test]
fn watchdog() {
    // By default a minute, so a guest that hangs for a tenth of a second is left alone.
    assert_eq!(Limits::default().watchdog, Some(Duration::from_secs(60)));
    let cancel = Cancel::new();
    let enough = testbench_clock::Watchdog::arm(Duration::from_millis(100), {
        let cancel = cancel.clone();
        move || cancel.cancel("it hung long enough")
    });
    let left_alone = finished(program(ENDLESS).cancel(cancel)).exit;
    assert_eq!(left_alone.to_string(), "killed: it hung long enough");
    drop(enough);

    let after = Duration::from_millis(20);
    let limits = Limits { watchdog: Some(after), ..Limits::default() };
    let ended = finished(program(ENDLESS).limits(limits)).exit;
    assert_eq!(ended.limit(), Some(Limit::Watchdog { after }));
}

#[test]
fn fuel() {
    let million = program(
        "(local $i i32)
        (loop $again
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.ne (local.get $i) (i32.const 1000000))))
        (call $exit (i32.const 8))",
    );
    assert_eq!(Limits::default().fuel, None);
    assert_eq!(finished(million.clone()).exit.code(), Some(8));
    let limits = |units| Limits { fuel: Some(units), ..Limits::default() };
    let ended = finished(million.clone().limits(limits(10_000))).exit;
    assert_eq!(ended.limit(), Some(Limit::Fuel { units: 10_000 }));
    assert_eq!(finished(million.limits(limits(100_000_000))).exit.code(), Some(8));
}

#[test]
fn virtual_deadline() {
    let sleep = || tool!("sleep").arg("20m");
    let slept = finished(sleep());
    assert_eq!((slept.exit.code(), slept.virtual_time), (Some(0), Duration::from_secs(1200)));
    let after = Duration::from_secs(300);
    let limits = Limits { virtual_deadline: Some(after), ..Limits::default() };
    let ended = finished(sleep().limits(limits));
    assert_eq!(ended.exit.limit(), Some(Limit::VirtualDeadline { after }));
    // At that very instant.
    assert_eq!(ended.virtual_time, after);
}

#[test]
fn cancel_from_another_thread() {
    assert!(finished(program("")).exit.success());
    let cancel = Cancel::new();
    let other = std::thread::spawn({
        let cancel = cancel.clone();
        move || cancel.cancel("from another thread")
    });
    let ended = run(program(ENDLESS).cancel(cancel)).unwrap();
    other.join().unwrap();
    assert_eq!(ended.exit.to_string(), "killed: from another thread");
    // Also one that waits for something that never comes.
    let (reader, _writer) = testbench_wasi::pipe();
    let cancel = Cancel::new();
    let clock = MockClock::builder().build();
    let external = clock.inhibit(&"the test's other thread");
    let other = std::thread::spawn({
        let cancel = cancel.clone();
        move || cancel.cancel("while it waits")
    });
    let ended = run(tool!("cat").stdin(reader).clock(clock).cancel(cancel)).unwrap();
    other.join().unwrap();
    drop(external);
    assert!(
        matches!(&ended.exit, Exit::Killed(why) if &**why == "while it waits"),
        "{}",
        ended.exit
    );
}
