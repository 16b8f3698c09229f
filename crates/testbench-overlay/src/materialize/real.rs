//! A real directory, addressed by paths from its top: what is written out, and what is compared.
//!
//! No path is ever handed to the kernel: each directory on the way is opened by its name in the one
//! above ([`Lower`]), and no symlink is followed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::about;
use crate::lower::Lower;
use crate::sys::{self, os_str};
use crate::vfs::name::RelPath;
use crate::{DirEntry, Errno, File, HostDir, Stat};

/// A real directory. Directories in it are kept open under their paths until [`RealTree::renew`].
#[derive(Debug)]
pub(crate) struct RealTree {
    /// As the user names it, for messages.
    path: PathBuf,
    pub(super) host: HostDir,
    pub(super) seen: Lower,
}

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

    /// Returns the entry at a path, if there is one.
    pub(crate) fn stat(&self, path: &RelPath) -> Result<Option<Stat>, Errno> {
        self.seen.stat(path)
    }

    pub(crate) fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, Errno> {
        self.seen.read_link(path)
    }

    /// A file for reading.
    pub(crate) fn open_file(&self, path: &RelPath) -> Result<Arc<dyn File>, Errno> {
        self.seen.open(path, false)
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
