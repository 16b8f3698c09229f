//! A real directory, addressed by paths from its top: what is written out, and what is compared.
//!
//! No path is ever handed to the kernel: each directory on the way is opened by its name in the one
//! above ([`Lower`]), and no symlink is followed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use testbench_clock::WallTime;

use super::about;
use crate::commit::{At, Disk, Open};
use crate::lower::Lower;
use crate::lower::observe::Stamp;
use crate::places::{PathId, Paths};
use crate::sys::{self, os_str};
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind, HostDir};

/// A real directory. Directories in it are kept open under their paths.
#[derive(Debug)]
pub(crate) struct RealTree {
    /// As the user names it, for messages.
    path: PathBuf,
    pub(super) host: HostDir,
    /// The directory for reading.
    pub(crate) seen: Lower,
}

impl RealTree {
    pub(crate) fn open(path: &Path) -> io::Result<RealTree> {
        let host = HostDir::open(path)?;
        let seen = Lower::new(Arc::new(host.clone()))?;
        Ok(RealTree { path: path.to_path_buf(), host, seen })
    }

    /// Returns the system calls on it.
    pub(super) fn disk(&self) -> Disk<'static> {
        Disk::new(self.host.top(), self.path.clone(), &Open)
    }

    /// Whether the path under which it was opened still leads here.
    pub(crate) fn is_in_place(&self) -> bool {
        sys::open_top(&self.path).is_ok_and(|there| sys::same(&there, &*self.host.top()))
    }

    /// Looks at all that is in the directory.
    pub(crate) fn scan(&self) -> io::Result<Scan> {
        let top = self.at(&RelPath::TOP, "look at", self.seen.top_stat())?;
        let mut disk = self.disk();
        let mut stamps = vec![(PathId::TOP, Stamp::of(&top))];
        let mut todo = vec![PathId::TOP];
        while let Some(dir) = todo.pop() {
            for entry in disk.list(At::Tree(dir))? {
                let place = disk.paths.child(dir, &entry.name);
                // A name that is gone by now was never there.
                let Some(stat) = disk.look(At::Tree(place))? else { continue };
                stamps.push((place, Stamp::of(&stat)));
                if stat.kind == FileKind::Dir {
                    todo.push(place);
                }
            }
        }
        Ok(Scan { paths: disk.paths, stamps })
    }

    /// Says of an error what was attempted, and where.
    pub(crate) fn at<T>(
        &self,
        path: &RelPath,
        what: &str,
        result: Result<T, Errno>,
    ) -> io::Result<T> {
        result.map_err(|errno| about(what, &self.host_path(path), errno.into()))
    }

    /// Of what is at a path, for messages.
    pub(crate) fn host_path(&self, path: &RelPath) -> PathBuf {
        match path.is_top() {
            true => self.path.clone(),
            false => self.path.join(os_str(path.as_bytes())),
        }
    }
}

/// The state of a directory: its places, each directory before what is in it, and the stamp of each.
#[derive(Debug)]
pub(crate) struct Scan {
    paths: Paths,
    stamps: Vec<(PathId, Stamp)>,
}

impl Scan {
    /// When the last change that shows in the directory was made, by the clock of its file system.
    pub(super) fn latest(&self) -> WallTime {
        let ctimes = self.stamps.iter().map(|(_, stamp)| stamp.ctime);
        ctimes.fold(self.stamps[0].1.ctime, WallTime::max)
    }

    /// All that is below the top.
    pub(crate) fn by_path(&self) -> BTreeMap<RelPath, Stamp> {
        let mut paths = BTreeMap::from([(PathId::TOP, RelPath::TOP)]);
        let mut stamps = BTreeMap::new();
        for (id, stamp) in &self.stamps[1..] {
            let path = paths[&self.paths.dir(*id)].child(self.paths.name(*id));
            paths.insert(*id, path.clone());
            stamps.insert(path, *stamp);
        }
        stamps
    }
}
