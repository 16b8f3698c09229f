//! The guard that keeps an entry installed.

use super::entry::Entry;
use super::lifetime::Lifetime;
use super::stack::{self, What};
use crate::debug::debug_by;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

/// Keeps an entry installed on its thread; see [`Scope::install`](super::Scope::install).
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
    entry: Arc<Entry>,
    owned: Option<Lifetime>,
    made_at: &'static Location<'static>,
    not_send: PhantomData<*const ()>,
}

impl Guard {
    /// Installs an entry on this thread.
    pub(super) fn over(entry: Arc<Entry>, made_at: &'static Location<'static>) -> Self {
        let layer = stack::push(What::Entry(Arc::clone(&entry)));
        Guard { layer, entry, owned: None, made_at, not_send: PhantomData }
    }

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
        self.entry.close(self.made_at);
        stack::remove_layer(self.layer);
    }
}

debug_by!([] Guard, "Guard", |it| { made_at: it.made_at });
