//! From the start of a session to its end, and the error of everything that comes later.

use crate::audit::{Audit, Source};
use crate::timeline::Timeline;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// How long entries are in use: from the start of a session to its end.
///
/// Clones are the same lifetime.
///
/// ```
/// use testbench_clock::Lifetime;
///
/// let session = Lifetime::new("checkout");
/// assert!(session.ended().is_none());
/// session.end();
/// let ended = session.ended().unwrap().to_string();
/// assert!(ended.starts_with("session `checkout` ended at "), "{ended}");
/// ```
#[derive(Clone)]
pub struct Lifetime {
    shared: Arc<LifetimeShared>,
}

impl Lifetime {
    /// A lifetime that starts now; `name` and the caller's place appear in errors.
    #[track_caller]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Lifetime {
            shared: Arc::new(LifetimeShared {
                name: name.into(),
                began_at: Location::caller(),
                ended: OnceLock::new(),
                late_uses: AtomicU64::new(0),
                audit: Audit::of_a_session(),
                timelines: Mutex::default(),
            }),
        }
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The place in the code where it began: the call of [`Lifetime::new`].
    pub fn began_at(&self) -> &'static Location<'static> {
        self.shared.began_at
    }

    /// Ends it, at the caller's place. The first end stays. Whoever waits on a mock clock of this
    /// lifetime, on whatever thread, is told so at once.
    #[track_caller]
    pub fn end(&self) {
        self.end_as(How::At(Location::caller()));
    }

    /// The error that tells where it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended.get().cloned()
    }

    /// Which code used real time in this session, as far as that was reported.
    pub fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    /// How often the clock of this lifetime was used after its end, on whatever thread.
    pub fn late_uses(&self) -> u64 {
        self.shared.late_uses.load(Ordering::Relaxed)
    }

    /// Ends it because a guard that owns it was dropped.
    pub(crate) fn end_by_drop(&self, made_at: &'static Location<'static>) {
        self.end_as(How::Dropped(made_at));
    }

    /// The error of something of this lifetime whose own guard, made there, was dropped.
    pub(crate) fn dropped(&self, made_at: &'static Location<'static>) -> Ended {
        Ended { name: Arc::clone(&self.shared.name), how: How::Dropped(made_at) }
    }

    #[inline]
    pub(crate) fn ended_ref(&self) -> Option<&Ended> {
        self.shared.ended.get()
    }

    /// Has this end tell those who wait on `timeline` as participants of this lifetime. False if it
    /// has ended.
    pub(crate) fn covers(&self, timeline: &Arc<Timeline>) -> bool {
        let mut covered = self.shared.timelines();
        if self.ended_ref().is_some() {
            return false;
        }
        let timeline = Arc::downgrade(timeline);
        if !covered.iter().any(|known| known.ptr_eq(&timeline)) {
            covered.push(timeline);
        }
        true
    }

    /// Whether the two are one lifetime.
    pub(crate) fn is(&self, other: &Lifetime) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn count_late_use(&self) {
        self.shared.late_uses.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::current();
        let site = format!("thread `{}`", thread.name().unwrap_or("without a name"));
        self.shared.audit.add(Source::AfterTheEnd, &site, None);
    }

    fn end_as(&self, how: How) {
        let ended = Ended { name: Arc::clone(&self.shared.name), how };
        // Under this lock, so that no timeline comes to be covered by what has ended.
        let mut timelines = self.shared.timelines();
        if self.shared.ended.set(ended).is_err() {
            return;
        }
        let covered = std::mem::take(&mut *timelines);
        drop(timelines);
        for timeline in covered.iter().filter_map(Weak::upgrade) {
            timeline.end_session(self);
        }
    }
}

impl fmt::Debug for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifetime")
            .field("name", &self.shared.name)
            .field("ended", &self.shared.ended.get())
            .finish_non_exhaustive()
    }
}

/// The error of everything that is used after its session has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    name: Arc<str>,
    how: How,
}

impl Ended {
    /// The name of the session.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.how {
            How::At(at) => write!(f, "session `{name}` ended at {}:{}", at.file(), at.line()),
            How::Dropped(made_at) => write!(
                f,
                "session `{name}` ended when the guard made at {}:{} was dropped",
                made_at.file(),
                made_at.line()
            ),
        }
    }
}

impl std::error::Error for Ended {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    At(&'static Location<'static>),
    Dropped(&'static Location<'static>),
}

struct LifetimeShared {
    name: Arc<str>,
    began_at: &'static Location<'static>,
    ended: OnceLock<Ended>,
    late_uses: AtomicU64,
    audit: Audit,
    /// Those with participants of this lifetime.
    timelines: Mutex<Vec<Weak<Timeline>>>,
}

impl LifetimeShared {
    fn timelines(&self) -> MutexGuard<'_, Vec<Weak<Timeline>>> {
        // No foreign code runs under this lock, so a poisoned one is still in order.
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
