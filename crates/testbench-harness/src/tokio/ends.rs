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
use crate::stdio::{Kind, Stdio};

/// What a child reads as its stdin; dropping it is the end of that. See
/// `tokio::process::ChildStdin`.
///
/// As there, `shutdown` does not close it.
#[derive(Debug)]
pub struct ChildStdin {
    end: Async<testbench_wasi::PipeWriter, native::ChildStdin>,
}

/// What a child writes to its stdout; see `tokio::process::ChildStdout`.
#[derive(Debug)]
pub struct ChildStdout {
    end: Async<testbench_wasi::PipeReader, native::ChildStdout>,
}

/// What a child writes to its stderr; see `tokio::process::ChildStderr`.
#[derive(Debug)]
pub struct ChildStderr {
    end: Async<testbench_wasi::PipeReader, native::ChildStderr>,
}

/// One end: a session's, or tokio's.
enum Async<P, N> {
    Timeline { pipe: P, waiter: Waiter, hearing: Hearing },
    Native(N),
}

impl ChildStdin {
    pub(super) fn native(end: native::ChildStdin) -> ChildStdin {
        ChildStdin { end: Async::Native(end) }
    }

    /// `None` for a pipe of the system's.
    pub(super) fn of_session(pipe: PipeWriter) -> Option<ChildStdin> {
        Some(ChildStdin { end: Async::of(pipe.into_end())? })
    }
}

impl ChildStdout {
    pub(super) fn native(end: native::ChildStdout) -> ChildStdout {
        ChildStdout { end: Async::Native(end) }
    }

    /// `None` for a pipe of the system's.
    pub(super) fn of_session(pipe: PipeReader) -> Option<ChildStdout> {
        Some(ChildStdout { end: Async::of(pipe.into_end())? })
    }
}

impl ChildStderr {
    pub(super) fn native(end: native::ChildStderr) -> ChildStderr {
        ChildStderr { end: Async::Native(end) }
    }

    /// `None` for a pipe of the system's.
    pub(super) fn of_session(pipe: PipeReader) -> Option<ChildStderr> {
        Some(ChildStderr { end: Async::of(pipe.into_end())? })
    }
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

impl<N: AsyncRead + Unpin> Async<testbench_wasi::PipeReader, N> {
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

/// Output into what another child reads as its stdin. Fails for a pipe of the system's that cannot
/// be taken out of the runtime.
impl TryFrom<ChildStdin> for Stdio {
    type Error = io::Error;

    fn try_from(stdin: ChildStdin) -> io::Result<Stdio> {
        stdin.end.into_stdio(|pipe| Kind::Write(Some(pipe)))
    }
}

/// Input from what another child writes to its stdout. Fails for a pipe of the system's that cannot
/// be taken out of the runtime.
impl TryFrom<ChildStdout> for Stdio {
    type Error = io::Error;

    fn try_from(stdout: ChildStdout) -> io::Result<Stdio> {
        stdout.end.into_stdio(|pipe| Kind::Read(Some(pipe)))
    }
}

/// Input from what another child writes to its stderr. Fails for a pipe of the system's that cannot
/// be taken out of the runtime.
impl TryFrom<ChildStderr> for Stdio {
    type Error = io::Error;

    fn try_from(stderr: ChildStderr) -> io::Result<Stdio> {
        stderr.end.into_stdio(|pipe| Kind::Read(Some(pipe)))
    }
}

impl<P, N: Owned> Async<P, N> {
    /// This end as a stream of another child.
    fn into_stdio(self, kind: impl FnOnce(P) -> Kind) -> io::Result<Stdio> {
        match self {
            Async::Timeline { pipe, .. } => Ok(Stdio { kind: kind(pipe) }),
            Async::Native(end) => Ok(crate::sys::file_of(end.into_owned()?).into()),
        }
    }
}

/// What has a descriptor of the system's.
trait Owned {
    fn into_owned(self) -> io::Result<crate::sys::OwnedPipe>;
}

macro_rules! owned {
    ($($end:ident)*) => {$(
        impl Owned for native::$end {
            fn into_owned(self) -> io::Result<crate::sys::OwnedPipe> {
                #[cfg(unix)]
                return self.into_owned_fd();
                #[cfg(not(unix))]
                return self.into_owned_handle();
            }
        }
    )*};
}

owned! { ChildStdin ChildStdout ChildStderr }
