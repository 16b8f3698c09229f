//! Open files, as in `std::fs`.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt as _};
use std::sync::Arc;

use super::lock::{Kind, TryLockError};
use super::route::Place;
use super::tree_file::TreeFile;
use super::{FileTimes, MODE_BITS, Metadata, Permissions};
use crate::{Errno, OpenHow};

/// An open file, with a position. Mirrors [`std::fs::File`].
#[derive(Debug)]
pub struct File {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Real(std::fs::File),
    Tree(Arc<TreeFile>),
}

impl File {
    /// Converts the handle to a file of the operating system.
    ///
    /// # Errors
    ///
    /// The file itself, if it is one of an overlay.
    pub fn into_real(self) -> Result<std::fs::File, File> {
        match self.inner {
            Inner::Real(file) => Ok(file),
            inner @ Inner::Tree(_) => Err(File { inner }),
        }
    }

    /// Returns the metadata of the file, also when its name is gone.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.either(
            |file| file.metadata().map(Metadata::from),
            |tree| tree.stat().map(Metadata::from),
        )
    }

    /// Cuts the file off at `len` bytes, or fills it up to there with zeros (`ftruncate`). The
    /// position stays.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if not opened for writing.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        // std converts the length to a signed offset before the system call.
        let fits = i64::try_from(len).map_err(|_| Errno::Inval);
        self.either(
            |file| file.set_len(len),
            |tree| tree.run(|file| fits.and_then(|_| file.set_len(len))),
        )
    }

    /// Brings content and metadata to stable storage (`fsync`). In an overlay there is nothing to
    /// do, except that a [fault](crate::pipeline::Fault) can make it fail.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn sync_all(&self) -> io::Result<()> {
        self.either(std::fs::File::sync_all, |tree| tree.run(|file| file.sync(false)))
    }

    /// Brings content to stable storage (`fdatasync`).
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn sync_data(&self) -> io::Result<()> {
        self.either(std::fs::File::sync_data, |tree| tree.run(|file| file.sync(true)))
    }

    /// Another handle to the same open file; the two share a position.
    ///
    /// # Errors
    ///
    /// Those of the system for a real file; none for one in a tree.
    pub fn try_clone(&self) -> io::Result<File> {
        let inner = self.either(
            |file| file.try_clone().map(Inner::Real),
            |tree| Ok(Inner::Tree(tree.clone())),
        )?;
        Ok(File { inner })
    }

    /// Waits until no other lock is held on the file, and takes one that excludes all others.
    ///
    /// Locks are advisory and belong to the open file: clones share theirs, and it goes with the
    /// last of them. In an overlay they count within that overlay, and the wait is one on the clock
    /// that is installed on this thread, so that a wait without end is found out on a mock clock.
    ///
    /// # Errors
    ///
    /// Those of the system; [`io::ErrorKind::Deadlock`] where the clock finds that no participant
    /// can ever unlock; [`io::ErrorKind::Unsupported`] for a file in a directory that is passed through.
    pub fn lock(&self) -> io::Result<()> {
        self.either(std::fs::File::lock, |tree| tree.lock.acquire(tree.stat(), Kind::Exclusive))
    }

    /// As [`File::lock`], but others may share the lock in the same way (`LOCK_SH`).
    ///
    /// # Errors
    ///
    /// As [`File::lock`].
    pub fn lock_shared(&self) -> io::Result<()> {
        self.either(std::fs::File::lock_shared, |tree| tree.lock.acquire(tree.stat(), Kind::Shared))
    }

    /// As [`File::lock`] without waiting.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if another lock is held, and as [`File::lock`].
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.either(std::fs::File::try_lock, |tree| {
            tree.lock.try_acquire(tree.stat(), Kind::Exclusive)
        })
    }

    /// As [`File::lock_shared`] without waiting.
    ///
    /// # Errors
    ///
    /// As [`File::try_lock`].
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.either(std::fs::File::try_lock_shared, |tree| {
            tree.lock.try_acquire(tree.stat(), Kind::Shared)
        })
    }

    /// Gives back the lock, if this file has one.
    ///
    /// # Errors
    ///
    /// As [`File::lock`].
    pub fn unlock(&self) -> io::Result<()> {
        self.either(std::fs::File::unlock, |tree| tree.lock.release())
    }

    /// Sets the permission bits (`fchmod`).
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        let mode = permissions.mode() & MODE_BITS;
        self.either(
            |file| file.set_permissions(permissions),
            |tree| tree.run(|file| file.set_mode(mode)),
        )
    }

    /// Sets the times (`futimens`).
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.either(
            |file| Ok(crate::sys::set_times(file, times.to_tree())?),
            |tree| tree.run(|file| file.set_times(times.to_tree())),
        )
    }

    /// Sets the time of last change of the content.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn set_modified(&self, time: std::time::SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }
}

impl File {
    pub(super) fn real(file: std::fs::File) -> File {
        File { inner: Inner::Real(file) }
    }

    pub(super) fn in_tree(place: Place<'_>, how: &OpenHow, append: bool) -> io::Result<File> {
        Ok(File { inner: Inner::Tree(Arc::new(TreeFile::open(place, how, append)?)) })
    }

    fn either<T>(
        &self,
        real: impl FnOnce(&std::fs::File) -> T,
        tree: impl FnOnce(&Arc<TreeFile>) -> T,
    ) -> T {
        match &self.inner {
            Inner::Real(file) => real(file),
            Inner::Tree(file) => tree(file),
        }
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => (&mut &*file).read(buf),
            Inner::Tree(tree) => tree.read(buf),
        }
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.either(|mut file| file.write(buf), |tree| tree.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.either(|mut file| file.seek(to), |tree| tree.seek(to))
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&mut &*self).read(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&mut &*self).seek(to)
    }
}

/// Reading and writing at an offset, past the position.
impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => file.read_at(buf, offset),
            Inner::Tree(tree) => tree.run(|file| file.read_at(buf, offset)),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.either(|file| file.write_at(buf, offset), |tree| tree.write_at(buf, offset))
    }
}
