//! Why a wait cannot go on, and who else is in it.

use std::fmt;
use std::sync::Arc;

/// Why a wait was given up.
///
/// ```
/// use testbench_clock::{Clock, MockClock, Stuck, Wait};
///
/// let clock = MockClock::builder().name("test").build();
/// let stuck = clock.wait(Wait { deadline: None, on: &[], what: &"a reply" }).unwrap_err();
/// assert!(matches!(stuck, Stuck::Deadlock(_)));
/// assert_eq!(stuck.to_string(), "deadlock: nothing can end this wait\n  `test`: a reply");
/// assert_eq!(std::io::Error::from(stuck).kind(), std::io::ErrorKind::Deadlock);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// Every participant waits, none has a deadline, and nothing outside is awaited.
    #[error("deadlock: nothing can end this wait\n{0}")]
    Deadlock(Arc<StuckReport>),
    /// One participant runs or blocks outside the timeline while the others wait for it.
    #[error("stalled: a participant does not come back to the timeline\n{0}")]
    Stalled(Arc<StuckReport>),
    /// This participant read the clock very many times and never waited, so that virtual time
    /// cannot move.
    #[error(
        "spinning: `{who}` read the clock {readings} times without waiting, and virtual time moves \
         only when every participant waits; sleep in the loop, or build the clock with `tick_per_read`"
    )]
    Spinning {
        /// The participant's name.
        who: Arc<str>,
        /// How often it read the clock since its last wait.
        readings: u64,
    },
    /// A wait on the timeline inside of [`Participant::external`](crate::Participant::external), which holds that timeline still.
    #[error(
        "`{who}` waits on the timeline ({what}) inside `external`, which holds the timeline still; \
         wait before or after it, or on a thread made by `clock::thread::spawn`"
    )]
    Outside {
        /// The participant's name.
        who: Arc<str>,
        /// The wait that it tried.
        what: String,
    },
    /// The session to which the clock belongs has ended, or the wait was cancelled.
    #[error("cancelled: {0}")]
    Cancelled(Arc<str>),
}

/// The kind is [`Deadlock`](std::io::ErrorKind::Deadlock) for a wait that cannot end,
/// [`TimedOut`](std::io::ErrorKind::TimedOut) for [`Stuck::Spinning`], and
/// [`Interrupted`](std::io::ErrorKind::Interrupted) for [`Stuck::Cancelled`].
impl From<Stuck> for std::io::Error {
    fn from(stuck: Stuck) -> Self {
        use std::io::ErrorKind;
        let kind = match &stuck {
            Stuck::Deadlock(_) | Stuck::Stalled(_) | Stuck::Outside { .. } => ErrorKind::Deadlock,
            Stuck::Spinning { .. } => ErrorKind::TimedOut,
            Stuck::Cancelled(_) => ErrorKind::Interrupted,
        };
        std::io::Error::new(kind, stuck)
    }
}

/// The wait of each participant, in the order in which they joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckReport {
    /// One line for each participant.
    pub waiting: Vec<Waiting>,
}

/// One participant of a [`StuckReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The participant's name.
    pub who: String,
    /// Its wait, such as `read on a pipe`.
    pub what: String,
}

impl fmt::Display for StuckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |w: &Waiting| format!("  `{}`: {}", w.who, w.what);
        f.write_str(&self.waiting.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}
