//! A walk through a real directory that is written out or scanned.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::RealTree;
use crate::places::{DirCursor, PathId, Paths};
use crate::sys::{self, Access};
use crate::vfs::name::RelPath;
use crate::{Create, DirEntry, Errno, File, Follow, Fs as _, GuestPath, OpenHow, SetTimes, Stat};

/// How a file is created for writing; its permission bits come last.
const NEW: OpenHow =
    OpenHow { write: true, create: Create::New, follow: Follow::No, mode: 0o600, ..OpenHow::READ };

/// A walk through a [`RealTree`].
pub(super) struct Trail<'t> {
    tree: &'t RealTree,
    pub(super) paths: Paths,
    cursor: DirCursor,
}

impl<'t> Trail<'t> {
    pub(super) fn new(tree: &'t RealTree) -> Trail<'t> {
        Trail { tree, paths: Paths::new(), cursor: DirCursor::new(tree.host.top()) }
    }

    pub(super) fn path(&self, at: PathId) -> RelPath {
        RelPath::TOP.join(&self.paths.bytes(at))
    }

    /// Returns the metadata of what is there, if there is anything.
    pub(super) fn look(&mut self, at: PathId) -> Result<Option<Stat>, Errno> {
        let (dir, name) = self.place(at)?;
        crate::lower::present(sys::stat_at(&dir, name))
    }

    pub(super) fn list(&mut self, at: PathId) -> Result<Vec<DirEntry>, Errno> {
        let dir = self.cursor.dir(&self.paths, at)?;
        sys::read_dir(&sys::open_dir(&dir, b".", Access::Read)?)
    }

    /// Opens a directory whose metadata is to be set.
    pub(super) fn open_dir(&mut self, at: PathId) -> Result<Arc<dyn File>, Errno> {
        let (dir, name) = self.place(at)?;
        let opened = sys::open_dir(&dir, name, Access::Read)?;
        Ok(self.tree.host.dir_file(opened))
    }

    pub(super) fn create_file(&mut self, at: PathId) -> Result<Arc<dyn File>, Errno> {
        let RealTree { host, .. } = self.tree;
        let (dir, name) = self.place(at)?;
        host.open_at(&*host.dir_file(dir), GuestPath::new(name), &NEW)
    }

    /// Creates a directory that only its owner may use yet.
    pub(super) fn create_dir(&mut self, at: PathId) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        sys::create_dir(&dir, name, 0o700)
    }

    pub(super) fn symlink(
        &mut self,
        target: &[u8],
        at: PathId,
        times: SetTimes,
    ) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        sys::symlink(target, &dir, name)?;
        sys::set_times_at(&dir, name, times)
    }

    /// Gives the file at `first` one more name.
    pub(super) fn link(&mut self, first: PathId, at: PathId) -> Result<(), Errno> {
        let from_dir = self.cursor.dir(&self.paths, self.paths.dir(first))?;
        let dir = self.cursor.dir(&self.paths, self.paths.dir(at))?;
        sys::link(&from_dir, self.paths.name(first), &dir, self.paths.name(at))
    }

    /// Says of an error what was attempted, and where.
    pub(super) fn at<T>(&self, at: PathId, what: &str, result: Result<T, Errno>) -> io::Result<T> {
        result.or_else(|errno| self.tree.at(&self.path(at), what, Err(errno)))
    }

    /// The directory that holds a place, and the name in it.
    fn place(&mut self, at: PathId) -> Result<(Arc<OwnedFd>, &[u8]), Errno> {
        let dir = self.cursor.dir(&self.paths, self.paths.dir(at))?;
        let name = if at == PathId::TOP { b"." } else { self.paths.name(at) };
        Ok((dir, name))
    }
}
