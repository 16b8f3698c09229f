//! An open file, which one descriptor or several refer to (POSIX: an open file description).

use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::Listener;
use testbench_overlay::{DirEntry, Errno, File, FileKind, Fs};

use super::fail::Result;
use super::pipe::Ready;
use super::process::Process;
use super::rights::{FdFlags, Rights};
use super::stdio::{Stream, StreamCall};

/// A file with a position, for a guest's standard streams. Clones share the position, as
/// duplicated descriptors do.
#[derive(Clone)]
pub struct OpenFile {
    open: Arc<Open>,
}

impl OpenFile {
    /// `file` from its beginning.
    pub fn new(file: Arc<dyn File>) -> Self {
        OpenFile::with(file, FdFlags::default())
    }

    /// `file`, with every write going to its end (`>>` of a shell).
    pub fn appending(file: Arc<dyn File>) -> Self {
        OpenFile::with(file, FdFlags::APPEND)
    }

    /// Where the next read or write begins, in bytes from the beginning.
    pub fn position(&self) -> u64 {
        self.open.position().unwrap_or(0)
    }

    fn with(file: Arc<dyn File>, flags: FdFlags) -> Self {
        // The handle itself refuses operations that it was not opened for.
        OpenFile { open: Arc::new(Open::file(file, true, true, flags)) }
    }

    pub(super) fn open(&self) -> Arc<Open> {
        Arc::clone(&self.open)
    }
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("position", &self.position()).finish_non_exhaustive()
    }
}

/// An open file, directory or stream.
pub(crate) struct Open {
    pub(crate) kind: Kind,
    reads: bool,
    writes: bool,
    flags: AtomicU16,
}

pub(crate) enum Kind {
    File(Regular),
    Dir(Arc<Directory>),
    Stream(Stream),
}

/// A file of some tree, and where in it the next read or write begins.
pub(crate) struct Regular {
    pub(crate) file: Arc<dyn File>,
    position: AtomicU64,
}

/// A guest's call that may have to wait, and its descriptor, for the report of a deadlock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallOn {
    /// The call, by the guest's name for it.
    pub(crate) call: &'static str,
    pub(crate) fd: u32,
}

impl CallOn {
    /// `fd_read of descriptor 0, a pipe`.
    pub(super) fn which_is(self, kind: &'static str) -> impl fmt::Display {
        let CallOn { call, fd } = self;
        fmt::from_fn(move |f| write!(f, "{call} of descriptor {fd}, {kind}"))
    }
}

/// From where [`Open::seek`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    Set,
    Cur,
    End,
}

impl Open {
    fn new(kind: Kind, reads: bool, writes: bool, flags: FdFlags) -> Self {
        Open { kind, reads, writes, flags: AtomicU16::new(flags.bits()) }
    }

    /// A regular file, at its beginning.
    pub(crate) fn file(file: Arc<dyn File>, reads: bool, writes: bool, flags: FdFlags) -> Self {
        Open::new(Kind::File(Regular { file, position: AtomicU64::new(0) }), reads, writes, flags)
    }

    /// A directory.
    pub(crate) fn dir(fs: Arc<dyn Fs>, file: Arc<dyn File>) -> Self {
        let dir = Directory { fs, file, listing: Mutex::default() };
        Open::new(Kind::Dir(Arc::new(dir)), true, false, FdFlags::default())
    }

    /// A standard stream.
    pub(super) fn stream(stream: Stream) -> Arc<Self> {
        let is_input = stream.is_input();
        Arc::new(Open::new(Kind::Stream(stream), is_input, !is_input, FdFlags::default()))
    }

