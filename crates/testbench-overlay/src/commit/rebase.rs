//! The overlay after a commit: as if it had just been made of the directory, with two exceptions.
//!
//! A handle is open on an inode, so that inode goes on, with all directories above it; so do all
//! others, if an overlay lies on this one and may have seen them. Such an inode now comes from
//! where it lies, and has not been changed since. A file without a name goes on too; it can no
//! longer rest on the lower file that it came from, so it takes up all of its bytes before the
//! commit.
//!
//! Changes that were not to be committed stay as they are, with the observations that they rest on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::{At, Disk};
use super::gate::Gate;
use super::paths::PathId;
use super::stage;
use super::survey::{Limits, Survey};
use crate::lower::observe::{Origin, Seen, Stamp};
use crate::ops::core::{Core, Tx};
use crate::upper::content::Content;
use crate::upper::inode::{Dir, Entry, Ino, Inode, Node, State};
use crate::upper::quota::Room;
use crate::vfs::name::{Name, RelPath};
use crate::{Errno, FileKind, Stat};

/// Makes the files without a name independent of the lower directory, and notes what they were in
/// it: the check that follows compares that, as for those that are not open. A file that cannot be
/// read any more stays as it is, and its handles fail as before.
pub(super) fn take_up_orphans(tx: &mut Tx<'_>) {
    let orphans: Vec<Ino> = tx.live.state.orphans.keys().copied().collect();
    for ino in orphans {
        let inode = tx.live.state.inode(ino).cloned();
        if let Ok(inode) = inode
            && let Ok(taken_up) = taken_up(tx.core, &inode)
        {
            let state = &mut tx.live.state;
            for origin in inode.origin.iter() {
                state.note_removed(origin);
            }
            state.insert(ino, taken_up);
        }
    }
}

/// The same file, resting on nothing.
fn taken_up(core: &Core, original: &Inode) -> Result<Inode, Errno> {
    let mut inode = original.clone();
    if matches!(inode.node, Node::File(_)) {
        let mut nothing = |_: &mut [u8], _: u64| Err(Errno::Io);
        let mut whole = Content::empty();
        // It was within the quota before.
        let mut room = Room::unlimited(&core.store);
        for part in stage::parts(core, original) {
            let (part, end) = (part?, whole.len());
            whole.write_at(&part, end, &mut room, &mut nothing)?;
        }
        inode.node = Node::File(whole);
    }
    inode.origin = None;
    Ok(inode)
}

/// Lays the overlay over the directory as it is now. If it `keeps`, every inode goes on as an open
/// one does.
pub(super) fn rebase<G: Gate>(
    tx: &mut Tx<'_>,
    disk: &mut Disk<'_, G>,
    survey: &mut Survey<'_>,
    limits: &Limits,
    keeps: bool,
) {
    let old = tx.live.state.clone();
    let Ok(root) = old.inode(Ino::ROOT) else { return };
    let mut new = State::new((**root).clone());
    new.created = old.created;
    let rel = BTreeMap::from([(PathId::TOP, RelPath::TOP)]);
    let mut rebase = Rebase { core: tx.core, old: &old, new, disk, survey, rel };
    rebase.keep_root();
    rebase.keep_rest(limits);
    for ino in tx.live.opens.keys().copied().filter(|ino| *ino != Ino::ROOT) {
        let Ok(inode) = old.inode(ino) else { continue };
        if !rebase.keep(ino) {
            rebase.keep_nameless(ino, inode);
        }
    }
    if keeps {
        old.inodes.keys().for_each(|ino| _ = rebase.keep(*ino));
    }
    tx.live.state = rebase.new;
}

/// Sees the top once more, after its last change.
pub(super) fn see_top<G: Gate>(tx: &mut Tx<'_>, disk: &mut Disk<'_, G>) {
    let Ok(Some(stat)) = disk.look(At::TOP) else { return };
    if let Ok(top) = tx.live.state.inode_mut(Ino::ROOT)
        && let Some(origin) = &top.origin
    {
        top.origin = Some(Arc::new(Origin { seen: Seen::new(&stat), ..(**origin).clone() }));
    }
}

struct Rebase<'r, 's, 'g, G> {
    core: &'r Core,
    old: &'r State,
    new: State,
    disk: &'r mut Disk<'g, G>,
    survey: &'r mut Survey<'s>,
    rel: BTreeMap<PathId, RelPath>,
}

