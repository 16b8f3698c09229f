//! [`Traced`]: the overlay that one child sees. It remembers the paths that the child changes.
//!
//! The child gets this tree instead of the overlay. Neither the child nor the overlay knows of a
//! tape. Each child has a tree of its own, so a change belongs to the child that made it even while
//! several run. A fork shows the overlay as it was when the child started. The difference between the
//! fork and the overlay is the net change at each path.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_overlay::{
    Create, File, Follow, Fs, GuestPath, OpenHow, Overlay, Result, SetTimes, Stat,
};

/// An overlay that remembers which paths were changed through it. A session that has a tape makes
/// one for each child.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    /// The tree that is decorated.
    pub(crate) overlay: Arc<Overlay>,
    /// The tree before the first change.
    pub(crate) before: Arc<Overlay>,
    paths: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Traced {
    /// Returns a tree through which nothing was changed yet.
    pub(crate) fn new(overlay: Arc<Overlay>) -> Traced {
        let before = overlay.fork();
        Traced::changed(overlay, before, [])
    }

    /// Returns a tree whose `paths` were changed in another way, such as by a native child. `before`
    /// shows the tree before these changes.
    pub(crate) fn changed(
        overlay: Arc<Overlay>,
        before: Arc<Overlay>,
        paths: impl IntoIterator<Item = Vec<u8>>,
    ) -> Traced {
        Traced { overlay, before, paths: Arc::new(Mutex::new(paths.into_iter().collect())) }
    }

    /// Returns the paths that were changed so far.
    pub(crate) fn paths(&self) -> BTreeSet<Vec<u8>> {
        self.lock().clone()
    }

    /// Runs the operation, and counts the paths as changed if it succeeds.
    fn change<T>(
        &self,
        paths: impl IntoIterator<Item = Vec<u8>>,
        operation: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let done = operation()?;
        self.lock().extend(paths);
        Ok(done)
    }

    /// Runs an operation that changes the entry `path`, and passes it the overlay's own handle of
    /// `dir`.
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

    /// Returns the path of an entry that is to be created, removed or changed. `None` if the path
    /// leads nowhere: the operation itself then fails.
    fn place(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Option<Vec<u8>> {
        self.overlay.place_of(dir, path, follow).ok()
    }

    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TracedFile { tree: self.clone(), inner })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        // A poisoned set is usable: each change of it is one statement.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the overlay's own handle behind a traced one.
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
}

impl TracedFile {
    /// Runs an operation that changes the file, and counts all its names as changed.
    fn change<T>(&self, operation: impl FnOnce() -> Result<T>) -> Result<T> {
        // A file without names is no longer in the tree.
        let names = self.tree.overlay.names_of(&*self.inner).unwrap_or_default();
        self.tree.change(names, operation)
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
