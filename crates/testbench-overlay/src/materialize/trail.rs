//! A walk through a real directory, one open directory and one name at a time.
//!
//! A place is a number: that of its directory, and a name. No path is written out on the way, so the
//! cost of a walk in depth-first order grows with the number of places, however deep they lie.

use std::io;
use std::sync::Arc;

use super::RealTree;
use crate::lower::OpenDir;
use crate::lower::observe::LowerId;
use crate::vfs::name::RelPath;
use crate::{Create, Errno, File, Follow, Fs as _, GuestPath, OpenHow, SetTimes};

/// How many directories of the trail stay open. Going up past them, each is opened as the `..` of
/// the one below.
const OPEN_MAX: usize = 32;

/// How a file is created for writing; its permission bits come last.
const NEW: OpenHow =
    OpenHow { write: true, create: Create::New, follow: Follow::No, mode: 0o600, ..OpenHow::READ };

/// The number of a place in [`Places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceId(usize);

impl PlaceId {
    pub(super) const TOP: PlaceId = PlaceId(0);
}

/// The places that a walk has come to; each directory comes before the places in it.
#[derive(Debug)]
pub(super) struct Places(Vec<NamedPlace>);

#[derive(Debug)]
struct NamedPlace {
    dir: PlaceId,
    name: Box<[u8]>,
    depth: usize,
}

impl Places {
    fn new() -> Places {
        Places(vec![NamedPlace { dir: PlaceId::TOP, name: Box::default(), depth: 0 }])
    }

    fn path(&self, at: PlaceId) -> RelPath {
        let up = |at: &PlaceId| Some(self.0[at.0].dir);
        let way = std::iter::successors(Some(at), up).take_while(|at| *at != PlaceId::TOP);
        let mut names: Vec<&[u8]> = way.map(|at| &*self.0[at.0].name).collect();
        names.reverse();
        RelPath::TOP.join(&names.join(&b'/'))
    }

    /// The path of every place but the top.
    pub(super) fn paths(&self) -> Vec<RelPath> {
        let mut paths = vec![RelPath::TOP];
        for place in &self.0[1..] {
            paths.push(paths[place.dir.0].child(&place.name));
        }
        paths.split_off(1)
    }
}

/// A walk through a [`RealTree`].
pub(super) struct Trail<'t> {
    tree: &'t RealTree,
    pub(super) places: Places,
    /// The directories from the top to the one that was asked for last.
    rungs: Vec<Rung>,
}

struct Rung {
    place: PlaceId,
    id: LowerId,
    open: Option<OpenDir>,
}

impl<'t> Trail<'t> {
    pub(super) fn new(tree: &'t RealTree) -> Result<Trail<'t>, Errno> {
        let top = tree.seen.dir(&RelPath::TOP, None)?;
        let rungs = vec![Rung { place: PlaceId::TOP, id: top.id, open: Some(top) }];
        Ok(Trail { tree, places: Places::new(), rungs })
    }

    /// Numbers a name in a directory. Each name is numbered once.
    pub(super) fn child(&mut self, dir: PlaceId, name: &[u8]) -> PlaceId {
        let depth = self.depth(dir) + 1;
        self.places.0.push(NamedPlace { dir, name: name.into(), depth });
        PlaceId(self.places.0.len() - 1)
    }

    /// Takes back the last number, of a name that is gone.
    pub(super) fn forget_last(&mut self) {
        self.places.0.pop();
    }

    pub(super) fn path(&self, at: PlaceId) -> RelPath {
        self.places.path(at)
    }

    /// Opens a directory, from the nearest one on the trail.
    pub(super) fn dir(&mut self, at: PlaceId) -> Result<OpenDir, Errno> {
        let (mut nearest, mut below) = (at, Vec::new());
        while self.rungs.get(self.depth(nearest)).is_none_or(|rung| rung.place != nearest) {
            below.push(nearest);
            nearest = self.places.0[nearest.0].dir;
        }
        if !self.climb(self.depth(nearest)) {
            // A directory was moved meanwhile. The top cannot be.
            self.rungs.truncate(1);
            return self.dir(at);
        }
        let mut dir = self.rungs.last().and_then(|rung| rung.open.clone()).ok_or(Errno::Badf)?;
        for place in below.into_iter().rev() {
            (dir, _) = self.tree.seen.open_dir(&dir, &self.places.0[place.0].name)?;
            self.rungs.push(Rung { place, id: dir.id, open: Some(dir.clone()) });
            if let Some(far) = self.rungs.len().checked_sub(OPEN_MAX).filter(|far| *far > 0) {
                self.rungs[far].open = None;
            }
        }
        Ok(dir)
    }

    /// Opens a directory for the last time, and goes up: once its permission bits are set, it may
    /// lead nowhere.
    pub(super) fn last_of_dir(&mut self, at: PlaceId) -> Result<Arc<dyn File>, Errno> {
        let dir = self.dir(at)?;
        if !self.climb(self.depth(at).saturating_sub(1)) {
            self.rungs.truncate(1);
        }
        Ok(dir.file().clone())
    }

    /// Goes up to a depth. Returns false if a directory does not lie where it did.
    fn climb(&mut self, depth: usize) -> bool {
        while self.rungs.len() > depth + 1 {
            let below = self.rungs.pop().and_then(|rung| rung.open);
            let (Some(below), Some(rung)) = (below, self.rungs.last_mut()) else { return false };
            if rung.open.is_none() {
                let above = self.tree.host.above(&**below.file());
                let above = above.and_then(OpenDir::of).ok().filter(|above| above.id == rung.id);
                let Some(above) = above else { return false };
                rung.open = Some(above);
            }
        }
        true
    }

    pub(super) fn create_file(&mut self, at: PlaceId) -> Result<Arc<dyn File>, Errno> {
        let dir = self.dir_of(at)?;
        self.tree.host.open_at(&**dir.file(), self.name(at), &NEW)
    }

    /// Creates a directory that only its owner may use yet.
    pub(super) fn create_dir(&mut self, at: PlaceId) -> Result<(), Errno> {
        let dir = self.dir_of(at)?;
        self.tree.host.create_dir_at(&**dir.file(), self.name(at), 0o700)
    }

    pub(super) fn symlink(
        &mut self,
        target: &[u8],
        at: PlaceId,
        times: SetTimes,
    ) -> Result<(), Errno> {
        let dir = self.dir_of(at)?;
        self.tree.host.symlink_at(target, &**dir.file(), self.name(at))?;
        self.tree.host.set_times_at(&**dir.file(), self.name(at), Follow::No, times)
    }

    /// Gives the file at `first` one more name.
    pub(super) fn link(&mut self, first: PlaceId, at: PlaceId) -> Result<(), Errno> {
        let (from_dir, dir) = (self.dir_of(first)?, self.dir_of(at)?);
        let (from, name) = (self.name(first), self.name(at));
        self.tree.host.link_at(&**from_dir.file(), from, Follow::No, &**dir.file(), name)
    }

    /// Says of an error what was attempted, and where.
    pub(super) fn at<T>(&self, at: PlaceId, what: &str, result: Result<T, Errno>) -> io::Result<T> {
        result.or_else(|errno| self.tree.at(&self.path(at), what, Err(errno)))
    }

    fn dir_of(&mut self, at: PlaceId) -> Result<OpenDir, Errno> {
        self.dir(self.places.0[at.0].dir)
    }

    fn name(&self, at: PlaceId) -> GuestPath<'_> {
        GuestPath::new(&self.places.0[at.0].name)
    }

    fn depth(&self, at: PlaceId) -> usize {
        self.places.0[at.0].depth
    }
}
