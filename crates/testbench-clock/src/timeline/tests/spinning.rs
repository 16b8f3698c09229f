//! Participants that do not wait.

use std::time::Duration;

use super::{Trace, mono, until};
use crate::{Clock, MockClock, Participant, Stuck, thread};

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

/// Sleeps for no time until `done`, and gives up when it is told to.
fn sleep_for_nothing_until(done: impl Fn() -> bool) -> Result<(), Stuck> {
    while !done() {
        crate::try_sleep(Duration::ZERO)?;
    }
    Ok(())
}

#[test]
fn a_loop_of_waits_that_take_no_time_lets_the_others_run() {
    let _installed = MockClock::builder().spin_max(1_000).build().install();
    let other = thread::spawn(|| crate::current().yield_now());
    // A few of them keep the turn.
    (0..10).for_each(|_| crate::sleep(Duration::ZERO));
    assert!(!other.is_finished());
    sleep_for_nothing_until(|| other.is_finished()).unwrap();
}

#[test]
fn a_loop_of_waits_that_take_no_time_is_found_out() {
    let clock = MockClock::builder().name("poller").spin_max(100).build();
    let _installed = clock.install();
    let stuck = sleep_for_nothing_until(|| false).unwrap_err();
    assert!(
        stuck.to_string().starts_with("spinning: `poller` read the clock 101 times"),
        "{stuck}"
    );
    // So is one of waits for what has happened already, and one that only settles.
    until(&*clock, mono(1)).unwrap();
    let event = crate::Event::new();
    let on = [event.listen()];
    event.notify();
    let heard = || clock.wait(crate::Wait { deadline: None, on: &on, what: &"an event" });
    assert!((0..1_000).any(|_| matches!(heard(), Err(Stuck::Spinning { .. }))));
    until(&*clock, mono(2)).unwrap();
    let spins = |error| matches!(error, Err(crate::ClockError::Stuck(Stuck::Spinning { .. })));
    assert!((0..1_000).any(|_| spins(crate::settle())));
    let other = thread::spawn(|| crate::try_sleep(Duration::from_secs(1)));
    until(&*clock, mono(3)).unwrap();
    assert!((0..1_000).any(|_| spins(crate::settle())), "beside one who waits");
    other.join().unwrap().unwrap();
}

#[test]
fn two_who_wait_for_each_other_without_waiting_are_found_out() {
    let _installed = MockClock::builder().spin_max(1_000).build().install();
    let other = thread::spawn(|| sleep_for_nothing_until(|| false));
    assert!(matches!(sleep_for_nothing_until(|| false), Err(Stuck::Spinning { .. })));
    assert!(matches!(other.join().unwrap(), Err(Stuck::Spinning { .. })));
}

#[test]
fn who_moves_time_by_hand_has_a_turn_beside_those_who_only_look() {
    let second = Duration::from_secs(1);
    let _installed = MockClock::builder().spin_max(10_000).build().install();
    let advanced = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let lookers = [0, 1].map(|_| {
        let seen = advanced.clone();
        thread::spawn(move || {
            crate::try_sleep(second)?;
            while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                crate::current().yield_now()?;
            }
            Ok::<(), Stuck>(())
        })
    });
    crate::advance(second).unwrap();
    advanced.store(true, std::sync::atomic::Ordering::Relaxed);
    for looker in lookers {
        looker.join().unwrap().unwrap();
    }
    // One who looks only a few times still has all of them before time is moved.
    let looks = thread::spawn(|| (0..100).try_for_each(|_| crate::current().yield_now()));
    crate::settle().unwrap();
    assert!(looks.is_finished());
}

#[test]
fn a_clock_that_ticks_does_not_spin() {
    let clock = MockClock::builder().tick_per_read(Duration::from_nanos(1)).spin_max(100);
    let clock = clock.build();
    let _installed = clock.install();
    while crate::instant_now() < mono(1_000) {}
    while clock.mono() < mono(2_000) {}
    clock.check().unwrap();
}

#[test]
fn readings_do_not_tick_while_time_is_held_still() {
    let clock = MockClock::builder().tick_per_read(Duration::from_nanos(1)).build();
    let _installed = clock.install();
    let read_twice = || (crate::instant_now(), clock.mono());
    let (first, second) = crate::external("something real", read_twice);
    assert_eq!(first, second);
    let held = clock.inhibit(&"something real");
    let (first, second) = read_twice();
    assert_eq!(first, second);
    drop(held);
    let (first, second) = read_twice();
    assert_ne!(first, second);
}

#[test]
fn a_sleep_takes_what_it_says_however_much_a_reading_costs() {
    let tick = Duration::from_nanos(1_000);
    let _installed = MockClock::builder().tick_per_read(tick).build().install();
    let before = crate::instant_now();
    crate::sleep(Duration::from_nanos(10));
    let passed = crate::instant_now().duration_since(before);
    assert_eq!(
        passed,
        Duration::from_nanos(10) + tick,
        "the second reading ticks, the sleep does not"
    );
}

#[test]
fn a_loop_of_tasks_sleeps_that_take_no_time_gives_way_and_is_found_out() {
    use crate::task::{self, block_on, timeout};
    let _installed = MockClock::builder().spin_max(10_000).build().install();
    let other = thread::spawn(|| crate::current().yield_now());
    block_on(async {
        while !other.is_finished() {
            task::sleep(Duration::ZERO).await;
        }
        // Whatever has nothing to wait for still is in time.
        for _ in 0..1_000 {
            let none = Duration::ZERO;
            timeout(none, timeout(none, task::sleep(none))).await.unwrap().unwrap();
        }
    })
    .unwrap();
    let forever = || {
        block_on(async {
            loop {
                task::sleep(Duration::ZERO).await
            }
        })
    };
    let panic = std::panic::catch_unwind(forever).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("spinning: `main` read the clock 10"), "{text}");
}
