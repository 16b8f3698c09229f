//! The directory that is committed to, and the stage in it, through handles.
//!
//! Like everything in this crate it takes one name at a time and follows no symlink, so that a
//! process that swaps names meanwhile cannot lead a commit out of the root. The directory of the last
//! place stays open: a neighbour is a step away, however deep it lies. Calls that change something
//! pass a [`Gate`].

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};

use super::error::CommitError;
use super::gate::{Call, Gate};
use super::paths::{PathId, Paths};
use crate::lower::observe::{LowerId, Stamp};
use crate::sys::{self, Access, os_str};
use crate::{DirEntry, Errno, FileKind, SetTimes, Stat};

/// The directory at the top of the root in which a commit keeps its journal, the files that it is
/// about to put in place, and those that have left their place.
pub(crate) const STAGE: &[u8] = b".testbench-commit";

/// The name of the stage once the commit is made.
pub(crate) const WASTE: &[u8] = b".testbench-commit-done";

/// A place in the tree or on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Tree(PathId),
    Stage(&'static str),
    /// A numbered name on the stage.
    Slot(u64),
}

impl At {
    pub(super) const TOP: At = At::Tree(PathId::TOP);
    /// The stage itself.
    pub(super) const STAGE: At = At::Stage(".");
}

/// Why a part of a commit failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The system refused a call.
    Os { what: &'static str, at: At, errno: Errno },
    /// A file cannot be read through the overlay.
    Read { path: PathId, errno: Errno },
}

impl Failure {
    /// Returns the system's error, or [`Errno::Io`] for a file of the overlay.
    pub(super) fn errno(&self) -> Errno {
        match self {
            Failure::Os { errno, .. } => *errno,
            Failure::Read { .. } => Errno::Io,
        }
    }
}

/// The failure of an attempt at a place.
pub(super) fn failure(what: &'static str, at: At) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::Os { what, at, errno }
}

/// The stage, locked.
#[derive(Debug)]
struct Stage {
    dir: Arc<OwnedFd>,
    name: &'static [u8],
}

/// The lock goes with the last handle, and a process that is being forked has one for a moment.
impl Drop for Stage {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&*self.dir, FlockOperation::Unlock);
    }
}

/// The root of a commit.
#[derive(Debug)]
pub(super) struct Disk<'g, G> {
    pub(super) paths: Paths,
    root: Arc<OwnedFd>,
    /// The root's path, for messages.
    path: PathBuf,
    stage: Option<Stage>,
    gate: &'g G,
    /// The directories from the top to the last place, with what is known of each.
    trail: Vec<(PathId, LowerId)>,
    /// The last of them.
    last: Arc<OwnedFd>,
}

