//! Open files, as in `std::fs`.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::meta::{FileTimes, Metadata, Permissions};
use super::route::{Place, Route, route};
use crate::{Create, Errno, Follow, OpenHow};

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

/// A handle of a tree together with what POSIX calls the open file description.
#[derive(Debug)]
struct TreeFile {
    file: Arc<dyn crate::File>,
    /// Shared by clones.
    position: Arc<Mutex<u64>>,
    append: bool,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`], and those of the [module](super).
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing, created if missing, else cut to nothing.
    ///
    /// # Errors
    ///
    /// As [`File::open`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file for reading and writing, which must not exist.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`], and as [`File::open`].
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// What `OpenOptions::new` gives.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// The file of the operating system, if it is one and not one of an overlay.
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

    /// What is known about the file.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn metadata(&self) -> io::Result<Metadata> {
        match &self.inner {
            Inner::Real(file) => file.metadata().map(Metadata::from),
            Inner::Tree(tree) => Ok(Metadata::new(tree.file.stat()?)),
        }
    }

    /// Cuts off, or fills up with zeros. The position stays.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if not opened for writing.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.set_len(len),
            // std converts the length to a signed offset before it asks anyone.
            Inner::Tree(_) if i64::try_from(len).is_err() => Err(Errno::Inval.into()),
            Inner::Tree(tree) => Ok(tree.file.set_len(len)?),
        }
    }

    /// Brings content and metadata to stable storage.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn sync_all(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.sync_all(),
            Inner::Tree(tree) => Ok(tree.file.sync(false)?),
        }
    }

    /// Brings content to stable storage.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn sync_data(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.sync_data(),
            Inner::Tree(tree) => Ok(tree.file.sync(true)?),
        }
    }

    /// Another handle to the same open file; the two share a position.
    ///
    /// # Errors
    ///
    /// Those of the system for a real file; none for one in a tree.
    pub fn try_clone(&self) -> io::Result<File> {
        let inner = match &self.inner {
            Inner::Real(file) => Inner::Real(file.try_clone()?),
            Inner::Tree(TreeFile { file, position, append }) => Inner::Tree(TreeFile {
                file: file.clone(),
                position: position.clone(),
                append: *append,
            }),
        };
        Ok(File { inner })
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn set_permissions(&self, permissions: impl Into<Permissions>) -> io::Result<()> {
        let permissions = permissions.into();
        match &self.inner {
            Inner::Real(file) => file.set_permissions(permissions.into()),
            Inner::Tree(tree) => Ok(tree.file.set_mode(permissions.mode())?),
        }
    }

    /// Sets the times.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.set_times(times.to_std()),
            Inner::Tree(tree) => Ok(tree.file.set_times(times.to_tree())?),
        }
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

impl TreeFile {
    fn position(&self) -> MutexGuard<'_, u64> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut position = self.position();
        let read = self.file.read_at(buf, *position)?;
        *position += read as u64;
        Ok(read)
    }

    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let mut position = self.position();
        let (written, end) = if self.append {
            self.file.append(buf)?
        } else {
            let written = self.file.write_at(buf, *position)?;
            (written, *position + written as u64)
        };
        *position = end;
        Ok(written)
    }

    fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        let mut position = self.position();
        let target = match to {
            SeekFrom::Start(offset) => i64::try_from(offset).ok(),
            SeekFrom::Current(by) => i64::try_from(*position).ok().and_then(|p| p.checked_add(by)),
            SeekFrom::End(by) => {
                i64::try_from(self.file.stat()?.size).ok().and_then(|size| size.checked_add(by))
            }
        };
        *position = target.and_then(|t| u64::try_from(t).ok()).ok_or(Errno::Inval)?;
        Ok(*position)
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
impl std::os::unix::fs::FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => file.read_at(buf, offset),
            Inner::Tree(tree) => Ok(tree.file.read_at(buf, offset)?),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => file.write_at(buf, offset),
            // `pwrite` on a file opened with `O_APPEND` appends on Linux, whatever the offset.
            Inner::Tree(tree) if tree.append => Ok(tree.file.append(buf)?.0),
            Inner::Tree(tree) => Ok(tree.file.write_at(buf, offset)?),
        }
    }
}

/// How a file is to be opened. Mirrors [`std::fs::OpenOptions`].
#[derive(Clone, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    /// `None` leaves it to the umask on the real disk, and to `0644` in a tree.
    mode: Option<u32>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions::new()
    }
}

impl OpenOptions {
    /// Nothing allowed yet.
    pub fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: None,
        }
    }

    /// The file may be read.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// The file may be written.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Every write goes to the end.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// An existing file is cut to nothing; wants `write`.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// A missing file is created; wants `write` or `append`.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// The file must be missing and is created; `create` and `truncate` are then ignored.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// The permission bits of a file that is created, as with the extension for Unix.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Some(mode);
        self
    }

    /// Opens.
    ///
    /// # Errors
    ///
    /// As [`std::fs::OpenOptions::open`], and those of the [module](super).
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let inner = match route(path)? {
            Route::Real => Inner::Real(self.to_std().open(path)?),
            Route::Tree(place) => Inner::Tree(self.open_place(&place)?),
        };
        Ok(File { inner })
    }

    fn open_place(&self, place: &Place) -> io::Result<TreeFile> {
        let how = self.how()?;
        let file = place.result(place.fs.open_at(&*place.top, place.guest(), &how))?;
        Ok(TreeFile { file, position: Arc::default(), append: self.append })
    }

    /// The rules by which std refuses combinations before it asks the system.
    fn how(&self) -> io::Result<OpenHow> {
        let writes = self.write || self.append;
        let creates = self.create || self.create_new;
        let neither = !self.read && !writes;
        let changes_unwritten = !writes && (self.truncate || creates);
        let cuts_what_it_appends_to = self.append && self.truncate && !self.create_new;
        if neither || changes_unwritten || cuts_what_it_appends_to {
            return Err(Errno::Inval.into());
        }
        let create = match (self.create, self.create_new) {
            (_, true) => Create::New,
            (true, false) => Create::IfMissing,
            (false, false) => Create::Never,
        };
        // What the usual umask, 022, leaves; that of the process would make runs differ.
        let mode = self.mode.unwrap_or(0o666) & !0o022;
        Ok(OpenHow {
            read: self.read,
            write: writes,
            truncate: self.truncate && !self.create_new,
            create,
            directory: false,
            follow: Follow::Yes,
            mode,
        })
    }

    fn to_std(&self) -> std::fs::OpenOptions {
        use std::os::unix::fs::OpenOptionsExt as _;

        let mut options = std::fs::OpenOptions::new();
        options
            .read(self.read)
            .write(self.write)
            .append(self.append)
            .truncate(self.truncate)
            .create(self.create)
            .create_new(self.create_new);
        if let Some(mode) = self.mode {
            options.mode(mode);
        }
        options
    }
}
