//! The seam: what every crate above asks of a tree of files.
//!
//! Synchronous, object-safe, and addressed like POSIX's `*at` calls: a directory handle and a path
//! relative to it. A path never leaves the directory it starts from: neither `..`, nor an absolute
//! path, nor a symlink leads out of it ([`Errno::NotCapable`](crate::Errno)).
//!
//! A handle ([`File`]) has no position; whoever offers `read` and `seek` keeps one.

mod open;
mod stat;

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use open::{Create, Follow, OpenHow};
pub use stat::{DirEntry, FileKind, SetTime, SetTimes, Stat};

use crate::{Errno, GuestPath};

/// The answer of every operation: a value, or the POSIX error number why there is none.
///
/// ```
/// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir};
///
/// fn target(tree: &dyn Fs, path: &str) -> testbench_overlay::Result<String> {
///     let target = tree.read_link_at(&*tree.root()?, GuestPath::new(path))?;
///     String::from_utf8(target).map_err(|_| Errno::Ilseq)
/// }
///
/// let tree = MemoryDir::builder().symlink("latest", "v2").file("plain", "").build()?;
/// assert_eq!(target(&tree, "latest"), Ok("v2".into()));
/// assert_eq!(target(&tree, "plain"), Err(Errno::Inval));
/// # Ok::<(), testbench_overlay::MemoryDirError>(())
/// ```
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
    /// The top directory, from which every path starts that is not relative to another one.
    ///
    /// ```
    /// use testbench_overlay::{FileKind, Fs, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("a", "").build()?;
    /// let top = tree.root()?;
    /// assert_eq!(top.stat()?.kind, FileKind::Dir);
    /// assert_eq!(top.read_dir()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Whatever keeps the tree from being read, such as [`Errno::Io`].
    fn root(&self) -> Result<Arc<dyn File>>;

    /// Opens, or creates, what is at `path` (`openat`).
    ///
    /// ```
    /// use testbench_overlay::{Create, Errno, Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().dir("log").build()?;
    /// let top = tree.root()?;
    /// let path = GuestPath::new("log/today");
    /// assert_eq!(tree.open_at(&*top, path, &OpenHow::READ).unwrap_err(), Errno::Noent);
    ///
    /// let create = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    /// tree.open_at(&*top, path, &create)?.append(b"one\n")?;
    /// assert_eq!(tree.open_at(&*top, path, &create).unwrap_err(), Errno::Exist);
    ///
    /// // The handle of a directory is what further paths start from.
    /// let log = tree.open_at(&*top, GuestPath::new("log"), &OpenHow::READ)?;
    /// assert_eq!(tree.open_at(&*log, GuestPath::new("today"), &OpenHow::READ)?.stat()?.size, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `openat`, among them [`Errno::Noent`], [`Errno::Exist`], [`Errno::Notdir`],
    /// [`Errno::Isdir`] for a directory that is to be written, [`Errno::Loop`] and
    /// [`Errno::Acces`]; [`Errno::NotCapable`] if the path leads out of `dir`, [`Errno::Nxio`] for
    /// a device, socket or FIFO.
    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>>;

    /// The metadata of what is at `path` (`fstatat`).
    ///
    /// ```
    /// use testbench_overlay::{FileKind, Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("v2", "text").symlink("latest", "v2").build()?;
    /// let (top, latest) = (tree.root()?, GuestPath::new("latest"));
    /// assert_eq!(tree.stat_at(&*top, latest, Follow::Yes)?.size, 4);
    /// assert_eq!(tree.stat_at(&*top, latest, Follow::No)?.kind, FileKind::Symlink);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `fstatat`, and [`Errno::NotCapable`] if the path leads out of `dir`.
    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat>;

    /// The target of the symlink at `path`, byte by byte as it is stored (`readlinkat`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().symlink("up", "../elsewhere").dir("d").build()?;
    /// let top = tree.root()?;
    /// assert_eq!(tree.read_link_at(&*top, GuestPath::new("up"))?, b"../elsewhere");
    /// assert_eq!(tree.read_link_at(&*top, GuestPath::new("d")), Err(Errno::Inval));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `readlinkat`; [`Errno::Inval`] for what is no symlink.
    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>>;

    /// Creates an empty directory with the permission bits `mode` (`mkdirat`). No umask applies.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().build()?;
    /// let (top, private) = (tree.root()?, GuestPath::new("private"));
    /// tree.create_dir_at(&*top, private, 0o700)?;
    /// assert_eq!(tree.stat_at(&*top, private, Follow::No)?.mode, 0o700);
    /// assert_eq!(tree.create_dir_at(&*top, private, 0o700), Err(Errno::Exist));
    /// assert_eq!(tree.create_dir_at(&*top, GuestPath::new("a/b"), 0o700), Err(Errno::Noent));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `mkdirat`; [`Errno::Rofs`] and [`Errno::Nosys`] as for all of [`Fs`].
    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        let _ = (dir, path, mode);
        Err(Errno::Nosys)
    }

    /// Creates a symlink at `path` that holds `target`, whatever that says (`symlinkat`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().build()?;
    /// let (top, link) = (tree.root()?, GuestPath::new("link"));
    /// tree.symlink_at(b"../../outside", &*top, link)?; // may say anything,
    /// let followed = tree.stat_at(&*top, link, Follow::Yes);
    /// assert_eq!(followed, Err(Errno::NotCapable)); // and leads nowhere
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `symlinkat`: [`Errno::Exist`] if there is something at `path`,
    /// [`Errno::Noent`] for an empty target.
    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let _ = (target, dir, path);
        Err(Errno::Nosys)
    }

    /// Gives the file at `from` one more name, `to` (`linkat`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("a", "text").dir("d").build()?;
    /// let top = tree.root()?;
    /// let [a, b, d] = ["a", "b", "d"].map(GuestPath::new);
    /// tree.link_at(&*top, a, Follow::No, &*top, b)?;
    /// let [of_a, of_b] = [a, b].map(|name| tree.stat_at(&*top, name, Follow::No));
    /// assert_eq!(of_a, of_b);
    /// assert_eq!(of_a?.nlink, 2);
    /// let of_a_directory = tree.link_at(&*top, d, Follow::No, &*top, GuestPath::new("e"));
    /// assert_eq!(of_a_directory, Err(Errno::Perm));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `linkat`: [`Errno::Exist`] if `to` is taken, [`Errno::Perm`] for a
    /// directory, [`Errno::Xdev`] across devices.
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

    /// Moves `from` to `to`, replacing a file, or an empty directory by a directory (`renameat`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("d/a", "text").dir("empty").file("f", "").build()?;
    /// let top = tree.root()?;
    /// let [d, empty, f] = ["d", "empty", "f"].map(GuestPath::new);
    /// tree.rename_at(&*top, d, &*top, empty)?; // takes the place of an empty one, with all in it
    /// assert_eq!(tree.rename_at(&*top, f, &*top, empty), Err(Errno::Isdir));
    /// let into_itself = tree.rename_at(&*top, empty, &*top, GuestPath::new("empty/x"));
    /// assert_eq!(into_itself, Err(Errno::Inval));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `renameat`: [`Errno::Notempty`], [`Errno::Isdir`] and [`Errno::Notdir`] for
    /// what cannot be replaced, [`Errno::Inval`] for a directory moved into itself, [`Errno::Xdev`]
    /// across devices.
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

    /// Removes the name of something that is not a directory (`unlinkat`). The file lives on while
    /// it has other names or is open.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().file("a", "text").dir("d").build()?;
    /// let (top, a) = (tree.root()?, GuestPath::new("a"));
    /// let open = tree.open_at(&*top, a, &OpenHow::READ)?;
    /// tree.remove_file_at(&*top, a)?;
    /// assert_eq!((open.stat()?.nlink, open.stat()?.size), (0, 4));
    /// assert_eq!(tree.remove_file_at(&*top, a), Err(Errno::Noent));
    /// assert_eq!(tree.remove_file_at(&*top, GuestPath::new("d")), Err(Errno::Isdir));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of Linux's `unlinkat`; [`Errno::Isdir`] for a directory, where POSIX has
    /// [`Errno::Perm`].
    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let _ = (dir, path);
        Err(Errno::Nosys)
    }

    /// Removes an empty directory (`unlinkat` with `AT_REMOVEDIR`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("d/a", "").build()?;
    /// let (top, d) = (tree.root()?, GuestPath::new("d"));
    /// assert_eq!(tree.remove_dir_at(&*top, d), Err(Errno::Notempty));
    /// tree.remove_file_at(&*top, GuestPath::new("d/a"))?;
    /// tree.remove_dir_at(&*top, d)?;
    /// assert!(top.read_dir()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `rmdir`: [`Errno::Notempty`], [`Errno::Notdir`], [`Errno::Inval`] for a
    /// path that ends in `.`.
    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let _ = (dir, path);
        Err(Errno::Nosys)
    }

    /// Sets the times of what is at `path` (`utimensat`).
    ///
    /// ```
    /// use testbench_clock::WallTime;
    /// use testbench_overlay::{Follow, Fs, GuestPath, MemoryDir, SetTime, SetTimes};
    ///
    /// let tree = MemoryDir::builder().file("a", "").symlink("link", "a").build()?;
    /// let (top, link) = (tree.root()?, GuestPath::new("link"));
    /// let then = WallTime::from_unix_nanos(1_500_000_000);
    /// let times = SetTimes { atime: Some(SetTime::At(then)), mtime: None };
    /// tree.set_times_at(&*top, link, Follow::Yes, times)?;
    /// assert_eq!(tree.stat_at(&*top, GuestPath::new("a"), Follow::No)?.atime, then);
    /// assert_ne!(tree.stat_at(&*top, link, Follow::No)?.atime, then, "the link was followed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `utimensat`.
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

    /// Sets the permission bits of what is at `path`, `0o7777` at most (`fchmodat`).
    ///
    /// ```
    /// use testbench_overlay::{Errno, Follow, Fs, GuestPath, MemoryDir, OpenHow};
    ///
    /// let tree = MemoryDir::builder().file("key", "").build()?;
    /// let (top, key) = (tree.root()?, GuestPath::new("key"));
    /// tree.set_mode_at(&*top, key, Follow::Yes, 0)?;
    /// assert_eq!(tree.open_at(&*top, key, &OpenHow::READ).unwrap_err(), Errno::Acces);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of POSIX's `fchmodat`; [`Errno::Notsup`] for a symlink that is not followed.
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
    /// [`Errno::Stale`] if a file of the lower tree is no longer [what it was](crate::LowerPolicy).
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
