//! An overlay as a directory that any program can use: a FUSE mount (Linux, feature `fuse`).
//!
//! ```no_run
//! use std::process::Command;
//! use testbench_overlay::Overlay;
//!
//! let overlay = Overlay::new("/home/me/project")?;
//! let at = tempfile::tempdir()?;
//! let mount = overlay.mount_fuse(at.path())?;
//! Command::new("make").current_dir(mount.path()).status()?;
//! mount.unmount()?;
//! println!("{}", overlay.diff()?.summary());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a program sees
//!
//! The tree as it is at each moment: what the mount's users change is in the overlay at once, and what
//! is done to the overlay meanwhile by other ways shows in the mount (see [`FuseOptions::cache_for`]).
//! Every operation goes through the overlay's [pipeline](crate::pipeline), so that policy, quota, faults
//! and audit hold here as for everyone. A read that a fault cuts short is asked for again, because the
//! kernel would take it for the end of the file.
//!
//! - **Permissions** are checked by the kernel, by owner and mode as on a disk. The overlay also binds
//!   whoever uses it by the bits of the owner, root included, unless it was made with
//!   [`as_root`](crate::OverlayBuilder::as_root); a mount for several users wants that.
//! - **Owners** are no part of an overlay. Here everything belongs to the user that mounted it, except
//!   what was made or given away through the mount: it belongs to whom it should for as long as the
//!   mount lasts. None of it is in a diff.
//! - **Devices, sockets and FIFOs** made here work while the mount lasts, devices aside (it is `nodev`);
//!   the overlay knows of each only that it is special. Those of the lower tree show as sockets, which
//!   cannot be opened.
//! - Renaming knows `RENAME_NOREPLACE` and `RENAME_EXCHANGE`. Holes are seen by `SEEK_DATA` and
//!   `SEEK_HOLE`. Extended attributes are not supported (`EOPNOTSUPP`). Times of access are not kept.
//! - A file that is mapped or open shows what was written to it by other ways than the mount when it is
//!   opened again.
//!
//! # How it works
//!
//! The kernel names a file by a number. What it stands for is held (`table.rs`, `hold.rs`) until the
//! kernel forgets the number, so a file without a name stays as long as somebody has it open. What is
//! asked is done in terms of the overlay in `server.rs`, and put into those of FUSE in `protocol.rs`. A
//! few threads of the mount's own answer; they end with it.
#![allow(clippy::disallowed_methods, reason = "a mount is a thing of the real file system")]

mod attr;
mod error;
pub(crate) mod hold;
mod protocol;
mod server;
mod table;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;

pub use error::MountError;

use crate::Overlay;
use protocol::Protocol;
use server::Server;

/// Where the kernel offers FUSE.
const DEVICE: &str = "/dev/fuse";

/// One could wait for a fault's latency or a slow disk while others are answered; more than a few
/// would only wait for each other, since an overlay changes under one lock.
const THREADS: usize = 4;

/// How an overlay is mounted. By default for the user that mounts it alone, writable, and with
/// nothing cached by the kernel that could have changed.
///
/// ```no_run
/// use testbench_overlay::Overlay;
/// use testbench_overlay::mount::FuseOptions;
///
/// // For several users: the kernel checks who may do what, and the overlay does not once more.
/// let overlay = Overlay::builder("/srv/site").as_root(true).build()?;
/// let mount = overlay.mount_fuse_with("/mnt", &FuseOptions::new().allow_others(true))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FuseOptions {
    allow_others: bool,
    read_only: bool,
    cache: Duration,
}

impl FuseOptions {
    /// The defaults: for the user that mounts it alone, writable, nothing cached.
    ///
    /// ```no_run
    /// use testbench_overlay::Overlay;
    /// use testbench_overlay::mount::FuseOptions;
    ///
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let _mount = overlay.mount_fuse_with("/mnt", &FuseOptions::new())?; // as `mount_fuse`
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> FuseOptions {
        FuseOptions::default()
    }

