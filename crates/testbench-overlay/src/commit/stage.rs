//! Putting new files on the stage. The tree is not touched.

use std::os::fd::OwnedFd;

use super::disk::{At, Disk};
use super::error::{Failure, at, on_stage};
use super::gate::Gate;
use super::paths::PathId;
use super::plan::Staged;
use crate::Errno;
use crate::lower::base::Base;
use crate::ops::core::Core;
use crate::upper::inode::{Inode, Node, State};

/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// With more files than this, the whole file system is synced at once.
const SYNC_EACH_MAX: usize = 64;

/// The size of what has been put there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Makes these files, complete and synced.
pub(super) fn fill<G: Gate>(
    core: &Core,
    state: &State,
    disk: &mut Disk<'_, G>,
    stage: &[Staged],
) -> Result<Written, Failure> {
    let sync_each = stage.len() <= SYNC_EACH_MAX;
    let mut written = Written::default();
    for staged in stage {
        let inode = state.inode(staged.ino).map_err(at("commit to", &disk.paths, staged.path))?;
        match &inode.node {
            Node::Symlink(target) => {
                let slot = At::Slot(staged.slot);
                let made = disk.symlink(target, slot);
                let made = made.and_then(|()| disk.set_times(slot, &staged.times));
                made.map_err(at("create", &disk.paths, staged.path))?;
            }
            _ => {
                let file = make_file(core, inode, disk, staged, &mut written)?;
                if sync_each {
                    disk.sync_opened(&file).map_err(at("sync", &disk.paths, staged.path))?;
                }
            }
        }
    }
    if !sync_each {
        disk.sync_all().map_err(on_stage)?;
    }
    Ok(written)
}

fn make_file<G: Gate>(
    core: &Core,
    inode: &Inode,
    disk: &mut Disk<'_, G>,
    staged: &Staged,
    written: &mut Written,
) -> Result<OwnedFd, Failure> {
    let Staged { slot, path, mode, times, like, .. } = staged;
    let file = disk.make_file(At::Slot(*slot)).map_err(at("create", &disk.paths, *path))?;
    let len = copy(core, inode, disk, &file, *path)?;
    let like = match like.map(|like| disk.open(At::Tree(like))) {
        // A file that may not be read, or is a symlink by now, is replaced all the same, and keeps
        // less.
        None | Some(Err(Errno::Acces | Errno::Noent | Errno::Loop | Errno::Nxio)) => None,
        Some(like) => Some(like.map_err(at("open", &disk.paths, *path))?),
    };
    let dressed = disk.dress(&file, *mode, times, like.as_ref());
    dressed.map_err(at("set the metadata of", &disk.paths, *path))?;
    written.files += 1;
    written.bytes += len;
    Ok(file)
}

/// Writes the content of an inode. Long runs of zeros become holes.
fn copy<G: Gate>(
    core: &Core,
    inode: &Inode,
    disk: &Disk<'_, G>,
    file: &OwnedFd,
    path: PathId,
) -> Result<u64, Failure> {
    let unread = |errno| Failure::Read { path: disk.paths.bytes(path), errno };
    let Node::File(content) = &inode.node else { return Err(unread(Errno::Inval)) };
    let base = Base::default();
    let origin = inode.origin.as_deref();
    let mut read = |buf: &mut [u8], at: u64| base.read(&core.lower, origin, buf, at);
    let mut buf = vec![0; COPY_BYTES.min(usize::try_from(content.len()).unwrap_or(COPY_BYTES))];
    let mut offset = 0;
    while offset < content.len() {
        let n = content.read_at(&mut buf, offset, &mut read).map_err(unread)?;
        if buf[..n].iter().any(|byte| *byte != 0) {
            let written = disk.write(file, &buf[..n], offset);
            written.map_err(at("write", &disk.paths, path))?;
        }
        offset += n as u64;
    }
    disk.set_len(file, offset).map_err(at("write", &disk.paths, path))?;
    Ok(offset)
}
