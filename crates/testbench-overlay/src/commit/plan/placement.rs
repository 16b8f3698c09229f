//! Where the names of one inode go: which it keeps, which it leaves, and which it comes to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::gate::Gate;
use super::super::step::{In, Mark, Meta, Out, Placed, Slot, Times};
use super::super::survey::{NameOf, content_changed, meta_changed};
use super::meta::{mode_after, times, times_after};
use super::{DirAt, Planner, Result, Staged, Unplannable};
use crate::lower::observe::Stamp;
use crate::upper::inode::{Ino, Inode, Node};
use crate::vfs::name::RelPath;
use crate::{FileKind, Stat};

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
    pub(super) fn place_all(&mut self) -> Result<()> {
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
        let content = self.content_of(&paths, &names)?;
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

    /// What a resolver wants a file to hold that came from `paths` and has these names.
    fn content_of(&self, paths: &[RelPath], names: &[NameOf]) -> Result<Option<Arc<[u8]>>> {
        let about = paths.iter().chain(names.iter().filter_map(|name| name.before.as_ref()));
        let mut wanted: Option<&Arc<[u8]>> = None;
        for path in about {
            match (self.resolved.content.get(path), wanted) {
                (Some(content), Some(other)) if content != other => {
                    return Err(Unplannable::TwoContents(path.clone()));
                }
                (content, _) => wanted = wanted.or(content),
            }
        }
        Ok(wanted.cloned())
    }

    /// Whether what is on the disk still is what an inode came from. A file whose content we have
    /// not changed is taken for what it is now: a change of its mode goes to whatever is there.
    fn is_still(&self, inode: &Inode, stat: &Stat) -> bool {
        let Some(origin) = &inode.origin else { return false };
        let same = origin.seen.stamp.id == Stamp::of(stat).id;
        stat.kind == inode.kind() && (same || !content_changed(inode))
    }

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
    pub(super) fn put(&mut self, slot: Slot, name: &NameOf, kind: FileKind) -> Result<()> {
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

    pub(super) fn take_out(&mut self, from: &RelPath, slot: Slot, stat: &Stat) {
        if self.plan.outs.insert(from.clone(), Stamp::of(stat)).is_none() {
            let out = Out { from: from.clone(), slot, was: Mark::of(stat) };
            self.plan.steps.outs.push(out);
        }
    }
}
