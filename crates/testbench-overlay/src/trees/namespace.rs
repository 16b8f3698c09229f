//! The namespace of one overlay: its own tree, the trees that are mounted in it, and the real disk
//! behind symlinks that lead out of the root. One walk leads through all of them.
//!
//! A mount is anchored at a name in a directory, not at a path: when a directory above it moves, it
//! comes along, as on Linux. The name itself can neither be removed nor moved. The content of a
//! mounted tree does not belong to the overlay: it is neither in the diff, nor committed, nor written
//! out.
//!
//! The real disk from `/` on is one more tree, read-only, and no name stands for it: only a symlink
//! leads there, where [`OutwardLinks`] lets it. A directory on the way that is the root itself is the
//! overlay's own again, changes included.

use std::sync::Arc;

use crate::ops::core::{Core, Tx};
use crate::ops::lookup::path_of;
use crate::pipeline::{is_in, plain_path};
use crate::resolve::{self, End, Last, Leaving, Place, Step, Trail, Walk};
use crate::upper::inode::{DEVICE, Ino};
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{Errno, File, FileKind, Follow, Fs, GuestPath, HostDir, OpenHow, OverlayError};

/// The treatment of a symlink that leads out of the root, by an absolute target or by `..`.
///
/// Whatever this says, nothing outside is ever written, and devices, sockets and FIFOs are not
/// opened. A path that itself leads out is always refused; this is about symlinks on the way.
///
/// ```
/// use testbench_overlay::{Overlay, OutwardLinks, fs, install};
///
/// let (dir, outside) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// std::fs::write(outside.path().join("data"), "text")?;
/// std::os::unix::fs::symlink(outside.path(), dir.path().join("shared"))?;
/// let shared = dir.path().join("shared/data");
/// {
///     let _installed = install(Overlay::new(dir.path())?);
///     assert!(fs::read(&shared).is_err());
/// }
/// let overlay = Overlay::builder(dir.path()).outward_links(OutwardLinks::Read).build()?;
/// let _installed = install(overlay);
/// assert_eq!(fs::read_to_string(&shared)?, "text");
/// let error = fs::write(&shared, "other").unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutwardLinks {
    /// It leads nowhere: [`Errno::NotCapable`].
    #[default]
    Refuse,
    /// Its target can be read, as on a read-only mount of the real disk: any change is
    /// [`Errno::Rofs`].
    ///
    /// This is for trees that refer to others beside them, with trusted code: a program that can
    /// make a symlink in the overlay can read all that the process can. Reads outside are not
    /// observed: a later change there is neither noticed nor a conflict of a commit. It never is in
    /// the diff, and a symlink stays a symlink when the tree is written out.
    ///
    /// Only links in the overlay's own tree count, not those in
    /// [mounts](crate::OverlayBuilder::mount); and only for paths that begin at the top, since any
    /// other directory handle is a boundary. An overlay of a tree that is no real directory refuses
    /// them all the same.
    Read,
}
/// The trees of one overlay.
#[derive(Debug)]
pub(crate) struct Namespace {
    core: Arc<Core>,
    /// All but the overlay's own.
    trees: Vec<Tree>,
    outside: Option<Outside>,
}

#[derive(Clone, Debug)]
struct Tree {
    fs: Arc<dyn Fs>,
    /// Its top directory.
    top: Arc<dyn File>,
    /// The directory that holds the mount point; none for the tree around the root.
    parent: Option<Spot>,
    name: Vec<u8>,
}

/// The real disk around the root.
#[derive(Clone, Debug)]
struct Outside {
    /// The number of its tree.
    tree: usize,
    /// The canonical path of the root.
    root: RelPath,
    /// Device and inode of the root.
    root_id: (u64, u64),
}

/// The prefix of paths outside, in audits and for patterns.
const OUTSIDE: &[u8] = b"(outside)";

/// The path of a directory that was removed.
const REMOVED: &[u8] = b"(removed)";

/// A directory, whichever tree it is of.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    /// One of the overlay's own.
    Own(Ino),
    /// One of another tree.
    In(Inside),
}

/// A directory of a tree that is not the overlay's own.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    pub(crate) tree: usize,
    pub(crate) dir: Arc<dyn File>,
    /// Below the top of the tree, as it was when the directory was opened.
    path: RelPath,
}

