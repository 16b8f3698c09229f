//! The system calls of a commit, on the directory that it changes and on the stage in it, and those
//! of a materialization.
//!
//! Like everything in this crate, they resolve one name at a time, through handles, and follow no
//! symlink. So a process that swaps names meanwhile cannot lead a commit out of the root. Calls that
//! change something pass a [`Gate`].

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};

use super::error::{CommitError, Result};
use super::gate::{Call, Gate};
use crate::places::{DirCursor, PathId, Paths};
use crate::sys::{self, Access, os_str};
use crate::{DirEntry, Errno, FileKind, SetTimes, Stat};

/// The name of the stage: a directory at the top of the root with the commit's journal, the new files
/// until they are in place, and the old files that have left their place.
pub(crate) const STAGE: &[u8] = b".testbench-commit";

/// The name of the stage after the commit is made.
pub(crate) const WASTE: &[u8] = b".testbench-commit-done";

/// A place in the tree or on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
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

/// The stage, locked.
#[derive(Debug)]
struct Stage {
    dir: Arc<OwnedFd>,
    name: &'static [u8],
}

/// Unlocks explicitly: a forked process holds a handle, and so the lock, for a moment longer.
impl Drop for Stage {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&*self.dir, FlockOperation::Unlock);
    }
}

/// The root of a commit.
pub(crate) struct Disk<'g> {
    pub(crate) paths: Paths,
    root: Arc<OwnedFd>,
    /// The root's path, for messages.
    path: PathBuf,
    cursor: DirCursor,
    stage: Option<Stage>,
    gate: &'g dyn Gate,
}

