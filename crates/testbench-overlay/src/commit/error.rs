//! Why a commit failed.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::Conflict;
use super::paths::{PathId, Paths};
use crate::{Errno, GuestPath};

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
    #[error("cannot {what} {}: {source}; nothing was committed", path.display())]
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

    pub(super) fn of(root: &Path, failure: Failure) -> CommitError {
        match failure {
            Failure::Os { what, path, errno } => {
                CommitError::Disk { what, path: host_path(root, &path), source: errno.into() }
            }
            Failure::Read { path, errno } => CommitError::Read { path, errno },
            Failure::Device { path } => CommitError::Device { path: host_path(root, &path) },
        }
    }
}

/// The kind is that of the cause for [`CommitError::Read`] and [`CommitError::Disk`], and
/// [`io::ErrorKind::StaleNetworkFileHandle`] for conflicts; the others have the kind of what they
/// say, such as [`io::ErrorKind::ReadOnlyFilesystem`] or [`io::ErrorKind::CrossesDevices`], or
/// [`io::ErrorKind::Other`].
impl From<CommitError> for io::Error {
    fn from(error: CommitError) -> io::Error {
        let kind = match &error {
            CommitError::NoDirectory => io::ErrorKind::Unsupported,
            CommitError::ReadOnly { .. } => io::ErrorKind::ReadOnlyFilesystem,
            CommitError::Conflicts { .. } => io::ErrorKind::StaleNetworkFileHandle,
            CommitError::Unchanged { .. } | CommitError::Apart { .. } | CommitError::Reserved => {
                io::ErrorKind::InvalidInput
            }
            CommitError::Unfinished { .. } => io::ErrorKind::ResourceBusy,
            CommitError::Device { .. } => io::ErrorKind::CrossesDevices,
            CommitError::Read { errno, .. } => io::Error::from(*errno).kind(),
            CommitError::Disk { source, .. } => source.kind(),
            CommitError::Interrupted { .. } | CommitError::Leftover { .. } => io::ErrorKind::Other,
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

/// Why a part of a commit failed. Paths are relative to the root.
#[derive(Debug)]
pub(super) enum Failure {
    /// The system refused a call.
    Os { what: &'static str, path: Box<[u8]>, errno: Errno },
    /// A file cannot be read through the overlay.
    Read { path: Box<[u8]>, errno: Errno },
    /// A file lies on another file system than the root.
    Device { path: Box<[u8]> },
}

/// The failure of an attempt at a path.
pub(super) fn at<'p>(
    what: &'static str,
    paths: &'p Paths,
    path: PathId,
) -> impl Fn(Errno) -> Failure + use<'p> {
    move |errno| Failure::Os { what, path: paths.bytes(path), errno }
}

/// The failure of an attempt at the stage.
pub(super) fn on_stage(errno: Errno) -> Failure {
    Failure::Os { what: "use", path: super::disk::STAGE.into(), errno }
}

pub(super) fn host_path(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_path_buf() } else { root.join(crate::materialize::os_str(path)) }
}
