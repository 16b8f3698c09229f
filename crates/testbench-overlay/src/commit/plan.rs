//! From the upper layer to the steps of a commit.
//!
//! Every inode of the upper layer has names that it keeps, names that it has left and names that
//! it has come to. Where content is unchanged, a name left pairs with a name come to as a move;
//! what is over becomes hard links or removals. Where content has changed, a new file takes the
//! place of every name. What was in the way is replaced or taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use testbench_clock::WallTime;

use super::conflict::Conflict;
use super::disk::{At, Disk};
use super::gate::Gate;
use super::step::{In, Mark, Meta, Out, Placed, Slot, Steps, Times};
use super::survey::{NameOf, Spot, Survey, content_changed, meta_changed};
use crate::inode::{Ino, Inode, Node};
use crate::name::RelPath;
use crate::observe::Stamp;
use crate::{Errno, FileKind, Stat};

/// What a resolver has decided, by the path before.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// What stays as it is beneath.
    pub(super) theirs: BTreeSet<RelPath>,
    /// What gets another content.
    pub(super) content: BTreeMap<RelPath, Arc<[u8]>>,
    /// What was decided on.
    pub(super) conflicts: Vec<Conflict>,
}

/// Steps, and what must be on the stage before they are made.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Steps,
    pub(super) stage: Vec<(Slot, Staged)>,
    /// What is taken out, by the path before.
    pub(super) outs: BTreeMap<RelPath, Stamp>,
    /// What is replaced, by the path after.
    pub(super) replaced: BTreeMap<RelPath, Stamp>,
}

/// Something to be put on the stage.
#[derive(Debug)]
pub(super) enum Staged {
    /// The content of an inode, or other bytes, as a file like the one at a path before.
    File {
        ino: Option<Ino>,
        content: Option<Arc<[u8]>>,
        mode: u32,
        times: Times,
        like: Option<RelPath>,
        path: RelPath,
    },
    Symlink {
        target: Arc<[u8]>,
        times: Times,
        path: RelPath,
    },
    /// One more name of something on the stage.
    Link {
        to: Slot,
        path: RelPath,
    },
    /// One more name of a lower file.
    LinkLower {
        to: RelPath,
    },
}

/// Why there is no plan.
#[derive(Debug)]
pub(super) enum Unplannable {
    /// It lies on another file system than the root.
    Device(RelPath),
    /// A device, socket or FIFO that is gone beneath cannot be made.
    Special(RelPath),
    /// The directory is gone in which a resolver wants a file.
    NoDirectory(RelPath),
    /// Something cannot be looked at.
    At(RelPath, Errno),
}

type Result<T> = std::result::Result<T, Unplannable>;

pub(super) struct Planner<'p, 's, 'g, G> {
    disk: &'p Disk<'g, G>,
    survey: &'p Survey<'s>,
    resolved: &'p Resolved,
    device: u64,
    now: BTreeMap<RelPath, Option<Stat>>,
    spots: Vec<Spot>,
    /// Spots that a resolver has dropped, by path after.
    dropped: BTreeSet<RelPath>,
    /// What is known of things that wait on the stage.
    marks: BTreeMap<Slot, Mark>,
    /// Lower paths whose file is moved or linked elsewhere, with where it waits.
    moved: BTreeMap<RelPath, Slot>,
    /// Directories by path before and after.
    dirs: Vec<DirAt>,
    next: u64,
    plan: Plan,
}

/// A directory of the upper layer.
#[derive(Clone, Debug)]
struct DirAt {
    ino: Ino,
    before: Option<RelPath>,
    after: RelPath,
}

impl<'p, 's, 'g, G: Gate> Planner<'p, 's, 'g, G> {
    pub(super) fn plan(
        disk: &'p Disk<'g, G>,
        survey: &'p Survey<'s>,
        resolved: &'p Resolved,
    ) -> Result<Plan> {
        let root = disk.look(At::Tree(&RelPath::TOP));
        let root = root.map_err(|errno| Unplannable::At(RelPath::TOP, errno))?;
        let device = root.map_or(0, |stat| stat.dev);
        let mut planner = Planner {
            disk,
            survey,
            resolved,
            device,
            now: BTreeMap::new(),
            spots: Vec::new(),
            dropped: BTreeSet::new(),
            marks: BTreeMap::new(),
            moved: BTreeMap::new(),
            dirs: vec![DirAt { ino: Ino::ROOT, before: Some(RelPath::TOP), after: RelPath::TOP }],
            next: 0,
            plan: Plan::default(),
        };
        planner.drop_spots();
        planner.place_all()?;
        planner.remove_all()?;
        planner.contents_alone()?;
        planner.sort();
        planner.dir_metas()?;
        planner.plan.steps.fill(&planner.marks);
        Ok(planner.plan)
    }

