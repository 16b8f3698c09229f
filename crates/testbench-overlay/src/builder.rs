//! How an overlay is set up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::smallvec;
use testbench_clock::Clock;

use crate::commit::{STAGE, WASTE};
use crate::lower::Lower;
use crate::lower::observe::{Origin, Seen};
use crate::lower::view::{LowerModes, LowerTimes, View};
use crate::ops::core::{Config, Core};
use crate::pipeline::{Audit, FaultPlan, OutwardLinks, Settings};
use crate::sys::os_str;
use crate::upper::inode::{Dir, Inode, Node, State};
use crate::upper::quota::Quota;
use crate::upper::store::{MEMORY_MAX, Store};
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind, Fs, GuestPath, HostDir, Overlay, OverlayError, Stat};

/// The settings of an overlay. Made by [`Overlay::builder`] and [`Overlay::over`].
///
/// | setting | default |
/// | --- | --- |
/// | [`clock`](OverlayBuilder::clock) | the one installed on this thread, else the system's |
/// | [`mounted_at`](OverlayBuilder::mounted_at) | the host's path of the lower directory |
/// | [`lower_times`](OverlayBuilder::lower_times) | [`LowerTimes::Start`] |
/// | [`lower_modes`](OverlayBuilder::lower_modes) | [`LowerModes::Owner`] |
/// | [`as_root`](OverlayBuilder::as_root) | off: permission bits bind, also in a process of root |
/// | [`passthrough`](OverlayBuilder::passthrough) | no other directory is reached |
/// | [`quota`](OverlayBuilder::quota) | 16 GiB, 4,194,304 new files, 16 GiB a file |
/// | [`memory`](OverlayBuilder::memory) | 1 GiB, then a temporary file |
/// | [`spill_in`](OverlayBuilder::spill_in) | the system's directory for temporary files |
/// | [`faults`](OverlayBuilder::faults) | nothing goes wrong |
/// | [`read_only_at`](OverlayBuilder::read_only_at) | everything can be changed |
/// | [`hide`](OverlayBuilder::hide) | everything can be seen |
/// | [`mount`](OverlayBuilder::mount) | nothing else is mounted |
/// | [`audit`](OverlayBuilder::audit) | off |
///
/// ```
/// use testbench_clock::MockClock;
/// use testbench_overlay::pipeline::Quota;
/// use testbench_overlay::Overlay;
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::builder(dir.path())
///     .clock(MockClock::builder().build())
///     .mounted_at("/work")
///     .quota(Quota::new().bytes(64 << 20))
///     .memory(8 << 20)
///     .spill_in(std::env::temp_dir())
///     .build()?;
/// assert_eq!(overlay.guest_root(), b"/work");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct OverlayBuilder {
    below: Below,
    clock: Option<Arc<dyn Clock>>,
    lower_times: LowerTimes,
    lower_modes: LowerModes,
    config: Config,
    memory_max: u64,
    spill_dir: Option<PathBuf>,
    settings: Settings,
}

#[derive(Debug)]
pub(crate) enum Below {
    Dir(PathBuf),
    Fs(Arc<dyn Fs>),
}

impl OverlayBuilder {
    pub(crate) fn new(below: Below) -> OverlayBuilder {
        OverlayBuilder {
            below,
            clock: None,
            lower_times: LowerTimes::default(),
            lower_modes: LowerModes::default(),
            config: Config::default(),
            memory_max: MEMORY_MAX,
            spill_dir: None,
            settings: Settings::default(),
        }
    }

