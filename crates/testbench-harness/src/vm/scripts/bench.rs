//! The session that a script has entered.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use send_wrapper::SendWrapper;
use tempfile::TempDir;

use super::options::{self, OptionError, Setting};
use crate::{FinishError, Session};

/// What `testbench` answers.
///
/// A session belongs to its thread. Some builds of the virtual machines want their values to be
/// `Send`, though no script of ours ever moves: the wrapper checks what the type cannot say.
pub(super) struct ScriptBench {
    session: SendWrapper<Option<Session>>,
    root: Option<String>,
    /// Goes after the session.
    _made: Option<TempDir>,
}

/// One spawn, as scripts see it.
pub(super) struct Spawned {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    /// As a shell reports it; 127 or 126 for what did not start.
    pub(super) status: i32,
}

impl ScriptBench {
    pub(super) fn enter(
        script: &Path,
        options: BTreeMap<String, Setting>,
    ) -> Result<ScriptBench, OptionError> {
        let prepared = options::prepare(script, options)?;
        Ok(ScriptBench {
            session: SendWrapper::new(Some(prepared.bench.enter())),
            root: prepared.root.map(|root| root.to_string_lossy().into_owned()),
            _made: prepared.made,
        })
    }

    /// The overlay's directory; empty without one.
    pub(super) fn root(&self) -> String {
        self.root.clone().unwrap_or_default()
    }

    /// The diff as its snapshot's text.
    pub(super) fn diff(&self) -> Result<String, ScriptBenchError> {
        // Not `insta::overlay`, which panics when the diff cannot be told.
        self.session()?.diff().map_err(ScriptBenchError::Diff)?;
        Ok(crate::insta::overlay(self.session()?))
    }

    /// The time that has passed on the session's clock since its start.
    pub(super) fn virtual_time(&self) -> Result<Duration, ScriptBenchError> {
        Ok(self.session()?.virtual_time())
    }

    pub(super) fn spawns(&self) -> Result<Vec<Spawned>, ScriptBenchError> {
        let spawns = self.session()?.spawns().into_iter().map(|spawn| Spawned {
            program: spawn.program.to_string_lossy().into_owned(),
            args: spawn.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            status: spawn.status.map_or(127, crate::sys::shell_status),
        });
        Ok(spawns.collect())
    }

    /// Ends the session; doing so twice is an error.
    pub(super) fn finish(&mut self) -> Result<(), ScriptBenchError> {
        let session = Option::take(&mut self.session).ok_or(ScriptBenchError::Finished)?;
        session.finish()?;
        Ok(())
    }

    /// Ends the session if the script has not.
    pub(super) fn close(&mut self) -> Result<(), FinishError> {
        Option::take(&mut self.session).map_or(Ok(()), |session| session.finish().map(drop))
    }

    fn session(&self) -> Result<&Session, ScriptBenchError> {
        self.session.as_ref().ok_or(ScriptBenchError::Finished)
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
