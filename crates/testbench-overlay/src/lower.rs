//! The tree beneath, as the overlay looks at it: never written, no symlink ever followed, and
//! presented by rules that do not depend on the machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::WallTime;

use crate::inode::Meta;
use crate::name::RelPath;
use crate::{DirEntry, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, Stat};

/// How many directories are kept open so that a name in them is one system call away. Far below
/// the usual limit of 1,024 descriptors of a process.
const OPEN_DIRS_MAX: usize = 64;

/// Which times the files of the lower directory show.
///
/// A fresh clone, a copy and a CI cache of one and the same tree differ in nothing but times, so by
/// default they are not let through: a run gives the same bytes wherever it happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerTimes {
    /// All of them the time at which the overlay was made, by its clock: never in the future, and
    /// no file newer than another until something is written.
    #[default]
    Start,
    /// Those of the lower files.
    Real,
}

/// Which permission bits the files of the lower directory show.
///
/// The bits for group and others depend on the umask of whoever made the tree. Git stores one bit
/// of the nine for the same reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerModes {
    /// The owner's bits are kept; group and others get what a umask of `022` leaves of them: the
    /// owner's read and execute bits. Set-id and sticky bits are not shown.
    #[default]
    Owner,
    /// Those of the lower files.
    Real,
}

/// How the lower tree is presented.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) times: LowerTimes,
    pub(crate) modes: LowerModes,
    pub(crate) start: WallTime,
}

impl View {
    pub(crate) fn meta(&self, stat: &Stat) -> Meta {
        let mode = match (stat.kind, self.modes) {
            (FileKind::Symlink, _) => 0o777,
            (_, LowerModes::Real) => stat.mode & 0o7777,
            (_, LowerModes::Owner) => {
                let owner = (stat.mode >> 6) & 0o7;
                owner << 6 | (owner & 0o5) << 3 | owner & 0o5
            }
        };
        match self.times {
            LowerTimes::Start => Meta::new(mode, self.start),
            LowerTimes::Real => {
                Meta { mode, atime: stat.atime, mtime: stat.mtime, ctime: stat.ctime }
            }
        }
    }
}

/// The lower tree.
#[derive(Debug)]
pub(crate) struct Lower {
    fs: Arc<dyn Fs>,
    top: Arc<dyn File>,
    dirs: Mutex<OpenDirs>,
}

/// Directories kept open, with the tick at which each was last used.
#[derive(Debug, Default)]
struct OpenDirs {
    tick: u64,
    by_path: BTreeMap<RelPath, (u64, Arc<dyn File>)>,
}

impl Lower {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Result<Lower, Errno> {
        let top = fs.root()?;
        Ok(Lower { fs, top, dirs: Mutex::default() })
    }

    pub(crate) fn top_stat(&self) -> Result<Stat, Errno> {
        self.top.stat()
    }

    /// What is at a name in a directory, if anything.
    pub(crate) fn stat_child(&self, dir: &RelPath, name: &[u8]) -> Result<Option<Stat>, Errno> {
        let stat = || self.fs.stat_at(&*self.dir(dir)?, GuestPath::new(name), Follow::No);
        match stat() {
            Ok(stat) => Ok(Some(stat)),
            // `ENOTDIR` and `ELOOP`: a directory on the way is something else.
            Err(Errno::Noent | Errno::Notdir | Errno::Loop) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What is at a path, if anything.
    pub(crate) fn stat(&self, path: &RelPath) -> Result<Option<Stat>, Errno> {
        match path.split() {
            Some((dir, name)) => self.stat_child(&dir, name),
            None => self.top.stat().map(Some),
        }
    }

    /// The entries of a directory, by raw bytes.
    pub(crate) fn list(&self, path: &RelPath) -> Result<Vec<DirEntry>, Errno> {
        let mut entries = self.open_with(path, &READ_DIR)?.read_dir()?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(crate) fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, Errno> {
        let (dir, name) = path.split().ok_or(Errno::Inval)?;
        self.fs.read_link_at(&*self.dir(&dir)?, GuestPath::new(name))
    }

    /// A file for reading.
    pub(crate) fn open(&self, path: &RelPath) -> Result<Arc<dyn File>, Errno> {
        self.open_with(path, &OpenHow { follow: Follow::No, ..OpenHow::READ })
    }

    fn open_with(&self, path: &RelPath, how: &OpenHow) -> Result<Arc<dyn File>, Errno> {
        match path.split() {
            Some((dir, name)) => self.fs.open_at(&*self.dir(&dir)?, GuestPath::new(name), how),
            None => self.fs.open_at(&*self.top, GuestPath::new("."), how),
        }
    }

    /// A directory for looking up names: one component at a time, none of them a symlink.
    fn dir(&self, path: &RelPath) -> Result<Arc<dyn File>, Errno> {
        // Up to the nearest one that is open, and down again; not by recursion, which a deep tree
        // would make overflow the stack.
        let mut missing = Vec::new();
        let mut at = path.clone();
        let mut dir = loop {
            if let Some(dir) = self.dirs().get(&at) {
                break dir;
            }
            let Some(parent) = at.split().map(|(parent, _)| parent) else {
                break self.top.clone();
            };
            missing.push(std::mem::replace(&mut at, parent));
        };
        let how = OpenHow { read: false, ..READ_DIR };
        for path in missing.into_iter().rev() {
            let (_, name) = path.split().ok_or(Errno::Inval)?;
            dir = self.fs.open_at(&*dir, GuestPath::new(name), &how)?;
            self.dirs().put(path, dir.clone());
        }
        Ok(dir)
    }

    fn dirs(&self) -> MutexGuard<'_, OpenDirs> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenDirs {
    fn get(&mut self, path: &RelPath) -> Option<Arc<dyn File>> {
        self.tick += 1;
        let (used, dir) = self.by_path.get_mut(path)?;
        *used = self.tick;
        Some(dir.clone())
    }

    fn put(&mut self, path: RelPath, dir: Arc<dyn File>) {
        if self.by_path.len() >= OPEN_DIRS_MAX {
            let oldest = self.by_path.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                self.by_path.remove(&oldest);
            }
        }
        self.by_path.insert(path, (self.tick, dir));
    }
}

const READ_DIR: OpenHow = OpenHow { directory: true, follow: Follow::No, ..OpenHow::READ };

/// Reads the whole of `buf`; a file that has become shorter has changed underneath.
pub(crate) fn read_exact(file: &dyn File, buf: &mut [u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::Stale),
            Ok(n) => done += n,
            Err(Errno::Intr) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
