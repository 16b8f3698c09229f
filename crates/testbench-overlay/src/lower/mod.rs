//! The tree beneath, as the overlay looks at it: never written, no symlink ever followed, and
//! presented by rules that do not depend on the machine.

pub(crate) mod base;
pub(crate) mod observe;
pub(crate) mod read_ahead;
pub(crate) mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use smallvec::SmallVec;
use testbench_clock::SystemClock;

use crate::lower::observe::{LowerChange, LowerId};
use crate::sys;
use crate::vfs::Result;
use crate::vfs::name::{Hashed, PathHash, RelPath};
use crate::{DirEntry, Errno, File, Follow, Fs, GuestPath, HostDir, OpenHow, Stat};

/// The lower tree.
#[derive(Debug)]
pub(crate) struct Lower {
    fs: Arc<dyn Fs>,
    top: OpenDir,
    dirs: Arc<Mutex<OpenDirs>>,
    /// How many names a file may have, given its metadata.
    links: fn(&dyn Fs, &Stat) -> u64,
    /// The clock by which its times go, if it is a real directory.
    clock: Option<SystemClock>,
    /// The changes beneath that operations have met.
    changes: Mutex<Vec<LowerChange>>,
}

/// An open directory, and which one it is: what its path leads to may change, it does not.
#[derive(Clone, Debug)]
pub(crate) struct OpenDir {
    file: Arc<dyn File>,
    pub(crate) id: LowerId,
}

impl Lower {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Result<Lower> {
        let (top, _) = OpenDir::new(fs.root()?)?;
        let is_host = (&*fs as &dyn std::any::Any).is::<HostDir>();
        let clock = is_host.then(|| SystemClock::new("overlay"));
        let (dirs, changes) = (Arc::default(), Mutex::default());
        Ok(Lower { fs, top, dirs, links: |_, stat| stat.nlink, clock, changes })
    }

    /// The same with another rule for how many names a file may have. Another overlay shows only
    /// those that were looked at, and knows of more.
    pub(crate) fn with_links(self, links: fn(&dyn Fs, &Stat) -> u64) -> Lower {
        Lower { links, ..self }
    }

    /// The same tree with its own list of changes, for a fork.
    pub(crate) fn fork(&self) -> Lower {
        Lower {
            fs: self.fs.clone(),
            top: self.top.clone(),
            dirs: self.dirs.clone(),
            links: self.links,
            clock: self.clock.clone(),
            changes: Mutex::new(self.changes()),
        }
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// The real directory that this is, if it is one.
    pub(crate) fn host_dir(&self) -> Option<&HostDir> {
        (&*self.fs as &dyn std::any::Any).downcast_ref()
    }

    pub(crate) fn top_stat(&self) -> Result<Stat> {
        self.top.file.stat()
    }

    /// A directory for looking up names. It is the one with the number `id` if that has been there
    /// lately; else it is what is there now, for the caller to compare.
    pub(crate) fn dir(&self, path: &RelPath, id: Option<LowerId>) -> Result<OpenDir> {
        if path.is_top() {
            return Ok(self.top.clone());
        }
        if let Some(dir) = self.dirs().get((path.hash(), path.as_bytes()), id) {
            return Ok(dir);
        }
        // Up to the nearest one that is open, and down again; not by recursion, which a deep tree
        // would make overflow the stack.
        let steps: SmallVec<[_; 16]> = path.steps().collect();
        let open = |step: &(PathHash, &[u8])| self.dirs().get(*step, None);
        let nearest = (0..steps.len() - 1).rev().find_map(|at| Some((at + 1, open(&steps[at])?)));
        let (opened, mut dir) = nearest.unwrap_or_else(|| (0, self.top.clone()));
        for step in &steps[opened..] {
            (dir, _) = self.enter(&dir, RelPath::of_step(*step))?;
        }
        Ok(dir)
    }

    /// The directory to which a path leads now, if there is one: each name on the way is looked at
    /// again.
    pub(crate) fn dir_now(&self, path: &RelPath) -> Result<Option<OpenDir>> {
        let mut dir = self.top.clone();
        for step in path.steps() {
            let Some(stat) = self.stat_in(&dir, last_name(step.1))? else { return Ok(None) };
            let known = self.dirs().get(step, Some(LowerId { dev: stat.dev, ino: stat.ino }));
            dir = match known {
                Some(known) => known,
                None => match self.enter(&dir, RelPath::of_step(step)) {
                    Err(Errno::Noent | Errno::Notdir | Errno::Loop) => return Ok(None),
                    entered => entered?.0,
                },
            };
        }
        Ok(Some(dir))
    }

    /// Opens the directory at `path`, which must not be a symlink, in the one above it and keeps it
    /// open: to be listed if that is allowed, else for looking up names only. A walk that goes on
    /// through it need not look at its name first.
    pub(crate) fn enter(&self, dir: &OpenDir, path: RelPath) -> Result<(OpenDir, Stat)> {
        let name = GuestPath::new(last_name(path.as_bytes()));
        let open = |how| self.retried(|| self.fs.open_at(&*dir.file, name, how));
        let file = match open(&READ_DIR) {
            Err(Errno::Acces) => open(&OpenHow { read: false, ..READ_DIR })?,
            opened => opened?,
        };
        let (opened, stat) = OpenDir::new(file)?;
        self.dirs().put(path, opened.clone());
        Ok((opened, stat))
    }

    /// Calls a second time, with the kept directories closed, if the process has no descriptor left.
    fn retried<T>(&self, call: impl Fn() -> Result<T>) -> Result<T> {
        match call() {
            Err(Errno::Mfile | Errno::Nfile) => {
                self.forget_dirs();
                call()
            }
            done => done,
        }
    }

    /// Closes the directories that are kept open, so that each is looked for anew.
    pub(crate) fn forget_dirs(&self) {
        *self.dirs() = OpenDirs::default();
    }

    /// Returns the entry of a name in a directory, if there is one.
    pub(crate) fn stat_in(&self, dir: &OpenDir, name: &[u8]) -> Result<Option<Stat>> {
        let stat = present(self.fs.stat_at(&*dir.file, GuestPath::new(name), Follow::No))?;
        Ok(stat.map(|stat| Stat { nlink: (self.links)(&*self.fs, &stat), ..stat }))
    }

    /// Returns the entry at a path, if there is one.
    pub(crate) fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        match path.split() {
            Some((dir, name)) => match present(self.dir(&dir, None))? {
                Some(dir) => self.stat_in(&dir, name),
                None => Ok(None),
            },
            None => self.top_stat().map(Some),
        }
    }