    /// Where the times of new and changed files come from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The absolute guest path under which the top is seen: an absolute symlink that leads there
    /// leads inside.
    ///
    /// ```
    /// use testbench_overlay::{Follow, Fs, GuestPath, Overlay};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("a"), "text")?;
    /// std::os::unix::fs::symlink("/project/a", dir.path().join("link"))?;
    /// let overlay = Overlay::builder(dir.path()).mounted_at("/project").build()?;
    /// let stat = overlay.stat_at(&*overlay.root()?, GuestPath::new("link"), Follow::Yes)?;
    /// assert_eq!(stat.size, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mounted_at(mut self, guest_path: impl Into<Vec<u8>>) -> Self {
        self.config.mounted_at = Some(guest_path.into());
        self
    }

    /// Which times lower files show; see [`LowerTimes`].
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use testbench_clock::MockClock;
    /// use testbench_overlay::{LowerTimes, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let file = dir.path().join("a");
    /// std::fs::File::create(&file)?.set_modified(SystemTime::UNIX_EPOCH)?;
    /// for (times, years) in [(LowerTimes::Start, 30), (LowerTimes::Real, 0)] {
    ///     let overlay = Overlay::builder(dir.path()).clock(MockClock::builder().build());
    ///     let _installed = install(overlay.lower_times(times).build()?);
    ///     let age = fs::metadata(&file)?.modified()?.duration_since(SystemTime::UNIX_EPOCH)?;
    ///     assert_eq!(age.as_secs() / (365 * 86_400), years, "a mock clock begins in 2000");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lower_times(mut self, times: LowerTimes) -> Self {
        self.lower_times = times;
        self
    }

    /// Which permission bits lower files show; see [`LowerModes`].
    ///
    /// ```
    /// use std::os::unix::fs::PermissionsExt;
    /// use testbench_overlay::{LowerModes, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let key = dir.path().join("key");
    /// std::fs::write(&key, "")?;
    /// std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;
    /// let overlay = Overlay::builder(dir.path()).lower_modes(LowerModes::Real).build()?;
    /// let _installed = install(overlay);
    /// assert_eq!(fs::metadata(&key)?.permissions().mode(), 0o600);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lower_modes(mut self, modes: LowerModes) -> Self {
        self.lower_modes = modes;
        self
    }

    /// A real directory that [`crate::fs`] reaches beside the overlay, for example
    /// `HostDir::open("/usr/share")?.read_only()`. Writes there are real.
    pub fn passthrough(mut self, dir: HostDir) -> Self {
        let top = dir.root();
        self.config.passthrough.push((dir, top));
        self
    }

    /// Whether permission bits are ignored, as they are for root.
    pub fn as_root(mut self, as_root: bool) -> Self {
        self.config.as_root = as_root;
        self
    }

    /// How much may be held above the lower tree; see [`Quota`].
    pub fn quota(mut self, quota: Quota) -> Self {
        self.config.quota = quota;
        self
    }

    /// How many bytes of changed content stay in memory, for this overlay and all its forks and
    /// checkpoints together. Bytes written beyond it go to a temporary file without a name; if the disk
    /// is full, the write fails with [`Errno::Nospc`].
    ///
    /// Directories, names and metadata always stay in memory: the [quota](OverlayBuilder::quota)
    /// bounds them.
    pub fn memory(mut self, bytes_max: u64) -> Self {
        self.memory_max = bytes_max;
        self
    }

    /// The directory of the temporary file that takes what [`memory`](OverlayBuilder::memory) does
    /// not. It is made when it is first needed, and has no name.
    pub fn spill_in(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spill_dir = Some(dir.into());
        self
    }

    /// Sets the faults: one [`Fault`](crate::pipeline::Fault) or a plan of several.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let broken = Fault::error(Errno::Io).on(Operation::Sync);
    /// let _installed = install(Overlay::builder(dir.path()).faults(broken).build()?);
    /// let file = fs::File::create(dir.path().join("ledger"))?;
    /// assert_eq!(Errno::from(file.sync_all().unwrap_err()), Errno::Io);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn faults(mut self, plan: impl Into<FaultPlan>) -> Self {
        self.settings.faults = plan.into();
        self
    }

    /// Nothing at or beneath this path, from the top, can be changed: [`Errno::Rofs`]. The
    /// directories above it can neither be moved nor removed ([`Errno::Busy`]). May be called
    /// several times.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir(dir.path().join("vendor"))?;
    /// let _installed = install(Overlay::builder(dir.path()).read_only_at("vendor").build()?);
    /// let error = fs::write(dir.path().join("vendor/new"), "").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_only_at(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.settings.read_only.push(path.into());
        self
    }

    /// Hides all names that match this [pattern](crate::pipeline#patterns), with everything beneath
    /// them. They stay as they are: a hidden name cannot be made ([`Errno::Acces`]), and a directory
    /// that only seems empty cannot be removed. May be called several times.
    ///
    /// A pattern goes by where things are now. One with a slash in it would not follow a directory
    /// that is moved, so a directory stays where it is if something in it could come to light
    /// elsewhere ([`Errno::Busy`]).
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join(".env"), "TOKEN=1")?;
    /// let _installed = install(Overlay::builder(dir.path()).hide(".env*").build()?);
    /// assert!(!fs::exists(dir.path().join(".env"))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hide(mut self, pattern: impl Into<String>) -> Self {
        self.settings.hidden.push(pattern.into());
        self
    }

    /// Shows another tree at this path, from the top. The directory above it must be there; what
    /// is at the path itself, if anything, must be a directory and is covered. May be called several
    /// times, also for a path within another mount.
    ///
    /// It is another device: moving and linking across is [`Errno::Xdev`], removing or moving the
    /// mount point [`Errno::Busy`]. A change in it is not a change of this overlay.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use testbench_overlay::{MemoryDir, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let registry = Arc::new(MemoryDir::builder().file("index", "one\n").build()?);
    /// let overlay = Overlay::builder(dir.path()).mount("registry", registry).build()?;
    /// let _installed = install(overlay.clone());
    /// assert_eq!(fs::read_to_string(dir.path().join("registry/index"))?, "one\n");
    /// fs::write(dir.path().join("registry/new"), "")?;
    /// assert!(overlay.diff()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mount(mut self, path: impl Into<Vec<u8>>, tree: Arc<dyn Fs>) -> Self {
        self.settings.mounts.push((path.into(), tree));
        self
    }

    /// Sets the treatment of symlinks that lead out of the root: they are refused, which is the
    /// default, or their targets can be read.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, OutwardLinks, fs, install};
    ///
    /// let outer = tempfile::tempdir()?;
    /// let root = outer.path().join("crate");
    /// std::fs::create_dir(&root)?;
    /// std::fs::write(outer.path().join("LICENSE"), "MIT\n")?;
    /// std::os::unix::fs::symlink("../LICENSE", root.join("LICENSE"))?;
    /// let overlay = Overlay::builder(&root).outward_links(OutwardLinks::Read).build()?;
    /// let _installed = install(overlay);
    /// assert_eq!(fs::read_to_string(root.join("LICENSE"))?, "MIT\n");
    /// assert!(fs::read_to_string(root.join("../LICENSE")).is_err(), "that is no symlink");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn outward_links(mut self, links: OutwardLinks) -> Self {
        self.settings.outward_links = links;
        self
    }

    /// Notes every operation in this log; see [`Audit`].
    pub fn audit(mut self, log: &Audit) -> Self {
        self.settings.audit = Some(log.clone());
        self
    }

    /// Makes the overlay: opens the lower tree, which from now on is only read.
    ///
    /// # Errors
    ///
    /// [`OverlayError::Root`] if it cannot be opened or is not a directory;
    /// [`OverlayError::Unfinished`] if a commit to it was interrupted; [`OverlayError::Mount`] if
    /// the guest path is not absolute; [`OverlayError::MountTree`], [`OverlayError::Path`],
    /// [`OverlayError::Pattern`] and [`OverlayError::Fault`] for a rule that cannot be followed.
    pub fn build(self) -> Result<Arc<Overlay>, OverlayError> {
        if let Some(at) = &self.config.mounted_at
            && (!GuestPath::new(at).is_absolute() || at.contains(&0))
        {
            return Err(OverlayError::Mount { path: GuestPath::new(at).to_string() });
        }
        let (fs, host_root): (Arc<dyn Fs>, _) = match self.below {
            Below::Dir(root) => {
                let (dir, given) = open_host(&root)?;
                let canonical = dir.path().to_path_buf();
                (Arc::new(dir), Some((given, canonical)))
            }
            Below::Fs(fs) => (fs, None),
        };
        let clock = self.clock.unwrap_or_else(testbench_clock::current);
        let view = View { times: self.lower_times, modes: self.lower_modes, start: clock.wall() };
        let config = Config { host_root, policy: self.settings.policy()?, ..self.config };
        let refused = |errno: Errno| OverlayError::Root {
            path: config.host_root.as_ref().map(|(given, _)| given.clone()).unwrap_or_default(),
            source: errno.into(),
        };
        let mut lower = Lower::new(fs).map_err(refused)?;
        if let Some(beneath) = Overlay::of_fs(lower.fs()) {
            beneath.is_beneath.store(true, Ordering::Relaxed);
            lower = lower.with_links(links_beneath);
        }
        let stat = lower.top_stat().map_err(refused)?;
        if stat.kind != FileKind::Dir {
            return Err(refused(Errno::Notdir));
        }
        let state = State::new(top(&view, &stat));
        let store = Store::new(self.memory_max, self.spill_dir);
        let core = Arc::new(Core::new(lower, view, config, clock, store, state));
        let pipeline = self.settings.build(&core)?;
        Ok(Overlay::of(core, pipeline))
    }
}