    /// Lets other users in, as far as owners and modes let them (`allow_other`). Without being root
    /// this needs `user_allow_other` in `/etc/fuse.conf`.
    ///
    /// ```no_run
    /// use testbench_overlay::Overlay;
    /// use testbench_overlay::mount::FuseOptions;
    ///
    /// // A build that drops its privileges writes to it, too.
    /// let overlay = Overlay::builder("/srv/build").as_root(true).build()?;
    /// let _mount = overlay.mount_fuse_with("/mnt", &FuseOptions::new().allow_others(true))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_others(mut self, allow: bool) -> FuseOptions {
        self.allow_others = allow;
        self
    }

    /// Nothing can be changed through the mount ([`EROFS`](crate::Errno::Rofs)).
    ///
    /// ```no_run
    /// use std::io::ErrorKind;
    /// use testbench_overlay::Overlay;
    /// use testbench_overlay::mount::FuseOptions;
    ///
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let mount = overlay.mount_fuse_with("/mnt", &FuseOptions::new().read_only(true))?;
    /// let error = std::fs::write(mount.path().join("new"), "").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_only(mut self, read_only: bool) -> FuseOptions {
        self.read_only = read_only;
        self
    }

    /// Lets the kernel go on for so long with what it has looked up, which saves it most of its
    /// questions. What changes by other ways than the mount may be seen that much later. Zero by
    /// default.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use testbench_overlay::Overlay;
    /// use testbench_overlay::mount::FuseOptions;
    ///
    /// // Nobody but the compiler touches the tree meanwhile.
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let options = FuseOptions::new().cache_for(Duration::from_secs(60));
    /// let mount = overlay.mount_fuse_with("/mnt", &options)?;
    /// std::process::Command::new("make").current_dir(mount.path()).status()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cache_for(mut self, duration: Duration) -> FuseOptions {
        self.cache = duration;
        self
    }

    fn config(&self) -> fuser::Config {
        use fuser::MountOption;

        let mut config = fuser::Config::default();
        config.mount_options = vec![
            MountOption::FSName("testbench-overlay".to_owned()),
            MountOption::Subtype("testbench".to_owned()),
            MountOption::DefaultPermissions,
        ];
        if self.read_only {
            config.mount_options.push(MountOption::RO);
        }
        config.acl = match self.allow_others {
            true => fuser::SessionACL::All,
            false => fuser::SessionACL::Owner,
        };
        config.n_threads = Some(THREADS);
        config
    }
}

impl Overlay {
    /// Mounts this overlay over the directory `at`, for as long as the guard lives. See
    /// [`mount`](crate::mount).
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use testbench_overlay::Overlay;
    ///
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let at = tempfile::tempdir()?;
    /// let mount = overlay.mount_fuse(at.path())?;
    /// Command::new("npm").arg("install").current_dir(mount.path()).status()?;
    /// mount.unmount()?;
    /// println!("{}", overlay.diff()?.stat());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MountError`]: there is no FUSE here, it is not permitted, or the directory will not do.
    pub fn mount_fuse(self: &Arc<Self>, at: impl AsRef<Path>) -> Result<FuseMount, MountError> {
        self.mount_fuse_with(at, &FuseOptions::new())
    }

    /// As [`Overlay::mount_fuse`], with options.
    ///
    /// ```no_run
    /// use testbench_overlay::Overlay;
    /// use testbench_overlay::mount::FuseOptions;
    ///
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let options = FuseOptions::new().read_only(true);
    /// let mount = overlay.mount_fuse_with("/mnt", &options)?;
    /// assert!(std::fs::remove_dir_all(mount.path().join("src")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MountError`]: there is no FUSE here, it is not permitted, or the directory will not do.
    pub fn mount_fuse_with(
        self: &Arc<Self>,
        at: impl AsRef<Path>,
        options: &FuseOptions,
    ) -> Result<FuseMount, MountError> {
        let at = self.check_mount_point(at.as_ref())?;
        check_device()?;
        // All paths are there: what is not found is the helper of those who may not mount by themselves.
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {
                MountError::Denied { at: at.clone(), source }
            }
            _ => MountError::Mount { at: at.clone(), source },
        };
        let server = Server::new(self.clone()).map_err(|errno| failed(errno.into()))?;
        let protocol = Protocol::new(server, options.cache);
        let mut session = fuser::Session::new(protocol, &at, &options.config()).map_err(failed)?;
        let unmounter = session.unmount_callable();
        let thread = std::thread::Builder::new()
            .name("overlay-mount".to_owned())
            .spawn(move || session.run())
            .map_err(failed)?;
        Ok(FuseMount { at, state: State::First(unmounter), thread: Some(thread) })
    }

    /// The canonical path, if it is that of a directory over which this overlay can be mounted.
    fn check_mount_point(&self, at: &Path) -> Result<PathBuf, MountError> {
        let unusable = |source| MountError::Unusable { at: at.to_path_buf(), source };
        let at = std::fs::canonicalize(at).map_err(unusable)?;
        if !std::fs::metadata(&at).map_err(unusable)?.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        if let Some(root) = self.root_that_meets(&at) {
            return Err(MountError::OverLower { root: root.to_path_buf(), at });
        }
        if is_mount_point(&at).map_err(unusable)? {
            return Err(MountError::Taken { at });
        }
        Ok(at)
    }
}

