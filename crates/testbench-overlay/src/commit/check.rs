//! Whether the lower directory still is what the overlay saw.

use std::collections::BTreeMap;

use super::conflict::{Conflict, OurChange, TheirChange};
use super::disk::{At, Disk};
use super::gate::Gate;
use super::survey::Survey;
use crate::lower::observe::{Listing, Observation, Seen, Stamp};
use crate::upper::inode::State;
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind, Stat};

/// What was seen at a path of the lower directory.
#[derive(Clone, Debug)]
pub(super) enum Was {
    Absent,
    There(Seen),
}

/// All that was seen, by path.
pub(super) fn seen(state: &State) -> BTreeMap<RelPath, Was> {
    let mut seen = BTreeMap::new();
    for (path, observation) in state.reads.iter() {
        match observation {
            Observation::Absent => seen.insert(path.clone(), Was::Absent),
            Observation::Removed(was, _) => seen.insert(path.clone(), Was::There(was.clone())),
            Observation::Listing(_) => None,
        };
    }
    // An inode knows better than what was noted before it was made.
    for inode in state.inodes.values() {
        let Some(origin) = &inode.origin else { continue };
        for path in &origin.paths {
            seen.insert(path.clone(), Was::There(origin.seen.clone()));
        }
    }
    seen
}

/// What a check has found.
pub(super) struct Checked {
    /// Every observation that does not hold any more, by path.
    pub(super) conflicts: Vec<Conflict>,
    /// What is at each path of which something was seen. The commit goes by this, and not by a later
    /// look, so that whatever changes after the check is found to have changed.
    pub(super) now: BTreeMap<RelPath, Option<Stat>>,
}

impl Checked {
    /// Whether a later check has found the same. What comes and goes in a directory is checked by
    /// name.
    pub(super) fn is_same(&self, later: &Checked) -> bool {
        let stands = |(now, later): (&Option<Stat>, &Option<Stat>)| match (now, later) {
            (Some(now), Some(later)) => Stamp::of(now).matches(&Stamp::of(later)),
            (now, later) => now.is_none() && later.is_none(),
        };
        self.conflicts == later.conflicts
            && self.now.keys().eq(later.now.keys())
            && self.now.values().zip(later.now.values()).all(stands)
    }
}

/// Compares all that was seen with what is there.
pub(super) fn check<G: Gate>(
    disk: &Disk<'_, G>,
    survey: &Survey<'_>,
    seen: &BTreeMap<RelPath, Was>,
) -> Result<Checked, (RelPath, Errno)> {
    let mut found = BTreeMap::new();
    let mut now = BTreeMap::new();
    for (path, was) in seen {
        let stat = disk.look(At::Tree(path)).map_err(|errno| (path.clone(), errno))?;
        now.insert(path.clone(), stat);
        let theirs = match (was, stat) {
            (Was::Absent, None) => None,
            (Was::Absent, Some(_)) => Some(TheirChange::Appeared),
            (Was::There(_), None) => Some(TheirChange::Removed),
            (Was::There(was), Some(stat)) => {
                let stamp = Stamp::of(&stat);
                let both_set_its_mode =
                    was.stamp.mode != stamp.mode && survey.ours.get(path) == Some(&OurChange::Meta);
                match difference(&was.stamp, &stamp) {
                    None if both_set_its_mode => Some(TheirChange::Meta),
                    // The same to look at; what was read of it may say otherwise. And the other way
                    // round: only its ctime tells that there was something.
                    None if !holds_the_same(disk, path, was, &stat)? => Some(TheirChange::Modified),
                    Some(TheirChange::Modified)
                        if only_ctime_differs(&was.stamp, &stamp)
                            && was.content_hash().is_some()
                            && holds_the_same(disk, path, was, &stat)? =>
                    {
                        Some(TheirChange::Meta)
                    }
                    differs => differs,
                }
            }
        };
        if let Some(theirs) = theirs {
            found.insert(path.clone(), theirs);
        }
    }
    check_deleted(disk, survey, seen, &mut found)?;
    check_listings(disk, survey, &mut found)?;
    let conflict = |(path, theirs): (RelPath, TheirChange)| {
        let existed = matches!(seen.get(&path), Some(Was::There(_)));
        let ours = match seen.contains_key(&path) {
            true => survey.ours_at(&path, existed),
            // It lies in a directory that we have deleted, or is such a directory's listing.
            false => match survey.ours_at(&path, true) {
                OurChange::Looked if theirs == TheirChange::Appeared => OurChange::Deleted,
                ours => ours,
            },
        };
        Conflict { path: path.as_bytes().into(), ours, theirs }
    };
    Ok(Checked { conflicts: found.into_iter().map(conflict).collect(), now })
}

