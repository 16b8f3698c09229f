//! Uses real time in the ways that dependencies do, and knows nothing of any mock.

#![allow(clippy::disallowed_methods, reason = "it is here to be caught")]

// What is done after a call keeps the compiler from making a jump of it, which would leave no trace
// of these functions on the stack.
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Reads the monotonic clock.
#[inline(never)]
pub fn read_instant() -> Instant {
    black_box(Instant::now())
}

/// Reads the wall clock.
#[inline(never)]
pub fn read_wall() -> SystemTime {
    black_box(SystemTime::now())
}

/// Sleeps a millisecond.
#[inline(never)]
pub fn nap() {
    thread::sleep(Duration::from_millis(1));
    black_box(());
}

/// Reads the monotonic clock twice, once hidden in `elapsed`.
#[inline(never)]
pub fn measure() -> Duration {
    let start = Instant::now();
    black_box(start.elapsed())
}

/// A measurement with a type of its own around it.
#[derive(Debug)]
pub struct Timer(Instant);

impl Timer {
    /// When it was started.
    pub fn started(&self) -> Instant {
        self.0
    }

    /// Starts to measure.
    #[inline(never)]
    pub fn start() -> Self {
        black_box(Timer(Instant::now()))
    }
}

impl Default for Timer {
    fn default() -> Self {
        Timer::start()
    }
}
