//! [`Testbench`]: the parts of a session before it runs, and the builder that checks them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use testbench_clock::{Clock, MockClock, Seed, SystemClock, WallTime};
use testbench_overlay::{HostDir, Overlay, OverlayBuilder, OverlayError};
use testbench_wasi::Limits;

use crate::bench::Bench;
use crate::config::{NativeFiles, SessionConfig};
use crate::files::{self, Files};
use crate::policy::Policy;
use crate::session::Session;
use crate::tape::{Deck, TapeError, TapeOptions};
use crate::toolchain::{ToolchainError, ToolchainSource};

/// A clock, files, a toolchain and policies that fit together, ready to be installed.
///
/// ```
/// use testbench_harness::{Command, Testbench, Toolchain};
///
/// let bench = Testbench::builder().toolchain(Toolchain::builtin()).env("GREETING", "hi").build()?;
/// let session = bench.enter();
/// let output = Command::new("env").output()?;
/// assert!(String::from_utf8_lossy(&output.stdout).contains("GREETING=hi\n"));
/// assert_eq!(session.finish()?.spawns.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is installed before `enter`"]
pub struct Testbench {
    clock: Arc<dyn Clock>,
    config: SessionConfig,
}

impl Testbench {
    /// A builder with the defaults that its methods name.
    pub fn builder() -> TestbenchBuilder {
        TestbenchBuilder::default()
    }

    /// Installs it on this thread until the session ends.
    #[track_caller]
    pub fn enter(mut self) -> Session {
        let thread = std::thread::current();
        self.config.name = self.config.name.or_else(|| thread.name().map(str::to_owned));
        Session::enter(Bench::new(self.config), self.clock)
    }
}

/// Makes a [`Testbench`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing before `build`"]
pub struct TestbenchBuilder {
    clock: SessionClock,
    config: SessionConfig,
    overlays: Vec<(PathBuf, Option<Vec<u8>>)>,
    set_up_overlay: SetUpOverlay,
    passthrough: Vec<PathBuf>,
    toolchain: Vec<ToolchainSource>,
    pass_env: Vec<OsString>,
    tape: Option<(PathBuf, TapeOptions)>,
}

/// The closures given to [`TestbenchBuilder::set_up_overlay`].
#[derive(Default)]
struct SetUpOverlay(Vec<Box<dyn FnOnce(OverlayBuilder) -> OverlayBuilder + Send>>);

/// Their number; closures cannot be shown.
impl fmt::Debug for SetUpOverlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetUpOverlay({})", self.0.len())
    }
}

impl TestbenchBuilder {
    /// Sets the name in reports and errors. By default it is that of the thread that enters, which under
    /// `cargo test` is the test's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Sets the clock of host and guests: a [`WallTime`] or [`SystemTime`] at which a new mock clock
    /// starts, or any [`Clock`]. By default a mock clock paused at 2000-01-01T00:00:00Z.
    pub fn clock(mut self, clock: impl Into<SessionClock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Uses the real clock: sleeps take their time, and no two runs are alike.
    pub fn real_clock(self) -> Self {
        let real: Arc<dyn Clock> = Arc::new(SystemClock::new("session"));
        self.clock(real)
    }

    /// Sets the seed of all randomness that guests get. By default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Seed::new(seed);
        self
    }

    /// Shows `dir` to guests and to `testbench_overlay::fs`, copy-on-write, under its own absolute
    /// path. Without an overlay guests see no files.
    pub fn overlay(mut self, dir: impl AsRef<Path>) -> Self {
        self.overlays.push((dir.as_ref().to_owned(), None));
        self
    }

    /// Like [`overlay`](Self::overlay), but guests see it at `guest_path`, such as `/`.
    pub fn overlay_at(mut self, dir: impl AsRef<Path>, guest_path: impl AsRef<[u8]>) -> Self {
        self.overlays.push((dir.as_ref().to_owned(), Some(guest_path.as_ref().to_vec())));
        self
    }

