//! The ends of a child's pipes, as async readers and writers.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::process as native;
use ::tokio::task::coop;
use testbench_overlay::Errno;

use super::Hearing;
use crate::pipe::{End, PipeReader, PipeWriter, Waiter};
use crate::stdio::{Stdio, StdioKind};

/// Defines a parent's end of a child's pipe: the session's or tokio's.
macro_rules! ends {
    ($($(#[$doc:meta])* $end:ident, $pipe:ident over $side:ident, $kind:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $end {
            end: Async<testbench_wasi::$side, native::$end>,
        }

        impl $end {
            pub(super) fn native(end: native::$end) -> $end {
                $end { end: Async::Native(end) }
            }

            /// `None` for a pipe of the system's.
            pub(super) fn of_session(pipe: $pipe) -> Option<$end> {
                Some($end { end: Async::of(pipe.into_end())? })
            }
        }

        /// Connects another child to this one. Fails for a pipe of the system's that cannot be
        /// taken out of the runtime.
        impl TryFrom<$end> for Stdio {
            type Error = io::Error;

            fn try_from(end: $end) -> io::Result<Stdio> {
                match end.end {
                    Async::Timeline { pipe, .. } => Ok(StdioKind::$kind(pipe).into()),
                    #[cfg(unix)]
                    Async::Native(end) => Ok(crate::sys::file_of(end.into_owned_fd()?).into()),
                    #[cfg(not(unix))]
                    Async::Native(end) => Ok(crate::sys::file_of(end.into_owned_handle()?).into()),
                }
            }
        }
    )*};
}

ends! {
    /// The parent's end of a child's stdin; dropping it is the end of the child's input. See
    /// `tokio::process::ChildStdin`.
    ///
    /// As there, `shutdown` does not close it.
    ChildStdin, PipeWriter over WriteEnd, Writer;
    /// The parent's end of a child's stdout; see `tokio::process::ChildStdout`.
    ChildStdout, PipeReader over ReadEnd, Reader;
    /// The parent's end of a child's stderr; see `tokio::process::ChildStderr`.
    ChildStderr, PipeReader over ReadEnd, Reader;
}

/// One end: a session's, or tokio's.
enum Async<P, N> {
    Timeline { pipe: P, waiter: Waiter, hearing: Hearing },
    Native(N),
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.end {
            Async::Native(end) => Pin::new(end).poll_write(task, buf),
            Async::Timeline { pipe, waiter, hearing } => {
                let listen = || pipe.listen();
                poll_moving(waiter, hearing, task, listen, || pipe.try_write(buf))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.end {
            Async::Native(end) => Pin::new(end).poll_flush(task),
            Async::Timeline { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.end {
            Async::Native(end) => Pin::new(end).poll_shutdown(task),
            Async::Timeline { .. } => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for ChildStdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.end.poll_read(task, buf)
    }
}

impl AsyncRead for ChildStderr {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.end.poll_read(task, buf)
    }
}

impl<P, N> Async<P, N> {
    fn of(end: End<P>) -> Option<Self> {
        match end {
            End::Timeline { pipe, waiter } => {
                Some(Async::Timeline { pipe, waiter, hearing: Hearing::default() })
            }
            End::Real(_) => None,
        }
    }
}

impl<N: AsyncRead + Unpin> Async<testbench_wasi::ReadEnd, N> {
    fn poll_read(&mut self, task: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Async::Native(end) => Pin::new(end).poll_read(task, buf),
            Async::Timeline { pipe, waiter, hearing } => {
                let unfilled = buf.initialize_unfilled();
                let listen = || pipe.listen();
                let read = poll_moving(waiter, hearing, task, listen, || pipe.try_read(unfilled));
                buf.advance(ready!(read)?);
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Moves bytes, or waits on the timeline until there are some to move.
fn poll_moving(
    waiter: &Waiter,
    hearing: &mut Hearing,
    task: &mut Context<'_>,
    listen: impl Fn() -> testbench_clock::Listener,
    mut moved: impl FnMut() -> Result<usize, Errno>,
) -> Poll<io::Result<usize>> {
    // A pipe that always has bytes must not keep the other tasks from running.
    let budget = ready!(coop::poll_proceed(task));
    loop {
        let heard = listen();
        match moved() {
            Err(Errno::Again) => ready!(hearing.poll(waiter, heard, task))?,
            done => {
                budget.made_progress();
                return Poll::Ready(done.map_err(io::Error::from));
            }
        }
    }
}

impl<P: fmt::Debug, N: fmt::Debug> fmt::Debug for Async<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Async::Timeline { pipe, .. } => pipe.fmt(f),
            Async::Native(end) => end.fmt(f),
        }
    }
}
