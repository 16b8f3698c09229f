//! [`SpawnSpec`]: all that a command says about one spawn, as plain data.
//!
//! [`Command`](crate::Command) fills it in; the decision, the tape and each way of running a child
//! read it. None of them knows the builder.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use testbench_wasi::Limits;

use crate::error::{InputError, SpawnError};
use crate::policy::Policy;
use crate::stdio::Stdio;

/// One spawn, as it was asked for.
#[derive(Default)]
pub(crate) struct SpawnSpec {
    pub(crate) program: OsString,
    /// The child's name for itself, if it is not the program's.
    pub(crate) arg0: Option<OsString>,
    pub(crate) args: Vec<OsString>,
    /// The child inherits no variables, neither the session's nor this process's.
    pub(crate) env_clear: bool,
    /// The variables that the command sets, and those that it removes (`None`).
    pub(crate) env: BTreeMap<OsString, Option<OsString>>,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) stdin: Option<Stdio>,
    pub(crate) stdout: Option<Stdio>,
    pub(crate) stderr: Option<Stdio>,
    pub(crate) limits: Option<Limits>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) via: Option<Policy>,
}

impl SpawnSpec {
    /// The child's `argv[0]`.
    pub(crate) fn arg0(&self) -> &OsStr {
        self.arg0.as_deref().unwrap_or(&self.program)
    }

    /// The variables that the command sets and removes, ordered by key.
    pub(crate) fn envs(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> + Clone {
        self.env.iter().map(|(key, value)| (key.as_os_str(), value.as_deref()))
    }

    /// Fails for what no program can be given, whichever way it goes.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        let has_nul = |text: &OsStr| text.as_encoded_bytes().contains(&0);
        let part = if has_nul(&self.program) {
            "name".to_owned()
        } else if let Some(index) = self.args.iter().position(|arg| has_nul(arg)) {
            format!("argument {}", index + 1)
        } else if let Some(dir) = self.current_dir.as_ref().filter(|dir| has_nul(dir.as_os_str())) {
            format!("current_dir {dir:?}")
        } else {
            return Ok(());
        };
        Err(self.invalid(InputError::Nul { part }))
    }

    /// Fails if the command says something that needs a session.
    pub(crate) fn check_without_session(&self) -> Result<(), SpawnError> {
        let method = match (&self.limits, self.timeout, self.via) {
            (Some(_), ..) => "limits",
            (_, Some(_), _) => "timeout",
            (.., Some(Policy::Deny | Policy::Record | Policy::Replay(_))) => "via",
            _ => return Ok(()),
        };
        Err(self.invalid(InputError::NeedsSession { method }))
    }

    fn invalid(&self, source: InputError) -> SpawnError {
        SpawnError::failed(&self.program, "was not started", source)
    }
}
