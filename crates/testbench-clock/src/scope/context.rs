//! Carrying what is installed to another thread or into a task.

use super::entry::OnExit;
use super::stack::{self, What};
use super::view::View;
use crate::debug::debug_by;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::Poll;
use std::thread::ThreadId;

/// Everything that is installed at one moment on one thread, to be entered on another thread or
/// in a task.
///
/// ```
/// use std::thread;
/// use std::time::Duration;
/// use testbench_clock::{Context, MockClock, install, instant_now, sleep};
///
/// let clock = MockClock::builder().build();
/// let _guard = install(clock);
/// sleep(Duration::from_secs(5));
/// let seen = thread::spawn(Context::capture().wrap(|| instant_now())).join().unwrap();
/// assert_eq!(seen.since_origin(), Duration::from_secs(5));
/// ```
#[derive(Clone)]
pub struct Context {
    view: View,
    captured_on: ThreadId,
}

impl Context {
    /// Captures all that is installed on this thread now. Costs one reference count.
    pub fn capture() -> Self {
        Context { view: stack::view(), captured_on: std::thread::current().id() }
    }

    /// Whether nothing is installed in it.
    pub fn is_empty(&self) -> bool {
        self.view.key_names().next().is_none()
    }

    /// Installs all of it on this thread until the guard drops, **instead of** what is there.
    ///
    /// On a thread other than the one that captured it, this registers a participant on the
    /// clock's timeline, which leaves when the guard drops. It takes part from then on, and has its first
    /// turn at its first call on the clock: until that, it runs beside the participant that has the turn.
    /// The machine decides when that is; threads of [`thread::spawn`](crate::thread::spawn) come in the order in which
    /// they were spawned.
    ///
    /// ```
    /// use testbench_clock::{Context, MockClock, is_mocked};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// let context = Context::capture();
    /// let thread = std::thread::spawn(move || {
    ///     assert!(!is_mocked());
    ///     let entered = context.enter();
    ///     assert!(is_mocked());
    ///     drop(entered);
    ///     assert!(!is_mocked());
    /// });
    /// thread.join().unwrap();
    /// ```
    pub fn enter(&self) -> EnterGuard {
        let here = std::thread::current();
        if here.id() == self.captured_on {
            return self.enter_as_is();
        }
        let (view, on_exit) = self.view.forked(here.name().unwrap_or("a thread"));
        EnterGuard::new(view, on_exit)
    }

    /// A closure that runs `f` with this context entered: from its call on, not from this one. Time does not
    /// wait for a closure that may never be called.
    ///
    /// ```
    /// use testbench_clock::{Context, MockClock, now};
    ///
    /// let _installed = MockClock::at_wall_ms(0).install();
    /// // For a thread pool that knows nothing of clocks.
    /// let job = Context::capture().wrap(|| now().to_string());
    /// let done = std::thread::spawn(job).join().unwrap();
    /// assert_eq!(done, "1970-01-01T00:00:00Z");
    /// ```
    pub fn wrap<R, F: FnOnce() -> R>(&self, f: F) -> impl FnOnce() -> R + use<R, F> {
        let context = self.clone();
        move || {
            let _entered = context.enter();
            f()
        }
    }

    /// Enters without registering a participant, on whatever thread.
    pub(crate) fn enter_as_is(&self) -> EnterGuard {
        EnterGuard::new(self.view.clone(), Vec::new())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.view.key_names();
        f.debug_list().entries(names).finish()
    }
}

/// Keeps a [`Context`] entered on its thread; dropping it, in any order, leaves that context and
/// no other.
#[must_use = "the context is left again as soon as the guard is dropped"]
pub struct EnterGuard {
    layer: u64,
    on_exit: Vec<OnExit>,
    not_send: PhantomData<*const ()>,
}

impl EnterGuard {
    fn new(view: View, on_exit: Vec<OnExit>) -> Self {
        EnterGuard { layer: stack::push(What::Context(view)), on_exit, not_send: PhantomData }
    }
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        stack::remove_layer(self.layer);
        for on_exit in self.on_exit.drain(..) {
            on_exit();
        }
    }
}

debug_by!([] EnterGuard, "EnterGuard", |_| {});

pin_project_lite::pin_project! {
    /// A future that runs with a [`Context`] entered: on every poll, and when it is dropped.
    ///
    /// Made by [`FutureExt::with_context`].
    #[must_use = "futures do nothing unless polled"]
    pub struct WithContext<F> {
        // Emptied in place to drop the future inside of its context.
        #[pin]
        future: Option<F>,
        context: Context,
    }

    impl<F> PinnedDrop for WithContext<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = this.context.enter_as_is();
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for WithContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.context.enter_as_is();
        match this.future.as_pin_mut() {
            Some(future) => future.poll(task),
            None => Poll::Pending,
        }
    }
}

debug_by!([F] WithContext<F>, "WithContext", |it| { context: it.context });

/// Futures that carry what is installed.
pub trait FutureExt: Future + Sized {
    /// Enters `context` on every poll of this future, and while it is dropped.
    ///
    /// Unlike [`Context::enter`], this registers no participant: a task belongs to the runtime
    /// that polls it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::task::{self, block_on};
    /// use testbench_clock::{Context, FutureExt, MockClock, instant_now};
    ///
    /// let _installed = MockClock::builder().build().install();
    /// // As it would be handed to an executor on another thread.
    /// let task = async {
    ///     task::sleep(Duration::from_secs(1)).await;
    ///     instant_now()
    /// };
    /// let woken = block_on(task.with_context(Context::capture()))?;
    /// assert_eq!(woken.since_origin(), Duration::from_secs(1));
    /// # Ok::<(), testbench_clock::Stuck>(())
    /// ```
    fn with_context(self, context: Context) -> WithContext<Self> {
        WithContext { future: Some(self), context }
    }
}

impl<F: Future> FutureExt for F {}
