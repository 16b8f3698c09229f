//! For whoever follows what one of several users does to an overlay, such as a recorder that wraps
//! its handles: where a handle is, what a path leads to, and what lies there.
//!
//! None of it is an operation of the user that is followed: permission bits do not bind, and
//! nothing is changed.

use crate::diff::Side;
use crate::handle::{Handle, whole};
use crate::ops::core::Tx;
use crate::ops::lookup::path_of;
use crate::resolve::{End, Last, Step};
use crate::upper::inode::{Ino, Inode, Node, State};
use crate::{Errno, File, FileKind, Follow, GuestPath, LowerChange, Overlay, OverlayError};

use testbench_clock::WallTime;

/// What lies at a path of an overlay; see [`Overlay::look`].
///
/// ```
/// use testbench_overlay::{FileKind, Overlay};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a"), "text")?;
/// let state = Overlay::new(dir.path())?.look(b"a")?.unwrap();
/// assert_eq!((state.side.kind, state.side.bytes()), (FileKind::File, Some(&b"text"[..])));
/// assert_eq!(state.names, [b"a"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathState {
    /// Kind, permission bits and content.
    pub side: Side,
    /// As in [`Stat::ino`](crate::Stat::ino).
    pub ino: u64,
    /// Every path by which the overlay knows it, in order; see [`Overlay::names_of`].
    pub names: Vec<Vec<u8>>,
    /// As in [`Stat::mtime`](crate::Stat::mtime).
    pub mtime: WallTime,
}

/// An inode with its number and all of its paths.
type Found = (Ino, Inode, Vec<Vec<u8>>);

impl Overlay {
    /// Compares everything that this overlay has seen of the lower tree with what is there now, and
    /// returns the differences, ordered by path. Nothing else happens.
    ///
    /// It costs a system call or two for each file seen, and reads those again whose content was
    /// hashed when it was first read: short files, and files that were changed shortly before.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// assert!(!fs::exists(dir.path().join("a"))?);
    /// std::fs::write(dir.path().join("a"), "")?;
    /// assert_eq!(overlay.check_lower()?.len(), 1, "its absence was seen");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OverlayError::Read`] if something that is there cannot be looked at.
    pub fn check_lower(&self) -> Result<Vec<LowerChange>, OverlayError> {
        let state = self.core.tx().live.state.clone();
        let mut changes = Vec::new();
        for (path, seen) in state.observed() {
            let kind =
                self.core.lower.recheck(path, &seen).map_err(|errno| OverlayError::Read {
                    path: crate::error::display(path.as_bytes()).to_string(),
                    errno,
                })?;
            changes.extend(kind.map(|kind| LowerChange::new(path, kind)));
        }
        changes.sort_by(|a, b| (a.path(), a.kind()).cmp(&(b.path(), b.kind())));
        changes.dedup();
        Ok(changes)
    }

    /// Every path, from the top and without symlinks, by which the overlay now knows the open file
    /// or directory `file`: in order, none if all its names were removed. The top is the empty
    /// path.
    ///
    /// ```
    /// use testbench_overlay::{Create, Follow, Fs, GuestPath, OpenHow, Overlay};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    /// let top = overlay.root()?;
    /// let file = overlay.open_at(&*top, GuestPath::new(b"a"), &how)?;
    /// overlay.link_at(&*top, GuestPath::new(b"a"), Follow::No, &*top, GuestPath::new(b"b"))?;
    /// assert_eq!(overlay.names_of(&*file)?, [b"a", b"b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Errno::Xdev`] for a handle of another tree, [`Errno::Stale`] for one from before a
    /// rollback.
    pub fn names_of(&self, file: &dyn File) -> Result<Vec<Vec<u8>>, Errno> {
        let ino = Handle::ino_in(file, &self.core)?;
        if ino == Ino::ROOT {
            return Ok(vec![Vec::new()]);
        }
        let state = &self.core.tx().live.state;
        state.inode(ino).map(|inode| names(state, inode))
    }

    /// The path, from the top and without symlinks, at which `path` has or would have something.
    ///
    /// ```
    /// use testbench_overlay::{Follow, Fs, GuestPath, Overlay};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir(dir.path().join("d"))?;
    /// std::os::unix::fs::symlink("d", dir.path().join("l"))?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let place = overlay.place_of(&*overlay.root()?, GuestPath::new("l/new"), Follow::Yes)?;
    /// assert_eq!(place, b"d/new");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of a walk to it: [`Errno::Noent`] when a directory on the way is missing,
    /// [`Errno::NotCapable`] when it leads out, and so on.
    pub fn place_of(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
    ) -> Result<Vec<u8>, Errno> {
        let dir = Handle::ino_in(dir, &self.core)?;
        let mut tx = self.core.tx_as_root();
        let end = match follow {
            Follow::Yes => End::Follow,
            Follow::No => End::Name,
        };
        let place = tx.walk(dir, path, end)?;
        let dir = path_of(&tx.live.state, place.dir).ok_or(Errno::Noent)?;
        Ok(match place.last {
            Last::Name(name) => dir.child(&name).as_bytes().to_vec(),
            Last::Dot | Last::DotDot => dir.as_bytes().to_vec(),
        })
    }