impl<'g, G: Gate> Disk<'g, G> {
    pub(super) fn new(root: Arc<OwnedFd>, path: PathBuf, gate: &'g G) -> Disk<'g, G> {
        let last = root.clone();
        Disk { paths: Paths::new(), root, path, stage: None, gate, trail: Vec::new(), last }
    }

    /// The path of a place, for messages and reports.
    pub(super) fn host_path(&self, at: At) -> PathBuf {
        match at {
            At::TOP => self.path.clone(),
            At::Tree(id) => self.path.join(os_str(&self.paths.bytes(id))),
            At::Stage(_) | At::Slot(_) => self.path.join(os_str(STAGE)),
        }
    }

    /// The attempt that failed, its path, and the cause.
    pub(super) fn refused(&self, failure: &Failure) -> (&'static str, PathBuf, io::Error) {
        let (what, at, errno) = match failure {
            Failure::Os { what, at, errno } => (*what, *at, *errno),
            Failure::Read { path, errno } => ("read", At::Tree(*path), *errno),
        };
        (what, self.host_path(at), errno.into())
    }

    pub(super) fn error(&self, failure: Failure) -> CommitError {
        if let Failure::Read { path, errno } = failure {
            return CommitError::Read { path: self.paths.bytes(path), errno };
        }
        let (what, path, source) = self.refused(&failure);
        match failure.errno() {
            Errno::Xdev => CommitError::Device { path },
            _ => CommitError::Disk { what, path, source },
        }
    }

    /// A name at the top of the root.
    pub(super) fn at_top(&mut self, name: &[u8]) -> At {
        At::Tree(self.paths.child(PathId::TOP, name))
    }

    /// Makes the stage and locks it. [`Errno::Exist`]: another commit has one.
    pub(super) fn make_stage(&mut self) -> Result<(), Failure> {
        let stage = self.at_top(STAGE);
        self.make_dir(stage)?;
        match self.open_stage() {
            Ok(true) => Ok(()),
            opened => Err(failure("open", stage)(opened.err().unwrap_or(Errno::Noent))),
        }
    }

    /// Opens the stage and locks it; false if there is none. [`Errno::Busy`]: a commit is at work.
    pub(super) fn open_stage(&mut self) -> Result<bool, Errno> {
        for name in [STAGE, WASTE] {
            let dir = match sys::open_dir(&self.root, name, Access::Read) {
                Err(Errno::Noent) => continue,
                dir => Arc::new(dir?),
            };
            match rustix::fs::flock(&*dir, FlockOperation::NonBlockingLockExclusive) {
                // A file system without locks has to do without the protection.
                Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Errno::Busy),
                Err(errno) => return Err(errno.into()),
            }
            self.stage = Some(Stage { dir, name });
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes the empty stage.
    pub(super) fn remove_stage(&mut self) -> Result<(), Failure> {
        let name = if self.is_waste() { WASTE } else { STAGE };
        let stage = self.at_top(name);
        self.remove_dir(stage)?;
        self.stage = None;
        Ok(())
    }

    /// Makes the stage waste, in one instant: from here on the commit is made.
    pub(super) fn give_up_stage(&mut self) -> Result<(), Failure> {
        let (stage, waste) = (self.at_top(STAGE), self.at_top(WASTE));
        self.rename_over(stage, waste)?;
        self.stage.iter_mut().for_each(|stage| stage.name = WASTE);
        Ok(())
    }

    /// Whether the stage is waste.
    pub(super) fn is_waste(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.name == WASTE)
    }
}

/// Walking.
impl<G: Gate> Disk<'_, G> {
    /// A directory of the tree; symlinks on the way are [`Errno::Loop`] or [`Errno::Notdir`].
    fn dir(&mut self, id: PathId) -> Result<Arc<OwnedFd>, Errno> {
        let on_trail = |id: &PathId| self.is_on_trail(*id);
        let shared = self.paths.upwards(id).find(on_trail).unwrap_or(PathId::TOP);
        self.climb(self.paths.depth(shared));
        let down: Vec<PathId> =
            self.paths.upwards(id).take_while(|id| !self.is_on_trail(*id)).collect();
        for id in down.into_iter().rev().filter(|id| *id != PathId::TOP) {
            let dir = sys::open_dir(&self.last, self.paths.name(id), Access::Search)?;
            self.trail.push((id, Stamp::of(&sys::stat(&dir)?).id));
            self.last = Arc::new(dir);
        }
        Ok(self.last.clone())
    }

    fn is_on_trail(&self, id: PathId) -> bool {
        let above = self.paths.depth(id).checked_sub(1);
        above.and_then(|above| self.trail.get(above)).is_some_and(|(is, _)| *is == id)
    }

    /// Goes up until the trail is that long; to the top, if a directory does not lie where it did.
    fn climb(&mut self, len: usize) {
        while self.trail.len() > len {
            self.trail.pop();
            let above = match self.trail.last() {
                Some((_, id)) => sys::open_dir(&self.last, b"..", Access::Search)
                    .ok()
                    .filter(|dir| sys::stat(dir).is_ok_and(|is| Stamp::of(&is).id == *id)),
                None => None,
            };
            match above {
                Some(above) => self.last = Arc::new(above),
                None => {
                    self.trail.clear();
                    self.last = self.root.clone();
                }
            }
        }
    }

    /// Leaves a place that is about to be given to something else.
    fn leave(&mut self, at: At) {
        if let At::Tree(id) = at
            && self.is_on_trail(id)
        {
            self.climb(self.paths.depth(id) - 1);
        }
    }

    /// The directory that holds a place, and the name in it.
    fn place(&mut self, at: At) -> Result<(Arc<OwnedFd>, Vec<u8>), Errno> {
        let name = match at {
            At::TOP => return Ok((self.root.clone(), b".".to_vec())),
            At::Tree(id) => {
                return Ok((self.dir(self.paths.dir(id))?, self.paths.name(id).to_vec()));
            }
            At::Stage(name) => name.into(),
            At::Slot(slot) => format!("n{slot}").into_bytes(),
        };
        Ok((self.stage.as_ref().ok_or(Errno::Noent)?.dir.clone(), name))
    }

