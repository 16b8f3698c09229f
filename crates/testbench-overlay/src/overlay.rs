//! [`Overlay`]: a tree of changes in memory above a tree that is never written.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::builder::Below;
use crate::diff::DiffOptions;
use crate::lower::observe::LowerChange;
use crate::ops::core::{Core, Tx};
use crate::pipeline::{FaultCount, Pipeline};
use crate::resolve::{End, Step};
use crate::upper::inode::Ino;
use crate::upper::quota::{Quota, Usage};
use crate::vfs::Result;
use crate::{Diff, Errno, File, Fs, GuestPath, OverlayBuilder, OverlayError, Renaming};

/// A copy-on-write tree: reads fall through to the lower tree, every change stays in memory.
///
/// It is used through [`Fs`] (by guests), or through [`crate::fs`] by code written like
/// `std::fs` once it is [installed](crate::install). [`Overlay::diff`] says what has changed.
///
/// ```
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("in.txt"), "old\n")?;
///
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::write(dir.path().join("in.txt"), "new\n")?;
/// fs::create_dir(dir.path().join("out"))?;
///
/// assert_eq!(overlay.diff()?.summary(), "M in.txt\nA out/\n");
/// assert_eq!(std::fs::read_to_string(dir.path().join("in.txt"))?, "old\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Overlay {
    pub(crate) core: Arc<Core>,
    /// The stages in front of the core, if there are any.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    top: Arc<dyn File>,
    /// Another overlay lies on this one: the numbers and times that it has seen outlive a commit.
    pub(crate) is_beneath: AtomicBool,
}

impl Overlay {
    /// An overlay of the directory `root`, with all defaults of [`OverlayBuilder`].
    ///
    /// ```
    /// use testbench_overlay::Overlay;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// assert_eq!(overlay.host_root(), Some(&*dir.path().canonicalize()?));
    /// assert!(overlay.diff()?.is_empty());
    ///
    /// let error = Overlay::new(dir.path().join("missing")).unwrap_err();
    /// assert!(error.to_string().contains("missing"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OverlayError::Root`] if `root` cannot be opened or is not a directory,
    /// [`OverlayError::Unfinished`] if a commit to it was interrupted.
    pub fn new(root: impl AsRef<Path>) -> Result<Arc<Overlay>, OverlayError> {
        Overlay::builder(root).build()
    }

