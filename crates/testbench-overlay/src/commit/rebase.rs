//! The overlay after a commit: as if it had just been made of the directory, with two exceptions.
//!
//! A handle is open on an inode, so that inode goes on, with all directories above it; so do all
//! others, if an overlay lies on this one and may have seen them. Such an inode now comes from
//! where it lies, and has not been changed since. A file without a name goes on too; it can no
//! longer rest on the lower file that it came from, so it takes up all of its bytes before the
//! commit.
//!
//! Changes that were not to be committed stay as they are, with the observations that they rest on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disk::{At, Disk};
use super::stage;
use super::survey::Survey;
use crate::lower::observe::{Origin, Seen, Stamp};
use crate::ops::core::{Core, Tx};
use crate::places::PathId;
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
            inode.origin.iter().for_each(|origin| state.note_removed(origin));
            state.insert(ino, taken_up);
        }
    }
}

/// The same file, resting on nothing.
fn taken_up(core: &Core, original: &Inode) -> Result<Inode, Errno> {
    let mut inode = original.clone();
    if matches!(inode.node, Node::File(_)) && inode.origin.is_some() {
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
pub(super) fn rebase(tx: &mut Tx<'_>, disk: &mut Disk<'_>, survey: &Survey<'_>, keeps: bool) {
    let old = tx.live.state.clone();
    let Ok(root) = old.inode(Ino::ROOT) else { return };
    let mut new = State::new((**root).clone());
    new.created = old.created;
    let at = BTreeMap::from([(Ino::ROOT, PathId::TOP)]);
    let mut rebase = Rebase { old: &old, new, disk, at, tried: BTreeSet::from([Ino::ROOT]) };
    if let Ok(Some(stat)) = rebase.disk.look(At::TOP) {
        let mut root = (**root).clone();
        settle(&mut root, vec![RelPath::TOP], &stat);
        rebase.new.insert(Ino::ROOT, root);
    }
    rebase.keep_rest(survey);
    for ino in tx.live.opens.keys().copied() {
        if !rebase.keep(ino)
            && let Ok(inode) = old.inode(ino)
            && let Ok(nameless) = taken_up(tx.core, inode)
        {
            rebase.keep_nameless(ino, nameless);
        }
    }
    if keeps {
        old.inodes.keys().for_each(|ino| _ = rebase.keep(*ino));
    }
    tx.live.state = rebase.new;
}

/// Sees the top once more, after its last change.
pub(super) fn see_top(tx: &mut Tx<'_>, disk: &mut Disk<'_>) {
    let Ok(Some(stat)) = disk.look(At::TOP) else { return };
    if let Ok(top) = tx.live.state.inode_mut(Ino::ROOT)
        && let Some(origin) = &mut top.origin
    {
        Arc::make_mut(origin).seen = Seen::new(&stat);
    }
}

struct Rebase<'r, 'g> {
    old: &'r State,
    new: State,
    disk: &'r mut Disk<'g>,
    /// Where the inodes that go on lie.
    at: BTreeMap<Ino, PathId>,
    /// The inodes that have been looked for.
    tried: BTreeSet<Ino>,
}

impl Rebase<'_, '_> {
    /// Takes over the changes that were not to be committed.
    fn keep_rest(&mut self, survey: &Survey<'_>) {
        for spot in &survey.rest {
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
                inode.names.iter().for_each(|(dir, _)| _ = self.keep(*dir));
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
        if survey.rest.is_empty() {
            return;
        }
        for (id, ino) in self.old.lower_ids.iter() {
            if self.new.inodes.contains_key(ino) {
                self.new.lower_ids.insert_mut(*id, *ino);
            }
        }
        for (path, seen) in self.old.reads.iter() {
            let was_committed = |id| survey.is_above(id) || survey.takes_in(&self.disk.paths, id);
            if !survey.id(path).is_none_or(was_committed) {
                self.new.observe(path.clone(), seen.clone());
            }
        }
    }

    /// Takes over an inode and the directories above it; false if it is not there.
    fn keep(&mut self, ino: Ino) -> bool {
        // The directories come first, without recursion: a tree may be of any depth.
        let mut todo = vec![ino];
        while let Some(ino) = todo.last().copied() {
            let names = self.old.inode(ino).map(|inode| &*inode.names).unwrap_or_default();
            match names.iter().find(|(dir, _)| !self.tried.contains(dir)) {
                Some((dir, _)) if !self.tried.contains(&ino) => todo.push(*dir),
                _ => {
                    todo.pop();
                    if self.tried.insert(ino) && !self.new.inodes.contains_key(&ino) {
                        self.keep_one(ino);
                    }
                }
            }
        }
        self.new.inodes.contains_key(&ino)
    }

    /// Takes an inode over, under the names at which it is on the disk.
    fn keep_one(&mut self, ino: Ino) -> Option<()> {
        let mut inode = (**self.old.inode(ino).ok()?).clone();
        let (kind, mut stat) = (inode.kind(), None::<Stat>);
        let mut places = Vec::new();
        inode.names.retain(|(dir, name)| {
            let Some(dir) = self.at.get(dir) else { return false };
            let path = self.disk.paths.child(*dir, name.as_bytes());
            let Ok(Some(is)) = self.disk.look(At::Tree(path)) else { return false };
            let same = stat.is_none_or(|was| (was.dev, was.ino) == (is.dev, is.ino));
            if is.kind == kind && same {
                stat = Some(is);
                places.push(path);
                return true;
            }
            false
        });
        let stat = stat?;
        if let Node::Symlink(target) = &mut inode.node
            && let Ok(now) = self.disk.read_link(At::Tree(places[0]))
        {
            *target = now.into();
        }
        self.at.insert(ino, places[0]);
        let paths = places.into_iter().map(|path| RelPath::TOP.join(&self.disk.paths.bytes(path)));
        settle(&mut inode, paths.collect(), &stat);
        if stat.nlink > 1 && inode.kind() != FileKind::Dir {
            self.new.lower_ids.insert_mut(Stamp::of(&stat).id, ino);
        }
        let names = inode.names.clone();
        self.new.insert(ino, inode);
        for (dir, name) in names {
            self.new.set_entry(dir, name, Some(Entry::Present(ino))).ok()?;
        }
        Some(())
    }

    /// Takes over an open file or directory without a name.
    fn keep_nameless(&mut self, ino: Ino, mut inode: Inode) {
        inode.names.clear();
        if let Node::Dir(dir) = &mut inode.node {
            *dir = Dir::opaque();
        }
        self.new.insert(ino, inode);
        self.new.orphans.insert_mut(ino, ());
    }
}

/// Makes an inode one that comes from the lower directory and was not changed.
fn settle(inode: &mut Inode, paths: Vec<RelPath>, stat: &Stat) {
    let (mut seen, mut links) = (Seen::new(stat), stat.nlink);
    match &mut inode.node {
        Node::Dir(dir) => {
            *dir = Dir::over(paths[0].clone());
            links = 1;
        }
        Node::File(content) => *content = Content::base(stat.size),
        Node::Symlink(target) => seen = Seen::with_content(stat, target),
        Node::Special => {}
    }
    inode.origin = Some(Arc::new(Origin { paths: paths.into(), seen, links, meta: inode.meta }));
}
