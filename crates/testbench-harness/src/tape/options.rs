//! [`TapeMode`] and [`TapeOptions`]: the settings of a session's tape.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::Matching;

/// Whether a session records or replays its tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TapeMode {
    /// Writes a new tape when the session ends, in the place of an old one.
    /// [`Policy::Replay`](crate::Policy::Replay) then is [`Policy::Record`](crate::Policy::Record).
    Record,
    /// Plays the tape back.
    Replay,
    /// [`Replay`](TapeMode::Replay) if the file is there, else [`Record`](TapeMode::Record).
    Auto,
}

impl TapeMode {
    pub(crate) fn is_record(self, path: &Path) -> bool {
        match self {
            TapeMode::Record => true,
            TapeMode::Replay => false,
            TapeMode::Auto => !path.exists(),
        }
    }
}

/// A [`TapeMode`] with further settings.
///
/// ```
/// use testbench_harness::tape::{Matching, TapeMode, TapeOptions};
///
/// let options = TapeOptions::from(TapeMode::Auto)
///     .matching(Matching::PerProgram)
///     .env(["GIT_DIR"])
///     .secret_env(["DEPLOY_USER"])
///     .secret_pattern("session", r"sid=([0-9a-f]{32})");
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to `TestbenchBuilder::tape`"]
pub struct TapeOptions {
    pub(crate) mode: TapeMode,
    pub(crate) matching: Matching,
    pub(crate) env: Vec<OsString>,
    pub(crate) ignored_env: Vec<OsString>,
    pub(crate) secret_env: Vec<OsString>,
    pub(crate) secret_patterns: Vec<(String, String)>,
    pub(crate) inputs: bool,
    pub(crate) unused: bool,
}

/// The variables of a session that are part of a call by default: most tools read them, and they
/// hold no path.
pub(crate) const ENV_DEFAULT: [&str; 4] = ["LANG", "LC_ALL", "SOURCE_DATE_EPOCH", "TZ"];

impl From<TapeMode> for TapeOptions {
    fn from(mode: TapeMode) -> TapeOptions {
        TapeOptions {
            mode,
            matching: Matching::default(),
            env: ENV_DEFAULT.map(OsString::from).into(),
            ignored_env: Vec::new(),
            secret_env: Vec::new(),
            secret_patterns: Vec::new(),
            inputs: true,
            unused: false,
        }
    }
}

impl TapeOptions {
    /// How a call finds its entry. By default [`Matching::Ordered`].
    pub fn matching(mut self, matching: Matching) -> Self {
        self.matching = matching;
        self
    }

    /// Adds variables of the session's environment to those that are part of a call: they are on
    /// the tape and must be the same when it is replayed. By default these are `LANG`, `LC_ALL`,
    /// `TZ` and `SOURCE_DATE_EPOCH`, where the session sets them. The variables that a command sets
    /// itself are always part of its call, as its arguments are.
    pub fn env(mut self, names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.env.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Variables that are not part of a call, even if the command sets them.
    pub fn ignore_env(mut self, names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.ignored_env.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Variables whose values are secrets, beside those that
    /// [look like one](super::looks_secret). The value of such a variable in this process, the
    /// session or the command is nowhere on the tape: `[secret:NAME]` stands in its place. A replay
    /// uses the value that the variable has then.
    pub fn secret_env(mut self, names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.secret_env.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Text that is a secret wherever it appears, as a regular expression (of the `regex` crate, on
    /// bytes). If the expression has a group, only the first group is the secret.
    pub fn secret_pattern(mut self, name: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.secret_patterns.push((name.into(), pattern.into()));
        self
    }

    /// Whether the tape keeps the inputs of children, and not their digests alone. By default it
    /// does; [`verify`](super::verify) needs them.
    pub fn inputs(mut self, kept: bool) -> Self {
        self.inputs = kept;
        self
    }

    /// Whether entries may be left over at the end of a replay. By default
    /// [`finish`](crate::Session::finish) fails then.
    pub fn allow_unused(mut self, allowed: bool) -> Self {
        self.unused = allowed;
        self
    }
}