    /// Leaves out the spots that a resolver has dropped, with all that hangs together with them.
    fn drop_spots(&mut self) {
        let mut kept = self.resolved.theirs.clone();
        let mut dropped: BTreeSet<RelPath> = BTreeSet::new();
        let mut again = !self.resolved.theirs.is_empty() || !self.resolved.content.is_empty();
        while again {
            let before = (kept.len(), dropped.len());
            for spot in &self.survey.spots {
                if !self.is_dropped(spot, &kept, &dropped) {
                    continue;
                }
                dropped.insert(spot.after.clone());
                kept.extend(spot.before.clone());
                let inode = spot.ino.and_then(|ino| self.survey.state.inodes.get(&ino));
                if let Some(origin) = inode.and_then(|inode| inode.origin.as_ref()) {
                    kept.extend(origin.paths.iter().cloned());
                }
            }
            again = before != (kept.len(), dropped.len());
        }
        let counts = |spot: &&Spot| !dropped.contains(&spot.after);
        self.spots = self.survey.spots.iter().filter(counts).cloned().collect();
        self.dropped = dropped;
    }

    fn is_dropped(
        &self,
        spot: &Spot,
        kept: &BTreeSet<RelPath>,
        dropped: &BTreeSet<RelPath>,
    ) -> bool {
        if spot.before.as_ref().is_some_and(|before| kept.contains(before)) {
            return true;
        }
        if spot.after.split().is_some_and(|(dir, _)| dropped.contains(&dir)) {
            return true;
        }
        let inode = spot.ino.and_then(|ino| self.survey.state.inodes.get(&ino));
        let origin = inode.and_then(|inode| inode.origin.as_ref());
        let paths = origin.map(|origin| &origin.paths[..]).unwrap_or_default();
        let stays = spot.before.as_ref().is_some_and(|before| paths.contains(before));
        if paths.iter().any(|path| kept.contains(path)) {
            return true;
        }
        // What is to stay lies in a directory that this spot removes.
        !stays
            && spot.before.as_ref().is_some_and(|before| {
                let resolved = self.resolved.theirs.iter().chain(self.resolved.content.keys());
                resolved.into_iter().any(|path| is_below(path, before))
            })
    }

    /// What is at a path before.
    fn now(&mut self, path: &RelPath) -> Result<Option<Stat>> {
        if let Some(stat) = self.now.get(path) {
            return Ok(*stat);
        }
        let stat = self.disk.look(At::Tree(path));
        let stat = stat.map_err(|errno| Unplannable::At(path.clone(), errno))?;
        self.now.insert(path.clone(), stat);
        Ok(stat)
    }

    /// As [`Planner::now`], of what is to be changed.
    fn now_here(&mut self, path: &RelPath) -> Result<Option<Stat>> {
        let stat = self.now(path)?;
        match stat {
            Some(stat) if stat.dev != self.device => Err(Unplannable::Device(path.clone())),
            stat => Ok(stat),
        }
    }

