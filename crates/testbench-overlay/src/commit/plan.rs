//! From the upper layer to the steps of a commit.
//!
//! Every inode of the upper layer has names that it keeps, names that it has left and names that
//! it has come to. Where content is unchanged, a name left pairs with a name come to as a move;
//! what is over becomes hard links or removals. Where content has changed, a new file takes the
//! place of every name. What was in the way is replaced or taken out.

mod meta;
mod placement;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::meta::times;
use super::conflict::Conflict;
use super::disk::{At, Disk};
use super::gate::Gate;
use super::step::{Mark, Slot, Steps, Times};
use super::survey::{NameOf, Spot, Survey};
use crate::lower::observe::Stamp;
use crate::upper::inode::{Ino, Inode};
use crate::vfs::name::RelPath;
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
    /// A resolver wants one file to have two contents: this is the second name of it.
    TwoContents(RelPath),
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
        now: BTreeMap<RelPath, Option<Stat>>,
    ) -> Result<Plan> {
        let root = disk.look(At::Tree(&RelPath::TOP));
        let root = root.map_err(|errno| Unplannable::At(RelPath::TOP, errno))?;
        let device = root.map_or(0, |stat| stat.dev);
        let mut planner = Planner {
            disk,
            survey,
            resolved,
            device,
            now,
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

    fn sort(&mut self) {
        self.plan.steps.outs.sort_by(|a, b| b.from.cmp(&a.from));
        self.plan.steps.ins.sort_by(|a, b| a.path().cmp(b.path()));
    }
}

fn is_below(path: &RelPath, dir: &RelPath) -> bool {
    let rest = path.as_bytes().strip_prefix(dir.as_bytes());
    rest.is_some_and(|rest| dir.is_top() && !rest.is_empty() || rest.first() == Some(&b'/'))
}