/// Two handles of one directory are the same spot.
impl PartialEq for Spot {
    fn eq(&self, other: &Spot) -> bool {
        match (self, other) {
            (Spot::Own(a), Spot::Own(b)) => a == b,
            (Spot::In(a), Spot::In(b)) => a.tree == b.tree && a.path == b.path,
            _ => false,
        }
    }
}

impl Spot {
    pub(crate) const TOP: Spot = Spot::Own(Ino::ROOT);

    /// The number of its tree, unless that is the overlay's own.
    pub(crate) fn tree(&self) -> Option<usize> {
        match self {
            Spot::Own(_) => None,
            Spot::In(inside) => Some(inside.tree),
        }
    }
}

/// Where a path leads.
pub(crate) type Found = Place<Spot, ()>;

/// The rights of a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    Usual,
    /// A `.` or `..` asks for no permission.
    FreeDots,
    /// Permission bits and policy do not bind, as when the namespace is built.
    All,
}

impl Namespace {
    pub(crate) fn new(
        core: &Arc<Core>,
        mounts: Vec<(Vec<u8>, Arc<dyn Fs>)>,
        links: OutwardLinks,
    ) -> Result<Namespace, OverlayError> {
        let mut built = Namespace { core: core.clone(), trees: Vec::new(), outside: None };
        let mut mounts: Vec<_> = mounts
            .into_iter()
            .map(|(path, fs)| Ok((plain_path(&path)?, fs)))
            .collect::<Result<_, OverlayError>>()?;
        // Outer ones first, so that inner ones can be anchored in them.
        mounts.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, fs) in mounts {
            built.mount(&path, fs).map_err(|errno| OverlayError::MountTree {
                path: GuestPath::new(path.as_bytes()).to_string(),
                errno,
            })?;
        }
        if links == OutwardLinks::Read {
            built
                .open_outside()
                .map_err(|source| OverlayError::Root { path: "/".into(), source })?;
        }
        Ok(built)
    }

    pub(crate) fn fork(&self, core: Arc<Core>) -> Namespace {
        Namespace { core, trees: self.trees.clone(), outside: self.outside.clone() }
    }

    fn mount(&mut self, path: &RelPath, fs: Arc<dyn Fs>) -> Result<()> {
        let (parent, name) = path.split().ok_or(Errno::Busy)?;
        let top = fs.root()?;
        let parent = if parent.is_top() { b"." } else { parent.as_bytes() };
        let (place, _) = self.walk(&Spot::TOP, GuestPath::new(parent), End::Name, Rights::All);
        let parent = match place?.found {
            Step::Missing => return Err(Errno::Noent),
            Step::Dir(dir) if self.at(&dir, name).is_some() => return Err(Errno::Exist),
            Step::Dir(dir) => dir,
            Step::Link(..) | Step::Leaf(()) => return Err(Errno::Notdir),
        };
        if let Spot::Own(dir) = parent {
            let mut tx = self.core.tx_as_root();
            if let Some(there) = tx.lookup(dir, name)? {
                tx.live.state.dir(there)?;
            }
        }
        self.trees.push(Tree { fs, top, parent: Some(parent), name: name.to_vec() });
        Ok(())
    }

    /// Adds the tree around the root. An overlay of a tree that is no real directory has none.
    fn open_outside(&mut self) -> std::io::Result<()> {
        let Some(dir) = self.core.lower.host_dir() else { return Ok(()) };
        let fs = HostDir::open("/")?.read_only();
        let stat = self.core.lower.top_stat()?;
        let root = RelPath::from_bytes(dir.path().as_os_str().as_encoded_bytes());
        let tree = self.trees.len();
        self.outside = Some(Outside { tree, root, root_id: (stat.dev, stat.ino) });
        let top = fs.root()?;
        let (fs, name) = (Arc::new(fs), OUTSIDE.to_vec());
        self.trees.push(Tree { fs, top, parent: None, name });
        Ok(())
    }

    pub(crate) fn fs(&self, tree: usize) -> &Arc<dyn Fs> {
        &self.trees[tree].fs
    }

    /// Whether the place that a walk came to lies outside of the root.
    pub(crate) fn is_outside(&self, place: &Found) -> bool {
        let dir = match &place.found {
            Step::Dir(dir) => dir,
            _ => &place.dir,
        };
        dir.tree().is_some_and(|tree| self.trees[tree].parent.is_none())
    }

    /// The top of the tree that is mounted at a name, if there is one.
    fn at(&self, dir: &Spot, name: &[u8]) -> Option<Inside> {
        let tree = self.in_dir(dir).find(|tree| self.trees[*tree].name == name)?;
        Some(Inside { tree, dir: self.trees[tree].top.clone(), path: RelPath::TOP })
    }

    /// The mount points in a directory: their names and tops.
    pub(crate) fn points<'m>(
        &'m self,
        dir: &'m Spot,
    ) -> impl Iterator<Item = (&'m [u8], &'m Arc<dyn File>)> {
        self.in_dir(dir).map(|tree| (&self.trees[tree].name[..], &self.trees[tree].top))
    }

    pub(crate) fn has_points(&self, dir: &Spot) -> bool {
        self.in_dir(dir).next().is_some()
    }

    fn in_dir<'m>(&'m self, dir: &'m Spot) -> impl Iterator<Item = usize> + 'm {
        (0..self.trees.len()).filter(move |tree| self.trees[*tree].parent.as_ref() == Some(dir))
    }

    pub(crate) fn is_mount_point(&self, place: &Found) -> bool {
        match &place.last {
            Last::Name(name) => self.at(&place.dir, name).is_some(),
            Last::Dot | Last::DotDot => false,
        }
    }

    /// Whether a mount is anchored by path at or below a place. Those in the overlay's own directories
    /// come along with them.
    pub(crate) fn moves_a_mount(&self, place: &Found) -> bool {
        let (Spot::In(inside), Last::Name(name)) = (&place.dir, &place.last) else { return false };
        let moved = inside.path.child(name);
        self.trees.iter().any(|tree| match &tree.parent {
            Some(Spot::In(outer)) => outer.tree == inside.tree && is_in(&outer.path, &moved),
            _ => false,
        })
    }

    /// Whether a directory with a mount point in it has this name.
    pub(crate) fn holds_a_mount(&self, place: &Found) -> Result<bool> {
        let Last::Name(name) = &place.last else { return Ok(false) };
        let there = match &place.dir {
            Spot::Own(dir) => self.core.tx().lookup(*dir, name)?.map(Spot::Own),
            Spot::In(inside) => {
                Some(Spot::In(Inside { path: inside.path.child(name), ..inside.clone() }))
            }
        };
        Ok(there.is_some_and(|there| self.has_points(&there)))
    }

    /// Walks. Returns the place with its path, or if the way there fails the path that was asked for.
    pub(crate) fn walk(
        &self,
        start: &Spot,
        path: GuestPath<'_>,
        end: End,
        rights: Rights,
    ) -> (Result<Found>, RelPath) {
        let mut tree = NamespaceWalk { namespace: self, rights };
        let place = resolve::walk(&mut tree, start.clone(), path, end);
        let subject = match &place {
            Err(_) => self.path_of(start).join(RelPath::from_bytes(path.as_bytes()).as_bytes()),
            Ok(Place { dir, last: Last::Name(name), .. }) => self.path_of(dir).child(name),
            Ok(Place { found: Step::Dir(dir), .. } | Place { dir, .. }) => self.path_of(dir),
        };
        (place, subject)
    }

    /// The absolute path of a place outside.
    pub(crate) fn host_path(&self, place: &Found) -> Vec<u8> {
        let below = match (&place.found, &place.dir, &place.last) {
            (Step::Dir(Spot::In(inside)), ..) => inside.path.clone(),
            (_, Spot::In(inside), Last::Name(name)) => inside.path.child(name),
            _ => RelPath::TOP,
        };
        [b"/", below.as_bytes()].concat()
    }

    /// The path of a directory from the overlay's top.
    pub(crate) fn path_of(&self, dir: &Spot) -> RelPath {
        // From the inside out. Each tree is mounted in one that comes before it, so this ends.
        let mut names = Vec::new();
        let mut at = Some(dir);
        let top = loop {
            match at {
                Some(Spot::Own(dir)) => break path_of(&self.core.tx().live.state, *dir),
                Some(Spot::In(inside)) => {
                    let Tree { parent, name, .. } = &self.trees[inside.tree];
                    names.extend([inside.path.as_bytes(), name]);
                    at = parent.as_ref();
                }
                None => break Some(RelPath::TOP),
            }
        };
        match top {
            Some(top) => names.iter().rev().fold(top, |path, name| path.join(name)),
            None => RelPath::TOP.child(REMOVED),
        }
    }
}

