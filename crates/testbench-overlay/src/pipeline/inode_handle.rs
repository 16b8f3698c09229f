//! [`InodeHandle`]: an inode that is kept whatever becomes of its names.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::file::StagedFile;
use super::operation::{Operation, Request};
use super::staged::{Staged, Target, tree_of};
use crate::handle::Handle;
use crate::ops::core::Core;
use crate::resolve::End;
use crate::upper::inode::{Ino, Node};
use crate::{Create, Errno, File, Follow, Fs, GuestPath, OpenHow, Overlay, SetTimes, Stat};

/// An inode of an overlay, kept whatever becomes of its names, as a descriptor that Linux opens with
/// `O_PATH`.
///
/// It derefs to a [`File`] by which metadata is read and set, and, for a directory, from which paths
/// start. No permission of the inode itself is needed to get one, and symlinks and special files have
/// one too. Bytes are read and written, and a directory is listed, through what
/// [`open`](InodeHandle::open) returns.
///
/// In a tree that is [mounted](crate::OverlayBuilder::mount) in the overlay, a handle stands for a
/// name in a directory: it follows when the directory moves, but not when the name does.
///
/// ```
/// use testbench_overlay::{Fs, GuestPath, OpenHow, Overlay};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a"), "text")?;
/// let overlay = Overlay::new(dir.path())?;
/// let top = overlay.root()?;
/// let inode = overlay.inode_at(&*top, GuestPath::new("a"))?;
/// overlay.rename_at(&*top, GuestPath::new("a"), &*top, GuestPath::new("b"))?;
/// inode.set_mode(0o600)?;
/// assert_eq!(inode.stat()?.mode, 0o600);
/// let mut bytes = [0; 4];
/// inode.open(&OpenHow::READ)?.read_at(&mut bytes, 0)?;
/// assert_eq!(&bytes, b"text");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct InodeHandle {
    core: Arc<Core>,
    file: Arc<dyn File>,
}

impl Deref for InodeHandle {
    type Target = dyn File;

    fn deref(&self) -> &(dyn File + 'static) {
        &*self.file
    }
}

impl Overlay {
    /// Returns a handle of the inode at `path`; a symlink is not followed.
    ///
    /// # Errors
    ///
    /// Those of [`Fs::stat_at`].
    pub fn inode_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<InodeHandle, Errno> {
        let file = match self.staged() {
            None => self.core.inode_at(self.dir(dir)?, path)?,
            Some(staged) => staged.inode_at(dir, path)?,
        };
        Ok(InodeHandle { core: self.core.clone(), file })
    }
}

impl InodeHandle {
    /// Opens the inode for what `how` asks. `create`, `follow` and `mode` have no meaning here.
    ///
    /// # Errors
    ///
    /// Those of [`Fs::open_at`]: [`Errno::Loop`] for a symlink, [`Errno::Nxio`] for a special file,
    /// [`Errno::Acces`] if the mode does not allow it.
    pub fn open(&self, how: &OpenHow) -> Result<Arc<dyn File>, Errno> {
        let how = OpenHow { create: Create::Never, follow: Follow::No, ..how.clone() };
        match self.staged() {
            None => self.core.open_inode(self.ino()?, &how),
            Some(staged) => staged.reopen(&how),
        }
    }

    /// Returns the target of a symlink.
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] for anything else.
    pub fn read_link(&self) -> Result<Vec<u8>, Errno> {
        match self.staged() {
            None => self.core.target(self.ino()?),
            Some(staged) => staged.target(),
        }
    }

    /// Gives the inode one more name, `path` from `dir`.
    ///
    /// # Errors
    ///
    /// Those of [`Fs::link_at`]; [`Errno::Noent`] for an inode that has no name any more.
    pub fn link(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<(), Errno> {
        match self.staged() {
            None => self.core.tx().link(self.ino()?, Handle::ino_in(dir, &self.core)?, path),
            Some(staged) => staged.link(dir, path),
        }
    }

    fn ino(&self) -> Result<Ino, Errno> {
        Handle::ino_in(&*self.file, &self.core)
    }

    fn staged(&self) -> Option<&StagedFile> {
        (&*self.file as &dyn Any).downcast_ref()
    }
}

