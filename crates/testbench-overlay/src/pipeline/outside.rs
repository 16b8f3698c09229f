//! The tree behind symlinks that lead out of the root, where a policy lets it be read.
//!
//! It is one more tree: the real disk from `/` on, read-only, walked by the same walk one name at a
//! time. No name stands for it; only a symlink leads there. A directory on the way that is the root
//! itself is the overlay's own again, changes included.

use std::sync::Arc;

use super::mounts::{Inside, Spot};
use crate::ops::core::Core;
use crate::vfs::name::RelPath;
use crate::{Errno, File, Fs, HostDir, OverlayError};

/// The treatment of a symlink that leads out of the root, by an absolute target or by `..`.
///
/// Whatever this says, nothing outside is ever written, and devices, sockets and FIFOs are not
/// opened. A path that itself leads out is always refused; this is about symlinks on the way.
///
/// ```
/// use testbench_overlay::{Overlay, OutwardLinks, fs, install};
///
/// let (dir, outside) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// std::fs::write(outside.path().join("data"), "text")?;
/// std::os::unix::fs::symlink(outside.path(), dir.path().join("shared"))?;
/// let shared = dir.path().join("shared/data");
/// {
///     let _installed = install(Overlay::new(dir.path())?);
///     assert!(fs::read(&shared).is_err());
/// }
/// let overlay = Overlay::builder(dir.path()).outward_links(OutwardLinks::Read).build()?;
/// let _installed = install(overlay);
/// assert_eq!(fs::read_to_string(&shared)?, "text");
/// let error = fs::write(&shared, "other").unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutwardLinks {
    /// It leads nowhere: [`Errno::NotCapable`].
    #[default]
    Refuse,
    /// Its target can be read, as on a read-only mount of the real disk: any change is
    /// [`Errno::Rofs`].
    ///
    /// This is for trees that refer to others beside them, with trusted code: a program that can
    /// make a symlink in the overlay can read all that the process can. Reads outside are not
    /// observed: a later change there is neither noticed nor a conflict of a commit. It never is in
    /// the diff, and a symlink stays a symlink when the tree is written out.
    ///
    /// Only links in the overlay's own tree count, not those in
    /// [mounts](crate::OverlayBuilder::mount); and only for paths that begin at the top, since any
    /// other directory handle is a boundary. An overlay of a tree that is no real directory refuses
    /// them all the same.
    Read,
}

/// The real disk around the root.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    fs: Arc<dyn Fs>,
    top: Arc<dyn File>,
    /// The canonical path of the root.
    pub(super) root: RelPath,
    /// Device and inode of the root.
    root_id: (u64, u64),
}

/// The prefix of paths outside, in audits and for patterns.
const SHOWN: &[u8] = b"(outside)";

impl Outside {
    pub(super) fn new(core: &Core, links: OutwardLinks) -> Result<Option<Outside>, OverlayError> {
        let Some(dir) = core.lower.host_dir().filter(|_| links == OutwardLinks::Read) else {
            return Ok(None);
        };
        let failed = |source| OverlayError::Root { path: "/".into(), source };
        let fs: Arc<dyn Fs> = Arc::new(HostDir::open("/").map_err(failed)?.read_only());
        let top = fs.root().map_err(|errno| failed(errno.into()))?;
        let stat = core.lower.top_stat().map_err(|errno| failed(errno.into()))?;
        let root = RelPath::from_bytes(dir.path().as_os_str().as_encoded_bytes());
        Ok(Some(Outside { fs, top, root, root_id: (stat.dev, stat.ino) }))
    }

    pub(super) fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// `/`, as the tree with the number `mount`.
    pub(super) fn top(&self, mount: usize) -> Spot {
        Spot::In(Inside { mount, dir: self.top.clone(), path: RelPath::TOP })
    }

    /// Whether a directory outside is the root itself.
    pub(super) fn is_root(&self, dir: &dyn File) -> Result<bool, Errno> {
        let stat = dir.stat()?;
        Ok((stat.dev, stat.ino) == self.root_id)
    }

    /// How a path outside is called where all other paths are relative to the top.
    pub(super) fn shown(path: &RelPath) -> RelPath {
        RelPath::TOP.child(SHOWN).join(path.as_bytes())
    }
}
