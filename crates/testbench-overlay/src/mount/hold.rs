//! Operations on what is held rather than on a path: what a kernel asks of a file system, which names
//! a file once and from then on goes by its number.
//!
//! To hold something is what `O_PATH` is to an open file: it can be asked about, changed in its
//! metadata and opened, whatever becomes of its name, and takes no permission.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::handle::Handle;
use crate::ops::Access;
use crate::ops::core::Core;
use crate::pipeline::StagedFile;
use crate::resolve::End;
use crate::upper::inode::{Ino, Node};
use crate::{Errno, File, Follow, Fs, GuestPath, OpenHow, Overlay, SetTimes, Stat};

impl Overlay {
    /// Holds what `name` stands for in `dir`, a symlink for itself.
    pub(crate) fn hold(&self, dir: &dyn File, name: GuestPath<'_>) -> Result<Arc<dyn File>, Errno> {
        match self.staged() {
            None => self.core.hold(self.dir(dir)?, name),
            Some(staged) => staged.hold(dir, name),
        }
    }

    /// Opens what is held.
    pub(crate) fn open_held(
        &self,
        held: &dyn File,
        access: Access,
    ) -> Result<Arc<dyn File>, Errno> {
        match (held as &dyn Any).downcast_ref::<StagedFile>() {
            None => self.core.open_held(Handle::ino_in(held, &self.core)?, access),
            Some(staged) => staged.open_held(access),
        }
    }

    /// The target of a symlink that is held.
    pub(crate) fn read_held_link(&self, held: &dyn File) -> Result<Vec<u8>, Errno> {
        match (held as &dyn Any).downcast_ref::<StagedFile>() {
            None => self.core.read_held_link(Handle::ino_in(held, &self.core)?),
            Some(staged) => staged.read_held_link(),
        }
    }

    /// Gives what is held a further name.
    pub(crate) fn link_held(
        &self,
        held: &dyn File,
        dir: &dyn File,
        name: GuestPath<'_>,
    ) -> Result<(), Errno> {
        match self.staged() {
            None => {
                let (ino, dir) = (Handle::ino_in(held, &self.core)?, self.dir(dir)?);
                self.core.tx().link(ino, dir, name)
            }
            Some(staged) => staged.link_held(held, dir, name),
        }
    }

    /// Makes a special file that nobody can open.
    pub(crate) fn make_special(
        &self,
        dir: &dyn File,
        name: GuestPath<'_>,
        mode: u32,
    ) -> Result<(), Errno> {
        match self.staged() {
            None => self.core.tx().make_special(self.dir(dir)?, name, mode),
            Some(staged) => staged.make_special(dir, name, mode),
        }
    }
}

impl Core {
    pub(crate) fn hold(
        self: &Arc<Self>,
        dir: Ino,
        name: GuestPath<'_>,
    ) -> Result<Arc<dyn File>, Errno> {
        let mut tx = self.tx();
        let ino = tx.find(dir, name, End::Keep)?;
        Ok(Arc::new(Handle::new(self, &mut tx, ino, false, false)))
    }

    pub(crate) fn open_held(
        self: &Arc<Self>,
        ino: Ino,
        access: Access,
    ) -> Result<Arc<dyn File>, Errno> {
        let mut tx = self.tx();
        let inode = tx.live.state.inode(ino)?;
        match &inode.node {
            Node::Dir(_) if access.write => return Err(Errno::Isdir),
            Node::Dir(_) | Node::File(_) => tx.allow_open(ino, access)?,
            Node::Symlink(_) => return Err(Errno::Loop),
            Node::Special => return Err(Errno::Nxio),
        }
        Ok(Arc::new(Handle::new(self, &mut tx, ino, access.read, access.write)))
    }

    pub(crate) fn read_held_link(&self, ino: Ino) -> Result<Vec<u8>, Errno> {
        match &self.tx().live.state.inode(ino)?.node {
            Node::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::Inval),
        }
    }
}

/// Something in a tree that is mounted in an overlay, held by its name for want of anything better.
pub(crate) struct ByName {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: Arc<dyn File>,
    pub(crate) name: Vec<u8>,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").field("name", &self.path()).finish_non_exhaustive()
    }
}

impl ByName {
    fn path(&self) -> GuestPath<'_> {
        GuestPath::new(&self.name)
    }

    pub(crate) fn open(&self, access: Access) -> Result<Arc<dyn File>, Errno> {
        let Access { read, write } = access;
        let how = OpenHow { read, write, follow: Follow::No, ..OpenHow::READ };
        self.fs.open_at(&*self.dir, self.path(), &how)
    }

    pub(crate) fn read_link(&self) -> Result<Vec<u8>, Errno> {
        self.fs.read_link_at(&*self.dir, self.path())
    }

    pub(crate) fn link(&self, dir: &dyn File, name: GuestPath<'_>) -> Result<(), Errno> {
        self.fs.link_at(&*self.dir, self.path(), Follow::No, dir, name)
    }
}

impl File for ByName {
    fn stat(&self) -> Result<Stat, Errno> {
        self.fs.stat_at(&*self.dir, self.path(), Follow::No)
    }

    fn set_times(&self, times: SetTimes) -> Result<(), Errno> {
        self.fs.set_times_at(&*self.dir, self.path(), Follow::No, times)
    }

    fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        self.fs.set_mode_at(&*self.dir, self.path(), Follow::No, mode)
    }
}
