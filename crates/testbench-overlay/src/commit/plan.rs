//! From the upper layer to the steps of a commit.
//!
//! Every inode of the upper layer has names that it keeps, names that it has left and names that
//! it has come to. Where content is unchanged, a name left pairs with a name come to as a move;
//! further names become hard links. Where content has changed, a new file takes the place of every
//! name. A file in the way is replaced or taken out.

mod meta;

use std::collections::{BTreeMap, BTreeSet};

use super::check::Checked;
use super::disk::{At, Disk, Failure, failure};
use super::gate::Gate;
use super::journal::{In, Incoming, Mark, Out, Steps, Times};
use super::paths::PathId;
use super::survey::{NameOf, Survey, content_changed, meta_changed};
use crate::lower::observe::Stamp;
use crate::upper::inode::{Ino, Inode};
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

pub(super) struct Planner<'p, 's, 'g, G> {
    disk: &'p mut Disk<'g, G>,
    survey: &'p Survey<'s>,
    device: u64,
    now: BTreeMap<PathId, Option<Stat>>,
    /// Paths before from which something moves, with the slot where it waits.
    moved: BTreeMap<PathId, u64>,
    dirs: Vec<PlacedDir>,
    outs: BTreeMap<PathId, Out>,
    slots: u64,
    plan: Plan,
}

/// A directory of the upper layer that will be there.
#[derive(Clone, Copy, Debug)]
struct PlacedDir {
    ino: Ino,
    before: Option<PathId>,
    after: PathId,
}

/// Which names an inode keeps, leaves and comes to.
struct Placement<'s> {
    ino: Ino,
    inode: &'s Inode,
    kept: Vec<NameOf>,
    came: Vec<NameOf>,
    /// A path before at which it is.
    here: Option<PathId>,
    /// The paths before from which it moves, at most as many as there are names to come to.
    sources: Vec<PathId>,
    /// A new file takes the place of all names.
    copy: bool,
}

impl<'p, 's, 'g, G: Gate> Planner<'p, 's, 'g, G> {
    pub(super) fn plan(
        disk: &'p mut Disk<'g, G>,
        survey: &'p Survey<'s>,
        checked: Checked,
    ) -> Result<Plan, Failure> {
        let top = PlacedDir { ino: Ino::ROOT, before: Some(PathId::TOP), after: PathId::TOP };
        let mut planner = Planner {
            disk,
            survey,
            device: 0,
            now: checked.now,
            moved: BTreeMap::new(),
            dirs: vec![top],
            outs: BTreeMap::new(),
            slots: 0,
            plan: Plan::default(),
        };
        planner.device = planner.now(PathId::TOP)?.map_or(0, |stat| stat.dev);
        planner.place_all()?;
        for spot in survey.spots.iter().filter(|spot| spot.ino.is_none()) {
            spot.before.map_or(Ok(()), |before| planner.remove(before))?;
        }
        planner.finish()
    }

    /// The file at a path before.
    fn now(&mut self, path: PathId) -> Result<Option<Stat>, Failure> {
        if let Some(stat) = self.now.get(&path) {
            return Ok(*stat);
        }
        let stat = self.disk.look(At::Tree(path))?;
        self.now.insert(path, stat);
        Ok(stat)
    }

    /// As [`Planner::now`], of a file that is to be changed.
    fn now_here(&mut self, path: PathId) -> Result<Option<Stat>, Failure> {
        match self.now(path)? {
            Some(stat) if stat.dev != self.device => {
                Err(failure("commit to", At::Tree(path))(Errno::Xdev))
            }
            stat => Ok(stat),
        }
    }

