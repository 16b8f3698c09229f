//! Finding the names of changed files that nobody has looked at.
//!
//! The upper layer knows a lower file with several names by those that were looked up. A change
//! holds for all of them, so before a commit the rest are looked for; only then, and only if the
//! lower file has more names than are known, is the whole tree walked.

use std::collections::BTreeSet;

use super::disk::{At, Disk};
use super::gate::Gate;
use super::survey::{Survey, content_changed, meta_changed};
use crate::inode::{Entry, Ino};
use crate::lookup::Tx;
use crate::name::RelPath;
use crate::{Errno, FileKind};

/// Looks up every name of the files that are about to be replaced.
pub(super) fn look_up_names<G: Gate>(
    tx: &mut Tx<'_>,
    disk: &Disk<'_, G>,
) -> Result<(), (RelPath, Errno)> {
    let wanted = files_with_more_names(tx, disk)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let mut dirs = vec![(Some(Ino::ROOT), RelPath::TOP, RelPath::TOP)];
    while let Some((dir, after, before)) = dirs.pop() {
        let listing = match disk.list(At::Tree(&before)) {
            Ok(listing) => listing,
            // What has gone meanwhile, or may not be read, is no name of ours.
            Err(Errno::Noent | Errno::Notdir | Errno::Loop | Errno::Acces) => continue,
            Err(errno) => return Err((before, errno)),
        };
        let state = &tx.live.state;
        let node = dir.and_then(|dir| state.dir(dir).ok()).cloned();
        for entry in listing {
            let known = node.as_ref().is_some_and(|node| node.entries.contains_key(&*entry.name));
            if known {
                continue;
            }
            let (after, before) = (after.child(&entry.name), before.child(&entry.name));
            match entry.kind {
                FileKind::Dir => dirs.push((None, after, before)),
                _ if wanted.contains(&entry.ino) => look_up(tx, &after),
                _ => {}
            }
        }
        for (name, entry) in node.iter().flat_map(|node| node.entries.iter()) {
            let Entry::Present(ino) = entry else { continue };
            let lower = tx.live.state.dir(*ino).ok().and_then(|dir| dir.lower.clone());
            if let Some(lower) = lower {
                dirs.push((Some(*ino), after.child(name.as_bytes()), lower));
            }
        }
    }
    Ok(())
}

/// Numbers of lower files that will be replaced and have names that are not known.
fn files_with_more_names<G: Gate>(
    tx: &Tx<'_>,
    disk: &Disk<'_, G>,
) -> Result<BTreeSet<u64>, (RelPath, Errno)> {
    let state = tx.live.state.clone();
    let survey = Survey::new(&state).map_err(|errno| (RelPath::TOP, errno))?;
    let mut wanted = BTreeSet::new();
    for ino in survey.spots.iter().filter_map(|spot| spot.ino) {
        let Some(inode) = state.inodes.get(&ino) else { continue };
        let Some(origin) = inode.origin.as_ref().filter(|_| inode.kind() == FileKind::File) else {
            continue;
        };
        if !content_changed(inode) && !meta_changed(inode) {
            continue;
        }
        let path = origin.path();
        let stat = disk.look(At::Tree(path)).map_err(|errno| (path.clone(), errno))?;
        let more = stat.filter(|stat| stat.nlink > origin.paths.len() as u64);
        wanted.extend(more.map(|stat| stat.ino));
    }
    Ok(wanted)
}

/// Walks there, so that it is known. What fails is found by the check that follows.
fn look_up(tx: &mut Tx<'_>, path: &RelPath) {
    let mut dir = Ino::ROOT;
    for name in crate::GuestPath::new(path.as_bytes()).components() {
        match tx.lookup(dir, name) {
            Ok(Some(ino)) => dir = ino,
            Ok(None) | Err(_) => return,
        }
    }
}
