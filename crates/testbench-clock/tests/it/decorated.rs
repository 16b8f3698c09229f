//! A clock that decorates a mock is used as it is, though what moves time by hand is the mock behind it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbench_clock::task::{self, block_on};
use testbench_clock::{
    Clock, MockClock, MonoTime, Participant, Stuck, Wait, WallTime, Woke, advance, install,
    instant_now, now, set_wall, sleep,
};

/// Counts readings, and keeps what is waited for.
#[derive(Debug)]
struct Decorated {
    below: Arc<MockClock>,
    readings: AtomicUsize,
    waits: Mutex<Vec<String>>,
}

impl Decorated {
    fn new() -> Arc<Self> {
        let below = MockClock::builder().build();
        Arc::new(Decorated { below, readings: AtomicUsize::new(0), waits: Mutex::default() })
    }

    fn readings(&self) -> usize {
        self.readings.swap(0, Ordering::Relaxed)
    }

    fn waits(&self) -> Vec<String> {
        std::mem::take(&mut self.waits.lock().unwrap())
    }
}

impl Clock for Decorated {
    fn wall(&self) -> WallTime {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.below.wall()
    }

    fn mono(&self) -> MonoTime {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.below.mono()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        self.waits.lock().unwrap().push(wait.what.to_string());
        self.below.wait(wait)
    }

    fn participant(&self) -> &dyn Participant {
        self.below.participant()
    }

    fn mono_exact(&self) -> MonoTime {
        self.below.mono_exact()
    }
}

#[test]
fn readings_and_sleeps_of_this_thread_go_through_the_decorator() {
    let clock = Decorated::new();
    let _installed = install(clock.clone());
    now();
    instant_now();
    assert_eq!(clock.readings(), 2);
    sleep(Duration::from_secs(1));
    let waits = clock.waits();
    assert!(waits.len() == 1 && waits[0].starts_with("sleep for 1s at "), "{waits:?}");
    assert_eq!(instant_now().since_origin(), Duration::from_secs(1));
}

#[test]
fn so_do_those_of_tasks() {
    let clock = Decorated::new();
    let _installed = install(clock.clone());
    block_on(task::sleep(Duration::from_secs(1))).unwrap();
    assert!(clock.readings() > 0, "a poll of a sleep is a reading");
    assert_eq!(clock.waits().len(), 1);
}

#[test]
fn time_is_moved_by_hand_behind_the_decorator() {
    let clock = Decorated::new();
    let _installed = install(clock.clone());
    advance(Duration::from_secs(5)).unwrap();
    set_wall(WallTime::UNIX_EPOCH).unwrap();
    assert_eq!(
        (now(), instant_now().since_origin()),
        (WallTime::UNIX_EPOCH, Duration::from_secs(5))
    );
    assert_eq!(clock.readings(), 2);
}

#[test]
fn a_loop_of_readings_through_a_decorator_is_found_out() {
    let below = MockClock::builder().spin_max(100).build();
    let clock = Decorated { below, readings: AtomicUsize::new(0), waits: Mutex::default() };
    let _installed = install(Arc::new(clock));
    let panic = std::panic::catch_unwind(|| (0..1_000).map(|_| now()).max()).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("spinning: ") && text.contains("decorated.rs:"), "{text}");
}
