//! The overlay after a commit: as if it had just been made of the directory, but for what is open.
//!
//! A handle is open on an inode, so that inode goes on, with all directories above it; so do all
//! others, if an overlay lies on this one and may have seen them. An inode that goes on now
//! comes from where it lies, and has not been changed since. A file without a name goes on too; it
//! can no longer rest on the lower file that it came from, so it takes up all of its bytes before
//! the commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::disk::{At, Disk};
use super::gate::Gate;
use super::survey::NameOf;
use crate::lower::base::Base;
use crate::lower::observe::{Observation, Seen, Stamp};
use crate::ops::core::Core;
use crate::ops::lookup::{Tx, path_of};
use crate::pipeline::Room;
use crate::upper::content::Content;
use crate::upper::inode::{Dir, Entry, Ino, Inode, Node, Origin, State};
use crate::vfs::name::RelPath;
use crate::{Errno, Stat};

/// How much is taken up at a time.
const COPY_BYTES: usize = 1 << 20;

/// Makes the files without a name independent of the lower directory, and notes what they were in it:
/// the check that follows compares that, as for those that nobody has open. What cannot be read any
/// more stays as it is, and answers so.
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
            state.inodes.insert_mut(ino, Arc::new(taken_up));
        }
    }
    tx.live.state.count_usage();
}

/// The same file, resting on nothing.
fn taken_up(core: &Core, inode: &Inode) -> Result<Inode, Errno> {
    let mut inode = inode.clone();
    if let Node::File(content) = &inode.node {
        let base = Base::default();
        let mut read = |buf: &mut [u8], at: u64| base.read(core, inode.origin.as_deref(), buf, at);
        let mut nothing = |_: &mut [u8], _: u64| Err(Errno::Io);
        let mut whole = Content::empty();
        // It was within the quota before.
        let mut room = Room::unlimited(&core.store);
        let mut buf = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < content.len() {
            let n = content.read_at(&mut buf, offset, &mut read)?;
            let done = whole.write_at(&buf[..n], offset, &mut room, &mut nothing)?;
            offset += done as u64;
        }
        inode.node = Node::File(whole);
    }
    inode.origin = None;
    Ok(inode)
}

/// After a commit that was taken back: what it has moved there and back has another ctime, and is
/// the same all the same.
pub(super) fn look_again<G: Gate>(tx: &mut Tx<'_>, disk: &Disk<'_, G>) {
    let again = |path: &RelPath, was: &Stamp| {
        let is = Stamp::of(&disk.look(At::Tree(path)).ok()??);
        (is != *was && Stamp { ctime: was.ctime, ..is } == *was).then_some(is)
    };
    let state = &mut tx.live.state;
    let inos: Vec<Ino> = state.inodes.keys().copied().collect();
    for ino in inos {
        let Some(origin) = state.inodes.get(&ino).and_then(|inode| inode.origin.clone()) else {
            continue;
        };
        let stamp = origin.paths.iter().find_map(|path| again(path, &origin.seen.stamp));
        if let (Some(stamp), Ok(inode)) = (stamp, state.inode_mut(ino)) {
            let seen = origin.seen.with_stamp(stamp);
            inode.origin = Some(Arc::new(Origin { seen, ..(*origin).clone() }));
        }
    }
    let reads: Vec<(RelPath, Observation)> = state
        .reads
        .iter()
        .filter_map(|(path, observation)| match observation {
            Observation::Removed(was, listing) => {
                let seen = was.with_stamp(again(path, &was.stamp)?);
                Some((path.clone(), Observation::Removed(seen, listing.clone())))
            }
            Observation::Absent | Observation::Listing(_) => None,
        })
        .collect();
    for (path, observation) in reads {
        state.reads.insert_mut(path, observation);
    }
}