    /// What lies at `path`, which starts at the top; a symlink stands for itself. `None` if nothing
    /// does.
    ///
    /// ```
    /// use testbench_overlay::Overlay;
    ///
    /// let dir = tempfile::tempdir()?;
    /// assert!(Overlay::new(dir.path())?.look(b"missing")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What reading it gives.
    pub fn look(&self, path: &[u8]) -> Result<Option<PathState>, Errno> {
        let Some((ino, inode, names)) = self.found_at(path)? else { return Ok(None) };
        let mode = inode.meta.mode;
        let side = match &inode.node {
            Node::Dir(_) => Side::dir(mode),
            Node::Symlink(target) => Side::symlink(target.clone()),
            Node::Special => Side::special(mode),
            Node::File(_) => Side::file(mode, whole(&self.core, &inode)?),
        };
        Ok(Some(PathState { side, ino: ino.0, names, mtime: inode.meta.mtime }))
    }

    /// Every path beneath the directory `path`, each directory before what is in it. None if `path`
    /// is something else.
    ///
    /// ```
    /// use testbench_overlay::Overlay;
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir_all(dir.path().join("a/b"))?;
    /// assert_eq!(Overlay::new(dir.path())?.beneath(b"")?, [&b"a"[..], b"a/b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What listing gives.
    pub fn beneath(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        let mut paths = Vec::new();
        let mut dirs = vec![path.to_vec()];
        // Directories wait here and not on the call stack: how deep they nest is not ours to say.
        while let Some(dir) = dirs.pop() {
            let Some((ino, inode, _)) = self.found_at(&dir)? else { continue };
            if inode.kind() != FileKind::Dir {
                continue;
            }
            for entry in self.core.tx_as_root().list(ino)? {
                let path = match dir.is_empty() {
                    true => entry.name.to_vec(),
                    false => [&dir, &b"/"[..], &entry.name].concat(),
                };
                if entry.kind == FileKind::Dir {
                    dirs.push(path.clone());
                }
                paths.push(path);
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    /// What kind of thing lies at `path`, as [`Overlay::look`] finds it but without reading it.
    ///
    /// ```
    /// use testbench_overlay::{FileKind, Overlay};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir(dir.path().join("d"))?;
    /// assert_eq!(Overlay::new(dir.path())?.kind_at(b"d")?, Some(FileKind::Dir));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What finding it gives.
    pub fn kind_at(&self, path: &[u8]) -> Result<Option<FileKind>, Errno> {
        let mut tx = self.core.tx_as_root();
        let Some(ino) = present(&mut tx, path)? else { return Ok(None) };
        Ok(Some(tx.live.state.inode(ino)?.kind()))
    }

    fn found_at(&self, path: &[u8]) -> Result<Option<Found>, Errno> {
        let mut tx = self.core.tx_as_root();
        let Some(ino) = present(&mut tx, path)? else { return Ok(None) };
        let state = &tx.live.state;
        let inode = state.inode(ino)?;
        Ok(Some((ino, Inode::clone(inode), names(state, inode))))
    }
}

fn names(state: &State, inode: &Inode) -> Vec<Vec<u8>> {
    let paths = inode.names.iter().filter_map(|(dir, name)| {
        Some(path_of(state, *dir)?.child(name.as_bytes()).as_bytes().to_vec())
    });
    let mut paths: Vec<Vec<u8>> = paths.collect();
    paths.sort_unstable();
    paths
}

/// What a path from the top stands for.
fn present(tx: &mut Tx<'_>, path: &[u8]) -> Result<Option<Ino>, Errno> {
    if path.is_empty() {
        return Ok(Some(Ino::ROOT));
    }
    match tx.walk(Ino::ROOT, GuestPath::new(path), End::Name) {
        Ok(place) => Ok(match place.found {
            Step::Missing => None,
            Step::Dir(ino) | Step::Link(_, ino) | Step::Leaf(ino) => Some(ino),
        }),
        Err(Errno::Noent | Errno::Notdir) => Ok(None),
        Err(errno) => Err(errno),
    }
}