    /// The entries of a directory, by raw bytes.
    pub(crate) fn list(&self, path: &RelPath) -> Result<Vec<DirEntry>> {
        self.list_in(&self.dir(path, None)?)
    }

    /// The same of an open one.
    pub(crate) fn list_in(&self, dir: &OpenDir) -> Result<Vec<DirEntry>> {
        let mut entries = match self.retried(|| dir.file.read_dir()) {
            // Opened for looking up names only.
            Err(Errno::Badf) => return Err(Errno::Acces),
            entries => entries?,
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(crate) fn read_link(&self, path: &RelPath) -> Result<Vec<u8>> {
        let (dir, name) = path.split().ok_or(Errno::Inval)?;
        self.fs.read_link_at(&*self.dir(&dir, None)?.file, GuestPath::new(name))
    }

    /// A file for reading: `now` is the one to which the path leads now, whichever directories are
    /// kept open.
    pub(crate) fn open(&self, path: &RelPath, now: bool) -> Result<Arc<dyn File>> {
        let (dir, name) = path.split().ok_or(Errno::Isdir)?;
        let dir = if now { self.dir_now(&dir)? } else { Some(self.dir(&dir, None)?) };
        let how = OpenHow { follow: Follow::No, ..OpenHow::READ };
        let dir = dir.ok_or(Errno::Noent)?;
        self.retried(|| self.fs.open_at(&*dir.file, GuestPath::new(name), &how))
    }

    fn dirs(&self) -> MutexGuard<'_, OpenDirs> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenDir {
    fn new(file: Arc<dyn File>) -> Result<(OpenDir, Stat)> {
        let stat = file.stat()?;
        Ok((OpenDir { file, id: LowerId { dev: stat.dev, ino: stat.ino } }, stat))
    }
}

/// The last component of a path.
fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// `None` for what is missing.
pub(crate) fn present<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        // `ENOTDIR` and `ELOOP`: a directory on the way is something else.
        Err(Errno::Noent | Errno::Notdir | Errno::Loop) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Directories kept open, so that a name in them is one system call away.
#[derive(Debug, Default)]
struct OpenDirs {
    /// By the hash of the path. Of two paths with one hash the later one is kept.
    by_hash: HashMap<u64, (RelPath, OpenDir), Hashed>,
}

/// How many directories all overlays of the process keep open.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The most of them: a quarter of what the process may have open at all, since the rest belongs to
/// the code under test. More than the upper bound does not make anything faster.
fn held_max() -> usize {
    static MAX: OnceLock<usize> = OnceLock::new();
    *MAX.get_or_init(|| (sys::descriptors_max() / 4).clamp(16, 1024))
}

/// Each overlay may keep this many open, however many others there are: a path of ordinary depth.
const OWN_MIN: usize = 8;

impl OpenDirs {
    fn get(&self, (hash, path): (PathHash, &[u8]), id: Option<LowerId>) -> Option<OpenDir> {
        let (kept, dir) = self.by_hash.get(&hash.mixed())?;
        let wanted = kept.as_bytes() == path && id.is_none_or(|id| id == dir.id);
        wanted.then(|| dir.clone())
    }

    /// Keeps a directory. When there are too many, every other one goes: the rest is enough for a walk
    /// to start near its end.
    fn put(&mut self, path: RelPath, dir: OpenDir) {
        let before = self.by_hash.len();
        if before >= OWN_MIN && HELD.load(Ordering::Relaxed) >= held_max() {
            let mut keep = false;
            self.by_hash.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        self.by_hash.insert(path.hash().mixed(), (path, dir));
        // Adding a difference that wraps is subtracting.
        HELD.fetch_add(self.by_hash.len().wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for OpenDirs {
    fn drop(&mut self) {
        HELD.fetch_sub(self.by_hash.len(), Ordering::Relaxed);
    }
}

const READ_DIR: OpenHow = OpenHow { directory: true, follow: Follow::No, ..OpenHow::READ };

/// A buffer of this length, if there is memory for it.
pub(crate) fn zeros(len: u64) -> Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| Errno::Fbig)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::Nomem)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// Reads the whole of `buf`; a file that has become shorter has changed underneath.
pub(crate) fn read_exact(file: &dyn File, buf: &mut [u8], offset: u64) -> Result<()> {
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
