//! Completing a commit that was interrupted.

use std::path::Path;
use std::sync::Arc;

use super::apply::{self, PassedOver};
use super::disk::{At, Disk};
use super::error::{RecoverError, Result};
use super::gate::{Gate, Open};
use super::journal::{self, Progress};
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
pub(super) fn recover(root: &Path, gate: &dyn Gate) -> Result<Option<Recovered>, RecoverError> {
    let path = root.to_path_buf();
    let top = sys::open_top(root);
    let top = top.map_err(|source| RecoverError::Open { path: path.clone(), source })?;
    let mut disk = Disk::new(Arc::new(top), path.clone(), gate);
    match disk.open_stage() {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(Errno::Busy) => return Err(RecoverError::Busy { path }),
        Err(Errno::Notdir | Errno::Loop) => {
            let stage = disk.host_path(At::STAGE);
            return Err(RecoverError::Foreign { stage, name: ".".to_owned() });
        }
        Err(errno) => return Err(RecoverError::Open { path, source: errno.into() }),
    }
    let (progress, steps) = journal::load(&mut disk)?;
    let mut passed_over = Vec::new();
    if let Progress::Begun { moved } = progress {
        passed_over = apply::forward(&mut disk, &steps, moved)?;
    }
    apply::clean_up(&mut disk)?;
    if progress == Progress::Staging {
        return Ok(Some(Recovered::Before));
    }
    apply::settle_top(&mut disk, &steps)?;
    Ok(Some(Recovered::After { passed_over }))
}