    /// Makes a call at a place.
    fn call<T>(
        &mut self,
        what: &'static str,
        at: At,
        call: impl FnOnce(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        let done = self.place(at).and_then(|(dir, name)| call(&dir, &name));
        done.map_err(failure(what, at))
    }

    /// Makes a changing call at a place.
    fn change<T>(
        &mut self,
        call: Call,
        at: At,
        change: impl FnOnce(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        let gate = self.gate;
        self.call(call.verb(), at, |dir, name| gate.pass(call, || change(dir, name)))
    }

    /// Makes a changing call at two places.
    fn change_both(
        &mut self,
        call: Call,
        (from, to): (At, At),
        change: impl FnOnce(&OwnedFd, &[u8], &OwnedFd, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Failure> {
        let (from_dir, from_name) = self.place(from).map_err(failure(call.verb(), from))?;
        let about = if matches!(to, At::Tree(_)) { to } else { from };
        let gate = self.gate;
        self.call(call.verb(), to, |dir, name| {
            gate.pass(call, || change(&from_dir, &from_name, dir, name))
        })
        .map_err(|failed| failure(call.verb(), about)(failed.errno()))
    }
}

/// Looking.
impl<G: Gate> Disk<'_, G> {
    /// The metadata of the file at a place; `None` if there is none.
    pub(super) fn look(&mut self, at: At) -> Result<Option<Stat>, Failure> {
        let stat = match at {
            // To be seen, the top need not be open to us.
            At::TOP => sys::stat(&self.root),
            at => self.place(at).and_then(|(dir, name)| sys::stat_at(&dir, &name)),
        };
        crate::lower::present(stat).map_err(failure("look at", at))
    }

    pub(super) fn read_link(&mut self, at: At) -> Result<Vec<u8>, Failure> {
        self.call("read", at, sys::read_link)
    }

    /// A regular file for reading.
    pub(super) fn open(&mut self, at: At) -> Result<OwnedFd, Failure> {
        self.call("open", at, |dir, name| sys::open_file(dir, name, Access::Read))
    }

    /// The entries of a directory; none if it is not there.
    pub(super) fn list(&mut self, at: At) -> Result<Vec<DirEntry>, Failure> {
        let entries = self
            .place(at)
            .and_then(|(dir, name)| sys::read_dir(&sys::open_dir(&dir, &name, Access::Read)?));
        let entries = crate::lower::present(entries).map_err(failure("list", at))?;
        Ok(entries.unwrap_or_default())
    }

    /// All bytes of a regular file.
    pub(super) fn read(&mut self, at: At) -> Result<Vec<u8>, Failure> {
        self.call("read", at, |dir, name| {
            let mut file = std::fs::File::from(sys::open_file(dir, name, Access::Read)?);
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes)
                .map_err(|error| Errno::from(&error))?;
            Ok(bytes)
        })
    }

    /// Fails with [`Errno::Acces`] if this process may neither change names in a directory nor
    /// give itself the right.
    pub(super) fn check_may_work_in(&mut self, dir: PathId) -> Result<(), Failure> {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let denied = self.call("change names in", At::Tree(dir), |parent, name| {
            let may = rustix::fs::accessat(parent, name, access, AtFlags::EACCESS);
            // Whatever else is wrong with it, the steps say it better.
            Ok(may == Err(rustix::io::Errno::ACCESS))
        })?;
        if denied { self.check_may_set_meta(dir) } else { Ok(()) }
    }

    /// Fails with [`Errno::Acces`] if this process may not set permission bits and times.
    pub(super) fn check_may_set_meta(&mut self, path: PathId) -> Result<(), Failure> {
        self.call(Call::SetMode.verb(), At::Tree(path), |dir, name| {
            let owner = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
            let user = rustix::process::geteuid();
            let may = user.is_root() || user.as_raw() == owner;
            if may { Ok(()) } else { Err(Errno::Acces) }
        })
    }
}

/// Changing calls.
impl<G: Gate> Disk<'_, G> {
    pub(super) fn make_dir(&mut self, at: At) -> Result<(), Failure> {
        let make = |dir: &OwnedFd, name: &[u8]| Ok(rustix::fs::mkdirat(dir, name, Mode::RWXU)?);
        self.change(Call::MakeDir, at, make)
    }

    /// A new file on the stage that only the owner may use.
    pub(super) fn make_file(&mut self, at: At) -> Result<OwnedFd, Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.change(Call::MakeFile, at, |dir, name| {
            Ok(rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, mode)?)
        })
    }

    pub(super) fn write(&self, file: &OwnedFd, bytes: &[u8], offset: u64) -> Result<(), Errno> {
        let mut done = 0;
        while done < bytes.len() {
            let end = bytes.len().min(done + G::WRITE_BYTES_MAX);
            let write = || sys::write_at(file, &bytes[done..end], offset + done as u64);
            match self.gate.pass(Call::Write, write) {
                Ok(0) => return Err(Errno::Io),
                Ok(n) => done += n,
                Err(Errno::Intr) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    pub(super) fn set_len(&self, file: &OwnedFd, len: u64) -> Result<(), Errno> {
        self.gate.pass(Call::SetLen, || sys::set_len(file, len))
    }

    pub(super) fn symlink(&mut self, target: &[u8], at: At) -> Result<(), Failure> {
        self.change(Call::Symlink, at, |dir, name| sys::symlink(target, dir, name))
    }

    /// One more name for a file or symlink.
    pub(super) fn link(&mut self, from: At, to: At) -> Result<(), Failure> {
        self.change_both(Call::Link, (from, to), sys::link)
    }

    /// Moves to where nothing is; [`Errno::Exist`] if something is there after all.
    pub(super) fn rename_new(&mut self, from: At, to: At) -> Result<(), Failure> {
        self.leave(from);
        self.change_both(Call::Rename, (from, to), |from_dir, from, to_dir, to| {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(from_dir, from, to_dir, to, flags) {
                // Not every file system has the flag.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    match sys::stat_at(to_dir, to) {
                        Ok(_) => Err(Errno::Exist),
                        Err(Errno::Noent) => sys::rename(from_dir, from, to_dir, to),
                        Err(errno) => Err(errno),
                    }
                }
                renamed => Ok(renamed?),
            }
        })
    }

    /// Moves in one step over a file or symlink.
    pub(super) fn rename_over(&mut self, from: At, to: At) -> Result<(), Failure> {
        self.change_both(Call::Rename, (from, to), sys::rename)
    }

    pub(super) fn unlink(&mut self, at: At) -> Result<(), Failure> {
        self.change(Call::Unlink, at, sys::remove_file)
    }

    pub(super) fn remove_dir(&mut self, at: At) -> Result<(), Failure> {
        self.leave(at);
        self.change(Call::RemoveDir, at, sys::remove_dir)
    }

    /// Sets permission bits; never those of a symlink's target.
    pub(super) fn set_mode(&mut self, at: At, kind: FileKind, mode: u32) -> Result<(), Failure> {
        self.change(Call::SetMode, at, |dir, name| set_mode_at(dir, name, kind, mode))
    }

    pub(super) fn set_times(&mut self, at: At, times: SetTimes) -> Result<(), Failure> {
        self.change(Call::SetTimes, at, |dir, name| sys::set_times_at(dir, name, times))
    }

    /// Gives a file that is about to replace another its permission bits, times, owner, group and
    /// extended attributes. Attributes that the system does not let us keep, as `cp -p` would not,
    /// are left; without the owner and the group the set-id bits go too.
    pub(super) fn dress(
        &self,
        file: &OwnedFd,
        mode: u32,
        times: SetTimes,
        like: Option<&OwnedFd>,
    ) -> Result<(), Errno> {
        let mut mode = mode;
        if let Some(like) = like {
            if !self.keep_owner(file, like)? {
                mode &= 0o1777;
            }
            self.keep_xattrs(file, like)?;
        }
        self.gate.pass(Call::SetMode, || sys::set_mode(file, mode))?;
        self.gate.pass(Call::SetTimes, || sys::set_times(file, times))
    }

    /// Keeps the owner and the group, or at least the group; false if not both.
    fn keep_owner(&self, file: &OwnedFd, like: &OwnedFd) -> Result<bool, Errno> {
        let (is, wanted) = (rustix::fs::fstat(file)?, rustix::fs::fstat(like)?);
        if (is.st_uid, is.st_gid) == (wanted.st_uid, wanted.st_gid) {
            return Ok(true);
        }
        let owner = rustix::fs::Uid::from_raw(wanted.st_uid);
        let group = rustix::fs::Gid::from_raw(wanted.st_gid);
        for owner in [Some(owner), None] {
            let set = || Ok(rustix::fs::fchown(file, owner, Some(group))?);
            match self.gate.pass(Call::SetOwner, set) {
                Err(Errno::Perm | Errno::Inval) => {}
                done => return done.map(|()| owner.is_some()),
            }
        }
        Ok(false)
    }

    fn keep_xattrs(&self, file: &OwnedFd, like: &OwnedFd) -> Result<(), Errno> {
        for (name, value) in xattrs(like) {
            let set = || Ok(rustix::fs::fsetxattr(file, &*name, &value, XattrFlags::empty())?);
            match self.gate.pass(Call::SetXattr, set) {
                // `security.*` and the like are not ours to give.
                Ok(()) | Err(Errno::Perm | Errno::Acces | Errno::Notsup | Errno::Inval) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// A file or directory, to be synced; `None` for everything else, for a missing one, and for one
    /// that this process may not open.
    pub(super) fn open_to_sync(&mut self, at: At) -> Result<Option<OwnedFd>, Failure> {
        let is = self.look(at)?;
        if !is.is_some_and(|is| matches!(is.kind, FileKind::File | FileKind::Dir)) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self
            .place(at)
            .and_then(|(dir, name)| Ok(rustix::fs::openat(&*dir, &*name, flags, Mode::empty())?));
        match opened {
            Err(Errno::Acces) => Ok(None),
            opened => crate::lower::present(opened).map_err(failure("open", at)),
        }
    }

    pub(super) fn sync_opened(&self, opened: &OwnedFd) -> Result<(), Errno> {
        self.gate.pass(Call::Sync, || match sys::sync(opened, false) {
            // Not everything can be synced.
            Err(Errno::Inval | Errno::Rofs) => Ok(()),
            synced => synced,
        })
    }

    pub(super) fn sync_stage(&self) -> Result<(), Failure> {
        let stage = self.stage.as_ref().ok_or(Errno::Noent);
        let synced = stage.and_then(|stage| self.sync_opened(&stage.dir));
        synced.map_err(failure("sync", At::STAGE))
    }

    pub(super) fn sync_root(&self) -> Result<(), Failure> {
        self.sync_opened(&self.root).map_err(failure("sync", At::TOP))
    }

    /// Brings all of the file system to stable storage, where there is a call for that.
    pub(super) fn sync_all(&self) -> Result<(), Failure> {
        let synced = self.gate.pass(Call::SyncAll, || {
            #[cfg(target_os = "linux")]
            rustix::fs::syncfs(&*self.root)?;
            #[cfg(not(target_os = "linux"))]
            rustix::fs::sync();
            Ok(())
        });
        synced.map_err(failure("sync", At::TOP))
    }
}

/// Through a handle that neither reads nor follows, since a name could be swapped for a symlink
/// and a device must not be opened.
fn set_mode_at(dir: &OwnedFd, name: &[u8], kind: FileKind, mode: u32) -> Result<(), Errno> {
    let raw = Mode::from_raw_mode((mode & 0o7777) as rustix::fs::RawMode);
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        if sys::stat(&opened)?.kind != kind {
            return Err(Errno::Stale);
        }
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        match rustix::fs::chmodat(CWD, &*path, raw, AtFlags::empty()) {
            // Without `/proc` it takes an open file.
            Err(rustix::io::Errno::NOENT) => {}
            done => return Ok(done?),
        }
    }
    let opened = match kind {
        FileKind::Dir => sys::open_dir(dir, name, Access::Read)?,
        _ => sys::open_file(dir, name, Access::Read)?,
    };
    Ok(rustix::fs::fchmod(&opened, raw)?)
}

/// Names and values of the extended attributes; none where there are none to be had.
fn xattrs(file: &OwnedFd) -> Vec<(Vec<u8>, Vec<u8>)> {
    /// Linux's `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
    const BYTES_MAX: usize = 64 * 1024;

    let mut names = vec![0; BYTES_MAX];
    let Ok(len) = rustix::fs::flistxattr(file, &mut names[..]) else { return Vec::new() };
    let mut value = vec![0; BYTES_MAX];
    let mut found = Vec::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if let Ok(len) = rustix::fs::fgetxattr(file, name, &mut value[..]) {
            found.push((name.to_vec(), value[..len].to_vec()));
        }
    }
    found
}