    fn inode(&self, ino: Ino) -> Result<&'s Inode, Failure> {
        let inode = self.survey.state.inode(ino).map(|inode| &**inode);
        inode.map_err(failure("commit to", At::TOP))
    }

    fn slot(&mut self) -> u64 {
        self.slots += 1;
        self.slots - 1
    }

    fn place_all(&mut self) -> Result<(), Failure> {
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
        for placement in placements {
            match placement.inode.kind() {
                FileKind::Dir => self.place_dir(&placement)?,
                _ if placement.copy => self.place_copy(&placement)?,
                _ => self.place_file(&placement)?,
            }
        }
        Ok(())
    }

    fn placement(&mut self, ino: Ino) -> Result<Placement<'s>, Failure> {
        let inode = self.inode(ino)?;
        let mut here = BTreeSet::new();
        let mut nlink = 0;
        for path in self.survey.origins(inode) {
            if let Some(stat) = self.now_here(path)?.filter(|stat| is_still(inode, stat)) {
                nlink = stat.nlink;
                here.insert(path);
            }
        }
        let stays = |name: &NameOf| name.before.is_some_and(|path| here.contains(&path));
        let (kept, came): (Vec<NameOf>, Vec<NameOf>) =
            self.survey.names(ino).iter().partition(|name| stays(name));
        // A file that also has a name that we do not know of must not be changed under that name.
        let shared = meta_changed(inode) && nlink > here.len() as u64;
        let copy = inode.kind() == FileKind::File && (content_changed(inode) || shared);
        let mut sources = here.clone();
        kept.iter().for_each(|name| _ = name.before.map(|path| sources.remove(&path)));
        let moves = if copy { 0 } else { came.len() };
        let sources = sources.into_iter().take(moves).collect();
        Ok(Placement { ino, inode, kept, came, here: here.first().copied(), sources, copy })
    }

    fn place_dir(&mut self, placement: &Placement<'_>) -> Result<(), Failure> {
        let Placement { ino, kept, came, sources, .. } = placement;
        let Some(name) = kept.first().or(came.first()) else { return Ok(()) };
        let before = if kept.is_empty() { sources.first().copied() } else { name.before };
        match before {
            _ if !kept.is_empty() => {}
            Some(from) => self.put_moved(from, name)?,
            None => {
                self.clear(name, FileKind::Dir)?;
                self.plan.steps.ins.push(In { path: name.after, what: Incoming::Dir, over: None });
            }
        }
        self.dirs.push(PlacedDir { ino: *ino, before, after: name.after });
        Ok(())
    }

    /// A file whose content has not changed, a symlink or a special file.
    fn place_file(&mut self, placement: &Placement<'_>) -> Result<(), Failure> {
        let Placement { inode, kept, came, sources, .. } = placement;
        let mut in_place = kept.first().map(|name| (name.before, name.after));
        let mut came = came.iter();
        for (from, name) in sources.iter().zip(came.by_ref()) {
            self.put_moved(*from, name)?;
            in_place.get_or_insert((Some(*from), name.after));
        }
        if let Some((Some(before), after)) = in_place
            && let Some(was) = self.now_here(before)?
        {
            self.file_meta(inode, &was, before, after)?;
        }
        let first = in_place.map(|(_, after)| after);
        self.put_new(placement, first, came.copied().collect())
    }

    /// A file whose content has changed: a new one takes the place of all its names.
    fn place_copy(&mut self, placement: &Placement<'_>) -> Result<(), Failure> {
        let Placement { kept, came, .. } = placement;
        self.put_new(placement, None, kept.iter().chain(came).copied().collect())
    }

    /// Makes names of an inode: links to the one that is there first, or else to a new file.
    fn put_new(
        &mut self,
        placement: &Placement<'_>,
        mut first: Option<PathId>,
        names: Vec<NameOf>,
    ) -> Result<(), Failure> {
        for name in &names {
            let slot = self.slot();
            let what = match first {
                Some(of) => Incoming::Link(of, slot),
                None => {
                    self.stage(placement, slot, name.after)?;
                    Incoming::Slot(slot)
                }
            };
            first.get_or_insert(name.after);
            self.put(what, name, placement.inode.kind())?;
        }
        Ok(())
    }

    /// Puts a moved file in its new place.
    fn put_moved(&mut self, from: PathId, name: &NameOf) -> Result<(), Failure> {
        let Some(stat) = self.now_here(from)? else { return Ok(()) };
        let slot = self.moved[&from];
        self.outs.insert(from, Out { path: from, slot: Some(slot), was: Mark::of(&stat) });
        self.plan.moved += 1;
        self.put(Incoming::Slot(slot), name, stat.kind)
    }

    fn put(&mut self, what: Incoming, name: &NameOf, kind: FileKind) -> Result<(), Failure> {
        let over = self.clear(name, kind)?.map(|was| (self.slot(), Mark::of(&was)));
        self.plan.steps.ins.push(In { path: name.after, what, over });
        Ok(())
    }

    /// Removes what is in the way; returns a file that can be replaced in its place.
    fn clear(&mut self, name: &NameOf, kind: FileKind) -> Result<Option<Stat>, Failure> {
        let Some(before) = name.before.filter(|before| !self.moved.contains_key(before)) else {
            return Ok(None);
        };
        match self.now_here(before)? {
            Some(stat) if kind != FileKind::Dir && stat.kind != FileKind::Dir => Ok(Some(stat)),
            Some(_) => self.remove(before).map(|()| None),
            None => Ok(None),
        }
    }

    /// Removes something with everything in it, but for what moves elsewhere.
    fn remove(&mut self, path: PathId) -> Result<(), Failure> {
        let mut next = vec![path];
        while let Some(path) = next.pop() {
            let stays = self.outs.contains_key(&path) || self.moved.contains_key(&path);
            let Some(stat) = self.now_here(path)?.filter(|_| !stays) else { continue };
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

    fn finish(mut self) -> Result<Plan, Failure> {
        let order = self.disk.paths.order();
        let is_removed =
            |path: PathId| self.outs.contains_key(&path) && !self.moved.contains_key(&path);
        let paths = &self.disk.paths;
        let roots =
            self.outs.keys().filter(|path| is_removed(**path) && !is_removed(paths.dir(**path)));
        self.plan.removed = roots.count() as u64;
        self.plan.steps.outs = std::mem::take(&mut self.outs).into_values().collect();
        self.plan.steps.outs.sort_by_key(|out| std::cmp::Reverse(order[&out.path]));
        // The first name of a file may come behind the others in the order.
        let is_link = |step: &In| matches!(step.what, Incoming::Link(..));
        self.plan.steps.ins.sort_by_key(|step| (is_link(step), order[&step.path]));
        self.dir_metas()?;
        self.plan.steps.metas.sort_by_key(|meta| order[&meta.path]);
        self.plan.steps.opens.sort_by_key(|path| order[path]);
        Ok(self.plan)
    }
}

/// Whether a file on the disk still is the one that an inode came from. A file whose content we
/// have not changed is taken for what it is now: a change of its mode goes to the file there.
fn is_still(inode: &Inode, stat: &Stat) -> bool {
    let Some(origin) = &inode.origin else { return false };
    let same = origin.seen.stamp.id == Stamp::of(stat).id;
    stat.kind == inode.kind() && (same || !content_changed(inode))
}
