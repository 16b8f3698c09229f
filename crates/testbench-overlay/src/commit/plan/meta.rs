//! Permission bits and times, of directories and of what is put in its place.

use std::collections::BTreeSet;

use testbench_clock::WallTime;

use super::super::gate::Gate;
use super::super::step::{Meta, Placed, Times};
use super::super::survey::{Spot, meta_changed};
use super::{DirAt, Planner, Result};
use crate::upper::inode::{Ino, Inode};
use crate::vfs::name::RelPath;
use crate::{FileKind, Stat};

impl<G: Gate> Planner<'_, '_, '_, G> {
    /// The time at which the upper layer was last changed.
    pub(super) fn now_time(&self) -> WallTime {
        let times = self.survey.state.inodes.values().map(|inode| inode.meta.ctime);
        times.max().unwrap_or(WallTime::from_unix_secs(0))
    }

    /// Permission bits and times of directories: of those that have changed, and of those in which
    /// the commit works.
    pub(super) fn dir_metas(&mut self) -> Result<()> {
        let parent = |path: &RelPath| path.split().map(|(dir, _)| dir);
        let outs = self.plan.steps.outs.iter().filter_map(|out| parent(&out.from));
        let left: BTreeSet<RelPath> = outs.collect();
        let ins = self.plan.steps.ins.iter().filter_map(|step| parent(step.path()));
        let entered: BTreeSet<RelPath> = ins.collect();
        let renamed = self.dirs_with_renames();
        let mut known = BTreeSet::new();
        for DirAt { ino, before, after } in self.dirs.clone() {
            known.extend(before.clone());
            let inode = self.inode(ino, &after)?;
            let worked_in = before.as_ref().is_some_and(|before| left.contains(before))
                || entered.contains(&after);
            let Some(before) = before else {
                let times = times(inode.meta.atime, inode.meta.mtime);
                let after = Some(Placed { path: after, mode: inode.meta.mode, times });
                self.plan.steps.metas.push(Meta {
                    kind: FileKind::Dir.into(),
                    before: None,
                    after,
                });
                continue;
            };
            let Some(was) = self.now_here(&before)? else { continue };
            let moved = before != after && was.mode & 0o700 != 0o700;
            if !worked_in && !moved && !meta_changed(inode) {
                continue;
            }
            let touched = renamed.contains(&ino);
            let (mode, times) = (mode_after(inode, &was), times_after(inode, &was, touched));
            let before = Placed { path: before, mode: was.mode, times: Times::of(&was) };
            let meta = Meta {
                kind: FileKind::Dir.into(),
                before: Some(before),
                after: Some(Placed { path: after, mode, times }),
            };
            self.plan.steps.metas.push(meta);
        }
        // Directories that go, and out of which something has moved.
        for path in left.difference(&known).cloned().collect::<Vec<_>>() {
            let Some(was) = self.now_here(&path)? else { continue };
            let before = Some(Placed { path, mode: was.mode, times: Times::of(&was) });
            self.plan.steps.metas.push(Meta { kind: FileKind::Dir.into(), before, after: None });
        }
        self.plan.steps.metas.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(())
    }

    /// Directories in which names have come or gone, and not only changed what they stand for.
    fn dirs_with_renames(&self) -> BTreeSet<Ino> {
        let is_rename = |spot: &&Spot| {
            let inode = spot.ino.and_then(|ino| self.survey.state.inodes.get(&ino));
            let origin = inode.and_then(|inode| inode.origin.as_ref());
            let paths = origin.map(|origin| &origin.paths[..]).unwrap_or_default();
            !spot.before.as_ref().is_some_and(|before| paths.contains(before))
        };
        self.spots.iter().filter(is_rename).map(|spot| spot.dir).collect()
    }
}

pub(super) fn times(atime: WallTime, mtime: WallTime) -> Times {
    Times { atime: atime.into(), mtime: mtime.into() }
}

/// The bits that were set in the overlay, else those on the disk, which it may show otherwise.
pub(super) fn mode_after(inode: &Inode, was: &Stat) -> u32 {
    let shown = inode.origin.as_ref().map(|origin| origin.meta.mode);
    if shown == Some(inode.meta.mode) { was.mode } else { inode.meta.mode }
}

/// The times that were set in the overlay, else those on the disk.
pub(super) fn times_after(inode: &Inode, was: &Stat, changed: bool) -> Times {
    let shown = inode.origin.as_ref().map(|origin| origin.meta);
    let atime = match shown {
        Some(shown) if shown.atime == inode.meta.atime => was.atime,
        _ => inode.meta.atime,
    };
    let mtime = match shown {
        Some(shown) if shown.mtime == inode.meta.mtime && !changed => was.mtime,
        _ => inode.meta.mtime,
    };
    times(atime, mtime)
}
