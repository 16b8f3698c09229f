//! The directory that is committed to, and the stage in it, through handles.
//!
//! Like everything in this crate it takes one name at a time and follows no symlink, so that a
//! process that swaps names meanwhile cannot lead a commit out of the root. The directories on the
//! way to the last place stay open: a neighbour is one step away, however deep it lies. Calls that
//! change something pass a [`Gate`].

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};

use super::gate::{Call, Gate};
use super::journal::{Slot, Times};
use super::paths::{PathId, Paths};
use crate::sys::{self, Access};
use crate::{DirEntry, Errno, FileKind, SetTime, SetTimes, Stat};

/// The directory at the top of the root in which a commit keeps its journal, the files that it is
/// about to put in place, and those that have left their place.
pub(crate) const STAGE: &[u8] = b".testbench-commit";

/// The name of the stage once the commit is made.
pub(crate) const WASTE: &[u8] = b".testbench-commit-done";

/// The directory at the top of the root for files that could not be put in place.
const KEPT: &[u8] = b".testbench-kept";

/// Directories above this many levels are closed again, so that a deep tree needs few descriptors.
const OPEN_MAX: usize = 64;

/// A place in the tree or on the stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Tree(PathId),
    Stage(&'static str),
    Slot(Slot),
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
    stage: Option<Stage>,
    gate: &'g G,
    /// The directories from the top to the last place; the last one of them is open.
    trail: Vec<Rung>,
}

#[derive(Debug)]
struct Rung {
    id: PathId,
    dir: Dir,
}

#[derive(Debug)]
enum Dir {
    Open(Arc<OwnedFd>),
    /// Device and inode.
    Closed(u64, u64),
}

impl<'g, G: Gate> Disk<'g, G> {
    pub(super) fn new(root: Arc<OwnedFd>, gate: &'g G) -> Disk<'g, G> {
        let trail = vec![Rung { id: PathId::TOP, dir: Dir::Open(root.clone()) }];
        Disk { paths: Paths::new(), root, stage: None, gate, trail }
    }

    /// Makes the stage and locks it. [`Errno::Exist`]: another commit has one.
    pub(super) fn make_stage(&mut self) -> Result<(), Errno> {
        let made = || Ok(rustix::fs::mkdirat(&*self.root, STAGE, Mode::RWXU)?);
        self.gate.pass(Call::MakeDir, made)?;
        match self.open_stage()? {
            true => Ok(()),
            false => Err(Errno::Noent),
        }
    }

    /// Opens the stage and locks it; false if there is none. [`Errno::Busy`]: a commit is at work.
    pub(super) fn open_stage(&mut self) -> Result<bool, Errno> {
        Ok(self.open_stage_as(STAGE)? || self.open_stage_as(WASTE)?)
    }

    fn open_stage_as(&mut self, name: &'static [u8]) -> Result<bool, Errno> {
        let dir = match sys::open_dir(&self.root, name, Access::Read) {
            Err(Errno::Noent) => return Ok(false),
            dir => Arc::new(dir?),
        };
        let stage = Stage { dir, name };
        match rustix::fs::flock(&*stage.dir, FlockOperation::NonBlockingLockExclusive) {
            // A file system without locks has to do without the protection.
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Errno::Busy),
            Err(errno) => return Err(errno.into()),
        }
        self.stage = Some(stage);
        Ok(true)
    }

    /// Removes the empty stage.
    pub(super) fn remove_stage(&mut self) -> Result<(), Errno> {
        let name = self.stage.as_ref().ok_or(Errno::Noent)?.name;
        self.gate.pass(Call::RemoveDir, || sys::remove_dir(&self.root, name))?;
        self.stage = None;
        Ok(())
    }

    /// Makes the stage waste, in one instant.
    pub(super) fn give_up_stage(&mut self) -> Result<(), Errno> {
        let stage = self.stage.as_mut().ok_or(Errno::Noent)?;
        let rename = || sys::rename(&self.root, STAGE, &self.root, WASTE);
        self.gate.pass(Call::Rename, rename)?;
        stage.name = WASTE;
        Ok(())
    }

