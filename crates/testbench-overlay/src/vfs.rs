//! The seam: what every crate above asks of a tree of files.
//!
//! Synchronous, object-safe, and addressed like POSIX's `*at` calls: a directory handle and a path
//! relative to it. A path never leaves the directory it starts from: neither `..`, nor an absolute
//! path, nor a symlink leads out of it ([`Errno::NotCapable`](crate::Errno)).
//!
//! A handle ([`File`]) has no position; whoever offers `read` and `seek` keeps one.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use testbench_clock::WallTime;

use crate::{Errno, GuestPath};

/// The answer of every operation.
pub type Result<T, E = Errno> = std::result::Result<T, E>;

/// A tree of files.
///
/// `dir` must come from the same tree; a handle of another is [`Errno::Xdev`]. Methods that a tree
/// does not implement answer [`Errno::Nosys`]; a read-only one answers [`Errno::Rofs`].
///
/// The final component is followed only where a [`Follow`] says so. A trailing slash asks for a
/// directory and follows a symlink to one, as in POSIX.
///
/// ```
/// use testbench_overlay::{Create, Follow, Fs, GuestPath, MemoryDir, OpenHow};
///
/// let tree = MemoryDir::builder().dir("d").build()?;
/// let fs: &dyn Fs = &tree;
/// let top = fs.root()?;
/// let new = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
/// let file = fs.open_at(&*top, GuestPath::new("d/a"), &new)?;
/// assert_eq!(file.write_at(b"text", 0)?, 4);
/// fs.rename_at(&*top, GuestPath::new("d/a"), &*top, GuestPath::new("b"))?;
/// assert_eq!(fs.stat_at(&*top, GuestPath::new("b"), Follow::Yes)?.size, 4);
/// assert_eq!(file.stat()?.nlink, 1, "a handle outlives the name");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Fs: Any + fmt::Debug + Send + Sync {
    /// The top directory.
    fn root(&self) -> Result<Arc<dyn File>>;

    /// Opens, or creates, what is at `path`.
    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>>;

    /// What is at `path`.
    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat>;

    /// The target of the symlink at `path`, as it is stored.
    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>>;

    /// Creates an empty directory with the permission bits `mode`.
    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        let _ = (dir, path, mode);
        Err(Errno::Nosys)
    }

    /// Creates a symlink at `path` that holds `target`, whatever that says.
    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let _ = (target, dir, path);
        Err(Errno::Nosys)
    }

    /// Gives the file at `from` a second name.
    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let _ = (from_dir, from, follow, to_dir, to);
        Err(Errno::Nosys)
    }

    /// Moves `from` to `to`, replacing a file or an empty directory of the same kind.
    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let _ = (from_dir, from, to_dir, to);
        Err(Errno::Nosys)
    }

    /// Removes the name of something that is not a directory.
    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let _ = (dir, path);
        Err(Errno::Nosys)
    }

    /// Removes an empty directory.
    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let _ = (dir, path);
        Err(Errno::Nosys)
    }

    /// Sets the times of what is at `path`.
    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        let _ = (dir, path, follow, times);
        Err(Errno::Nosys)
    }

    /// Sets the permission bits of what is at `path`.
    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<()> {
        let _ = (dir, path, follow, mode);
        Err(Errno::Nosys)
    }
}

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
    /// What this is now.
    fn stat(&self) -> Result<Stat>;

    /// Reads from `offset` and answers how many bytes were read; 0 at the end of the file.
    /// [`Errno::Isdir`] for a directory, [`Errno::Badf`] if not opened for reading.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let _ = (buf, offset);
        Err(Errno::Isdir)
    }

    /// Writes at `offset`, filling a gap before it with zeros, and answers how many bytes were
    /// written.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        let _ = (buf, offset);
        Err(Errno::Isdir)
    }

    /// Writes at the end, wherever that is, in one step; answers the number of bytes written and
    /// the offset behind them.
    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        let _ = buf;
        Err(Errno::Isdir)
    }

    /// Cuts off or fills up with zeros.
    fn set_len(&self, len: u64) -> Result<()> {
        let _ = len;
        Err(Errno::Isdir)
    }

    /// Makes the file at least `offset + len` bytes long (`posix_fallocate`).
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
        if self.stat()?.size < end { self.set_len(end) } else { Ok(()) }
    }

    /// The next bytes at or behind `offset` that may be anything but zeros; `None` if there are
    /// none. What lies between can be passed over when a file is copied (`SEEK_DATA`).
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        let size = self.stat()?.size;
        Ok((offset < size).then_some(offset..size))
    }

    /// Brings content, and with `data_only == false` also metadata, to stable storage.
    fn sync(&self, data_only: bool) -> Result<()> {
        let _ = data_only;
        Ok(())
    }

    /// Sets the times.
    fn set_times(&self, times: SetTimes) -> Result<()> {
        let _ = times;
        Err(Errno::Nosys)
    }

    /// Sets the permission bits.
    fn set_mode(&self, mode: u32) -> Result<()> {
        let _ = mode;
        Err(Errno::Nosys)
    }

    /// All entries but `.` and `..`, ordered by the raw bytes of their names.
    /// [`Errno::Notdir`] if this is none.
    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        Err(Errno::Notdir)
    }
}

