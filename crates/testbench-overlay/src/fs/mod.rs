//! A mirror of [`std::fs`] that goes to the overlay installed on this thread, or to the real disk
//! when none is.
//!
//! It takes the host's paths. In an overlay of `/home/me/proj`, the path `/home/me/proj/a` is the
//! file `a` of the overlay; a relative path starts from the process's current directory if that is
//! inside, else from the top of the overlay.
//!
//! # Errors
//!
//! Those of `std::fs`, with the same [`io::ErrorKind`] and the same error number, and three more:
//!
//! - A path that leads outside is [`io::ErrorKind::PermissionDenied`] with a text that names the
//!   overlay's root. It never falls through to the disk, except into directories given to
//!   [`OverlayBuilder::passthrough`](crate::OverlayBuilder::passthrough).
//! - [`io::ErrorKind::StaleNetworkFileHandle`]: a file beneath has changed since it was first seen;
//!   [`Overlay::lower_changes`](crate::Overlay::lower_changes) lists it.
//! - On a thread that carries the [context](testbench_clock::Context) of a session that has ended,
//!   everything fails with "session NAME ended at FILE:LINE".
//!
//! # Differences
//!
//! - New files get the mode `0666` and new directories `0777`, less `022` whatever the umask of the
//!   process.
//! - Everything in an overlay belongs to the user and group of the process; there is no `chown`.
//! - A [`File`] is no descriptor: it cannot be given to a child process, or to code that asks for
//!   `AsFd`. [`Overlay::materialize`](crate::Overlay::materialize) is for those.
//! - The mode in [`Metadata::permissions`] is the twelve bits of `chmod`, without the kind of the file
//!   that std adds to them: compare it with `0o644`, not with `0o100644`.
//! - [`set_times`] and [`set_times_nofollow`] are not stable in std yet.
//!
//! The extension traits of [`std::os::unix::fs`] are implemented for the types here, so that code
//! changes nothing but the `use` of `std::fs`.
//!
//! # Example
//!
//! ```
//! use std::io;
//! use std::path::Path;
//! use testbench_overlay::{Overlay, fs, install};
//!
//! /// Code that has changed nothing but the `use`.
//! fn rotate(log: &Path) -> io::Result<()> {
//!     fs::rename(log, log.with_extension("log.1"))?;
//!     fs::File::create(log).map(|_| ())
//! }
//!
//! let dir = tempfile::tempdir()?;
//! let log = dir.path().join("app.log");
//! std::fs::write(&log, "started\n")?;
//! {
//!     let overlay = Overlay::new(dir.path())?;
//!     let _installed = install(overlay.clone());
//!     rotate(&log)?;
//!     assert_eq!(overlay.diff()?.summary(), "A app.log (empty)\nR app.log -> app.log.1\n");
//! }
//! rotate(&log)?; // No overlay is installed here: this goes to the disk.
//! assert_eq!(std::fs::read_to_string(dir.path().join("app.log.1"))?, "started\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(clippy::disallowed_methods, reason = "without an overlay this is `std::fs`")]

pub(crate) mod install;

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

mod dir;
mod file;
mod file_type;
mod link;
mod lock;
mod metadata;
mod options;
mod position;
mod route;
mod times;
mod tree_file;

pub use dir::{DirBuilder, DirEntry, ReadDir, read_dir};
pub use file::File;
pub use file_type::FileType;
pub use link::{canonicalize, hard_link, read_link, symlink};
pub use lock::TryLockError;
pub use metadata::Metadata;
pub use options::OpenOptions;
pub use std::fs::Permissions;
pub use times::FileTimes;

use crate::vfs::Result;
use crate::{Errno, FileKind, Follow, Fs, GuestPath, OpenHow};
use route::{Place, Route, at, route};

/// The usual one. That of the process would make runs differ.
const UMASK: u32 = 0o022;

/// The bits that `chmod` sets.
const MODE_BITS: u32 = 0o7777;

