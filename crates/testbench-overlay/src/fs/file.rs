//! Open files, as in `std::fs`.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::lock::{self, TryLockError};
use super::options::OpenOptions;
use super::route::Place;
use super::tree_file::TreeFile;
use super::{FileTimes, Metadata, Permissions};
use crate::{Errno, OpenHow};

/// An open file, with a position. Mirrors [`std::fs::File`].
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let _installed = install(Overlay::new(dir.path())?);
/// let mut file = fs::File::create_new(dir.path().join("log"))?;
/// file.write_all(b"one two")?;
/// fs::remove_file(dir.path().join("log"))?;
///
/// // Without a name, it lives on as long as it is open.
/// let mut text = String::new();
/// file.rewind()?;
/// file.read_to_string(&mut text)?;
/// assert_eq!(text, "one two");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct File {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Real(std::fs::File),
    Tree(TreeFile),
}

impl File {
    /// Opens a file for reading.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::io::Read as _;
    ///
    /// fs::write(at("a"), "text")?;
    /// let mut text = String::new();
    /// fs::File::open(at("a"))?.read_to_string(&mut text)?;
    /// assert_eq!(text, "text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`], and those of the [module](super).
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing, created if missing, else cut to nothing.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::io::Write as _;
    ///
    /// let mut file = fs::File::create(at("a"))?;
    /// file.write_all(b"text")?;
    /// assert_eq!(fs::read_to_string(at("a"))?, "text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`File::open`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file for reading and writing, which must not exist.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// fs::File::create_new(at("a"))?;
    /// let error = fs::File::create_new(at("a")).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`], and as [`File::open`].
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// What [`OpenOptions::new`] gives, for those who have imported nothing but [`File`].
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use testbench_overlay::fs::File;
    ///
    /// File::options().append(true).create(true).open(at("log"))?;
    /// assert!(fs::exists(at("log"))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// The file of the operating system, if it is one and not one of an overlay.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// fs::write(at("a"), "")?;
    /// assert!(fs::File::open(at("a"))?.into_real().is_err(), "it is in memory");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// What is known about the file, also when its name is gone.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::os::unix::fs::MetadataExt as _;
    ///
    /// let file = fs::File::create(at("a"))?;
    /// file.set_len(3)?;
    /// fs::remove_file(at("a"))?;
    /// assert_eq!((file.metadata()?.len(), file.metadata()?.nlink()), (3, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn metadata(&self) -> io::Result<Metadata> {
        match &self.inner {
            Inner::Real(file) => file.metadata().map(Metadata::from),
            Inner::Tree(tree) => tree.stat().map(Metadata::new),
        }
    }

    /// Cuts the file off at `len` bytes, or fills it up to there with zeros (`ftruncate`). The
    /// position stays.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let file = fs::File::create(at("a"))?;
    /// file.set_len(3)?;
    /// assert_eq!(fs::read(at("a"))?, [0, 0, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if not opened for writing.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.set_len(len),
            // std converts the length to a signed offset before it asks anyone.
            Inner::Tree(_) if i64::try_from(len).is_err() => Err(Errno::Inval.into()),
            Inner::Tree(tree) => tree.set_len(len),
        }
    }

    /// Brings content and metadata to stable storage (`fsync`). In an overlay there is nothing to
    /// do, except that a [fault](crate::pipeline::Fault) can make it fail.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::io::Write as _;
    ///
    /// let mut file = fs::File::create(at("a"))?;
    /// file.write_all(b"text")?;
    /// file.sync_all()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn sync_all(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.sync_all(),
            Inner::Tree(tree) => tree.sync(false),
        }
    }

    /// Brings content to stable storage (`fdatasync`).
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let faults = Fault::error(Errno::Io).on(Operation::Sync).nth(1);
    /// let _installed = install(Overlay::builder(dir.path()).faults(faults).build()?);
    /// let file = fs::File::create(dir.path().join("journal"))?;
    /// assert!(file.sync_data().is_err());
    /// assert!(file.sync_data().is_ok(), "the disk has recovered");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn sync_data(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.sync_data(),
            Inner::Tree(tree) => tree.sync(true),
        }
    }

    /// Another handle to the same open file; the two share a position.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::io::Write as _;
    ///
    /// let mut file = fs::File::create(at("a"))?;
    /// let mut same = file.try_clone()?;
    /// file.write_all(b"one ")?;
    /// same.write_all(b"position")?;
    /// assert_eq!(fs::read_to_string(at("a"))?, "one position");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system for a real file; none for one in a tree.
    pub fn try_clone(&self) -> io::Result<File> {
        let inner = match &self.inner {
            Inner::Real(file) => Inner::Real(file.try_clone()?),
            Inner::Tree(tree) => Inner::Tree(tree.clone()),
        };
        Ok(File { inner })
    }

    /// Waits until nobody else has a lock on the file, and takes one that excludes all others.
    ///
    /// Locks are advisory and belong to the open file: clones share theirs, and it goes with the
    /// last of them. In an overlay they count within that overlay, and the wait is one on the clock
    /// that is installed on this thread, so that a wait without end is found out on a mock clock.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let (ours, other) = (fs::File::create(at("a"))?, fs::File::open(at("a"))?);
    /// ours.lock()?;
    /// assert!(other.try_lock_shared().is_err());
    /// drop(ours); // and with it the lock
    /// other.lock()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system; [`io::ErrorKind::Deadlock`] where the clock finds that nobody can ever
    /// unlock; [`io::ErrorKind::Unsupported`] for a file in a directory that is passed through.
    pub fn lock(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.lock(),
            Inner::Tree(tree) => tree.lock(lock::Kind::Exclusive),
        }
    }

    /// As [`File::lock`], but others may share the lock in the same way (`LOCK_SH`).
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let (one, other) = (fs::File::create(at("a"))?, fs::File::open(at("a"))?);
    /// one.lock_shared()?;
    /// other.lock_shared()?; // does not wait
    /// assert!(one.try_lock().is_err(), "not alone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`File::lock`].
    pub fn lock_shared(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.lock_shared(),
            Inner::Tree(tree) => tree.lock(lock::Kind::Shared),
        }
    }

    /// As [`File::lock`] without waiting.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let (one, other) = (fs::File::create(at("a"))?, fs::File::open(at("a"))?);
    /// one.lock()?;
    /// assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
    /// one.unlock()?;
    /// assert!(other.try_lock().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if somebody else has a lock, and as [`File::lock`].
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        match &self.inner {
            Inner::Real(file) => file.try_lock(),
            Inner::Tree(tree) => tree.try_lock(lock::Kind::Exclusive),
        }
    }

    /// As [`File::lock_shared`] without waiting.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let (writer, reader) = (fs::File::create(at("a"))?, fs::File::open(at("a"))?);
    /// writer.lock()?;
    /// assert!(matches!(reader.try_lock_shared(), Err(fs::TryLockError::WouldBlock)));
    /// writer.lock_shared()?; // comes down to a shared one
    /// assert!(reader.try_lock_shared().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`File::try_lock`].
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        match &self.inner {
            Inner::Real(file) => file.try_lock_shared(),
            Inner::Tree(tree) => tree.try_lock(lock::Kind::Shared),
        }
    }

    /// Gives back the lock, if this file has one.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let (one, other) = (fs::File::create(at("a"))?, fs::File::open(at("a"))?);
    /// one.lock()?;
    /// one.unlock()?;
    /// assert!(other.try_lock().is_ok());
    /// assert!(one.unlock().is_ok(), "with no lock there is nothing to do");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`File::lock`].
    pub fn unlock(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.unlock(),
            Inner::Tree(tree) => tree.unlock(),
        }
    }

    /// Sets the permission bits (`fchmod`).
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let file = fs::File::create(at("key"))?;
    /// file.set_permissions(fs::Permissions::from_mode(0o400))?;
    /// assert!(fs::metadata(at("key"))?.permissions().readonly());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn set_permissions(&self, permissions: impl Into<Permissions>) -> io::Result<()> {
        let permissions = permissions.into();
        match &self.inner {
            Inner::Real(file) => file.set_permissions(permissions.into()),
            Inner::Tree(tree) => tree.set_mode(permissions.mode()),
        }
    }

    /// Sets the times (`futimens`).
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::time::{Duration, SystemTime};
    ///
    /// let file = fs::File::create(at("a"))?;
    /// let read = SystemTime::UNIX_EPOCH + Duration::from_nanos(1);
    /// file.set_times(fs::FileTimes::new().set_accessed(read))?;
    /// assert_eq!(file.metadata()?.accessed()?, read);
    /// assert_ne!(file.metadata()?.modified()?, read, "what is not set stays");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.set_times(times.to_std()),
            Inner::Tree(tree) => tree.set_times(times.to_tree()),
        }
    }

    /// Sets the time of last change of the content.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::time::SystemTime;
    ///
    /// let file = fs::File::create(at("a"))?;
    /// file.set_modified(SystemTime::UNIX_EPOCH)?;
    /// assert_eq!(file.metadata()?.modified()?, SystemTime::UNIX_EPOCH);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        Ok(File { inner: Inner::Tree(TreeFile::open(place, how, append)?) })
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
        match &self.inner {
            Inner::Real(file) => (&mut &*file).write(buf),
            Inner::Tree(tree) => tree.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &self.inner {
            Inner::Real(file) => (&mut &*file).seek(to),
            Inner::Tree(tree) => tree.seek(to),
        }
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Real(file) => file.read(buf),
            Inner::Tree(tree) => tree.read_mut(buf),
        }
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
impl std::os::unix::fs::FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => file.read_at(buf, offset),
            Inner::Tree(tree) => tree.read_at(buf, offset),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => file.write_at(buf, offset),
            Inner::Tree(tree) => tree.write_at(buf, offset),
        }
    }
}
