//! Paths below a directory.

use std::sync::Arc;

use testbench_overlay::{Create, Errno, FileKind, OpenHow};

use super::call::Call;
use super::file::set_times;
use super::types::{Buf, Filestat, FstFlags, LookupFlags, OFlags, OpenRights, Path};
use crate::kernel::{Directory, Entry, FdFlags, Open, Result, Rights};

/// The permission bits of new files and directories; WASI has none, and no umask.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

pub(super) fn create_directory(cx: &mut Call<'_>, fd: u32, path: Path) -> Result<()> {
    let dir = directory(cx, fd, Rights::PATH_CREATE_DIRECTORY)?;
    Ok(dir.fs.create_dir_at(&*dir.file, path.as_guest(), DIRECTORY_MODE)?)
}

pub(super) fn filestat_get(
    cx: &mut Call<'_>,
    fd: u32,
    flags: LookupFlags,
    path: Path,
) -> Result<Filestat> {
    let dir = directory(cx, fd, Rights::PATH_FILESTAT_GET)?;
    Ok(dir.fs.stat_at(&*dir.file, path.as_guest(), flags.follow())?.into())
}

pub(super) fn filestat_set_times(
    cx: &mut Call<'_>,
    fd: u32,
    flags: LookupFlags,
    path: Path,
    atim: u64,
    mtim: u64,
    fst_flags: FstFlags,
) -> Result<()> {
    let times = set_times(atim, mtim, fst_flags)?;
    let dir = directory(cx, fd, Rights::PATH_FILESTAT_SET_TIMES)?;
    Ok(dir.fs.set_times_at(&*dir.file, path.as_guest(), flags.follow(), times)?)
}

pub(super) fn link(
    cx: &mut Call<'_>,
    old_fd: u32,
    old_flags: LookupFlags,
    old_path: Path,
    new_fd: u32,
    new_path: Path,
) -> Result<()> {
    let from = directory(cx, old_fd, Rights::PATH_LINK_SOURCE)?;
    let to = directory(cx, new_fd, Rights::PATH_LINK_TARGET)?;
    same_tree(&from, &to)?;
    let (old, new) = (old_path.as_guest(), new_path.as_guest());
    Ok(from.fs.link_at(&*from.file, old, old_flags.follow(), &*to.file, new)?)
}

pub(super) fn open(
    cx: &mut Call<'_>,
    fd: u32,
    dirflags: LookupFlags,
    path: Path,
    oflags: OFlags,
    rights: OpenRights,
    fdflags: FdFlags,
) -> Result<u32> {
    // The parent's inheriting rights are passed on; see `kernel/rights.rs`.
    let base = rights.base;
    let parent = cx.process.entry(fd)?;
    let dir = parent.open.directory()?;
    parent.need(needed_to_open(oflags))?;
    let wanted = base & (Rights::FD_READ | Rights::FD_WRITE);
    if !parent.inheriting.contains(wanted) {
        return Err(Errno::NotCapable.into());
    }
    let how = open_how(dirflags, oflags, base)?;
    // Before anything is created or cut off.
    cx.process.check_room()?;
    let file = dir.fs.open_at(&*dir.file, path.as_guest(), &how)?;
    let open = match file.stat()?.kind {
        // How bytes are read and written says nothing about a directory.
        FileKind::Dir => Open::dir(Arc::clone(&dir.fs), file),
        _ => {
            let reads = base.contains(Rights::FD_READ);
            Open::file(file, reads, base.contains(Rights::FD_WRITE), fdflags)
        }
    };
    let mut entry = Entry::new(Arc::new(open));
    entry.base &= parent.inheriting;
    entry.inheriting &= parent.inheriting;
    Ok(cx.process.push(entry)?)
}

pub(super) fn readlink(cx: &mut Call<'_>, fd: u32, path: Path, buf: Buf) -> Result<u32> {
    let dir = directory(cx, fd, Rights::PATH_READLINK)?;
    let target = dir.fs.read_link_at(&*dir.file, path.as_guest())?;
    let n = target.len().min(buf.len as usize);
    cx.charge_bytes(n)?;
    cx.mem.put(buf.at, &target[..n])?;
    Ok(n as u32)
}