    /// Whether the stage is waste.
    pub(super) fn is_waste(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.name == WASTE)
    }

    fn stage(&self) -> Result<&Arc<OwnedFd>, Errno> {
        self.stage.as_ref().map(|stage| &stage.dir).ok_or(Errno::Noent)
    }

    /// Moves something from the stage to where files are kept that could not be put in place. The
    /// result is its path there, relative to the root.
    pub(super) fn keep(&mut self, slot: Slot, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let make = || Ok(rustix::fs::mkdirat(&*self.root, KEPT, Mode::RWXU)?);
        match self.gate.pass(Call::MakeDir, make) {
            Ok(()) | Err(Errno::Exist) => {}
            Err(errno) => return Err(errno),
        }
        let dir = sys::open_dir(&self.root, KEPT, Access::Search)?;
        // With the number in front it must still be a name.
        let name = &name[..name.len().min(200)];
        let mut number = 1;
        loop {
            let name = [format!("{number}-").as_bytes(), name].concat();
            let from = slot.name();
            match self.rename_between(self.stage()?, from.as_bytes(), &dir, &name) {
                Err(Errno::Exist) => number += 1,
                kept => return kept.map(|()| [KEPT, b"/", &name].concat()),
            }
        }
    }
}

/// Walking.
impl<G: Gate> Disk<'_, G> {
    /// A directory of the tree; symlinks on the way are [`Errno::Loop`] or [`Errno::Notdir`].
    fn dir(&mut self, id: PathId) -> Result<Arc<OwnedFd>, Errno> {
        let mut down = self.way_down(id);
        if !self.climb(self.paths.depth(id) + 1 - down.len()) {
            self.trail.truncate(1);
            down = self.way_down(id);
        }
        while let Some(id) = down.pop() {
            let above = self.last()?;
            let dir = sys::open_dir(&above, self.paths.name(id), Access::Search)?;
            self.trail.push(Rung { id, dir: Dir::Open(Arc::new(dir)) });
            if let Some(above) = self.trail.len().checked_sub(OPEN_MAX).filter(|at| *at > 0)
                && let Dir::Open(dir) = &self.trail[above].dir
            {
                let is = sys::stat(dir)?;
                self.trail[above].dir = Dir::Closed(is.dev, is.ino);
            }
        }
        self.last()
    }

    /// The part of the way to a directory that is not on the trail, the last step first.
    fn way_down(&self, id: PathId) -> Vec<PathId> {
        let on_trail =
            |id: &PathId| self.trail.get(self.paths.depth(*id)).is_some_and(|rung| rung.id == *id);
        self.paths.upwards(id).take_while(|id| !on_trail(id)).collect()
    }

    fn last(&self) -> Result<Arc<OwnedFd>, Errno> {
        match self.trail.last() {
            Some(Rung { dir: Dir::Open(dir), .. }) => Ok(dir.clone()),
            _ => Err(Errno::Badf),
        }
    }

    /// Goes up until the trail is that long; false if a directory does not lie where it did.
    fn climb(&mut self, len: usize) -> bool {
        while self.trail.len() > len {
            let Some(Rung { dir: Dir::Open(below), .. }) = self.trail.pop() else { return false };
            let Some(rung) = self.trail.last_mut() else { return false };
            let Dir::Closed(dev, ino) = rung.dir else { continue };
            let Ok(above) = sys::open_dir(&below, b"..", Access::Search) else { return false };
            if !sys::stat(&above).is_ok_and(|is| (is.dev, is.ino) == (dev, ino)) {
                return false;
            }
            rung.dir = Dir::Open(Arc::new(above));
        }
        true
    }

    /// Leaves a place that is about to be given to something else.
    fn leave(&mut self, at: At) {
        let At::Tree(id) = at else { return };
        let depth = self.paths.depth(id);
        if self.trail.get(depth).is_some_and(|rung| rung.id == id) && !self.climb(depth) {
            self.trail.truncate(1);
        }
    }

    /// The directory that holds a place, and the name in it.
    fn place(&mut self, at: At) -> Result<(Arc<OwnedFd>, Vec<u8>), Errno> {
        match at {
            At::Stage(name) => Ok((self.stage()?.clone(), name.into())),
            At::Slot(slot) => Ok((self.stage()?.clone(), slot.name().into_bytes())),
            At::Tree(PathId::TOP) => Ok((self.root.clone(), b".".to_vec())),
            At::Tree(id) => Ok((self.dir(self.paths.dir(id))?, self.paths.name(id).to_vec())),
        }
    }
}

