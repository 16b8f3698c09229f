//! [`Stat`] and [`DirEntry`]: metadata, and how times are set.

use testbench_clock::WallTime;

/// The metadata of a file, directory or symlink.
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

/// The kind of a file. Special files (devices, sockets, FIFOs) are listed but never opened.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// A single component, in raw bytes.
    pub name: Box<[u8]>,
    /// As in [`Stat::ino`].
    pub ino: u64,
    /// The kind; a symlink is not followed.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the tree's clock.
    Now,
    /// This instant.
    At(WallTime),
}
