//! What is open.

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
    /// The metadata of the open file or directory, as it is now (`fstat`).
    ///
    /// ```
    /// use testbench_overlay::{Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().file("a", "text").build()?;
    /// let (top, a) = (tree.root()?, GuestPath::new("a"));
    /// let file = tree.open_at(&*top, a, &OpenHow::READ)?;
    /// assert_eq!((file.stat()?.size, file.stat()?.nlink), (4, 1));
    /// tree.remove_file_at(&*top, a)?;
    /// assert_eq!((file.stat()?.size, file.stat()?.nlink), (4, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Stale`] where what is open is no longer there, such as after a
    /// [rollback](crate::Overlay::rollback).
    fn stat(&self) -> Result<Stat>;

    /// Reads from `offset` into `buf` and answers how many bytes were read; 0 at the end of the
    /// file (`pread`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().file("a", "text").build()?;
    /// let top = tree.root()?;
    /// let file = tree.open_at(&*top, GuestPath::new("a"), &OpenHow::READ)?;
    /// let mut buf = [0; 3];
    /// assert_eq!((file.read_at(&mut buf, 1)?, &buf), (3, b"ext"));
    /// assert_eq!(file.read_at(&mut buf, 4)?, 0);
    /// assert_eq!(top.read_at(&mut buf, 0), Err(Errno::Isdir));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Isdir`] for a directory, [`Errno::Badf`] if not opened for reading,
    /// [`Errno::Stale`] if a file of the lower tree is no longer what it was.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let _ = (buf, offset);
        Err(Errno::Isdir)
    }

    /// Writes at `offset`, filling a gap before it with zeros, and answers how many bytes were
    /// written (`pwrite`). It may be fewer than all, as where the disk is nearly full.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().file("a", "text").build()?;
    /// let (top, a) = (tree.root()?, GuestPath::new("a"));
    /// let file = tree.open_at(&*top, a, &OpenHow { write: true, ..OpenHow::READ })?;
    /// assert_eq!(file.write_at(b"!", 6)?, 1);
    /// let mut buf = [1; 8];
    /// assert_eq!(file.read_at(&mut buf, 0)?, 7);
    /// assert_eq!(&buf[..7], b"text\0\0!");
    ///
    /// let reader = tree.open_at(&*top, a, &OpenHow::READ)?;
    /// assert_eq!(reader.write_at(b"!", 0), Err(Errno::Badf));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Badf`] if not opened for writing, which a directory never is; [`Errno::Nospc`] and
    /// [`Errno::Fbig`] beyond a [quota](crate::pipeline::Quota).
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        let _ = (buf, offset);
        Err(Errno::Badf)
    }

    /// Writes at the end, wherever that is, in one step (`O_APPEND`); answers the number of bytes
    /// written and the offset behind them.
    ///
    /// ```
    /// use testbench_overlay::{Create, Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().build()?;
    /// let how = OpenHow { write: true, create: Create::IfMissing, ..OpenHow::READ };
    /// let log = tree.open_at(&*tree.root()?, GuestPath::new("log"), &how)?;
    /// assert_eq!(log.append(b"one\n")?, (4, 4));
    /// assert_eq!(log.append(b"three\n")?, (6, 10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`File::write_at`].
    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        let _ = buf;
        Err(Errno::Badf)
    }

    /// Cuts the file off at `len` bytes, or fills it up to there with zeros (`ftruncate`).
    ///
    /// ```
    /// use testbench_overlay::{Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().file("a", "text").build()?;
    /// let how = OpenHow { write: true, ..OpenHow::READ };
    /// let file = tree.open_at(&*tree.root()?, GuestPath::new("a"), &how)?;
    /// file.set_len(2)?;
    /// file.set_len(4)?;
    /// let mut buf = [1; 4];
    /// file.read_at(&mut buf, 0)?;
    /// assert_eq!(&buf, b"te\0\0", "what was cut off does not come back");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] if not opened for writing, as in POSIX; [`Errno::Nospc`] and
    /// [`Errno::Fbig`] beyond a [quota](crate::pipeline::Quota).
    fn set_len(&self, len: u64) -> Result<()> {
        let _ = len;
        Err(Errno::Inval)
    }

    /// Makes the file at least `offset + len` bytes long (`posix_fallocate`); never shorter.
    ///
    /// ```
    /// use testbench_overlay::{Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().file("a", "text").build()?;
    /// let how = OpenHow { write: true, ..OpenHow::READ };
    /// let file = tree.open_at(&*tree.root()?, GuestPath::new("a"), &how)?;
    /// file.allocate(0, 2)?;
    /// assert_eq!(file.stat()?.size, 4);
    /// file.allocate(4, 6)?;
    /// assert_eq!(file.stat()?.size, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] for a length of 0, [`Errno::Badf`] if not opened for writing,
    /// [`Errno::Fbig`] if the end cannot be expressed, and as [`File::set_len`].
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Err(Errno::Inval);
        }
        // Of nothing, to know whether it may be written.
        self.write_at(&[], offset)?;
        let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
        if self.stat()?.size < end { self.set_len(end) } else { Ok(()) }
    }

    /// The range of the next bytes at or behind `offset` that may be anything but zeros; `None` if
    /// there are none. What lies between can be passed over when a file is copied (`SEEK_DATA`).
    /// All of the file, for a tree that knows no holes.
    ///
    /// ```
    /// use testbench_overlay::{Create, Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().build()?;
    /// let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    /// let sparse = tree.open_at(&*tree.root()?, GuestPath::new("disk.img"), &how)?;
    /// sparse.set_len(1 << 30)?;
    /// assert_eq!(sparse.next_data(0)?, None);
    /// sparse.write_at(b"x", 1 << 20)?;
    /// let data = sparse.next_data(0)?.expect("one byte");
    /// assert!(data.contains(&(1 << 20)) && data.end - data.start <= 64 << 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        let size = self.stat()?.size;
        Ok((offset < size).then_some(offset..size))
    }

    /// Brings content, and with `data_only == false` also metadata, to stable storage
    /// (`fdatasync`, `fsync`). In memory there is nothing to do.
    ///
    /// ```
    /// use testbench_overlay::{Create, Fs, GuestPath, HostDir, OpenHow};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let tree = HostDir::open(dir.path())?;
    /// let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    /// let file = tree.open_at(&*tree.root()?, GuestPath::new("a"), &how)?;
    /// file.append(b"text")?;
    /// file.sync(false)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Io`], and what else the system answers.
    fn sync(&self, data_only: bool) -> Result<()> {
        let _ = data_only;
        Ok(())
    }

    /// Sets the times (`futimens`).
    ///
    /// ```
    /// use testbench_clock::WallTime;
    /// use testbench_overlay::{Fs, GuestPath, MemoryDir, OpenHow, SetTime, SetTimes};
    ///
    /// let tree = MemoryDir::builder().file("a", "").build()?;
    /// let file = tree.open_at(&*tree.root()?, GuestPath::new("a"), &OpenHow::READ)?;
    /// let then = Some(SetTime::At(WallTime::from_unix_nanos(7)));
    /// file.set_times(SetTimes { atime: then, mtime: then })?;
    /// assert_eq!(file.stat()?.mtime.unix_nanos(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `futimens`; [`Errno::Rofs`] where nothing may change.
    fn set_times(&self, times: SetTimes) -> Result<()> {
        let _ = times;
        Err(Errno::Nosys)
    }

    /// Sets the permission bits, `0o7777` at most (`fchmod`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, OpenHow, ReadOnly};
    ///
    /// let tree = MemoryDir::builder().file("a", "").build()?;
    /// let file = tree.open_at(&*tree.root()?, GuestPath::new("a"), &OpenHow::READ)?;
    /// file.set_mode(0o600)?;
    /// assert_eq!(file.stat()?.mode, 0o600);
    ///
    /// let closed = ReadOnly::new(tree);
    /// assert_eq!(closed.root()?.set_mode(0o700), Err(Errno::Rofs));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `fchmod`; [`Errno::Rofs`] where nothing may change.
    fn set_mode(&self, mode: u32) -> Result<()> {
        let _ = mode;
        Err(Errno::Nosys)
    }

    /// All entries but `.` and `..`, ordered by the raw bytes of their names (`readdir`).
    ///
    /// ```
    /// use testbench_overlay::{Fs, FileKind, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("b", "").dir("a").symlink("B", "b").build()?;
    /// let entries = tree.root()?.read_dir()?;
    /// let listed: Vec<(&[u8], FileKind)> = entries.iter().map(|e| (&*e.name, e.kind)).collect();
    /// assert_eq!(listed, [
    ///     (&b"B"[..], FileKind::Symlink),
    ///     (b"a", FileKind::Dir),
    ///     (b"b", FileKind::File),
    /// ]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Notdir`] if this is none, [`Errno::Badf`] if not opened for reading.
    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        Err(Errno::Notdir)
    }
}
