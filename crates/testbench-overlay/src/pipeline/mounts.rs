//! Mounts: other trees at paths of an overlay.
//!
//! A mount is anchored at a name in a directory, not at a path: when a directory above it moves, it
//! comes along, as on Linux. The name itself can neither be removed nor moved. Its content does
//! not belong to the overlay: it is neither in the diff, nor committed, nor written out.

use std::sync::Arc;

use super::outside::Outside;
use super::policy::{is_in, plain_path};
use crate::ops::core::Core;
use crate::ops::lookup::path_of;
use crate::resolve::End;
use crate::upper::inode::{DEVICE, Ino};
use crate::vfs::name::RelPath;
use crate::{Errno, File, FileKind, Fs, GuestPath, OverlayError};

#[derive(Clone, Debug, Default)]
pub(super) struct Mounts {
    list: Vec<Mount>,
    /// The tree with the number behind those of the list.
    outside: Option<Outside>,
}

#[derive(Clone, Debug)]
struct Mount {
    fs: Arc<dyn Fs>,
    /// Its top directory.
    top: Arc<dyn File>,
    parent: Parent,
    name: Vec<u8>,
}

/// The directory that holds a mount point.
#[derive(Clone, Debug, PartialEq)]
enum Parent {
    Own(Ino),
    /// In another mount, at a path below its top.
    In(usize, RelPath),
}

/// A directory, whichever tree it is of.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    /// One of the overlay's own.
    Own(Ino),
    /// One of a mounted tree.
    In(Inside),
}

#[derive(Clone, Debug)]
pub(crate) struct Inside {
    pub(super) mount: usize,
    pub(super) dir: Arc<dyn File>,
    /// Below the top of the mount, as it was when the directory was opened.
    pub(super) path: RelPath,
}

