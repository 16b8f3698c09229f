//! [`Policy`]: the treatment of a program that the toolchain does not have.

/// The treatment of a program that the toolchain does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
