//! [`CommitOptions`]: which changes are committed, and over what.

use std::path::{Path, PathBuf};

/// The choices of [`Overlay::commit_with`](crate::Overlay::commit_with).
///
/// ```
/// use testbench_overlay::{CommitOptions, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::create_dir(dir.path().join("out"))?;
/// fs::write(dir.path().join("out/a"), "ours")?;
/// fs::write(dir.path().join("scratch"), "")?;
///
/// overlay.commit_with(&CommitOptions::new().only(["out"]))?;
/// assert!(dir.path().join("out/a").exists());
/// assert_eq!(overlay.diff()?.summary(), "A scratch (empty)\n");
///
/// std::fs::write(dir.path().join("scratch"), "theirs")?;
/// assert_eq!(overlay.commit().unwrap_err().conflicts().len(), 1);
/// overlay.commit_with(&CommitOptions::new().force())?;
/// assert_eq!(std::fs::read(dir.path().join("scratch"))?, b"");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOptions {
    pub(super) force: bool,
    pub(super) only: Option<Vec<PathBuf>>,
}

impl CommitOptions {
    /// All changes, unless there is a conflict.
    pub fn new() -> CommitOptions {
        CommitOptions::default()
    }

    /// Commits over conflicts: the directory gets the overlay's version, whatever is there.
    /// Untouched properties stay, such as the permission bits of a file that was only written to. A
    /// file is still not overwritten if it changes while the commit is running.
    pub fn force(mut self) -> CommitOptions {
        self.force = true;
        self
    }

    /// Commits the changes at and below these paths only. A path is relative to the top of the
    /// overlay, or absolute in the root directory. The other changes stay in the overlay.
    ///
    /// Directories above a path are made if they are new, and get the overlay's permission bits and
    /// times. Of a rename, both paths must be given; of a changed file with several names, all.
    pub fn only<P: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = P>) -> CommitOptions {
        let paths = paths.into_iter().map(|path| path.as_ref().to_path_buf());
        self.only.get_or_insert_default().extend(paths);
        self
    }
}