    /// Sets up the overlay further: faults, quotas, hidden paths, mounts, an audit. May be called several
    /// times; without an overlay, `set_up` is not called.
    ///
    /// ```
    /// use testbench_harness::{Command, Testbench, Toolchain};
    /// use testbench_overlay::Errno;
    /// use testbench_overlay::pipeline::{Fault, Operation};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let _session = Testbench::builder()
    ///     .overlay(dir.path())
    ///     .set_up_overlay(|overlay| overlay.faults(Fault::error(Errno::Io).on(Operation::Create)))
    ///     .toolchain(Toolchain::builtin())
    ///     .build()?
    ///     .enter();
    /// let output = Command::new("touch").arg("new").output()?;
    /// assert!(String::from_utf8_lossy(&output.stderr).contains("I/O error"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_up_overlay(
        mut self,
        set_up: impl FnOnce(OverlayBuilder) -> OverlayBuilder + Send + 'static,
    ) -> Self {
        self.set_up_overlay.0.push(Box::new(set_up));
        self
    }

    /// Shows the real directory `dir` to guests, read-only, under its own absolute path.
    pub fn passthrough(mut self, dir: impl AsRef<Path>) -> Self {
        self.passthrough.push(dir.as_ref().to_owned());
        self
    }

    /// Adds a toolchain: a directory of `<program>.wasm` files, or a [`Toolchain`](crate::Toolchain). Those
    /// added first are asked first. By default there is none.
    pub fn toolchain(mut self, toolchain: impl Into<ToolchainSource>) -> Self {
        self.toolchain.push(toolchain.into());
        self
    }

    /// Sets the policy for `program`, in place of [`unmatched`](Self::unmatched), for when the toolchain
    /// does not have it. [`Policy::Deny`] refuses it even if the toolchain has it.
    ///
    /// A path under `/bin` or `/usr/bin` goes by its last component, any other path as it stands.
    pub fn policy(mut self, program: impl AsRef<OsStr>, policy: Policy) -> Self {
        self.config.policies.insert(program.as_ref().to_owned(), policy);
        self
    }

    /// Sets the policy for all other programs that the toolchain does not have. By default
    /// [`Policy::NotFound`].
    pub fn unmatched(mut self, policy: Policy) -> Self {
        self.config.unmatched = policy;
        self
    }

    /// Passes variables of this process's environment to guests, with their values at
    /// [`build`](Self::build); those that are not set then are left out. By default none.
    pub fn pass_env<I>(mut self, keys: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.pass_env.extend(keys.into_iter().map(|key| key.as_ref().to_owned()));
        self
    }

    /// Sets a variable of all guests; it outranks [`pass_env`](Self::pass_env). By default there is
    /// `TZ=UTC` alone.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.config.env.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets the bounds of every guest. By default [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Sets the files that native programs see in a session with an overlay. By default
    /// [`NativeFiles::Refuse`].
    pub fn native_files(mut self, files: NativeFiles) -> Self {
        self.config.native_files = files;
        self
    }

    /// Records the session's spawns onto the tape at `path`, or plays it back: a
    /// [`TapeMode`](crate::tape::TapeMode), or [`TapeOptions`]. By default there is no tape.
    ///
    /// Every spawn is recorded, guests too. Policies select the spawns that are played: set
    /// [`Policy::Replay`] by [`unmatched`](Self::unmatched), or by [`policy`](Self::policy) for one
    /// program. While the session records, `Replay` records as well.
    ///
    /// ```no_run
    /// use testbench_harness::tape::TapeMode;
    /// use testbench_harness::{Command, NativeFiles, OnMiss, Policy, Testbench};
    ///
    /// let session = Testbench::builder()
    ///     .overlay("tests/project")
    ///     .native_files(NativeFiles::Copy)
    ///     .tape("tests/build.tape", TapeMode::Auto) // records once, then replays
    ///     .unmatched(Policy::Replay(OnMiss::Error))
    ///     .build()?
    ///     .enter();
    /// Command::new("make").output()?;
    /// session.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tape(mut self, path: impl AsRef<Path>, mode: impl Into<TapeOptions>) -> Self {
        self.tape = Some((path.as_ref().to_owned(), mode.into()));
        self
    }

    /// Refuses each `Command` on a thread without a session while this session lives
    /// ([`Refusal::UnboundThread`]), and makes [`finish`](Session::finish) fail then. It is for a process
    /// that belongs to this one session. By default such a spawn is the standard library's, and is
    /// counted in [`Leaks::unattributed_spawns`](crate::Leaks::unattributed_spawns).
    ///
    /// [`Refusal::UnboundThread`]: crate::Refusal::UnboundThread
    pub fn strict_threads(mut self, on: bool) -> Self {
        self.config.strict_threads = on;
        self
    }

    /// Sets how long a child may take in real time before it is killed: [`Limits::watchdog`]. By
    /// default a minute.
    pub fn watchdog(mut self, after: Duration) -> Self {
        self.config.limits.watchdog = Some(after);
        self
    }

    /// Opens directories and checks the settings. Nothing is installed yet.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when a directory or toolchain cannot be used.
    #[allow(clippy::disallowed_methods, reason = "`pass_env` asks for the environment by name")]
    pub fn build(self) -> Result<Testbench, BuildError> {
        let (clock, mut config) = (self.clock.0, self.config);
        config.files = open_files(self.overlays, self.set_up_overlay, self.passthrough, &clock)?;
        for source in self.toolchain {
            let toolchain = source.open().map_err(BuildError::Toolchain)?;
            config.toolchain = config.toolchain.or(toolchain);
        }
        let mut env = BTreeMap::from([(OsString::from("TZ"), OsString::from("UTC"))]);
        env.extend(self.pass_env.into_iter().filter_map(|key| {
            let value = std::env::var_os(&key)?;
            Some((key, value))
        }));
        env.append(&mut config.env);
        config.env = env;
        if let Some((path, options)) = self.tape {
            let mut roots: Vec<PathBuf> = config.files.host_names().map(Path::to_owned).collect();
            if roots.is_empty() {
                // Without files, paths are relative to this directory.
                roots.extend(std::env::current_dir());
            }
            let (env, seed) = (&config.env, config.seed);
            let deck = Deck::open(path, options, roots, env, seed, clock.wall());
            config.tape = Some(Arc::new(deck.map_err(BuildError::Tape)?));
        }
        Ok(Testbench { clock, config })
    }
}

