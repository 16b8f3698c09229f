//! [`Overlay`]: a tree of changes in memory above a tree that is never written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_clock::Clock;

use crate::commit::{STAGE, WASTE};
use crate::core::{Config, Core, LowerPolicy};
use crate::handle::Handle;
use crate::inode::{Dir, Ino, Inode, Node, Origin, State};
use crate::lookup::{Tx, path_of};
use crate::lower::{Lower, LowerModes, LowerTimes, View};
use crate::materialize::os_str;
use crate::name::RelPath;
use crate::observe::{LowerChange, Seen};
use crate::resolve::{End, Last, Step};
use crate::{
    Errno, File, FileKind, Follow, Fs, GuestPath, HostDir, OpenHow, SetTimes, Stat, diff::Diff,
};

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
    top: Arc<dyn File>,
}

impl Overlay {
    /// An overlay of the directory `root`, with all defaults of [`OverlayBuilder`].
    ///
    /// # Errors
    ///
    /// [`OverlayError::Root`] if `root` cannot be opened or is not a directory.
    pub fn new(root: impl AsRef<Path>) -> Result<Arc<Overlay>, OverlayError> {
        Overlay::builder(root).build()
    }

    /// An overlay of the directory `root`, to be set up.
    pub fn builder(root: impl AsRef<Path>) -> OverlayBuilder {
        OverlayBuilder::new(Below::Dir(root.as_ref().to_path_buf()))
    }

    /// An overlay of any other tree, be it another overlay.
    ///
    /// The upper layer takes what it sees beneath as fixed: what is written to `lower` afterwards
    /// counts as a [change underneath](LowerPolicy).
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

    pub(crate) fn of(core: Core) -> Overlay {
        let core = Arc::new(core);
        let top = Arc::new(Handle::new(&core, &mut core.tx(), Ino::ROOT, true, false));
        Overlay { core, top }
    }

    /// What has changed, against what the lower tree held when it was first seen.
    ///
    /// The cost follows what was touched, not the size of the tree.
    ///
    /// # Errors
    ///
    /// [`OverlayError::LowerChanged`] if a changed file has also changed underneath, so that there
    /// is nothing left to compare it with; [`OverlayError::Read`] if one cannot be read.
    pub fn diff(&self) -> Result<Diff, OverlayError> {
        crate::changes::changes(&self.core).map(Diff::from_changes)
    }

    /// What was found to have changed in the lower tree since it was first seen, in the order in
    /// which it was found. Empty unless an operation failed with [`Errno::Stale`].
    pub fn lower_changes(&self) -> Vec<LowerChange> {
        self.core.lower_changes()
    }

    /// The path, from the top and without symlinks, of what `path` leads to.
    pub(crate) fn canonical(&self, path: GuestPath<'_>) -> Result<Vec<u8>, Errno> {
        let mut tx = self.core.tx();
        let place = tx.walk(Ino::ROOT, path, End::Follow)?;
        if place.slash && !matches!(place.found, Step::Dir(_) | Step::Missing) {
            return Err(Errno::Notdir);
        }
        let dir = path_of(&tx.live.state, place.dir).ok_or(Errno::Noent)?;
        match (place.found, place.last) {
            (Step::Missing, _) => Err(Errno::Noent),
            (_, Last::Name(name)) => Ok(dir.child(&name).as_bytes().to_vec()),
            (_, Last::Dot | Last::DotDot) => Ok(dir.as_bytes().to_vec()),
        }
    }

    pub(crate) fn handle(&self, tx: &mut Tx<'_>, ino: Ino, how: &OpenHow) -> Arc<dyn File> {
        Arc::new(Handle::new(&self.core, tx, ino, how.read, how.write))
    }

    fn dir(&self, dir: &dyn File) -> Result<Ino, Errno> {
        Handle::ino_in(dir, &self.core)
    }
}

impl Fs for Overlay {
    fn root(&self) -> Result<Arc<dyn File>, Errno> {
        Ok(self.top.clone())
    }