    fn inode(&self, ino: Ino, path: &RelPath) -> Result<&'s Inode> {
        let inode = self.survey.state.inode(ino);
        inode.map(|inode| &**inode).map_err(|errno| Unplannable::At(path.clone(), errno))
    }

    fn old_slot(&mut self) -> Slot {
        self.next += 1;
        Slot::Old(self.next)
    }

    fn stage(&mut self, staged: Staged) -> Slot {
        let slot = Slot::New(self.plan.stage.len() as u64);
        self.plan.stage.push((slot, staged));
        slot
    }

    fn place_all(&mut self) -> Result<()> {
        let mut placements = Vec::new();
        let mut seen = BTreeSet::new();
        for spot in self.spots.clone() {
            let Some(ino) = spot.ino.filter(|ino| seen.insert(*ino)) else { continue };
            let inode = self.inode(ino, &spot.after)?;
            let placement = self.placement(ino, inode)?;
            // Where everything moves from must be known before it can be told what is in the way.
            for path in &placement.sources {
                let slot = self.old_slot();
                self.moved.insert(path.clone(), slot);
            }
            placements.push((ino, inode, placement));
        }
        for (ino, inode, placement) in placements {
            match inode.kind() {
                FileKind::Dir => self.place_dir(ino, inode, placement)?,
                _ if placement.copy => self.place_copy(ino, inode, placement)?,
                _ => self.place_file(ino, inode, placement)?,
            }
        }
        Ok(())
    }

    /// Which names an inode keeps, leaves and comes to, on the disk as it is now.
    fn placement(&mut self, ino: Ino, inode: &Inode) -> Result<Placement> {
        let mut names = self.survey.names(inode);
        names.retain(|name| !self.dropped.contains(&name.after));
        let paths = inode.origin.as_ref().map(|origin| origin.paths.clone()).unwrap_or_default();
        let mut here = BTreeSet::new();
        for path in &paths {
            if self.now_here(path)?.is_some_and(|stat| self.is_still(inode, &stat)) {
                here.insert(path.clone());
            }
        }
        let about = paths.iter().chain(names.iter().filter_map(|name| name.before.as_ref()));
        let content = about.filter_map(|path| self.resolved.content.get(path)).next().cloned();
        let stays = |name: &NameOf| name.before.as_ref().is_some_and(|path| here.contains(path));
        let (kept, came): (Vec<NameOf>, Vec<NameOf>) = names.into_iter().partition(stays);
        let kept: Vec<(RelPath, RelPath)> =
            kept.into_iter().filter_map(|name| Some((name.before?, name.after))).collect();
        let mut left = here.clone();
        kept.iter().for_each(|(before, _)| _ = left.remove(before));
        let mut nlink = 0;
        if let Some(path) = here.iter().next() {
            nlink = self.now(path)?.map_or(0, |stat| stat.nlink);
        }
        let is_file = inode.kind() == FileKind::File;
        // What also has a name that we do not know of must not be changed under that name.
        let shared = meta_changed(inode) && nlink > here.len() as u64;
        let copy = is_file && (content.is_some() || content_changed(inode) || shared);
        let copy = copy && !(here.is_empty() && content.is_none() && inode.origin.is_none());
        let sources = match copy {
            true => Vec::new(),
            false => left.iter().take(came.len()).cloned().collect(),
        };
        debug_assert_ne!(ino, Ino::ROOT);
        Ok(Placement { kept, came, here, sources, copy, content })
    }

    /// Whether what is on the disk still is what an inode came from. A file whose content we have
    /// not changed is taken for what it is now: a change of its mode goes to whatever is there.
    fn is_still(&self, inode: &Inode, stat: &Stat) -> bool {
        let Some(origin) = &inode.origin else { return false };
        let same = origin.seen.stamp.id == Stamp::of(stat).id;
        stat.kind == inode.kind() && (same || !content_changed(inode))
    }
}

/// Where an inode is put.
#[derive(Debug)]
struct Placement {
    /// Paths before and after of names that stay.
    kept: Vec<(RelPath, RelPath)>,
    came: Vec<NameOf>,
    /// All paths before at which it is.
    here: BTreeSet<RelPath>,
    /// Those of them from which it moves, as many as there are names to come to at most.
    sources: Vec<RelPath>,
    /// A new file takes the place of all names.
    copy: bool,
    content: Option<Arc<[u8]>>,
}

impl<'s, G: Gate> Planner<'_, 's, '_, G> {
    fn place_dir(&mut self, ino: Ino, inode: &Inode, placement: Placement) -> Result<()> {
        let dir = match (placement.kept.first(), placement.came.first()) {
            (Some((before, after)), _) => {
                DirAt { ino, before: Some(before.clone()), after: after.clone() }
            }
            (None, Some(name)) => {
                let before = placement.sources.first().cloned();
                match &before {
                    Some(from) => self.put_moved(from, name)?,
                    None => {
                        self.clear(name, false)?;
                        self.plan.steps.ins.push(In::Dir { path: name.after.clone() });
                    }
                }
                DirAt { ino, before, after: name.after.clone() }
            }
            (None, None) => return Ok(()),
        };
        debug_assert_eq!(inode.kind(), FileKind::Dir);
        self.dirs.push(dir);
        Ok(())
    }

