//! A real directory, addressed by paths from its top: what is written out, and what is compared.
//!
//! No path is ever handed to the kernel: each directory on the way is opened by its name in the one
//! above ([`Lower`]), and no symlink is followed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::about;
use crate::lower::Lower;
use crate::vfs::name::RelPath;
use crate::{
    Create, DirEntry, Errno, File, Follow, Fs as _, GuestPath, HostDir, OpenHow, SetTimes, Stat,
    sys,
};

/// A real directory. Directories in it are kept open under their paths until [`RealTree::renew`].
#[derive(Debug)]
pub(crate) struct RealTree {
    /// As the user names it, for messages.
    path: PathBuf,
    host: HostDir,
    seen: Lower,
}

/// What a file is created as, to be written; its permission bits come last.
const NEW: OpenHow =
    OpenHow { write: true, create: Create::New, follow: Follow::No, mode: 0o600, ..OpenHow::READ };

impl RealTree {
    pub(crate) fn open(path: &Path) -> io::Result<RealTree> {
        let host = HostDir::open(path)?;
        let seen = Lower::new(Arc::new(host.clone()))?;
        Ok(RealTree { path: path.to_path_buf(), host, seen })
    }

    /// Looks for every directory anew from now on.
    pub(crate) fn renew(&self) {
        self.seen.forget_dirs();
    }

    /// Whether the path under which it was opened still leads here.
    pub(crate) fn is_in_place(&self) -> bool {
        sys::open_top(&self.path).is_ok_and(|there| sys::same(&there, &*self.host.top()))
    }

    pub(crate) fn list(&self, path: &RelPath) -> Result<Vec<DirEntry>, Errno> {
        self.seen.list(path)
    }

    /// What is at a path, if anything.
    pub(crate) fn stat(&self, path: &RelPath) -> Result<Option<Stat>, Errno> {
        self.seen.stat(path)
    }

    pub(crate) fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, Errno> {
        self.seen.read_link(path)
    }

    /// A file for reading.
    pub(crate) fn open_file(&self, path: &RelPath) -> Result<Arc<dyn File>, Errno> {
        self.seen.open(path)
    }

    pub(crate) fn dir(&self, path: &RelPath) -> Result<Arc<dyn File>, Errno> {
        Ok(self.seen.dir(path, None)?.file().clone())
    }

    pub(crate) fn create_file(&self, path: &RelPath) -> Result<Arc<dyn File>, Errno> {
        let (dir, name) = self.place(path)?;
        self.host.open_at(&*dir, GuestPath::new(name), &NEW)
    }

    /// A directory that only its owner may use yet.
    pub(crate) fn create_dir(&self, path: &RelPath) -> Result<(), Errno> {
        let (dir, name) = self.place(path)?;
        self.host.create_dir_at(&*dir, GuestPath::new(name), 0o700)
    }

    pub(crate) fn symlink(
        &self,
        target: &[u8],
        path: &RelPath,
        times: SetTimes,
    ) -> Result<(), Errno> {
        let (dir, name) = self.place(path)?;
        let name = GuestPath::new(name);
        self.host.symlink_at(target, &*dir, name)?;
        self.host.set_times_at(&*dir, name, Follow::No, times)
    }

    /// Gives what is at `first` one more name.
    pub(crate) fn link(&self, first: &RelPath, path: &RelPath) -> Result<(), Errno> {
        let ((from_dir, from), (dir, name)) = (self.place(first)?, self.place(path)?);
        let (from, name) = (GuestPath::new(from), GuestPath::new(name));
        self.host.link_at(&*from_dir, from, Follow::No, &*dir, name)
    }

    fn place<'p>(&self, path: &'p RelPath) -> Result<(Arc<dyn File>, &'p [u8]), Errno> {
        let (dir, name) = path.split().ok_or(Errno::Inval)?;
        Ok((self.dir(&dir)?, name))
    }

    /// Says of an error what was attempted, and where.
    pub(crate) fn at<T>(
        &self,
        path: &RelPath,
        what: &str,
        result: Result<T, Errno>,
    ) -> io::Result<T> {
        result.map_err(|errno| about(what, &self.host_path(path), errno.into()))
    }

    /// Of what is at a path, for messages.
    pub(crate) fn host_path(&self, path: &RelPath) -> PathBuf {
        match path.is_top() {
            true => self.path.clone(),
            false => self.path.join(os_str(path.as_bytes())),
        }
    }
}

pub(crate) fn os_str(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
