//! Whether the lower directory still is what the overlay saw.

use std::collections::BTreeMap;

use super::conflict::{Conflict, OurChange, TheirChange};
use super::disk::{At, Disk, Failure, STAGE};
use super::gate::Gate;
use super::paths::PathId;
use super::survey::{Limits, Survey};
use crate::lower::observe::{Listing, Seen, Stamp};
use crate::{FileKind, Stat};

/// The result of a check.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Every observation that does not hold any more, by path.
    pub(super) conflicts: Vec<Conflict>,
    /// The file at each path of which something was seen. The plan goes by this, and not by a later
    /// look, so that each later change is noticed.
    pub(super) now: BTreeMap<PathId, Option<Stat>>,
}

/// Compares all that was seen with what is there.
pub(super) fn check<G: Gate>(
    disk: &mut Disk<'_, G>,
    survey: &Survey<'_>,
    limits: &Limits,
) -> Result<Checked, Failure> {
    let mut checker = Checker { disk, survey, found: BTreeMap::new(), checked: Checked::default() };
    // A second check finds our own stage there.
    let stage = checker.disk.paths.child(PathId::TOP, STAGE);
    for (path, was) in survey.seen.iter().filter(|(path, _)| **path != stage) {
        checker.check_seen(*path, was)?;
    }
    checker.check_doomed()?;
    checker.check_listings()?;
    let Checker { disk, found, mut checked, .. } = checker;
    for (path, theirs) in found {
        let existed = matches!(survey.seen.get(&path), Some(Some(_)));
        let ours = match survey.ours_at(&disk.paths, path, existed) {
            // It lies in a directory that we have deleted.
            OurChange::Looked if !survey.seen.contains_key(&path) => OurChange::Deleted,
            ours => ours,
        };
        let takes_away =
            matches!(theirs, TheirChange::Removed | TheirChange::Retyped | TheirChange::Replaced);
        if limits.take_in(&disk.paths, path) || limits.is_above(path) && takes_away {
            checked.conflicts.push(Conflict { path: disk.paths.bytes(path), ours, theirs });
        }
    }
    checked.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(checked)
}

struct Checker<'c, 's, 'g, G> {
    disk: &'c mut Disk<'g, G>,
    survey: &'c Survey<'s>,
    found: BTreeMap<PathId, TheirChange>,
    checked: Checked,
}

impl<G: Gate> Checker<'_, '_, '_, G> {
    fn check_seen(&mut self, path: PathId, was: &Option<Seen>) -> Result<(), Failure> {
        let stat = self.now(path)?;
        let theirs = match (was, stat) {
            (None, None) => None,
            (None, Some(_)) => Some(TheirChange::Appeared),
            (Some(_), None) => Some(TheirChange::Removed),
            (Some(was), Some(stat)) => {
                let stamp = Stamp::of(&stat);
                let both_set_its_mode = was.stamp.mode != stamp.mode
                    && self.survey.ours.get(&path) == Some(&OurChange::Meta);
                match difference(&was.stamp, &stamp) {
                    None if both_set_its_mode => Some(TheirChange::Meta),
                    // The same metadata; a hash of its content may say otherwise. And the other way
                    // round: only its ctime tells that there was something.
                    None if !self.holds_the_same(path, was, &stat)? => Some(TheirChange::Modified),
                    Some(TheirChange::Modified)
                        if only_ctime_differs(&was.stamp, &stamp)
                            && was.content_hash().is_some()
                            && self.holds_the_same(path, was, &stat)? =>
                    {
                        Some(TheirChange::Meta)
                    }
                    differs => differs,
                }
            }
        };
        self.found.extend(theirs.map(|theirs| (path, theirs)));
        Ok(())
    }

    fn now(&mut self, path: PathId) -> Result<Option<Stat>, Failure> {
        let stat = self.disk.look(At::Tree(path))?;
        self.checked.now.insert(path, stat);
        Ok(stat)
    }

    /// Whether a file or symlink holds what was read of it, if that is known.
    fn holds_the_same(&mut self, path: PathId, was: &Seen, stat: &Stat) -> Result<bool, Failure> {
        if was.content_hash().is_none() {
            return Ok(true);
        }
        let bytes = match stat.kind {
            FileKind::File => self.disk.read(At::Tree(path))?,
            FileKind::Symlink => self.disk.read_link(At::Tree(path))?,
            FileKind::Dir | FileKind::Special => return Ok(true),
        };
        Ok(was.agrees_with(&bytes))
    }

    /// A file that was never seen must not go with its directory.
    fn check_doomed(&mut self) -> Result<(), Failure> {
        let survey = self.survey;
        let is_renamed = |path| matches!(survey.ours.get(&path), Some(OurChange::Renamed { .. }));
        let gone = survey.spots.iter().filter(|spot| !survey.stays(spot));
        let mut next: Vec<PathId> =
            gone.filter_map(|spot| spot.before).filter(|path| !is_renamed(*path)).collect();
        while let Some(path) = next.pop() {
            let known = self.checked.now.get(&path).copied();
            let stat = known.map_or_else(|| self.now(path), Ok)?;
            if stat.is_none_or(|stat| stat.kind != FileKind::Dir) || is_renamed(path) {
                continue;
            }
            for entry in self.disk.list(At::Tree(path))? {
                let inside = self.disk.paths.child(path, &entry.name);
                if !matches!(survey.seen.get(&inside), Some(Some(_))) {
                    self.found.insert(inside, TheirChange::Appeared);
                }
                next.push(inside);
            }
        }
        Ok(())
    }

    /// Finds listings that show other names or kinds than before.
    fn check_listings(&mut self) -> Result<(), Failure> {
        for (path, was) in &self.survey.listings {
            // If the directory is gone, that was found before.
            let mut listing = self.disk.list(At::Tree(*path))?;
            listing.retain(|entry| *path != PathId::TOP || &*entry.name != STAGE);
            if Listing::of(&listing) != *was {
                self.found.entry(*path).or_insert(TheirChange::Listing);
            }
        }
        Ok(())
    }
}

/// How a file differs from what it was, if it does.
fn difference(was: &Stamp, is: &Stamp) -> Option<TheirChange> {
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