    /// Something whose content has not changed, or that is new.
    fn place_file(&mut self, ino: Ino, inode: &Inode, placement: Placement) -> Result<()> {
        let Placement { kept, came, here, sources, content, .. } = placement;
        let mut came = came.into_iter();
        for (from, name) in sources.iter().zip(came.by_ref()) {
            self.put_moved(from, &name)?;
            if kept.is_empty() && *from == sources[0] {
                self.meta(inode, from, &name.after)?;
            }
        }
        if let Some((before, after)) = kept.first() {
            self.meta(inode, before, after)?;
        }
        let mut first = None;
        for name in came {
            let staged = match (here.iter().next(), first) {
                (Some(lower), _) => Staged::LinkLower { to: lower.clone() },
                (None, Some(to)) => Staged::Link { to, path: name.after.clone() },
                (None, None) => self.fresh(ino, inode, &name.after, None, content.clone())?,
            };
            let slot = self.stage(staged);
            first.get_or_insert(slot);
            self.put(slot, &name, inode.kind())?;
        }
        Ok(())
    }

    /// A file whose content has changed: a new one takes the place of all its names.
    fn place_copy(&mut self, ino: Ino, inode: &Inode, placement: Placement) -> Result<()> {
        let Placement { kept, came, here, content, .. } = placement;
        let like = here.into_iter().next();
        let mut first = None;
        let kept = kept.into_iter().map(|(before, after)| NameOf { after, before: Some(before) });
        for name in kept.chain(came) {
            let staged = match first {
                Some(to) => Staged::Link { to, path: name.after.clone() },
                None => self.fresh(ino, inode, &name.after, like.clone(), content.clone())?,
            };
            let slot = self.stage(staged);
            first.get_or_insert(slot);
            self.put(slot, &name, FileKind::File)?;
        }
        Ok(())
    }

    /// A file or symlink that is made anew.
    fn fresh(
        &mut self,
        ino: Ino,
        inode: &Inode,
        path: &RelPath,
        like: Option<RelPath>,
        content: Option<Arc<[u8]>>,
    ) -> Result<Staged> {
        let (mode, times) = match &like {
            None => (inode.meta.mode, times(inode.meta.atime, inode.meta.mtime)),
            Some(like) => {
                let was = self.now(like)?.expect("looked at before");
                (mode_after(inode, &was), times_after(inode, &was, true))
            }
        };
        let path = path.clone();
        Ok(match &inode.node {
            Node::File(_) => Staged::File { ino: Some(ino), content, mode, times, like, path },
            Node::Symlink(target) => Staged::Symlink { target: target.clone(), times, path },
            Node::Special | Node::Dir(_) => return Err(Unplannable::Special(path)),
        })
    }

    /// Permission bits and times of a file that stays the same file.
    fn meta(&mut self, inode: &Inode, before: &RelPath, after: &RelPath) -> Result<()> {
        if !meta_changed(inode) {
            return Ok(());
        }
        let Some(was) = self.now_here(before)? else { return Ok(()) };
        let (mode, times) = (mode_after(inode, &was), times_after(inode, &was, false));
        let before = Placed { path: before.clone(), mode: was.mode, times: Times::of(&was) };
        let after = Placed { path: after.clone(), mode, times };
        let meta = Meta { kind: was.kind.into(), before: Some(before), after: Some(after) };
        self.plan.steps.metas.push(meta);
        Ok(())
    }

    /// Puts what moves from a path before in its new place.
    fn put_moved(&mut self, from: &RelPath, name: &NameOf) -> Result<()> {
        let Some(stat) = self.now_here(from)? else { return Ok(()) };
        let slot = self.moved[from];
        self.take_out(from, slot, &stat);
        self.marks.insert(slot, Mark::of(&stat));
        self.put(slot, name, stat.kind)
    }

    /// Puts something on the stage in its place.
    fn put(&mut self, slot: Slot, name: &NameOf, kind: FileKind) -> Result<()> {
        let is = Mark::unknown(kind);
        let to = name.after.clone();
        let step = match self.clear(name, kind != FileKind::Dir)? {
            None => In::Move { slot, to, is },
            Some(was) => {
                self.plan.replaced.insert(to.clone(), Stamp::of(&was));
                In::Replace { new: slot, old: self.old_slot(), path: to, is, was: Mark::of(&was) }
            }
        };
        self.plan.steps.ins.push(step);
        Ok(())
    }

    /// Takes away what is in the way. What can be replaced in place is answered instead.
    fn clear(&mut self, name: &NameOf, replaces: bool) -> Result<Option<Stat>> {
        let Some(before) = &name.before else { return Ok(None) };
        let Some(stat) = self.now_here(before)? else { return Ok(None) };
        if self.moved.contains_key(before) {
            return Ok(None);
        }
        if replaces && stat.kind != FileKind::Dir {
            return Ok(Some(stat));
        }
        let slot = self.old_slot();
        self.take_out(before, slot, &stat);
        Ok(None)
    }

