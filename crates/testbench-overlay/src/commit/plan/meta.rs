//! Permission bits and times, of directories and of files that stay the same file.

use std::collections::BTreeSet;

use super::super::apply::may_work;
use super::super::disk::Failure;
use super::super::gate::Gate;
use super::super::journal::{MetaStep, Times};
use super::super::paths::PathId;
use super::super::survey::meta_changed;
use super::{PlacedDir, Placement, Planner, Staged};
use crate::upper::inode::{Ino, Inode, Node};
use crate::{Errno, FileKind, Stat};

impl<G: Gate> Planner<'_, '_, '_, G> {
    /// Plans a new file or symlink.
    pub(super) fn stage(
        &mut self,
        placement: &Placement<'_>,
        slot: u64,
        path: PathId,
    ) -> Result<(), Failure> {
        let Placement { ino, inode, here, copy, .. } = placement;
        if matches!(inode.node, Node::Special | Node::Dir(_)) {
            // A device, socket or FIFO that is gone cannot be made.
            return Err(Failure::Read { path, errno: Errno::Nxio });
        }
        let like = here.filter(|_| *copy);
        let was = like.map_or(Ok(None), |like| self.now(like))?;
        let meta = inode.meta;
        let (mode, times) = match was {
            Some(was) => (mode_after(inode, &was), times_after(inode, &was, true)),
            None => (meta.mode, Times::new(meta.atime, meta.mtime)),
        };
        self.plan.stage.push(Staged { slot, ino: *ino, path, mode, times, like });
        Ok(())
    }

    /// Plans permission bits and times of a file that stays the same file.
    pub(super) fn file_meta(
        &mut self,
        inode: &Inode,
        was: &Stat,
        before: PathId,
        after: PathId,
    ) -> Result<(), Failure> {
        if meta_changed(inode) {
            self.disk.check_may_set_meta(before)?;
            self.meta(after, was.kind, mode_after(inode, was), times_after(inode, was, false));
        }
        Ok(())
    }

    fn meta(&mut self, path: PathId, kind: FileKind, mode: u32, times: Times) {
        self.plan.steps.metas.push(MetaStep { path, kind, mode, times });
    }

    /// Plans permission bits and times of directories: of those that have changed, and of those in
    /// which the commit works. All of them must be open to the committer meanwhile.
    pub(super) fn dir_metas(&mut self) -> Result<(), Failure> {
        let paths = &self.disk.paths;
        let left: BTreeSet<PathId> =
            self.plan.steps.outs.iter().map(|out| paths.dir(out.path)).collect();
        let entered: BTreeSet<PathId> =
            self.plan.steps.ins.iter().map(|step| paths.dir(step.path)).collect();
        let renamed = self.dirs_with_renames();
        let mut worked_in = left.clone();
        for PlacedDir { ino, before, after } in std::mem::take(&mut self.dirs) {
            let inode = self.inode(ino)?;
            let Some(before) = before else {
                let times = Times::new(inode.meta.atime, inode.meta.mtime);
                self.meta(after, FileKind::Dir, inode.meta.mode, times);
                continue;
            };
            let Some(was) = self.now_here(before)? else { continue };
            if entered.contains(&after) || before != after {
                worked_in.insert(before);
            }
            let closed = before != after && !may_work(&was);
            if left.contains(&before) || entered.contains(&after) || closed || meta_changed(inode) {
                let mode = mode_after(inode, &was);
                if mode != was.mode {
                    self.disk.check_may_set_meta(before)?;
                }
                let times = times_after(inode, &was, renamed.contains(&ino));
                self.meta(after, FileKind::Dir, mode, times);
            }
        }
        for dir in worked_in {
            self.disk.check_may_work_in(dir)?;
            if self.now_here(dir)?.is_some_and(|was| !may_work(&was)) {
                self.plan.steps.opens.push(dir);
            }
        }
        Ok(())
    }

    /// Directories in which names have come or gone, and not only the files behind them.
    fn dirs_with_renames(&self) -> BTreeSet<Ino> {
        let renames = self.survey.spots.iter().filter(|spot| !self.survey.stays(spot));
        renames.map(|spot| spot.dir).collect()
    }
}

/// The bits that were set in the overlay, else those on the disk, which it may show otherwise.
fn mode_after(inode: &Inode, was: &Stat) -> u32 {
    let shown = inode.origin.as_ref().map(|origin| origin.meta.mode);
    if shown == Some(inode.meta.mode) { was.mode } else { inode.meta.mode }
}

/// The times that were set in the overlay, else those on the disk.
fn times_after(inode: &Inode, was: &Stat, changed: bool) -> Times {
    let shown = inode.origin.as_ref().map(|origin| origin.meta);
    let atime = match shown {
        Some(shown) if shown.atime == inode.meta.atime => was.atime,
        _ => inode.meta.atime,
    };
    let mtime = match shown {
        Some(shown) if shown.mtime == inode.meta.mtime && !changed => was.mtime,
        _ => inode.meta.mtime,
    };
    Times::new(atime, mtime)
}