/// Whether a symlink at the end of a path stands for itself or for what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// For itself (`O_NOFOLLOW`, `AT_SYMLINK_NOFOLLOW`).
    No,
    /// For what it points to.
    Yes,
}

/// How [`Fs::open_at`] opens.
///
/// ```
/// use testbench_overlay::{Create, OpenHow};
///
/// let append_or_create = OpenHow { write: true, create: Create::IfMissing, ..OpenHow::READ };
/// assert!(append_or_create.read && !append_or_create.truncate);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHow {
    /// The content may be read.
    pub read: bool,
    /// The content may be changed; for a directory this is [`Errno::Isdir`].
    pub write: bool,
    /// Cut to length 0; wants `write`.
    pub truncate: bool,
    /// What to do about a file that is missing or present.
    pub create: Create,
    /// Anything but a directory is [`Errno::Notdir`].
    pub directory: bool,
    /// With [`Follow::No`] a symlink at the end is [`Errno::Loop`].
    pub follow: Follow,
    /// The permission bits of a file that is created. No umask applies.
    pub mode: u32,
}

impl OpenHow {
    /// An existing file or directory, for reading, symlinks followed.
    pub const READ: OpenHow = OpenHow {
        read: true,
        write: false,
        truncate: false,
        create: Create::Never,
        directory: false,
        follow: Follow::Yes,
        mode: 0o644,
    };
}

/// What [`Fs::open_at`] does about a file that is missing or present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// A missing file is [`Errno::Noent`].
    Never,
    /// A missing file is created (`O_CREAT`).
    IfMissing,
    /// A present file, be it a dangling symlink, is [`Errno::Exist`] (`O_CREAT | O_EXCL`).
    New,
}

/// The metadata of a file, directory or symlink.
///
/// ```
/// use testbench_overlay::{FileKind, Follow, Fs, GuestPath, MemoryDir};
///
/// let tree = MemoryDir::builder().executable("tool", "x").build()?;
/// let stat = tree.stat_at(&*tree.root()?, GuestPath::new("tool"), Follow::No)?;
/// assert_eq!((stat.kind, stat.mode, stat.size, stat.nlink), (FileKind::File, 0o755, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Number of the device; one for a whole tree.
    pub dev: u64,
    /// Number of the file on its device.
    pub ino: u64,
    /// File, directory or symlink.
    pub kind: FileKind,
    /// Permission bits (`0o7777`).
    pub mode: u32,
    /// Number of names.
    pub nlink: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last access.
    pub atime: WallTime,
    /// Last change of the content.
    pub mtime: WallTime,
    /// Last change of content or metadata.
    pub ctime: WallTime,
}

/// What a name stands for. Other kinds (devices, sockets, FIFOs) are listed but never opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A device, socket or FIFO.
    Special,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// A single component, in raw bytes.
    pub name: Box<[u8]>,
    /// As in [`Stat::ino`].
    pub ino: u64,
    /// What the name stands for; a symlink is not followed.
    pub kind: FileKind,
}

/// New times; `None` leaves one as it is.
///
/// ```
/// use testbench_clock::WallTime;
/// use testbench_overlay::{Follow, Fs, GuestPath, MemoryDir, SetTime, SetTimes};
///
/// let tree = MemoryDir::builder().file("a", "").build()?;
/// let (top, path) = (tree.root()?, GuestPath::new("a"));
/// let then = WallTime::from_unix_nanos(1);
/// let times = SetTimes { mtime: Some(SetTime::At(then)), ..SetTimes::default() };
/// tree.set_times_at(&*top, path, Follow::Yes, times)?;
/// assert_eq!(tree.stat_at(&*top, path, Follow::Yes)?.mtime, then);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetTimes {
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of the content.
    pub mtime: Option<SetTime>,
}

/// One new time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// What the tree's clock shows.
    Now,
    /// This instant.
    At(WallTime),
}
