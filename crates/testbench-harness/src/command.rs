//! [`Command`]: that of `std::process`, with one look at the thread's session.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Clock, Lookup};
use testbench_wasi::{Exit, Finished, Limits};

use crate::bench::{self, Bench};
use crate::child::Child;
use crate::error::SpawnError;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::route::{self, Explanation, Route};
use crate::spec::SpawnSpec;
use crate::stdio::{Stdio, StdioKind};
use crate::streams::Collect;
use crate::{native, spawn, strict};

/// Starts a program, as [`std::process::Command`] does; in a [`Session`](crate::Session), as a
/// guest.
///
/// Names, defaults and results are those of the standard library. On a thread without a session it
/// *is* the standard library's, and fails to start if it has [`limits`](Command::limits), a
/// [`timeout`](Command::timeout) or a policy ([`via`](Command::via)), which need a session. In a
/// session these differ:
///
/// | | in a session |
/// | --- | --- |
/// | program | found in the session's toolchain, else [`NotFound`](io::ErrorKind::NotFound) |
/// | environment | empty, plus the session's, plus this command's, plus `TZ=UTC` and `PWD` |
/// | stdin | empty unless set, for `status` too |
/// | current directory | the process's if it lies inside the overlay, else the overlay's root |
///
/// ```
/// use testbench_harness::{Command, Testbench, Toolchain};
///
/// let session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// let output = Command::new("wc").arg("-l").stdin_bytes("a\nb\n").output()?;
/// assert!(output.status.success());
/// assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2");
/// # drop(session);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Command {
    pub(crate) spec: SpawnSpec,
}

/// A session, and the clock of the calling thread in it.
type OfSession = (Arc<Bench>, Arc<dyn Clock>);

