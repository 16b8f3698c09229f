//! Putting new files on the stage. The tree is not touched.

use std::os::fd::OwnedFd;

use super::disk::{At, Disk};
use super::error::{CommitError, Result};
use super::plan::Staged;
use crate::Errno;
use crate::lower::base::Base;
use crate::ops::core::Core;
use crate::upper::inode::{Inode, Node, State};

/// How much is copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// With more files than this, the whole file system is synced at once.
const SYNC_EACH_MAX: usize = 64;

/// Makes these files, complete and synced; returns their number and their bytes.
pub(super) fn fill(
    core: &Core,
    state: &State,
    disk: &mut Disk<'_>,
    stage: &[Staged],
) -> Result<(u64, u64)> {
    let sync_each = stage.len() <= SYNC_EACH_MAX;
    let (mut files, mut bytes) = (0, 0);
    for staged in stage {
        let (slot, about) = (At::Slot(staged.slot), At::Tree(staged.path));
        let inode = state.inode(staged.ino);
        let inode = inode.map_err(|errno| disk.refused("commit to", about, errno))?;
        if let Node::Symlink(target) = &inode.node {
            disk.symlink(target, slot)?;
            disk.set_times(slot, staged.times.set())?;
            continue;
        }
        let file = disk.make_file(slot)?;
        bytes += copy(core, inode, disk, &file, staged)?;
        files += 1;
        let mut mode = staged.mode;
        match staged.like.map(|like| disk.open(At::Tree(like))) {
            None => {}
            // Without the owner and the group the set-id bits go too.
            Some(Ok(like)) if disk.keep_owner(about, &file, &like)? => {}
            Some(Ok(_)) => mode &= 0o1777,
            // A file that may not be read, or is a symlink by now, is replaced all the same, and
            // keeps less.
            Some(Err(error)) => match error.errno() {
                Errno::Acces | Errno::Noent | Errno::Loop | Errno::Nxio => {}
                _ => return Err(error),
            },
        }
        disk.set_mode(slot, mode)?;
        disk.set_times(slot, staged.times.set())?;
        if sync_each {
            disk.sync(about, &file)?;
        }
    }
    if !sync_each {
        disk.sync_all()?;
    }
    Ok((files, bytes))
}

/// Writes the content of an inode. Long runs of zeros become holes.
fn copy(
    core: &Core,
    inode: &Inode,
    disk: &Disk<'_>,
    file: &OwnedFd,
    staged: &Staged,
) -> Result<u64> {
    let about = At::Tree(staged.path);
    let mut written = 0;
    for part in parts(core, inode) {
        let unread = |errno| CommitError::Read { path: disk.paths.bytes(staged.path), errno };
        let part = part.map_err(unread)?;
        if part.iter().any(|byte| *byte != 0) {
            disk.write(about, file, &part, written)?;
        }
        written += part.len() as u64;
    }
    disk.set_len(about, file, written)?;
    Ok(written)
}

/// The content of a file, a part at a time.
pub(super) fn parts(core: &Core, inode: &Inode) -> impl Iterator<Item = Result<Vec<u8>, Errno>> {
    let (base, mut offset) = (Base::default(), 0);
    std::iter::from_fn(move || {
        let Node::File(content) = &inode.node else { return None };
        let mut part = vec![0; content.len().saturating_sub(offset).min(COPY_BYTES) as usize];
        let mut read =
            |buf: &mut [u8], at: u64| base.read(&core.lower, inode.origin.as_deref(), buf, at);
        let read = content.read_at(&mut part, offset, &mut read);
        offset += part.len() as u64;
        (!part.is_empty()).then(|| read.map(|_| part))
    })
}
