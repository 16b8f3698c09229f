//! What is installed on a thread: the only thread-local of the workspace.
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

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::audit::{Table, interpose};
use crate::lifetime::{Ended, Lifetime};
use crate::timeline::Dial;

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
    name: &'static str,
    /// Entries that exist anywhere in the process, captured ones included.
    live: AtomicUsize,
    /// The place of this key in every view; given at the first install.
    index: OnceLock<usize>,
    fork: Option<ForkFn<T>>,
    shortcuts: Option<ShortcutsFn<T>>,
    thread_bound: bool,
    value: PhantomData<fn() -> T>,
}

/// What a look-up found.
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
    /// ```
    /// use std::sync::Arc;
    /// use testbench_clock::{Lifetime, Scope};
    ///
    /// static PORT: Scope<u16> = Scope::new("port");
    ///
    /// assert_eq!(PORT.get().open()?, None);
    /// let session = Lifetime::new("server");
    /// let _installed = PORT.install(Arc::new(80), &session);
    /// assert_eq!(PORT.get().open()?.as_deref(), Some(&80));
    /// session.end();
    /// assert_eq!(PORT.get().open().unwrap_err().name(), "server");
    /// # Ok::<(), testbench_clock::Ended>(())
    /// ```
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
    ///
    /// ```
    /// use testbench_clock::Scope;
    ///
    /// static PORT: Scope<u16> = Scope::new("port");
    ///
    /// assert!(format!("{PORT:?}").contains("port"));
    /// ```
    pub const fn new(name: &'static str) -> Self {
        Scope {
            name,
            live: AtomicUsize::new(0),
            index: OnceLock::new(),
            fork: None,
            shortcuts: None,
            thread_bound: false,
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
    pub(crate) const fn short_cut_by(mut self, shortcuts: ShortcutsFn<T>) -> Self {
        self.shortcuts = Some(shortcuts);
        self
    }

    /// Ties entries to their thread: contexts neither carry nor hide them.
    pub(crate) const fn bound_to_thread(mut self) -> Self {
        self.thread_bound = true;
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
        let entry = Arc::new(Entry::new(self, index, value, lifetime.clone()));
        let layer = push(What::Entry(Arc::clone(&entry)));
        Guard {
            layer,
            entry: Some(entry),
            owned: None,
            made_at: Location::caller(),
            not_send: PhantomData,
        }
    }

    /// What this thread finds under the key.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use testbench_clock::{Context, Lifetime, Lookup, Scope};
    ///
    /// static USER: Scope<String> = Scope::new("user");
    ///
    /// let session = Lifetime::new("docs");
    /// let _installed = USER.install(Arc::new("ann".to_owned()), &session);
    /// // Another thread has nothing installed, unless it is given the context of this one.
    /// let there = std::thread::spawn(|| matches!(USER.get(), Lookup::Absent)).join().unwrap();
    /// let carried = std::thread::spawn(Context::capture().wrap(|| USER.get())).join().unwrap();
    /// assert!(there && matches!(carried, Lookup::Open(user) if *user == "ann"));
    /// ```
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
        let found = self.with_entry(|entry| match entry.ended() {
            None => entry.value.downcast_ref::<T>().map(f),
            Some(_) => None,
        });
        found.flatten()
    }

    /// [`Scope::peek`] at the dial of the entry.
    #[inline]
    pub(crate) fn peek_dial<R>(&'static self, f: impl FnOnce(&Dial) -> R) -> Option<R> {
        let found = self.with_entry(|entry| match entry.ended() {
            None => entry.shortcuts.dial.as_deref().map(f),
            Some(_) => None,
        });
        found.flatten()
    }

    /// Whether nothing is installed under this key anywhere in the process, as far as this thread
    /// can tell.
    #[inline]
    pub(crate) fn is_unused(&'static self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }

    #[inline]
    fn with_entry<R>(&'static self, f: impl FnOnce(&Entry) -> R) -> Option<R> {
        // Relaxed is enough: this thread's own installs come before this in program order, and a
        // context from another thread arrived by something that synchronises.
        if self.live.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let index = *self.index.get()?;
        let found =
            STACK.try_with(|stack| stack.borrow().view.entries.get(index)?.as_deref().map(f));
        found.ok().flatten()
    }
}

impl<T> fmt::Debug for Scope<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Keeps an entry installed on its thread; see [`Scope::install`].
///
/// Dropping it, in any order among others and while unwinding, hides its own entry on its own
/// thread and never another's.
///
/// ```
/// use testbench_clock::{Guard, MockClock, is_mocked};
///
/// struct Bench {
///     _clock: Guard,
/// }
/// let bench = Bench { _clock: MockClock::builder().build().install() };
/// assert!(is_mocked());
/// drop(bench);
/// assert!(!is_mocked());
/// ```
///
/// It stays on its thread. A task that may move to another cannot hold it across an `.await`; it has
/// [`FutureExt::with_context`](crate::FutureExt::with_context) instead.
///
/// ```compile_fail
/// fn spawn(_task: impl Future<Output = ()> + Send) {}
///
/// spawn(async {
///     let _clock = testbench_clock::MockClock::builder().build().install();
///     std::future::ready(()).await;
/// });
/// ```
#[must_use = "the entry is hidden again as soon as the guard is dropped"]
pub struct Guard {
    layer: u64,
    entry: Option<Arc<Entry>>,
    owned: Option<Lifetime>,
    made_at: &'static Location<'static>,
    not_send: PhantomData<*const ()>,
}

impl Guard {
    /// Has the guard end `lifetime` when it drops.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use testbench_clock::{Guard, Lifetime, Scope};
    ///
    /// static PORT: Scope<u16> = Scope::new("port");
    ///
    /// #[track_caller]
    /// fn install_port(port: u16) -> Guard {
    ///     let session = Lifetime::new("server");
    ///     PORT.install(Arc::new(port), &session).owning(session)
    /// }
    /// let installed = install_port(80);
    /// let context = testbench_clock::Context::capture();
    /// drop(installed);
    /// let late = context.wrap(|| PORT.get().open())().unwrap_err();
    /// assert!(late.to_string().starts_with("session `server` ended when the guard made at "));
    /// ```
    pub fn owning(mut self, lifetime: Lifetime) -> Self {
        self.owned = Some(lifetime);
        self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(lifetime) = &self.owned {
            lifetime.end_by_drop(self.made_at);
        }
        if let Some(entry) = self.entry.take() {
            entry.closed.get_or_init(|| entry.lifetime.dropped(self.made_at));
        }
        remove_layer(self.layer);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("made_at", &self.made_at).finish_non_exhaustive()
    }
}

/// Makes the value that a further thread gets under a key; the name is that thread's.
pub(crate) type ForkFn<T> = fn(&Arc<T>, &str) -> Forked<T>;

/// The shortcuts to a value.
pub(crate) type ShortcutsFn<T> = fn(&T) -> Shortcuts;

/// What an entry offers beside its value.
#[derive(Clone, Default)]
pub(crate) struct Shortcuts {
    /// The shortest way to readings of a mock clock.
    pub(crate) dial: Option<Arc<Dial>>,
    pub(crate) audited: Audited,
}

/// What an interposed clock function finds out about its thread.
#[derive(Clone, Copy, Default)]
pub(crate) enum Audited {
    /// No clock is installed.
    #[default]
    Nowhere,
    /// The clock is real, so that nothing leaks.
    Real,
    /// The clock is a mock; uses of real time are counted here.
    Mock(&'static Table),
}

/// Safe in a signal handler.
pub(crate) fn audited() -> Audited {
    AUDITED.with(Cell::get)
}

/// The value for a further thread, and what is to happen when that thread leaves the context.
pub(crate) struct Forked<T> {
    pub(crate) value: Arc<T>,
    pub(crate) on_exit: OnExit,
}

pub(crate) type OnExit = Box<dyn FnOnce()>;

static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STACK: RefCell<Stack> = const { RefCell::new(Stack::new()) };
    /// Follows the top of the stack, for whoever runs in a signal handler, where the stack must not
    /// be touched: without a destructor, this is plain memory.
    static AUDITED: Cell<Audited> = const { Cell::new(Audited::Nowhere) };
}

type Value = Arc<dyn Any + Send + Sync>;
type ForkValue = dyn Fn(&Value, &str) -> Option<(Value, Shortcuts, OnExit)> + Send + Sync;

struct Entry {
    key_name: &'static str,
    index: usize,
    live: &'static AtomicUsize,
    value: Value,
    lifetime: Lifetime,
    /// Set when the guard drops; shared with the entries that other threads forked from this one.
    closed: Arc<OnceLock<Ended>>,
    fork: Option<Arc<ForkValue>>,
    shortcuts: Shortcuts,
    thread_bound: bool,
}

impl Entry {
    fn new<T: Send + Sync + 'static>(
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
    fn ended(&self) -> Option<&Ended> {
        self.lifetime.ended_ref().or_else(|| self.closed.get())
    }

    /// This entry as a further thread gets it, if it differs there.
    fn forked(&self, thread_name: &str) -> Option<(Entry, OnExit)> {
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

/// For each key, by index, the entry that is found.
#[derive(Clone, Default)]
pub(crate) struct View {
    entries: Entries,
}

/// `None` is the view of a thread on which nothing is installed; it allocates nothing.
#[derive(Clone, Default)]
struct Entries(Option<Arc<[Option<Arc<Entry>>]>>);

impl std::ops::Deref for Entries {
    type Target = [Option<Arc<Entry>>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl View {
    const EMPTY: View = View { entries: Entries(None) };

    fn with(&self, entry: &Arc<Entry>) -> View {
        let mut entries = self.entries.to_vec();
        if entries.len() <= entry.index {
            entries.resize(entry.index + 1, None);
        }
        entries[entry.index] = Some(Arc::clone(entry));
        View { entries: Entries(Some(entries.into())) }
    }

    /// `self` as seen by a thread on which `below` is what was entered before.
    fn above(&self, below: &View) -> View {
        let bound = |entry: &&Arc<Entry>| entry.thread_bound;
        let carried = self.entries.iter().flatten().filter(bound).count();
        let mut kept = below.entries.iter().flatten().filter(bound).peekable();
        if carried == 0 && kept.peek().is_none() {
            return self.clone();
        }
        let mut entries: Vec<_> =
            self.entries.iter().map(|e| e.clone().filter(|e| !e.thread_bound)).collect();
        for entry in kept {
            if entries.len() <= entry.index {
                entries.resize(entry.index + 1, None);
            }
            entries[entry.index] = Some(Arc::clone(entry));
        }
        View { entries: Entries(Some(entries.into())) }
    }

    pub(crate) fn forked(&self, thread_name: &str) -> (View, Vec<OnExit>) {
        let mut view = self.clone();
        let mut exits = Vec::new();
        for entry in self.entries.iter().flatten() {
            if let Some((entry, on_exit)) = entry.forked(thread_name) {
                view = view.with(&Arc::new(entry));
                exits.push(on_exit);
            }
        }
        (view, exits)
    }

    /// What holds for interposed clock functions where this is the view.
    fn audited(&self) -> Audited {
        let mut all = self.entries.iter().flatten().map(|entry| entry.shortcuts.audited);
        all.find(|audited| !matches!(audited, Audited::Nowhere)).unwrap_or_default()
    }

    pub(crate) fn key_names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().flatten().map(|entry| entry.key_name)
    }
}

enum What {
    Entry(Arc<Entry>),
    Context(View),
}

struct Layer {
    id: u64,
    what: What,
    /// What is found when this layer is on top.
    view: View,
}

struct Stack {
    /// The view of the top layer.
    view: View,
    layers: Vec<Layer>,
    next_id: u64,
}

impl Stack {
    const fn new() -> Self {
        Stack { view: View::EMPTY, layers: Vec::new(), next_id: 0 }
    }

    fn push(&mut self, what: What) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let view = over(&self.view, &what);
        self.set_view(view.clone());
        self.layers.push(Layer { id, what, view });
        id
    }

    /// Takes a layer out and works out those above it again. What is returned may hold the last
    /// references to foreign values, and is to be dropped outside of the borrow.
    fn remove(&mut self, id: u64) -> (Option<Layer>, Vec<View>) {
        let Some(at) = self.layers.iter().rposition(|layer| layer.id == id) else {
            return (None, Vec::new());
        };
        let gone = self.layers.remove(at);
        let mut view = match at.checked_sub(1) {
            Some(below) => self.layers[below].view.clone(),
            None => View::EMPTY,
        };
        let mut old_views = Vec::new();
        for layer in &mut self.layers[at..] {
            view = over(&view, &layer.what);
            old_views.push(std::mem::replace(&mut layer.view, view.clone()));
        }
        // The old top view is one of those just kept, so nothing is dropped by this.
        self.set_view(view);
        (Some(gone), old_views)
    }

    fn set_view(&mut self, view: View) {
        self.view = view;
        if interpose::is_enabled() {
            AUDITED.with(|audited| audited.set(self.view.audited()));
        }
    }
}

fn over(below: &View, what: &What) -> View {
    match what {
        What::Entry(entry) => below.with(entry),
        What::Context(view) => view.above(below),
    }
}

/// The view of this thread.
pub(crate) fn view() -> View {
    STACK.try_with(|stack| stack.borrow().view.clone()).unwrap_or_default()
}

/// Puts a captured view on top; undone by [`remove_layer`].
pub(crate) fn enter(view: View) -> u64 {
    push(What::Context(view))
}

pub(crate) fn remove_layer(id: u64) {
    // After the thread-local is gone (a guard kept in another thread-local), there is nothing left
    // to hide.
    let gone = STACK.try_with(|stack| stack.borrow_mut().remove(id));
    drop(gone);
}

fn push(what: What) -> u64 {
    STACK.with(|stack| stack.borrow_mut().push(what))
}
