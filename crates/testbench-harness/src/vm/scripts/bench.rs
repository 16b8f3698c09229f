//! The sessions that a script enters.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use send_wrapper::SendWrapper;
use tempfile::TempDir;

use super::ScriptFailure;
use super::options::{self, OptionError};
use crate::vm::setting::Settings;
use crate::{FinishError, Session, SpawnRecord};

/// The sessions of one script. They last until it has ended, even if it drops its own values.
#[derive(Clone)]
pub(super) struct Benches {
    script: Arc<Path>,
    /// The innermost last.
    entered: Arc<Mutex<Vec<ScriptBench>>>,
}

/// A value of `testbench(…)`; clones are the same session.
#[derive(Clone)]
pub(super) struct ScriptBench(Arc<Mutex<State>>);

struct State {
    /// A session belongs to its thread. Some builds of the virtual machines require values that are
    /// `Send`, though no script moves: the wrapper checks that.
    session: SendWrapper<Option<Session>>,
    root: String,
    /// Goes after the session.
    _made: Option<TempDir>,
}

/// One spawn, as scripts see it.
pub(super) struct Spawned {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    /// As a shell reports it; 127 for a program that did not start.
    pub(super) status: i32,
}

impl Benches {
    pub(super) fn new(script: &Path) -> Benches {
        Benches { script: script.into(), entered: Arc::default() }
    }

    /// Enters a session.
    pub(super) fn enter(&self, options: Settings) -> Result<ScriptBench, OptionError> {
        let prepared = options::prepare(&self.script, options)?;
        let root = prepared.root.map(|root| root.to_string_lossy().into_owned());
        let session = SendWrapper::new(Some(prepared.bench.enter()));
        let state = State { session, root: root.unwrap_or_default(), _made: prepared.made };
        let bench = ScriptBench(Arc::new(Mutex::new(state)));
        self.entered.lock().unwrap_or_else(PoisonError::into_inner).push(bench.clone());
        Ok(bench)
    }

    /// Ends the sessions, the innermost first, and returns the result of the script `ran`: its own
    /// failure, else the first failure of a session's end.
    pub(super) fn end(self, ran: Result<(), ScriptFailure>) -> Result<(), ScriptFailure> {
        let mut ended = Ok(());
        while let Some(bench) = self.entered.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            let session = Option::take(&mut bench.lock().session);
            ended = ended.and(session.map_or(Ok(()), |session| session.finish().map(drop)));
        }
        ran.and(ended.map_err(|error| ScriptFailure::new(&self.script, None, error)))
    }
}

impl ScriptBench {
    /// The overlay's directory; empty without one.
    pub(super) fn root(&self) -> String {
        self.lock().root.clone()
    }

    /// The diff as its snapshot's text.
    pub(super) fn diff(&self) -> Result<String, ScriptBenchError> {
        self.with(|session| {
            // Not `insta::overlay` alone, which panics if there is no diff.
            session.diff().map_err(ScriptBenchError::Diff)?;
            Ok(crate::insta::overlay(session))
        })
    }

    /// The seconds that have passed on the session's clock since its start.
    pub(super) fn virtual_time(&self) -> Result<f64, ScriptBenchError> {
        self.with(|session| Ok(session.virtual_time().as_secs_f64()))
    }

    pub(super) fn spawns(&self) -> Result<Vec<Spawned>, ScriptBenchError> {
        let spawned = |spawn: SpawnRecord| Spawned {
            program: spawn.program.to_string_lossy().into_owned(),
            args: spawn.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            status: spawn.status.map_or(127, crate::sys::shell_status),
        };
        self.with(|session| Ok(session.spawns().into_iter().map(spawned).collect()))
    }

    /// Ends the session; doing so twice is an error.
    pub(super) fn finish(&self) -> Result<(), ScriptBenchError> {
        let session = Option::take(&mut self.lock().session).ok_or(ScriptBenchError::Finished)?;
        session.finish()?;
        Ok(())
    }

    fn with<R>(
        &self,
        f: impl FnOnce(&Session) -> Result<R, ScriptBenchError>,
    ) -> Result<R, ScriptBenchError> {
        f(self.lock().session.as_ref().ok_or(ScriptBenchError::Finished)?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ScriptBenchError {
    #[error("this bench is finished already")]
    Finished,
    #[error("there is no diff: {0}")]
    Diff(testbench_overlay::OverlayError),
    #[error(transparent)]
    Finish(#[from] FinishError),
}