impl Command {
    /// A command without arguments, see [`std::process::Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command { spec: SpawnSpec { program: program.as_ref().to_owned(), ..SpawnSpec::default() } }
    }

    /// Adds one argument. It need not be UTF-8; a NUL in it makes the start fail with
    /// [`io::ErrorKind::InvalidInput`].
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.spec.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<I>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.spec.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets the name that the program sees as its own, its `argv[0]` (on Unix as
    /// [`std::os::unix::process::CommandExt::arg0`]; elsewhere for guests only).
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.spec.arg0 = Some(name.as_ref().to_owned());
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.spec.env.insert(key.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets variables of the child's environment.
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        for (key, value) in vars {
            self.env(key, value);
        }
        self
    }

    /// Takes a variable out of the child's environment, wherever it came from.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.spec.env.insert(key.as_ref().to_owned(), None);
        self
    }

    /// Empties the child's environment, the session's part of it included; later calls of
    /// [`env`](Command::env) add to it again.
    pub fn env_clear(&mut self) -> &mut Command {
        self.spec.env_clear = true;
        self.spec.env.clear();
        self
    }

    /// The child's working directory. A relative one starts at this process's, or in a session at
    /// the overlay's root if this process's lies outside of it.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.spec.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets where the child's standard input comes from: another child's output, a file, a pipe. By
    /// default it is empty for [`output`](Command::output), and in a session for
    /// [`status`](Command::status) and [`spawn`](Command::spawn) as well.
    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Command {
        self.spec.stdin = Some(from.into());
        self
    }

    /// Gives the child these bytes as its whole standard input.
    pub fn stdin_bytes(&mut self, bytes: impl AsRef<[u8]>) -> &mut Command {
        self.stdin(StdioKind::Bytes(bytes.as_ref().into()))
    }

    /// Sets where the child's standard output goes. By default it is captured by
    /// [`output`](Command::output) and inherited by [`status`](Command::status).
    pub fn stdout(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.spec.stdout = Some(to.into());
        self
    }

    /// Sets where the child's standard error goes, with the default of [`stdout`](Command::stdout).
    pub fn stderr(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.spec.stderr = Some(to.into());
        self
    }

    /// Sets bounds for this guest instead of the session's. Without a session the start fails.
    pub fn limits(&mut self, limits: Limits) -> &mut Command {
        self.spec.limits = Some(limits);
        self
    }

    /// Ends the child with `SIGKILL` when this much time has passed on the session's clock since its
    /// start. For a native child, whose own time is real, it is real time. Without a session the
    /// start fails.
    pub fn timeout(&mut self, after: Duration) -> &mut Command {
        self.spec.timeout = Some(after);
        self
    }

    /// Sets the policy for this command instead of the session's for its program.
    /// [`Policy::Native`] and [`Policy::Deny`] hold even if the toolchain has the program. Without
    /// a session, `Native` is what happens anyway, and with any other policy but `NotFound` the
    /// start fails.
    pub fn via(&mut self, policy: Policy) -> &mut Command {
        self.spec.via = Some(policy);
        self
    }

    /// Returns what a start of this command would run now. Starts nothing.
    pub fn route(&self) -> Route {
        match bench::current() {
            Lookup::Absent => strict::refusal(&self.spec.program)
                .map_or(Route::Native { record: false }, Route::Refuse),
            Lookup::Open(bench) => route::resolve(&bench, &self.spec),
            Lookup::Closed(_, ended) => Route::Refuse(Refusal::Ended(ended)),
        }
    }

    /// Returns what [`Command::route`] decides, with every step of the decision: the output of
    /// `testbench which --explain`. Starts nothing.
    pub fn explain(&self) -> Explanation {
        match bench::current() {
            Lookup::Open(bench) => route::explain(&bench, &self.spec),
            Lookup::Absent | Lookup::Closed(..) => Explanation {
                program: self.spec.program.clone(),
                steps: Vec::new(),
                route: self.route(),
            },
        }
    }

    /// Starts it and returns at once; see [`std::process::Command::spawn`].
    ///
    /// In a session the child runs on the session's timeline, beside its parent: it comes to run
    /// when this thread waits, for instance for the child's output or its end.
    ///
    /// # Errors
    ///
    /// When nothing could be started, as [`Command::output`].
    pub fn spawn(&mut self) -> io::Result<Child> {
        match self.place()? {
            None => native::spawn(&self.spec),
            Some((bench, clock)) => Ok(spawn::spawn(&bench, &clock, &mut self.spec)?),
        }
    }

    /// Runs it to its end and returns its output; see [`std::process::Command::output`].
    ///
    /// A guest runs on the calling thread, and waits of the guest move the session's clock.
    ///
    /// # Errors
    ///
    /// When nothing could be started: see [`SpawnError`] for what the session adds, with
    /// [`SpawnError::of`] to get at it. A child that fails is not an error but a status: exit
    /// codes are kept modulo 256, a trap is `SIGABRT`, a limit or a kill is `SIGKILL`.
    pub fn output(&mut self) -> io::Result<Output> {
        self.collect(Collect::Output)
    }

    /// Runs it to its end and returns its status; see [`std::process::Command::status`].
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.collect(Collect::Status).map(|output| output.status)
    }

    /// Runs it to its end and returns all that is known of it: the output, why exactly it ended, and
    /// how far the session's clock moved (not at all without a session).
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    pub fn run(&mut self) -> io::Result<Finished> {
        match self.place()? {
            None => {
                let output = native::run(&self.spec, Collect::Output)?;
                let mut finished = Finished::new(Exit::of_status(output.status));
                (finished.stdout, finished.stderr) = (output.stdout, output.stderr);
                Ok(finished)
            }
            Some((bench, clock)) => {
                Ok(spawn::run(&bench, &clock, &mut self.spec, Collect::Output)?)
            }
        }
    }

    /// See [`std::process::Command::get_program`].
    pub fn get_program(&self) -> &OsStr {
        &self.spec.program
    }

    /// The arguments without the program's name; see [`std::process::Command::get_args`].
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> + Clone {
        self.spec.args.iter().map(OsString::as_os_str)
    }

    /// The variables set and (`None`) removed on this command, ordered by key; see
    /// [`std::process::Command::get_envs`].
    pub fn get_envs(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> + Clone {
        self.spec.env.iter().map(|(key, value)| (key.as_os_str(), value.as_deref()))
    }

    /// See [`std::process::Command::get_current_dir`].
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.spec.current_dir.as_deref()
    }

    /// The name that the program will see as its own.
    pub fn get_arg0(&self) -> &OsStr {
        self.spec.arg0()
    }

    fn collect(&mut self, collect: Collect) -> io::Result<Output> {
        let Some((bench, clock)) = self.place()? else { return native::run(&self.spec, collect) };
        Ok(spawn::run(&bench, &clock, &mut self.spec, collect)?.into())
    }

    /// The session of this thread with the thread's own view of its timeline, or `None` for a
    /// command of the standard library's, which this counts or refuses. The only ambient read of a
    /// spawn: everything below gets the session and the clock as values.
    pub(crate) fn place(&self) -> Result<Option<OfSession>, SpawnError> {
        if let Some(bench) = session_here(&self.spec.program)? {
            return Ok(Some((bench, testbench_clock::current())));
        }
        self.spec.check_without_session()?;
        bench::count_unattributed();
        Ok(None)
    }
}

/// The session of this thread. Fails if that has ended, and if a strict session refuses to start
/// `program` on a thread without one.
pub(crate) fn session_here(program: &OsStr) -> Result<Option<Arc<Bench>>, SpawnError> {
    match bench::current() {
        Lookup::Open(bench) => Ok(Some(bench)),
        Lookup::Closed(_, ended) => Err(Refusal::Ended(ended).into()),
        Lookup::Absent => strict::refuse(program).map_or(Ok(None), |refusal| Err(refusal.into())),
    }
}

/// Shown as by the standard library: quoted like a shell command, for people.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&native::std_command(&self.spec), f)
    }
}
