//! Errors of an overlay as a whole. Single operations fail with an [`Errno`].

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::lower::Lower;
use crate::lower::observe::LowerChange;
use crate::pipeline::{FaultError, PatternError};
use crate::{Errno, GuestPath};

/// Why an overlay could not be made or compared.
///
/// ```
/// use testbench_overlay::{Overlay, OverlayError};
///
/// let error = Overlay::new("/no/such/directory").unwrap_err();
/// assert!(matches!(error, OverlayError::Root { .. }));
/// assert!(error.to_string().starts_with("cannot make an overlay of /no/such/directory: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// The lower directory cannot be used.
    #[error("cannot make an overlay of {}: {source}", path.display())]
    Root {
        /// As it was given; empty if the lower tree is not a directory of the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A commit to the lower directory is under way, or was interrupted.
    #[error(
        "a commit to {} is under way, or was interrupted: if nobody is at it, take it up with \
         `Overlay::recover`",
        path.display()
    )]
    Unfinished {
        /// The directory, canonical.
        path: PathBuf,
    },
    /// The guest path of the mount cannot be used.
    #[error("cannot mount an overlay at `{path}`: the path must be absolute and without NUL")]
    Mount {
        /// As it was given.
        path: String,
    },
    /// A tree cannot be mounted.
    #[error(
        "cannot mount a tree at `{path}` of the overlay: {errno}; the directory above it must be \
         there, and nothing but a directory in its place"
    )]
    MountTree {
        /// From the top of the overlay.
        path: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// A path of a rule cannot be used.
    #[error(
        "the path `{path}` cannot be used in a rule: it starts at the top of the overlay and has no \
         `.`, `..` or NUL in it"
    )]
    Path {
        /// As it was given.
        path: String,
    },
    /// A pattern of a rule cannot be used.
    #[error(transparent)]
    Pattern {
        /// Why.
        source: PatternError,
    },
    /// A fault makes no sense.
    #[error(transparent)]
    Fault {
        /// Why.
        source: FaultError,
    },
    /// A saved state belongs to another overlay.
    #[error(
        "the checkpoint is that of another overlay, or from before a commit: only an overlay and its \
         forks share them, and only until one of them commits"
    )]
    Checkpoint,
    /// The lower tree is not what it was.
    #[error("{change}; run again while nothing else writes there")]
    LowerChanged {
        /// The change that was found.
        change: LowerChange,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}` through the overlay: {errno}")]
    Read {
        /// Relative to the top.
        path: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The changes are too large for one diff.
    #[error(
        "the diff cannot hold the contents of `{path}`: a diff holds at most {bytes_max} bytes, old \
         and new; remove what is large before, or commit, which has no such limit"
    )]
    DiffTooLarge {
        /// The first file, relative to the top, for which there was no more room.
        path: String,
        /// How many bytes of contents a diff holds.
        bytes_max: u64,
    },
}

/// The kind is that of the cause, where something was read or opened; for a setting that makes no
/// sense [`io::ErrorKind::InvalidInput`], for an interrupted commit
/// [`io::ErrorKind::ResourceBusy`], for a change underneath
/// [`io::ErrorKind::StaleNetworkFileHandle`].
impl From<OverlayError> for io::Error {
    fn from(error: OverlayError) -> io::Error {
        let kind = match &error {
            OverlayError::Root { source, .. } => source.kind(),
            OverlayError::Mount { .. }
            | OverlayError::Path { .. }
            | OverlayError::Pattern { .. }
            | OverlayError::Fault { .. }
            | OverlayError::Checkpoint => io::ErrorKind::InvalidInput,
            OverlayError::MountTree { errno, .. } | OverlayError::Read { errno, .. } => {
                io::Error::from(*errno).kind()
            }
            OverlayError::Unfinished { .. } => io::ErrorKind::ResourceBusy,
            OverlayError::LowerChanged { .. } => io::ErrorKind::StaleNetworkFileHandle,
            OverlayError::DiffTooLarge { .. } => io::ErrorKind::FileTooLarge,
        };
        io::Error::new(kind, error)
    }
}

/// The path at which an error is reported, for people.
pub(crate) fn read_error(lower: &Lower, path: &[u8], errno: Errno) -> OverlayError {
    match (errno, lower.changes().pop()) {
        (Errno::Stale, Some(change)) => OverlayError::LowerChanged { change },
        _ => OverlayError::Read { path: display(path).to_string(), errno },
    }
}

pub(crate) fn display(path: &[u8]) -> impl fmt::Display + '_ {
    GuestPath::new(if path.is_empty() { &b"."[..] } else { path })
}
