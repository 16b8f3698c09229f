//! [`MountError`]: why an overlay could not be mounted or unmounted.

use std::io;
use std::path::PathBuf;

/// Why an overlay could not be mounted or unmounted.
///
/// ```
/// use testbench_mount::{FuseMount, MountError};
/// use testbench_overlay::Overlay;
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let over_itself = FuseMount::new(&overlay, dir.path());
/// assert!(matches!(over_itself, Err(MountError::OverLower { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// This machine has no FUSE.
    #[error(
        "cannot mount an overlay: /dev/fuse cannot be opened: {source}; load the kernel's `fuse` \
         module, or give the container the device"
    )]
    NoFuse {
        /// Why the device could not be opened.
        source: io::Error,
    },
    /// This process may not mount.
    #[error(
        "not permitted to mount an overlay ({}): {source}; it takes access to /dev/fuse, and \
         CAP_SYS_ADMIN in the user namespace or the program `fusermount3`",
        at.display()
    )]
    Denied {
        /// The mount point or the device.
        at: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The mount point is not a directory that can be used.
    #[error("cannot mount an overlay at {}: {source}; give it an existing directory", at.display())]
    Unusable {
        /// As given.
        at: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The mount point lies in the lower directory, or the other way round.
    #[error(
        "cannot mount an overlay at {}: neither it nor its lower directory {} may lie in the other, \
         because the overlay would read itself; choose a directory elsewhere",
        at.display(), root.display()
    )]
    OverLower {
        /// Canonical.
        at: PathBuf,
        /// The lower directory.
        root: PathBuf,
    },
    /// Another file system is mounted there already.
    #[error(
        "cannot mount an overlay at {}: another file system is mounted there already; unmount it, or choose \
         another directory",
        at.display()
    )]
    Taken {
        /// Canonical.
        at: PathBuf,
    },
    /// The kernel refused the mount.
    #[error("cannot mount an overlay at {}: {source}", at.display())]
    Mount {
        /// Canonical.
        at: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The mount is in use.
    #[error(
        "cannot unmount the overlay at {}: a file in it is open, or a process works in it; wait \
         for it to end",
        at.display()
    )]
    InUse {
        /// Canonical.
        at: PathBuf,
    },
    /// The kernel refused to unmount, or serving it failed.
    #[error("the mount of the overlay at {} did not end well: {source}", at.display())]
    Unmount {
        /// Canonical.
        at: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The kind is that of the cause, or [`io::ErrorKind::Unsupported`] without FUSE,
/// [`io::ErrorKind::PermissionDenied`] without the right to mount, [`io::ErrorKind::ResourceBusy`] for
/// a mount point or mount that is in use, and [`io::ErrorKind::InvalidInput`] for a mount over the
/// lower directory.
impl From<MountError> for io::Error {
    fn from(error: MountError) -> io::Error {
        let kind = match &error {
            MountError::NoFuse { .. } => io::ErrorKind::Unsupported,
            MountError::Denied { .. } => io::ErrorKind::PermissionDenied,
            MountError::OverLower { .. } => io::ErrorKind::InvalidInput,
            MountError::Taken { .. } | MountError::InUse { .. } => io::ErrorKind::ResourceBusy,
            MountError::Unusable { source, .. }
            | MountError::Mount { source, .. }
            | MountError::Unmount { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}
