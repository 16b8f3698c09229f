//! Asking what to do about conflicts.

use std::collections::BTreeMap;

use super::CommitError;
use super::check::Was;
use super::conflict::{Conflict, OurChange, Resolution, TheirChange, Versions};
use super::disk::{At, Disk};
use super::gate::Gate;
use super::plan::Resolved;
use super::survey::Survey;
use crate::diff::{Content, Side};
use crate::handle::whole;
use crate::lower::observe::Seen;
use crate::ops::core::Core;
use crate::upper::inode::{Inode, Node};
use crate::vfs::name::RelPath;
use crate::{FileKind, Stat};

/// Decides on one conflict.
pub(super) type Resolver<'r> = &'r mut dyn FnMut(&Conflict, &Versions) -> Resolution;

/// What a resolver is asked about: the overlay, the disk, and what was seen there.
type Asked<'a, 's, 'g, G> = (&'a Core, &'a Disk<'g, G>, &'a Survey<'s>, &'a BTreeMap<RelPath, Was>);

/// What is to be done about each conflict.
pub(super) fn resolve<G: Gate>(
    (core, disk, survey, seen): Asked<'_, '_, '_, G>,
    conflicts: &[Conflict],
    resolver: Resolver<'_>,
) -> Result<Resolved, CommitError> {
    let mut resolved = Resolved::default();
    for conflict in conflicts {
        let path = RelPath::from_bytes(&conflict.path);
        let versions = versions(core, disk, survey, seen, &path);
        let cannot = |why| CommitError::Resolution { conflict: Box::new(conflict.clone()), why };
        match resolver(conflict, &versions) {
            Resolution::Ours => {}
            Resolution::Theirs => {
                let only_looked = conflict.ours == OurChange::Looked;
                // What nobody has changed is theirs anyway.
                if !only_looked && conflict.theirs != TheirChange::Listing {
                    resolved.theirs.insert(path);
                }
            }
            Resolution::Content(bytes) => {
                let is_dir = |side: &Option<Side>| {
                    side.as_ref().is_some_and(|side| side.kind == FileKind::Dir)
                };
                if [&versions.base, &versions.ours, &versions.theirs].into_iter().any(is_dir) {
                    return Err(cannot("a directory has no content"));
                }
                if versions.ours.as_ref().is_some_and(|side| side.kind != FileKind::File) {
                    return Err(cannot("the overlay has something there that is not a file"));
                }
                resolved.content.insert(path, bytes.into());
            }
            Resolution::Abort => {
                return Err(CommitError::Conflicts { conflicts: conflicts.to_vec() });
            }
        }
    }
    resolved.conflicts = conflicts.to_vec();
    Ok(resolved)
}

fn versions<G: Gate>(
    core: &Core,
    disk: &Disk<'_, G>,
    survey: &Survey<'_>,
    seen: &BTreeMap<RelPath, Was>,
    path: &RelPath,
) -> Versions {
    let state = survey.state;
    let comes_from =
        |inode: &&Inode| inode.origin.as_ref().is_some_and(|origin| origin.paths.contains(path));
    let inode = state.inodes.values().map(|inode| &**inode).find(comes_from);
    let spot = survey.spots.iter().find(|spot| spot.before.as_ref() == Some(path));
    let here = spot.and_then(|spot| spot.ino).and_then(|ino| state.inodes.get(&ino));
    // What came from here, wherever it is now; else what is here now.
    let named = inode.filter(|inode| inode.names.iter().len() > 0 || path.is_top());
    let ours = named.or(here.map(|inode| &**inode));
    let base = match inode.and_then(|inode| inode.origin.as_deref()) {
        Some(origin) => Some(base_side(&origin.seen)),
        None => match seen.get(path) {
            Some(Was::There(seen)) => Some(base_side(seen)),
            Some(Was::Absent) | None => None,
        },
    };
    let theirs = disk.look(At::Tree(path)).ok().flatten();
    Versions {
        base,
        ours: ours.map(|inode| our_side(core, inode)),
        theirs: theirs.map(|stat| their_side(disk, path, &stat)),
    }
}

fn base_side(seen: &Seen) -> Side {
    side(seen.stamp.kind, seen.stamp.mode, Content::Unread)
}

fn our_side(core: &Core, inode: &Inode) -> Side {
    let content = match &inode.node {
        Node::File(_) => whole(core, inode).map_or(Content::Unread, Content::Bytes),
        Node::Symlink(target) => Content::Bytes(target.clone()),
        Node::Dir(_) | Node::Special => Content::Unread,
    };
    side(inode.kind(), inode.meta.mode, content)
}

fn their_side<G: Gate>(disk: &Disk<'_, G>, path: &RelPath, stat: &Stat) -> Side {
    let at = At::Tree(path);
    let content = match stat.kind {
        FileKind::File => disk.read(at).ok(),
        FileKind::Symlink => disk.read_link(at).ok(),
        FileKind::Dir | FileKind::Special => None,
    };
    side(
        stat.kind,
        stat.mode,
        content.map_or(Content::Unread, |bytes| Content::Bytes(bytes.into())),
    )
}

/// Directories and special files have no content to read.
fn side(kind: FileKind, mode: u32, content: Content) -> Side {
    match kind {
        FileKind::Dir => Side::dir(mode),
        FileKind::Special => Side::special(mode),
        FileKind::File | FileKind::Symlink => Side { kind, mode, content, mtime_ns: None },
    }
}
