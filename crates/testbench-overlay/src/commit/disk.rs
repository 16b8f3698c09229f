//! The directory that is committed to, and the stage in it, through handles.
//!
//! Like everything in this crate it takes one name at a time and follows no symlink, so that
//! whoever swaps names meanwhile cannot lead a commit out of the root. Calls that change something
//! pass a [`Gate`].

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};

use super::gate::{Call, Gate};
use super::step::Times;
use crate::sys::{self, Access};
use crate::vfs::name::RelPath;
use crate::{DirEntry, Errno, FileKind, GuestPath, SetTime, SetTimes, Stat};

/// The directory at the top of the root in which a commit keeps its journal, what it is about to
/// put in place, and what it has taken away.
pub(crate) const STAGE: &[u8] = b".testbench-commit";

/// What the stage is called once the commit is made and all on it is waste.
pub(crate) const WASTE: &[u8] = b".testbench-commit-done";

/// A place in the tree or on the stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    Tree(&'a RelPath),
    Stage(&'a str),
    /// In a directory on the stage.
    Inside(&'a str, &'a [u8]),
}

/// The stage, locked.
#[derive(Debug)]
struct Stage {
    dir: OwnedFd,
    name: &'static [u8],
}

/// The lock goes with the last handle, and a process that is being forked has one for a moment.
impl Drop for Stage {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.dir, FlockOperation::Unlock);
    }
}

/// The root of a commit.
#[derive(Debug)]
pub(super) struct Disk<'g, G> {
    root: Arc<OwnedFd>,
    stage: Option<Stage>,
    gate: &'g G,
}