pub(super) fn remove_directory(cx: &mut Call<'_>, fd: u32, path: Path) -> Result<()> {
    let dir = directory(cx, fd, Rights::PATH_REMOVE_DIRECTORY)?;
    Ok(dir.fs.remove_dir_at(&*dir.file, path.as_guest())?)
}

pub(super) fn rename(
    cx: &mut Call<'_>,
    fd: u32,
    old_path: Path,
    new_fd: u32,
    new_path: Path,
) -> Result<()> {
    let from = directory(cx, fd, Rights::PATH_RENAME_SOURCE)?;
    let to = directory(cx, new_fd, Rights::PATH_RENAME_TARGET)?;
    same_tree(&from, &to)?;
    Ok(from.fs.rename_at(&*from.file, old_path.as_guest(), &*to.file, new_path.as_guest())?)
}

pub(super) fn symlink(cx: &mut Call<'_>, old_path: Path, fd: u32, new_path: Path) -> Result<()> {
    let dir = directory(cx, fd, Rights::PATH_SYMLINK)?;
    if old_path.as_bytes().is_empty() {
        return Err(Errno::Noent.into());
    }
    // A guest has no root that an absolute path could begin at.
    if old_path.as_guest().is_absolute() {
        return Err(Errno::NotCapable.into());
    }
    Ok(dir.fs.symlink_at(old_path.as_bytes(), &*dir.file, new_path.as_guest())?)
}

pub(super) fn unlink_file(cx: &mut Call<'_>, fd: u32, path: Path) -> Result<()> {
    let dir = directory(cx, fd, Rights::PATH_UNLINK_FILE)?;
    Ok(dir.fs.remove_file_at(&*dir.file, path.as_guest())?)
}

/// Translates the guest's way of opening to the tree's.
fn open_how(dirflags: LookupFlags, oflags: OFlags, base: Rights) -> Result<OpenHow, Errno> {
    let directory = oflags.contains(OFlags::DIRECTORY);
    if directory && oflags.intersects(OFlags::CREAT | OFlags::EXCL | OFlags::TRUNC) {
        return Err(Errno::Inval);
    }
    let truncate = oflags.contains(OFlags::TRUNC);
    let write = base.contains(Rights::FD_WRITE);
    Ok(OpenHow {
        // Without either there is still a descriptor to be had, for its metadata.
        read: base.contains(Rights::FD_READ) || !write,
        write: write || truncate,
        truncate,
        create: match (oflags.contains(OFlags::CREAT), oflags.contains(OFlags::EXCL)) {
            (true, true) => Create::New,
            (true, false) => Create::IfMissing,
            (false, _) => Create::Never,
        },
        directory,
        follow: dirflags.follow(),
        mode: FILE_MODE,
    })
}

/// The rights of a directory that this way of opening below it needs.
fn needed_to_open(oflags: OFlags) -> Rights {
    let mut needed = Rights::PATH_OPEN;
    if oflags.contains(OFlags::CREAT) {
        needed |= Rights::PATH_CREATE_FILE;
    }
    if oflags.contains(OFlags::TRUNC) {
        needed |= Rights::PATH_FILESTAT_SET_SIZE;
    }
    needed
}

/// The directory behind a descriptor.
fn directory(cx: &Call<'_>, fd: u32, right: Rights) -> Result<Arc<Directory>, Errno> {
    cx.process.open_as(fd, |open| open.directory(), right)
}

/// Fails unless both directories are of one tree: files cannot move from one tree to another.
fn same_tree(a: &Directory, b: &Directory) -> Result<(), Errno> {
    if std::ptr::addr_eq(Arc::as_ptr(&a.fs), Arc::as_ptr(&b.fs)) {
        Ok(())
    } else {
        Err(Errno::Xdev)
    }
}