/// How a file differs from what it was, if it does.
pub(super) fn difference(was: &Stamp, is: &Stamp) -> Option<TheirChange> {
    if was.matches(is) {
        None
    } else if was.kind != is.kind {
        Some(TheirChange::Retyped)
    } else if was.id != is.id {
        Some(TheirChange::Replaced)
    } else if was.mode != is.mode && (was.size, was.mtime) == (is.size, is.mtime) {
        Some(TheirChange::Meta)
    } else {
        Some(TheirChange::Modified)
    }
}

fn only_ctime_differs(was: &Stamp, is: &Stamp) -> bool {
    Stamp { ctime: was.ctime, ..*is } == *was
}

/// Whether a file or symlink holds what was read of it, if that is known.
fn holds_the_same<G: Gate>(
    disk: &Disk<'_, G>,
    path: &RelPath,
    was: &Seen,
    stat: &Stat,
) -> Result<bool, (RelPath, Errno)> {
    if was.content_hash().is_none() {
        return Ok(true);
    }
    let bytes = match stat.kind {
        FileKind::File => disk.read(At::Tree(path)),
        FileKind::Symlink => disk.read_link(At::Tree(path)),
        FileKind::Dir | FileKind::Special => return Ok(true),
    };
    bytes.map(|bytes| was.agrees_with(&bytes)).map_err(|errno| (path.clone(), errno))
}

/// What nobody has seen in a directory that is to go must not go with it.
fn check_deleted<G: Gate>(
    disk: &Disk<'_, G>,
    survey: &Survey<'_>,
    seen: &BTreeMap<RelPath, Was>,
    found: &mut BTreeMap<RelPath, TheirChange>,
) -> Result<(), (RelPath, Errno)> {
    let mut dirs: Vec<RelPath> = Vec::new();
    for spot in &survey.spots {
        let Some(before) = &spot.before else { continue };
        let stays = spot.ino.is_some_and(|ino| {
            let origin = survey.state.inodes.get(&ino).and_then(|inode| inode.origin.as_ref());
            origin.is_some_and(|origin| origin.paths.contains(before))
        });
        let moved = matches!(survey.ours.get(before), Some(OurChange::Renamed { .. }));
        if !stays && !moved {
            dirs.push(before.clone());
        }
    }
    while let Some(dir) = dirs.pop() {
        let at = |errno| (dir.clone(), errno);
        let is_dir =
            disk.look(At::Tree(&dir)).map_err(at)?.is_some_and(|s| s.kind == FileKind::Dir);
        if !is_dir || matches!(survey.ours.get(&dir), Some(OurChange::Renamed { .. })) {
            continue;
        }
        for entry in disk.list(At::Tree(&dir)).map_err(at)? {
            let path = dir.child(&entry.name);
            match seen.get(&path) {
                Some(Was::There(_)) => dirs.push(path),
                Some(Was::Absent) | None => {
                    found.insert(path, TheirChange::Appeared);
                }
            }
        }
    }
    Ok(())
}

/// Listings that show other names or kinds than before.
fn check_listings<G: Gate>(
    disk: &Disk<'_, G>,
    survey: &Survey<'_>,
    found: &mut BTreeMap<RelPath, TheirChange>,
) -> Result<(), (RelPath, Errno)> {
    for (path, observation) in survey.state.reads.iter() {
        let Observation::Listing(before) = observation else { continue };
        let listing = match disk.list(At::Tree(path)) {
            Ok(listing) => listing,
            // That the directory is gone is found out above.
            Err(Errno::Noent | Errno::Notdir | Errno::Loop) => continue,
            Err(errno) => return Err((path.clone(), errno)),
        };
        if !Listing::of(&listing).same(before) {
            found.entry(path.clone()).or_insert(TheirChange::Listing);
        }
    }
    Ok(())
}
