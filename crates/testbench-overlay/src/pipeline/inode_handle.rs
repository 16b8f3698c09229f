//! [`InodeHandle`]: an inode that is kept whatever becomes of its names.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use super::file::StagedFile;
use super::operation::{Operation, Request};
use crate::handle::Handle;
use crate::ops::core::Core;
use crate::resolve::End;
use crate::upper::inode::Ino;
use crate::vfs::Result;
use crate::{Create, File, Follow, Fs, GuestPath, OpenHow, Overlay, SetTimes, Stat};

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
    pub fn inode_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<InodeHandle> {
        let core = self.core.clone();
        let Some(pipeline) = &self.pipeline else {
            return Ok(InodeHandle { file: core.inode_at(dir, path)?, core });
        };
        let file = pipeline.on_place(Operation::Stat, dir, path, End::Keep, |place, path| {
            let at = pipeline.object(&place);
            let file: Arc<dyn File> = match at.tree {
                None => core.inode_at(&*at.dir, at.path())?,
                Some(tree) => {
                    let fs = pipeline.namespace.fs(tree).clone();
                    let named = ByName { fs, dir: at.dir, name: at.name };
                    named.stat()?;
                    Arc::new(named)
                }
            };
            Ok(pipeline.wrap_at(file, place, path))
        })?;
        Ok(InodeHandle { core, file })
    }
}

impl InodeHandle {
    /// Opens the inode for what `how` asks. `create`, `follow` and `mode` have no meaning here.
    ///
    /// # Errors
    ///
    /// Those of [`Fs::open_at`]: [`Errno::Loop`](crate::Errno::Loop) for a symlink,
    /// [`Errno::Nxio`](crate::Errno::Nxio) for a special file,
    /// [`Errno::Acces`](crate::Errno::Acces) if the mode does not allow it.
    pub fn open(&self, how: &OpenHow) -> Result<Arc<dyn File>> {
        let how = OpenHow { create: Create::Never, follow: Follow::No, ..how.clone() };
        let open = || match self.by_name() {
            Some(by_name) => by_name.fs.open_at(&*by_name.dir, by_name.path(), &how),
            None => self.core.open_inode(self.ino()?, &how),
        };
        let Some(staged) = self.staged() else { return open() };
        let inner = match how.write || how.truncate {
            true => staged.change(Operation::Open, open)?,
            false => staged.run(Operation::Open, open)?,
        };
        Ok(Arc::new(StagedFile { inner, ..staged.clone() }))
    }

    /// Returns the target of a symlink.
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`](crate::Errno::Inval) for anything else.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        let target = || match self.by_name() {
            Some(by_name) => by_name.fs.read_link_at(&*by_name.dir, by_name.path()),
            None => self.core.tx().target(self.ino()?),
        };
        match self.staged() {
            None => target(),
            Some(staged) => staged.run(Operation::ReadLink, target),
        }
    }

    /// Gives the inode one more name, `path` from `dir`.
    ///
    /// # Errors
    ///
    /// Those of [`Fs::link_at`]; [`Errno::Noent`](crate::Errno::Noent) for an inode that has no name any more.
    pub fn link(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let link = |dir: &dyn File, path: GuestPath<'_>| match self.by_name() {
            Some(from) => from.fs.link_at(&*from.dir, from.path(), Follow::No, dir, path),
            None => self.core.tx().link(self.ino()?, Handle::ino_in(dir, &self.core)?, path),
        };
        let Some(StagedFile { pipeline, path: from, tree, .. }) = self.staged() else {
            return link(dir, path);
        };
        let (target, to) = pipeline.walk(dir, path, End::Name)?;
        let request = Request::new(Operation::Link, from.clone());
        pipeline.run(Request { to: Some(to.clone()), ..request }, |request| {
            let target = target?;
            pipeline.check_link(*tree, &request.path, &target, &to)?;
            let at = pipeline.name(&target);
            link(&*at.dir, at.path())
        })
    }

    fn ino(&self) -> Result<Ino> {
        Handle::ino_in(&*self.file, &self.core)
    }

    fn staged(&self) -> Option<&StagedFile> {
        (&*self.file as &dyn Any).downcast_ref()
    }

    fn by_name(&self) -> Option<&ByName> {
        (&*self.staged()?.inner as &dyn Any).downcast_ref()
    }
}

impl Core {
    fn inode_at(self: &Arc<Self>, dir: &dyn File, path: GuestPath<'_>) -> Result<Arc<dyn File>> {
        let mut tx = self.tx();
        let ino = tx.find(Handle::ino_in(dir, self)?, path, End::Keep)?;
        Ok(Arc::new(Handle::new(self, &mut tx, ino, false, false)))
    }

    fn open_inode(self: &Arc<Self>, ino: Ino, how: &OpenHow) -> Result<Arc<dyn File>> {
        let mut tx = self.tx();
        tx.open_inode(ino, how)?;
        Ok(Arc::new(Handle::new(self, &mut tx, ino, how.read, how.write)))
    }
}

/// A name in a directory of a mounted tree, since an [`Fs`] has no handles of inodes.
#[derive(Debug)]
struct ByName {
    fs: Arc<dyn Fs>,
    dir: Arc<dyn File>,
    name: Vec<u8>,
}

impl ByName {
    fn path(&self) -> GuestPath<'_> {
        GuestPath::new(&self.name)
    }
}

impl File for ByName {
    fn stat(&self) -> Result<Stat> {
        self.fs.stat_at(&*self.dir, self.path(), Follow::No)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.fs.set_times_at(&*self.dir, self.path(), Follow::No, times)
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.fs.set_mode_at(&*self.dir, self.path(), Follow::No, mode)
    }
}
