//! Which code used the real clock while a mock was installed?
//!
//! Three layers report, each with the place of the call:
//!
//! 1. `clippy.toml` with `disallowed-methods` for `Instant::now`, `SystemTime::now` and
//!    `thread::sleep`: at compile time, for code of your own.
//! 2. The functions of [`real`]: real time on purpose, allowed with a reason.
//! 3. An interposer of the C library's clock functions, for dependencies. It is not part of this
//!    crate; it calls [`record`].
//!
//! Every [`Lifetime`](crate::Lifetime) keeps its own [`Audit`], so that tests which run side by side do not mix.
//! What happens on a thread without a session goes to [`unattributed`], and is not dropped.
//!
//! ```
//! use testbench_clock::{Lifetime, MockClock, audit, install_for};
//!
//! let session = Lifetime::new("docs");
//! let _installed = install_for(MockClock::builder().build(), &session);
//! audit::real::wall("names of log files");
//! audit::record(audit::Source::InstantNow, "some_crate/src/lib.rs:12");
//! let leaks = session.audit().leaks();
//! assert_eq!(leaks.len(), 1);
//! assert_eq!(leaks[0].to_string(), "Instant::now at some_crate/src/lib.rs:12, once");
//! ```

use crate::ambient;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was used of real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// `std::time::Instant::now`, or what it calls.
    InstantNow,
    /// `std::time::SystemTime::now`, or what it calls.
    SystemTimeNow,
    /// `std::thread::sleep`, or what it calls.
    ThreadSleep,
    /// The session's own clock, after the session had ended.
    AfterTheEnd,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::InstantNow => "Instant::now",
            Source::SystemTimeNow => "SystemTime::now",
            Source::ThreadSleep => "thread::sleep",
            Source::AfterTheEnd => "the clock of an ended session",
        })
    }
}

/// One place that used real time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What it used.
    pub source: Source,
    /// Where, as `file:line` or as a symbol.
    pub site: String,
    /// How often.
    pub count: u64,
    /// Why that is in order, if it is.
    pub allowed: Option<String>,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, ", self.source, self.site)?;
        match self.count {
            1 => f.write_str("once")?,
            2 => f.write_str("twice")?,
            n => write!(f, "{n} times")?,
        }
        match &self.allowed {
            Some(reason) => write!(f, " (allowed: {reason})"),
            None => Ok(()),
        }
    }
}

/// The uses of real time within one session.
#[derive(Debug, Default)]
pub struct Audit {
    uses: Mutex<BTreeMap<(Source, String), Use>>,
}

impl Audit {
    /// What was used without a reason, ordered by source and place.
    pub fn leaks(&self) -> Vec<Leak> {
        self.collect(|used| used.allowed.is_none())
    }

    /// What was used for a stated reason, ordered by source and place.
    pub fn allowed(&self) -> Vec<Leak> {
        self.collect(|used| used.allowed.is_some())
    }

    /// Whether nothing was used without a reason.
    pub fn is_clean(&self) -> bool {
        self.uses().values().all(|used| used.allowed.is_some())
    }

    pub(crate) fn add(&self, source: Source, site: &str, allowed: Option<&str>) {
        let mut uses = self.uses();
        let used = uses.entry((source, site.to_owned())).or_default();
        used.count += 1;
        used.allowed = allowed.map(str::to_owned);
    }

    fn collect(&self, wanted: impl Fn(&Use) -> bool) -> Vec<Leak> {
        let uses = self.uses();
        let leak = |((source, site), used): (&(Source, String), &Use)| Leak {
            source: *source,
            site: site.clone(),
            count: used.count,
            allowed: used.allowed.clone(),
        };
        uses.iter().filter(|(_, used)| wanted(used)).map(leak).collect()
    }

    fn uses(&self) -> MutexGuard<'_, BTreeMap<(Source, String), Use>> {
        // No foreign code runs under this lock, so a poisoned one is still in order.
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports a use of real time at `site` on this thread. It counts for the session whose clock is
/// installed here; if that clock is real, it is no leak and nothing is counted.
pub fn record(source: Source, site: &str) {
    add(source, site, None);
}

/// What was used on threads without a session.
pub fn unattributed() -> &'static Audit {
    static UNATTRIBUTED: Audit = Audit { uses: Mutex::new(BTreeMap::new()) };
    &UNATTRIBUTED
}

/// Real time on purpose, even where a mock is installed.
pub mod real {
    use super::{Source, add};
    use crate::{Clock, MonoTime, SystemClock, Wait, WallTime, system};
    use std::panic::Location;
    use std::time::Duration;

