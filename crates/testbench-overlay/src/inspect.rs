//! Questions about an overlay that are not operations of its user: the paths of a handle, the place
//! to which a path leads, and the state there.
//!
//! A recorder that wraps the handles of an overlay asks them. Permission bits do not apply, and
//! nothing changes.

use crate::diff::Side;
use crate::handle::{Handle, whole};
use crate::ops::core::Tx;
use crate::ops::lookup::path_of;
use crate::resolve::End;
use crate::upper::inode::{Ino, Inode, Node, State};
use crate::vfs::Result;
use crate::{Errno, File, FileKind, Follow, GuestPath, LowerChange, Overlay, OverlayError};

use testbench_clock::WallTime;

/// The state of a path of an overlay; see [`Overlay::look`].
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

    /// Returns every path, from the top and without symlinks, by which the overlay now knows the open file
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
    pub fn names_of(&self, file: &dyn File) -> Result<Vec<Vec<u8>>> {
        let ino = Handle::ino_in(file, &self.core)?;
        if ino == Ino::ROOT {
            return Ok(vec![Vec::new()]);
        }
        let state = &self.core.tx().live.state;
        state.inode(ino).map(|inode| names(state, inode))
    }

    /// Returns the path, from the top and without symlinks, of the name to which `path` leads; the
    /// name need not exist.
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
    pub fn place_of(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Vec<u8>> {
        let dir = Handle::ino_in(dir, &self.core)?;
        let mut tx = self.core.tx_as_root();
        let end = if follow == Follow::Yes { End::Follow } else { End::Name };
        tx.place(dir, path, end).map(|(_, path)| path.as_bytes().to_vec())
    }

    /// Returns the state of `path`, which starts at the top; a symlink is not followed. `None` if
    /// nothing is there.
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
    /// Those of reading it.
    pub fn look(&self, path: &[u8]) -> Result<Option<PathState>> {
        let mut tx = self.core.tx_as_root();
        let Some((ino, inode)) = present(&mut tx, path)? else { return Ok(None) };
        let names = names(&tx.live.state, &inode);
        drop(tx);
        let mode = inode.meta.mode;
        let side = match &inode.node {
            Node::Dir(_) => Side::dir(mode),
            Node::Symlink(target) => Side::symlink(target.clone()),
            Node::Special => Side::special(mode),
            Node::File(_) => Side::file(mode, whole(&self.core, &inode)?),
        };
        Ok(Some(PathState { side, ino: ino.0, names, mtime: inode.meta.mtime }))
    }

    /// Returns every path beneath the directory `path`, each directory before its entries; no path
    /// if `path` is not a directory.
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
    /// Those of listing.
    pub fn beneath(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut paths = Vec::new();
        let mut dirs = vec![path.to_vec()];
        // A list and not recursion: a tree may be deeper than the stack.
        while let Some(dir) = dirs.pop() {
            let mut tx = self.core.tx_as_root();
            let Some((ino, inode)) = present(&mut tx, &dir)? else { continue };
            if inode.kind() != FileKind::Dir {
                continue;
            }
            for entry in tx.list(ino)? {
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

    /// Returns the kind of the file at `path`, as [`Overlay::look`] finds it, without reading it.
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
    /// Those of the walk to it.
    pub fn kind_at(&self, path: &[u8]) -> Result<Option<FileKind>> {
        let found = present(&mut self.core.tx_as_root(), path)?;
        Ok(found.map(|(_, inode)| inode.kind()))
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

/// Returns the inode at a path from the top, with its number.
fn present(tx: &mut Tx<'_>, path: &[u8]) -> Result<Option<(Ino, Inode)>> {
    let path = if path.is_empty() { b"." } else { path };
    match tx.find(Ino::ROOT, GuestPath::new(path), End::Name) {
        Ok(ino) => Ok(Some((ino, Inode::clone(tx.live.state.inode(ino)?)))),
        Err(Errno::Noent | Errno::Notdir) => Ok(None),
        Err(errno) => Err(errno),
    }
}