impl<G: Gate> Rebase<'_, '_, '_, G> {
    fn keep_root(&mut self) {
        if let Ok(Some(stat)) = self.disk.look(At::TOP)
            && let Ok(root) = self.new.inode(Ino::ROOT)
        {
            let mut root = (**root).clone();
            settle(&mut root, vec![RelPath::TOP], &stat);
            self.new.insert(Ino::ROOT, root);
        }
    }

    /// Takes over the changes that were not to be committed.
    fn keep_rest(&mut self, limits: &Limits) {
        let rest = std::mem::take(&mut self.survey.rest);
        if rest.is_empty() {
            return;
        }
        for spot in &rest {
            if !self.keep(spot.dir) {
                continue;
            }
            let mut entry = Entry::Whiteout;
            if let Some(ino) = spot.ino {
                let Ok(inode) = self.old.inode(ino) else { continue };
                let mut inode = (**inode).clone();
                if let Node::Dir(dir) = &mut inode.node {
                    dir.entries = crate::upper::PMap::new_sync();
                }
                for (dir, _) in &inode.names {
                    self.keep(*dir);
                }
                if !self.new.inodes.contains_key(&ino) {
                    self.new.insert(ino, inode);
                }
                entry = Entry::Present(ino);
            }
            let name = Name::new(self.disk.paths.name(spot.after));
            if let Ok(name) = name {
                let _ = self.new.set_entry(spot.dir, name, Some(entry));
            }
        }
        for (id, ino) in self.old.lower_ids.iter() {
            if self.new.inodes.contains_key(ino) {
                self.new.lower_ids.insert_mut(*id, *ino);
            }
        }
        for (path, seen) in self.old.reads.iter() {
            let is_history = self
                .survey
                .id(path)
                .is_none_or(|id| limits.is_above(id) || limits.take_in(&self.disk.paths, id));
            if !is_history {
                self.new.observe(path.clone(), seen.clone());
            }
        }
    }

    /// Takes over an inode and the directories above it; false if it is not there.
    fn keep(&mut self, ino: Ino) -> bool {
        let names = self.old.inode(ino).map(|inode| &*inode.names).unwrap_or_default();
        // From the top down, without recursion: a tree may be of any depth.
        let mut down = vec![ino];
        for (dir, _) in names {
            let mut at = *dir;
            while !self.new.inodes.contains_key(&at)
                && let Some((above, _)) = self.old.inode(at).ok().and_then(|is| is.names.first())
            {
                down.push(at);
                at = *above;
            }
        }
        for ino in down.into_iter().rev() {
            if !self.new.inodes.contains_key(&ino) {
                self.keep_one(ino);
            }
        }
        self.new.inodes.contains_key(&ino)
    }

    /// Takes an inode over, under the names at which it is on the disk.
    fn keep_one(&mut self, ino: Ino) -> Option<()> {
        let mut inode = (**self.old.inode(ino).ok()?).clone();
        let mut stat: Option<Stat> = None;
        let mut places = Vec::new();
        let mut names = Vec::new();
        for (dir, name) in &inode.names {
            let Some(above) = self.survey.dir(&mut self.disk.paths, *dir) else { continue };
            let path = self.disk.paths.child(above.after, name.as_bytes());
            let Ok(Some(is)) = self.disk.look(At::Tree(path)) else { continue };
            let same = |was: &Stat| (was.dev, was.ino) == (is.dev, is.ino);
            let is_kept = self.new.inodes.contains_key(dir);
            if is_kept && is.kind == inode.kind() && stat.as_ref().is_none_or(same) {
                stat = Some(is);
                places.push(path);
                names.push((*dir, name.clone()));
            }
        }
        let stat = stat?;
        inode.names = names.clone().into();
        if let Node::Symlink(target) = &mut inode.node
            && let Ok(now) = self.disk.read_link(At::Tree(places[0]))
        {
            *target = now.into();
        }
        let paths = places.into_iter().map(|path| self.rel(path)).collect();
        settle(&mut inode, paths, &stat);
        if stat.nlink > 1 && inode.kind() != FileKind::Dir {
            self.new.lower_ids.insert_mut(Stamp::of(&stat).id, ino);
        }
        self.new.insert(ino, inode);
        for (dir, name) in names {
            self.new.set_entry(dir, name, Some(Entry::Present(ino))).ok()?;
        }
        Some(())
    }

    /// Takes over an open file or directory without a name.
    fn keep_nameless(&mut self, ino: Ino, inode: &Inode) {
        let inode = match inode.origin {
            None => Ok(inode.clone()),
            Some(_) => taken_up(self.core, inode),
        };
        // Without its bytes, there is nothing left to keep.
        let Ok(mut inode) = inode else { return };
        inode.names.clear();
        if let Node::Dir(dir) = &mut inode.node {
            *dir = Dir::opaque();
        }
        self.new.insert(ino, inode);
        self.new.orphans.insert_mut(ino, ());
    }

    fn rel(&mut self, path: PathId) -> RelPath {
        let paths = &self.disk.paths;
        let known = |id: &PathId| self.rel.contains_key(id);
        let down: Vec<PathId> = paths.upwards(path).take_while(|id| !known(id)).collect();
        for id in down.into_iter().rev() {
            let rel = self.rel[&paths.dir(id)].child(paths.name(id));
            self.rel.insert(id, rel);
        }
        self.rel[&path].clone()
    }
}

/// Makes an inode one that comes from the lower directory and was not changed.
fn settle(inode: &mut Inode, paths: Vec<RelPath>, stat: &Stat) {
    let mut seen = Seen::new(stat);
    let links = match &mut inode.node {
        Node::Dir(dir) => {
            *dir = Dir::over(paths[0].clone());
            1
        }
        Node::File(content) => {
            *content = Content::base(stat.size);
            stat.nlink
        }
        Node::Symlink(target) => {
            seen = Seen::with_content(stat, target);
            stat.nlink
        }
        Node::Special => stat.nlink,
    };
    inode.origin = Some(Arc::new(Origin { paths: paths.into(), seen, links, meta: inode.meta }));
}