/// The whole content of a file.
///
/// # Errors
///
/// As [`std::fs::read`], and those of the [module](self).
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let mut file = match route(path)? {
        Route::Real => return std::fs::read(path),
        Route::Tree(place) => File::in_tree(place, &OpenHow::READ, false)?,
    };
    let mut bytes = Vec::new();
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    bytes.try_reserve_exact(size)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole content of a file, as text.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] if it is not UTF-8, and as [`read`].
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let unfit = |_| {
        let text = "stream did not contain valid UTF-8";
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    String::from_utf8(read(path)?).map_err(unfit)
}

/// Makes `contents` the whole content of a file, which is created if missing.
///
/// # Errors
///
/// As [`std::fs::write`], and those of the [module](self).
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    File::create(path)?.write_all(contents.as_ref())
}

/// Copies content and permission bits, and returns the number of bytes.
///
/// # Errors
///
/// As [`std::fs::copy`], and those of the [module](self).
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    if let Route::Real = route(from)? {
        return std::fs::copy(from, to);
    }
    let mut reader = File::open(from)?;
    let metadata = reader.metadata()?;
    if !metadata.is_file() {
        let text = "the source path is neither a regular file nor a symlink to a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mode = metadata.permissions().mode();
    let mut options = OpenOptions::new();
    let mut writer = options.write(true).create(true).truncate(true).mode(mode).open(to)?;
    writer.set_permissions(Permissions::from_mode(mode))?;
    io::copy(&mut reader, &mut writer)
}

/// Returns the metadata of a path; symlinks are followed.
///
/// # Errors
///
/// As [`std::fs::metadata`], and those of the [module](self).
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    stat(path.as_ref(), Follow::Yes)
}

/// Returns the metadata of a path; a symlink is not followed.
///
/// # Errors
///
/// As [`std::fs::symlink_metadata`], and those of the [module](self).
pub fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    stat(path.as_ref(), Follow::No)
}

fn stat(path: &Path, follow: Follow) -> io::Result<Metadata> {
    let real = match follow {
        Follow::Yes => std::fs::metadata,
        Follow::No => std::fs::symlink_metadata,
    };
    at(
        path,
        |path| real(path).map(Metadata::from),
        |fs, dir, path| fs.stat_at(dir, path, follow).map(Metadata::from),
    )
}

/// Whether a path leads to something that exists.
///
/// # Errors
///
/// As [`std::fs::exists`], and those of the [module](self).
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the permission bits of a path; symlinks are followed.
///
/// # Errors
///
/// As [`std::fs::set_permissions`], and those of the [module](self).
pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let mode = permissions.mode() & MODE_BITS;
    at(
        path.as_ref(),
        |path| std::fs::set_permissions(path, permissions),
        |fs, dir, path| fs.set_mode_at(dir, path, Follow::Yes, mode),
    )
}

/// Creates a directory.
///
/// # Errors
///
/// As [`std::fs::create_dir`], and those of the [module](self).
pub fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().create(path)
}

/// Creates a directory and all that are missing above it.
///
/// ```
/// use testbench_overlay::fs;
/// # let dir = tempfile::tempdir()?;
/// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
/// # let at = |name: &str| dir.path().join(name);
/// fs::create_dir_all(at("a/b/c"))?;
/// fs::create_dir_all(at("a/b"))?;
/// assert!(fs::metadata(at("a/b/c"))?.is_dir());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`std::fs::create_dir_all`], and those of the [module](self).
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

/// Sets the times of a path; symlinks are followed.
///
/// # Errors
///
/// Those of the file system, and those of the [module](self).
pub fn set_times(path: impl AsRef<Path>, times: FileTimes) -> io::Result<()> {
    times_of(path.as_ref(), times, Follow::Yes)
}

/// Sets the times of a path; a symlink is not followed.
///
/// # Errors
///
/// Those of the file system, and those of the [module](self).
pub fn set_times_nofollow(path: impl AsRef<Path>, times: FileTimes) -> io::Result<()> {
    times_of(path.as_ref(), times, Follow::No)
}

