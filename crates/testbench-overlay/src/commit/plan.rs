//! From the upper layer to the steps of a commit.
//!
//! Every inode of the upper layer has names that it keeps, names that it has left and names that
//! it has come to. Where content is unchanged, a name left pairs with a name come to as a move;
//! further names become hard links. Where content has changed, a new file takes the place of every
//! name. A file in the way is replaced or taken out.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::may_work;
use super::check::Now;
use super::disk::{At, Disk};
use super::error::{CommitError, Result};
use super::journal::{In, Incoming, Mark, MetaStep, Out, Steps, Times};
use super::survey::{Spot, Survey, content_changed, meta_changed};
use crate::lower::observe::Stamp;
use crate::places::PathId;
use crate::upper::inode::{Ino, Inode, Node};
use crate::{Errno, FileKind, Stat};

/// The steps, and the files that must be on the stage before they are made.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Steps,
    pub(super) stage: Vec<Staged>,
    /// The number of moves.
    pub(super) moved: u64,
    /// The number of removals, directories counted without their content.
    pub(super) removed: u64,
}

/// The content of a new file or symlink.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) slot: u64,
    pub(super) ino: Ino,
    pub(super) path: PathId,
    pub(super) mode: u32,
    pub(super) times: Times,
    /// The file that it replaces, whose owner and extended attributes it takes over.
    pub(super) like: Option<PathId>,
}

/// Plans the commit of what was surveyed, onto what the check has found.
pub(super) fn plan(disk: &mut Disk<'_>, survey: &Survey<'_>, mut now: Now) -> Result<Plan> {
    let top = disk.look(At::TOP)?;
    now.insert(PathId::TOP, top);
    let mut planner = Planner {
        disk,
        survey,
        device: top.map_or(0, |top| top.dev),
        now,
        moved: BTreeMap::new(),
        dirs: Vec::new(),
        outs: BTreeMap::new(),
        slots: 0,
        plan: Plan::default(),
    };
    planner.place_all()?;
    for spot in survey.spots.iter().filter(|spot| spot.ino.is_none()) {
        spot.before.map_or(Ok(()), |before| planner.remove(before))?;
    }
    planner.finish()
}

struct Planner<'p, 's, 'g> {
    disk: &'p mut Disk<'g>,
    survey: &'p Survey<'s>,
    device: u64,
    now: Now,
    /// Paths before from which something moves, with the slot where it waits.
    moved: BTreeMap<PathId, u64>,
    dirs: Vec<PlacedDir>,
    outs: BTreeMap<PathId, Out>,
    slots: u64,
    plan: Plan,
}

/// A directory of the upper layer that will be there.
struct PlacedDir {
    ino: Ino,
    before: Option<PathId>,
    after: PathId,
}

/// Where an inode stays, and to which names it comes.
struct Placement<'s> {
    ino: Ino,
    inode: &'s Inode,
    stays: Option<Spot>,
    comes: Vec<Spot>,
    /// A path before at which it is.
    here: Option<PathId>,
    /// The paths before from which it moves, at most as many as there are names to come to.
    sources: Vec<PathId>,
    /// A new file takes the place of all names.
    copy: bool,
}

impl<'s> Planner<'_, 's, '_> {
    /// The file at a path before.
    fn now(&mut self, path: PathId) -> Result<Option<Stat>> {
        let stat = match self.now.get(&path) {
            Some(stat) => *stat,
            None => self.disk.look(At::Tree(path))?,
        };
        self.now.insert(path, stat);
        if stat.is_some_and(|stat| stat.dev != self.device) {
            return Err(self.disk.refused("commit to", At::Tree(path), Errno::Xdev));
        }
        Ok(stat)
    }

    fn slot(&mut self) -> u64 {
        self.slots += 1;
        self.slots - 1
    }

    fn place_all(&mut self) -> Result<()> {
        let mut placements = Vec::new();
        let mut done = BTreeSet::new();
        for ino in self.survey.spots.iter().filter_map(|spot| spot.ino) {
            if done.insert(ino) {
                let placement = self.placement(ino)?;
                // All sources must be known before it can be told which files are in the way.
                for path in &placement.sources {
                    let slot = self.slot();
                    self.moved.insert(*path, slot);
                }
                placements.push(placement);
            }
        }
        placements.iter().try_for_each(|placement| self.place(placement))
    }

