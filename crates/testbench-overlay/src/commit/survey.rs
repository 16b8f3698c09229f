//! The changes of the upper layer, seen from the lower directory.
//!
//! The upper layer is walked along its entries. An entry is a *spot*: a name in a directory, with
//! two paths. *After* the commit it lies where the merged tree shows it; *before* it lay where the
//! directory came from, which is another place if the directory has moved.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::conflict::OurChange;
use crate::lower::observe::{Listing, Observation, Seen};
use crate::ops::core::Tx;
use crate::places::{PathId, Paths};
use crate::upper::inode::{Entry, Ino, Inode, Node, State};
use crate::vfs::name::{Hashed, RelPath};
use crate::{Errno, FileKind};

/// An entry of the upper layer, or the top.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// The directory that has the entry.
    pub(super) dir: Ino,
    pub(super) after: PathId,
    /// `None` in a directory through which nothing of the lower directory shows.
    pub(super) before: Option<PathId>,
    /// The inode there; `None` hides the lower file.
    pub(super) ino: Option<Ino>,
}

/// All spots, from the top down, and what follows from them.
#[derive(Debug)]
pub(super) struct Survey<'s> {
    pub(super) state: &'s State,
    pub(super) spots: Vec<Spot>,
    /// The spots that are not to be committed.
    pub(super) rest: Vec<Spot>,
    /// All that was seen, by path, with `None` for nothing.
    pub(super) seen: BTreeMap<PathId, Option<Seen>>,
    /// All listings that were seen.
    pub(super) listings: Vec<(PathId, Listing)>,
    ids: HashMap<RelPath, PathId, Hashed>,
    names: BTreeMap<Ino, Vec<Spot>>,
    /// The spots by the path before.
    by_before: BTreeMap<PathId, Spot>,
    /// The inodes at the spots, by each path that they came from.
    by_origin: BTreeMap<PathId, Ino>,
    /// The paths to which the commit is limited.
    only: Option<BTreeSet<PathId>>,
    /// The directories above them.
    above: BTreeSet<PathId>,
}

/// Gives every name of a file an entry if one of them has one, so that the spots show all names.
pub(super) fn pin_names(tx: &mut Tx<'_>) {
    let inodes = tx.live.state.inodes.iter();
    let several = inodes.filter(|(_, inode)| inode.names.len() > 1 && !inode.is_pinned);
    let several: Vec<Ino> = several.map(|(ino, _)| *ino).collect();
    for ino in several {
        if tx.is_pinned(ino) {
            // A name in a directory that is gone has no place to show.
            let _ = tx.pin(ino);
        }
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
            ids: HashMap::with_hasher(Hashed::default()),
            names: BTreeMap::new(),
            by_before: BTreeMap::new(),
            by_origin: BTreeMap::new(),
            only: None,
            above: BTreeSet::new(),
        };
        let mut sorted = BTreeSet::from([&RelPath::TOP]);
        sorted.extend(state.observed().map(|(path, _)| path));
        let ids = paths.add_sorted(sorted.iter().copied());
        survey.ids.extend(sorted.into_iter().cloned().zip(ids));
        // What inodes came from is observed first: they know better than what was seen before.
        for (path, observation) in state.observed() {
            let id = survey.ids[path];
            match observation {
                Observation::Absent => _ = survey.seen.entry(id).or_insert(None),
                Observation::Removed(was, _) => _ = survey.seen.entry(id).or_insert(Some(was)),
                Observation::Listing(listing) => survey.listings.push((id, listing)),
            }
        }
        let (dir, after, before) = (Ino::ROOT, PathId::TOP, Some(PathId::TOP));
        survey.add(Spot { dir, after, before, ino: Some(dir) })?;
        let mut dirs = vec![(dir, after, before)];
        while let Some((dir, after, before)) = dirs.pop() {
            for (name, entry) in state.dir(dir)?.entries.iter() {
                let after = paths.child(after, name.as_bytes());
                let before = before.map(|before| paths.child(before, name.as_bytes()));
                let ino = match entry {
                    Entry::Present(ino) => Some(*ino),
                    Entry::Whiteout => None,
                };
                survey.add(Spot { dir, after, before, ino })?;
                if let Some(ino) = ino
                    && let Node::Dir(node) = &state.inode(ino)?.node
                {
                    let lower = node.lower.as_ref().and_then(|lower| survey.id(lower));
                    dirs.push((ino, after, lower));
                }
            }
        }
        Ok(survey)
    }

    fn add(&mut self, spot: Spot) -> Result<(), Errno> {
        self.spots.push(spot);
        self.by_before.extend(spot.before.map(|before| (before, spot)));
        if let Some(ino) = spot.ino {
            self.names.entry(ino).or_default().push(spot);
            let origins = self.origins(self.state.inode(ino)?);
            self.by_origin.extend(origins.into_iter().map(|origin| (origin, ino)));
        }
        Ok(())
    }

    /// The number of a path that was seen.
    pub(super) fn id(&self, path: &RelPath) -> Option<PathId> {
        self.ids.get(path).copied()
    }

    /// The spots of an inode.
    pub(super) fn names(&self, ino: Ino) -> &[Spot] {
        self.names.get(&ino).map(Vec::as_slice).unwrap_or_default()
    }

    /// The lower paths that an inode came from.
    pub(super) fn origins(&self, inode: &Inode) -> Vec<PathId> {
        let paths = inode.origin.iter().flat_map(|origin| &origin.paths);
        paths.filter_map(|path| self.id(path)).collect()
    }

    /// Whether the inode at a spot is one that came from the very path before.
    pub(super) fn stays(&self, spot: &Spot) -> bool {
        let came_from = spot.before.and_then(|before| self.by_origin.get(&before));
        spot.ino.is_some() && came_from == spot.ino.as_ref()
    }

    /// Where an inode was and is no longer, and where it is and was not.
    fn moves(&self, ino: Ino, inode: &Inode) -> (Vec<PathId>, Vec<PathId>) {
        let here = |path: &PathId| self.by_before.get(path).and_then(|spot| spot.ino);
        let left = |path: &PathId| here(path) != Some(ino);
        let came = self.names(ino).iter().filter(|name| !self.stays(name)).map(|name| name.after);
        (self.origins(inode).into_iter().filter(left).collect(), came.collect())
    }
}

