//! [`Call`]: one spawn as its command describes it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// A spawn before its route is decided: program, argv, environment and working directory.
///
/// A plain value, so that the tape knows neither `Command` nor the session.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) program: OsString,
    /// The name that the program sees as its own, then the arguments.
    pub(crate) argv: Vec<OsString>,
    /// The variables that the command sets (`Some`) or removes (`None`).
    pub(crate) env: BTreeMap<OsString, Option<OsString>>,
    /// The session's variables do not reach the program.
    pub(crate) env_clear: bool,
    /// The working directory, as a guest names it.
    pub(crate) cwd: Vec<u8>,
    /// The same from the root of the overlay; `None` outside of it.
    pub(crate) cwd_in_overlay: Option<Vec<u8>>,
}

impl Call {
    /// The arguments, without the program's own name.
    pub(crate) fn args(&self) -> impl Iterator<Item = &OsStr> {
        self.argv.iter().skip(1).map(OsString::as_os_str)
    }

    /// The variables that the command sets.
    pub(crate) fn set_env(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.env.iter().filter_map(|(name, value)| Some((name.as_os_str(), value.as_deref()?)))
    }
}
