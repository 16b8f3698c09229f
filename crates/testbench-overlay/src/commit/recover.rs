//! Completing a commit that was interrupted.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::apply::{self, PassedOver};
use super::disk::{At, Disk};
use super::error::RecoverError;
use super::gate::{Gate, Open};
use super::journal::{self, Progress, Unusable};
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
    let mut disk = Disk::new(Arc::new(top), root.to_path_buf(), gate);
    let stage = disk.host_path(At::STAGE);
    match disk.open_stage() {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(Errno::Busy) => return Err(RecoverError::Busy { path: root.to_path_buf() }),
        Err(Errno::Notdir | Errno::Loop) => {
            return Err(RecoverError::Foreign { stage, name: ".".to_owned() });
        }
        Err(errno) => return Err(open(errno.into())),
    }
    complete(&mut disk).map(Some).map_err(|unusable| match unusable {
        Unusable::Foreign(name) => RecoverError::Foreign { stage, name },
        Unusable::Version(found) => RecoverError::Version { stage, found },
        Unusable::Damaged(why) => RecoverError::Damaged { stage, why },
        Unusable::Disk(failure) => {
            let (what, path, source) = disk.refused(&failure);
            RecoverError::Disk { what, path, source }
        }
    })
}

fn complete<G: Gate>(disk: &mut Disk<'_, G>) -> Result<Recovered, Unusable> {
    let (progress, steps) = journal::load(disk)?;
    let mut passed_over = Vec::new();
    if let Progress::Begun { moved } = progress {
        passed_over = apply::forward(disk, &steps, moved)?;
    }
    apply::clean_up(disk)?;
    if progress == Progress::Staging {
        return Ok(Recovered::Before);
    }
    apply::settle_top(disk, &steps)?;
    Ok(Recovered::After { passed_over })
}