    fn placement(&mut self, ino: Ino) -> Result<Placement<'s>> {
        let inode = self.survey.state.inode(ino);
        let inode: &'s Inode =
            inode.map_err(|errno| self.disk.refused("commit to", At::TOP, errno))?;
        let mut sources = BTreeSet::new();
        let mut nlink = 0;
        for path in self.survey.origins(inode) {
            if let Some(stat) = self.now(path)?.filter(|stat| is_still(inode, stat)) {
                nlink = stat.nlink;
                sources.insert(path);
            }
        }
        // A file that also has a name that we do not know of must not be changed under that name.
        let shared = meta_changed(inode) && nlink > sources.len() as u64;
        let copy = inode.kind() == FileKind::File && (content_changed(inode) || shared);
        let here = sources.first().copied();
        let stays = |name: &Spot| name.before.is_some_and(|path| sources.contains(&path));
        let names = self.survey.names(ino);
        let (kept, came): (Vec<Spot>, Vec<Spot>) = names.iter().partition(|name| stays(name));
        if copy {
            let comes = kept.into_iter().chain(came).collect();
            return Ok(Placement { ino, inode, stays: None, comes, here, sources: vec![], copy });
        }
        kept.iter().filter_map(|name| name.before).for_each(|path| _ = sources.remove(&path));
        let sources = sources.into_iter().take(came.len()).collect();
        Ok(Placement { ino, inode, stays: kept.first().copied(), comes: came, here, sources, copy })
    }

    /// Plans all names of an inode: from where it was, as links to the name that is there first, or
    /// anew.
    fn place(&mut self, placement: &Placement<'_>) -> Result<()> {
        let Placement { ino, inode, stays, comes, sources, .. } = placement;
        let mut before = stays.and_then(|spot| spot.before);
        let mut after = stays.map(|spot| spot.after);
        let mut sources = sources.iter();
        for name in comes {
            let what = if let Some(from) = sources.next() {
                let Some(was) = self.now(*from)? else { continue };
                let slot = self.moved[from];
                self.outs.insert(*from, Out { path: *from, slot: Some(slot), was: Mark::of(&was) });
                self.plan.moved += 1;
                before = before.or(Some(*from));
                Incoming::Slot(slot)
            } else if inode.kind() == FileKind::Dir {
                Incoming::Dir
            } else {
                let slot = self.slot();
                match after {
                    Some(of) => Incoming::Link(of, slot),
                    None => {
                        self.stage(placement, slot, name.after)?;
                        Incoming::Slot(slot)
                    }
                }
            };
            let over = self.clear(name, inode.kind())?.map(|was| (self.slot(), Mark::of(&was)));
            self.plan.steps.ins.push(In { path: name.after, what, over });
            after = after.or(Some(name.after));
        }
        let Some(after) = after else { return Ok(()) };
        match before {
            _ if inode.kind() == FileKind::Dir => {
                self.dirs.push(PlacedDir { ino: *ino, before, after });
            }
            // It stays the same file.
            Some(before) if meta_changed(inode) => {
                let was = self.now(before)?;
                self.disk.check_may_set_meta(before)?;
                self.meta(after, inode, was.as_ref(), false);
            }
            _ => {}
        }
        Ok(())
    }

    /// Plans a new file or symlink.
    fn stage(&mut self, placement: &Placement<'_>, slot: u64, path: PathId) -> Result<()> {
        let Placement { ino, inode, here, copy, .. } = placement;
        if matches!(inode.node, Node::Special | Node::Dir(_)) {
            // A device, socket or FIFO that is gone cannot be made.
            return Err(CommitError::Read {
                path: self.disk.paths.bytes(path),
                errno: Errno::Nxio,
            });
        }
        let like = here.filter(|_| *copy);
        let was = like.map_or(Ok(None), |like| self.now(like))?;
        let (mode, times) = meta_after(inode, was.as_ref(), true);
        self.plan.stage.push(Staged { slot, ino: *ino, path, mode, times, like });
        Ok(())
    }

    fn meta(&mut self, path: PathId, inode: &Inode, was: Option<&Stat>, changed: bool) {
        let (mode, times) = meta_after(inode, was, changed);
        self.plan.steps.metas.push(MetaStep { path, kind: inode.kind(), mode, times });
    }

    /// Removes what is in the way; returns a file that can be replaced in its place.
    fn clear(&mut self, name: &Spot, kind: FileKind) -> Result<Option<Stat>> {
        let Some(before) = name.before.filter(|before| !self.moved.contains_key(before)) else {
            return Ok(None);
        };
        match self.now(before)? {
            Some(stat) if kind != FileKind::Dir && stat.kind != FileKind::Dir => Ok(Some(stat)),
            Some(_) => self.remove(before).map(|()| None),
            None => Ok(None),
        }
    }

    /// Removes something with everything in it, but for what moves elsewhere.
    fn remove(&mut self, path: PathId) -> Result<()> {
        let mut next = vec![path];
        while let Some(path) = next.pop() {
            let stays = self.outs.contains_key(&path) || self.moved.contains_key(&path);
            let Some(stat) = self.now(path)?.filter(|_| !stays) else { continue };
            let mut slot = None;
            if stat.kind == FileKind::Dir {
                for entry in self.disk.list(At::Tree(path))? {
                    next.push(self.disk.paths.child(path, &entry.name));
                }
            } else {
                slot = Some(self.slot());
            }
            self.outs.insert(path, Out { path, slot, was: Mark::of(&stat) });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Plan> {
        let paths = &self.disk.paths;
        let order = paths.order();
        let is_removed =
            |path: PathId| self.outs.contains_key(&path) && !self.moved.contains_key(&path);
        let roots = self.outs.keys();
        let roots = roots.filter(|path| is_removed(**path) && !is_removed(paths.dir(**path)));
        self.plan.removed = roots.count() as u64;
        self.dir_metas()?;
        let Plan { steps, .. } = &mut self.plan;
        steps.outs = self.outs.into_values().collect();
        steps.outs.sort_by_key(|out| std::cmp::Reverse(order[&out.path]));
        // The first name of a file may come behind the others in the order.
        let is_link = |step: &In| matches!(step.what, Incoming::Link(..));
        steps.ins.sort_by_key(|step| (is_link(step), order[&step.path]));
        steps.metas.sort_by_key(|meta| order[&meta.path]);
        steps.opens.sort_by_key(|path| order[path]);
        Ok(self.plan)
    }

    /// Plans permission bits and times of directories: of those that have changed, and of those in
    /// which the commit works. All of them must be open to the committer meanwhile.
    fn dir_metas(&mut self) -> Result<()> {
        let paths = &self.disk.paths;
        let left: BTreeSet<PathId> = self.outs.keys().map(|path| paths.dir(*path)).collect();
        let ins = self.plan.steps.ins.iter();
        let entered: BTreeSet<PathId> = ins.map(|step| paths.dir(step.path)).collect();
        // Names have come or gone in them, and not only the files behind the names.
        let renames = self.survey.spots.iter().filter(|spot| !self.survey.stays(spot));
        let renamed: BTreeSet<Ino> = renames.map(|spot| spot.dir).collect();
        let mut worked_in = left.clone();
        for PlacedDir { ino, before, after } in std::mem::take(&mut self.dirs) {
            let Ok(inode) = self.survey.state.inode(ino) else { continue };
            let Some(before) = before else {
                self.meta(after, inode, None, true);
                continue;
            };
            let Some(was) = self.now(before)? else { continue };
            if entered.contains(&after) || before != after {
                worked_in.insert(before);
            }
            let closed = before != after && !may_work(&was);
            if left.contains(&before) || entered.contains(&after) || closed || meta_changed(inode) {
                if meta_after(inode, Some(&was), true).0 != was.mode {
                    self.disk.check_may_set_meta(before)?;
                }
                self.meta(after, inode, Some(&was), renamed.contains(&ino));
            }
        }
        for dir in worked_in {
            self.disk.check_may_work_in(dir)?;
            if self.now(dir)?.is_some_and(|was| !may_work(&was)) {
                self.plan.steps.opens.push(dir);
            }
        }
        Ok(())
    }
}

/// Whether a file on the disk still is the one that an inode came from. A file whose content we
/// have not changed is taken for what it is now: a change of its mode goes to the file there.
fn is_still(inode: &Inode, stat: &Stat) -> bool {
    let Some(origin) = &inode.origin else { return false };
    let same = origin.seen.stamp.id == Stamp::of(stat).id;
    stat.kind == inode.kind() && (same || !content_changed(inode))
}

/// The permission bits and times after the commit: those that were set in the overlay, else those on
/// the disk, which it may show otherwise. A file that has `changed` has the mtime of the overlay.
fn meta_after(inode: &Inode, was: Option<&Stat>, changed: bool) -> (u32, Times) {
    let is = &inode.meta;
    let (Some(shown), Some(was)) = (inode.origin.as_ref().map(|origin| origin.meta), was) else {
        return (is.mode, Times::new(is.atime, is.mtime));
    };
    let mode = if shown.mode == is.mode { was.mode } else { is.mode };
    let atime = if shown.atime == is.atime { was.atime } else { is.atime };
    let mtime = if shown.mtime == is.mtime && !changed { was.mtime } else { is.mtime };
    (mode, Times::new(atime, mtime))
}
