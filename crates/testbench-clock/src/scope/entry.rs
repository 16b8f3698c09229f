//! An entry under a key, without its type.

use super::Scope;
use super::lifetime::{Ended, Lifetime};
use crate::audit::Audited;
use crate::timeline::Dial;
use std::any::Any;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Makes the value that a further thread gets under a key; the name is that thread's.
pub(crate) type ForkFn<T> = fn(&Arc<T>, &str) -> Forked<T>;

/// The shortcuts to a value.
pub(crate) type ShortcutsFn<T> = fn(&T) -> Shortcuts;

/// Shortcuts that an entry offers beside its value.
#[derive(Clone, Default)]
pub(crate) struct Shortcuts {
    /// The shortest way to readings of a mock clock.
    pub(crate) dial: Option<Arc<Dial>>,
    pub(crate) audited: Audited,
}

/// The value for a further thread, and what is to happen when that thread leaves the context.
pub(crate) struct Forked<T> {
    pub(crate) value: Arc<T>,
    pub(crate) on_exit: OnExit,
}

pub(crate) type OnExit = Box<dyn FnOnce()>;

type Value = Arc<dyn Any + Send + Sync>;
type ForkValue = dyn Fn(&Value, &str) -> Option<(Value, Shortcuts, OnExit)> + Send + Sync;

pub(super) struct Entry {
    pub(super) key_name: &'static str,
    pub(super) index: usize,
    live: &'static AtomicUsize,
    pub(super) value: Value,
    lifetime: Lifetime,
    /// Set when the guard drops; shared with the entries that other threads forked from this one.
    closed: Arc<OnceLock<Ended>>,
    fork: Option<Arc<ForkValue>>,
    pub(super) shortcuts: Shortcuts,
    pub(super) thread_bound: bool,
}

impl Entry {
    pub(super) fn new<T: Send + Sync + 'static>(
        key: &'static Scope<T>,
        index: usize,
        value: Arc<T>,
        lifetime: Lifetime,
    ) -> Self {
        key.live.fetch_add(1, Ordering::Relaxed);
        let of_key = key.shortcuts;
        let shortcuts = of_key.map(|of| of(&value)).unwrap_or_default();
        let fork = key.fork.map(|fork| {
            let erased: Arc<ForkValue> = Arc::new(move |value: &Value, name: &str| {
                let value = Arc::clone(value).downcast::<T>().ok()?;
                let forked = fork(&value, name);
                let shortcuts = of_key.map(|of| of(&forked.value)).unwrap_or_default();
                Some((forked.value as Value, shortcuts, forked.on_exit))
            });
            erased
        });
        Entry {
            key_name: key.name,
            index,
            live: &key.live,
            value,
            lifetime,
            closed: Arc::new(OnceLock::new()),
            fork,
            shortcuts,
            thread_bound: key.thread_bound,
        }
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
        let fork = self.fork.as_ref().filter(|_| self.ended().is_none())?;
        let (value, shortcuts, on_exit) = fork(&self.value, thread_name)?;
        self.live.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            value,
            shortcuts,
            lifetime: self.lifetime.clone(),
            closed: Arc::clone(&self.closed),
            fork: Some(Arc::clone(fork)),
            key_name: self.key_name,
            index: self.index,
            live: self.live,
            thread_bound: self.thread_bound,
        };
        Some((entry, on_exit))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}