/// A mounted overlay; dropping it unmounts.
///
/// If something in it is still in use then, it is taken out of the tree at once all the same, and
/// goes on for those who have files open until they close them. Should the process end without
/// dropping this, the mount stays behind without anyone to answer (`ENOTCONN`): `umount` removes it.
///
/// ```no_run
/// use testbench_overlay::Overlay;
/// use testbench_overlay::mount::MountError;
///
/// let overlay = Overlay::new("/home/me/project")?;
/// let mut mount = overlay.mount_fuse("/mnt")?;
/// if let Err(MountError::InUse { at }) = mount.try_unmount() {
///     println!("somebody works in {}", at.display());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it unmounts"]
pub struct FuseMount {
    at: PathBuf,
    state: State,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Who has to unmount.
#[derive(Debug)]
enum State {
    /// The session, which also knows how if the user may not unmount by himself.
    First(fuser::SessionUnmounter),
    /// The session has tried, and does so once only.
    Again,
    Done,
}

impl FuseMount {
    /// The directory over which it is mounted, canonical.
    ///
    /// ```no_run
    /// use testbench_overlay::Overlay;
    ///
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let mount = overlay.mount_fuse("/mnt/.")?;
    /// assert_eq!(mount.path(), "/mnt");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts, and waits until everything asked for has been done.
    ///
    /// ```no_run
    /// use testbench_overlay::Overlay;
    ///
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let mount = overlay.mount_fuse("/mnt")?;
    /// std::fs::write(mount.path().join("note"), "text\n")?;
    /// mount.unmount()?; // says whether all went well, which dropping it cannot
    /// overlay.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MountError::InUse`] if a file in it is open or a process works in it. It is then unmounted
    /// as if dropped. [`FuseMount::try_unmount`] leaves it mounted.
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.try_unmount()
    }

    /// Unmounts if nobody uses it, and waits until everything asked for has been done. Does nothing
    /// if it has been unmounted already.
    ///
    /// ```no_run
    /// use testbench_overlay::Overlay;
    /// use testbench_overlay::mount::MountError;
    ///
    /// let overlay = Overlay::new("/home/me/project")?;
    /// let mut mount = overlay.mount_fuse("/mnt")?;
    /// let open = std::fs::File::open(mount.path().join("Cargo.toml"))?;
    /// assert!(matches!(mount.try_unmount(), Err(MountError::InUse { .. })));
    /// drop(open);
    /// mount.try_unmount()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MountError::InUse`] if a file in it is open or a process works in it: it is still mounted.
    pub fn try_unmount(&mut self) -> Result<(), MountError> {
        let unmounted = match std::mem::replace(&mut self.state, State::Again) {
            State::First(mut unmounter) => unmounter.unmount(),
            State::Again => unmount(&self.at, UnmountFlags::empty()),
            State::Done => Ok(()),
        };
        match unmounted {
            Ok(()) => {
                self.state = State::Done;
                self.join()
            }
            Err(source) if source.kind() == io::ErrorKind::ResourceBusy => {
                Err(MountError::InUse { at: self.at.clone() })
            }
            Err(source) => Err(MountError::Unmount { at: self.at.clone(), source }),
        }
    }

    fn join(&mut self) -> Result<(), MountError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        ended.map_err(|source| MountError::Unmount { at: self.at.clone(), source })
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        if self.try_unmount().is_err() {
            // Whoever still uses it is served to the end, and nobody is waited for.
            let _ = unmount(&self.at, UnmountFlags::DETACH);
        }
    }
}

/// Unmounts; that it is not mounted any more is no error.
fn unmount(at: &Path, flags: UnmountFlags) -> io::Result<()> {
    match rustix::mount::unmount(at, flags | UnmountFlags::NOFOLLOW) {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        done => Ok(done?),
    }
}

fn check_device() -> Result<(), MountError> {
    let opened: io::Result<File> = OpenOptions::new().read(true).write(true).open(DEVICE);
    match opened {
        Ok(_) => Ok(()),
        Err(source) => match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Err(MountError::Denied { at: PathBuf::from(DEVICE), source })
            }
            _ => Err(MountError::NoFuse { source }),
        },
    }
}

/// Whether something is mounted there already.
fn is_mount_point(at: &Path) -> io::Result<bool> {
    let dir = File::open(at)?;
    let statx = rustix::fs::statx(dir.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    match statx {
        Ok(statx) if statx.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        // Before Linux 5.8: another device than the directory above, which misses bind mounts only.
        _ => {
            let above = rustix::fs::statat(CWD, at.join(".."), AtFlags::empty())?;
            Ok(rustix::fs::fstat(&dir)?.st_dev != above.st_dev)
        }
    }
}
