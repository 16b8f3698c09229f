//! The ends of a child's pipes, as async readers and writers.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::process as native;
use ::tokio::task::coop;
use testbench_overlay::Errno;
use testbench_wasi::{ReadEnd, WriteEnd};

use super::Hearing;
use crate::pipe::{End, PipeEnd, Waiter};
use crate::stdio::{Stdio, StdioKind};

/// The parent's end of a child's stdin; dropping it is the end of the child's input. See
/// `tokio::process::ChildStdin`.
///
/// As there, `shutdown` does not close it.
pub type ChildStdin = AsyncPipeEnd<WriteEnd, native::ChildStdin>;

/// The parent's end of a child's stdout; see `tokio::process::ChildStdout`.
pub type ChildStdout = AsyncPipeEnd<ReadEnd, native::ChildStdout>;

/// The parent's end of a child's stderr; see `tokio::process::ChildStderr`.
pub type ChildStderr = AsyncPipeEnd<ReadEnd, native::ChildStderr>;

/// The parent's end of a child's pipe: the session's or tokio's.
pub struct AsyncPipeEnd<P, N>(Async<P, N>);

enum Async<P, N> {
    Timeline { pipe: P, waiter: Waiter, hearing: Hearing },
    Native(N),
}

impl<P, N> AsyncPipeEnd<P, N> {
    pub(super) fn native(end: N) -> Self {
        AsyncPipeEnd(Async::Native(end))
    }

    /// `None` for a pipe of the system's.
    pub(super) fn of_session(pipe: PipeEnd<P>) -> Option<Self> {
        let End::Timeline { pipe, waiter } = pipe.0 else { return None };
        Some(AsyncPipeEnd(Async::Timeline { pipe, waiter, hearing: Hearing::default() }))
    }
}

/// Connects another child to this one. Fails for a pipe of the system's that cannot be taken out of
/// the runtime.
macro_rules! stdio_of {
    ($($end:ident as $kind:ident),*) => {$(
        impl TryFrom<$end> for Stdio {
            type Error = io::Error;

            fn try_from(end: $end) -> io::Result<Stdio> {
                match end.0 {
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

stdio_of!(ChildStdin as Writer, ChildStdout as Reader, ChildStderr as Reader);

impl<N: AsyncWrite + Unpin> AsyncWrite for AsyncPipeEnd<WriteEnd, N> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Async::Native(end) => Pin::new(end).poll_write(task, buf),
            Async::Timeline { pipe, waiter, hearing } => {
                let listen = || pipe.listen();
                poll_moving(waiter, hearing, task, listen, || pipe.try_write(buf))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Async::Native(end) => Pin::new(end).poll_flush(task),
            Async::Timeline { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Async::Native(end) => Pin::new(end).poll_shutdown(task),
            Async::Timeline { .. } => Poll::Ready(Ok(())),
        }
    }
}

impl<N: AsyncRead + Unpin> AsyncRead for AsyncPipeEnd<ReadEnd, N> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
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

impl<P: fmt::Debug, N: fmt::Debug> fmt::Debug for AsyncPipeEnd<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Async::Timeline { pipe, .. } => pipe.fmt(f),
            Async::Native(end) => end.fmt(f),
        }
    }
}
