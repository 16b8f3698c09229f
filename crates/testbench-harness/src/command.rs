//! [`Command`] and [`Stdio`]: `std::process` as it is known, with one look at the thread's session.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::Duration;

use testbench_clock::Lookup;
use testbench_wasi::{Exit, Limits};

use crate::bench;
use crate::{
    Child, Explanation, Policy, Refusal, Route, SpawnError, Stdio, native, route, spawn, strict,
};

/// Starts a program, as [`std::process::Command`] does; in a [`Session`](crate::Session), as a
/// guest.
///
/// Names, defaults and results are those of the standard library. On a thread without a session it
/// *is* the standard library's, and whatever this type adds ([`limits`](Command::limits),
/// [`timeout`](Command::timeout), [`via`](Command::via)) has no effect. In a session these differ:
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
/// let output = Command::new("wc").arg("-l").stdin("a\nb\n").output()?;
/// assert!(output.status.success());
/// assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2");
/// # drop(session);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) arg0: Option<OsString>,
    pub(crate) args: Vec<OsString>,
    pub(crate) env_clear: bool,
    pub(crate) env: BTreeMap<OsString, Option<OsString>>,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) stdin: Option<Stdio>,
    pub(crate) stdout: Option<Stdio>,
    pub(crate) stderr: Option<Stdio>,
    pub(crate) limits: Option<Limits>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) via: Option<Policy>,
}

