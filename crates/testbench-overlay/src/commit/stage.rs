//! Putting on the stage what a commit is about to put in place. The tree is not touched.

use std::collections::BTreeMap;

use super::apply::{Failure, on_stage, os};
use super::disk::{At, Disk};
use super::gate::Gate;
use super::plan::{Plan, Staged};
use super::step::{Mark, Slot};
use crate::lower::base::Base;
use crate::ops::core::Core;
use crate::upper::inode::{Inode, Node, State};
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind};

/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// With more files than this, the whole file system is synced at once.
const SYNC_EACH_MAX: usize = 64;

/// Why something is not on the stage.
#[derive(Debug)]
pub(super) enum Unstaged {
    /// It cannot be read through the overlay.
    Read(RelPath, Errno),
    /// The system refused.
    Failed(Failure),
}

impl From<Failure> for Unstaged {
    fn from(failure: Failure) -> Unstaged {
        Unstaged::Failed(failure)
    }
}

/// What has been put there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Fills the stage; the marks go into the steps.
pub(super) fn fill<G: Gate>(
    core: &Core,
    state: &State,
    disk: &Disk<'_, G>,
    plan: &mut Plan,
) -> Result<Written, Unstaged> {
    let mut stager = Stager {
        core,
        state,
        disk,
        sync_each: plan.stage.len() <= SYNC_EACH_MAX,
        written: Written::default(),
    };
    let mut marks: BTreeMap<Slot, Mark> = BTreeMap::new();
    for (slot, staged) in &plan.stage {
        let name = String::from(*slot);
        stager.put(&name, staged)?;
        let stat = disk.look(At::Stage(&name)).and_then(|stat| stat.ok_or(Errno::Noent));
        let stat = stat.map_err(|errno| on_stage(&name, errno))?;
        marks.insert(*slot, Mark::of(&stat));
    }
    plan.steps.fill(&marks);
    if !stager.sync_each {
        disk.sync_all().map_err(os("sync", &RelPath::TOP))?;
    }
    Ok(stager.written)
}

struct Stager<'a, 'g, G> {
    core: &'a Core,
    state: &'a State,
    disk: &'a Disk<'g, G>,
    sync_each: bool,
    written: Written,
}

impl<G: Gate> Stager<'_, '_, G> {
    fn put(&mut self, name: &str, staged: &Staged) -> Result<(), Unstaged> {
        let at = At::Stage(name);
        match staged {
            Staged::Link { to, path } => {
                let to = String::from(*to);
                self.disk.link(At::Stage(&to), at).map_err(os("link", path))?;
            }
            Staged::LinkLower { to } => {
                self.disk.link(At::Tree(to), at).map_err(os("link", to))?;
            }
            Staged::Symlink { target, times, path } => {
                let made = self.disk.symlink(target, at);
                made.and_then(|()| self.disk.set_times(at, times)).map_err(os("create", path))?;
            }
            Staged::File { ino, content, mode, times, like, path } => {
                let file = self.disk.make_file(at).map_err(os("create", path))?;
                let len = match (content, ino) {
                    (Some(content), _) => {
                        let written = self.disk.write(&file, content, 0);
                        written.map_err(os("write", path))?;
                        content.len() as u64
                    }
                    (None, Some(ino)) => {
                        let inode = self.state.inode(*ino);
                        let inode = inode.map_err(|errno| Unstaged::Read(path.clone(), errno))?;
                        self.copy(inode, &file, path)?
                    }
                    (None, None) => 0,
                };
                let like = like.as_ref().map(|like| self.disk.open(At::Tree(like)));
                let like = match like {
                    // What may not be read is replaced all the same, and keeps less.
                    None | Some(Err(Errno::Acces)) => None,
                    Some(like) => Some(like.map_err(os("open", path))?),
                };
                let dressed = self.disk.dress(&file, *mode, times, like.as_ref());
                dressed.map_err(os("set the metadata of", path))?;
                if self.sync_each {
                    self.disk.sync_opened(&file).map_err(os("sync", path))?;
                }
                self.written.files += 1;
                self.written.bytes += len;
            }
        }
        Ok(())
    }

    /// Writes the content of an inode. Long runs of zeros become holes.
    fn copy(
        &self,
        inode: &Inode,
        file: &std::os::fd::OwnedFd,
        path: &RelPath,
    ) -> Result<u64, Unstaged> {
        let Node::File(content) = &inode.node else {
            return Err(Unstaged::Read(path.clone(), Errno::Inval));
        };
        debug_assert_eq!(inode.kind(), FileKind::File);
        let base = Base::default();
        let origin = inode.origin.as_deref();
        let mut read = |buf: &mut [u8], at: u64| base.read(self.core, origin, buf, at);
        let mut buf = vec![0; COPY_BYTES.min(usize::try_from(content.len()).unwrap_or(COPY_BYTES))];
        let mut offset = 0;
        while offset < content.len() {
            let n = content.read_at(&mut buf, offset, &mut read);
            let n = n.map_err(|errno| Unstaged::Read(path.clone(), errno))?;
            if buf[..n].iter().any(|byte| *byte != 0) {
                self.disk.write(file, &buf[..n], offset).map_err(os("write", path))?;
            }
            offset += n as u64;
        }
        self.disk.set_len(file, offset).map_err(os("write", path))?;
        Ok(offset)
    }
}
