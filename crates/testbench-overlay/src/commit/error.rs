//! Why a commit failed.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::Conflict;
use crate::{Errno, GuestPath};

/// How many conflicts a message names; the list in the error holds all.
const NAMED_MAX: usize = 10;

/// Why a commit failed.
///
/// Unless it is [`CommitError::Interrupted`] (a part is done) or [`CommitError::Leftover`] (all is
/// done), the directory is as it was before.
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
    /// What is beneath is not what the overlay saw.
    #[error(
        "nothing was committed, since the directory has changed meanwhile:\n{}use `commit_with` \
         to decide on each, or `rollback` and begin again",
        list(conflicts)
    )]
    Conflicts {
        /// Each of them, by path.
        conflicts: Vec<Conflict>,
    },
    /// What a resolver answered cannot be done.
    #[error("{conflict}: what the resolver answered cannot be done: {why}")]
    Resolution {
        /// What it was asked about.
        conflict: Box<Conflict>,
        /// Why not.
        why: &'static str,
    },
    /// The overlay, or the directory beneath, was changed while a resolver was asked.
    #[error(
        "nothing was committed, since the overlay or the directory beneath was changed while the \
         resolver was asked about the conflicts; let the resolver only read, and nobody else \
         write, and begin again"
    )]
    Changed,
    /// Another commit is under way in the directory, or was interrupted.
    #[error(
        "a commit to {} is under way, or was interrupted: if nobody is at it, take it up with \
         `Overlay::recover`",
        path.display()
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// The overlay has something of its own where a commit keeps its journal.
    #[error("`.testbench-commit` at the top is the name of a commit's journal: call it otherwise")]
    Reserved,
    /// A part of the tree lies on another file system, so that nothing can be moved there in one
    /// instant.
    #[error(
        "{} lies on another file system than the directory that is committed to; make an overlay \
         of that part of its own",
        path.display()
    )]
    Device {
        /// What lies there.
        path: PathBuf,
    },
    /// Something of the overlay cannot be read.
    #[error("cannot read `{}` through the overlay to commit it: {errno}", GuestPath::new(path))]
    Read {
        /// Relative to the top.
        path: Box<[u8]>,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The system refused.
    #[error("cannot {what} {}: {source}; nothing was committed", path.display())]
    Disk {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The commit failed half-way, and could not be taken back either.
    #[error(
        "the commit to {} has stopped half-way and could not be taken back: put right what is \
         wrong, then go on or back with `Overlay::recover`",
        path.display()
    )]
    Interrupted {
        /// The directory.
        path: PathBuf,
        /// What it failed for at first.
        source: Box<CommitError>,
    },
    /// All is committed, but what was deleted or replaced could not be removed from
    /// `.testbench-commit`.
    #[error("all is committed, but clearing up failed; `Overlay::recover` goes on with that")]
    Leftover {
        /// Why.
        source: Box<CommitError>,
    },
}

impl CommitError {
    /// The conflicts, if that is what stands against the commit; else none.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// for name in ["a", "b", "c"] {
    ///     fs::write(dir.path().join(name), "ours")?;
    /// }
    /// std::fs::write(dir.path().join("a"), "theirs")?;
    /// std::fs::write(dir.path().join("c"), "theirs")?;
    /// let error = overlay.commit().unwrap_err();
    /// let paths: Vec<&[u8]> = error.conflicts().iter().map(|conflict| conflict.path()).collect();
    /// assert_eq!(paths, [b"a", b"c"]);
    /// assert!(!dir.path().join("b").exists(), "nothing was written");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn conflicts(&self) -> &[Conflict] {
        match self {
            CommitError::Conflicts { conflicts } => conflicts,
            _ => &[],
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
            CommitError::Resolution { .. } | CommitError::Reserved => io::ErrorKind::InvalidInput,
            CommitError::Changed | CommitError::Unfinished { .. } => io::ErrorKind::ResourceBusy,
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
