//! Participants that do not wait.

use std::time::Duration;

use super::{Trace, mono, until};
use crate::{Clock, MockClock, Stuck, thread};

#[test]
fn yields_let_the_others_of_the_instant_run() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let trace = Trace::default();
    let theirs = trace.clone();
    let other = thread::spawn(move || {
        theirs.note("b1");
        crate::current().yield_now().unwrap();
        theirs.note("b2");
    });
    trace.note("a1");
    clock.yield_now().unwrap();
    trace.note("a2");
    clock.yield_now().unwrap();
    trace.note("a3");
    other.join().unwrap();
    assert_eq!(trace.take(), "0 a1; 0 b1; 0 a2; 0 b2; 0 a3");
}

#[test]
fn a_loop_of_readings_is_found_out() {
    let clock = MockClock::builder().name("spinner").spin_max(1000).build();
    for _ in 0..1000 {
        clock.mono();
    }
    clock.check().unwrap();
    clock.wall();
    let stuck = clock.check().unwrap_err();
    let expected = "spinning: `spinner` read the clock 1001 times without waiting";
    assert!(stuck.to_string().starts_with(expected), "{stuck}");
    until(&*clock, mono(1)).unwrap();
    clock.check().unwrap();
    while clock.yield_now().is_ok() {}
    assert!(matches!(clock.check(), Err(Stuck::Spinning { .. })));
}

#[test]
fn ticks_end_a_loop_and_wake_the_others() {
    let clock = MockClock::builder().tick_per_read(Duration::from_nanos(100)).build();
    let _installed = clock.install();
    let trace = Trace::default();
    let theirs = trace.clone();
    let other = thread::spawn(move || {
        crate::try_sleep(Duration::from_nanos(250)).unwrap();
        theirs.note("woke");
    });
    let mut readings = 0;
    while clock.mono() < mono(1000) {
        readings += 1;
    }
    assert_eq!(readings, 9);
    other.join().unwrap();
    // A sleep takes what it says and is no reading; the one in the trace comes on top.
    assert_eq!(trace.take(), "1350 woke");
}

#[test]
fn what_happens_outside_is_not_a_loop_of_readings() {
    let _installed = MockClock::builder().spin_max(100).build().install();
    for _ in 0..1_000 {
        crate::external("a read of a socket", || ());
        crate::instant_now();
    }
}

#[test]
fn the_guard_and_the_log_name_the_line_that_read() {
    let clock = MockClock::builder().log().build();
    let installed = clock.install();
    let line = line!() + 1;
    crate::instant_now();
    let log = clock.log().unwrap();
    let text = &log.events().last().unwrap().text;
    assert!(text.ends_with(&format!("spinning.rs:{line}")), "{text}");
    drop(installed);

    let _installed = MockClock::builder().spin_max(10).build().install();
    let line = line!() + 1;
    let spin = || (0..100).map(|_| crate::now()).max();
    let panic = std::panic::catch_unwind(spin).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.ends_with(&format!("spinning.rs:{line}")), "{text}");
}
