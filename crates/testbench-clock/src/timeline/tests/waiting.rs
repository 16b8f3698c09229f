//! Waits: in which order they end, and at which time.

use std::time::Duration;

use super::{Trace, mono, secs, until, wake_order};
use crate::{Clock, ClockError, Event, MockClock, MonoTime, Schedule, Seed, Wait, Woke, thread};

#[test]
fn sleeps_overlap_and_wake_by_deadline_then_by_registration() {
    for _ in 0..50 {
        assert_eq!(wake_order(MockClock::builder(), &[3, 1, 2]), "1 1; 2 2; 3 0");
        assert_eq!(wake_order(MockClock::builder(), &[5, 5, 5, 1]), "1 3; 5 0; 5 1; 5 2");
    }
}

#[test]
fn a_seed_draws_the_order_of_ties_and_nothing_else() {
    let run = |seed| wake_order(MockClock::builder().ties(Seed::new(seed)), &[7, 7, 7, 7, 3]);
    let orders: std::collections::BTreeSet<_> = (0..20).map(run).collect();
    assert!(orders.len() > 3, "{orders:?}");
    for order in &orders {
        assert!(order.starts_with("3 4; 7 "), "{order}");
    }
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn a_parallel_schedule_keeps_the_times() {
    let order = wake_order(MockClock::builder().schedule(Schedule::Parallel), &[30, 10, 20, 10]);
    let mut entries: Vec<_> = order.split("; ").collect();
    entries.sort_unstable();
    assert_eq!(entries, ["10 1", "10 3", "20 2", "30 0"]);
}

#[test]
fn advance_stops_at_every_deadline_and_returns_last() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let trace = Trace::default();
    let theirs = trace.clone();
    let ticker = thread::spawn(move || {
        for _ in 0..3 {
            crate::sleep(secs(1));
            theirs.note("tick");
        }
    });
    crate::advance(secs(2)).unwrap();
    trace.note("advanced");
    let expected = "1000000000 tick; 2000000000 tick; 2000000000 advanced";
    assert_eq!(trace.take(), expected);
    ticker.join().unwrap();
    assert_eq!(trace.take(), "3000000000 tick");
}

#[test]
fn advance_past_the_range_is_an_error_and_moves_nothing() {
    let clock = MockClock::builder().build();
    clock.advance(secs(1)).unwrap();
    let error = clock.advance(Duration::MAX).unwrap_err();
    assert!(matches!(error, ClockError::OutOfRange { .. }), "{error}");
    assert_eq!(clock.mono().since_origin(), secs(1));
    until(&*clock, MonoTime::MAX).unwrap();
    assert!(clock.advance(Duration::from_nanos(1)).is_err());
}

#[test]
fn a_notification_wakes_without_moving_time() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let event = Event::new();
    let heard = event.listen();
    let waiter = thread::spawn(move || {
        let clock = crate::current();
        let wait = Wait { deadline: Some(mono(1000)), on: &[heard], what: &"news" };
        (clock.wait(wait), clock.mono())
    });
    crate::sleep(Duration::from_nanos(10));
    event.notify();
    let (woke, at) = waiter.join().unwrap();
    assert_eq!(woke.unwrap(), Woke::Notified(0));
    assert_eq!(at, mono(10));
    assert_eq!(clock.mono(), mono(10), "the deadline that was not needed moved nothing");
}

#[test]
fn listeners_are_looked_at_before_the_deadline_and_in_order() {
    let clock = MockClock::builder().build();
    let (quiet, loud) = (Event::new(), Event::new());
    let on = [quiet.listen(), loud.listen(), loud.listen()];
    loud.notify();
    let wait = Wait { deadline: Some(MonoTime::ORIGIN), on: &on, what: &"either" };
    assert_eq!(clock.wait(wait).unwrap(), Woke::Notified(1));
}
