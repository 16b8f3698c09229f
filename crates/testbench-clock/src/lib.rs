//! One virtual timeline that host code, guests, replayed processes and async tasks share.
//!
//! In a test, time is a value: it starts at 2000-01-01T00:00:00Z, passes without waiting, and is
//! the same in every run.
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::{MockClock, now, sleep, thread};
//!
//! let _clock = MockClock::builder().build().install();
//! let backup = thread::spawn(|| sleep(Duration::from_secs(3 * 3600)));
//! sleep(Duration::from_secs(3600));
//! backup.join().unwrap();
//! // Two sleeps side by side, three hours in all, and no time has really passed.
//! assert_eq!(now().to_string(), "2000-01-01T03:00:00Z");
//! ```
//!
//! | begin with | |
//! | --- | --- |
//! | [`MockClock`] | a virtual clock, to build and to [install](MockClock::install) |
//! | [`now`], [`instant_now`] | the two readings of the clock of this thread |
//! | [`sleep`] | takes no real time on a mock clock |
//! | [`advance`] | moves virtual time by hand |
//! | [`thread`], [`task`] | threads and tasks that wait in virtual time |
//! | [`Clock`] | the trait that a library takes, as `&dyn Clock` |
//!
//! # How it works
//!
//! Each runner on a timeline is a *participant*: a value, not a thread. Blocking is one
//! call, [`Clock::wait`], for an instant, for [`Event`]s, or for both. **Time moves only when every
//! participant waits, and then exactly to the earliest deadline.** With one participant this means
//! that a sleep returns at once and the clock has moved. With several, one runs at a time
//! ([`Schedule::Serial`]) in an order that does not depend on the machine, so that a whole run can
//! be repeated byte for byte.
//!
//! If no participant can ever wake again, all of them get the same report, with the wait of each
//! ([`Stuck::Deadlock`]). Blocking on anything that is not on the timeline belongs in [`external`];
//! a participant that blocks elsewhere is found and named ([`Stuck::Stalled`]).
//!
//! # Where to begin
//!
//! - Tests and script builtins: [`MockClock`], and the functions of [`ambient`], which use the clock
//!   that is installed on this thread, or the real one. Threads: [`thread`]. Async: [`task`], and
//!   with the feature `tokio` the module `tokio`.
//! - Libraries take a `&dyn` [`Clock`].
//! - Carrying what is installed to another thread or task: [`Context`]. Installing things of one's
//!   own in the same way: [`Scope`].
//! - Bytes that a seed decides: [`Seed`]. Real time limits: [`Watchdog`]. Code that still reads the
//!   real clock: [`audit`]. The steps of a test with their times: [`log`].
//!
//! Invariants: `system.rs` is the only code that reads real time. `scope/stack.rs` has the only
//! thread-local. No lock is held while foreign code runs, such as a waker, a `Display` or a `Drop`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "test_support.rs"]
pub mod __private;
pub mod ambient;
pub mod audit;
mod clock;
mod closed;
mod debug;
mod event;
pub mod log;
mod mock;
mod panics;
mod random;
mod scope;
mod system;
pub mod task;
pub mod thread;
mod time;
mod timeline;
#[cfg(feature = "tokio")]
pub mod tokio;
mod watchdog;

pub use ambient::{
    advance, current, external, install, install_for, install_participant, instant_now, is_mocked,
    now, now_ms, set_wall, settle, sleep, sleep_until, try_sleep,
};
pub use clock::{
    Clock, External, Participant, Reading, Role, Stuck, StuckReport, Wait, Waiting, Woke,
};
pub use event::{Event, Listener};
pub use mock::{ClockError, MockClock, MockClockBuilder, Schedule};
pub use random::{RandomStream, Seed};
pub use scope::{Context, EnterGuard, FutureExt, WithContext};
pub use scope::{Ended, Guard, Lifetime, Lookup, Scope};
pub use system::SystemClock;
#[cfg(any(feature = "jiff", feature = "time", feature = "chrono"))]
pub use time::OutOfRangeError;
pub use time::{MonoTime, ParseWallTimeError, WallTime};
pub use timeline::{Injection, InjectionError, Shift, When};
pub use watchdog::{Armed, Watchdog};

/// Makes a function a test with a [`MockClock`] installed: a sync function, or an async one, which
/// then runs on this clock's driver.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{self, timeout};
/// use testbench_clock::{instant_now, now, sleep};
///
/// #[testbench_clock::test]
/// fn a_day_passes() {
///     sleep(Duration::from_secs(24 * 3600));
///     assert_eq!(now().to_string(), "2000-01-02T00:00:00Z");
/// }
///
/// #[testbench_clock::test(start = "2024-02-28T23:59:59Z", seed = 7)]
/// async fn a_request_times_out() -> Result<(), Box<dyn std::error::Error>> {
///     let second = Duration::from_secs(1);
///     assert!(timeout(second, task::sleep(2 * second)).await.is_err());
///     assert_eq!(now(), "2024-02-29T00:00:00Z".parse()?);
///     Ok(())
/// }
/// ```
///
/// The arguments, all of them optional:
///
/// | | |
/// | --- | --- |
/// | `start = "2024-02-29T23:59:59Z"` | what the wall clock shows at first: an RFC 3339 time, or an expression of type [`WallTime`] |
/// | `seed = 7` | draws the order of participants that can run at the same instant; see [`MockClockBuilder::ties`] |
/// | `schedule = "parallel"` | [`Schedule::Parallel`]; `"serial"` is the default |
/// | `driver = "tokio"` | for async tests: `"tokio"` and `"tokio_paused"` are `tokio::runtime` and `tokio::paused_runtime` (feature `tokio`), `"block_on"` is [`task::block_on`]. The default is the first, or the last without that feature |
/// | `crate = "path"` | where this crate is, if not at `::testbench_clock` |
///
/// Name this attribute by its path. With `use testbench_clock::*` a plain `#[test]` is ambiguous, as with any
/// crate that has an attribute of this name.
///
/// The test fails with the report when it is stuck. Other attributes, such as `#[should_panic]` and
/// `#[ignore]`, work as usual. A second `#[test]`, parameters, and arguments that are wrong do not
/// compile:
///
/// ```compile_fail
/// #[testbench_clock::test(seed = "seven")] // a number, such as 7
/// fn f() {}
/// ```
#[cfg(feature = "macros")]
pub use testbench_clock_macros::test;