    fn take_out(&mut self, from: &RelPath, slot: Slot, stat: &Stat) {
        if self.plan.outs.insert(from.clone(), Stamp::of(stat)).is_none() {
            let out = Out { from: from.clone(), slot, was: Mark::of(stat) };
            self.plan.steps.outs.push(out);
        }
    }

    /// Takes out what the upper layer hides.
    fn remove_all(&mut self) -> Result<()> {
        let alone = self.contents_without_inode();
        for spot in self.spots.clone() {
            let (None, Some(before)) = (spot.ino, spot.before) else { continue };
            if self.moved.contains_key(&before) || alone.contains(&before) {
                continue;
            }
            if let Some(stat) = self.now_here(&before)? {
                let slot = self.old_slot();
                self.take_out(&before, slot, &stat);
            }
        }
        Ok(())
    }

    /// Where a resolver wants a content, and no inode of ours is to have it.
    fn contents_without_inode(&self) -> BTreeSet<RelPath> {
        let mut alone: BTreeSet<RelPath> = self.resolved.content.keys().cloned().collect();
        for spot in self.spots.iter().filter(|_| !self.resolved.content.is_empty()) {
            let Some(inode) = spot.ino.and_then(|ino| self.survey.state.inodes.get(&ino)) else {
                continue;
            };
            let origin = inode.origin.iter().flat_map(|origin| &origin.paths);
            origin.chain(&spot.before).for_each(|path| _ = alone.remove(path));
        }
        alone
    }

    /// Contents that a resolver gives to files that we have deleted, or only looked at.
    fn contents_alone(&mut self) -> Result<()> {
        for path in &self.contents_without_inode() {
            let content = self.resolved.content[path].clone();
            if !self.has_dir(path)? {
                return Err(Unplannable::NoDirectory(path.clone()));
            }
            let was = self.now_here(path)?;
            let (mode, times, like) = match was.filter(|stat| stat.kind == FileKind::File) {
                Some(stat) => (stat.mode, Times::of(&stat), Some(path.clone())),
                None => (0o644, times(self.now_time(), self.now_time()), None),
            };
            let content = Some(content);
            let path = path.clone();
            let file = Staged::File { ino: None, content, mode, times, like, path: path.clone() };
            let slot = self.stage(file);
            let name = NameOf { after: self.after(&path), before: Some(path) };
            self.put(slot, &name, FileKind::File)?;
        }
        Ok(())
    }

    /// Whether the directory of a path before will be there.
    fn has_dir(&mut self, path: &RelPath) -> Result<bool> {
        let Some((dir, _)) = path.split() else { return Ok(false) };
        let after = self.after(&dir);
        let is_dir = self.now(&dir)?.is_some_and(|stat| stat.kind == FileKind::Dir);
        Ok(is_dir || self.dirs.iter().any(|dir| dir.after == after))
    }

    /// Where a path before lies after, if no spot says so: with the nearest directory that does.
    fn after(&self, path: &RelPath) -> RelPath {
        let mut names = Vec::new();
        let mut at = path.clone();
        loop {
            let dir = self.dirs.iter().find(|dir| dir.before.as_ref() == Some(&at));
            if let Some(dir) = dir {
                let names = names.iter().rev();
                return names.fold(dir.after.clone(), |path, name: &Vec<u8>| path.child(name));
            }
            let Some((dir, name)) = at.split().map(|(dir, name)| (dir, name.to_vec())) else {
                return path.clone();
            };
            names.push(name);
            at = dir;
        }
    }

    /// The time at which the upper layer was last changed.
    fn now_time(&self) -> WallTime {
        let times = self.survey.state.inodes.values().map(|inode| inode.meta.ctime);
        times.max().unwrap_or(WallTime::from_unix_secs(0))
    }

    fn sort(&mut self) {
        self.plan.steps.outs.sort_by(|a, b| b.from.cmp(&a.from));
        self.plan.steps.ins.sort_by(|a, b| a.path().cmp(b.path()));
    }

    /// Permission bits and times of directories: of those that have changed, and of those in which
    /// the commit works.
    fn dir_metas(&mut self) -> Result<()> {
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

fn times(atime: WallTime, mtime: WallTime) -> Times {
    Times { atime: atime.into(), mtime: mtime.into() }
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
    times(atime, mtime)
}

fn is_below(path: &RelPath, dir: &RelPath) -> bool {
    let rest = path.as_bytes().strip_prefix(dir.as_bytes());
    rest.is_some_and(|rest| dir.is_top() && !rest.is_empty() || rest.first() == Some(&b'/'))
}
