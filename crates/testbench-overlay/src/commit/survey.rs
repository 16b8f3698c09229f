//! The changes of the upper layer, seen from the lower directory.
//!
//! The upper layer is walked along its entries. An entry is a *spot*: a name in a directory, with
//! two paths. *After* the commit it lies where the merged tree shows it; *before* it lay where the
//! directory came from, which is another place if the directory has moved.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::conflict::OurChange;
use super::paths::{PathId, Paths};
use crate::lower::observe::{Listing, Observation, Seen};
use crate::upper::inode::{Entry, Ino, Inode, Node, State};
use crate::vfs::name::{Hashed, RelPath};
use crate::{Errno, FileKind};

/// An entry of the upper layer.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// The directory that has the entry.
    pub(super) dir: Ino,
    pub(super) after: PathId,
    /// `None` in a directory through which nothing of the lower directory shows.
    pub(super) before: Option<PathId>,
    /// The inode there; `None` hides the lower file.
    pub(super) ino: Option<Ino>,
}

/// A name that an inode has, with or without an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameOf {
    pub(super) after: PathId,
    pub(super) before: Option<PathId>,
}

/// All spots, from the top down, and what follows from them.
#[derive(Debug)]
pub(super) struct Survey<'s> {
    pub(super) state: &'s State,
    pub(super) spots: Vec<Spot>,
    /// The spots that are not to be committed.
    pub(super) rest: Vec<Spot>,
    /// All that was seen, by path, with `None` for nothing; the paths come sorted.
    pub(super) seen: BTreeMap<PathId, Option<Seen>>,
    /// All listings that were seen.
    pub(super) listings: Vec<(PathId, Listing)>,
    /// Our changes, by the path before.
    pub(super) ours: BTreeMap<PathId, OurChange>,
    ids: HashMap<RelPath, PathId, Hashed>,
    /// The directories on the way to what is known, with the paths after and before.
    dirs: BTreeMap<Ino, NameOf>,
    names: BTreeMap<Ino, Vec<NameOf>>,
}

/// The paths to which a commit is limited, with all directories above them.
#[derive(Debug)]
pub(super) struct Limits {
    only: Option<BTreeSet<PathId>>,
    above: BTreeSet<PathId>,
}

impl Limits {
    pub(super) fn new(paths: &Paths, only: Option<BTreeSet<PathId>>) -> Limits {
        let all = only.iter().flatten().flat_map(|id| paths.upwards(*id).skip(1));
        Limits { above: all.collect(), only }
    }

    /// Whether a path is one of them or lies in one.
    pub(super) fn take_in(&self, paths: &Paths, id: PathId) -> bool {
        self.only.as_ref().is_none_or(|only| paths.upwards(id).any(|id| only.contains(&id)))
    }

    pub(super) fn is_above(&self, id: PathId) -> bool {
        self.above.contains(&id)
    }
}

