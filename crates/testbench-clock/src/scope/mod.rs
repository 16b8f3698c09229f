//! Values installed on a thread: the only thread-local of the workspace.
//!
//! A `static KEY: Scope<T>` is a typed key. [`Scope::install`] puts a value under it on this
//! thread until the [`Guard`] drops; [`Scope::get`] finds it. The clock, the overlay, the
//! toolchain and the session of the crates above are such keys and nothing else, so that
//! [`Context::capture`](crate::Context::capture) carries all of them at once to another thread or task.
//!
//! # How it works
//!
//! A thread has a stack of *layers*. A layer is one installed entry, or one entered context. Each
//! layer keeps its **view**: for each key, the entry that is found when this layer is on top.
//! A look-up is one index into the top view, however deep the stack; a capture clones one
//! pointer. Guards may drop in any order: the layers above the one that goes are worked out again.
//!
//! # After the end
//!
//! Every entry belongs to a [`Lifetime`], usually that of a session. After its end, contexts that
//! were captured before still find their entries, but as [`Lookup::Closed`]. A detached thread of
//! a finished test thus gets an error with a name in it; it never falls through to what the parent
//! had installed, or to the real world.

mod context;
mod entry;
mod guard;
mod lifetime;
mod stack;
mod view;

pub use context::{Context, EnterGuard, FutureExt, WithContext};
pub(crate) use entry::{OnExit, Shortcuts};
pub use guard::Guard;
pub use lifetime::{Ended, Lifetime};
pub(crate) use stack::audited;

use crate::debug::debug_by;
use crate::timeline::Dial;
use entry::{Entry, Key, KeyState, Value};
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A typed key under which one value can be installed on each thread.
///
/// ```
/// use std::sync::Arc;
/// use testbench_clock::{Lifetime, Lookup, Scope};
///
/// static GREETING: Scope<String> = Scope::new("greeting");
///
/// let session = Lifetime::new("docs");
/// assert!(matches!(GREETING.get(), Lookup::Absent));
/// let guard = GREETING.install(Arc::new("hello".to_owned()), &session);
/// let Lookup::Open(found) = GREETING.get() else { panic!("it was just installed") };
/// assert_eq!(*found, "hello");
/// drop(guard);
/// assert!(matches!(GREETING.get(), Lookup::Absent));
/// ```
pub struct Scope<T> {
    state: KeyState,
    /// The place of this key in every view; given at the first install.
    index: OnceLock<usize>,
    fork: Option<ForkFn<T>>,
    shortcuts: Option<fn(&T) -> Shortcuts>,
    value: PhantomData<fn() -> T>,
}

/// Makes the value for a further thread, and the call for when that thread leaves the context; the text
/// is the thread's name.
type ForkFn<T> = fn(&Arc<T>, &str) -> (Arc<T>, OnExit);

/// The result of a look-up.
///
/// ```
/// use std::sync::Arc;
/// use testbench_clock::{Context, Lifetime, Lookup, Scope};
///
/// static PORT: Scope<u16> = Scope::new("port");
///
/// assert!(matches!(PORT.get(), Lookup::Absent));
/// let installed = PORT.install(Arc::new(80), &Lifetime::new("server"));
/// assert!(matches!(PORT.get(), Lookup::Open(_)));
/// let forgotten = Context::capture();
/// drop(installed);
/// assert!(matches!(PORT.get(), Lookup::Absent));
/// assert!(matches!(forgotten.wrap(|| PORT.get())(), Lookup::Closed(..)));
/// ```
#[derive(Debug)]
pub enum Lookup<T> {
    /// Nothing is installed here.
    Absent,
    /// Installed and in use.
    Open(Arc<T>),
    /// Installed, but its session has ended; only a captured [`Context`](crate::Context) sees this.
    Closed(Arc<T>, Ended),
}

impl<T> Lookup<T> {
    /// The value if there is one in use, an error if its session has ended.
    ///
    /// # Errors
    ///
    /// [`Ended`] for [`Lookup::Closed`].
    pub fn open(self) -> Result<Option<Arc<T>>, Ended> {
        match self {
            Lookup::Absent => Ok(None),
            Lookup::Open(value) => Ok(Some(value)),
            Lookup::Closed(_, ended) => Err(ended),
        }
    }
}

