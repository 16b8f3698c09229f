//! Threads that talk to one another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{mono, secs};
use crate::{Clock, Event, MockClock, Participant, Stuck, Wait, WallTime, thread};

#[test]
fn a_pipe_between_two_guests_lets_both_run() {
    // A bounded buffer over events: what the guest kernel's pipes do.
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let buffer = Arc::new(Mutex::new(Vec::new()));
    let (filled, emptied) = (Event::new(), Event::new());
    let (theirs, their_filled, their_emptied) =
        (Arc::clone(&buffer), filled.clone(), emptied.clone());
    let producer = thread::spawn(move || {
        let clock = crate::current();
        for i in 0..20 {
            loop {
                let room = their_emptied.listen();
                if theirs.lock().unwrap().len() < 3 {
                    break;
                }
                clock.wait(Wait { deadline: None, on: &[room], what: &"write" }).unwrap();
            }
            crate::sleep(Duration::from_nanos(10));
            theirs.lock().unwrap().push(i);
            their_filled.notify();
        }
    });
    let mut got = Vec::new();
    while got.len() < 20 {
        let news = filled.listen();
        let batch = std::mem::take(&mut *buffer.lock().unwrap());
        if batch.is_empty() {
            clock.wait(Wait { deadline: None, on: &[news], what: &"read" }).unwrap();
            continue;
        }
        emptied.notify();
        got.extend(batch);
        crate::sleep(Duration::from_nanos(15));
    }
    producer.join().unwrap();
    assert_eq!(got, (0..20).collect::<Vec<_>>());
    assert_eq!(clock.mono(), mono(220));
}

#[test]
fn the_log_is_the_same_every_time() {
    let run = || {
        let clock = MockClock::builder().log().build();
        let installed = clock.install();
        thread::scope(|scope| {
            for delay in [3, 1, 2] {
                scope.spawn(move || {
                    crate::sleep(secs(delay));
                    crate::now();
                });
            }
        });
        clock.set_wall(WallTime::UNIX_EPOCH);
        drop(installed);
        clock.log().unwrap().to_json_lines()
    };
    let first = run();
    for kind in ["join", "leave", "read", "wait", "wake", "inject"] {
        assert!(first.contains(&format!(r#""kind":"{kind}""#)), "{kind} in {first}");
    }
    for _ in 1..1_000 {
        assert_eq!(run(), first);
    }
}

#[test]
fn a_scope_ends_even_when_its_threads_are_stuck() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let ends = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for i in 0..3 {
            let ends = &ends;
            scope.spawn(move || {
                let clock = crate::current();
                let never = Event::new().listen();
                let stuck = clock.wait(Wait { deadline: None, on: &[never], what: &"never" });
                assert!(matches!(stuck, Err(Stuck::Deadlock(_))), "{stuck:?}");
                crate::sleep(Duration::from_nanos(10 - i));
                ends.lock().unwrap().push(i);
            });
        }
    });
    assert_eq!(*ends.lock().unwrap(), [2, 1, 0]);
    clock.cancel("over");
    thread::scope(|scope| {
        scope.spawn(|| crate::sleep(Duration::from_nanos(5)));
    });
    assert_eq!(clock.mono(), mono(15));
}

#[test]
fn a_panicking_thread_is_joined_with_its_panic() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let thread = thread::spawn(|| {
        crate::sleep(secs(1));
        panic!("on purpose, in a test");
    });
    assert!(thread.join().is_err());
    assert_eq!(clock.mono().since_origin(), secs(1));
}

/// Three stages with a buffer of one between them: each stage blocks on both of its sides.
#[test]
fn a_pipeline_with_back_pressure_takes_the_time_of_its_slowest_stage() {
    type Slot = Arc<(Mutex<Option<u32>>, Event)>;
    fn put(slot: &Slot, value: u32) {
        let clock = crate::current();
        loop {
            let changed = slot.1.listen();
            let mut held = slot.0.lock().unwrap();
            if held.is_none() {
                *held = Some(value);
                drop(held);
                return slot.1.notify();
            }
            drop(held);
            clock.wait(Wait { deadline: None, on: &[changed], what: &"write" }).unwrap();
        }
    }
    fn take(slot: &Slot) -> u32 {
        let clock = crate::current();
        loop {
            let changed = slot.1.listen();
            if let Some(value) = slot.0.lock().unwrap().take() {
                slot.1.notify();
                return value;
            }
            clock.wait(Wait { deadline: None, on: &[changed], what: &"read" }).unwrap();
        }
    }
    let run = || {
        let clock = MockClock::builder().log().build();
        let _installed = clock.install();
        let (a, b) = (Slot::default(), Slot::default());
        let got = thread::scope(|scope| {
            scope.spawn(|| (0..10).for_each(|i| put(&a, i)));
            scope.spawn(|| {
                for _ in 0..10 {
                    let value = take(&a);
                    crate::sleep(secs(1));
                    put(&b, value * value);
                }
            });
            let sink = scope.spawn(|| (0..10).map(|_| take(&b)).collect::<Vec<_>>());
            sink.join().unwrap()
        });
        (got, clock.mono().since_origin(), clock.log().unwrap().to_json_lines())
    };
    let first = run();
    assert_eq!(first.0, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    assert_eq!(first.1, secs(10));
    for _ in 1..1_000 {
        assert_eq!(run(), first);
    }
}
