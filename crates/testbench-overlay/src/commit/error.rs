//! Why a commit failed, or could not be completed.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::Conflict;
use crate::{Errno, GuestPath};

/// The result of a part of a commit.
pub(super) type Result<T, E = CommitError> = std::result::Result<T, E>;

/// How many conflicts a message names; the list in the error holds all.
const NAMED_MAX: usize = 10;

/// Why a commit failed.
///
/// The directory is as it was before, except after [`CommitError::Interrupted`] (a part is
/// committed) and [`CommitError::Leftover`] (everything is committed).
///
/// ```
/// use std::sync::Arc;
/// use testbench_overlay::{CommitError, MemoryDir, Overlay};
///
/// let overlay = Overlay::over(Arc::new(MemoryDir::builder().build()?)).build()?;
/// let error = overlay.commit().unwrap_err();
/// assert!(matches!(error, CommitError::NoDirectory) && error.conflicts().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The lower tree is held in memory, or is another overlay.
    #[error(
        "there is no real directory beneath this overlay to commit to; `materialize` writes the \
         merged tree into one"
    )]
    NoDirectory,
    /// The lower directory was opened so that nothing may be written.
    #[error("the directory {} beneath this overlay was opened read-only", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is not as the overlay saw it.
    #[error(
        "nothing was committed, since the directory has changed meanwhile:\n{}commit `only` other \
         paths, commit over it with `force`, or `rollback` and begin again",
        list(conflicts)
    )]
    Conflicts {
        /// Each of them, by path.
        conflicts: Vec<Conflict>,
    },
    /// A path given to [`CommitOptions::only`](crate::CommitOptions::only) names no change.
    #[error("nothing was committed, since nothing has changed at `{}`", path.display())]
    Unchanged {
        /// As it was given.
        path: PathBuf,
    },
    /// The paths given to [`CommitOptions::only`](crate::CommitOptions::only) take a part of a
    /// rename, or one of several names of a file.
    #[error(
        "nothing was committed, since `{}` cannot be committed without `{}`; name both",
        GuestPath::new(path),
        GuestPath::new(other)
    )]
    Apart {
        /// A path that is to be committed, relative to the top.
        path: Box<[u8]>,
        /// A path that is not to be committed.
        other: Box<[u8]>,
    },
    /// Another commit is under way in the directory, or was interrupted.
    #[error(
        "a commit to {} is under way, or was interrupted; if no process is at it, complete it with \
         `Overlay::recover`",
        path.display()
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// The overlay has an entry where a commit keeps its journal.
    #[error("`.testbench-commit` at the top is the name of a commit's journal; rename that entry")]
    Reserved,
    /// A part of the tree lies on another file system, to which nothing can be moved in one
    /// instant.
    #[error(
        "{} lies on another file system than the directory that is committed to; make an overlay \
         of that part of its own",
        path.display()
    )]
    Device {
        /// The part.
        path: PathBuf,
    },
    /// A file of the overlay cannot be read.
    #[error("cannot read `{}` through the overlay to commit it: {errno}", GuestPath::new(path))]
    Read {
        /// Relative to the top.
        path: Box<[u8]>,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The system refused a call.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// The attempt.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The system refused a call when a part was committed already.
    #[error(
        "the commit to {} has stopped half-way: {source}; put that right, then complete it with \
         `Overlay::recover`",
        path.display()
    )]
    Interrupted {
        /// The directory.
        path: PathBuf,
        /// Why it failed.
        source: Box<CommitError>,
    },
    /// Everything is committed, but `.testbench-commit` could not be removed.
    #[error("all is committed, but clearing up failed; `Overlay::recover` goes on with that")]
    Leftover {
        /// Why.
        source: Box<CommitError>,
    },
}

impl CommitError {
    /// The conflicts; empty unless the error is [`CommitError::Conflicts`].
    pub fn conflicts(&self) -> &[Conflict] {
        match self {
            CommitError::Conflicts { conflicts } => conflicts,
            _ => &[],
        }
    }