/// The argument of [`TestbenchBuilder::clock`]: the start of a mock clock, or a clock.
#[derive(Clone, Debug)]
pub struct SessionClock(Arc<dyn Clock>);

/// A mock clock with the default start.
impl Default for SessionClock {
    fn default() -> Self {
        SessionClock(MockClock::builder().build())
    }
}

impl From<WallTime> for SessionClock {
    fn from(start: WallTime) -> Self {
        SessionClock(MockClock::builder().start(start).build())
    }
}

impl From<SystemTime> for SessionClock {
    fn from(start: SystemTime) -> Self {
        WallTime::from(start).into()
    }
}

impl From<Arc<dyn Clock>> for SessionClock {
    fn from(clock: Arc<dyn Clock>) -> Self {
        SessionClock(clock)
    }
}

impl From<Arc<MockClock>> for SessionClock {
    fn from(clock: Arc<MockClock>) -> Self {
        SessionClock(clock)
    }
}

/// Why a [`Testbench`] cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The directory under the overlay cannot be used.
    #[error("no overlay over `{}`: {source}", dir.display())]
    Overlay {
        /// As it was given.
        dir: PathBuf,
        /// The cause.
        source: OverlayError,
    },
    /// A directory to show does not exist, or cannot be opened.
    #[error("cannot show `{}`: {source}", dir.display())]
    Dir {
        /// As it was given.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A session has at most one overlay, since it has one diff.
    #[error(
        "two overlays, over `{}` and `{}`: a session has one; lay it over a directory that holds \
         both, or show the other read-only with `.passthrough(dir)`",
        first.display(), second.display()
    )]
    TwoOverlays {
        /// The one that was asked for first.
        first: PathBuf,
        /// The one that is too many.
        second: PathBuf,
    },
    /// The place is no absolute path of a guest.
    #[error(
        "the overlay over `{}` cannot be shown at `{guest_path}`: not an absolute path (`/` would be)",
        dir.display()
    )]
    GuestPath {
        /// As it was given.
        dir: PathBuf,
        /// Where it was to be shown; what is not UTF-8 is replaced.
        guest_path: String,
    },
    /// The tape cannot be used.
    #[error(transparent)]
    Tape(TapeError),
    /// The toolchain cannot be used.
    #[error("no toolchain: {0}")]
    Toolchain(#[source] ToolchainError),
}

fn open_files(
    overlays: Vec<(PathBuf, Option<Vec<u8>>)>,
    set_up_overlay: SetUpOverlay,
    passthrough: Vec<PathBuf>,
    clock: &Arc<dyn Clock>,
) -> Result<Files, BuildError> {
    let mut files = Files::default();
    let mut shown = Vec::new();
    for dir in passthrough {
        let open = || Ok((HostDir::open(&dir)?.read_only(), files::host_names(&dir)?));
        shown.push(open().map_err(|source| BuildError::Dir { dir: dir.clone(), source })?);
    }
    let mut overlays = overlays.into_iter();
    if let Some((dir, guest_path)) = overlays.next() {
        if let Some((second, _)) = overlays.next() {
            return Err(BuildError::TwoOverlays { first: dir, second });
        }
        if let Some(path) = guest_path.as_ref().filter(|path| path.first() != Some(&b'/')) {
            let guest_path = String::from_utf8_lossy(path).into_owned();
            return Err(BuildError::GuestPath { dir, guest_path });
        }
        let mut overlay = Overlay::builder(&dir).clock(clock.clone());
        if let Some(path) = &guest_path {
            overlay = overlay.mounted_at(path.clone());
        }
        for (dir, _) in &shown {
            overlay = overlay.passthrough(dir.clone());
        }
        for set_up in set_up_overlay.0 {
            overlay = set_up(overlay);
        }
        let overlay =
            overlay.build().map_err(|source| BuildError::Overlay { dir: dir.clone(), source })?;
        let names = files::host_names(&dir).map_err(|source| BuildError::Dir { dir, source })?;
        files.set_overlay(overlay, names, guest_path);
    }
    for (dir, names) in shown {
        files.add_passthrough(dir, names);
    }
    Ok(files)
}
