//! The log of a timeline, in order.
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::log::Kind;
//! use testbench_clock::{MockClock, sleep, thread};
//!
//! let clock = MockClock::builder().log().build();
//! let _installed = clock.install();
//! let worker = thread::spawn(|| sleep(Duration::from_secs(2)));
//! worker.join().unwrap();
//!
//! let log = clock.log().unwrap();
//! let slept = log.events().iter().find(|e| e.kind == Kind::Wait && e.text.starts_with("sleep"));
//! assert_eq!(slept.unwrap().until.unwrap().since_origin().as_secs(), 2);
//! assert_eq!(log.to_json_lines().lines().count(), log.events().len());
//! ```

mod svg;

use crate::timeline::WallCell;
use crate::{MonoTime, WallTime};
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// The record of a timeline: who did what at which virtual time.
///
/// Under the serial schedule the same test gives the same bytes every time.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, sleep};
///
/// let clock = MockClock::builder().log().build();
/// let _installed = clock.install();
/// sleep(Duration::from_secs(1));
/// let lines = clock.log().unwrap().to_json_lines();
/// assert!(lines.lines().last().unwrap().contains(r#""mono_ns":1000000000"#), "{lines}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Vec<LogLine>,
}

/// One line of a [`Log`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When, on the monotonic clock.
    #[serde(rename = "mono_ns", serialize_with = "nanos")]
    pub mono: MonoTime,
    /// When, on the wall clock.
    #[serde(serialize_with = "text")]
    pub wall: WallTime,
    /// The participant.
    #[serde(serialize_with = "text")]
    pub who: Arc<str>,
    /// The kind of thing that happened.
    pub kind: Kind,
    /// More about it: what a wait is for, what a reading read and where.
    pub text: Box<str>,
    /// The deadline of a wait.
    #[serde(
        rename = "until_ns",
        serialize_with = "nanos_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub until: Option<MonoTime>,
}

/// The kind of a [`LogLine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// A participant joined.
    Join,
    /// It left.
    Leave,
    /// It read a clock.
    Read,
    /// It began to wait.
    Wait,
    /// Its wait ended.
    Wake,
    /// It left the timeline to block elsewhere.
    Outside,
    /// It came back.
    Return,
    /// Something was done to the wall clock.
    Inject,
}

impl Log {
    /// Everything so far, in order.
    pub fn events(&self) -> &[LogLine] {
        &self.events
    }

    /// One JSON object in each line: `mono_ns`, `wall`, `who`, `kind`, `text`, and `until_ns` where
    /// there is a deadline.
    ///
    /// ```
    /// use testbench_clock::{Injection, MockClock, WallTime};
    ///
    /// let clock = MockClock::builder().log().build();
    /// clock.inject(Injection::Set(WallTime::UNIX_EPOCH))?;
    /// let lines = clock.log().unwrap().to_json_lines();
    /// let last = lines.lines().last().unwrap();
    /// assert!(last.starts_with(r#"{"mono_ns":0,"wall":"1970-01-01T00:00:00Z","#), "{last}");
    /// assert!(last.contains(r#""kind":"inject""#), "{last}");
    /// # Ok::<(), testbench_clock::InjectionError>(())
    /// ```
    pub fn to_json_lines(&self) -> String {
        // Strings and numbers only: nothing that JSON could refuse.
        let line = |event| serde_json::to_string(event).unwrap_or_default() + "\n";
        self.events.iter().map(line).collect()
    }

    pub(crate) fn push(
        &mut self,
        mono_ns: u64,
        wall: &WallCell,
        who: &Arc<str>,
        kind: Kind,
        text: &dyn fmt::Display,
        until_ns: Option<u64>,
    ) {
        self.events.push(LogLine {
            mono: MonoTime::from_nanos(mono_ns),
            wall: wall.load().wall_at(mono_ns),
            who: Arc::clone(who),
            kind,
            text: text.to_string().into(),
            until: until_ns.map(MonoTime::from_nanos),
        });
    }
}

fn nanos<S: Serializer>(at: &MonoTime, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(at.nanos())
}

fn nanos_if_any<S: Serializer>(at: &Option<MonoTime>, out: S) -> Result<S::Ok, S::Error> {
    at.map(MonoTime::nanos).serialize(out)
}

fn text<S: Serializer>(text: &impl fmt::Display, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(text)
}