impl<'g, G: Gate> Disk<'g, G> {
    pub(super) fn new(root: Arc<OwnedFd>, gate: &'g G) -> Disk<'g, G> {
        Disk { root, stage: None, gate }
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
            dir => dir?,
        };
        let stage = Stage { dir, name };
        match rustix::fs::flock(&stage.dir, FlockOperation::NonBlockingLockExclusive) {
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

    fn stage(&self) -> Result<&OwnedFd, Errno> {
        self.stage.as_ref().map(|stage| &stage.dir).ok_or(Errno::Noent)
    }

    /// A directory of the tree; symlinks on the way are [`Errno::Loop`] or [`Errno::Notdir`].
    pub(super) fn dir(&self, path: &RelPath, access: Access) -> Result<OwnedFd, Errno> {
        if access == Access::Search
            && !path.is_top()
            && let Ok(dir) = sys::open_dirs_beneath(&self.root, path.as_bytes())
        {
            return Ok(dir);
        }
        let mut dir = sys::open_dir(&self.root, b".", last_or_search(path.is_top(), access))?;
        let mut names = GuestPath::new(path.as_bytes()).components().peekable();
        while let Some(name) = names.next() {
            let access = last_or_search(names.peek().is_none(), access);
            dir = sys::open_dir(&dir, name, access)?;
        }
        Ok(dir)
    }

    /// The directory that holds a place, and the name in it.
    fn place<'a>(&self, at: At<'a>) -> Result<(OwnedFd, &'a [u8]), Errno> {
        match at {
            At::Stage(name) => Ok((self.stage()?.try_clone()?, name.as_bytes())),
            At::Inside(dir, name) => {
                Ok((sys::open_dir(self.stage()?, dir.as_bytes(), Access::Read)?, name))
            }
            At::Tree(path) => match path.split() {
                Some((dir, name)) => Ok((self.dir(&dir, Access::Search)?, name)),
                None => Ok((self.root.try_clone()?, b".")),
            },
        }
    }

    /// What is at a place, if anything.
    pub(super) fn look(&self, at: At<'_>) -> Result<Option<Stat>, Errno> {
        let look = || match at {
            // To be seen, the top need not be open to us.
            At::Tree(path) if path.is_top() => sys::stat(&self.root),
            at => {
                let (dir, name) = self.place(at)?;
                sys::stat_at(&dir, name)
            }
        };
        match look() {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::Noent | Errno::Notdir | Errno::Loop) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn read_link(&self, at: At<'_>) -> Result<Vec<u8>, Errno> {
        let (dir, name) = self.place(at)?;
        sys::read_link(&dir, name)
    }

    /// A regular file for reading.
    pub(super) fn open(&self, at: At<'_>) -> Result<OwnedFd, Errno> {
        let (dir, name) = self.place(at)?;
        sys::open_file(&dir, name, Access::Read)
    }

    /// What is in a directory.
    pub(super) fn list(&self, at: At<'_>) -> Result<Vec<DirEntry>, Errno> {
        let (dir, name) = self.place(at)?;
        sys::read_dir(&sys::open_dir(&dir, name, Access::Read)?)
    }

    /// What is on the stage.
    pub(super) fn list_stage(&self) -> Result<Vec<DirEntry>, Errno> {
        // Through a handle of its own, whose position is at the beginning.
        sys::read_dir(&sys::open_dir(self.stage()?, b".", Access::Read)?)
    }

    /// All bytes of a regular file.
    pub(super) fn read(&self, at: At<'_>) -> Result<Vec<u8>, Errno> {
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
}

/// Changing calls.
impl<G: Gate> Disk<'_, G> {
    pub(super) fn make_dir(&self, at: At<'_>) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::MakeDir, || Ok(rustix::fs::mkdirat(&dir, name, Mode::RWXU)?))
    }

    /// A new file on the stage that only the owner may use.
    pub(super) fn make_file(&self, at: At<'_>) -> Result<OwnedFd, Errno> {
        let (dir, name) = self.place(at)?;
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.gate.pass(Call::MakeFile, || Ok(rustix::fs::openat(&dir, name, flags, mode)?))
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

    pub(super) fn symlink(&self, target: &[u8], at: At<'_>) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::Symlink, || sys::symlink(target, &dir, name))
    }

    /// One more name for a file or symlink.
    pub(super) fn link(&self, from: At<'_>, to: At<'_>) -> Result<(), Errno> {
        let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
        self.gate.pass(Call::Link, || sys::link(&from_dir, from, &to_dir, to))
    }

    /// Moves to where nothing is; [`Errno::Exist`] if something is there after all.
    pub(super) fn rename_new(&self, from: At<'_>, to: At<'_>) -> Result<(), Errno> {
        let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
        self.gate.pass(Call::Rename, || {
            match rustix::fs::renameat_with(&from_dir, from, &to_dir, to, RenameFlags::NOREPLACE) {
                // Not every file system has the flag.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    match sys::stat_at(&to_dir, to) {
                        Ok(_) => Err(Errno::Exist),
                        Err(Errno::Noent) => sys::rename(&from_dir, from, &to_dir, to),
                        Err(errno) => Err(errno),
                    }
                }
                renamed => Ok(renamed?),
            }
        })
    }

    /// Moves in one step over a file or symlink.
    pub(super) fn rename_over(&self, from: At<'_>, to: At<'_>) -> Result<(), Errno> {
        let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
        self.gate.pass(Call::Rename, || sys::rename(&from_dir, from, &to_dir, to))
    }

    pub(super) fn unlink(&self, at: At<'_>) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::Unlink, || sys::remove_file(&dir, name))
    }

    pub(super) fn remove_dir(&self, at: At<'_>) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::RemoveDir, || sys::remove_dir(&dir, name))
    }

    /// Sets permission bits; never those of what a symlink points to.
    pub(super) fn set_mode(&self, at: At<'_>, kind: FileKind, mode: u32) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::SetMode, || set_mode_at(&dir, name, kind, mode))
    }

    pub(super) fn set_times(&self, at: At<'_>, times: &Times) -> Result<(), Errno> {
        let (dir, name) = self.place(at)?;
        self.gate.pass(Call::SetTimes, || sys::set_times_at(&dir, name, set_times(times)))
    }

    /// Gives a file that is about to replace another its permission bits, times, owner, group and
    /// extended attributes. What the system does not let us keep, as `cp -p` would not, is left;
    /// without the owner and the group the set-id bits go too.
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

    /// A file or directory, to be synced; `None` for what cannot be, and for what is not there.
    pub(super) fn open_to_sync(&self, at: At<'_>) -> Result<Option<OwnedFd>, Errno> {
        let open = || match self.look(at)?.map(|stat| stat.kind) {
            Some(FileKind::File | FileKind::Dir) => {
                let (dir, name) = self.place(at)?;
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                Ok(Some(rustix::fs::openat(&dir, name, flags, Mode::empty())?))
            }
            Some(FileKind::Symlink | FileKind::Special) | None => Ok(None),
        };
        match open() {
            Err(Errno::Noent | Errno::Notdir | Errno::Loop | Errno::Acces) => Ok(None),
            opened => opened,
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

fn last_or_search(is_last: bool, access: Access) -> Access {
    if is_last { access } else { Access::Search }
}

fn set_times(times: &Times) -> SetTimes {
    SetTimes {
        atime: Some(SetTime::At(times.atime.into())),
        mtime: Some(SetTime::At(times.mtime.into())),
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