impl<'g> Disk<'g> {
    pub(crate) fn new(root: Arc<OwnedFd>, path: PathBuf, gate: &'g dyn Gate) -> Disk<'g> {
        let cursor = DirCursor::new(root.clone());
        Disk { paths: Paths::new(), root, path, cursor, stage: None, gate }
    }

    /// Returns the path of a place, for messages and reports.
    pub(super) fn host_path(&self, at: At) -> PathBuf {
        match at {
            At::TOP => self.path.clone(),
            At::Tree(id) => self.path.join(os_str(&self.paths.bytes(id))),
            At::Stage(_) | At::Slot(_) => self.path.join(os_str(STAGE)),
        }
    }

    /// Returns the error of a call that failed at a place.
    pub(crate) fn refused(&self, what: &'static str, at: At, errno: Errno) -> CommitError {
        let path = self.host_path(at);
        match errno {
            Errno::Xdev => CommitError::Device { path },
            _ => CommitError::Disk { what, path, source: errno.into() },
        }
    }

    /// Returns the place of a name at the top of the root.
    pub(super) fn at_top(&mut self, name: &[u8]) -> At {
        At::Tree(self.paths.child(PathId::TOP, name))
    }

    /// Makes the stage and locks it. Fails with [`Errno::Exist`] if another commit has one.
    pub(super) fn make_stage(&mut self) -> Result<()> {
        let stage = self.at_top(STAGE);
        self.make_dir(stage)?;
        let opened = self.open_stage().and_then(|is| if is { Ok(()) } else { Err(Errno::Noent) });
        opened.map_err(|errno| self.refused("open", stage, errno))
    }

    /// Opens the stage and locks it. Returns false if there is none; fails with [`Errno::Busy`] if a
    /// commit is running.
    pub(super) fn open_stage(&mut self) -> Result<bool, Errno> {
        for name in [STAGE, WASTE] {
            let dir = match sys::open_dir(&self.root, name, Access::Read) {
                Err(Errno::Noent) => continue,
                dir => Arc::new(dir?),
            };
            match rustix::fs::flock(&*dir, FlockOperation::NonBlockingLockExclusive) {
                // On a file system without locks, the commit runs without this protection.
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
    pub(super) fn remove_stage(&mut self) -> Result<()> {
        let stage = self.at_top(if self.is_waste() { WASTE } else { STAGE });
        self.remove_dir(stage)?;
        self.stage = None;
        Ok(())
    }

    /// Renames the stage to [`WASTE`], in one instant. From then on the commit is made.
    pub(super) fn give_up_stage(&mut self) -> Result<()> {
        let (stage, waste) = (self.at_top(STAGE), self.at_top(WASTE));
        self.rename_over(stage, waste)?;
        self.stage.iter_mut().for_each(|stage| stage.name = WASTE);
        Ok(())
    }

    /// Whether the stage is waste.
    pub(super) fn is_waste(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.name == WASTE)
    }

    /// Returns the directory that holds a place, and the name in it.
    fn place(&mut self, at: At) -> Result<(Arc<OwnedFd>, Vec<u8>), Errno> {
        let name = match at {
            At::TOP => return Ok((self.root.clone(), b".".to_vec())),
            At::Tree(id) => {
                let dir = self.cursor.dir(&self.paths, self.paths.dir(id))?;
                return Ok((dir, self.paths.name(id).to_vec()));
            }
            At::Stage(name) => name.into(),
            At::Slot(slot) => format!("n{slot}").into_bytes(),
        };
        Ok((self.stage.as_ref().ok_or(Errno::Noent)?.dir.clone(), name))
    }

    /// Moves the cursor out of a directory that is about to be moved or removed.
    fn leave(&mut self, at: At) {
        if let At::Tree(id) = at {
            self.cursor.leave(&self.paths, id);
        }
    }

    /// Makes a call at a place.
    fn call<T>(
        &mut self,
        what: &'static str,
        at: At,
        call: impl FnOnce(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T> {
        let done = self.place(at).and_then(|(dir, name)| call(&dir, &name));
        done.map_err(|errno| self.refused(what, at, errno))
    }

    /// Makes a call at a place. Returns `None` if nothing is there.
    fn find<T>(
        &mut self,
        what: &'static str,
        at: At,
        call: impl FnOnce(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<Option<T>> {
        let found = self.place(at).and_then(|(dir, name)| call(&dir, &name));
        crate::lower::present(found).map_err(|errno| self.refused(what, at, errno))
    }

    /// Makes a changing call at a place.
    fn change<T>(
        &mut self,
        call: Call,
        at: At,
        change: impl FnOnce(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T> {
        let gate = self.gate;
        self.call(call.verb(), at, |dir, name| gate.pass(call).and_then(|()| change(dir, name)))
    }

    /// Makes a changing call at two places.
    fn change_both(
        &mut self,
        call: Call,
        (from, to): (At, At),
        change: impl FnOnce(&OwnedFd, &[u8], &OwnedFd, &[u8]) -> Result<(), Errno>,
    ) -> Result<()> {
        let about = if matches!(to, At::Tree(_)) { to } else { from };
        let places = self.place(from).and_then(|from| Ok((from, self.place(to)?)));
        let done = places.and_then(|((from_dir, from), (to_dir, to))| {
            self.gate.pass(call)?;
            change(&from_dir, &from, &to_dir, &to)
        });
        done.map_err(|errno| self.refused(call.verb(), about, errno))
    }

    /// Makes a changing call on a file that is open for this place.
    fn change_open<T>(
        &self,
        call: Call,
        at: At,
        change: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T> {
        let done = self.gate.pass(call).and_then(|()| change());
        done.map_err(|errno| self.refused(call.verb(), at, errno))
    }
}

/// Calls that change nothing.
impl Disk<'_> {
    /// Returns the metadata of the file at a place; `None` if there is none.
    pub(crate) fn look(&mut self, at: At) -> Result<Option<Stat>> {
        self.find("look at", at, |dir, name| match at {
            // A look-up of `.` would need the right to search the top; its handle does not.
            At::TOP => sys::stat(dir),
            _ => sys::stat_at(dir, name),
        })
    }

    pub(super) fn read_link(&mut self, at: At) -> Result<Vec<u8>> {
        self.call("read", at, sys::read_link)
    }

    /// Opens a regular file for reading.
    pub(super) fn open(&mut self, at: At) -> Result<OwnedFd> {
        self.call("open", at, |dir, name| sys::open_file(dir, name, Access::Read))
    }

    /// Returns the entries of a directory; none if it does not exist.
    pub(crate) fn list(&mut self, at: At) -> Result<Vec<DirEntry>> {
        let entries = self.find("list", at, |dir, name| {
            let opened = sys::open_dir(dir, name, Access::Read)?;
            sys::read_dir(&opened)
        })?;
        Ok(entries.unwrap_or_default())
    }

    /// Reads all bytes of a regular file.
    pub(super) fn read(&mut self, at: At) -> Result<Vec<u8>> {
        let (mut file, mut bytes) = (File::from(self.open(at)?), Vec::new());
        match file.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.refused("read", at, Errno::from(&error))),
        }
    }

    /// Fails with [`Errno::Acces`] if this process may neither change names in a directory nor
    /// give itself the right.
    pub(super) fn check_may_work_in(&mut self, dir: PathId) -> Result<()> {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let denied = self.call("change names in", At::Tree(dir), |parent, name| {
            let may = rustix::fs::accessat(parent, name, access, AtFlags::EACCESS);
            // Every other error is left to the steps, which report it with more detail.
            Ok(may == Err(rustix::io::Errno::ACCESS))
        })?;
        if denied { self.check_may_set_meta(dir) } else { Ok(()) }
    }

    /// Fails with [`Errno::Acces`] if this process may not set permission bits and times.
    pub(super) fn check_may_set_meta(&mut self, path: PathId) -> Result<()> {
        self.call(Call::SetMode.verb(), At::Tree(path), |dir, name| {
            let owner = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
            let user = rustix::process::geteuid();
            let may = user.is_root() || user.as_raw() == owner;
            if may { Ok(()) } else { Err(Errno::Acces) }
        })
    }
}

/// Calls that change something.
impl Disk<'_> {
    pub(crate) fn make_dir(&mut self, at: At) -> Result<()> {
        let make = |dir: &OwnedFd, name: &[u8]| Ok(rustix::fs::mkdirat(dir, name, Mode::RWXU)?);
        self.change(Call::MakeDir, at, make)
    }

    /// Makes a file that only the owner may read and write.
    pub(crate) fn make_file(&mut self, at: At) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.change(Call::MakeFile, at, |dir, name| {
            Ok(rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, mode)?)
        })
    }

    /// Writes to a file that was opened at a place.
    pub(super) fn write(&self, at: At, file: &OwnedFd, bytes: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let end = bytes.len().min(done + self.gate.write_bytes_max());
            done += self.change_open(Call::Write, at, || {
                match sys::write_at(file, &bytes[done..end], offset + done as u64) {
                    Ok(0) => Err(Errno::Io),
                    Err(Errno::Intr) => Ok(0),
                    written => written,
                }
            })?;
        }
        Ok(())
    }

    pub(super) fn set_len(&self, at: At, file: &OwnedFd, len: u64) -> Result<()> {
        self.change_open(Call::SetLen, at, || sys::set_len(file, len))
    }

    pub(crate) fn symlink(&mut self, target: &[u8], at: At) -> Result<()> {
        self.change(Call::Symlink, at, |dir, name| sys::symlink(target, dir, name))
    }

    /// Gives a file or symlink one more name.
    pub(crate) fn link(&mut self, from: At, to: At) -> Result<()> {
        self.change_both(Call::Link, (from, to), sys::link)
    }

    /// Moves to a place where nothing is. Fails with [`Errno::Exist`] if something is there.
    pub(super) fn rename_new(&mut self, from: At, to: At) -> Result<()> {
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

    /// Replaces a file or symlink in one step.
    pub(super) fn rename_over(&mut self, from: At, to: At) -> Result<()> {
        self.change_both(Call::Rename, (from, to), sys::rename)
    }

    pub(super) fn unlink(&mut self, at: At) -> Result<()> {
        self.change(Call::Unlink, at, sys::remove_file)
    }

    pub(super) fn remove_dir(&mut self, at: At) -> Result<()> {
        self.leave(at);
        self.change(Call::RemoveDir, at, sys::remove_dir)
    }

    /// Sets permission bits; never those of a symlink's target.
    pub(crate) fn set_mode(&mut self, at: At, mode: u32) -> Result<()> {
        self.change(Call::SetMode, at, |dir, name| set_mode_at(dir, name, mode))
    }

    pub(crate) fn set_times(&mut self, at: At, times: SetTimes) -> Result<()> {
        self.change(Call::SetTimes, at, |dir, name| sys::set_times_at(dir, name, times))
    }

    /// Copies the owner, group and extended attributes of `like` to the file that is about to replace
    /// it, as far as the system permits. Returns false if the owner and the group are not both kept.
    pub(super) fn keep_owner(&self, at: At, file: &OwnedFd, like: &OwnedFd) -> Result<bool> {
        for (name, value) in xattrs(like) {
            // Without privileges, this process cannot set `security.*` and others, nor can `cp -p`.
            let set = || Ok(rustix::fs::fsetxattr(file, &*name, &value, XattrFlags::empty())?);
            let set = self.change_open(Call::SetXattr, at, set);
            allowed(set, &[Errno::Perm, Errno::Acces, Errno::Notsup, Errno::Inval])?;
        }
        let owners = |file: &OwnedFd| Ok(rustix::fs::fstat(file).map(|is| (is.st_uid, is.st_gid))?);
        let is_and_wanted = owners(file).and_then(|is| Ok((is, owners(like)?)));
        let (is, (owner, group)) =
            is_and_wanted.map_err(|errno| self.refused(Call::SetOwner.verb(), at, errno))?;
        if is == (owner, group) {
            return Ok(true);
        }
        let group = Some(rustix::fs::Gid::from_raw(group));
        for owner in [Some(rustix::fs::Uid::from_raw(owner)), None] {
            let set = || Ok(rustix::fs::fchown(file, owner, group)?);
            let set = self.change_open(Call::SetOwner, at, set);
            if allowed(set, &[Errno::Perm, Errno::Inval])? {
                return Ok(owner.is_some());
            }
        }
        Ok(false)
    }

    /// Opens a file or directory to sync it. Returns `None` for other kinds, and if it is missing or
    /// this process may not open it.
    pub(super) fn open_to_sync(&mut self, at: At) -> Result<Option<OwnedFd>> {
        let is = self.look(at)?;
        if !is.is_some_and(|is| matches!(is.kind, FileKind::File | FileKind::Dir)) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self.find("open", at, |dir, name| {
            match rustix::fs::openat(dir, name, flags, Mode::empty()) {
                Err(rustix::io::Errno::ACCESS) => Ok(None),
                opened => Ok(Some(opened?)),
            }
        });
        Ok(opened?.flatten())
    }

    pub(super) fn sync(&self, at: At, opened: &OwnedFd) -> Result<()> {
        self.change_open(Call::Sync, at, || match sys::sync(opened, false) {
            // Not everything can be synced.
            Err(Errno::Inval | Errno::Rofs) => Ok(()),
            synced => synced,
        })
    }

    pub(super) fn sync_stage(&self) -> Result<()> {
        self.stage.as_ref().map_or(Ok(()), |stage| self.sync(At::STAGE, &stage.dir))
    }

    pub(super) fn sync_root(&self) -> Result<()> {
        self.sync(At::TOP, &self.root)
    }

    /// Syncs the whole file system; on systems other than Linux, all file systems.
    pub(super) fn sync_all(&self) -> Result<()> {
        self.change_open(Call::SyncAll, At::TOP, || {
            #[cfg(target_os = "linux")]
            rustix::fs::syncfs(&*self.root)?;
            #[cfg(not(target_os = "linux"))]
            rustix::fs::sync();
            Ok(())
        })
    }
}

/// Returns whether an optional call was made: false if it failed with one of the `refusals`.
pub(super) fn allowed(done: Result<()>, refusals: &[Errno]) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if refusals.contains(&error.errno()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets permission bits through a handle that neither reads nor follows: a name could be swapped for
/// a symlink, and a device must not be opened.
fn set_mode_at(dir: &OwnedFd, name: &[u8], mode: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode((mode & 0o7777) as rustix::fs::RawMode);
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        match rustix::fs::chmod(format!("/proc/self/fd/{}", opened.as_raw_fd()), mode) {
            // Without `/proc`, only a file that is open for reading can be changed.
            Err(rustix::io::Errno::NOENT) => {
                let is_dir = sys::stat(&opened)?.kind == FileKind::Dir;
                let open = if is_dir { sys::open_dir } else { sys::open_file };
                Ok(rustix::fs::fchmod(open(dir, name, Access::Read)?, mode)?)
            }
            done => Ok(done?),
        }
    }
    #[cfg(not(target_os = "linux"))]
    Ok(rustix::fs::chmodat(dir, name, mode, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Returns the names and values of the extended attributes; none if they cannot be listed.
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
