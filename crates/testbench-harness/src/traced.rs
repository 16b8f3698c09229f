//! [`Traced`]: an overlay as one child sees it, which remembers the paths that the child changed.
//!
//! Recording is decoration: the child gets this tree instead of the overlay, and neither of them
//! knows of a tape. Each child has a tree of its own, so a change belongs to the child that made it
//! even while several run. A path counts from its first change on. The tree remembers kind, mode and
//! digest of the path just before that, from which the net change at the end follows.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::WallTime;
use testbench_overlay::diff::Content;
use testbench_overlay::{
    Create, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, Overlay, PathState, Result,
    SetTimes, Stat,
};

/// An overlay that remembers which paths were changed through it. A session that has a tape makes
/// one for each child.
#[derive(Clone, Debug)]
pub struct Traced {
    overlay: Arc<Overlay>,
    touched: Arc<Mutex<Touched>>,
}

/// The changes of one child.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// The file at each path before its first change.
    pub(crate) paths: BTreeMap<Vec<u8>, Option<Was>>,
    /// Why not all of it is known.
    pub(crate) failed: Option<(Vec<u8>, Errno)>,
}

/// A file before its first change.
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

impl Traced {
    /// A tree through which nothing was changed yet.
    pub(crate) fn new(overlay: Arc<Overlay>) -> Traced {
        Traced { overlay, touched: Arc::default() }
    }

    /// The tree that is decorated.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Takes the changes so far.
    pub(crate) fn take(&self) -> Touched {
        std::mem::take(&mut *self.lock())
    }

    /// Counts paths as changed that were changed in another way, such as by a native child;
    /// `before` shows the tree as it was.
    pub(crate) fn touched(&self, before: &Overlay, paths: impl IntoIterator<Item = Vec<u8>>) {
        for path in paths {
            let was = look(before, &path);
            self.note(path, was);
        }
    }

    fn note(&self, path: Vec<u8>, was: Result<Option<Was>>) {
        let mut touched = self.lock();
        match was {
            Ok(was) => _ = touched.paths.entry(path).or_insert(was),
            Err(errno) => _ = touched.failed.get_or_insert((path, errno)),
        }
    }

    /// Looks at the paths, runs the operation, and counts the paths as changed if it succeeds.
    fn change<T>(
        &self,
        paths: impl IntoIterator<Item = Vec<u8>>,
        operation: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut before = Vec::new();
        for path in paths {
            if !self.lock().paths.contains_key(&path) {
                let was = look(&self.overlay, &path);
                before.push((path, was));
            }
        }
        let done = operation()?;
        for (path, was) in before {
            self.note(path, was);
        }
        Ok(done)
    }

    /// Runs an operation that changes the entry `path`. The overlay's own handle of `dir` is given
    /// to it.
    fn change_at<T>(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        operation: impl FnOnce(&dyn File) -> Result<T>,
    ) -> Result<T> {
        let dir = inner(dir);
        self.change(self.place(dir, path, follow), || operation(dir))
    }

    /// The place of a name that is created, removed or changed itself. It is `None` if there is
    /// none, with which the operation then fails.
    fn place(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Option<Vec<u8>> {
        self.overlay.place_of(dir, path, follow).ok()
    }

    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TracedFile { tree: self.clone(), inner, is_touched: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, Touched> {
        // A map of what was seen is whole after every statement.
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(tree: &Overlay, path: &[u8]) -> Result<Option<Was>> {
    tree.look(path).map(|state| state.as_ref().map(Was::of))
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
        self.change_at(dir, path, Follow::No, |dir| self.overlay.create_dir_at(dir, path, mode))
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.change_at(dir, path, Follow::No, |dir| self.overlay.symlink_at(target, dir, path))
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let link = |dir: &dyn File| self.overlay.link_at(inner(from_dir), from, follow, dir, to);
        self.change_at(to_dir, to, Follow::No, link)
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
        // The entries of a directory move with it.
        for beneath in self.overlay.beneath(&source)? {
            paths.push([&target, &beneath[source.len()..]].concat());
            paths.push(beneath);
        }
        paths.extend([source, target]);
        self.change(paths, rename)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.change_at(dir, path, Follow::No, |dir| self.overlay.remove_file_at(dir, path))
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.change_at(dir, path, Follow::No, |dir| self.overlay.remove_dir_at(dir, path))
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        self.change_at(dir, path, follow, |dir| self.overlay.set_times_at(dir, path, follow, times))
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<()> {
        self.change_at(dir, path, follow, |dir| self.overlay.set_mode_at(dir, path, follow, mode))
    }
}

/// An open file or directory of a [`Traced`] tree.
#[derive(Debug)]
struct TracedFile {
    tree: Traced,
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
        // A file that has lost its names is in no tree any more.
        let names = self.tree.overlay.names_of(&*self.inner).unwrap_or_default();
        let done = self.tree.change(names, operation)?;
        self.is_touched.store(true, Ordering::Relaxed);
        Ok(done)
    }
}

impl File for TracedFile {
    fn inner(&self) -> Option<&dyn File> {
        Some(&*self.inner)
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

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.change(|| self.inner.set_times(times))
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.change(|| self.inner.set_mode(mode))
    }
}
