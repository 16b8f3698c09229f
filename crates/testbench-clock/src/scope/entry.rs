//! An entry under a key, without its type.

use super::lifetime::{Ended, Lifetime};
use crate::audit::Audited;
use crate::timeline::Dial;
use std::any::Any;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A [`Scope`](super::Scope) of any type.
pub(super) trait Key: Sync {
    fn state(&self) -> &KeyState;

    /// Makes the value that a further thread of this name gets, if it differs there.
    fn fork(&self, value: &Value, thread_name: &str) -> Option<(Value, OnExit)>;

    fn shortcuts(&self, value: &Value) -> Shortcuts;
}

/// The part of a key that does not depend on its type.
pub(super) struct KeyState {
    pub(super) name: &'static str,
    /// Entries that exist anywhere in the process, captured ones included.
    pub(super) live: AtomicUsize,
    pub(super) thread_bound: bool,
}

pub(super) type Value = Arc<dyn Any + Send + Sync>;

/// The call for when a further thread leaves the context.
pub(crate) type OnExit = Box<dyn FnOnce()>;

/// Shortcuts that an entry offers beside its value.
#[derive(Clone, Default)]
pub(crate) struct Shortcuts {
    /// The shortest way to readings of a mock clock.
    pub(crate) dial: Option<Arc<Dial>>,
    pub(crate) audited: Audited,
}

pub(super) struct Entry {
    pub(super) key: &'static dyn Key,
    pub(super) index: usize,
    pub(super) value: Value,
    lifetime: Lifetime,
    /// Set when the guard drops; shared with the entries that other threads forked from this one.
    closed: Arc<OnceLock<Ended>>,
    pub(super) shortcuts: Shortcuts,
}

impl Entry {
    pub(super) fn new(
        key: &'static dyn Key,
        index: usize,
        value: Value,
        lifetime: Lifetime,
        closed: Arc<OnceLock<Ended>>,
    ) -> Self {
        key.state().live.fetch_add(1, Ordering::Relaxed);
        let shortcuts = key.shortcuts(&value);
        Entry { key, index, value, lifetime, closed, shortcuts }
    }

    #[inline]
    pub(super) fn ended(&self) -> Option<&Ended> {
        self.lifetime.ended_ref().or_else(|| self.closed.get())
    }

    /// The guard that was made there is dropped.
    pub(super) fn close(&self, made_at: &'static Location<'static>) {
        self.closed.get_or_init(|| self.lifetime.dropped(made_at));
    }

    /// This entry as a further thread gets it, if it differs there.
    pub(super) fn forked(&self, thread_name: &str) -> Option<(Entry, OnExit)> {
        if self.ended().is_some() {
            return None;
        }
        let (value, on_exit) = self.key.fork(&self.value, thread_name)?;
        let (lifetime, closed) = (self.lifetime.clone(), Arc::clone(&self.closed));
        Some((Entry::new(self.key, self.index, value, lifetime, closed), on_exit))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.key.state().live.fetch_sub(1, Ordering::Relaxed);
    }
}