/// The device that metadata of another tree shows in place of its own.
pub(crate) fn device(tree: usize) -> u64 {
    DEVICE + 1 + tree as u64
}

struct NamespaceWalk<'n> {
    namespace: &'n Namespace,
    rights: Rights,
}

impl Walk for NamespaceWalk<'_> {
    type Dir = Spot;
    type Leaf = ();

    fn search(&mut self, dir: &Spot, is_for_dots: bool) -> Result<()> {
        match dir {
            Spot::Own(_) if is_for_dots && self.rights == Rights::FreeDots => Ok(()),
            Spot::Own(ino) => self.tx().search(ino, is_for_dots),
            // Another tree checks it with every name.
            Spot::In(_) => Ok(()),
        }
    }

    fn step(&mut self, dir: &Spot, name: &[u8], is_last: bool) -> Result<Step<Spot, ()>> {
        if let Some(top) = self.namespace.at(dir, name) {
            return Ok(Step::Dir(Spot::In(top)));
        }
        let policy = &self.namespace.core.config.policy;
        if self.rights != Rights::All
            && policy.hides_anything()
            && policy.hides(&self.namespace.path_of(dir).child(name))
        {
            return Ok(Step::Missing);
        }
        let dir = match dir {
            Spot::Own(dir) => dir,
            Spot::In(inside) => return self.step_inside(inside, name),
        };
        Ok(match self.tx().step(dir, name, is_last)? {
            Step::Missing => Step::Missing,
            Step::Dir(ino) => Step::Dir(Spot::Own(ino)),
            Step::Link(target, _) => Step::Link(target, ()),
            Step::Leaf(_) => Step::Leaf(()),
        })
    }

    fn top(&mut self) -> Spot {
        Spot::TOP
    }

    fn same(&self, a: &Spot, b: &Spot) -> bool {
        a == b
    }

    fn may_leave(&self, dir: &Spot) -> bool {
        // The links of a mounted tree may come from anywhere.
        let outside = self.namespace.outside.as_ref();
        outside.is_some_and(|outside| dir.tree().is_none_or(|tree| tree == outside.tree))
    }

    fn leave(&mut self, how: Leaving) -> Result<Trail<Spot>> {
        let outside = self.namespace.outside.as_ref().ok_or(Errno::NotCapable)?;
        let Outside { tree, root, .. } = outside;
        let dir = self.namespace.trees[*tree].top.clone();
        let mut trail = Trail::new();
        trail.push(Spot::In(Inside { tree: *tree, dir, path: RelPath::TOP }));
        if how == Leaving::Absolute {
            return Ok(trail);
        }
        // Down to the directory above the root, in which that must still be.
        let mut names = GuestPath::new(root.as_bytes()).components().peekable();
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
        self.namespace.core.config.inside(target)
    }
}

impl<'n> NamespaceWalk<'n> {
    fn tx(&self) -> Tx<'n> {
        let core = &self.namespace.core;
        if self.rights == Rights::All { core.tx_as_root() } else { core.tx() }
    }

    fn step_inside(&self, inside: &Inside, name: &[u8]) -> Result<Step<Spot, ()>> {
        let Inside { tree, dir, path } = inside;
        let fs = self.namespace.fs(*tree);
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
                if let Some(outside) = &self.namespace.outside
                    && outside.tree == *tree
                    && outside.is_root(&*dir)?
                {
                    return Ok(Step::Dir(Spot::TOP));
                }
                Step::Dir(Spot::In(Inside { tree: *tree, dir, path: path.child(name) }))
            }
            FileKind::Symlink => Step::Link(fs.read_link_at(&**dir, guest)?, ()),
            FileKind::File | FileKind::Special => Step::Leaf(()),
        })
    }
}

impl Outside {
    /// Whether a directory outside is the root itself.
    fn is_root(&self, dir: &dyn File) -> Result<bool> {
        let stat = dir.stat()?;
        Ok((stat.dev, stat.ino) == self.root_id)
    }
}