    pub(crate) fn flags(&self) -> FdFlags {
        FdFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    pub(crate) fn set_flags(&self, flags: FdFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// The operations that it allows.
    pub(crate) fn rights(&self) -> Rights {
        let mut rights = match &self.kind {
            Kind::File(_) => Rights::FILE,
            Kind::Dir(_) => return Rights::DIRECTORY,
            Kind::Stream(_) => Rights::STREAM,
        };
        rights.set(Rights::FD_READ, self.reads);
        rights.set(Rights::FD_WRITE, self.writes);
        rights
    }

    /// Fails unless it can be read like a file, as read(2) does: with [`Errno::Isdir`] for a directory.
    pub(crate) fn check_readable(&self) -> Result<(), Errno> {
        match self.kind {
            Kind::Dir(_) => Err(Errno::Isdir),
            _ if !self.reads => Err(Errno::Badf),
            _ => Ok(()),
        }
    }

    /// Fails unless it can be written like a file, as write(2) does: with [`Errno::Badf`] also for a
    /// directory, which is never open for writing.
    pub(crate) fn check_writable(&self) -> Result<(), Errno> {
        if self.writes { Ok(()) } else { Err(Errno::Badf) }
    }

    /// The file or directory itself; [`Errno::Badf`] for a stream.
    pub(crate) fn any_file(&self) -> Result<Arc<dyn File>, Errno> {
        match &self.kind {
            Kind::File(regular) => Ok(Arc::clone(&regular.file)),
            Kind::Dir(dir) => Ok(Arc::clone(&dir.file)),
            Kind::Stream(_) => Err(Errno::Badf),
        }
    }

    /// The regular file itself; [`Errno::Badf`] for a directory or a stream, as in wasmtime.
    pub(crate) fn regular(&self) -> Result<Arc<dyn File>, Errno> {
        match &self.kind {
            Kind::File(regular) => Ok(Arc::clone(&regular.file)),
            Kind::Dir(_) | Kind::Stream(_) => Err(Errno::Badf),
        }
    }

    fn seekable(&self) -> Result<&Regular, Errno> {
        match &self.kind {
            Kind::File(regular) => Ok(regular),
            Kind::Dir(_) => Err(Errno::Badf),
            Kind::Stream(_) => Err(Errno::Spipe),
        }
    }

    /// Fails unless it has a position: with [`Errno::Spipe`] for a stream.
    pub(crate) fn check_seekable(&self) -> Result<(), Errno> {
        self.seekable().map(drop)
    }

    /// Fails for a directory, which has no flags that can be set.
    pub(crate) fn check_has_flags(&self) -> Result<(), Errno> {
        if matches!(self.kind, Kind::Dir(_)) { Err(Errno::Badf) } else { Ok(()) }
    }

    /// The directory; [`Errno::Notdir`] for a file, [`Errno::Badf`] for a stream.
    pub(crate) fn directory(&self) -> Result<Arc<Directory>, Errno> {
        match &self.kind {
            Kind::Dir(dir) => Ok(Arc::clone(dir)),
            Kind::File(_) => Err(Errno::Notdir),
            Kind::Stream(_) => Err(Errno::Badf),
        }
    }

    /// Reads at the position and moves it.
    pub(crate) fn read(&self, process: &Process, by: CallOn, buf: &mut [u8]) -> Result<usize> {
        match &self.kind {
            Kind::File(Regular { file, position }) => {
                let at = position.load(Ordering::Relaxed);
                check_end(at, buf.len())?;
                let n = file.read_at(buf, at)?;
                position.store(at.saturating_add(n as u64), Ordering::Relaxed);
                Ok(n)
            }
            Kind::Dir(_) => Err(Errno::Isdir.into()),
            Kind::Stream(stream) => stream.read(&self.call(process, by), buf),
        }
    }

    /// Writes at the position, or at the end, and moves it.
    pub(crate) fn write(&self, process: &Process, by: CallOn, buf: &[u8]) -> Result<usize> {
        match &self.kind {
            Kind::File(Regular { file, position }) => {
                let (n, end) = self.put(file, buf, position.load(Ordering::Relaxed))?;
                position.store(end, Ordering::Relaxed);
                self.sync_if_asked(file)?;
                Ok(n)
            }
            Kind::Dir(_) => Err(Errno::Badf.into()),
            Kind::Stream(stream) => stream.write(&self.call(process, by), buf),
        }
    }

    /// Reads at `offset`, which leaves the position alone.
    pub(crate) fn pread(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let file = &self.seekable()?.file;
        check_end(offset, buf.len())?;
        Ok(file.read_at(buf, offset)?)
    }

    /// Writes at `offset`, which leaves the position alone; at the end in append mode, as Linux
    /// does.
    pub(crate) fn pwrite(&self, buf: &[u8], offset: u64) -> Result<usize> {
        let file = &self.seekable()?.file;
        let (n, _) = self.put(file, buf, offset)?;
        self.sync_if_asked(file)?;
        Ok(n)
    }

    /// Moves the position.
    pub(crate) fn seek(&self, offset: i64, whence: Whence) -> Result<u64, Errno> {
        let Regular { file, position } = self.seekable()?;
        let from = match whence {
            Whence::Set => 0,
            Whence::Cur => position.load(Ordering::Relaxed),
            Whence::End => file.stat()?.size,
        };
        let to = from.checked_add_signed(offset).ok_or(Errno::Inval)?;
        // Offsets are signed in POSIX; what lies beyond can be neither read nor reported.
        if i64::try_from(to).is_err() {
            return Err(Errno::Inval);
        }
        position.store(to, Ordering::Relaxed);
        Ok(to)
    }

    /// The position.
    pub(crate) fn position(&self) -> Result<u64, Errno> {
        Ok(self.seekable()?.position.load(Ordering::Relaxed))
    }

    /// How much could be read without waiting; `None` if a read would wait.
    pub(crate) fn look_to_read(&self) -> Result<Option<Ready>, Errno> {
        self.check_readable()?;
        match &self.kind {
            Kind::File(Regular { file, position }) => {
                let size = file.stat()?.size;
                let left = size.saturating_sub(position.load(Ordering::Relaxed));
                Ok(Some(Ready { bytes: left, hangup: left == 0 }))
            }
            Kind::Dir(_) => Err(Errno::Isdir),
            Kind::Stream(stream) => Ok(stream.look()),
        }
    }

    /// How much could be written without waiting; `None` if a write would wait.
    pub(crate) fn look_to_write(&self) -> Result<Option<Ready>, Errno> {
        self.check_writable()?;
        match &self.kind {
            Kind::Stream(stream) => Ok(stream.look()),
            Kind::File(_) | Kind::Dir(_) => Ok(Some(Ready { bytes: 1, hangup: false })),
        }
    }

    /// Listens for changes of the two looks' results; `None` if it never waits.
    pub(super) fn listen(&self) -> Option<Listener> {
        match &self.kind {
            Kind::Stream(stream) => stream.listen(),
            Kind::File(_) | Kind::Dir(_) => None,
        }
    }

    /// Whether waiting for it is a wait outside of the timeline.
    pub(super) fn is_outside(&self) -> bool {
        matches!(&self.kind, Kind::Stream(stream) if stream.is_outside())
    }

    fn call<'a>(&self, process: &'a Process, by: CallOn) -> StreamCall<'a> {
        StreamCall { process, by, wait: !self.flags().contains(FdFlags::NONBLOCK) }
    }

