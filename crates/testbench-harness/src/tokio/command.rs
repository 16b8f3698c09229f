//! Starts programs from async code.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use ::tokio::process as native;
use testbench_wasi::Limits;

use super::Child;
use crate::policy::Policy;
use crate::route::{Explanation, Route};
use crate::stdio::Stdio;
use crate::streams::Collect;

/// Starts a program, as `tokio::process::Command` does; in a [`Session`](crate::Session), by
/// the route that the session decides. See the [module](super) for where it can be awaited.
///
/// ```
/// use testbench_harness::tokio::Command;
/// use testbench_harness::{Testbench, Toolchain};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// testbench_clock::tokio::runtime()?.block_on(async {
///     let output = Command::new("wc").arg("-l").stdin_bytes("a\nb\n").output().await?;
///     assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2");
///     Ok::<(), std::io::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Command {
    inner: crate::Command,
    kill_on_drop: bool,
}

/// Forwards setters to the command for code that blocks.
macro_rules! setters {
    ($($name:ident($argument:ident: $type:ty $(, $second:ident: $second_type:ty)?);)*) => {
        impl Command {$(
            #[doc = concat!("See [`crate::Command::", stringify!($name), "`].")]
            pub fn $name(&mut self, $argument: $type $(, $second: $second_type)?) -> &mut Command {
                self.inner.$name($argument $(, $second)?);
                self
            }
        )*}
    };
}

setters! {
    arg(arg: impl AsRef<OsStr>);
    args(args: impl IntoIterator<Item = impl AsRef<OsStr>>);
    arg0(name: impl AsRef<OsStr>);
    env(key: impl AsRef<OsStr>, value: impl AsRef<OsStr>);
    envs(vars: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>);
    env_remove(key: impl AsRef<OsStr>);
    current_dir(dir: impl AsRef<Path>);
    stdin(from: impl Into<Stdio>);
    stdin_bytes(bytes: impl AsRef<[u8]>);
    stdout(to: impl Into<Stdio>);
    stderr(to: impl Into<Stdio>);
    limits(limits: Limits);
    timeout(after: Duration);
    via(policy: Policy);
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

    /// Sets whether a child is ended by force when its [`Child`], or the future of
    /// [`output`](Command::output) or [`status`](Command::status), drops while it runs. By default
    /// it is not.
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Command {
        self.kill_on_drop = kill_on_drop;
        self
    }

    /// The setting of [`kill_on_drop`](Command::kill_on_drop).
    pub fn get_kill_on_drop(&self) -> bool {
        self.kill_on_drop
    }

    /// See [`crate::Command::env_clear`].
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
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
        match self.inner.place()? {
            None => self.spawn_native().map(Child::native),
            Some((bench, clock)) => {
                let child = crate::spawn::spawn(&bench, &clock, &mut self.inner.spec)?;
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
        crate::native::start_std(&self.inner.spec, Collect::Spawn, |command| {
            native::Command::from(command).kill_on_drop(self.kill_on_drop).spawn()
        })
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
