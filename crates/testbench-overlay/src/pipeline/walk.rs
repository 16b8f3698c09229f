//! The walk over an overlay and what is mounted in it, as policy lets it be seen.

use super::mounts::{Inside, Spot};
use super::staged::Staged;
use crate::resolve::{self, End, Last, Leaving, Place, Step, Trail, Walk};
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind, Follow, GuestPath, OpenHow};

/// For a directory that has been removed, and so is nowhere.
const REMOVED: &[u8] = b"(removed)";

/// Where a path leads.
pub(super) type Found = Place<Spot, ()>;

impl Staged<'_> {
    /// Walks, and says which path this is about: where it leads, or if the way there fails what was
    /// asked for.
    pub(super) fn walk(
        &self,
        start: &Spot,
        path: GuestPath<'_>,
        end: End,
    ) -> (Result<Found, Errno>, RelPath) {
        self.walk_as(start, path, end, false)
    }

    /// The same; with `free_dots` a `.` or `..` asks for no permission.
    pub(super) fn walk_as(
        &self,
        start: &Spot,
        path: GuestPath<'_>,
        end: End,
        free_dots: bool,
    ) -> (Result<Found, Errno>, RelPath) {
        let mut tree = StagedWalk { staged: self, free_dots };
        let place = resolve::walk(&mut tree, start.clone(), path, end);
        let subject = match &place {
            Ok(place) => self.path_at(place),
            Err(_) => self.path_of(start).join(RelPath::from_bytes(path.as_bytes()).as_bytes()),
        };
        (place, subject)
    }

    /// The path of a place.
    pub(super) fn path_at(&self, place: &Found) -> RelPath {
        match (&place.last, &place.found) {
            (Last::Name(name), _) => self.path_of(&place.dir).child(name),
            (Last::Dot | Last::DotDot, Step::Dir(dir)) => self.path_of(dir),
            (Last::Dot | Last::DotDot, _) => self.path_of(&place.dir),
        }
    }

    pub(super) fn is_outside(&self, place: &Found) -> bool {
        match &place.found {
            Step::Dir(dir) => self.pipe.mounts.is_outside(dir),
            _ => self.pipe.mounts.is_outside(&place.dir),
        }
    }

    /// The absolute path of a place outside.
    pub(super) fn host_path(&self, place: &Found) -> Vec<u8> {
        let below = match (&place.found, &place.dir, &place.last) {
            (Step::Dir(Spot::In(inside)), ..) => inside.path.clone(),
            (_, Spot::In(inside), Last::Name(name)) => inside.path.child(name),
            _ => RelPath::TOP,
        };
        [b"/", below.as_bytes()].concat()
    }

    pub(super) fn path_of(&self, dir: &Spot) -> RelPath {
        let path = self.pipe.mounts.path_of(self.core, dir);
        path.unwrap_or_else(|| RelPath::TOP.child(REMOVED))
    }
}

struct StagedWalk<'s, 'c> {
    staged: &'s Staged<'c>,
    free_dots: bool,
}

impl Walk for StagedWalk<'_, '_> {
    type Dir = Spot;
    type Leaf = ();

    fn search(&mut self, dir: &Spot) -> Result<(), Errno> {
        match dir {
            Spot::Own(ino) => self.staged.core.tx().search(ino),
            // The tree itself checks it with every name.
            Spot::In(_) => Ok(()),
        }
    }

    fn search_for_dots(&mut self, dir: &Spot) -> Result<(), Errno> {
        if self.free_dots { Ok(()) } else { self.search(dir) }
    }

    fn step(&mut self, dir: &Spot, name: &[u8], is_last: bool) -> Result<Step<Spot, ()>, Errno> {
        let Staged { core, pipe } = self.staged;
        if let Some(top) = pipe.mounts.at(dir, name) {
            return Ok(Step::Dir(Spot::In(top)));
        }
        if pipe.policy.hides_anything() && pipe.policy.hides(&self.staged.path_of(dir).child(name))
        {
            return Ok(Step::Missing);
        }
        match dir {
            Spot::Own(ino) => Ok(match core.tx().step(ino, name, is_last)? {
                Step::Missing => Step::Missing,
                Step::Dir(ino) => Step::Dir(Spot::Own(ino)),
                Step::Link(target, _) => Step::Link(target, ()),
                Step::Leaf(_) => Step::Leaf(()),
            }),
            Spot::In(inside) => self.step_inside(inside, name),
        }
    }

    fn top(&mut self) -> Spot {
        Spot::Own(crate::upper::inode::Ino::ROOT)
    }

    fn same(&self, a: &Spot, b: &Spot) -> bool {
        match (a, b) {
            (Spot::Own(a), Spot::Own(b)) => a == b,
            (Spot::In(a), Spot::In(b)) => a.mount == b.mount && a.path == b.path,
            _ => false,
        }
    }

    fn may_leave(&self, dir: &Spot) -> bool {
        let mounts = &self.staged.pipe.mounts;
        // What is mounted may be anybody's.
        let is_ours = matches!(dir, Spot::Own(_)) || mounts.is_outside(dir);
        is_ours && mounts.outside().is_some()
    }

    fn leave(&mut self, how: Leaving) -> Result<Trail<Spot>, Errno> {
        let (outside, mount) = self.staged.pipe.mounts.outside().ok_or(Errno::NotCapable)?;
        let mut trail = Trail::new();
        trail.push(outside.top(mount));
        if how == Leaving::Absolute {
            return Ok(trail);
        }
        // Down to the directory above the root, in which that must still be.
        let mut names = GuestPath::new(outside.root.as_bytes()).components().peekable();
        while let Some(name) = names.next() {
            let here = trail.last().ok_or(Errno::NotCapable)?.clone();
            match (self.step(&here, name, false)?, names.peek()) {
                (Step::Dir(dir @ Spot::In(_)), Some(_)) => trail.push(dir),
                (Step::Dir(Spot::Own(_)), None) => return Ok(trail),
                _ => break,
            }
        }
        Err(Errno::NotCapable)
    }

    fn inside<'t>(&self, target: &'t [u8]) -> Option<&'t [u8]> {
        let own = self.staged.core.config.own_paths();
        own.into_iter().find_map(|own| resolve::strip_root(target, own))
    }
}

impl StagedWalk<'_, '_> {
    fn step_inside(&self, inside: &Inside, name: &[u8]) -> Result<Step<Spot, ()>, Errno> {
        let Inside { mount, dir, path } = inside;
        let fs = self.staged.pipe.mounts.fs(*mount);
        let guest = GuestPath::new(name);
        let stat = match fs.stat_at(&**dir, guest, Follow::No) {
            Err(Errno::Noent) => return Ok(Step::Missing),
            stat => stat?,
        };
        Ok(match stat.kind {
            FileKind::Dir => {
                let how =
                    OpenHow { read: false, directory: true, follow: Follow::No, ..OpenHow::READ };
                let dir = fs.open_at(&**dir, guest, &how)?;
                match self.staged.pipe.mounts.outside() {
                    Some((outside, n)) if n == *mount && outside.is_root(&*dir)? => {
                        return Ok(Step::Dir(Spot::Own(crate::upper::inode::Ino::ROOT)));
                    }
                    _ => {}
                }
                Step::Dir(Spot::In(Inside { mount: *mount, dir, path: path.child(name) }))
            }
            FileKind::Symlink => Step::Link(fs.read_link_at(&**dir, guest)?, ()),
            FileKind::File | FileKind::Special => Step::Leaf(()),
        })
    }
}