fn times_of(path: &Path, times: FileTimes, follow: Follow) -> io::Result<()> {
    let times = times.to_tree();
    at(
        path,
        |path| crate::sys::set_times_of(path, times, follow),
        |fs, dir, path| fs.set_times_at(dir, path, follow, times),
    )
}

/// Removes the name of something that is not a directory.
///
/// # Errors
///
/// As [`std::fs::remove_file`], and those of the [module](self).
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    at(path.as_ref(), std::fs::remove_file, |fs, dir, path| fs.remove_file_at(dir, path))
}

/// Removes an empty directory.
///
/// # Errors
///
/// As [`std::fs::remove_dir`], and those of the [module](self).
pub fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    at(path.as_ref(), std::fs::remove_dir, |fs, dir, path| fs.remove_dir_at(dir, path))
}

/// Removes a directory and everything in it. A symlink is removed, not its target.
///
/// # Errors
///
/// As [`std::fs::remove_dir_all`], and those of the [module](self).
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    at(path.as_ref(), std::fs::remove_dir_all, |fs, dir, path| {
        match fs.stat_at(dir, path, Follow::No)?.kind {
            FileKind::Symlink => fs.remove_file_at(dir, path),
            _ => remove_tree(fs, dir, path),
        }
    })
}

/// Goes by handles: in `remove_dir_all("d/e/..")` the path stops leading anywhere half-way. And by
/// a list: a guest may nest directories deeper than the stack is.
fn remove_tree(fs: &dyn Fs, start: &dyn crate::File, path: GuestPath<'_>) -> Result<()> {
    struct Level {
        name: Box<[u8]>,
        dir: Arc<dyn crate::File>,
        todo: std::vec::IntoIter<crate::DirEntry>,
    }
    let enter = |dir: &dyn crate::File, name: &[u8]| {
        let how = OpenHow { directory: true, follow: Follow::No, ..OpenHow::READ };
        let dir = fs.open_at(dir, GuestPath::new(name), &how)?;
        let todo = dir.read_dir()?.into_iter();
        Ok(Level { name: name.into(), dir, todo })
    };
    let mut levels = vec![enter(start, path.as_bytes())?];
    while let Some(level) = levels.last_mut() {
        match level.todo.next() {
            Some(entry) if entry.kind == FileKind::Dir => match enter(&*level.dir, &entry.name) {
                Err(Errno::Noent) => {}
                inner => levels.push(inner?),
            },
            Some(entry) => {
                unless_gone(fs.remove_file_at(&*level.dir, GuestPath::new(&entry.name)))?;
            }
            None => {
                let Some(Level { name, .. }) = levels.pop() else { break };
                let dir = levels.last().map_or(start, |above| &*above.dir);
                unless_gone(fs.remove_dir_at(dir, GuestPath::new(&name)))?;
            }
        }
    }
    Ok(())
}

/// Something that is gone in the meantime is removed as well as can be; std sees it the same way.
fn unless_gone(removed: Result<()>) -> Result<()> {
    match removed {
        Err(Errno::Noent) => Ok(()),
        removed => removed,
    }
}

/// Moves a file or directory, replacing a file or an empty directory at the new path.
///
/// # Errors
///
/// As [`std::fs::rename`], and those of the [module](self); [`io::ErrorKind::CrossesDevices`]
/// between the overlay and a directory that is passed through.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    match both(from, to)? {
        None => std::fs::rename(from, to),
        Some((a, b)) => b.result(a.fs().rename_at(a.top(), a.guest(), b.top(), b.guest())),
    }
}

/// Where two paths of one operation go; `None` is the real disk.
fn both<'p>(from: &'p Path, to: &'p Path) -> io::Result<Option<(Place<'p>, Place<'p>)>> {
    match (route(from)?, route(to)?) {
        (Route::Tree(a), Route::Tree(b)) if a.same_tree(&b) => Ok(Some((a, b))),
        (Route::Real, Route::Real) => Ok(None),
        _ => Err(Errno::Xdev.into()),
    }
}
