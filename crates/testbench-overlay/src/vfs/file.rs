//! [`File`]: an open file or directory.

use std::any::Any;
use std::fmt;
use std::ops::Range;

use super::{DirEntry, Result, SetTimes, Stat};
use crate::Errno;

/// An open file or directory. It stays valid when its name is removed or moved.
///
/// ```
/// use testbench_overlay::{Fs, GuestPath, MemoryDir, OpenHow};
///
/// let tree = MemoryDir::builder().file("a", "text").build()?;
/// let top = tree.root()?;
/// let names: Vec<_> = top.read_dir()?.into_iter().map(|entry| entry.name).collect();
/// assert_eq!(names, [Box::from(*b"a")]);
/// let file = tree.open_at(&*top, GuestPath::new("a"), &OpenHow::READ)?;
/// let mut buf = [0; 8];
/// assert_eq!(file.read_at(&mut buf, 1)?, 3);
/// assert_eq!(&buf[..3], b"ext");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait File: Any + fmt::Debug + Send + Sync {
    /// Returns the file that carries out the methods that this one does not implement, if there is
    /// one; see [`Fs::inner`](crate::Fs::inner).
    fn inner(&self) -> Option<&dyn File> {
        None
    }

    /// Returns the metadata as it is now (`fstat`).
    ///
    /// # Errors
    ///
    /// [`Errno::Stale`] if the file is no longer there, such as after a
    /// [rollback](crate::Overlay::rollback).
    fn stat(&self) -> Result<Stat> {
        self.inner().ok_or(Errno::Nosys)?.stat()
    }

    /// Reads from `offset` into `buf` and returns how many bytes were read; 0 at the end of the
    /// file (`pread`).
    ///
    /// # Errors
    ///
    /// [`Errno::Isdir`] for a directory, [`Errno::Badf`] if not opened for reading,
    /// [`Errno::Stale`] if a file of the lower tree is no longer what it was.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.inner().ok_or(Errno::Isdir)?.read_at(buf, offset)
    }

    /// Writes at `offset`, filling a gap before it with zeros, and returns how many bytes were
    /// written (`pwrite`). It may be fewer than all, such as on a disk that is nearly full.
    ///
    /// # Errors
    ///
    /// [`Errno::Badf`] if not opened for writing, which a directory never is; [`Errno::Nospc`] and
    /// [`Errno::Fbig`] beyond a [quota](crate::pipeline::Quota).
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.inner().ok_or(Errno::Badf)?.write_at(buf, offset)
    }

    /// Writes at the end, wherever that is, in one step (`O_APPEND`); returns the number of bytes
    /// written and the offset behind them.
    ///
    /// # Errors
    ///
    /// As [`File::write_at`].
    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        self.inner().ok_or(Errno::Badf)?.append(buf)
    }

    /// Cuts the file off at `len` bytes, or fills it up to there with zeros (`ftruncate`).
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] if not opened for writing, as in POSIX; [`Errno::Nospc`] and
    /// [`Errno::Fbig`] beyond a [quota](crate::pipeline::Quota).
    fn set_len(&self, len: u64) -> Result<()> {
        self.inner().ok_or(Errno::Inval)?.set_len(len)
    }

    /// Makes the file at least `offset + len` bytes long (`posix_fallocate`); never shorter.
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] for a length of 0, [`Errno::Badf`] if not opened for writing,
    /// [`Errno::Fbig`] if the end cannot be expressed, and as [`File::set_len`].
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        if let Some(inner) = self.inner() {
            return inner.allocate(offset, len);
        }
        if len == 0 {
            return Err(Errno::Inval);
        }
        // An empty write shows whether the handle may write.
        self.write_at(&[], offset)?;
        let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
        if self.stat()?.size < end { self.set_len(end) } else { Ok(()) }
    }

    /// Returns the range of the next bytes at or after `offset` that may be anything but zeros; `None`
    /// if there are none. A copy may skip the bytes between (`SEEK_DATA`). A tree without holes
    /// returns all of the file.
    ///
    /// # Errors
    ///
    /// Those of reading.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        if let Some(inner) = self.inner() {
            return inner.next_data(offset);
        }
        let size = self.stat()?.size;
        Ok((offset < size).then_some(offset..size))
    }

    /// Brings content, and with `data_only == false` also metadata, to stable storage
    /// (`fdatasync`, `fsync`). In memory there is nothing to do.
    ///
    /// # Errors
    ///
    /// [`Errno::Io`], and other errors of the system.
    fn sync(&self, data_only: bool) -> Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.sync(data_only))
    }

    /// Sets the times (`futimens`).
    ///
    /// # Errors
    ///
    /// Those of POSIX's `futimens`; [`Errno::Rofs`] where nothing may change.
    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.inner().ok_or(Errno::Nosys)?.set_times(times)
    }

    /// Sets the permission bits, `0o7777` at most (`fchmod`).
    ///
    /// # Errors
    ///
    /// Those of POSIX's `fchmod`; [`Errno::Rofs`] where nothing may change.
    fn set_mode(&self, mode: u32) -> Result<()> {
        self.inner().ok_or(Errno::Nosys)?.set_mode(mode)
    }

    /// Returns all entries but `.` and `..`, ordered by the raw bytes of their names (`readdir`).
    ///
    /// # Errors
    ///
    /// [`Errno::Notdir`] for anything but a directory, [`Errno::Badf`] if not opened for reading.
    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        self.inner().ok_or(Errno::Notdir)?.read_dir()
    }
}
