//! Real time on purpose, even where a mock is installed.
//!
//! Every call gives its reason, and is listed with it in [`Audit::allowed`](super::Audit::allowed).
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::audit::real;
//! use testbench_clock::{MockClock, is_mocked};
//!
//! let _installed = MockClock::builder().build().install();
//! let before = real::instant_now("to time the test itself");
//! real::sleep(Duration::from_millis(2), "the device under test needs to settle");
//! assert!(is_mocked());
//! assert!(real::instant_now("as above").duration_since(before) >= Duration::from_millis(2));
//! ```

use super::{Source, add};
use crate::{Clock, MonoTime, SystemClock, Wait, WallTime, system};
use std::hint::black_box;
use std::panic::Location;
use std::time::Duration;

/// The real time of day.
#[track_caller]
pub fn now(reason: &str) -> WallTime {
    allow(Source::SystemTimeNow, reason, Location::caller());
    read_wall()
}

/// The real monotonic time, since this process first asked for it.
#[track_caller]
pub fn instant_now(reason: &str) -> MonoTime {
    allow(Source::InstantNow, reason, Location::caller());
    read_mono()
}

/// Sleeps in real time. On a mock timeline the thread keeps its turn meanwhile; wrap this in
/// [`external`](crate::external) to give it away.
#[track_caller]
pub fn sleep(d: Duration, reason: &str) {
    allow(Source::ThreadSleep, reason, Location::caller());
    let clock = SystemClock::new("real::sleep");
    let deadline = clock.mono().checked_add(d);
    // Nothing cancels this clock, so it can only end by its deadline.
    let _ = clock.wait(Wait { deadline, on: &[], what: &"real::sleep" });
}

// Never inlined, and with something left to do after the reading, so that its call is not made a jump:
// the interposer must find this module on the stack to know that the reading is accounted for.
#[inline(never)]
fn read_wall() -> WallTime {
    black_box(system::wall_now())
}

#[inline(never)]
fn read_mono() -> MonoTime {
    black_box(system::mono_now())
}

fn allow(source: Source, reason: &str, at: &Location<'_>) {
    add(source, &format!("{}:{}", at.file(), at.line()), Some(reason));
}
