//! Starts programs from async code.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::thread;
use std::time::Duration;

use ::tokio::process as native;
use testbench_clock::Lookup;
use testbench_wasi::Limits;

use super::Child;
use crate::stdio::Kind;
use crate::{Explanation, Policy, Route, Stdio, bench, spawn};

/// Starts a program, as `tokio::process::Command` does; in a [`Session`](crate::Session), as a
/// guest or however the session says. See the [module](super) for where it can be awaited.
///
/// ```
/// use testbench_harness::tokio::Command;
/// use testbench_harness::{Testbench, Toolchain};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// testbench_clock::tokio::runtime()?.block_on(async {
///     let output = Command::new("wc").arg("-l").stdin("a\nb\n").output().await?;
///     assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2");
///     Ok::<(), std::io::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Command {
    inner: crate::Command,
    kill_on_drop: bool,
}

impl Command {
    /// A command without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        crate::Command::new(program).into()
    }

    /// The same command for code that blocks.
    pub fn as_std(&self) -> &crate::Command {
        &self.inner
    }

    /// The same command for code that blocks.
    pub fn as_std_mut(&mut self) -> &mut crate::Command {
        &mut self.inner
    }

    /// The same command for code that blocks.
    pub fn into_std(self) -> crate::Command {
        self.inner
    }

    /// See [`crate::Command::arg`].
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// See [`crate::Command::args`].
    pub fn args<I>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.inner.args(args);
        self
    }

    /// See [`crate::Command::arg0`].
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg0(name);
        self
    }

    /// See [`crate::Command::env`].
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env(key, value);
        self
    }

    /// See [`crate::Command::envs`].
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(vars);
        self
    }

    /// See [`crate::Command::env_remove`].
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env_remove(key);
        self
    }

    /// See [`crate::Command::env_clear`].
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// See [`crate::Command::current_dir`].
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(dir);
        self
    }

    /// Where the child's standard input comes from. Not set, it is empty in a session, and
    /// inherited without one.
    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Command {
        self.inner.stdin(from);
        self
    }

    /// Where the child's standard output goes, other than for [`output`](Command::output).
    pub fn stdout(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.inner.stdout(to);
        self
    }

    /// Where the child's standard error goes, other than for [`output`](Command::output).
    pub fn stderr(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.inner.stderr(to);
        self
    }

    /// Whether a child is ended by force when its [`Child`], or the future of
    /// [`output`](Command::output) or [`status`](Command::status), drops while it runs. By default
    /// it is not.
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Command {
        self.kill_on_drop = kill_on_drop;
        self
    }

    /// What was said by [`kill_on_drop`](Command::kill_on_drop).
    pub fn get_kill_on_drop(&self) -> bool {
        self.kill_on_drop
    }

    /// See [`crate::Command::limits`].
    pub fn limits(&mut self, limits: Limits) -> &mut Command {
        self.inner.limits(limits);
        self
    }

    /// See [`crate::Command::timeout`].
    pub fn timeout(&mut self, after: Duration) -> &mut Command {
        self.inner.timeout(after);
        self
    }

    /// See [`crate::Command::via`].
    pub fn via(&mut self, policy: Policy) -> &mut Command {
        self.inner.via(policy);
        self
    }

    /// See [`crate::Command::route`].
    pub fn route(&self) -> Route {
        self.inner.route()
    }

    /// See [`crate::Command::explain`].
    pub fn explain(&self) -> Explanation {
        self.inner.explain()
    }

    /// Starts it and returns at once.
    ///
    /// # Errors
    ///
    /// As [`crate::Command::spawn`].
    ///
    /// # Panics
    ///
    /// Without a session as `tokio::process`: on a thread without a runtime that has I/O enabled.
    pub fn spawn(&mut self) -> io::Result<Child> {
        match bench::current() {
            Lookup::Absent => {
                self.inner.unbound()?;
                self.spawn_native().map(Child::native)
            }
            Lookup::Open(_) | Lookup::Closed(..) => {
                let child = self.inner.spawn()?;
                Ok(Child::of_session(child, self.kill_on_drop))
            }
        }
    }

    /// Starts it now; the future waits for its end, with its pipes closed.
    ///
    /// # Errors
    ///
    /// The future's are those of [`spawn`](Command::spawn) and [`Child::wait`].
    pub fn status(
        &mut self,
    ) -> impl Future<Output = io::Result<ExitStatus>> + Send + Sync + 'static + use<> {
        let child = self.spawn();
        async {
            let mut child = child?;
            drop((child.stdin.take(), child.stdout.take(), child.stderr.take()));
            child.wait().await
        }
    }

    /// Starts it now; the future collects its output and waits for its end. As in tokio, stdout and
    /// stderr are captured whatever was said about them.
    ///
    /// # Errors
    ///
    /// The future's are those of [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    pub fn output(
        &mut self,
    ) -> impl Future<Output = io::Result<Output>> + Send + Sync + 'static + use<> {
        self.inner.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn();
        async { child?.wait_with_output().await }
    }

    /// tokio's child, on a thread without a session.
    fn spawn_native(&self) -> io::Result<native::Child> {
        let command = &self.inner;
        spawn::check(command)?;
        let mut native = native::Command::from(crate::native::std_command(command));
        let mut input = None;
        match &command.stdin {
            Some(Stdio { kind: Kind::Bytes(bytes) }) => {
                let (reader, writer) = io::pipe()?;
                native.stdin(reader);
                input = Some((bytes.clone(), writer));
            }
            Some(stdin) => _ = native.stdin(crate::native::std_stdio(stdin, "stdin")?),
            None => {}
        }
        if let Some(stdout) = &command.stdout {
            native.stdout(crate::native::std_stdio(stdout, "stdout")?);
        }
        if let Some(stderr) = &command.stderr {
            native.stderr(crate::native::std_stdio(stderr, "stderr")?);
        }
        let child = native.kill_on_drop(self.kill_on_drop).spawn()?;
        // It holds the child's end of the pipe.
        drop(native);
        if let Some((bytes, mut to)) = input {
            // A child need not read all of it, so an error means nothing.
            thread::Builder::new().spawn(move || _ = to.write_all(&bytes))?;
        }
        Ok(child)
    }
}

impl From<crate::Command> for Command {
    fn from(command: crate::Command) -> Command {
        Command { inner: command, kill_on_drop: false }
    }
}

/// Shown as by the standard library: quoted like a shell command, for people.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