impl Command {
    /// A command without arguments, see [`std::process::Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            program: program.as_ref().to_owned(),
            arg0: None,
            args: Vec::new(),
            env_clear: false,
            env: BTreeMap::new(),
            current_dir: None,
            stdin: None,
            stdout: None,
            stderr: None,
            limits: None,
            timeout: None,
            via: None,
        }
    }

    /// Adds one argument. It need not be UTF-8; a NUL in it makes the start fail with
    /// [`io::ErrorKind::InvalidInput`].
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<I>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// What the program sees as its own name, instead of what it was called by (on Unix as in
    /// [`std::os::unix::process::CommandExt::arg0`]; elsewhere guests only).
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.arg0 = Some(name.as_ref().to_owned());
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.env.insert(key.as_ref().to_owned(), Some(value.as_ref().to_owned()));
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
        self.env.insert(key.as_ref().to_owned(), None);
        self
    }

    /// Empties the child's environment, the session's part of it included; later calls of
    /// [`env`](Command::env) add to it again.
    pub fn env_clear(&mut self) -> &mut Command {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// The child's working directory. A relative one starts at this process's, or in a session at
    /// the overlay's root if this process's lies outside of it.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Where the child's standard input comes from. Not set, it is empty for
    /// [`output`](Command::output), and in a session for [`status`](Command::status) as well.
    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Command {
        self.stdin = Some(from.into());
        self
    }

    /// Where the child's standard output goes. Not set, it is captured by
    /// [`output`](Command::output) and inherited by [`status`](Command::status).
    pub fn stdout(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.stdout = Some(to.into());
        self
    }

    /// Where the child's standard error goes; not set, as with [`stdout`](Command::stdout).
    pub fn stderr(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.stderr = Some(to.into());
        self
    }

    /// Bounds for this guest instead of the session's.
    pub fn limits(&mut self, limits: Limits) -> &mut Command {
        self.limits = Some(limits);
        self
    }

    /// Ends the child with `SIGKILL` when this much time has passed on the session's clock since its
    /// start. For a native child, whose own time is real, it is so much real time.
    pub fn timeout(&mut self, after: Duration) -> &mut Command {
        self.timeout = Some(after);
        self
    }

    /// The policy for this command instead of the session's for its program.
    /// [`Policy::Native`] and [`Policy::Deny`] decide here even where the toolchain has the
    /// program.
    pub fn via(&mut self, policy: Policy) -> &mut Command {
        self.via = Some(policy);
        self
    }

    /// What a start of this command would run now. Starts nothing.
    pub fn route(&self) -> Route {
        match bench::current() {
            Lookup::Absent => match strict::session() {
                None => Route::Native,
                Some(session) => {
                    let program = self.program.clone();
                    Route::Refuse(Refusal::UnboundThread { program, session })
                }
            },
            Lookup::Open(bench) => route::resolve(&bench, self),
            Lookup::Closed(_, ended) => Route::Refuse(Refusal::Ended(ended)),
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
        match bench::current() {
            Lookup::Absent => {
                self.unbound()?;
                native::spawn(self)
            }
            Lookup::Open(bench) => {
                let clock = testbench_clock::current();
                spawn::spawn(&bench, &clock, self).map_err(io::Error::from)
            }
            Lookup::Closed(_, ended) => Err(SpawnError::from(Refusal::Ended(ended)).into()),
        }
    }

    /// What [`Command::route`] decides, with every step of the decision: what `testbench which
    /// --explain` prints. Starts nothing.
    pub fn explain(&self) -> Explanation {
        match bench::current() {
            Lookup::Open(bench) => route::explain(&bench, self),
            Lookup::Absent | Lookup::Closed(..) => Explanation {
                program: self.program.clone(),
                steps: Vec::new(),
                route: self.route(),
            },
        }
    }

    /// Runs to the end and gives its output; see [`std::process::Command::output`].
    ///
    /// A guest runs on the calling thread, and waits of the guest move the session's clock.
    ///
    /// # Errors
    ///
    /// When nothing could be started: see [`SpawnError`] for what the session adds, with
    /// [`SpawnError::of`] to get at it. A child that fails is not an error but a status: exit
    /// codes are kept modulo 256, a trap is `SIGABRT`, a limit or a kill is `SIGKILL`.
    pub fn output(&mut self) -> io::Result<Output> {
        self.start(Collect::Output).map(|run| run.output)
    }

    /// Runs to the end and gives its status; see [`std::process::Command::status`].
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.start(Collect::Status).map(|run| run.output.status)
    }

    /// Like [`Command::output`], with what a status cannot say: how exactly a guest ended, and how
    /// much time passed on the session's clock.
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    pub fn run(&mut self) -> io::Result<Run> {
        self.start(Collect::Output)
    }

    /// See [`std::process::Command::get_program`].
    pub fn get_program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments without the program's name; see [`std::process::Command::get_args`].
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> + Clone {
        self.args.iter().map(OsString::as_os_str)
    }

    /// The variables set and (`None`) removed on this command, ordered by key; see
    /// [`std::process::Command::get_envs`].
    pub fn get_envs(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> + Clone {
        self.env.iter().map(|(key, value)| (key.as_os_str(), value.as_deref()))
    }

    /// See [`std::process::Command::get_current_dir`].
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.current_dir.as_deref()
    }

    /// What the program will see as its own name.
    pub fn get_arg0(&self) -> &OsStr {
        self.arg0.as_deref().unwrap_or(&self.program)
    }

    /// The ambient read of a spawn: everything below gets session and clock as values.
    fn start(&mut self, collect: Collect) -> io::Result<Run> {
        match bench::current() {
            Lookup::Absent => {
                self.unbound()?;
                native::run(self, collect)
            }
            Lookup::Open(bench) => {
                // This thread's view of the session's timeline: each is a participant of its own.
                let clock = testbench_clock::current();
                spawn::run(&bench, &clock, self, collect).map_err(io::Error::from)
            }
            Lookup::Closed(_, ended) => Err(SpawnError::from(Refusal::Ended(ended)).into()),
        }
    }
}

impl Command {
    /// A start on a thread without a session: counted, or refused because of a strict one.
    pub(crate) fn unbound(&self) -> Result<(), SpawnError> {
        match strict::refuse(&self.program) {
            None => {
                bench::count_unattributed();
                Ok(())
            }
            Some(session) => {
                Err(Refusal::UnboundThread { program: self.program.clone(), session }.into())
            }
        }
    }
}

/// Shown as by the standard library: quoted like a shell command, for people.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&native::std_command(self), f)
    }
}

/// What [`Command::run`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Status and captured output, as [`Command::output`] gives them.
    pub output: Output,
    /// How the guest ended, with the reason for a trap or the limit that was hit; `None` for a
    /// native child.
    pub exit: Option<Exit>,
    /// The time that passed on the session's clock; zero without a session.
    pub virtual_time: Duration,
}

/// Which of std's calls is running: they differ in the defaults of the standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collect {
    Output,
    Status,
    Spawn,
}
