//! [`Child`]: a started program, guest or native, with the interface of [`std::process::Child`].

use std::fmt;
use std::io::{self, Read};
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Clock, Wait};
use testbench_overlay::Errno;
use testbench_wasi::{Exit, Finished, ReadEnd};

use crate::pipe::{End, PipeReader, PipeWriter, Waiter};
use crate::process::Process;
use crate::streams::Ends;

/// A program that was started by [`Command::spawn`](crate::Command::spawn); see
/// [`std::process::Child`].
///
/// In a session it runs on the session's timeline, beside its parent: time moves when all
/// participants wait. A dropped child goes on until the session ends it.
///
/// ```
/// use std::io::Write;
/// use testbench_harness::{Command, Stdio, Testbench, Toolchain};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut input = sort.stdin.take().unwrap();
/// input.write_all(b"pear\napple\n")?;
/// drop(input); // it sorts when it finds end-of-file
/// assert_eq!(sort.wait_with_output()?.stdout, b"apple\npear\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Child {
    /// The parent's end of the child's stdin, if that was [`Stdio::piped`](crate::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The parent's end of the child's stdout, if that was [`Stdio::piped`](crate::Stdio::piped).
    pub stdout: Option<ChildStdout>,
    /// The parent's end of the child's stderr, if that was [`Stdio::piped`](crate::Stdio::piped).
    pub stderr: Option<ChildStderr>,
    inner: Inner,
}

enum Inner {
    Std(std::process::Child),
    Session { process: Arc<Process>, waiter: Waiter },
}

impl Child {
    /// Wraps a child of the standard library.
    pub(crate) fn of_std(mut child: std::process::Child) -> Child {
        Child {
            stdin: child.stdin.take().map(PipeWriter::real),
            stdout: child.stdout.take().map(PipeReader::real),
            stderr: child.stderr.take().map(PipeReader::real),
            inner: Inner::Std(child),
        }
    }

    /// Makes a child of a session with the parent's ends of its pipes.
    pub(crate) fn of_session(process: Arc<Process>, waiter: Waiter, ends: Ends) -> Child {
        let reader = |end| PipeReader::new(end, waiter.clone());
        Child {
            stdin: ends.stdin.map(|end| PipeWriter::new(end, waiter.clone())),
            stdout: ends.stdout.map(reader),
            stderr: ends.stderr.map(reader),
            inner: Inner::Session { process, waiter: waiter.clone() },
        }
    }

    /// Returns the child's process id. In a session, ids count up from 4,194,305 in the order of the
    /// starts. Linux has no process with such an id, so a stray `kill` hits none.
    pub fn id(&self) -> u32 {
        match &self.inner {
            Inner::Std(child) => child.id(),
            Inner::Session { process, .. } => process.id,
        }
    }