impl Core {
    fn inode_at(self: &Arc<Self>, dir: Ino, path: GuestPath<'_>) -> Result<Arc<dyn File>, Errno> {
        let mut tx = self.tx();
        let ino = tx.find(dir, path, End::Keep)?;
        Ok(Arc::new(Handle::new(self, &mut tx, ino, false, false)))
    }

    fn open_inode(self: &Arc<Self>, ino: Ino, how: &OpenHow) -> Result<Arc<dyn File>, Errno> {
        let mut tx = self.tx();
        tx.open_inode(ino, how)?;
        Ok(Arc::new(Handle::new(self, &mut tx, ino, how.read, how.write)))
    }

    fn target(&self, ino: Ino) -> Result<Vec<u8>, Errno> {
        match &self.tx().live.state.inode(ino)?.node {
            Node::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::Inval),
        }
    }
}

impl Staged<'_> {
    fn inode_at(self, dir: &dyn File, path: GuestPath<'_>) -> Result<Arc<dyn File>, Errno> {
        let (place, subject) = self.walk(&self.spot(dir)?, path, End::Keep);
        self.run(Request::new(Operation::Stat, subject), |request| {
            let place = place?;
            self.check_hidden(&place, &request.path, false)?;
            let file: Arc<dyn File> = match self.object(&place) {
                Target::Own(dir, name) => self.core.inode_at(dir, GuestPath::new(&name))?,
                Target::In(mount, dir, name) => {
                    let by_name = ByName { fs: self.pipe.mounts.fs(mount).clone(), dir, name };
                    by_name.stat()?;
                    Arc::new(by_name)
                }
            };
            Ok(self.wrap(file, &place, &request.path))
        })
    }
}

impl StagedFile {
    fn reopen(&self, how: &OpenHow) -> Result<Arc<dyn File>, Errno> {
        let staged = self.staged();
        staged.run(Request::new(Operation::Open, self.path.clone()), |request| {
            if how.write || how.truncate {
                staged.pipe.policy.check_change(&request.path)?;
            }
            let file = match self.by_name() {
                Some(by_name) => by_name.fs.open_at(&*by_name.dir, by_name.path(), how)?,
                None => self.core.open_inode(Handle::ino_in(&*self.inner, &self.core)?, how)?,
            };
            let (path, spot) = (request.path.clone(), self.spot.clone());
            Ok(Arc::new(StagedFile::new(&self.core, file, path, spot, self.mount)) as Arc<dyn File>)
        })
    }

    fn target(&self) -> Result<Vec<u8>, Errno> {
        self.run(Operation::ReadLink, || match self.by_name() {
            Some(by_name) => by_name.fs.read_link_at(&*by_name.dir, by_name.path()),
            None => self.core.target(Handle::ino_in(&*self.inner, &self.core)?),
        })
    }

    fn link(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<(), Errno> {
        let staged = self.staged();
        let (target, to) = staged.walk(&staged.spot(dir)?, path, End::Name);
        let request =
            Request { to: Some(to.clone()), ..Request::new(Operation::Link, self.path.clone()) };
        staged.run(request, |request| {
            let target = target?;
            staged.check_new_name(Operation::Link, &target, &to)?;
            staged.pipe.policy.check_change(&request.path)?;
            if self.mount != tree_of(&target.dir) {
                return Err(Errno::Xdev);
            }
            match (self.by_name(), staged.name(&target)) {
                (None, Target::Own(dir, name)) => {
                    let ino = Handle::ino_in(&*self.inner, &self.core)?;
                    self.core.tx().link(ino, dir, GuestPath::new(&name))
                }
                (Some(from), Target::In(_, dir, name)) => {
                    let name = GuestPath::new(&name);
                    from.fs.link_at(&*from.dir, from.path(), Follow::No, &*dir, name)
                }
                _ => Err(Errno::Xdev),
            }
        })
    }

    fn by_name(&self) -> Option<&ByName> {
        (&*self.inner as &dyn Any).downcast_ref()
    }
}

/// A name in a directory of a mounted tree, since an [`Fs`] has no handles of inodes.
struct ByName {
    fs: Arc<dyn Fs>,
    dir: Arc<dyn File>,
    name: Vec<u8>,
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