    /// The real time of day.
    #[track_caller]
    pub fn wall(reason: &str) -> WallTime {
        allow(Source::SystemTimeNow, reason, Location::caller());
        system::wall_now()
    }

    /// The real monotonic time, since this process first asked for it.
    #[track_caller]
    pub fn mono(reason: &str) -> MonoTime {
        allow(Source::InstantNow, reason, Location::caller());
        system::mono_now()
    }

    /// Sleeps in real time. On a mock timeline the thread keeps its turn meanwhile; wrap this in
    /// [`external`](crate::external) to give it away.
    #[track_caller]
    pub fn sleep(d: Duration, reason: &str) {
        allow(Source::ThreadSleep, reason, Location::caller());
        let clock = SystemClock::new("real::sleep");
        let deadline = clock.mono().checked_add(d);
        // A clock of its own that nobody cancels: it can only end by its deadline.
        let _ = clock.wait(Wait { deadline, on: &[], what: &"real::sleep" });
    }

    fn allow(source: Source, reason: &str, at: &Location<'_>) {
        add(source, &format!("{}:{}", at.file(), at.line()), Some(reason));
    }
}

#[derive(Debug, Default)]
struct Use {
    count: u64,
    allowed: Option<String>,
}

fn add(source: Source, site: &str, allowed: Option<&str>) {
    match ambient::session() {
        Some((lifetime, true)) => lifetime.audit().add(source, site, allowed),
        Some((_, false)) => {}
        None => unattributed().add(source, site, allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, Context, Lifetime, MockClock, SystemClock, install_for};
    use std::sync::Arc;
    use std::time::Duration;

    fn texts(leaks: &[Leak]) -> Vec<String> {
        leaks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn leaks_are_counted_by_place_and_kept_apart_from_what_is_allowed() {
        let session = Lifetime::new("s");
        let _installed = install_for(MockClock::builder().build(), &session);
        for _ in 0..3 {
            record(Source::InstantNow, "a.rs:1");
        }
        record(Source::ThreadSleep, "b.rs:2");
        let before = real::mono("to measure the test itself");
        let line = line!() - 1;
        real::sleep(Duration::from_millis(2), "to measure the test itself");
        assert!(real::mono("again").duration_since(before) >= Duration::from_millis(2));
        let audit = session.audit();
        let leaks = ["Instant::now at a.rs:1, 3 times", "thread::sleep at b.rs:2, once"];
        assert_eq!(texts(&audit.leaks()), leaks);
        assert!(!audit.is_clean());
        let allowed = texts(&audit.allowed());
        let first = format!(
            "Instant::now at {}:{line}, once (allowed: to measure the test itself)",
            file!()
        );
        assert_eq!((allowed.len(), &allowed[0]), (3, &first));
    }

    #[test]
    fn sessions_do_not_mix_and_threads_without_one_are_not_dropped() {
        let (one, other) = (Lifetime::new("one"), Lifetime::new("other"));
        let _one = install_for(MockClock::builder().build(), &one);
        let context = Context::capture();
        std::thread::spawn(move || {
            let _other = install_for(MockClock::builder().build(), &other);
            record(Source::InstantNow, "other.rs:1");
            context.wrap(|| record(Source::SystemTimeNow, "one.rs:1"))();
            assert_eq!(texts(&other.audit().leaks()), ["Instant::now at other.rs:1, once"]);
        })
        .join()
        .unwrap();
        assert_eq!(texts(&one.audit().leaks()), ["SystemTime::now at one.rs:1, once"]);
        std::thread::spawn(|| record(Source::ThreadSleep, "nowhere.rs:7")).join().unwrap();
        let nowhere = "thread::sleep at nowhere.rs:7, once".to_owned();
        assert!(texts(&unattributed().leaks()).contains(&nowhere));
    }

    #[test]
    fn real_time_is_no_leak_where_the_clock_is_real() {
        let session = Lifetime::new("s");
        let real: Arc<dyn Clock> = Arc::new(SystemClock::new("test"));
        let _installed = install_for(real, &session);
        record(Source::InstantNow, "a.rs:1");
        assert!(session.audit().is_clean());
    }

    #[test]
    fn use_after_the_end_is_a_leak_of_that_session() {
        let session = Lifetime::new("s");
        let installed = install_for(MockClock::builder().build(), &session);
        let context = Context::capture();
        drop(installed);
        context.wrap(|| drop(crate::try_sleep(Duration::ZERO)))();
        let leaks = session.audit().leaks();
        assert!(leaks.iter().all(|leak| leak.source == Source::AfterTheEnd), "{leaks:?}");
        assert_eq!(leaks.iter().map(|leak| leak.count).sum::<u64>(), session.late_uses());
        assert!(session.late_uses() > 0);
    }
}