    /// Ends the child by force, with the status `SIGKILL`. Does nothing if it has ended already.
    ///
    /// # Errors
    ///
    /// As [`std::process::Child::kill`]; never in a session.
    pub fn kill(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Std(child) => child.kill(),
            Inner::Session { process, .. } => {
                process.kill("by `Child::kill`");
                Ok(())
            }
        }
    }

    /// Waits until the child has ended. It first closes `stdin` if that was not taken, so a child
    /// that waits for more input finds end-of-file.
    ///
    /// # Errors
    ///
    /// As [`std::process::Child::wait`]. In a session, [`io::ErrorKind::Deadlock`] if parent and
    /// child wait for each other; a later call can wait again.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        match &mut self.inner {
            Inner::Std(child) => child.wait(),
            Inner::Session { process, waiter } => {
                waiter.wait(|clock| process.wait(clock).map(|ended| ended.exit.status()))
            }
        }
    }

    /// Returns the child's status, if it has ended. In a session, other participants that can run now
    /// run first.
    ///
    /// # Errors
    ///
    /// As [`std::process::Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.inner {
            Inner::Std(child) => child.try_wait(),
            Inner::Session { process, waiter } => {
                if process.finished().is_none() {
                    waiter.wait(|clock| Ok(clock.yield_now()?))?;
                }
                Ok(process.finished().map(|ended| ended.exit.status()))
            }
        }
    }

    /// Closes `stdin`, collects the output of the pipes that were not taken, and waits until the
    /// child has ended.
    ///
    /// # Errors
    ///
    /// Those of [`Child::wait`] and of reading.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (stdout, stderr) = match (self.stdout.take(), self.stderr.take()) {
            (Some(stdout), Some(stderr)) => read_both(stdout, stderr)?,
            (stdout, stderr) => (read_all(stdout)?, read_all(stderr)?),
        };
        Ok(Output { status: self.wait()?, stdout, stderr })
    }

    /// Returns why a session's child ended, if it has: the whole exit code, the reason of a trap, the
    /// limit that it reached, or a signal.
    pub fn exit(&self) -> Option<&Exit> {
        self.finished().map(|ended| &ended.exit)
    }

    /// Returns how far the session's clock moved while the child ran, if it has ended.
    pub fn virtual_time(&self) -> Option<Duration> {
        self.finished().map(|ended| ended.virtual_time)
    }

    /// The result of a session's child that has ended.
    fn finished(&self) -> Option<&Finished> {
        match &self.inner {
            Inner::Std(_) => None,
            Inner::Session { process, .. } => process.finished(),
        }
    }

    /// The process and its waiter, for tokio's `Child`; `None` for a child of the standard library.
    #[cfg(feature = "tokio")]
    pub(crate) fn of_timeline(&self) -> Option<(&Arc<Process>, &Waiter)> {
        match &self.inner {
            Inner::Std(_) => None,
            Inner::Session { process, waiter } => Some((process, waiter)),
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Std(child) => child.fmt(f),
            Inner::Session { process, .. } => f.debug_tuple("Child").field(process).finish(),
        }
    }
}

/// The parent's end of a child's stdin; dropping it is the end of the child's input. See
/// [`std::process::ChildStdin`].
pub type ChildStdin = PipeWriter;

/// The parent's end of a child's stdout; see [`std::process::ChildStdout`].
pub type ChildStdout = PipeReader;

/// The parent's end of a child's stderr; see [`std::process::ChildStderr`].
pub type ChildStderr = PipeReader;

fn read_all(from: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reads two pipes side by side: a child that fills one may never close the other.
fn read_both(stdout: PipeReader, stderr: PipeReader) -> io::Result<(Vec<u8>, Vec<u8>)> {
    match (&stdout.0, &stderr.0) {
        (End::Timeline { pipe: out, waiter }, End::Timeline { pipe: err, .. }) => {
            waiter.wait(|clock| read_both_on(clock, out, err))
        }
        _ => std::thread::scope(|scope| {
            let out = scope.spawn(move || read_all(Some(stdout)));
            let err = read_all(Some(stderr))?;
            let out = out.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((out, err))
        }),
    }
}

fn read_both_on(clock: &dyn Clock, out: &ReadEnd, err: &ReadEnd) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut out_bytes, mut err_bytes) = (Vec::new(), Vec::new());
    let mut open = vec![(out, &mut out_bytes), (err, &mut err_bytes)];
    let mut buf = vec![0; READ_BYTES];
    while !open.is_empty() {
        let heard: Vec<_> = open.iter().map(|(pipe, _)| pipe.listen()).collect();
        let mut moved = false;
        for i in (0..open.len()).rev() {
            let (pipe, bytes) = &mut open[i];
            match pipe.try_read(&mut buf) {
                Ok(0) => drop(open.remove(i)),
                Ok(n) => bytes.extend_from_slice(&buf[..n]),
                Err(Errno::Again) => continue,
                Err(errno) => return Err(errno.into()),
            }
            moved = true;
        }
        if !moved {
            clock.wait(Wait { deadline: None, on: &heard, what: &"read on a child's output" })?;
        }
    }
    Ok((out_bytes, err_bytes))
}

/// The capacity of a pipe.
const READ_BYTES: usize = 65_536;
