//! What is said about a tape when a session is built.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::Matching;

/// What a session does with its tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TapeMode {
    /// Writes a new one when the session ends, in the place of an old one.
    /// [`Policy::Replay`](crate::Policy::Replay) then is [`Policy::Record`](crate::Policy::Record).
    Record,
    /// Plays it back.
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

/// A [`TapeMode`] with all that can be said beside it.
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

/// Variables of a session that are part of a call unless told otherwise: those that most tools look
/// at, and that hold no path.
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
    /// Which entry a call takes. By default [`Matching::Ordered`].
    pub fn matching(mut self, matching: Matching) -> Self {
        self.matching = matching;
        self
    }

    /// Further variables of the session's environment that are part of a call: they are on the
    /// tape and must be the same when it is replayed. By default `LANG`, `LC_ALL`, `TZ` and
    /// `SOURCE_DATE_EPOCH`, where the session sets them. What a command sets itself is always part
    /// of its call, as its arguments are.
    pub fn env<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.env.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Variables that are not part of a call, whoever sets them.
    pub fn ignore_env<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.ignored_env.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Variables whose values are secrets, beside those that
    /// [look like one](super::looks_secret). The value that such a variable has in this
    /// process, the session or the command gets onto the tape nowhere: `[secret:NAME]` stands in
    /// its place, and when the tape is replayed the value that the variable has then.
    pub fn secret_env<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.secret_env.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Text that is a secret wherever it appears: a regular expression (of the `regex` crate, on
    /// bytes), of which only the first group counts if it has one.
    pub fn secret_pattern(mut self, name: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.secret_patterns.push((name.into(), pattern.into()));
        self
    }

    /// Whether what children read is kept, and not its digest alone. By default it is;
    /// [`verify`](super::verify) needs it.
    pub fn inputs(mut self, kept: bool) -> Self {
        self.inputs = kept;
        self
    }

    /// Whether entries may be left over at the end of a replay. By default they make
    /// [`finish`](crate::Session::finish) fail.
    pub fn allow_unused(mut self, allowed: bool) -> Self {
        self.unused = allowed;
        self
    }
}
