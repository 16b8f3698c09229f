//! A started program, as a value that is awaited.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::process::{ExitStatus, Output};
use std::task::Poll;
use std::time::Duration;

use ::tokio::io::{AsyncRead, AsyncReadExt as _};
use ::tokio::process as native;
use testbench_wasi::Exit;

use super::{AsyncPipeEnd, ChildStderr, ChildStdin, ChildStdout, Hearing};
use crate::child;

/// A program that was started by [`tokio::Command::spawn`](super::Command::spawn); see
/// `tokio::process::Child`.
///
/// A dropped child goes on until the session ends it, unless
/// [`kill_on_drop`](super::Command::kill_on_drop) was set.
///
/// ```
/// use testbench_harness::tokio::Command;
/// use testbench_harness::{Stdio, Testbench, Toolchain};
/// use tokio::io::AsyncWriteExt;
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// testbench_clock::tokio::runtime()?.block_on(async {
///     let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
///     let mut input = sort.stdin.take().unwrap();
///     input.write_all(b"pear\napple\n").await?;
///     drop(input); // it sorts when it has found the end of its input
///     assert_eq!(sort.wait_with_output().await?.stdout, b"apple\npear\n");
///     Ok::<(), std::io::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Child {
    /// The other end of its stdin, if that was [`Stdio::piped`](crate::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The other end of its stdout, if that was [`Stdio::piped`](crate::Stdio::piped).
    pub stdout: Option<ChildStdout>,
    /// The other end of its stderr, if that was [`Stdio::piped`](crate::Stdio::piped).
    pub stderr: Option<ChildStderr>,
    inner: Inner,
}

enum Inner {
    Native(native::Child),
    Session(OfSession),
}

/// A child of a session, without its pipes.
struct OfSession {
    child: child::Child,
    kill_on_drop: bool,
    /// Its status was given to its parent.
    reaped: bool,
}

impl Child {
    pub(super) fn native(mut child: native::Child) -> Child {
        Child {
            stdin: child.stdin.take().map(AsyncPipeEnd::native),
            stdout: child.stdout.take().map(AsyncPipeEnd::native),
            stderr: child.stderr.take().map(AsyncPipeEnd::native),
            inner: Inner::Native(child),
        }
    }

    pub(super) fn of_session(mut child: child::Child, kill_on_drop: bool) -> Child {
        let stdin = child.stdin.take().and_then(AsyncPipeEnd::of_session);
        let stdout = child.stdout.take().and_then(AsyncPipeEnd::of_session);
        let stderr = child.stderr.take().and_then(AsyncPipeEnd::of_session);
        let inner = Inner::Session(OfSession { child, kill_on_drop, reaped: false });
        Child { stdin, stdout, stderr, inner }
    }

    /// Its process id, as [`crate::Child::id`]; `None` once its status was awaited.
    pub fn id(&self) -> Option<u32> {
        match &self.inner {
            Inner::Native(child) => child.id(),
            Inner::Session(of) => (!of.reaped).then(|| of.child.id()),
        }
    }

    /// Ends it by force, without waiting for its end.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if its status was awaited already, as in tokio.
    pub fn start_kill(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Native(child) => child.start_kill(),
            Inner::Session(of) if of.reaped => {
                let why = "the status of this child was awaited, so it cannot be killed any more";
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
            Inner::Session(of) => of.child.kill(),
        }
    }

    /// Ends it by force, and waits for its end.
    ///
    /// # Errors
    ///
    /// As [`Child::start_kill`] and [`Child::wait`].
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await?;
        Ok(())
    }

    /// Waits until it has ended. Its stdin, if that is still here, is closed first. Dropping the
    /// future before it is ready loses nothing.
    ///
    /// # Errors
    ///
    /// As [`crate::Child::wait`], except that a deadlock is an error of the runtime's driver;
    /// [`NotDriven`](super::NotDriven) on a foreign runtime.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        match &mut self.inner {
            Inner::Native(child) => child.wait().await,
            Inner::Session(of) => of.wait().await,
        }
    }

    /// Returns its status, if it has ended. In a session, other participants that can run now run first.
    ///
    /// # Errors
    ///
    /// As [`crate::Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.inner {
            Inner::Native(child) => child.try_wait(),
            Inner::Session(of) => {
                let status = of.child.try_wait()?;
                of.reaped |= status.is_some();
                Ok(status)
            }
        }
    }

    /// Closes its stdin, collects the output of the pipes that are still here, and waits until it
    /// has ended.
    ///
    /// # Errors
    ///
    /// As [`Child::wait`], and those of reading.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (self.stdout.take(), self.stderr.take());
        let (status, stdout, stderr) =
            ::tokio::try_join!(self.wait(), read_all(&mut stdout), read_all(&mut stderr))?;
        Ok(Output { status, stdout, stderr })
    }

    /// How exactly it ended; see [`crate::Child::exit`].
    pub fn exit(&self) -> Option<&Exit> {
        self.of_timeline()?.exit()
    }

    /// How far the session's clock moved from its start to its end, if it has ended.
    pub fn virtual_time(&self) -> Option<Duration> {
        self.of_timeline()?.virtual_time()
    }

    fn of_timeline(&self) -> Option<&child::Child> {
        match &self.inner {
            Inner::Native(_) => None,
            Inner::Session(of) => Some(&of.child),
        }
    }
}

impl OfSession {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some((process, waiter)) = self.child.of_timeline() else {
            // Not made of another one.
            return self.child.wait();
        };
        let mut hearing = Hearing::default();
        let ended = poll_fn(|task| {
            loop {
                let heard = process.listen();
                if let Some(result) = process.result() {
                    return Poll::Ready(result.map(|ended| ended.exit.status()));
                }
                match hearing.poll(waiter, heard, task) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let status = ended.await?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for OfSession {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // It never fails in a session.
            let _ = self.child.kill();
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Native(child) => child.fmt(f),
            Inner::Session(of) => of.child.fmt(f),
        }
    }
}

async fn read_all(from: &mut Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
