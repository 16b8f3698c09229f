//! What the upper layer changes, seen from the lower directory.
//!
//! The upper layer is walked along its entries. An entry is a *spot*: a name in a directory, with
//! two paths. *After* the commit it lies where the merged tree shows it; *before* it lay where the
//! directory came from, which is another place if the directory has moved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::conflict::OurChange;
use crate::ops::lookup::path_of;
use crate::upper::inode::{Entry, Ino, Inode, Node, State};
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind};

/// An entry of the upper layer.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// The directory that has the entry.
    pub(super) dir: Ino,
    pub(super) after: RelPath,
    /// `None` in a directory through which nothing of the lower directory shows.
    pub(super) before: Option<RelPath>,
    /// What is there; `None` hides what is beneath.
    pub(super) ino: Option<Ino>,
}

/// A name that an inode has, with or without an entry.
#[derive(Clone, Debug)]
pub(super) struct NameOf {
    pub(super) after: RelPath,
    pub(super) before: Option<RelPath>,
}

/// All spots, from the top down, and what they come to.
#[derive(Debug)]
pub(super) struct Survey<'s> {
    pub(super) state: &'s State,
    pub(super) spots: Vec<Spot>,
    /// What we change, by the path before.
    pub(super) ours: BTreeMap<RelPath, OurChange>,
}

/// Whether two states of an overlay hold the same changes. What was only looked at in between, and
/// what was open without a name and was closed, is none.
pub(super) fn same_changes(one: &State, other: &State) -> bool {
    let is_change = |inode: &Inode| match &inode.node {
        Node::Dir(dir) => inode.is_changed() || !dir.entries.is_empty(),
        _ => inode.is_changed(),
    };
    let changes = |state: &State| -> BTreeMap<Ino, *const Inode> {
        let named = state.inodes.iter().filter(|(ino, _)| !state.orphans.contains_key(ino));
        let changed = named.filter(|(_, inode)| is_change(inode));
        // Both states live, so what lies at the same place is the same value.
        changed.map(|(ino, inode)| (*ino, Arc::as_ptr(inode))).collect()
    };
    changes(one) == changes(other)
}

impl<'s> Survey<'s> {
    pub(super) fn new(state: &'s State) -> Result<Survey<'s>, Errno> {
        let mut survey = Survey { state, spots: Vec::new(), ours: BTreeMap::new() };
        survey.collect()?;
        survey.classify()?;
        Ok(survey)
    }

    fn collect(&mut self) -> Result<(), Errno> {
        let mut dirs = vec![(Ino::ROOT, RelPath::TOP)];
        while let Some((dir, path)) = dirs.pop() {
            let node = self.state.dir(dir)?;
            for (name, entry) in node.entries.iter() {
                let after = path.child(name.as_bytes());
                let before = node.lower.as_ref().map(|lower| lower.child(name.as_bytes()));
                let ino = match entry {
                    Entry::Present(ino) => Some(*ino),
                    Entry::Whiteout => None,
                };
                if let Some(ino) = ino
                    && self.state.inode(ino)?.kind() == FileKind::Dir
                {
                    dirs.push((ino, after.clone()));
                }
                self.spots.push(Spot { dir, after, before, ino });
            }
        }
        self.spots.sort_by(|a, b| a.after.cmp(&b.after));
        Ok(())
    }

    /// The names of an inode; those that do not lead to the top any more are left out.
    pub(super) fn names(&self, inode: &Inode) -> Vec<NameOf> {
        let name = |(dir, name): &(Ino, crate::vfs::name::Name)| {
            let after = path_of(self.state, *dir)?.child(name.as_bytes());
            let lower = self.state.dir(*dir).ok()?.lower.as_ref();
            Some(NameOf { after, before: lower.map(|lower| lower.child(name.as_bytes())) })
        };
        let mut names: Vec<NameOf> = inode.names.iter().filter_map(name).collect();
        names.sort_by(|a, b| a.after.cmp(&b.after));
        names
    }

    /// Where an inode was and is no longer, and where it is and was not.
    pub(super) fn moves(&self, inode: &Inode) -> (Vec<RelPath>, Vec<RelPath>) {
        let names = self.names(inode);
        let paths = inode.origin.as_ref().map(|origin| &origin.paths[..]).unwrap_or_default();
        let kept: BTreeSet<&RelPath> = names.iter().filter_map(|n| n.before.as_ref()).collect();
        let left = paths.iter().filter(|path| !kept.contains(path)).cloned().collect();
        let stayed = |name: &&NameOf| name.before.as_ref().is_some_and(|b| paths.contains(b));
        let came = names.iter().filter(|name| !stayed(name)).map(|n| n.after.clone()).collect();
        (left, came)
    }

    fn classify(&mut self) -> Result<(), Errno> {
        let mut ours = BTreeMap::new();
        let top = self.state.inode(Ino::ROOT)?;
        if mode_changed(top) {
            ours.insert(RelPath::TOP, OurChange::Meta);
        }
        let mut placed = BTreeSet::new();
        for spot in &self.spots {
            let Some(ino) = spot.ino else {
                if let Some(before) = &spot.before {
                    ours.entry(before.clone()).or_insert(OurChange::Deleted);
                }
                continue;
            };
            let inode = self.state.inode(ino)?;
            if placed.insert(ino) {
                let (left, came) = self.moves(inode);
                let mut came = came.into_iter().map(|to| to.as_bytes().into());
                for (from, to) in left.into_iter().zip(came.by_ref()) {
                    ours.insert(from, OurChange::Renamed { to });
                }
                if let (Some(origin), Some(to)) = (&inode.origin, came.next()) {
                    for path in &origin.paths {
                        let linked = OurChange::Linked { to: Box::clone(&to) };
                        ours.entry(path.clone()).or_insert(linked);
                    }
                }
            }
            let Some(before) = &spot.before else { continue };
            let Some(origin) = &inode.origin else {
                ours.insert(before.clone(), OurChange::Added);
                continue;
            };
            if !origin.paths.contains(before) {
                // What was there may have moved.
                ours.entry(before.clone()).or_insert(OurChange::Added);
            } else if content_changed(inode) {
                ours.insert(before.clone(), OurChange::Modified);
            } else if mode_changed(inode) || !is_dir(inode) && meta_changed(inode) {
                ours.insert(before.clone(), OurChange::Meta);
            } else if meta_changed(inode) {
                // Most often because something in it has come or gone.
                ours.entry(before.clone()).or_insert(OurChange::Inside);
            }
        }
        self.ours = ours;
        let mut above = BTreeSet::new();
        for path in self.ours.keys() {
            let mut at = path.clone();
            while let Some((dir, _)) = at.split() {
                let dir = dir.clone();
                if !above.insert(dir.clone()) {
                    break;
                }
                at = dir;
            }
        }
        for dir in above {
            self.ours.entry(dir).or_insert(OurChange::Inside);
        }
        Ok(())
    }

    /// What we change at a path before, where something was if `existed`.
    pub(super) fn ours_at(&self, path: &RelPath, existed: bool) -> OurChange {
        match self.ours.get(path) {
            Some(OurChange::Added) if existed => return OurChange::Replaced,
            Some(ours) => return ours.clone(),
            None => {}
        }
        let mut at = path.clone();
        while let Some((dir, _)) = at.split() {
            let dir = dir.clone();
            match self.ours.get(&dir) {
                Some(OurChange::Deleted | OurChange::Added) => return OurChange::Deleted,
                Some(_) => return OurChange::Looked,
                None => at = dir,
            }
        }
        OurChange::Looked
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
