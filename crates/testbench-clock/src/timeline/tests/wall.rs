//! Readings, and changes of the wall clock meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{mono, secs, until};
use crate::{
    Clock, Injection, MockClock, Participant, Shift, Stuck, Wait, WallTime, When, Woke, thread,
};

#[test]
fn readings_are_rounded_to_the_resolution_and_waits_are_not() {
    use crate::Reading;
    let clock = MockClock::builder()
        .start(WallTime::from_unix_nanos(-1_500))
        .resolution(Reading::Mono, Duration::from_nanos(100))
        .resolution(Reading::Wall, Duration::from_micros(1))
        .build();
    assert_eq!(clock.resolution(Reading::Mono), Duration::from_nanos(100));
    until(&*clock, mono(250)).unwrap();
    assert_eq!(clock.mono(), mono(200));
    assert_eq!(clock.wall(), WallTime::from_unix_nanos(-2000));
    clock.advance(Duration::from_nanos(50)).unwrap();
    assert_eq!(clock.mono(), mono(300));
}

#[test]
fn setting_the_wall_wakes_those_who_wait_for_it_at_that_instant() {
    let clock = MockClock::builder().start(WallTime::from_unix_nanos(0)).build();
    let _installed = clock.install();
    let woken_at = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&woken_at);
    let waiter = thread::spawn(move || {
        let clock = crate::current();
        let target = WallTime::from_unix_nanos(1_000);
        loop {
            let changed = clock.wall_set();
            let Some(at) = clock.mono_at(target) else { panic!("the wall always comes") };
            if at <= clock.mono() {
                break;
            }
            let on = [changed];
            clock.wait(Wait { deadline: Some(at), on: &on, what: &"a wall time" }).unwrap();
        }
        theirs.store(clock.mono().nanos() as usize, Ordering::Relaxed);
    });
    crate::sleep(Duration::from_nanos(100));
    clock.set_wall(WallTime::from_unix_nanos(-10_000));
    crate::sleep(Duration::from_nanos(2_000));
    assert_eq!(woken_at.load(Ordering::Relaxed), 0);
    clock.set_wall(WallTime::from_unix_nanos(990));
    waiter.join().unwrap();
    assert_eq!(woken_at.load(Ordering::Relaxed), 2_110);
    assert_eq!(clock.mono(), mono(2_110));
}

#[test]
fn injections_come_at_their_instant_whoever_moves_time() {
    let step = Injection::Step(Shift::Forward(secs(100)));
    let clock = MockClock::builder()
        .start(WallTime::UNIX_EPOCH)
        .inject(When::Mono(mono(5_000_000_000)), step)
        .inject(When::Wall(WallTime::from_unix_secs(107)), Injection::Step(Shift::Back(secs(1))))
        .build();
    let wall_s = |clock: &MockClock| clock.wall().unix_nanos() / 1_000_000_000;
    clock.advance(secs(4)).unwrap();
    assert_eq!(wall_s(&clock), 4);
    clock.advance(secs(2)).unwrap();
    assert_eq!(wall_s(&clock), 106);
    clock.advance(secs(2)).unwrap();
    assert_eq!(wall_s(&clock), 107, "the step at 107 took one away");
}

#[test]
fn whoever_waits_for_an_injection_alone_gets_it() {
    let clock = MockClock::builder()
        .inject(When::Mono(mono(42)), Injection::Step(Shift::Back(secs(1))))
        .build();
    let wait = Wait { deadline: None, on: &[clock.wall_set()], what: &"a change of the wall" };
    assert_eq!(clock.wait(wait).unwrap(), Woke::Notified(0));
    assert_eq!(clock.mono(), mono(42));
    let wait = Wait { deadline: None, on: &[clock.wall_set()], what: &"another" };
    assert!(matches!(clock.wait(wait), Err(Stuck::Deadlock(_))));
}

#[test]
fn an_injection_wakes_those_who_wait_beyond_it_at_its_instant() {
    let clock = MockClock::builder()
        .inject(When::Mono(mono(42)), Injection::Step(Shift::Back(secs(1))))
        .build();
    let wait = Wait { deadline: Some(mono(100)), on: &[clock.wall_set()], what: &"wall" };
    assert_eq!(clock.wait(wait).unwrap(), Woke::Notified(0));
    assert_eq!(clock.mono(), mono(42));
}

#[test]
fn time_stands_while_listeners_of_the_wall_are_told() {
    /// A listener whose waker uses the timeline, before anyone else has heard.
    struct Meddles(Arc<MockClock>);
    impl std::task::Wake for Meddles {
        fn wake(self: Arc<Self>) {
            drop(self.0.inhibit(&"for a moment"));
        }
    }
    let clock = MockClock::builder()
        .inject(When::Mono(mono(42)), Injection::Step(Shift::Forward(secs(1))))
        .build();
    let _installed = clock.install();
    let first = clock.wall_set();
    first.register(&std::task::Waker::from(Arc::new(Meddles(Arc::clone(&clock)))));
    let waiter = thread::spawn(|| {
        let clock = crate::current();
        let wait = Wait { deadline: None, on: &[clock.wall_set()], what: &"wall" };
        (clock.wait(wait).unwrap(), clock.mono())
    });
    until(&*clock, mono(50)).unwrap();
    assert_eq!(waiter.join().unwrap(), (Woke::Notified(0), mono(42)));
}

#[test]
fn a_drift_of_a_running_clock_begins_at_its_instant_and_ends_with_another() {
    let start = WallTime::UNIX_EPOCH;
    let clock = MockClock::builder().start(start).build();
    clock.advance(secs(10)).unwrap();
    // A clock that loses ten percent.
    clock.inject(Injection::Drift { parts_per_billion: -100_000_000 }).unwrap();
    assert_eq!(clock.wall(), start + secs(10), "it does not jump");
    clock.advance(secs(100)).unwrap();
    assert_eq!(clock.wall(), start + secs(100));
    assert_eq!(clock.mono().since_origin(), secs(110), "which has no drift");
    clock.inject_at(When::Mono(clock.mono()), Injection::Drift { parts_per_billion: 0 }).unwrap();
    clock.advance(secs(100)).unwrap();
    assert_eq!(clock.wall(), start + secs(200));
}

#[test]
fn the_ends_of_the_range_are_read_at_any_resolution() {
    for start in [i128::MIN, i128::MAX] {
        let clock = MockClock::builder().start(WallTime::from_unix_nanos(start));
        let clock = clock.resolution(crate::Reading::Wall, Duration::from_micros(1)).build();
        assert!(clock.wall().unix_nanos().abs_diff(start) < 1_000);
    }
}

/// With a drift a reading is more than one word; a reader beside must see none of two times.
#[test]
fn a_reader_on_another_thread_sees_no_wall_that_never_was() {
    let clock = MockClock::builder().start(WallTime::UNIX_EPOCH).build();
    clock.inject(Injection::Drift { parts_per_billion: 1_000_000_000 }).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let before = i128::from(clock.mono_exact().nanos());
                let wall = clock.wall().unix_nanos();
                let after = i128::from(clock.mono_exact().nanos());
                assert!((before..=after + 1_000).contains(&wall), "{before} {wall} {after}");
            }
        });
        for _ in 0..100_000 {
            clock.advance(Duration::from_nanos(1_000)).unwrap();
            clock.set_wall(WallTime::from_unix_nanos(clock.mono_exact().nanos().into()));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
}