    /// Returns the system's error, or [`Errno::Io`] if it is none of the system's.
    pub(super) fn errno(&self) -> Errno {
        match self {
            CommitError::Disk { source, .. } => Errno::from(source),
            _ => Errno::Io,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        use io::ErrorKind as Kind;
        match self {
            CommitError::NoDirectory => Kind::Unsupported,
            CommitError::ReadOnly { .. } => Kind::ReadOnlyFilesystem,
            CommitError::Conflicts { .. } => Kind::StaleNetworkFileHandle,
            CommitError::Unchanged { .. } | CommitError::Apart { .. } | CommitError::Reserved => {
                Kind::InvalidInput
            }
            CommitError::Unfinished { .. } => Kind::ResourceBusy,
            CommitError::Device { .. } => Kind::CrossesDevices,
            CommitError::Read { errno, .. } => io::Error::from(*errno).kind(),
            CommitError::Disk { source, .. } => source.kind(),
            CommitError::Interrupted { .. } | CommitError::Leftover { .. } => Kind::Other,
        }
    }
}

/// The kind is that of the cause for [`CommitError::Read`] and [`CommitError::Disk`], and
/// [`io::ErrorKind::StaleNetworkFileHandle`] for conflicts; the others have the kind of what they
/// say, such as [`io::ErrorKind::ReadOnlyFilesystem`] or [`io::ErrorKind::CrossesDevices`], or
/// [`io::ErrorKind::Other`].
impl From<CommitError> for io::Error {
    fn from(error: CommitError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

/// Why an interrupted commit could not be completed. Nothing is lost: everything that the commit
/// took out of the tree, and everything that it was about to put there, stays where it is.
///
/// ```
/// use testbench_overlay::{Overlay, RecoverError};
///
/// let error = Overlay::recover("/no/such/directory").unwrap_err();
/// assert!(matches!(error, RecoverError::Open { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The directory cannot be used.
    #[error("cannot look for an interrupted commit in {}: {source}", path.display())]
    Open {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The commit is not interrupted.
    #[error("a commit to {} is under way in another process or thread; wait until it ends", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The stage was not made by a commit.
    #[error(
        "{} was not made by a commit, since it holds `{name}`; nothing was changed: move it away \
         to use the directory above it",
        stage.display()
    )]
    Foreign {
        /// The directory in which a commit keeps its journal.
        stage: PathBuf,
        /// The name that should not be in it.
        name: String,
    },
    /// The journal is of a version that this program does not know.
    #[error(
        "the journal in {} is of version {found}, this program reads version 2; nothing was \
         changed: use the program that began the commit",
        stage.display()
    )]
    Version {
        /// The directory in which a commit keeps its journal.
        stage: PathBuf,
        /// The version in the journal.
        found: String,
    },
    /// The journal is not as it was written.
    #[error(
        "the journal in {} is damaged: {why}; nothing was changed. The files that the commit took \
         out of the tree, and those that it was about to put there, are `n0`, `n1`, … beside it",
        stage.display()
    )]
    Damaged {
        /// The directory in which a commit keeps its journal.
        stage: PathBuf,
        /// The damage.
        why: String,
    },
    /// The system refused a step.
    #[error("{0}; put that right and recover again")]
    Disk(#[from] CommitError),
}

/// The kind is that of the cause where the system refused something,
/// [`io::ErrorKind::ResourceBusy`] for a commit that is under way, and
/// [`io::ErrorKind::InvalidData`] for a journal that cannot be used.
impl From<RecoverError> for io::Error {
    fn from(error: RecoverError) -> io::Error {
        let kind = match &error {
            RecoverError::Open { source, .. } => source.kind(),
            RecoverError::Disk(source) => source.kind(),
            RecoverError::Busy { .. } => io::ErrorKind::ResourceBusy,
            RecoverError::Foreign { .. }
            | RecoverError::Version { .. }
            | RecoverError::Damaged { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

fn list(conflicts: &[Conflict]) -> String {
    let mut text = String::new();
    for conflict in conflicts.iter().take(NAMED_MAX) {
        let _ = writeln!(text, "  {conflict}");
    }
    if let Some(more) = conflicts.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}