/// Looking.
impl<G: Gate> Disk<'_, G> {
    /// The metadata of the file at a place; `None` if there is none.
    pub(super) fn look(&mut self, at: At) -> Result<Option<Stat>, Errno> {
        let mut look = || match at {
            // To be seen, the top need not be open to us.
            At::Tree(PathId::TOP) => sys::stat(&self.root),
            at => {
                let (dir, name) = self.place(at)?;
                sys::stat_at(&dir, &name)
            }
        };
        crate::lower::present(look())
    }

    pub(super) fn read_link(&mut self, at: At) -> Result<Vec<u8>, Errno> {
        let (dir, name) = self.place(at)?;
        sys::read_link(&dir, &name)
    }

    /// A regular file for reading.
    pub(super) fn open(&mut self, at: At) -> Result<OwnedFd, Errno> {
        let (dir, name) = self.place(at)?;
        sys::open_file(&dir, &name, Access::Read)
    }

    /// The entries of a directory.
    pub(super) fn list(&mut self, at: At) -> Result<Vec<DirEntry>, Errno> {
        let (dir, name) = self.place(at)?;
        sys::read_dir(&sys::open_dir(&dir, &name, Access::Read)?)
    }

    /// The entries of the stage.
    pub(super) fn list_stage(&self) -> Result<Vec<DirEntry>, Errno> {
        // Through a handle of its own, whose position is at the beginning.
        sys::read_dir(&sys::open_dir(self.stage()?, b".", Access::Read)?)
    }

    /// All bytes of a regular file.
    pub(super) fn read(&mut self, at: At) -> Result<Vec<u8>, Errno> {
        let file = self.open(at)?;
        let mut bytes = vec![0; usize::try_from(sys::stat(&file)?.size).map_err(|_| Errno::Fbig)?];
        let mut done = 0;
        loop {
            match sys::read_at(&file, &mut bytes[done..], done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::Intr) => {}
                Err(errno) => return Err(errno),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    /// Fails with [`Errno::Acces`] if this process may neither change names in a directory nor
    /// give itself the right.
    pub(super) fn check_may_work_in(&mut self, dir: PathId) -> Result<(), Errno> {
        let (parent, name) = self.place(At::Tree(dir))?;
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let flags = AtFlags::EACCESS;
        match rustix::fs::accessat(&*parent, &*name, access, flags) {
            Err(rustix::io::Errno::ACCESS) => self.check_may_set_meta(dir),
            // Whatever else is wrong with it, the steps say it better.
            _ => Ok(()),
        }
    }

    /// Fails with [`Errno::Acces`] if this process may not set permission bits and times.
    pub(super) fn check_may_set_meta(&mut self, path: PathId) -> Result<(), Errno> {
        let (dir, name) = self.place(At::Tree(path))?;
        let owner = rustix::fs::statat(&*dir, &*name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
        let user = rustix::process::geteuid();
        match user.is_root() || user.as_raw() == owner {
            true => Ok(()),
            false => Err(Errno::Acces),
        }
    }
}

/// Changing calls.
impl<G: Gate> Disk<'_, G> {
    pub(super) fn make_dir(&mut self, at: At) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::MakeDir, || Ok(rustix::fs::mkdirat(&*dir, &*name, Mode::RWXU)?))
    }

    /// A new file on the stage that only the owner may use.
    pub(super) fn make_file(&mut self, at: At) -> Result<OwnedFd, Errno> {
        let (dir, name) = self.place(at)?;
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.gate.pass(Call::MakeFile, || Ok(rustix::fs::openat(&*dir, &*name, flags, mode)?))
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

    pub(super) fn symlink(&mut self, target: &[u8], at: At) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::Symlink, || sys::symlink(target, &dir, &name))
    }

    /// One more name for a file or symlink.
    pub(super) fn link(&mut self, from: At, to: At) -> Result<(), Errno> {
        let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
        self.gate.pass(Call::Link, || sys::link(&from_dir, &from, &to_dir, &to))
    }

    /// Moves to where nothing is; [`Errno::Exist`] if something is there after all.
    pub(super) fn rename_new(&mut self, from: At, to: At) -> Result<(), Errno> {
        self.leave(from);
        let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
        self.rename_between(&from_dir, &from, &to_dir, &to)
    }

    fn rename_between(
        &self,
        from_dir: &OwnedFd,
        from: &[u8],
        to_dir: &OwnedFd,
        to: &[u8],
    ) -> Result<(), Errno> {
        self.gate.pass(Call::Rename, || {
            match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
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
    pub(super) fn rename_over(&mut self, from: At, to: At) -> Result<(), Errno> {
        let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
        self.gate.pass(Call::Rename, || sys::rename(&from_dir, &from, &to_dir, &to))
    }

    pub(super) fn unlink(&mut self, at: At) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::Unlink, || sys::remove_file(&dir, &name))
    }

    pub(super) fn remove_dir(&mut self, at: At) -> Result<(), Errno> {
        self.leave(at);
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::RemoveDir, || sys::remove_dir(&dir, &name))
    }

    /// Sets permission bits; never those of a symlink's target.
    pub(super) fn set_mode(&mut self, at: At, kind: FileKind, mode: u32) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::SetMode, || set_mode_at(&dir, &name, kind, mode))
    }

    pub(super) fn set_times(&mut self, at: At, times: &Times) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::SetTimes, || sys::set_times_at(&dir, &name, set_times(times)))
    }

    /// Gives a file that is about to replace another its permission bits, times, owner, group and
    /// extended attributes. Attributes that the system does not let us keep, as `cp -p` would not,
    /// are left; without the owner and the group the set-id bits go too.
    pub(super) fn dress(
        &self,
        file: &OwnedFd,
        mode: u32,
        times: &Times,
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
        self.gate.pass(Call::SetTimes, || sys::set_times(file, set_times(times)))
    }

    fn keep_owner(&self, file: &OwnedFd, like: &OwnedFd) -> Result<bool, Errno> {
        let (is, wanted) = (rustix::fs::fstat(file)?, rustix::fs::fstat(like)?);
        if (is.st_uid, is.st_gid) == (wanted.st_uid, wanted.st_gid) {
            return Ok(true);
        }
        let owner = rustix::fs::Uid::from_raw(wanted.st_uid);
        let group = rustix::fs::Gid::from_raw(wanted.st_gid);
        let both = || Ok(rustix::fs::fchown(file, Some(owner), Some(group))?);
        match self.gate.pass(Call::SetOwner, both) {
            Err(Errno::Perm | Errno::Inval) => {}
            done => return done.map(|()| true),
        }
        // The group may be one of ours where the owner is not.
        let group = || Ok(rustix::fs::fchown(file, None, Some(group))?);
        match self.gate.pass(Call::SetOwner, group) {
            Ok(()) | Err(Errno::Perm | Errno::Inval) => Ok(false),
            Err(errno) => Err(errno),
        }
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

    /// A file or directory, to be synced; `None` for everything else and for a missing one.
    pub(super) fn open_to_sync(&mut self, at: At) -> Result<Option<OwnedFd>, Errno> {
        let open = |disk: &mut Self| match disk.look(at)?.map(|stat| stat.kind) {
            Some(FileKind::File | FileKind::Dir) => {
                let (dir, name) = disk.place(at)?;
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                Ok(Some(rustix::fs::openat(&*dir, &*name, flags, Mode::empty())?))
            }
            Some(FileKind::Symlink | FileKind::Special) | None => Ok(None),
        };
        match open(self) {
            Err(Errno::Acces) => Ok(None),
            opened => crate::lower::present(opened).map(Option::flatten),
        }
    }

    pub(super) fn sync_opened(&self, opened: &OwnedFd) -> Result<(), Errno> {
        self.gate.pass(Call::Sync, || match sys::sync(opened, false) {
            // Not everything can be synced.
            Err(Errno::Inval | Errno::Rofs) => Ok(()),
            synced => synced,
        })
    }

    pub(super) fn sync_stage(&self) -> Result<(), Errno> {
        self.sync_opened(self.stage()?)
    }

    pub(super) fn sync_root(&self) -> Result<(), Errno> {
        self.sync_opened(&self.root)
    }

    /// Brings all of the file system to stable storage, where there is a call for that.
    pub(super) fn sync_all(&self) -> Result<(), Errno> {
        self.gate.pass(Call::SyncAll, || {
            #[cfg(target_os = "linux")]
            rustix::fs::syncfs(&*self.root)?;
            #[cfg(not(target_os = "linux"))]
            rustix::fs::sync();
            Ok(())
        })
    }
}

fn set_times(times: &Times) -> SetTimes {
    let [atime, mtime] = [times.atime(), times.mtime()].map(|time| Some(SetTime::At(time)));
    SetTimes { atime, mtime }
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