/// How many names a file of an overlay beneath may have.
fn links_beneath(fs: &dyn Fs, stat: &Stat) -> u64 {
    match Overlay::of_fs(fs) {
        Some(overlay) if stat.kind != FileKind::Dir => overlay.links_max(stat),
        _ => stat.nlink,
    }
}

/// Opens a lower directory. Returns it with its absolute path as it was given.
fn open_host(root: &Path) -> Result<(HostDir, PathBuf), OverlayError> {
    let failed = |source| OverlayError::Root { path: root.to_path_buf(), source };
    let given = std::path::absolute(root).map_err(failed)?;
    let dir = HostDir::open(root).map_err(failed)?.read_only();
    let is_there = |name: &&[u8]| dir.path().join(os_str(name)).symlink_metadata().is_ok();
    if [STAGE, WASTE].iter().any(is_there) {
        return Err(OverlayError::Unfinished { path: dir.path().to_path_buf() });
    }
    Ok((dir, given))
}

fn top(view: &View, stat: &Stat) -> Inode {
    let meta = view.meta(stat);
    let origin = Origin { paths: smallvec![RelPath::TOP], seen: Seen::new(stat), links: 1, meta };
    Inode {
        meta,
        node: Node::Dir(Dir::over(RelPath::TOP)),
        names: smallvec![],
        is_pinned: true,
        origin: Some(Arc::new(origin)),
    }
}