/// Limits.
impl Survey<'_> {
    /// Leaves out the spots beyond these paths. Files with several names and moved files are taken
    /// whole or not at all: the error is a path that is taken, and one that would have to be.
    pub(super) fn limit(
        &mut self,
        paths: &Paths,
        only: BTreeSet<PathId>,
    ) -> Result<(), (PathId, PathId)> {
        self.above = only.iter().flat_map(|id| paths.upwards(*id).skip(1)).collect();
        self.only = Some(only);
        let takes_in = |id: &PathId| self.takes_in(paths, *id);
        let mut taken = BTreeSet::new();
        for spot in &self.spots {
            let is_dir = spot.ino.is_some_and(|ino| self.state.dir(ino).is_ok());
            let above = is_dir && self.above.contains(&spot.after);
            if above || takes_in(&spot.after) || spot.before.as_ref().is_some_and(takes_in) {
                taken.insert(spot.after);
            }
        }
        for (ino, names) in &self.names {
            let Some(inode) = self.state.inodes.get(ino) else { continue };
            let (mut ends, came) = self.moves(*ino, inode);
            if ends.is_empty() && is_dir(inode) {
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
        self.rest.retain(|spot| spot.after != PathId::TOP);
        Ok(())
    }

    /// Whether a change lies at or below a path.
    pub(super) fn changes_in(&self, paths: &Paths, path: PathId) -> bool {
        let is_in = |id: PathId| paths.upwards(id).any(|id| id == path);
        self.spots.iter().any(|spot| is_in(spot.after) || spot.before.is_some_and(is_in))
    }

    /// Whether a path is one of those to which the commit is limited, or lies in one.
    pub(super) fn takes_in(&self, paths: &Paths, id: PathId) -> bool {
        self.only.as_ref().is_none_or(|only| paths.upwards(id).any(|id| only.contains(&id)))
    }

    /// Whether a path is a directory above one of them.
    pub(super) fn is_above(&self, id: PathId) -> bool {
        self.above.contains(&id)
    }
}

/// Our changes.
impl Survey<'_> {
    /// Returns our change at a path before, if there is one; changes in a directory are not its own.
    pub(super) fn change_at(&self, paths: &Paths, path: PathId) -> Option<OurChange> {
        let came_from = self.by_origin.get(&path);
        if let Some(inode) = came_from.and_then(|ino| self.state.inodes.get(ino)) {
            let (left, came) = self.moves(*came_from?, inode);
            let to = |n: usize| Some(paths.bytes(*came.get(n)?));
            match left.iter().position(|from| *from == path).map(to) {
                Some(Some(to)) => return Some(OurChange::Renamed { to }),
                Some(None) => {}
                None if content_changed(inode) => return Some(OurChange::Modified),
                None if mode_changed(inode) || !is_dir(inode) && meta_changed(inode) => {
                    return Some(OurChange::Meta);
                }
                None => {
                    let linked = to(left.len()).map(|to| OurChange::Linked { to });
                    // Times of a directory: most often something in it has come or gone.
                    return linked.or(meta_changed(inode).then_some(OurChange::Inside));
                }
            }
        }
        match (self.by_before.get(&path)?.ino, self.seen.get(&path)) {
            (None, _) => Some(OurChange::Deleted),
            (Some(_), Some(Some(_))) => Some(OurChange::Replaced),
            (Some(_), _) => Some(OurChange::Added),
        }
    }

    /// Returns our change that something at a path before is in the way of.
    pub(super) fn ours_at(
        &self,
        paths: &Paths,
        path: PathId,
        inside: &BTreeSet<PathId>,
    ) -> OurChange {
        let change_at = |path| match self.change_at(paths, path) {
            None if inside.contains(&path) => Some(OurChange::Inside),
            change => change,
        };
        change_at(path).unwrap_or_else(|| {
            match paths.upwards(path).skip(1).find_map(change_at) {
                Some(OurChange::Deleted | OurChange::Added | OurChange::Replaced) => {
                    OurChange::Deleted
                }
                // It lies in a directory that we have deleted.
                _ if !self.seen.contains_key(&path) => OurChange::Deleted,
                _ => OurChange::Looked,
            }
        })
    }

    /// The directories in which something has changed.
    pub(super) fn inside(&self, paths: &Paths) -> BTreeSet<PathId> {
        let mut inside = BTreeSet::new();
        for before in self.by_before.keys().filter(|path| self.change_at(paths, **path).is_some()) {
            // Behind a directory that is known, all are.
            let _ = paths.upwards(*before).skip(1).take_while(|dir| inside.insert(*dir)).count();
        }
        inside
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