impl<T: Send + Sync + 'static> Scope<T> {
    /// A key; `name` is what it is called in debug prints.
    pub const fn new(name: &'static str) -> Self {
        Scope {
            state: KeyState { name, live: AtomicUsize::new(0), thread_bound: false },
            index: OnceLock::new(),
            fork: None,
            shortcuts: None,
            value: PhantomData,
        }
    }

    /// Has `fork` make the value that another thread gets when it enters a captured context.
    pub(crate) const fn forked_by(mut self, fork: ForkFn<T>) -> Self {
        self.fork = Some(fork);
        self
    }

    /// Gives entries what is looked up too often for a downcast, which alone costs as much as all
    /// the rest of a reading.
    pub(crate) const fn short_cut_by(mut self, shortcuts: fn(&T) -> Shortcuts) -> Self {
        self.shortcuts = Some(shortcuts);
        self
    }

    /// Ties entries to their thread: contexts neither carry nor hide them.
    pub(crate) const fn bound_to_thread(mut self) -> Self {
        self.state.thread_bound = true;
        self
    }

    /// Installs `value` on this thread, above what was there, until the guard drops.
    ///
    /// After `lifetime` has ended, or the guard was dropped, captured contexts find the value
    /// closed.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use testbench_clock::{Lifetime, Scope};
    ///
    /// static DEPTH: Scope<u32> = Scope::new("depth");
    ///
    /// let session = Lifetime::new("docs");
    /// let outer = DEPTH.install(Arc::new(1), &session);
    /// let inner = DEPTH.install(Arc::new(2), &session);
    /// assert_eq!(DEPTH.get().open()?.as_deref(), Some(&2));
    /// drop(outer); // in any order
    /// assert_eq!(DEPTH.get().open()?.as_deref(), Some(&2));
    /// drop(inner);
    /// assert_eq!(DEPTH.get().open()?, None);
    /// # Ok::<(), testbench_clock::Ended>(())
    /// ```
    #[track_caller]
    pub fn install(&'static self, value: Arc<T>, lifetime: &Lifetime) -> Guard {
        let index = *self.index.get_or_init(|| NEXT_INDEX.fetch_add(1, Ordering::Relaxed));
        let entry = Arc::new(Entry::new(self, index, value, lifetime.clone(), Arc::default()));
        Guard::over(entry, Location::caller())
    }

    /// Looks the key up on this thread.
    pub fn get(&'static self) -> Lookup<T> {
        let found = self.with_entry(|entry| {
            let value = Arc::clone(&entry.value).downcast::<T>().ok()?;
            Some(match entry.ended() {
                None => Lookup::Open(value),
                Some(ended) => Lookup::Closed(value, ended.clone()),
            })
        });
        found.flatten().unwrap_or(Lookup::Absent)
    }

    /// Looks without counting references, for calls that take nanoseconds. `f` must not install
    /// or enter anything; it gets `None` if nothing is installed, or what is has ended.
    #[inline]
    pub(crate) fn peek<R>(&'static self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.peek_entry(|entry| entry.value.downcast_ref::<T>().map(f))
    }

    /// [`Scope::peek`] at the dial of the entry.
    #[inline]
    pub(crate) fn peek_dial<R>(&'static self, f: impl FnOnce(&Dial) -> R) -> Option<R> {
        self.peek_entry(|entry| entry.shortcuts.dial.as_deref().map(f))
    }

    #[inline]
    fn peek_entry<R>(&'static self, f: impl FnOnce(&Entry) -> Option<R>) -> Option<R> {
        self.with_entry(|entry| if entry.ended().is_none() { f(entry) } else { None })?
    }

    /// Whether nothing is installed under this key anywhere in the process, as far as this thread
    /// can tell.
    #[inline]
    pub(crate) fn is_unused(&'static self) -> bool {
        self.state.live.load(Ordering::Relaxed) == 0
    }

    #[inline]
    fn with_entry<R>(&'static self, f: impl FnOnce(&Entry) -> R) -> Option<R> {
        // Relaxed is enough: this thread's own installs come before this in program order, and a
        // context from another thread arrived by something that synchronises.
        if self.state.live.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let index = *self.index.get()?;
        stack::peek(|view| view.entry(index).map(f)).flatten()
    }
}

impl<T: Send + Sync + 'static> Key for Scope<T> {
    fn state(&self) -> &KeyState {
        &self.state
    }

    fn fork(&self, value: &Value, thread_name: &str) -> Option<(Value, OnExit)> {
        let value = Arc::clone(value).downcast().ok()?;
        let (value, on_exit) = self.fork?(&value, thread_name);
        Some((value, on_exit))
    }

    fn shortcuts(&self, value: &Value) -> Shortcuts {
        let (shortcuts, value) = (self.shortcuts, value.downcast_ref());
        shortcuts.zip(value).map(|(of, value)| of(value)).unwrap_or_default()
    }
}

debug_by!([T] Scope<T>, "Scope", |it| { name: it.state.name });

static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);