impl Mounts {
    pub(super) fn new(
        core: &Core,
        mounts: Vec<(Vec<u8>, Arc<dyn Fs>)>,
        outside: Option<Outside>,
    ) -> Result<Mounts, OverlayError> {
        let mut built = Mounts { list: Vec::new(), outside };
        let mut paths: Vec<RelPath> = Vec::new();
        let mut mounts: Vec<_> = mounts
            .into_iter()
            .map(|(path, fs)| Ok((plain_path(&path)?, fs)))
            .collect::<Result<_, OverlayError>>()?;
        // Outer ones first, so that inner ones can be anchored in them.
        mounts.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, fs) in mounts {
            let failed = |errno| OverlayError::MountTree {
                path: GuestPath::new(path.as_bytes()).to_string(),
                errno,
            };
            if paths.contains(&path) {
                return Err(failed(Errno::Exist));
            }
            let (parent, name) = path.split().ok_or(failed(Errno::Busy))?;
            let mount = built.mount(core, &paths, &parent, name, fs).map_err(failed)?;
            built.list.push(mount);
            paths.push(path);
        }
        Ok(built)
    }

    fn mount(
        &self,
        core: &Core,
        paths: &[RelPath],
        parent: &RelPath,
        name: &[u8],
        fs: Arc<dyn Fs>,
    ) -> Result<Mount, Errno> {
        let top = fs.root()?;
        let outer = paths.iter().enumerate().rev().find_map(|(index, path)| {
            let rest = parent.as_bytes().strip_prefix(path.as_bytes())?;
            match rest.first() {
                None | Some(b'/') => Some((index, RelPath::from_bytes(rest))),
                Some(_) => None,
            }
        });
        let or_top = |path: &RelPath| {
            if path.is_top() { b".".to_vec() } else { path.as_bytes().to_vec() }
        };
        let parent = match outer {
            Some((index, below)) => {
                let Mount { fs, top, .. } = &self.list[index];
                let path = or_top(&below);
                let path = GuestPath::new(&path);
                let kind = fs.stat_at(&**top, path, crate::Follow::No)?.kind;
                is_dir(kind)?;
                Parent::In(index, below)
            }
            None => {
                let mut tx = core.tx_as_root();
                let dir = tx.find(Ino::ROOT, GuestPath::new(&or_top(parent)), End::Name)?;
                is_dir(tx.live.state.inode(dir)?.kind())?;
                if let Some(there) = tx.lookup(dir, name)? {
                    is_dir(tx.live.state.inode(there)?.kind())?;
                }
                Parent::Own(dir)
            }
        };
        Ok(Mount { fs, top, parent, name: name.to_vec() })
    }

    pub(super) fn fs(&self, mount: usize) -> &Arc<dyn Fs> {
        match &self.outside {
            Some(outside) if mount == self.list.len() => outside.fs(),
            _ => &self.list[mount].fs,
        }
    }

    /// Returns the tree around the root, and its number; `None` if nothing leads there.
    pub(super) fn outside(&self) -> Option<(&Outside, usize)> {
        self.outside.as_ref().map(|outside| (outside, self.list.len()))
    }

    /// Whether a directory lies outside of the root.
    pub(super) fn is_outside(&self, dir: &Spot) -> bool {
        matches!((dir, self.outside()), (Spot::In(inside), Some((_, n))) if inside.mount == n)
    }

    /// The top of the mount at a name, if there is one.
    pub(super) fn at(&self, dir: &Spot, name: &[u8]) -> Option<Inside> {
        let index = self.in_dir(dir).find(|index| self.list[*index].name == name)?;
        let dir = self.list[index].top.clone();
        Some(Inside { mount: index, dir, path: RelPath::TOP })
    }

    /// The mount points in a directory: their names and tops.
    pub(super) fn points<'m>(
        &'m self,
        dir: &'m Spot,
    ) -> impl Iterator<Item = (&'m [u8], &'m Arc<dyn File>)> {
        self.in_dir(dir).map(|index| (&self.list[index].name[..], &self.list[index].top))
    }

    /// Whether a mount is anchored in a directory of another mount, or below it.
    pub(super) fn any_below(&self, mount: usize, dir: &RelPath) -> bool {
        self.list.iter().any(|inner| match &inner.parent {
            Parent::In(outer, path) => *outer == mount && is_in(path, dir),
            Parent::Own(_) => false,
        })
    }

    fn in_dir<'m>(&'m self, dir: &'m Spot) -> impl Iterator<Item = usize> + 'm {
        let holds = move |parent: &Parent| match (parent, dir) {
            (Parent::Own(parent), Spot::Own(dir)) => parent == dir,
            (Parent::In(index, path), Spot::In(inside)) => {
                *index == inside.mount && *path == inside.path
            }
            _ => false,
        };
        (0..self.list.len()).filter(move |index| holds(&self.list[*index].parent))
    }

    /// Where a directory is, from the overlay's top; `None` if it was removed.
    pub(super) fn path_of(&self, core: &Core, dir: &Spot) -> Option<RelPath> {
        match dir {
            Spot::Own(ino) => path_of(&core.tx().live.state, *ino),
            Spot::In(Inside { path, .. }) if self.is_outside(dir) => Some(Outside::shown(path)),
            Spot::In(Inside { mount, path, .. }) => {
                Some(self.path(core, *mount)?.join(path.as_bytes()))
            }
        }
    }

    /// Where a mount point is.
    fn path(&self, core: &Core, mount: usize) -> Option<RelPath> {
        let mut names = vec![];
        let mut mount = mount;
        // From the inside out. Each is anchored in one that comes before it, so this ends.
        let mut path = loop {
            let Mount { parent, name, .. } = &self.list[mount];
            names.push(name.clone());
            match parent {
                Parent::Own(dir) => break path_of(&core.tx().live.state, *dir)?,
                Parent::In(outer, path) => {
                    names.push(path.as_bytes().to_vec());
                    mount = *outer;
                }
            }
        };
        for name in names.iter().rev() {
            path = path.join(name);
        }
        Some(path)
    }
}

/// The device of a mounted tree.
pub(super) fn device(mount: usize) -> u64 {
    DEVICE + 1 + mount as u64
}

fn is_dir(kind: FileKind) -> Result<(), Errno> {
    if kind == FileKind::Dir { Ok(()) } else { Err(Errno::Notdir) }
}