impl<'s> Survey<'s> {
    pub(super) fn new(state: &'s State, paths: &mut Paths) -> Result<Survey<'s>, Errno> {
        let mut survey = Survey {
            state,
            spots: Vec::new(),
            rest: Vec::new(),
            seen: BTreeMap::new(),
            listings: Vec::new(),
            ours: BTreeMap::new(),
            ids: HashMap::with_hasher(Hashed::default()),
            dirs: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        survey.collect_seen(paths);
        survey.collect_spots(paths)?;
        for spot in survey.spots.clone() {
            if let Some(ino) = spot.ino
                && !survey.names.contains_key(&ino)
            {
                let names = survey.find_names(paths, state.inode(ino)?);
                survey.names.insert(ino, names);
            }
        }
        Ok(survey)
    }

    fn collect_seen(&mut self, paths: &mut Paths) {
        let mut seen: BTreeMap<&RelPath, Option<Option<Seen>>> =
            BTreeMap::from([(&RelPath::TOP, None)]);
        for (path, observation) in self.state.reads.iter() {
            seen.insert(
                path,
                match observation {
                    Observation::Absent => Some(None),
                    Observation::Removed(was, _) => Some(Some(was.clone())),
                    Observation::Listing(_) => None,
                },
            );
        }
        // An inode knows better than an observation from before it was made.
        for origin in self.state.inodes.values().filter_map(|inode| inode.origin.as_ref()) {
            let there = |path| (path, Some(Some(origin.seen.clone())));
            seen.extend(origin.paths.iter().map(there));
        }
        let ids = paths.add_sorted(seen.keys().copied());
        for ((path, was), id) in seen.into_iter().zip(ids) {
            self.ids.insert(path.clone(), id);
            self.seen.extend(was.map(|was| (id, was)));
            if let Some(Observation::Listing(listing)) = self.state.reads.get(path) {
                self.listings.push((id, listing.clone()));
            }
        }
    }

    fn collect_spots(&mut self, paths: &mut Paths) -> Result<(), Errno> {
        let top = NameOf { after: PathId::TOP, before: Some(PathId::TOP) };
        self.dirs.insert(Ino::ROOT, top);
        let mut dirs = vec![Ino::ROOT];
        while let Some(dir) = dirs.pop() {
            let at = self.dirs[&dir];
            let node = self.state.dir(dir)?;
            for (name, entry) in node.entries.iter() {
                let after = paths.child(at.after, name.as_bytes());
                let before = at.before.map(|before| paths.child(before, name.as_bytes()));
                let ino = match entry {
                    Entry::Present(ino) => Some(*ino),
                    Entry::Whiteout => None,
                };
                if let Some(ino) = ino
                    && let Node::Dir(node) = &self.state.inode(ino)?.node
                {
                    let before = node.lower.as_ref().and_then(|lower| self.ids.get(lower));
                    self.dirs.insert(ino, NameOf { after, before: before.copied() });
                    dirs.push(ino);
                }
                self.spots.push(Spot { dir, after, before, ino });
            }
        }
        Ok(())
    }

    /// Where a directory lies, and where the lower directory that shows through it lay; `None` for
    /// one that was removed.
    pub(super) fn dir(&mut self, paths: &mut Paths, dir: Ino) -> Option<NameOf> {
        let (mut down, mut at) = (Vec::new(), dir);
        while !self.dirs.contains_key(&at) {
            let (above, name) = self.state.inode(at).ok()?.names.first()?;
            down.push((at, *above, name));
            at = *above;
        }
        for (ino, above, name) in down.into_iter().rev() {
            let after = paths.child(self.dirs[&above].after, name.as_bytes());
            let lower = self.state.dir(ino).ok()?.lower.as_ref();
            let before = lower.and_then(|lower| self.ids.get(lower)).copied();
            self.dirs.insert(ino, NameOf { after, before });
        }
        self.dirs.get(&dir).copied()
    }

    /// The number of a path that was seen.
    pub(super) fn id(&self, path: &RelPath) -> Option<PathId> {
        self.ids.get(path).copied()
    }

    /// The names of an inode; those that do not lead to the top any more are left out.
    fn find_names(&mut self, paths: &mut Paths, inode: &Inode) -> Vec<NameOf> {
        let mut names = Vec::new();
        for (dir, name) in &inode.names {
            let Some(at) = self.dir(paths, *dir) else { continue };
            let mut child = |dir| paths.child(dir, name.as_bytes());
            names.push(NameOf { after: child(at.after), before: at.before.map(&mut child) });
        }
        if names.len() > 1 {
            names.sort_by_cached_key(|name| paths.bytes(name.after));
        }
        names
    }

    /// The names of the inode at a spot.
    pub(super) fn names(&self, ino: Ino) -> &[NameOf] {
        self.names.get(&ino).map(Vec::as_slice).unwrap_or_default()
    }

    /// The lower paths that an inode came from.
    pub(super) fn origins(&self, inode: &Inode) -> Vec<PathId> {
        let paths = inode.origin.iter().flat_map(|origin| &origin.paths);
        paths.filter_map(|path| self.ids.get(path).copied()).collect()
    }

    /// The inode at a spot, if it is one that came from the very path before.
    pub(super) fn stays(&self, spot: &Spot) -> bool {
        let inode = spot.ino.and_then(|ino| self.state.inodes.get(&ino));
        let (Some(before), Some(inode)) = (spot.before, inode) else { return false };
        self.origins(inode).contains(&before)
    }

    /// Where an inode was and is no longer, and where it is and was not.
    pub(super) fn moves(&self, ino: Ino, inode: &Inode) -> (Vec<PathId>, Vec<PathId>) {
        let (names, origins) = (self.names(ino), self.origins(inode));
        let kept: BTreeSet<PathId> = names.iter().filter_map(|name| name.before).collect();
        let stayed = |name: &&NameOf| name.before.is_some_and(|path| origins.contains(&path));
        let came = names.iter().filter(|name| !stayed(name)).map(|name| name.after).collect();
        (origins.iter().copied().filter(|path| !kept.contains(path)).collect(), came)
    }

    /// All changed paths, and the directories above them.
    pub(super) fn touched(&self, paths: &Paths) -> BTreeSet<PathId> {
        let mut touched = BTreeSet::from([PathId::TOP]);
        for path in self.spots.iter().flat_map(|spot| [Some(spot.after), spot.before]).flatten() {
            // Behind one that is known, all are.
            let _ = paths.upwards(path).take_while(|dir| touched.insert(*dir)).count();
        }
        touched
    }

    /// Leaves out the spots beyond the limits. Files with several names and moved files are taken
    /// whole or not at all: the error is a path that is taken, and one that would have to be.
    pub(super) fn limit(&mut self, paths: &Paths, limits: &Limits) -> Result<(), (PathId, PathId)> {
        if limits.only.is_none() {
            return Ok(());
        }
        let is_dir = |ino: Ino| self.state.dir(ino).is_ok();
        let takes_in = |id: &PathId| limits.take_in(paths, *id);
        let mut taken = BTreeSet::new();
        for spot in &self.spots {
            let above = spot.ino.is_some_and(is_dir) && limits.is_above(spot.after);
            if above || takes_in(&spot.after) || spot.before.as_ref().is_some_and(takes_in) {
                taken.insert(spot.after);
            }
        }
        for (ino, names) in &self.names {
            let Some(inode) = self.state.inodes.get(ino) else { continue };
            let (mut ends, came) = self.moves(*ino, inode);
            if ends.is_empty() && is_dir(*ino) {
                continue;
            }
            ends.extend(came);
            if inode.is_changed() {
                ends.extend(names.iter().map(|name| name.after));
            }
            let (inside, outside): (Vec<PathId>, Vec<PathId>) =
                ends.iter().partition(|id| takes_in(id));
            let above = outside.iter().find(|id| taken.contains(id));
            if let (Some(one), Some(other)) = (inside.first().or(above), outside.first()) {
                return Err((*one, *other));
            }
        }
        let spots = std::mem::take(&mut self.spots);
        (self.spots, self.rest) = spots.into_iter().partition(|spot| taken.contains(&spot.after));
        Ok(())
    }

    /// Finds out what we change.
    pub(super) fn classify(&mut self, paths: &Paths) -> Result<(), Errno> {
        let mut ours = BTreeMap::new();
        if mode_changed(self.state.inode(Ino::ROOT)?) {
            ours.insert(PathId::TOP, OurChange::Meta);
        }
        let mut placed = BTreeSet::new();
        for spot in &self.spots {
            let Some(ino) = spot.ino else {
                if let Some(before) = spot.before {
                    ours.entry(before).or_insert(OurChange::Deleted);
                }
                continue;
            };
            let inode = self.state.inode(ino)?;
            let origins = self.origins(inode);
            if placed.insert(ino) {
                let (left, came) = self.moves(ino, inode);
                let mut came = came.into_iter();
                for (from, to) in left.into_iter().zip(came.by_ref()) {
                    ours.insert(from, OurChange::Renamed { to: paths.bytes(to) });
                }
                if let Some(to) = came.next() {
                    for path in &origins {
                        let linked = OurChange::Linked { to: paths.bytes(to) };
                        ours.entry(*path).or_insert(linked);
                    }
                }
            }
            let Some(before) = spot.before else { continue };
            if inode.origin.is_none() {
                ours.insert(before, OurChange::Added);
            } else if !origins.contains(&before) {
                // The file that was there may have moved.
                ours.entry(before).or_insert(OurChange::Added);
            } else if content_changed(inode) {
                ours.insert(before, OurChange::Modified);
            } else if mode_changed(inode) || !is_dir(inode) && meta_changed(inode) {
                ours.insert(before, OurChange::Meta);
            } else if meta_changed(inode) {
                // Most often because something in it has come or gone.
                ours.entry(before).or_insert(OurChange::Inside);
            }
        }
        let changed: Vec<PathId> = ours.keys().copied().collect();
        let mut above = BTreeSet::new();
        for path in changed {
            // Behind one that is marked, all are.
            let _ = paths.upwards(path).skip(1).take_while(|dir| above.insert(*dir)).count();
        }
        for dir in above {
            ours.entry(dir).or_insert(OurChange::Inside);
        }
        self.ours = ours;
        Ok(())
    }

    /// Our change at a path before, where something was if `existed`.
    pub(super) fn ours_at(&self, paths: &Paths, path: PathId, existed: bool) -> OurChange {
        match self.ours.get(&path) {
            Some(OurChange::Added) if existed => OurChange::Replaced,
            Some(ours) => ours.clone(),
            None => match paths.upwards(path).find_map(|dir| self.ours.get(&dir)) {
                Some(OurChange::Deleted | OurChange::Added) => OurChange::Deleted,
                _ => OurChange::Looked,
            },
        }
    }
}

/// Whether a file was written to.
pub(super) fn content_changed(inode: &Inode) -> bool {
    match (&inode.node, &inode.origin) {
        (Node::File(content), Some(origin)) => !content.is_base(origin.seen.stamp.size),
        (Node::File(_), None) => true,
        _ => false,
    }
}

fn is_dir(inode: &Inode) -> bool {
    inode.kind() == FileKind::Dir
}

fn mode_changed(inode: &Inode) -> bool {
    inode.origin.as_ref().is_some_and(|origin| origin.meta.mode != inode.meta.mode)
}

/// Whether permission bits or times are not those that the lower file showed.
pub(super) fn meta_changed(inode: &Inode) -> bool {
    inode.origin.as_ref().is_some_and(|origin| {
        let (was, is) = (&origin.meta, &inode.meta);
        (was.mode, was.atime, was.mtime) != (is.mode, is.atime, is.mtime)
    })
}
