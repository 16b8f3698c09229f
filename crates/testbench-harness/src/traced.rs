//! [`Traced`]: an overlay as one child sees it, which remembers what that child changed.
//!
//! Recording is decoration: the child gets this tree instead of the overlay, and neither of them
//! knows of a tape. Each child has a tree of its own, so that a change belongs to the child that
//! made it, however many run at once. A path counts from its first change on; what was there just
//! before that is remembered by kind, mode and digest, so that the net change can be told at the end.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::WallTime;
use testbench_overlay::diff::Content;
use testbench_overlay::{
    Create, DirEntry, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, Overlay, PathState,
    Result, SetTimes, Stat,
};

/// An overlay that remembers which paths were changed through it. Made by a session that has a
/// tape, for each child.
#[derive(Debug)]
pub struct Traced {
    overlay: Arc<Overlay>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    /// The state of each path before its first change.
    touched: BTreeMap<Vec<u8>, Before>,
    failed: Option<(Vec<u8>, Errno)>,
}

/// The former state of a path.
pub(crate) type Before = Option<Was>;

/// The remembered state of a file.
#[derive(Clone, Debug)]
pub(crate) struct Was {
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) ino: u64,
    pub(crate) names: usize,
    pub(crate) mtime: WallTime,
    /// Of the content, or of a symlink's target.
    pub(crate) digest: blake3::Hash,
}

impl Was {
    pub(crate) fn of(state: &PathState) -> Was {
        let digest = match &state.side.content {
            Content::Bytes(bytes) => blake3::hash(bytes),
            Content::Unread => blake3::hash(&[]),
        };
        Was {
            kind: state.side.kind,
            mode: state.side.mode,
            ino: state.ino,
            names: state.names.len(),
            mtime: state.mtime,
            digest,
        }
    }
}

/// The changes of one child.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) paths: BTreeMap<Vec<u8>, Before>,
    /// The first path whose former state could not be read.
    pub(crate) failed: Option<(Vec<u8>, Errno)>,
}

impl Traced {
    /// A tree through which nothing was changed yet.
    pub(crate) fn new(overlay: Arc<Overlay>) -> Traced {
        Traced { overlay, log: Arc::default() }
    }

    /// The tree that is decorated.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Takes the changes so far.
    pub(crate) fn take(&self) -> Touched {
        let log = std::mem::take(&mut *lock(&self.log));
        Touched { paths: log.touched, failed: log.failed }
    }

    /// Counts paths as changed that were changed in another way, such as by a native child, with
    /// `before` showing the tree as it was.
    pub(crate) fn touched(&self, before: &Overlay, paths: impl IntoIterator<Item = Vec<u8>>) {
        for path in paths {
            let was = before.look(&path).map(|state| state.as_ref().map(Was::of));
            note(&self.log, path, was);
        }
    }

    /// Runs an operation that changes these paths.
    fn change<T>(
        &self,
        paths: impl IntoIterator<Item = Vec<u8>>,
        operation: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        change(&self.overlay, &self.log, paths, operation)
    }

