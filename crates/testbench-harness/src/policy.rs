//! [`Policy`]: the treatment of a program that the toolchain does not have.

use std::str::FromStr;

/// The treatment of a program that the toolchain does not have.
///
/// Manifests and command lines name it `not-found`, `deny`, `native`, `record`, `replay`,
/// `replay-or-record` or `replay-or-native`, which [`FromStr`] reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum Policy {
    /// The program does not exist, whatever the host's `PATH` holds:
    /// [`std::io::ErrorKind::NotFound`].
    #[default]
    NotFound,
    /// The program may not be started, even if the toolchain has it:
    /// [`std::io::ErrorKind::PermissionDenied`].
    Deny,
    /// The host's own program runs, on the real clock.
    Native,
    /// The host's own program runs, and the session's tape gets a record of it.
    Record,
    /// The tape's record is played, and no program runs. A session that records its tape treats
    /// this as `Record`.
    Replay(OnMiss),
}

/// The treatment of a spawn that is to be replayed and is not on the tape; see [`Policy::Replay`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMiss {
    /// The spawn fails with a message that shows both calls, and so does
    /// [`finish`](crate::Session::finish).
    #[default]
    Error,
    /// The host's program runs, and the tape gets a record of it.
    Record,
    /// The host's program runs, and the tape stays as it is.
    Native,
}

/// The policies by their names.
const NAMES: [(&str, Policy); 7] = [
    ("not-found", Policy::NotFound),
    ("deny", Policy::Deny),
    ("native", Policy::Native),
    ("record", Policy::Record),
    ("replay", Policy::Replay(OnMiss::Error)),
    ("replay-or-record", Policy::Replay(OnMiss::Record)),
    ("replay-or-native", Policy::Replay(OnMiss::Native)),
];

/// A name that no policy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown policy `{name}`, expected one of {}", NAMES.map(|(name, _)| format!("`{name}`")).join(", "))]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// As it was given.
    pub name: String,
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Policy, UnknownPolicy> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, policy)| *policy).ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

impl TryFrom<String> for Policy {
    type Error = UnknownPolicy;

    fn try_from(name: String) -> Result<Policy, UnknownPolicy> {
        name.parse()
    }
}
