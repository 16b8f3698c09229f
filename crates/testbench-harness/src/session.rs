//! [`Session`]: a bench that is installed on this thread.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Clock, Guard, MonoTime};
use testbench_overlay::{Diff, Overlay, OverlayError};

use crate::bench::{self, Bench};
use crate::report::{Leaks, Report, SpawnRecord};
use crate::tape::{Record, Tape, TapeError};
use crate::{Command, Route, route, strict};

/// Keeps a [`Testbench`](crate::Testbench) installed on this thread: clock, overlay, toolchain and
/// spawns.
///
/// It ends with [`finish`](Session::finish), or when it drops. Either way the children that still
/// run, guests and native ones, are ended first. A thread that entered a
/// [`Context`](testbench_clock::Context) captured in the session gets the error "session NAME
/// ended at FILE:LINE" from then on; nothing falls through to the real disk.
///
/// A drop panics where `finish` would fail, for instance because entries of the tape are left over
/// or [`strict_threads`] refused a spawn, unless the thread is unwinding already.
///
/// [`strict_threads`]: crate::TestbenchBuilder::strict_threads
///
/// Sessions nest: the inner one is seen. Sessions of different threads do not see each other.
#[must_use = "the session ends as soon as this is dropped"]
pub struct Session {
    bench: Arc<Bench>,
    clock: Arc<dyn Clock>,
    began: MonoTime,
    unattributed_before: u64,
    /// Spawns on threads without a session are refused meanwhile.
    strict: Option<strict::Strict>,
    /// One for each key; the last one to drop ends the lifetime.
    guards: Vec<Guard>,
}

impl Session {
    #[track_caller]
    pub(crate) fn enter(bench: Bench, clock: Arc<dyn Clock>) -> Session {
        let lifetime = bench.lifetime.clone();
        let bench = Arc::new(bench);
        let mut guards = Vec::with_capacity(4);
        guards.push(testbench_clock::ambient::install_for(clock.clone(), &lifetime));
        guards.push(match bench.files.overlay() {
            Some(overlay) => testbench_overlay::install_for(overlay.clone(), &lifetime),
            None => testbench_overlay::install_nothing(&lifetime),
        });
        let toolchain = bench.toolchain.first();
        guards.push(testbench_wasi::install_programs_for(toolchain, &lifetime));
        guards.push(bench::SESSION.install(bench.clone(), &lifetime).owning(lifetime));
        let began = clock.mono();
        let strict = bench.strict_threads.then(|| strict::Strict::begin(bench.name()));
        let unattributed_before = bench::unattributed();
        Session { bench, clock, began, unattributed_before, strict, guards }
    }

    /// The session's name, by default that of the thread, which in a test is the test's.
    pub fn name(&self) -> &str {
        self.bench.name()
    }

