//! Open files and directories.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::Tree;
use crate::vfs::Result;
use crate::{DirEntry, Errno, File, FileKind, OpenHow, SetTimes, Stat, sys};

/// An open file or directory of a [`HostDir`].
#[derive(Debug)]
pub(super) struct HostFile {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) kind: FileKind,
    read: bool,
    write: bool,
    pub(super) tree: Arc<Tree>,
    /// Held while the directory is listed, which moves the one position that the handle has.
    listing: Mutex<()>,
}

impl HostFile {
    pub(super) fn new(
        tree: &Arc<Tree>,
        fd: impl Into<Arc<OwnedFd>>,
        kind: FileKind,
        how: &OpenHow,
    ) -> HostFile {
        let (fd, tree, listing) = (fd.into(), tree.clone(), Mutex::default());
        HostFile { fd, kind, read: how.read, write: how.write, tree, listing }
    }

    fn list(&self) -> Result<Vec<DirEntry>> {
        let _alone = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        sys::read_dir(&self.fd)
    }

    fn content(&self) -> Result<&OwnedFd> {
        if self.kind == FileKind::Dir { Err(Errno::Isdir) } else { Ok(&self.fd) }
    }

    /// For the bytes. A directory is never opened for writing.
    fn writable(&self) -> Result<&OwnedFd> {
        if self.write { Ok(&self.fd) } else { Err(Errno::Badf) }
    }

    /// For the metadata, which takes no handle for writing.
    fn changeable(&self) -> Result<&OwnedFd> {
        if self.tree.read_only { Err(Errno::Rofs) } else { Ok(&self.fd) }
    }
}

impl File for HostFile {
    fn stat(&self) -> Result<Stat> {
        sys::stat(&self.fd)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        match self.content()? {
            fd if self.read => sys::read_at(fd, buf, offset),
            _ => Err(Errno::Badf),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        sys::write_at(self.writable()?, buf, offset)
    }

    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        sys::append(self.writable()?, buf)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        // `ftruncate` reports a read-only descriptor as EINVAL, not as EBADF.
        sys::set_len(self.writable().map_err(|_| Errno::Inval)?, len)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        sys::next_data(self.content()?, offset)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        sys::sync(&self.fd, data_only)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        if times == SetTimes::default() {
            return Ok(());
        }
        sys::set_times(self.changeable()?, times)
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        sys::set_mode(self.changeable()?, mode)
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        match self.kind {
            FileKind::Dir if self.read => self.list(),
            FileKind::Dir => Err(Errno::Badf),
            _ => Err(Errno::Notdir),
        }
    }
}
