//! What is known of a file, and how its times are set.

use testbench_clock::WallTime;

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
///
/// ```
/// use testbench_overlay::{FileKind, Fs, MemoryDir};
///
/// let tree = MemoryDir::builder().dir("d").file("f", "").symlink("l", "f").build()?;
/// let kinds: Vec<FileKind> = tree.root()?.read_dir()?.into_iter().map(|e| e.kind).collect();
/// assert_eq!(kinds, [FileKind::Dir, FileKind::File, FileKind::Symlink]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// One entry of a directory, as [`File::read_dir`](crate::File::read_dir) lists it.
///
/// ```
/// use testbench_overlay::{FileKind, Follow, Fs, GuestPath, MemoryDir};
///
/// let tree = MemoryDir::builder().file("a", "text").build()?;
/// let top = tree.root()?;
/// let [entry] = &top.read_dir()?[..] else { panic!("one entry") };
/// assert_eq!((&*entry.name, entry.kind), (&b"a"[..], FileKind::File));
/// assert_eq!(entry.ino, tree.stat_at(&*top, GuestPath::new(&entry.name), Follow::No)?.ino);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// One new time of [`SetTimes`]; what `UTIME_NOW` and a `timespec` are to `utimensat`.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock};
/// use testbench_overlay::{Fs, GuestPath, MemoryDir, OpenHow, SetTime, SetTimes};
///
/// let clock = MockClock::builder().build();
/// let tree = MemoryDir::builder().clock(clock.clone()).file("a", "").build()?;
/// let file = tree.open_at(&*tree.root()?, GuestPath::new("a"), &OpenHow::READ)?;
/// let made = file.stat()?.mtime;
/// clock.advance(Duration::from_secs(5))?;
/// file.set_times(SetTimes { mtime: Some(SetTime::Now), ..SetTimes::default() })?;
/// assert_eq!(file.stat()?.mtime, clock.wall());
/// file.set_times(SetTimes { mtime: Some(SetTime::At(made)), ..SetTimes::default() })?;
/// assert_eq!(file.stat()?.mtime, made);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// What the tree's clock shows.
    Now,
    /// This instant.
    At(WallTime),
}