    /// The session's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The session's overlay, if it has one.
    pub fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.bench.files.overlay()
    }

    /// The real directory under the overlay, as it was given.
    pub fn root(&self) -> Option<&Path> {
        self.bench.files.overlay_root()
    }

    /// Returns the changes in the overlay so far; none without one.
    ///
    /// # Errors
    ///
    /// When the real directory changed underneath, or cannot be read.
    pub fn diff(&self) -> Result<Diff, OverlayError> {
        self.overlay().map_or(Ok(Diff::default()), |overlay| overlay.diff())
    }

    /// How far the session's clock has moved since its start.
    pub fn virtual_time(&self) -> Duration {
        self.clock.mono().duration_since(self.began)
    }

    /// Returns the spawns so far, in the order of the starts.
    pub fn spawns(&self) -> Vec<SpawnRecord> {
        self.bench.spawns()
    }

    /// Returns what a start of `command` in this session would run. Starts nothing.
    pub fn resolve(&self, command: &Command) -> Route {
        route::resolve(&self.bench, &command.spec)
    }

    /// Ends the session and returns its report.
    ///
    /// # Errors
    ///
    /// [`FinishError`]; the session has ended nevertheless.
    #[track_caller]
    pub fn finish(mut self) -> Result<Report, FinishError> {
        self.bench.lifetime.end();
        self.close();
        let name = self.bench.name().to_owned();
        // A tape is written whatever else is wrong.
        let tape = self.finish_tape();
        self.check()?;
        let diff =
            self.diff().map_err(|source| FinishError::Diff { session: name.clone(), source })?;
        let (tape, unused) = tape?;
        Ok(Report {
            diff,
            tape,
            unused,
            name,
            spawns: self.bench.spawns(),
            leaks: Leaks {
                unattributed_spawns: bench::unattributed() - self.unattributed_before,
                lifetime: self.bench.lifetime.clone(),
            },
            virtual_time: self.virtual_time(),
            mocked: self.clock.is_mocked(),
            hidden_paths: self.bench.files.host_names().map(Path::to_owned).collect(),
        })
    }

    /// Returns the tape recorded so far; `None` without one.
    pub fn tape(&self) -> Option<Tape> {
        self.bench.tape.as_ref().map(|deck| deck.tape())
    }

    fn finish_tape(&self) -> Result<(Option<Tape>, Vec<Record>), FinishError> {
        let Some(deck) = &self.bench.tape else { return Ok((None, Vec::new())) };
        match deck.finish() {
            Ok((tape, unused)) => Ok((Some(tape), unused)),
            Err(source) => Err(FinishError::Tape { session: self.bench.name().to_owned(), source }),
        }
    }

    /// Checks that a session that has ended kept its rules.
    fn check(&mut self) -> Result<(), FinishError> {
        let refused = self.strict.take().map_or(Vec::new(), strict::Strict::end);
        if refused.is_empty() {
            return Ok(());
        }
        let programs = refused.iter().map(|program| program.display().to_string()).collect();
        Err(FinishError::UnboundThreads { session: self.bench.name().to_owned(), programs })
    }

    /// Ends the children and uncovers what was installed before.
    fn close(&mut self) {
        self.bench.stop_running(&*self.clock);
        while let Some(guard) = self.guards.pop() {
            drop(guard);
        }
    }

    pub(crate) fn bench(&self) -> &Arc<Bench> {
        &self.bench
    }

    #[cfg(feature = "insta")]
    pub(crate) fn hidden_paths(&self) -> impl Iterator<Item = &Path> {
        self.bench.files.host_names()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(owner) = self.guards.pop() {
            // Its drop ends the lifetime, and names the place where the session was entered.
            drop(owner);
            self.close();
            // Without a call of `finish`, a mistake must not go unseen.
            let refused = self.check();
            if !std::thread::panicking()
                && let Err(error) = self.finish_tape().and(refused)
            {
                panic!("{error}");
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.bench.name())
            .field("root", &self.root())
            .finish_non_exhaustive()
    }
}

/// Why a session has no [`Report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// The diff of the overlay cannot be made.
    #[error("session `{session}` has no diff: {source}")]
    Diff {
        /// The session's name.
        session: String,
        /// The cause.
        source: OverlayError,
    },
    /// The spawns are not those of the tape ([`TapeError::Mismatch`]), or it cannot be written.
    #[error("session `{session}`: {source}")]
    Tape {
        /// The session's name.
        session: String,
        /// The cause.
        source: TapeError,
    },
    /// Programs were to be started on threads that had no session, which
    /// [`strict_threads`](crate::TestbenchBuilder::strict_threads) forbids.
    #[error(
        "session `{session}` has strict threads, and on threads without a session {} to be \
         started: {}; enter the session's `Context` on those threads",
        if programs.len() == 1 { "a program was" } else { "programs were" },
        programs.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(", ")
    )]
    UnboundThreads {
        /// The session's name.
        session: String,
        /// The programs, as they were called, in order.
        programs: Vec<String>,
    },
}
