//! [`FuseMount`]: a mounted overlay.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::mount::{MntFlags, umount2};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use testbench_overlay::Overlay;

use crate::protocol::Protocol;
use crate::server::Server;
use crate::{FuseOptions, MountError};

/// Where the kernel offers FUSE.
const DEVICE: &str = "/dev/fuse";

/// A mounted overlay; dropping it unmounts.
///
/// If a file in the mount is open at the drop, the mount disappears from its directory at once, and the
/// file is served until it is closed. If the process ends without the drop, the mount stays and every
/// access to it fails with `ENOTCONN`; `umount` removes it.
///
/// ```no_run
/// use testbench_mount::{FuseMount, MountError};
/// use testbench_overlay::Overlay;
///
/// let overlay = Overlay::new("/home/me/project")?;
/// let mut mount = FuseMount::new(&overlay, "/mnt")?;
/// let open = std::fs::File::open(mount.path().join("Cargo.toml"))?;
/// assert!(matches!(mount.try_unmount(), Err(MountError::InUse { .. })));
/// drop(open);
/// mount.try_unmount()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it unmounts"]
pub struct FuseMount {
    at: PathBuf,
    /// Unmounts, also without the privilege (by `fusermount3`). It works once.
    unmounter: Option<fuser::SessionUnmounter>,
    /// Serves the mount. `None` once it is unmounted.
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl FuseMount {
    /// Mounts `overlay` over the directory `at`, with the default [`FuseOptions`].
    ///
    /// # Errors
    ///
    /// As [`FuseOptions::mount`].
    pub fn new(overlay: &Arc<Overlay>, at: impl AsRef<Path>) -> Result<FuseMount, MountError> {
        FuseOptions::new().mount(overlay, at)
    }

    /// Returns the canonical path of the directory over which the overlay is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts, and waits until every request is done. Unlike a drop, it returns an error.
    ///
    /// # Errors
    ///
    /// [`MountError::InUse`] if a file in the mount is open, or a process's working directory is in it.
    /// The mount is then unmounted as by a drop. [`FuseMount::try_unmount`] leaves it mounted.
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.try_unmount()
    }

    /// Unmounts if the mount is not in use, and waits until every request is done. Does nothing if it
    /// is unmounted already.
    ///
    /// # Errors
    ///
    /// [`MountError::InUse`] if a file in the mount is open, or a process's working directory is in it.
    /// It then stays mounted.
    pub fn try_unmount(&mut self) -> Result<(), MountError> {
        if self.thread.is_none() {
            return Ok(());
        }
        let unmounted = match self.unmounter.take() {
            Some(mut unmounter) => unmounter.unmount(),
            None => unmount(&self.at, MntFlags::empty()),
        };
        match unmounted {
            Ok(()) => self.join(),
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
            // Open files are served until they are closed, and the drop does not wait for that.
            let _ = unmount(&self.at, MntFlags::MNT_DETACH);
        }
    }
}

impl FuseOptions {
    /// Mounts `overlay` over the directory `at`, for as long as the returned guard lives.
    ///
    /// # Errors
    ///
    /// [`MountError`] if this machine has no FUSE, mounting is not permitted, or the directory cannot
    /// be used.
    pub fn mount(
        &self,
        overlay: &Arc<Overlay>,
        at: impl AsRef<Path>,
    ) -> Result<FuseMount, MountError> {
        let at = check_mount_point(overlay, at.as_ref())?;
        check_device()?;
        // All other paths were found above, so a missing one is that of `fusermount3`.
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {
                MountError::Denied { at: at.clone(), source }
            }
            _ => MountError::Mount { at: at.clone(), source },
        };
        let server = Server::new(overlay.clone()).map_err(|errno| failed(errno.into()))?;
        let protocol = Protocol::new(server, self.cache);
        let mut session = fuser::Session::new(protocol, &at, &self.config()).map_err(failed)?;
        let unmounter = session.unmount_callable();
        let thread = std::thread::Builder::new()
            .name("overlay-mount".to_owned())
            .spawn(move || session.run())
            .map_err(failed)?;
        Ok(FuseMount { at, unmounter: Some(unmounter), thread: Some(thread) })
    }
}

/// Returns the canonical path of a directory over which `overlay` can be mounted.
fn check_mount_point(overlay: &Overlay, at: &Path) -> Result<PathBuf, MountError> {
    let unusable = |source| MountError::Unusable { at: at.to_path_buf(), source };
    let at = std::fs::canonicalize(at).map_err(unusable)?;
    if !std::fs::metadata(&at).map_err(unusable)?.is_dir() {
        return Err(unusable(io::ErrorKind::NotADirectory.into()));
    }
    if let Some(root) = overlay.root_that_meets(&at) {
        return Err(MountError::OverLower { root: root.to_path_buf(), at });
    }
    if is_mount_point(&at).map_err(unusable)? {
        return Err(MountError::Taken { at });
    }
    Ok(at)
}

fn check_device() -> Result<(), MountError> {
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(MountError::Denied { at: PathBuf::from(DEVICE), source })
        }
        Err(source) => Err(MountError::NoFuse { source }),
    }
}

fn is_mount_point(at: &Path) -> io::Result<bool> {
    let dir = File::open(at)?;
    let statx = rustix::fs::statx(&dir, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    match statx {
        Ok(statx) if statx.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        // Before Linux 5.8: a mount has another device than the directory above. A bind mount may not.
        _ => {
            let above = rustix::fs::statat(CWD, at.join(".."), AtFlags::empty())?;
            Ok(rustix::fs::fstat(&dir)?.st_dev != above.st_dev)
        }
    }
}

/// Unmounts. Succeeds if nothing is mounted on the directory any more.
fn unmount(at: &Path, flags: MntFlags) -> io::Result<()> {
    match umount2(at, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Err(nix::errno::Errno::EINVAL) => Ok(()),
        done => Ok(done?),
    }
}