    /// Writes at `at`, or at the end in append mode. Returns how much was written, and where it ends.
    fn put(&self, file: &Arc<dyn File>, buf: &[u8], at: u64) -> Result<(usize, u64), Errno> {
        if self.flags().contains(FdFlags::APPEND) {
            return file.append(buf);
        }
        check_end(at, buf.len())?;
        let n = file.write_at(buf, at)?;
        Ok((n, at.saturating_add(n as u64)))
    }

    fn sync_if_asked(&self, file: &Arc<dyn File>) -> Result<(), Errno> {
        let flags = self.flags();
        if flags.contains(FdFlags::SYNC) {
            file.sync(false)
        } else if flags.contains(FdFlags::DSYNC) {
            file.sync(true)
        } else {
            Ok(())
        }
    }
}

/// Fails if a read or write would end beyond the largest offset; with [`Errno::Inval`] as on Linux.
fn check_end(offset: u64, len: usize) -> Result<(), Errno> {
    let end = offset.checked_add(len as u64);
    end.and_then(|end| i64::try_from(end).ok()).map(drop).ok_or(Errno::Inval)
}

/// A directory of some tree.
pub(crate) struct Directory {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) file: Arc<dyn File>,
    listing: Mutex<Option<Arc<[DirEntry]>>>,
}

impl Directory {
    /// The entries, `.` and `..` first.
    ///
    /// The list is made when it is first read and again at every rewind, and kept in between: so
    /// the place in it is a cookie that stays valid whatever happens to the directory meanwhile.
    pub(crate) fn listing(&self, rewind: bool) -> Result<Arc<[DirEntry]>, Errno> {
        if !rewind && let Some(listing) = &*self.lock() {
            return Ok(Arc::clone(listing));
        }
        let own = self.file.stat()?.ino;
        // The parent cannot be seen from here, and for the topmost directory `..` is itself.
        let dots = [&b"."[..], b".."].map(|name| DirEntry {
            name: name.into(),
            ino: own,
            kind: FileKind::Dir,
        });
        let listing: Arc<[DirEntry]> = dots.into_iter().chain(self.file.read_dir()?).collect();
        *self.lock() = Some(Arc::clone(&listing));
        Ok(listing)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<[DirEntry]>>> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
