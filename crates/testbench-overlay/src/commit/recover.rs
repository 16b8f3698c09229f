//! Completing a commit that was interrupted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::apply;
use super::disk::{Disk, STAGE};
use super::error::{Failure, host_path};
use super::gate::{Gate, Open};
use super::journal::{self, Progress, Steps, Unusable};
use super::{PassedOver, passed_over};
use crate::{Errno, Overlay, sys};

/// The tree after [`Overlay::recover`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// The tree before the commit, which had changed nothing yet.
    Before,
    /// The tree after the commit.
    After {
        /// The paths that other processes have changed since the commit began.
        passed_over: Vec<PassedOver>,
    },
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
    #[error("cannot {what} {}: {source}; put that right and recover again", path.display())]
    Disk {
        /// The attempt.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Overlay {
    /// Completes a commit to the directory `root` that was interrupted: the process was killed, the
    /// machine lost power, or the commit failed with [`CommitError::Interrupted`]. `None` if there
    /// is none.
    ///
    /// A commit that had changed something is carried on to its end; one that had not is dropped.
    /// Until then no overlay of `root` can be made, since the tree there is neither the one before
    /// nor the one after. An overlay of `root` from before is to be given up.
    ///
    /// [`CommitError::Interrupted`]: crate::CommitError::Interrupted
    ///
    /// ```
    /// use testbench_overlay::{Overlay, Recovered};
    ///
    /// let dir = tempfile::tempdir()?;
    /// // As a crash leaves it when nothing was changed yet.
    /// std::fs::create_dir(dir.path().join(".testbench-commit"))?;
    /// assert!(Overlay::new(dir.path()).is_err());
    ///
    /// assert_eq!(Overlay::recover(dir.path())?, Some(Recovered::Before));
    /// assert_eq!(Overlay::recover(dir.path())?, None);
    /// Overlay::new(dir.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`RecoverError`]. Recovering again goes on from there.
    pub fn recover(root: impl AsRef<Path>) -> Result<Option<Recovered>, RecoverError> {
        recover(root.as_ref(), &Open)
    }
}

/// [`Overlay::recover`] behind any gate.
pub(super) fn recover<G: Gate>(root: &Path, gate: &G) -> Result<Option<Recovered>, RecoverError> {
    let open = |source: io::Error| RecoverError::Open { path: root.to_path_buf(), source };
    let top = sys::open_top(root).map_err(open)?;
    let mut disk = Disk::new(Arc::new(top), gate);
    let stage = root.join(crate::materialize::os_str(STAGE));
    match disk.open_stage() {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(Errno::Busy) => return Err(RecoverError::Busy { path: root.to_path_buf() }),
        Err(Errno::Notdir | Errno::Loop) => {
            return Err(RecoverError::Foreign { stage, name: ".".to_owned() });
        }
        Err(errno) => return Err(open(errno.into())),
    }
    let progress = match journal::progress(&mut disk) {
        Ok(progress) => progress,
        Err(Ok(name)) => return Err(RecoverError::Foreign { stage, name }),
        Err(Err(errno)) => return Err(open(errno.into())),
    };
    let mut steps = Steps::default();
    match (progress, journal::load(&mut disk)) {
        (Progress::Staging, _) => {}
        (_, Ok(Ok((paths, loaded)))) => (disk.paths, steps) = (paths, loaded),
        // The journal may be gone already.
        (Progress::Done, _) => {}
        (_, Ok(Err(Unusable::Foreign))) => {
            return Err(RecoverError::Foreign { stage, name: journal::JOURNAL.to_owned() });
        }
        (_, Ok(Err(Unusable::Version(found)))) => {
            return Err(RecoverError::Version { stage, found });
        }
        (_, Ok(Err(Unusable::Damaged(why)))) => return Err(RecoverError::Damaged { stage, why }),
        (_, Err(errno)) => return Err(open(errno.into())),
    }
    let recovered = complete(&mut disk, progress, &steps, root);
    recovered.map(Some).map_err(|failure| recover_error(root, failure))
}

fn complete<G: Gate>(
    disk: &mut Disk<'_, G>,
    progress: Progress,
    steps: &Steps,
    root: &Path,
) -> Result<Recovered, Failure> {
    let mut passed = Vec::new();
    if let Progress::Begun { moved } = progress {
        passed = apply::forward(disk, steps, true, moved)?;
        apply::finish(disk)?;
    }
    apply::clean_up(disk)?;
    if progress == Progress::Staging {
        return Ok(Recovered::Before);
    }
    apply::settle_top(disk, steps)?;
    Ok(Recovered::After { passed_over: passed_over(root, passed) })
}

fn recover_error(root: &Path, failure: Failure) -> RecoverError {
    let (what, path, errno) = match failure {
        Failure::Os { what, path, errno } => (what, path, errno),
        Failure::Read { path, errno } => ("read", path, errno),
        Failure::Device { path } => ("commit to", path, Errno::Xdev),
    };
    RecoverError::Disk { what, path: host_path(root, &path), source: errno.into() }
}

/// The kind is that of the cause where the system refused something,
/// [`io::ErrorKind::ResourceBusy`] for a commit that is under way, and
/// [`io::ErrorKind::InvalidData`] for a journal that cannot be used.
impl From<RecoverError> for io::Error {
    fn from(error: RecoverError) -> io::Error {
        let kind = match &error {
            RecoverError::Open { source, .. } | RecoverError::Disk { source, .. } => source.kind(),
            RecoverError::Busy { .. } => io::ErrorKind::ResourceBusy,
            RecoverError::Foreign { .. }
            | RecoverError::Version { .. }
            | RecoverError::Damaged { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
