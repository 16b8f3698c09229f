//! The seam: the operations that every crate above uses on a tree of files.
//!
//! Synchronous, object-safe, and addressed like POSIX's `*at` calls: a directory handle and a path
//! relative to it. A path never leaves the directory it starts from: neither `..`, nor an absolute
//! path, nor a symlink leads out of it ([`Errno::NotCapable`](crate::Errno)).
//!
//! A handle ([`File`]) has no position; a layer that offers `read` and `seek` keeps one.

pub(crate) mod errno;
pub(crate) mod name;
pub(crate) mod path;

mod file;
mod open;
mod stat;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub use file::File;
pub use open::{Create, Follow, OpenHow};
pub use stat::{DirEntry, FileKind, SetTime, SetTimes, Stat};

use crate::{Errno, GuestPath};

/// The result of every operation: a value, or a POSIX error number.
pub type Result<T, E = Errno> = std::result::Result<T, E>;

/// A tree of files.
///
/// `dir` must come from the same tree; a handle of another is [`Errno::Xdev`]. Methods that a tree
/// does not implement go to its [inner](Fs::inner) tree, or fail with [`Errno::Nosys`] if it has
/// none; the changing methods of a read-only tree fail with [`Errno::Rofs`].
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
    /// Returns the tree that carries out the methods that this one does not implement. Its handles
    /// are then those of this tree.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, File, GuestPath, MemoryDir, Result};
    ///
    /// /// A tree in which nothing can be removed.
    /// #[derive(Debug)]
    /// struct Keeps(MemoryDir);
    ///
    /// impl Fs for Keeps {
    ///     fn inner(&self) -> Result<&dyn Fs> {
    ///         Ok(&self.0)
    ///     }
    ///
    ///     fn remove_file_at(&self, _: &dyn File, _: GuestPath<'_>) -> Result<()> {
    ///         Err(Errno::Perm)
    ///     }
    /// }
    ///
    /// let tree = Keeps(MemoryDir::builder().file("a", "").build()?);
    /// let top = tree.root()?;
    /// assert_eq!(tree.remove_file_at(&*top, GuestPath::new("a")), Err(Errno::Perm));
    /// tree.rename_at(&*top, GuestPath::new("a"), &*top, GuestPath::new("b"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Nosys`] if there is none.
    fn inner(&self) -> Result<&dyn Fs> {
        Err(Errno::Nosys)
    }

    /// Returns the top directory, from which paths start.
    ///
    /// # Errors
    ///
    /// [`Errno::Io`] and others, if the tree cannot be read.
    fn root(&self) -> Result<Arc<dyn File>> {
        self.inner()?.root()
    }

    /// Opens or creates the file at `path` (`openat`).
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
    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        self.inner()?.open_at(dir, path, how)
    }

    /// Returns the metadata of `path` (`fstatat`).
    ///
    /// # Errors
    ///
    /// Those of POSIX's `fstatat`, and [`Errno::NotCapable`] if the path leads out of `dir`.
    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        self.inner()?.stat_at(dir, path, follow)
    }

    /// Returns the target of the symlink at `path`, as it is stored (`readlinkat`).
    ///
    /// # Errors
    ///
    /// Those of POSIX's `readlinkat`; [`Errno::Inval`] for anything but a symlink.
    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        self.inner()?.read_link_at(dir, path)
    }

    /// Creates an empty directory with the permission bits `mode` (`mkdirat`). No umask applies.
    ///
    /// # Errors
    ///
    /// Those of POSIX's `mkdirat`; [`Errno::Rofs`] and [`Errno::Nosys`] as for all of [`Fs`].
    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        self.inner()?.create_dir_at(dir, path, mode)
    }

    /// Creates a symlink at `path` that holds `target`, which need not exist (`symlinkat`).
    ///
    /// # Errors
    ///
    /// Those of POSIX's `symlinkat`: [`Errno::Exist`] if `path` is taken,
    /// [`Errno::Noent`] for an empty target.
    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.inner()?.symlink_at(target, dir, path)
    }

    /// Gives the file at `from` one more name, `to` (`linkat`).
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
        self.inner()?.link_at(from_dir, from, follow, to_dir, to)
    }

    /// Moves `from` to `to`, replacing a file, or an empty directory by a directory (`renameat`).
    ///
    /// # Errors
    ///
    /// Those of POSIX's `renameat`: [`Errno::Notempty`], [`Errno::Isdir`] and [`Errno::Notdir`] for
    /// a target that cannot be replaced, [`Errno::Inval`] for a directory moved into itself, [`Errno::Xdev`]
    /// across devices.
    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        self.inner()?.rename_at(from_dir, from, to_dir, to)
    }

    /// Removes a name of anything but a directory (`unlinkat`). The file lives on while
    /// it has other names or is open.
    ///
    /// # Errors
    ///
    /// Those of Linux's `unlinkat`; [`Errno::Isdir`] for a directory, where POSIX has
    /// [`Errno::Perm`].
    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.inner()?.remove_file_at(dir, path)
    }

    /// Removes an empty directory (`unlinkat` with `AT_REMOVEDIR`).
    ///
    /// # Errors
    ///
    /// Those of POSIX's `rmdir`: [`Errno::Notempty`], [`Errno::Notdir`], [`Errno::Inval`] for a
    /// path that ends in `.`.
    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.inner()?.remove_dir_at(dir, path)
    }

    /// Sets the times of `path` (`utimensat`).
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
        self.inner()?.set_times_at(dir, path, follow, times)
    }

    /// Sets the permission bits of `path`, `0o7777` at most (`fchmodat`).
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
        self.inner()?.set_mode_at(dir, path, follow, mode)
    }
}