    /// The place of a name that is created, removed or changed itself; nothing if there is none, of
    /// which the operation will tell.
    fn place(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Option<Vec<u8>> {
        self.overlay.place_of(dir, path, follow).ok()
    }

    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        let (overlay, log) = (self.overlay.clone(), self.log.clone());
        Arc::new(TracedFile { overlay, log, inner, is_touched: AtomicBool::new(false) })
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // A map of what was seen is whole after every statement.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(log: &Mutex<Log>, path: Vec<u8>, was: Result<Before>) {
    let mut log = lock(log);
    match was {
        Ok(was) => _ = log.touched.entry(path).or_insert(was),
        Err(errno) => _ = log.failed.get_or_insert((path, errno)),
    }
}

/// Looks at what is there, runs the operation, and counts the paths if it went well.
fn change<T>(
    overlay: &Overlay,
    log: &Mutex<Log>,
    paths: impl IntoIterator<Item = Vec<u8>>,
    operation: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let is_new = |path: &Vec<u8>| !lock(log).touched.contains_key(path);
    let before: Vec<_> = paths
        .into_iter()
        .filter(is_new)
        .map(|path| {
            let was = overlay.look(&path).map(|state| state.as_ref().map(Was::of));
            (path, was)
        })
        .collect();
    let done = operation()?;
    for (path, was) in before {
        note(log, path, was);
    }
    Ok(done)
}

/// The overlay's own handle behind a traced one.
fn inner(file: &dyn File) -> &dyn File {
    match (file as &dyn Any).downcast_ref::<TracedFile>() {
        Some(traced) => &*traced.inner,
        None => file,
    }
}

impl Fs for Traced {
    fn root(&self) -> Result<Arc<dyn File>> {
        self.overlay.root().map(|root| self.wrap(root))
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let dir = inner(dir);
        let open = || self.overlay.open_at(dir, path, how).map(|file| self.wrap(file));
        if how.create == Create::Never && !how.truncate {
            return open();
        }
        let follow = if how.create == Create::New { Follow::No } else { how.follow };
        let Some(place) = self.place(dir, path, follow) else { return open() };
        let changes = match self.overlay.kind_at(&place)? {
            None => how.create != Create::Never,
            Some(_) => how.truncate,
        };
        if changes { self.change([place], open) } else { open() }
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        self.overlay.stat_at(inner(dir), path, follow)
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        self.overlay.read_link_at(inner(dir), path)
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        let dir = inner(dir);
        self.change(self.place(dir, path, Follow::No), || {
            self.overlay.create_dir_at(dir, path, mode)
        })
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let dir = inner(dir);
        self.change(self.place(dir, path, Follow::No), || {
            self.overlay.symlink_at(target, dir, path)
        })
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let (from_dir, to_dir) = (inner(from_dir), inner(to_dir));
        self.change(self.place(to_dir, to, Follow::No), || {
            self.overlay.link_at(from_dir, from, follow, to_dir, to)
        })
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let (from_dir, to_dir) = (inner(from_dir), inner(to_dir));
        let rename = || self.overlay.rename_at(from_dir, from, to_dir, to);
        let places = (self.place(from_dir, from, Follow::No), self.place(to_dir, to, Follow::No));
        let (Some(source), Some(target)) = places else { return rename() };
        let mut paths = Vec::new();
        // A directory takes along all that is in it.
        for beneath in self.overlay.beneath(&source)? {
            paths.push([&target, &beneath[source.len()..]].concat());
            paths.push(beneath);
        }
        paths.extend([source, target]);
        self.change(paths, rename)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let dir = inner(dir);
        self.change(self.place(dir, path, Follow::No), || self.overlay.remove_file_at(dir, path))
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let dir = inner(dir);
        self.change(self.place(dir, path, Follow::No), || self.overlay.remove_dir_at(dir, path))
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        let dir = inner(dir);
        self.change(self.place(dir, path, follow), || {
            self.overlay.set_times_at(dir, path, follow, times)
        })
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<()> {
        let dir = inner(dir);
        self.change(self.place(dir, path, follow), || {
            self.overlay.set_mode_at(dir, path, follow, mode)
        })
    }
}

/// An open file or directory of a [`Traced`] tree.
#[derive(Debug)]
struct TracedFile {
    overlay: Arc<Overlay>,
    log: Arc<Mutex<Log>>,
    inner: Arc<dyn File>,
    /// Its names are noted already.
    is_touched: AtomicBool,
}

impl TracedFile {
    /// Runs an operation that changes the file, under all its names.
    fn change<T>(&self, operation: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_touched.load(Ordering::Relaxed) {
            return operation();
        }
        // A file that has lost its names is on no path any more.
        let names = self.overlay.names_of(&*self.inner).unwrap_or_default();
        let done = change(&self.overlay, &self.log, names, operation)?;
        self.is_touched.store(true, Ordering::Relaxed);
        Ok(done)
    }
}

impl File for TracedFile {
    fn stat(&self) -> Result<Stat> {
        self.inner.stat()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.change(|| self.inner.write_at(buf, offset))
    }

    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        self.change(|| self.inner.append(buf))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.change(|| self.inner.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.change(|| self.inner.allocate(offset, len))
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.inner.sync(data_only)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.change(|| self.inner.set_times(times))
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.change(|| self.inner.set_mode(mode))
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        self.inner.read_dir()
    }
}