/// Lays the overlay over the directory as it is now. If it `keeps`, everything goes on as what is
/// open does.
pub(super) fn rebase<G: Gate>(tx: &mut Tx<'_>, disk: &Disk<'_, G>, keeps: bool) {
    let old = tx.live.state.clone();
    let mut root = match old.inode(Ino::ROOT) {
        Ok(root) => (**root).clone(),
        Err(_) => return,
    };
    if let Ok(Some(stat)) = disk.look(At::Tree(&RelPath::TOP)) {
        settle(&mut root, vec![RelPath::TOP], &stat);
    }
    let mut state = State::new(root);
    state.created = old.created;
    let open: BTreeSet<Ino> =
        tx.live.opens.keys().copied().filter(|ino| *ino != Ino::ROOT).collect();
    for ino in open {
        let Ok(inode) = old.inode(ino) else { continue };
        if keep(&old, &mut state, disk, ino, inode).is_none() {
            let inode = match inode.origin {
                None => Ok((**inode).clone()),
                Some(_) => taken_up(tx.core, inode),
            };
            // Without a name, and without its bytes, there is nothing left to answer for it.
            let Ok(mut inode) = inode else { continue };
            inode.names.clear();
            if let Node::Dir(dir) = &mut inode.node {
                *dir = Dir::opaque();
            }
            state.inodes.insert_mut(ino, Arc::new(inode));
            state.orphans.insert_mut(ino, ());
        }
    }
    if keeps {
        for (ino, inode) in old.inodes.iter().filter(|(ino, _)| **ino != Ino::ROOT) {
            keep(&old, &mut state, disk, *ino, inode);
        }
    }
    state.count_usage();
    tx.live.state = state;
}

/// Sees the top as it has become last of all.
pub(super) fn see_top<G: Gate>(tx: &mut Tx<'_>, disk: &Disk<'_, G>) {
    let Ok(Some(stat)) = disk.look(At::Tree(&RelPath::TOP)) else { return };
    if let Ok(top) = tx.live.state.inode_mut(Ino::ROOT)
        && let Some(origin) = &top.origin
    {
        top.origin = Some(Arc::new(Origin { seen: Seen::new(&stat), ..(**origin).clone() }));
    }
}

/// Takes an inode over into the new state, under the names at which it is on the disk.
fn keep<G: Gate>(
    old: &State,
    state: &mut State,
    disk: &Disk<'_, G>,
    ino: Ino,
    inode: &Inode,
) -> Option<()> {
    if state.inodes.contains_key(&ino) {
        return Some(());
    }
    let mut stat: Option<Stat> = None;
    let mut paths = Vec::new();
    let mut names = Vec::new();
    for (dir, name) in &inode.names {
        let path = path_of(old, *dir)?.child(name.as_bytes());
        let Ok(Some(is)) = disk.look(At::Tree(&path)) else { continue };
        let same = |was: &Stat| (was.dev, was.ino) == (is.dev, is.ino);
        if is.kind != inode.kind() || !stat.as_ref().is_none_or(same) {
            continue;
        }
        let parents = NameOf { after: path_of(old, *dir)?, before: None };
        if !keep_dirs(old, state, disk, *dir, &parents.after) {
            continue;
        }
        stat = Some(is);
        paths.push(path);
        names.push((*dir, name.clone()));
    }
    let stat = stat?;
    let mut inode = inode.clone();
    inode.names = names.clone().into();
    if let (Node::Symlink(target), Ok(now)) = (&mut inode.node, disk.read_link(At::Tree(&paths[0])))
    {
        *target = now.into();
    }
    settle(&mut inode, paths, &stat);
    if stat.nlink > 1 && !matches!(inode.node, Node::Dir(_)) {
        state.lower_ids.insert_mut(Stamp::of(&stat).id, ino);
    }
    state.inodes.insert_mut(ino, Arc::new(inode));
    for (dir, name) in names {
        let dir = state.dir_mut(dir).ok()?;
        dir.entries.insert_mut(name, Entry::Present(ino));
    }
    Some(())
}

/// Takes over a directory and those above it.
fn keep_dirs<G: Gate>(
    old: &State,
    state: &mut State,
    disk: &Disk<'_, G>,
    dir: Ino,
    path: &RelPath,
) -> bool {
    // From the top down, without recursion: the depth is not ours to say.
    let mut chain = vec![];
    let (mut at, mut path) = (dir, path.clone());
    while at != Ino::ROOT {
        let Some((parent, _)) = old.inode(at).ok().and_then(|inode| inode.names.first()) else {
            return false;
        };
        chain.push((at, path.clone()));
        at = *parent;
        path = path.split().map_or(RelPath::TOP, |(dir, _)| dir);
    }
    for (ino, path) in chain.into_iter().rev() {
        if state.inodes.contains_key(&ino) {
            continue;
        }
        let stat = disk.look(At::Tree(&path));
        let (Ok(Some(stat)), Ok(inode)) = (stat, old.inode(ino)) else { return false };
        if stat.kind != inode.kind() {
            return false;
        }
        let mut inode = (**inode).clone();
        let (parent, name) = inode.names[0].clone();
        settle(&mut inode, vec![path], &stat);
        state.inodes.insert_mut(ino, Arc::new(inode));
        match state.dir_mut(parent) {
            Ok(dir) => dir.entries.insert_mut(name, Entry::Present(ino)),
            Err(_) => return false,
        }
    }
    true
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
