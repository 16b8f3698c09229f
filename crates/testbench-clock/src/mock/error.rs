//! Why a clock could not be moved.

use crate::MonoTime;
use crate::clock::Stuck;
use crate::scope::Ended;
use std::time::Duration;

/// Why this thread's clock could not be moved.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{ClockError, MockClock, advance};
///
/// let error = advance(Duration::from_secs(1)).unwrap_err();
/// let advice = "advance: the clock of this thread is the real one; install a `MockClock` first";
/// assert_eq!(error.to_string(), advice);
///
/// let _installed = MockClock::builder().build().install();
/// assert!(matches!(advance(Duration::MAX), Err(ClockError::OutOfRange { .. })));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The clock is the real one.
    #[error("{what}: the clock of this thread is the real one; install a `MockClock` first")]
    NotMocked {
        /// The function that was called.
        what: &'static str,
    },
    /// The end of the range of monotonic time.
    #[error("advance by {by:?} from {from:?} passes the end of monotonic time, 584 years")]
    OutOfRange {
        /// The reading before.
        from: MonoTime,
        /// How far it was to move.
        by: Duration,
    },
    /// Others did not come back to the timeline.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// The session of the clock has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}
