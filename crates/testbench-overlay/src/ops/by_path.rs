//! The operations on one overlay's own tree: the part of an operation that is left once every stage
//! of the [pipeline](crate::pipeline) has let it through.

use std::sync::Arc;

use crate::handle::Handle;
use crate::ops::Renaming;
use crate::ops::core::{Core, Tx};
use crate::resolve::End;
use crate::upper::inode::{Ino, Node};
use crate::vfs::Result;
use crate::{Errno, File, Follow, Fs, GuestPath, OpenHow, SetTimes, Stat};

impl Core {
    pub(crate) fn top(self: &Arc<Self>) -> Arc<dyn File> {
        Arc::new(Handle::new(self, &mut self.tx(), Ino::ROOT, true, false))
    }

    /// The inode of a handle of this overlay.
    pub(crate) fn ino(self: &Arc<Self>, file: &dyn File) -> Result<Ino> {
        Handle::ino_in(file, self)
    }
}

impl Tx<'_> {
    /// The target of a symlink.
    pub(crate) fn target(&self, ino: Ino) -> Result<Vec<u8>> {
        match &self.live.state.inode(ino)?.node {
            Node::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::Inval),
        }
    }
}

impl Fs for Arc<Core> {
    fn root(&self) -> Result<Arc<dyn File>> {
        Ok(self.top())
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let mut tx = self.tx();
        let ino = tx.open(self.ino(dir)?, path, how)?;
        Ok(Arc::new(Handle::new(self, &mut tx, ino, how.read, how.write)))
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        let mut tx = self.tx();
        let ino = tx.find(self.ino(dir)?, path, End::of(follow))?;
        match &tx.came_to {
            Some((found, inode)) if *found == ino => Ok(inode.stat(ino)),
            _ => tx.live.state.inode(ino).map(|inode| inode.stat(ino)),
        }
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        let mut tx = self.tx();
        let ino = tx.find(self.ino(dir)?, path, End::Keep)?;
        tx.target(ino)
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        self.tx().create_dir(self.ino(dir)?, path, mode)
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.tx().symlink(target, self.ino(dir)?, path)
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let mut tx = self.tx();
        let to_dir = self.ino(to_dir)?;
        let ino = tx.find(self.ino(from_dir)?, from, End::of(follow))?;
        tx.link(ino, to_dir, to)
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let (from_dir, to_dir) = (self.ino(from_dir)?, self.ino(to_dir)?);
        self.tx().rename(from_dir, from, to_dir, to, Renaming::Replace)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.tx().remove_file(self.ino(dir)?, path)
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.tx().remove_dir(self.ino(dir)?, path)
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        let mut tx = self.tx();
        let ino = tx.find(self.ino(dir)?, path, End::of(follow))?;
        tx.set_times(ino, times)
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<()> {
        let mut tx = self.tx();
        let ino = tx.find(self.ino(dir)?, path, End::of(follow))?;
        tx.set_mode(ino, mode)
    }
}