    /// An overlay of the directory `root`, to be set up. The settings and their defaults are those
    /// of [`OverlayBuilder`].
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("Cargo.lock"), "version = 4\n")?;
    /// let overlay = Overlay::builder(dir.path()).read_only_at("Cargo.lock").hide(".git").build()?;
    /// let _installed = install(overlay);
    /// assert!(fs::remove_file(dir.path().join("Cargo.lock")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(root: impl AsRef<Path>) -> OverlayBuilder {
        OverlayBuilder::new(Below::Dir(root.as_ref().to_path_buf()))
    }

    /// An overlay of any other tree, be it another overlay.
    ///
    /// The upper layer takes what it sees beneath as fixed: what is written to `lower` afterwards
    /// counts as a change underneath, and an operation that meets it fails with [`Errno::Stale`].
    ///
    /// ```
    /// use testbench_overlay::{Follow, Fs, GuestPath, MemoryDir, Overlay};
    /// use std::sync::Arc;
    ///
    /// let below = MemoryDir::builder().file("a", "text").build()?;
    /// let overlay = Overlay::over(Arc::new(below)).build()?;
    /// let top = overlay.root()?;
    /// overlay.remove_file_at(&*top, GuestPath::new("a"))?;
    /// assert_eq!(overlay.diff()?.summary(), "D a\n");
    /// assert!(overlay.host_root().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn over(lower: Arc<dyn Fs>) -> OverlayBuilder {
        OverlayBuilder::new(Below::Fs(lower))
    }

    /// The lower directory, canonical; `None` for an overlay of another tree.
    pub fn host_root(&self) -> Option<&Path> {
        self.core.config.host_root.as_ref().map(|(_, canonical)| &**canonical)
    }

    /// The absolute path under which guests see the top: what [`OverlayBuilder::mounted_at`] set,
    /// else the host's path of the lower directory, else `/`.
    pub fn guest_root(&self) -> &[u8] {
        let config = &self.core.config;
        match (&config.mounted_at, &config.host_root) {
            (Some(at), _) => at,
            (None, Some((_, canonical))) => canonical.as_os_str().as_encoded_bytes(),
            (None, None) => b"/",
        }
    }

    /// Returns the real directory beneath this and all overlays below it, if `path` lies in that
    /// directory or above it. Both paths are canonical.
    pub fn root_that_meets(&self, path: &Path) -> Option<&Path> {
        let mut bottom = self;
        while let Some(below) = Overlay::of_fs(bottom.core.lower.fs()) {
            bottom = below;
        }
        bottom.host_root().filter(|root| path.starts_with(root) || root.starts_with(path))
    }

    /// The overlay that a tree is, if it is one.
    pub(crate) fn of_fs(fs: &dyn Fs) -> Option<&Overlay> {
        (fs as &dyn Any).downcast_ref()
    }

    pub(crate) fn top(&self) -> &dyn File {
        &*self.top
    }

    pub(crate) fn of(core: Arc<Core>, pipeline: Option<Arc<Pipeline>>) -> Arc<Overlay> {
        let top = pipeline.as_ref().map_or_else(|| core.top(), Pipeline::top);
        Arc::new(Overlay { core, pipeline, top, is_beneath: AtomicBool::new(false) })
    }

    /// Returns the changes against the lower tree as it was first seen.
    ///
    /// The cost follows what was touched, not the size of the tree. The diff holds the whole contents,
    /// old and new, of every file whose content has changed.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("a"), "text")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::write(dir.path().join("a"), "other")?;
    /// assert_eq!(overlay.diff()?.summary(), "M a\n");
    /// fs::write(dir.path().join("a"), "text")?; // there and back again
    /// assert!(overlay.diff()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OverlayError::LowerChanged`] if a changed file has also changed underneath, so that there
    /// is nothing left to compare it with; [`OverlayError::Read`] if one cannot be read;
    /// [`OverlayError::DiffTooLarge`] if the contents are more than 4 GiB.
    pub fn diff(&self) -> Result<Diff, OverlayError> {
        self.diff_with(&DiffOptions::new())
    }

    /// As [`Overlay::diff`], with what `options` add.
    ///
    /// ```
    /// use testbench_overlay::diff::DiffOptions;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::write(dir.path().join("a"), "")?;
    /// let diff = overlay.diff_with(&DiffOptions::new().times(true))?;
    /// assert!(diff.entries().iter().all(|entry| entry.after().unwrap().mtime_ns.is_some()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Overlay::diff`].
    pub fn diff_with(&self, options: &DiffOptions) -> Result<Diff, OverlayError> {
        crate::diff::changes::changes(&self.core, *options).map(Diff::from_changes)
    }

    /// Returns the changes that were found in the lower tree since it was first seen, in the order in
    /// which they were found. Empty unless an operation failed with [`Errno::Stale`].
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let file = dir.path().join("a");
    /// std::fs::write(&file, "seen")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::read(&file)?;
    /// std::fs::remove_file(&file)?; // by another process
    /// assert!(fs::read(&file).is_err());
    /// assert_eq!(overlay.lower_changes()[0].path(), b"a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lower_changes(&self) -> Vec<LowerChange> {
        self.core.lower.changes()
    }

    /// Returns the account of this overlay, in the units of its [`Quota`](crate::pipeline::Quota), without
    /// the content that only checkpoints and forks hold.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// let file = fs::File::create(dir.path().join("sparse"))?;
    /// file.set_len(1 << 30)?;
    /// assert_eq!(overlay.usage().bytes, 0, "a hole");
    /// fs::write(dir.path().join("a"), "text")?;
    /// assert_eq!((overlay.usage().bytes, overlay.usage().inodes), (4096, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn usage(&self) -> Usage {
        self.core.tx().live.state.usage
    }

    /// Returns the quota that was set, or the defaults.
    pub fn quota(&self) -> Quota {
        self.core.config.quota
    }

    /// How often each fault of the [plan](OverlayBuilder::faults) has had its chance, in the order of
    /// the plan. A fork goes on counting for itself.
    /// ```
    /// use testbench_overlay::pipeline::{Fault, FaultPlan, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let plan = FaultPlan::new()
    ///     .with(Fault::error(Errno::Nospc).on(Operation::Write))
    ///     .with(Fault::error(Errno::Io).on(Operation::Rename));
    /// let overlay = Overlay::builder(dir.path()).faults(plan).build()?;
    /// let _installed = install(overlay.clone());
    /// assert!(fs::write(dir.path().join("a"), "text").is_err());
    /// let fired: Vec<u64> = overlay.faults().iter().map(|count| count.fired).collect();
    /// assert_eq!(fired, [1, 0], "nothing was renamed, so that fault tested nothing");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn faults(&self) -> Vec<FaultCount> {
        self.pipeline.as_ref().map(|pipeline| pipeline.faults()).unwrap_or_default()
    }

    /// Moves `from` to `to` as `how` says: [`Fs::rename_at`] with the flags of Linux's `renameat2(2)`.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, Overlay, Renaming, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("live"), "old")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::write(dir.path().join("next"), "new")?;
    ///
    /// let top = overlay.root()?;
    /// let (live, next) = (GuestPath::new(b"live"), GuestPath::new(b"next"));
    /// let renamed = overlay.rename_with(&*top, next, &*top, live, Renaming::New);
    /// assert_eq!(renamed, Err(Errno::Exist));
    /// overlay.rename_with(&*top, next, &*top, live, Renaming::Exchange)?;
    /// assert_eq!(fs::read_to_string(dir.path().join("live"))?, "new");
    /// assert_eq!(fs::read_to_string(dir.path().join("next"))?, "old");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `renameat2(2)`; [`Errno::Inval`] also for anything but [`Renaming::Replace`] within a
    /// tree that is [mounted](OverlayBuilder::mount) in the overlay.
    pub fn rename_with(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
        how: Renaming,
    ) -> Result<()> {
        match &self.pipeline {
            None => {
                let (from_dir, to_dir) = (self.core.ino(from_dir)?, self.core.ino(to_dir)?);
                self.core.tx().rename(from_dir, from, to_dir, to, how)
            }
            Some(pipeline) => pipeline.rename(from_dir, from, to_dir, to, how),
        }
    }

    /// The path, from the top and without symlinks, of what `path` leads to. Permission to search is
    /// needed where a name is looked up, and not for `.` and `..`: so it is with the C library's
    /// `realpath`, which is what `std::fs` asks.
    pub(crate) fn canonical(&self, path: GuestPath<'_>) -> Result<Vec<u8>> {
        if let Some(pipeline) = &self.pipeline {
            return pipeline.canonical(path);
        }
        let mut tx = Tx { free_dots: true, ..self.core.tx() };
        let (place, path) = tx.place(Ino::ROOT, path, End::Follow)?;
        match place.found {
            Step::Missing => Err(Errno::Noent),
            Step::Link(..) | Step::Leaf(_) if place.slash => Err(Errno::Notdir),
            _ => Ok(path.as_bytes().to_vec()),
        }
    }
}

/// An operation goes through the [pipeline](crate::pipeline), or if there is none straight to the
/// overlay's own tree.
impl Fs for Overlay {
    fn inner(&self) -> Result<&dyn Fs> {
        match &self.pipeline {
            None => Ok(&self.core),
            Some(pipeline) => Ok(pipeline),
        }
    }

    fn root(&self) -> Result<Arc<dyn File>> {
        Ok(self.top.clone())
    }
}