    fn open_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        how: &OpenHow,
    ) -> Result<Arc<dyn File>, Errno> {
        let dir = self.dir(dir)?;
        let mut tx = self.core.tx();
        let ino = tx.open(dir, path, how)?;
        Ok(self.handle(&mut tx, ino, how))
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat, Errno> {
        let dir = self.dir(dir)?;
        let mut tx = self.core.tx();
        let ino = tx.find(dir, path, end(follow))?;
        tx.live.state.inode(ino).map(|inode| inode.stat(ino))
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>, Errno> {
        let dir = self.dir(dir)?;
        let mut tx = self.core.tx();
        let ino = tx.find(dir, path, End::Keep)?;
        match &tx.live.state.inode(ino)?.node {
            Node::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::Inval),
        }
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        self.core.tx().create_dir(dir, path, mode)
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        self.core.tx().symlink(target, dir, path)
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<(), Errno> {
        let (from_dir, to_dir) = (self.dir(from_dir)?, self.dir(to_dir)?);
        let mut tx = self.core.tx();
        let ino = tx.find(from_dir, from, end(follow))?;
        tx.link(ino, to_dir, to)
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<(), Errno> {
        let (from_dir, to_dir) = (self.dir(from_dir)?, self.dir(to_dir)?);
        self.core.tx().rename(from_dir, from, to_dir, to)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        self.core.tx().remove_file(dir, path)
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        self.core.tx().remove_dir(dir, path)
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        let mut tx = self.core.tx();
        let ino = tx.find(dir, path, end(follow))?;
        tx.set_times(ino, times)
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        let mut tx = self.core.tx();
        let ino = tx.find(dir, path, end(follow))?;
        tx.set_mode(ino, mode)
    }
}

/// What an overlay is to be like. Made by [`Overlay::builder`] and [`Overlay::over`].
///
/// | setting | default |
/// | --- | --- |
/// | [`clock`](OverlayBuilder::clock) | the one installed on this thread, else the system's |
/// | [`mounted_at`](OverlayBuilder::mounted_at) | the host's path of the lower directory |
/// | [`lower_times`](OverlayBuilder::lower_times) | [`LowerTimes::Start`] |
/// | [`lower_modes`](OverlayBuilder::lower_modes) | [`LowerModes::Owner`] |
/// | [`on_lower_change`](OverlayBuilder::on_lower_change) | [`LowerPolicy::Verify`] |
/// | [`as_root`](OverlayBuilder::as_root) | off: permission bits bind, whoever runs the process |
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct OverlayBuilder {
    below: Below,
    clock: Option<Arc<dyn Clock>>,
    mounted_at: Option<Vec<u8>>,
    lower_times: LowerTimes,
    lower_modes: LowerModes,
    on_lower_change: LowerPolicy,
    passthrough: Vec<HostDir>,
    as_root: bool,
}

#[derive(Debug)]
enum Below {
    Dir(PathBuf),
    Fs(Arc<dyn Fs>),
}

impl OverlayBuilder {
    fn new(below: Below) -> OverlayBuilder {
        OverlayBuilder {
            below,
            clock: None,
            mounted_at: None,
            lower_times: LowerTimes::default(),
            lower_modes: LowerModes::default(),
            on_lower_change: LowerPolicy::default(),
            passthrough: Vec::new(),
            as_root: false,
        }
    }

    /// Where the times of new and changed files come from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The absolute guest path under which the top is seen: an absolute symlink that leads there
    /// leads inside.
    pub fn mounted_at(mut self, guest_path: impl Into<Vec<u8>>) -> Self {
        self.mounted_at = Some(guest_path.into());
        self
    }

    /// Which times lower files show.
    pub fn lower_times(mut self, times: LowerTimes) -> Self {
        self.lower_times = times;
        self
    }

    /// Which permission bits lower files show.
    pub fn lower_modes(mut self, modes: LowerModes) -> Self {
        self.lower_modes = modes;
        self
    }

    /// What happens when the lower tree changes while it is in use.
    pub fn on_lower_change(mut self, policy: LowerPolicy) -> Self {
        self.on_lower_change = policy;
        self
    }

    /// A real directory that [`crate::fs`] reaches beside the overlay, for example
    /// `HostDir::open("/usr/share")?.read_only()`. What is written there is written.
    pub fn passthrough(mut self, dir: HostDir) -> Self {
        self.passthrough.push(dir);
        self
    }

    /// Whether permission bits are ignored, as they are for root.
    pub fn as_root(mut self, as_root: bool) -> Self {
        self.as_root = as_root;
        self
    }

    /// Opens the lower tree.
    ///
    /// # Errors
    ///
    /// [`OverlayError::Root`] if it cannot be opened or is not a directory;
    /// [`OverlayError::Unfinished`] if a commit to it was interrupted; [`OverlayError::Mount`] if the guest path is not absolute.
    pub fn build(self) -> Result<Arc<Overlay>, OverlayError> {
        if let Some(at) = &self.mounted_at
            && (!GuestPath::new(at).is_absolute() || at.contains(&0))
        {
            return Err(OverlayError::Mount { path: GuestPath::new(at).to_string() });
        }
        let (fs, host_root) = match self.below {
            Below::Dir(root) => open_host(&root)?,
            Below::Fs(fs) => (fs, None),
        };
        let clock = self.clock.unwrap_or_else(testbench_clock::current);
        let view = View { times: self.lower_times, modes: self.lower_modes, start: clock.wall() };
        let config = Config {
            host_root,
            mounted_at: self.mounted_at,
            passthrough: self.passthrough,
            as_root: self.as_root,
            on_lower_change: self.on_lower_change,
        };
        let refused = |errno: Errno| OverlayError::Root {
            path: config.host_root.as_ref().map(|(given, _)| given.clone()).unwrap_or_default(),
            source: errno.into(),
        };
        let lower = Lower::new(fs).map_err(refused)?;
        let stat = lower.top_stat().map_err(refused)?;
        if stat.kind != FileKind::Dir {
            return Err(refused(Errno::Notdir));
        }
        let state = State::new(top(&view, &stat));
        Ok(Arc::new(Overlay::of(Core::new(lower, view, config, clock, state))))
    }
}

/// Why an overlay could not be made or compared.
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
    /// A saved state belongs to another overlay.
    #[error(
        "the checkpoint is that of another overlay, or from before a commit: only an overlay and its \
         forks share them, and only until one of them commits"
    )]
    Checkpoint,
    /// The lower tree is not what it was.
    #[error(
        "{}; run again while nothing else writes there, or choose another \
         `on_lower_change` policy for the overlay",
        change
    )]
    LowerChanged {
        /// What was found.
        change: LowerChange,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}` through the overlay: {errno}")]
    Read {
        /// Relative to the top.
        path: String,
        /// Why.
        errno: Errno,
    },
}

impl From<OverlayError> for io::Error {
    fn from(error: OverlayError) -> io::Error {
        let kind = match &error {
            OverlayError::Root { source, .. } => source.kind(),
            OverlayError::Mount { .. } | OverlayError::Checkpoint => io::ErrorKind::InvalidInput,
            OverlayError::Unfinished { .. } => io::ErrorKind::ResourceBusy,
            OverlayError::LowerChanged { .. } => io::ErrorKind::StaleNetworkFileHandle,
            OverlayError::Read { errno, .. } => io::Error::from(*errno).kind(),
        };
        io::Error::new(kind, error)
    }
}

type OpenedHost = (Arc<dyn Fs>, Option<(PathBuf, PathBuf)>);

fn open_host(root: &Path) -> Result<OpenedHost, OverlayError> {
    let open = || {
        let given = std::path::absolute(root)?;
        let canonical = root.canonicalize()?;
        let dir: Arc<dyn Fs> = Arc::new(HostDir::open(&canonical)?.read_only());
        Ok((dir, Some((given, canonical))))
    };
    let opened: OpenedHost =
        open().map_err(|source| OverlayError::Root { path: root.to_path_buf(), source })?;
    if let Some((_, path)) = &opened.1 {
        let is_there = |name: &&[u8]| path.join(os_str(name)).symlink_metadata().is_ok();
        if [STAGE, WASTE].iter().any(is_there) {
            return Err(OverlayError::Unfinished { path: path.clone() });
        }
    }
    Ok(opened)
}

fn top(view: &View, stat: &Stat) -> Inode {
    let meta = view.meta(stat);
    let origin = Origin { paths: vec![RelPath::TOP], seen: Seen::new(stat), links: 1, meta };
    Inode {
        meta,
        node: Node::Dir(Dir::over(RelPath::TOP)),
        names: Vec::new(),
        origin: Some(Arc::new(origin)),
    }
}

fn end(follow: Follow) -> End {
    match follow {
        Follow::Yes => End::Follow,
        Follow::No => End::Keep,
    }
}

/// The path at which an error is reported, for people.
pub(crate) fn read_error(core: &Core, path: &[u8], errno: Errno) -> OverlayError {
    match (errno, core.lower_changes().pop()) {
        (Errno::Stale, Some(change)) => OverlayError::LowerChanged { change },
        _ => OverlayError::Read { path: display(path).to_string(), errno },
    }
}

pub(crate) fn display(path: &[u8]) -> impl fmt::Display + '_ {
    GuestPath::new(if path.is_empty() { &b"."[..] } else { path })
}
