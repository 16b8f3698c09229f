//! Whether the lower directory still is what the overlay saw.

use std::collections::BTreeMap;

use super::conflict::{Conflict, OurChange, TheirChange};
use super::disk::{At, Disk, STAGE};
use super::error::Result;
use super::survey::Survey;
use crate::lower::observe::{Listing, Seen, Stamp};
use crate::places::PathId;
use crate::{FileKind, Stat};

/// The file at each path that was looked at.
pub(super) type Now = BTreeMap<PathId, Option<Stat>>;

/// Compares all that was seen with what is there. Returns every observation that does not hold any
/// more, by path, and the file at each path of which something was seen. The plan goes by that, and
/// not by a later look, so that each later change is noticed.
pub(super) fn check(disk: &mut Disk<'_>, survey: &Survey<'_>) -> Result<(Vec<Conflict>, Now)> {
    let mut checker = Checker { disk, survey, found: BTreeMap::new(), now: Now::new() };
    // A second check finds our own stage there.
    let stage = checker.disk.paths.child(PathId::TOP, STAGE);
    for (path, was) in survey.seen.iter().filter(|(path, _)| **path != stage) {
        checker.check_seen(*path, was)?;
    }
    checker.check_doomed()?;
    for (path, was) in &survey.listings {
        // If the directory is gone, that was found before.
        let mut listing = checker.disk.list(At::Tree(*path))?;
        listing.retain(|entry| *path != PathId::TOP || &*entry.name != STAGE);
        if Listing::of(&listing) != *was {
            checker.found.entry(*path).or_insert(TheirChange::Listing);
        }
    }
    let Checker { disk, mut found, now, .. } = checker;
    let paths = &disk.paths;
    found.retain(|path, theirs| {
        use TheirChange::{Removed, Replaced, Retyped};
        let takes_away = matches!(theirs, Removed | Retyped | Replaced);
        survey.takes_in(paths, *path) || survey.is_above(*path) && takes_away
    });
    if found.is_empty() {
        return Ok((Vec::new(), now));
    }
    let inside = survey.inside(paths);
    let conflict = |(path, theirs)| {
        let ours = survey.ours_at(paths, path, &inside);
        Conflict { path: paths.bytes(path), ours, theirs }
    };
    let mut conflicts: Vec<Conflict> = found.into_iter().map(conflict).collect();
    conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((conflicts, now))
}

struct Checker<'c, 's, 'g> {
    disk: &'c mut Disk<'g>,
    survey: &'c Survey<'s>,
    found: BTreeMap<PathId, TheirChange>,
    now: Now,
}

impl Checker<'_, '_, '_> {
    fn check_seen(&mut self, path: PathId, was: &Option<Seen>) -> Result<()> {
        let stat = self.disk.look(At::Tree(path))?;
        self.now.insert(path, stat);
        let theirs = match (was, stat) {
            (None, None) => None,
            (None, Some(_)) => Some(TheirChange::Appeared),
            (Some(_), None) => Some(TheirChange::Removed),
            (Some(was), Some(stat)) => self.difference(path, was, &Stamp::of(&stat))?,
        };
        self.found.extend(theirs.map(|theirs| (path, theirs)));
        Ok(())
    }

    /// How a file differs from what it was, if it does.
    fn difference(&mut self, path: PathId, seen: &Seen, is: &Stamp) -> Result<Option<TheirChange>> {
        let was = &seen.stamp;
        let but_for_mode = (was.size, was.mtime) == (is.size, is.mtime);
        Ok(if was.kind != is.kind {
            Some(TheirChange::Retyped)
        } else if was.id != is.id {
            Some(TheirChange::Replaced)
        } else if is.kind == FileKind::Dir {
            let ours_too = || {
                let ours = self.survey.change_at(&self.disk.paths, path);
                ours == Some(OurChange::Meta)
            };
            (was.mode != is.mode && ours_too()).then_some(TheirChange::Meta)
        } else if was.mode != is.mode && but_for_mode {
            Some(TheirChange::Meta)
        } else if (Stamp { ctime: was.ctime, ..*is }) != *was {
            Some(TheirChange::Modified)
        } else {
            // A hash of the content may tell a change that the metadata does not show. And the other
            // way round: that only the ctime differs may be due to something else.
            match (self.holds_the_same(path, seen)?, was == is) {
                (None | Some(true), true) => None,
                (Some(true), false) => Some(TheirChange::Meta),
                (None, false) | (Some(false), _) => Some(TheirChange::Modified),
            }
        })
    }

    /// Whether a file or symlink holds what was read of it, if that is known.
    fn holds_the_same(&mut self, path: PathId, was: &Seen) -> Result<Option<bool>> {
        if was.content_hash().is_none() {
            return Ok(None);
        }
        let bytes = match was.stamp.kind {
            FileKind::Symlink => self.disk.read_link(At::Tree(path))?,
            _ => self.disk.read(At::Tree(path))?,
        };
        Ok(Some(was.agrees_with(&bytes)))
    }

    /// A file that was never seen must not go with its directory.
    fn check_doomed(&mut self) -> Result<()> {
        let survey = self.survey;
        let gone = survey.spots.iter().filter(|spot| !survey.stays(spot));
        let mut next: Vec<PathId> = gone.filter_map(|spot| spot.before).collect();
        while let Some(path) = next.pop() {
            let stat = match self.now.get(&path) {
                Some(stat) => *stat,
                None => self.disk.look(At::Tree(path))?,
            };
            self.now.insert(path, stat);
            let ours = || survey.change_at(&self.disk.paths, path);
            if stat.is_none_or(|stat| stat.kind != FileKind::Dir)
                || matches!(ours(), Some(OurChange::Renamed { .. }))
            {
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
}
