//! Absorbing: the changes of a directory since an overlay was written out into it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use testbench_clock::WallTime;

use super::apply::Put;
use super::{Materialized, about};
use crate::FileKind;
use crate::diff::Side;
use crate::lower::observe::{LowerId, Stamp};
use crate::vfs::name::RelPath;

impl Materialized {
    /// The directory that was written, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Applies the changes of the directory since it was written (or last absorbed) to the overlay: as
    /// ordinary writes, removals and so on, which the diff then shows. Permission bits are not checked,
    /// because the change has happened already. The directory stays as it is.
    ///
    /// A file that was moved there appears as removed and added. A file that was written or touched
    /// there has changed now, by the overlay's clock. A time that was set explicitly, as by
    /// `touch -d`, is kept.
    ///
    /// Returns the paths that it changed or found to be touched, in order.
    ///
    /// ```
    /// use testbench_overlay::Overlay;
    ///
    /// let (lower, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// let overlay = Overlay::new(lower.path())?;
    /// let mut written = overlay.materialize(out.path())?;
    /// std::fs::write(out.path().join("new"), "text")?;
    /// assert_eq!(written.absorb()?, [b"new"]);
    /// assert!(written.absorb()?.is_empty(), "nothing has happened since");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ReadOnlyFilesystem`] if something has changed that is
    /// [read-only](crate::OverlayBuilder::read_only_at), and [`io::ErrorKind::PermissionDenied`] if a
    /// [hidden](crate::OverlayBuilder::hide) name was made: then nothing is taken over. Else whatever
    /// reading the directory or changing the overlay gives; what was taken over before it stays. The
    /// message names the path. [`io::ErrorKind::NotFound`] if the directory itself is no
    /// longer the one that was written.
    pub fn absorb(&mut self) -> io::Result<Vec<Vec<u8>>> {
        if !self.tree.is_in_place() {
            let error = io::Error::new(
                io::ErrorKind::NotFound,
                "it was moved, removed or replaced since the overlay was written there",
            );
            return Err(about("absorb", &self.dir, error));
        }
        self.tree.seen.forget_dirs();
        let scan = self.tree.scan()?;
        let (written, now) = (self.written.by_path(), scan.by_path());
        let paths: BTreeSet<&RelPath> = written.keys().chain(now.keys()).collect();
        let differs = |path: &&RelPath| written.get(path) != now.get(path);
        let changed: Vec<&RelPath> = paths.into_iter().filter(differs).collect();
        let puts = self.puts(&changed, &written, &now)?;
        self.overlay.put_all(&puts, Some(&self.tree)).map_err(|error| {
            let path = self.tree.host_path(&RelPath::TOP.join(&error.path));
            about("absorb", &path, error.errno.into())
        })?;
        let changed = changed.iter().map(|path| path.as_bytes().to_vec()).collect();
        self.written_at = scan.latest().max(self.written_at);
        self.written = scan;
        Ok(changed)
    }

    /// The puts that bring the changed paths into the overlay. Fails if one of them must not be
    /// changed, so that nothing is taken over.
    fn puts(
        &self,
        changed: &[&RelPath],
        written: &BTreeMap<RelPath, Stamp>,
        now: &BTreeMap<RelPath, Stamp>,
    ) -> io::Result<Vec<Put>> {
        let clock_time = self.overlay.core.clock.wall();
        let links = first_names(written, now);
        let mut puts = Vec::new();
        for path in changed {
            let (was, is) = (written.get(path), now.get(path));
            let allowed = self.overlay.core.config.policy.check_absorbed(path);
            let touched = was.zip(is).is_some_and(|(was, is)| !is_changed(was, is));
            if allowed.is_err() && touched {
                // Of a directory that is read-only: something came into it, and was gone again.
                continue;
            }
            self.tree.at(path, "absorb", allowed)?;
            let side = match is.map(|is| (is.kind, is.mode)) {
                None => None,
                // It takes the place of something else, or is passed over.
                Some((FileKind::Special, _)) => None,
                Some((FileKind::Dir, mode)) => Some(Side::dir(mode)),
                Some((FileKind::File, mode)) => Some(Side::unread_file(mode)),
                Some((FileKind::Symlink, _)) => {
                    let target = self.tree.at(path, "read", self.tree.seen.read_link(path))?;
                    Some(Side::symlink(target))
                }
            };
            let first = is.and_then(|is| links.get(&is.id)).filter(|first| *first != path);
            puts.push(Put {
                fresh: was.zip(is).is_some_and(|(was, is)| !is_the_same(was, is)),
                link_to: first.map(|first| first.as_bytes().to_vec()),
                mtime: is.and_then(|is| mtime_of(was, is, self.written_at, clock_time)),
                ..Put::new(path.as_bytes(), side)
            });
        }
        Ok(puts)
    }
}

/// The name by which the overlay knows each file and symlink before its other names come: one that
/// it has had, or else the first that comes.
fn first_names<'n>(
    written: &BTreeMap<RelPath, Stamp>,
    now: &'n BTreeMap<RelPath, Stamp>,
) -> BTreeMap<LowerId, &'n RelPath> {
    let stayed = |(path, is): &(&RelPath, &Stamp)| {
        written.get(*path).is_some_and(|was| is_the_same(was, is))
    };
    let mut first = BTreeMap::new();
    for (path, is) in now.iter().filter(stayed).chain(now) {
        first.entry(is.id).or_insert(path);
    }
    first
}

/// Whether the thing itself was changed, and not only what is in a directory, or how many names a
/// file has.
fn is_changed(was: &Stamp, is: &Stamp) -> bool {
    let Stamp { kind, id, mode, size, mtime, ctime: _ } = *is;
    (kind, id, mode) != (was.kind, was.id, was.mode)
        || (kind != FileKind::Dir && (size, mtime) != (was.size, was.mtime))
}

/// Whether it is what was there before, changed or not. A symlink never changes, but a new one may
/// have been given the number of an old one.
fn is_the_same(was: &Stamp, is: &Stamp) -> bool {
    let may_change = is.kind != FileKind::Symlink;
    (was.id, was.kind) == (is.id, is.kind)
        && (may_change || (was.size, was.mtime) == (is.size, is.mtime))
}

/// Returns the modification time of a changed entry, if it has a new one. An entry that was written or
/// touched since `written_at` gets `now`, by the overlay's clock. A time that the file system's clock
/// did not produce was set, as by `touch -d`, `tar` or `cp -p`, and is kept.
fn mtime_of(
    was: Option<&Stamp>,
    is: &Stamp,
    written_at: WallTime,
    now: WallTime,
) -> Option<WallTime> {
    match was {
        Some(was) if (was.id, was.mtime) == (is.id, is.mtime) => None,
        _ if (written_at..=is.ctime).contains(&is.mtime) => Some(now),
        _ => Some(is.mtime),
    }
}
