//! Which code used the real clock while a mock was installed?
//!
//! Three layers report, each with the place of the call:
//!
//! 1. `clippy.toml` with `disallowed-methods` for `Instant::now`, `SystemTime::now`, `thread::sleep`
//!    and their like: at compile time, for code of your own. [`CLIPPY_TOML`] is one to copy.
//! 2. The functions of [`real`]: real time on purpose, allowed with a reason.
//! 3. The crate `testbench-interpose`, which interposes the C library's clock functions: at run time,
//!    for any dependency. It reports by [`interpose`]; other interposers may as well.
//!
//! Every [`Lifetime`] keeps its own [`Audit`], so that tests which run side by side
//! do not mix. Uses on a thread without a session go to [`unattributed`], and are not
//! dropped.
//!
//! ```
//! use testbench_clock::{Lifetime, MockClock, audit, install_for};
//!
//! let session = Lifetime::new("docs");
//! let _installed = install_for(MockClock::builder().build(), &session);
//! audit::real::now("names of log files");
//! audit::record(audit::Source::InstantNow, "some_crate/src/lib.rs:12");
//! audit::record(audit::Source::InstantNow, "metrics::timer (metrics/src/lib.rs:7)");
//! session.audit().allow("metrics::", "nothing depends on what it measures");
//! let leaks = session.audit().leaks();
//! assert_eq!(leaks.len(), 1);
//! assert_eq!(leaks[0].to_string(), "Instant::now at some_crate/src/lib.rs:12, once");
//! assert_eq!(session.audit().allowed().len(), 2);
//! ```

pub mod interpose;
pub mod real;
mod sites;

pub use sites::Source;
pub(crate) use sites::{Audited, Table, is_enabled};

use crate::Lifetime;
use crate::ambient;
use crate::debug::debug_by;
use crate::panics::locked;
use sites::Lease;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock};

/// A `clippy.toml` to copy into a project of your own: `disallowed-methods` for everything in std
/// that reads real time or sleeps in it, with what to use instead.
pub const CLIPPY_TOML: &str = include_str!("../../assets/clippy.toml");

/// One place that used real time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The way in which it used real time.
    pub source: Source,
    /// Where: `file:line`, or `path::of::function (file:line)` as far as that is known.
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

/// The uses of real time within one session; see [`Lifetime::audit`](crate::Lifetime::audit).
pub struct Audit {
    uses: Mutex<BTreeMap<(Source, String), Use>>,
    rules: Mutex<Vec<Rule>>,
    /// Counters for interposed functions, taken when the first mock clock of the session is installed.
    lease: OnceLock<Lease>,
    /// The counters of the audit that belongs to no session.
    table: Option<&'static Table>,
}

impl Audit {
    /// Returns the uses without a reason, ordered by source and place.
    pub fn leaks(&self) -> Vec<Leak> {
        self.all().into_iter().filter(|leak| leak.allowed.is_none()).collect()
    }

    /// Returns the uses for a stated reason, ordered by source and place.
    pub fn allowed(&self) -> Vec<Leak> {
        self.all().into_iter().filter(|leak| leak.allowed.is_some()).collect()
    }

    /// Whether nothing was used without a reason.
    pub fn is_clean(&self) -> bool {
        self.leaks().is_empty()
    }

    /// Declares that code whose place begins with `prefix` may use real time in this session, earlier
    /// uses included: a path such as `some_crate::`, or a file such as `src/metrics.rs`.
    ///
    /// [`allow_everywhere`] is the same for all sessions of the process.
    ///
    /// ```
    /// use testbench_clock::audit::{self, Source};
    /// use testbench_clock::{Lifetime, MockClock, install_for};
    ///
    /// let session = Lifetime::new("docs");
    /// let _installed = install_for(MockClock::builder().build(), &session);
    /// audit::record(Source::InstantNow, "metrics::timer (metrics/src/lib.rs:7)");
    /// audit::record(Source::InstantNow, "metrics_of_mine::x (src/x.rs:1)");
    /// session.audit().allow("metrics::", "nothing depends on what it measures");
    /// assert_eq!((session.audit().allowed().len(), session.audit().leaks().len()), (1, 1));
    /// ```
    pub fn allow(&self, prefix: &str, reason: &str) {
        locked(&self.rules).push(Rule::new(prefix, reason));
    }

    const fn new(table: Option<&'static Table>) -> Self {
        Audit {
            uses: Mutex::new(BTreeMap::new()),
            rules: Mutex::new(Vec::new()),
            lease: OnceLock::new(),
            table,
        }
    }

