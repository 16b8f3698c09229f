//! From the start of a session to its end, and the error of everything that comes later.

use crate::debug::debug_by;
use crate::panics::locked;
use std::any::Any;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

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
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                record: OnceLock::new(),
                listeners: Mutex::default(),
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

    /// Ends it, at the caller's place. The first end stays. Each wait on a mock clock of this
    /// lifetime, on any thread, ends at once with the error of that.
    #[track_caller]
    pub fn end(&self) {
        self.end_as(How::At(Location::caller()));
    }

    /// The error that tells where it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended.get().cloned()
    }

    /// Calls `listener` when this ends, on the thread that ends it; at once if it has ended.
    pub fn on_end(&self, listener: impl FnOnce(&Ended) + Send + 'static) {
        let mut listeners = locked(&self.shared.listeners);
        match self.shared.ended.get() {
            None => listeners.push(Box::new(listener)),
            Some(ended) => {
                drop(listeners);
                listener(ended);
            }
        }
    }

    /// Tells this lifetime from all others of the process.
    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    /// The record that is kept for as long as the lifetime; all callers name one type.
    pub(crate) fn record<T: Send + Sync + 'static>(&self, new: fn() -> T) -> &T {
        let record = self.shared.record.get_or_init(|| Box::new(new()));
        record.downcast_ref().expect("one type of record is kept for a lifetime")
    }

    /// Ends it because a guard that owns it was dropped.
    pub(crate) fn end_by_drop(&self, made_at: &'static Location<'static>) {
        self.end_as(How::Dropped(made_at));
    }

    /// The error of an entry of this lifetime whose own guard, made there, was dropped.
    pub(crate) fn dropped(&self, made_at: &'static Location<'static>) -> Ended {
        Ended { name: Arc::clone(&self.shared.name), how: How::Dropped(made_at) }
    }

    #[inline]
    pub(crate) fn ended_ref(&self) -> Option<&Ended> {
        self.shared.ended.get()
    }

    fn end_as(&self, how: How) {
        let ended = Ended { name: Arc::clone(&self.shared.name), how };
        // Under this lock, so that no listener is added to a lifetime that has ended.
        let mut listeners = locked(&self.shared.listeners);
        if self.shared.ended.set(ended).is_err() {
            return;
        }
        let told = std::mem::take(&mut *listeners);
        drop(listeners);
        let Some(ended) = self.shared.ended.get() else { return };
        told.into_iter().for_each(|listener| listener(ended));
    }
}

debug_by!([] Lifetime, "Lifetime", |it| { name: it.shared.name, ended: it.shared.ended.get() });

/// The error of everything that is used after its session has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session `{name}` ended {how}")]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum How {
    #[error("at {}:{}", .0.file(), .0.line())]
    At(&'static Location<'static>),
    #[error("when the guard made at {}:{} was dropped", .0.file(), .0.line())]
    Dropped(&'static Location<'static>),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

struct LifetimeShared {
    id: u64,
    name: Arc<str>,
    began_at: &'static Location<'static>,
    ended: OnceLock<Ended>,
    record: OnceLock<Box<dyn Any + Send + Sync>>,
    listeners: Mutex<Vec<OnEnd>>,
}

type OnEnd = Box<dyn FnOnce(&Ended) + Send>;
