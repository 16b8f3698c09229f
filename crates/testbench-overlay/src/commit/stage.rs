//! Putting new files on the stage. The tree is not touched.

use std::os::fd::OwnedFd;

use super::disk::{At, Disk, Failure, failure};
use super::gate::Gate;
use super::plan::Staged;
use crate::Errno;
use crate::lower::base::Base;
use crate::ops::core::Core;
use crate::upper::inode::{Inode, Node, State};

/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// With more files than this, the whole file system is synced at once.
const SYNC_EACH_MAX: usize = 64;

/// Makes these files, complete and synced; returns their number and their bytes.
pub(super) fn fill<G: Gate>(
    core: &Core,
    state: &State,
    disk: &mut Disk<'_, G>,
    stage: &[Staged],
) -> Result<(u64, u64), Failure> {
    let sync_each = stage.len() <= SYNC_EACH_MAX;
    let (mut files, mut bytes) = (0, 0);
    for staged in stage {
        let (slot, about) = (At::Slot(staged.slot), At::Tree(staged.path));
        let inode = state.inode(staged.ino).map_err(failure("commit to", about))?;
        if let Node::Symlink(target) = &inode.node {
            disk.symlink(target, slot)?;
            disk.set_times(slot, staged.times.set())?;
            continue;
        }
        let file = disk.make_file(slot)?;
        bytes += copy(core, inode, disk, &file, staged)?;
        files += 1;
        let like = match staged.like.map(|like| disk.open(At::Tree(like))) {
            None => None,
            Some(Ok(like)) => Some(like),
            Some(Err(failure)) => match failure.errno() {
                // A file that may not be read, or is a symlink by now, is replaced all the same,
                // and keeps less.
                Errno::Acces | Errno::Noent | Errno::Loop | Errno::Nxio => None,
                _ => return Err(failure),
            },
        };
        let dressed = disk.dress(&file, staged.mode, staged.times.set(), like.as_ref());
        dressed.map_err(failure("set the metadata of", about))?;
        if sync_each {
            disk.sync_opened(&file).map_err(failure("sync", about))?;
        }
    }
    if !sync_each {
        disk.sync_all()?;
    }
    Ok((files, bytes))
}

/// Writes the content of an inode. Long runs of zeros become holes.
fn copy<G: Gate>(
    core: &Core,
    inode: &Inode,
    disk: &Disk<'_, G>,
    file: &OwnedFd,
    staged: &Staged,
) -> Result<u64, Failure> {
    let write = failure("write", At::Tree(staged.path));
    let mut written = 0;
    for part in parts(core, inode) {
        let part = part.map_err(|errno| Failure::Read { path: staged.path, errno })?;
        if part.iter().any(|byte| *byte != 0) {
            disk.write(file, &part, written).map_err(&write)?;
        }
        written += part.len() as u64;
    }
    disk.set_len(file, written).map_err(&write)?;
    Ok(written)
}

/// The content of a file, a part at a time.
pub(super) fn parts(core: &Core, inode: &Inode) -> impl Iterator<Item = Result<Vec<u8>, Errno>> {
    let base = Base::default();
    let mut offset = 0;
    std::iter::from_fn(move || {
        let Node::File(content) = &inode.node else { return None };
        let left = content.len().saturating_sub(offset);
        if left == 0 {
            return None;
        }
        let mut read =
            |buf: &mut [u8], at: u64| base.read(&core.lower, inode.origin.as_deref(), buf, at);
        let mut part = vec![0; COPY_BYTES.min(usize::try_from(left).unwrap_or(COPY_BYTES))];
        let done = content.read_at(&mut part, offset, &mut read);
        Some(done.map(|n| {
            part.truncate(n);
            offset += n as u64;
            part
        }))
    })
}
