//! The twin of [`Command`](crate::Command) for async code, with the shape of `tokio::process`.
//!
//! In a session, guests and native programs run on threads of their own, and what is awaited is
//! awaited on the session's timeline. No call here blocks the runtime: other tasks go on, several
//! children run side by side, and virtual time is that of the longest chain, not the sum.
//!
//! ```
//! use std::time::Duration;
//! use testbench_harness::tokio::Command;
//! use testbench_harness::{Testbench, Toolchain};
//!
//! let session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
//! let runtime = testbench_clock::tokio::runtime()?;
//! runtime.block_on(async {
//!     let (long, short) = tokio::join!(
//!         Command::new("sleep").arg("1h").status(),
//!         Command::new("sleep").arg("20m").status(),
//!     );
//!     assert!(long?.success() && short?.success());
//!     Ok::<(), std::io::Error>(())
//! })??;
//! assert_eq!(session.finish()?.virtual_time, Duration::from_secs(3600));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Runtimes
//!
//! Time moves when all participants wait, so a runtime must tell the timeline when it is idle. Make it by
//! [`testbench_clock::tokio::runtime`], or write `#[testbench_clock::test] async fn`; without tokio
//! there is [`testbench_clock::task::block_on`]. On any other runtime an await of a child that still
//! runs is the error [`NotDriven`], unless the session's clock is real, which moves by itself.
//!
//! On a thread without a session, all of this is `tokio::process` and nothing else. Then the
//! runtime must have its I/O driver enabled.
//!
//! # Differences from `tokio::process`
//!
//! See [`crate::Command`] for its differences from the standard library's. Beside that,
//! [`Child::exit`] and [`Child::virtual_time`] tell more about a guest, and nothing of the platform
//! (`pre_exec`, `uid`, handles) is here.

mod child;
mod command;
mod ends;

pub use child::Child;
pub use command::Command;
pub use ends::{AsyncPipeEnd, ChildStderr, ChildStdin, ChildStdout};

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use testbench_clock::Listener;
use testbench_clock::task::{self, Notified};

use crate::pipe::Waiter;

/// A child or a pipe of a session was awaited where the session's clock cannot move meanwhile.
///
/// It is inside an [`io::Error`] of kind [`io::ErrorKind::Unsupported`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a child of the session `{session}` was awaited where the session's clock cannot move; run the \
     future on the session's own thread, by a runtime of `testbench_clock::tokio::runtime()` or by \
     `testbench_clock::task::block_on`"
)]
#[non_exhaustive]
pub struct NotDriven {
    /// The session's name.
    pub session: String,
}

/// One wait for an event of a session, across polls. The listener is kept, since dropping it forgets
/// the waker.
#[derive(Debug, Default)]
struct Hearing {
    on_timeline: Option<Notified>,
    really: Option<Listener>,
}

impl Hearing {
    /// Ready when `listener` is notified; take it before reading the state that it announces.
    fn poll(
        &mut self,
        waiter: &Waiter,
        listener: Listener,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let clock = waiter.clock();
        if !task::hears_events(clock) {
            let error = NotDriven { session: waiter.session().to_owned() };
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, error)));
        }
        if clock.is_mocked() {
            let mut notified = task::notified(listener);
            let polled = Pin::new(&mut notified).poll(task);
            self.on_timeline = polled.is_pending().then_some(notified);
            return polled.map(Ok);
        }
        listener.register(task.waker());
        let heard = listener.is_notified();
        self.really = (!heard).then_some(listener);
        if heard { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}
