//! The operations on one overlay's own tree, each from a directory's number and a path: what is left
//! of an operation when every stage of the [pipeline](crate::pipeline) has had its say.

use std::sync::Arc;

use crate::handle::Handle;
use crate::ops::Renaming;
use crate::ops::core::Core;
use crate::resolve::End;
use crate::upper::inode::{Ino, Node};
use crate::{Errno, File, Follow, GuestPath, OpenHow, SetTimes, Stat};

impl Core {
    pub(crate) fn open_at(
        self: &Arc<Self>,
        dir: Ino,
        path: GuestPath<'_>,
        how: &OpenHow,
    ) -> Result<Arc<dyn File>, Errno> {
        let mut tx = self.tx();
        let ino = tx.open(dir, path, how)?;
        Ok(Arc::new(Handle::new(self, &mut tx, ino, how.read, how.write)))
    }

    pub(crate) fn stat_at(
        &self,
        dir: Ino,
        path: GuestPath<'_>,
        follow: Follow,
    ) -> Result<Stat, Errno> {
        let mut tx = self.tx();
        let ino = tx.find(dir, path, end(follow))?;
        match &tx.came_to {
            Some((found, inode)) if *found == ino => Ok(inode.stat(ino)),
            _ => tx.live.state.inode(ino).map(|inode| inode.stat(ino)),
        }
    }

    pub(crate) fn read_link_at(&self, dir: Ino, path: GuestPath<'_>) -> Result<Vec<u8>, Errno> {
        let mut tx = self.tx();
        let ino = tx.find(dir, path, End::Keep)?;
        match &tx.live.state.inode(ino)?.node {
            Node::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::Inval),
        }
    }

    pub(crate) fn create_dir_at(
        &self,
        dir: Ino,
        path: GuestPath<'_>,
        mode: u32,
    ) -> Result<(), Errno> {
        self.tx().create_dir(dir, path, mode)
    }

    pub(crate) fn symlink_at(
        &self,
        target: &[u8],
        dir: Ino,
        path: GuestPath<'_>,
    ) -> Result<(), Errno> {
        self.tx().symlink(target, dir, path)
    }

    pub(crate) fn link_at(
        &self,
        from_dir: Ino,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: Ino,
        to: GuestPath<'_>,
    ) -> Result<(), Errno> {
        let mut tx = self.tx();
        let ino = tx.find(from_dir, from, end(follow))?;
        tx.link(ino, to_dir, to)
    }

    pub(crate) fn rename_at(
        &self,
        from_dir: Ino,
        from: GuestPath<'_>,
        to_dir: Ino,
        to: GuestPath<'_>,
        how: Renaming,
    ) -> Result<(), Errno> {
        self.tx().rename(from_dir, from, to_dir, to, how)
    }

    pub(crate) fn remove_file_at(&self, dir: Ino, path: GuestPath<'_>) -> Result<(), Errno> {
        self.tx().remove_file(dir, path)
    }

    pub(crate) fn remove_dir_at(&self, dir: Ino, path: GuestPath<'_>) -> Result<(), Errno> {
        self.tx().remove_dir(dir, path)
    }

    pub(crate) fn set_times_at(
        &self,
        dir: Ino,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<(), Errno> {
        let mut tx = self.tx();
        let ino = tx.find(dir, path, end(follow))?;
        tx.set_times(ino, times)
    }

    pub(crate) fn set_mode_at(
        &self,
        dir: Ino,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<(), Errno> {
        let mut tx = self.tx();
        let ino = tx.find(dir, path, end(follow))?;
        tx.set_mode(ino, mode)
    }
}

pub(crate) fn end(follow: Follow) -> End {
    match follow {
        Follow::Yes => End::Follow,
        Follow::No => End::Keep,
    }
}
