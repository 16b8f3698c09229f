//! The errors of a tree that is closed to changes.
//!
//! Linux says `EROFS` at a certain point of each operation, and whatever it finds before comes
//! first: a name that is taken is `EEXIST`, a directory on the way that is missing `ENOENT`. Code
//! such as `mkdir -p` relies on it. The order here is that of `fs/namei.c`; a test compares it with a
//! real read-only mount.

use crate::resolve;
use crate::{
    Create, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, SetTimes, Stat, vfs::Result,
};

/// Opening: answers how to open it instead, where that changes nothing.
pub(crate) fn open<F: Fs + ?Sized>(
    fs: &F,
    dir: &dyn File,
    path: GuestPath<'_>,
    how: &OpenHow,
) -> Result<OpenHow> {
    let creates = how.create != Create::Never;
    let writes = how.write || how.truncate;
    if creates && how.directory {
        return Err(Errno::Inval);
    }
    if !creates && !writes {
        return Ok(how.clone());
    }
    if creates && has_slash(path) {
        parent(fs, dir, path)?;
        return Err(match last(path) {
            Last::Dot | Last::DotDot if how.create == Create::New => Errno::Exist,
            _ => Errno::Isdir,
        });
    }
    if how.create == Create::New {
        return Err(new_name(fs, dir, path, false));
    }
    match fs.stat_at(dir, path, how.follow) {
        Err(Errno::Noent) if creates => {
            parent(fs, dir, path)?;
            Err(Errno::Rofs)
        }
        Err(errno) => Err(errno),
        Ok(stat) => match stat.kind {
            FileKind::Dir => Err(Errno::Isdir),
            _ if how.directory => Err(Errno::Notdir),
            FileKind::Symlink => Err(Errno::Loop),
            FileKind::Special => Err(Errno::Nxio),
            FileKind::File if writes => Err(Errno::Rofs),
            FileKind::File => Ok(OpenHow { create: Create::Never, ..how.clone() }),
        },
    }
}

/// Making something at `path`.
pub(crate) fn new_name<F: Fs + ?Sized>(
    fs: &F,
    dir: &dyn File,
    path: GuestPath<'_>,
    is_dir: bool,
) -> Errno {
    match look(fs, dir, path) {
        Err(errno) => errno,
        Ok(Some(_)) => Errno::Exist,
        // Only a directory may have a slash behind it.
        Ok(None) if has_slash(path) && !is_dir => Errno::Noent,
        Ok(None) => Errno::Rofs,
    }
}

/// Making a symlink.
pub(crate) fn symlink<F: Fs + ?Sized>(
    fs: &F,
    target: &[u8],
    dir: &dyn File,
    path: GuestPath<'_>,
) -> Errno {
    if target.is_empty() { Errno::Noent } else { new_name(fs, dir, path, false) }
}

/// Giving what is at `from` one more name.
pub(crate) fn link<F: Fs + ?Sized>(
    fs: &F,
    (from_dir, from): (&dyn File, GuestPath<'_>),
    follow: Follow,
    (to_dir, to): (&dyn File, GuestPath<'_>),
) -> Errno {
    match fs.stat_at(from_dir, from, follow) {
        Err(errno) => errno,
        Ok(_) => new_name(fs, to_dir, to, false),
    }
}

/// Moving. The entries of the names are not looked at.
pub(crate) fn rename<F: Fs + ?Sized>(
    fs: &F,
    (from_dir, from): (&dyn File, GuestPath<'_>),
    (to_dir, to): (&dyn File, GuestPath<'_>),
) -> Errno {
    for (dir, path) in [(from_dir, from), (to_dir, to)] {
        if let Err(errno) = parent(fs, dir, path) {
            return errno;
        }
    }
    let is_name = |path| matches!(last(path), Last::Name);
    if is_name(from) && is_name(to) { Errno::Rofs } else { Errno::Busy }
}

/// Removing what is no directory.
pub(crate) fn remove_file<F: Fs + ?Sized>(fs: &F, dir: &dyn File, path: GuestPath<'_>) -> Errno {
    match parent(fs, dir, path) {
        Err(errno) => errno,
        Ok(()) => match last(path) {
            Last::Name => Errno::Rofs,
            Last::Dot | Last::DotDot => Errno::Isdir,
        },
    }
}

/// Removing a directory.
pub(crate) fn remove_dir<F: Fs + ?Sized>(fs: &F, dir: &dyn File, path: GuestPath<'_>) -> Errno {
    match parent(fs, dir, path) {
        Err(errno) => errno,
        Ok(()) => match last(path) {
            Last::Name => Errno::Rofs,
            Last::Dot => Errno::Inval,
            Last::DotDot => Errno::Notempty,
        },
    }
}

/// Setting times; to set none of them is no change.
pub(crate) fn set_times<F: Fs + ?Sized>(
    fs: &F,
    dir: &dyn File,
    path: GuestPath<'_>,
    follow: Follow,
    times: SetTimes,
) -> Result<()> {
    if times == SetTimes::default() { Ok(()) } else { Err(set_mode(fs, dir, path, follow)) }
}

/// Setting permission bits.
pub(crate) fn set_mode<F: Fs + ?Sized>(
    fs: &F,
    dir: &dyn File,
    path: GuestPath<'_>,
    follow: Follow,
) -> Errno {
    fs.stat_at(dir, path, follow).map_or_else(|errno| errno, |_| Errno::Rofs)
}

/// Returns the entry at the name itself, if its directory exists.
fn look<F: Fs + ?Sized>(fs: &F, dir: &dyn File, path: GuestPath<'_>) -> Result<Option<Stat>> {
    resolve::check_text(path)?;
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(1, |at| at + 1);
    match fs.stat_at(dir, GuestPath::new(&bytes[..end]), Follow::No) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::Noent) => parent(fs, dir, path).map(|()| None),
        Err(errno) => Err(errno),
    }
}

/// Whether the directory that holds the last component is there.
fn parent<F: Fs + ?Sized>(fs: &F, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
    resolve::check_text(path)?;
    if !matches!(last(path), Last::Name) {
        // It must lead somewhere, and not out of the tree.
        return fs.stat_at(dir, path, Follow::No).map(drop);
    }
    let bytes = trimmed(path);
    match bytes.iter().rposition(|byte| *byte == b'/') {
        // With its slash, which asks for a directory.
        Some(at) => fs.stat_at(dir, GuestPath::new(&bytes[..=at]), Follow::Yes).map(drop),
        None => fs.stat_at(dir, GuestPath::new("."), Follow::Yes).map(drop),
    }
}

enum Last {
    Name,
    Dot,
    DotDot,
}

fn last(path: GuestPath<'_>) -> Last {
    match trimmed(path).rsplit(|byte| *byte == b'/').next() {
        // The top of the host is nothing that could be moved or removed, either.
        None | Some(b"" | b".") => Last::Dot,
        Some(b"..") => Last::DotDot,
        Some(_) => Last::Name,
    }
}

fn has_slash(path: GuestPath<'_>) -> bool {
    path.as_bytes().last() == Some(&b'/')
}

fn trimmed(path: GuestPath<'_>) -> &[u8] {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    &bytes[..end]
}