    /// The counters for interposed functions, if there is an interposer.
    pub(crate) fn table(&self) -> Option<&'static Table> {
        let of_session = || is_enabled().then(|| self.lease.get_or_init(Lease::take).0);
        self.table.or_else(of_session)
    }

    pub(crate) fn add(&self, source: Source, site: &str, allowed: Option<&str>) {
        let mut uses = locked(&self.uses);
        let used = uses.entry((source, site.to_owned())).or_default();
        used.count += 1;
        used.allowed = allowed.map(str::to_owned);
    }

    fn all(&self) -> Vec<Leak> {
        self.name_what_was_counted();
        let rules = [locked(&self.rules).clone(), locked(&EVERYWHERE).clone()].concat();
        let leak = |((source, site), used): (&(Source, String), &Use)| {
            let by_rule = || rules.iter().find(|rule| rule.covers(site)).map(|r| r.reason.clone());
            let allowed = used.allowed.clone().or_else(by_rule);
            Leak { source: *source, site: site.clone(), count: used.count, allowed }
        };
        locked(&self.uses).iter().map(leak).collect()
    }

    fn name_what_was_counted(&self) {
        let table = self.table.or_else(|| self.lease.get().map(|lease| lease.0));
        for counted in table.map(Table::drain).unwrap_or_default() {
            // Names take long and a lock of their own: before this one is taken.
            let Some(site) = interpose::name(&counted.frames) else { continue };
            let mut uses = locked(&self.uses);
            uses.entry((counted.source, site)).or_default().count += counted.count;
        }
    }
}

debug_by!([] Audit, "Audit", |it| { uses: *locked(&it.uses) });

/// [`Audit::allow`] for every session of this process, and for [`unattributed`].
pub fn allow_everywhere(prefix: &str, reason: &str) {
    locked(&EVERYWHERE).push(Rule::new(prefix, reason));
}

/// Reports a use of real time at `site` on this thread. It counts for the session whose clock is
/// installed here; if that clock is real, it is no leak and nothing is counted.
///
/// ```
/// use testbench_clock::audit::{Source, record};
/// use testbench_clock::{Lifetime, MockClock, install_for};
/// use std::panic::Location;
///
/// /// A wrapper that a project has around the real clock.
/// #[track_caller]
/// fn raw_ticks() -> u64 {
///     let at = Location::caller();
///     record(Source::InstantNow, &format!("{}:{}", at.file(), at.line()));
///     # let raw = 7;
///     raw
/// }
///
/// let session = Lifetime::new("docs");
/// let _installed = install_for(MockClock::builder().build(), &session);
/// raw_ticks();
/// assert_eq!(session.audit().leaks().len(), 1);
/// ```
pub fn record(source: Source, site: &str) {
    add(source, site, None);
}

/// The uses on threads without a session. Of those that an interposer sees, only the ones made while
/// some session of the process had a mock clock: at other times, real time is nothing special.
pub fn unattributed() -> &'static Audit {
    static TABLE: Table = Table::new();
    static UNATTRIBUTED: Audit = Audit::new(Some(&TABLE));
    &UNATTRIBUTED
}

static EVERYWHERE: Mutex<Vec<Rule>> = Mutex::new(Vec::new());

/// Code that may use real time, and why.
#[derive(Clone)]
struct Rule {
    prefix: String,
    reason: String,
}

impl Rule {
    fn new(prefix: &str, reason: &str) -> Self {
        Rule { prefix: prefix.to_owned(), reason: reason.to_owned() }
    }

    fn covers(&self, site: &str) -> bool {
        let file = site.rsplit_once(" (").map(|(_, file)| file);
        [Some(site), file].into_iter().flatten().any(|text| text.starts_with(&self.prefix))
    }
}

#[derive(Debug, Default)]
struct Use {
    count: u64,
    allowed: Option<String>,
}

impl Lifetime {
    /// Returns which code used real time in this session, as far as that was reported.
    pub fn audit(&self) -> &Audit {
        self.record(|| Audit::new(None))
    }

    /// Returns how often the clock of this lifetime was used after its end, on any thread.
    pub fn late_uses(&self) -> u64 {
        let uses = locked(&self.audit().uses);
        let late = uses.iter().filter(|((source, _), _)| *source == Source::AfterTheEnd);
        late.map(|(_, used)| used.count).sum()
    }

    pub(crate) fn count_late_use(&self) {
        let thread = std::thread::current();
        let site = format!("thread `{}`", thread.name().unwrap_or("without a name"));
        self.audit().add(Source::AfterTheEnd, &site, None);
    }
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
        record(Source::ThreadSleep, "c.rs:2");
        let before = real::instant_now("to measure the test itself");
        let line = line!() - 1;
        real::sleep(Duration::from_millis(2), "to measure the test itself");
        assert!(real::instant_now("again").duration_since(before) >= Duration::from_millis(2));
        let audit = session.audit();
        let leaks = ["Instant::now at a.rs:1, 3 times", "thread::sleep at c.rs:2, once"];
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
    fn a_rule_allows_a_crate_or_a_file_and_nothing_else() {
        let session = Lifetime::new("s");
        let _installed = install_for(MockClock::builder().build(), &session);
        let sites = ["good::timer (/src/good/lib.rs:3)", "goodness::x (/src/x.rs:1)", "b.rs:2"];
        sites.iter().for_each(|site| record(Source::InstantNow, site));
        let audit = session.audit();
        audit.allow("good::", "measures nothing that matters");
        assert_eq!(texts(&audit.allowed()).len(), 1);
        assert!(texts(&audit.allowed())[0].ends_with("(allowed: measures nothing that matters)"));
        audit.allow("/src/x.rs", "by file");
        assert_eq!(texts(&audit.leaks()), ["Instant::now at b.rs:2, once"]);
        allow_everywhere("b.rs:2", "in all tests");
        assert!(audit.is_clean());
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
        let context = Context::capture();
        session.end();
        assert!(!context.wrap(crate::is_mocked)(), "nor after the end of its session");
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
