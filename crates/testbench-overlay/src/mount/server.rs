//! What a kernel asks of a file system, done on an overlay.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{FileAttr, FileType};

use super::attr;
use super::table::{Extra, Open, Special, Table};
use crate::ops::Access;
use crate::pipeline::{Quota, Usage};
use crate::{
    Create, Errno, File, Follow, Fs, GuestPath, OpenHow, Overlay, Renaming, SetTime, SetTimes, Stat,
};

/// The set-group-id bit: of a directory, what is made in it belongs to its group.
const SET_GID: u32 = 0o2000;

/// How much is copied in one step, so that nobody waits long for a large copy to end.
const COPY_BYTES: usize = 1 << 20;

/// Flags of `fallocate(2)`.
const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const ZERO_RANGE: i32 = 0x10;

#[derive(Debug)]
pub(super) struct Server {
    overlay: Arc<Overlay>,
    table: Mutex<Table>,
}

/// On whose behalf something is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What is to be changed of a file's metadata.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) times: SetTimes,
}

/// How a file is created.
#[derive(Clone, Copy, Debug)]
pub(super) struct Creation {
    pub(super) access: Access,
    pub(super) exclusive: bool,
    pub(super) truncate: bool,
}

/// Which end of a run of data `lseek(2)` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    Data,
    Hole,
}

/// One entry of a listing.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) number: u64,
    pub(super) kind: FileType,
}

impl Server {
    pub(super) fn new(overlay: Arc<Overlay>) -> Result<Server, Errno> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let table = Table::new(overlay.root()?, uid.as_raw(), gid.as_raw())?;
        Ok(Server { overlay, table: Mutex::new(table) })
    }

    /// Never held while the overlay is asked for something.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, number: u64) -> Result<Arc<dyn File>, Errno> {
        self.table().held(number)
    }

    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let held = self.overlay.hold(&*self.held(parent)?, path(name))?;
        let stat = held.stat()?;
        let mut table = self.table();
        let number = table.tell(held, &stat, parent);
        Ok(attr::attr(number, &stat, &table.extra(&stat)))
    }

    pub(super) fn forget(&self, number: u64, times: u64) {
        let forgotten = self.table().forget(number, times);
        if let Some(held) = forgotten {
            let last = held.stat();
            if let Ok(stat) = last
                && stat.nlink == 0
            {
                self.table().drop_extra(&stat);
            }
        }
    }

    pub(super) fn attr(&self, number: u64) -> Result<FileAttr, Errno> {
        let stat = self.held(number)?.stat()?;
        Ok(attr::attr(number, &stat, &self.table().extra(&stat)))
    }

    pub(super) fn set_attr(
        &self,
        number: u64,
        handle: Option<u64>,
        changes: Changes,
    ) -> Result<FileAttr, Errno> {
        let held = self.held(number)?;
        if let Some(size) = changes.size {
            match handle.map(|handle| self.file(handle)).transpose()? {
                Some(file) => file.set_len(size)?,
                None => {
                    let access = Access { read: false, write: true };
                    self.overlay.open_held(&*held, access)?.set_len(size)?;
                }
            }
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            // The time of the change, before the change that the overlay knows nothing of.
            let stat = touch(&*held)?;
            let mut table = self.table();
            let old = table.extra(&stat);
            let (uid, gid) = (changes.uid.unwrap_or(old.uid), changes.gid.unwrap_or(old.gid));
            table.set_extra(&stat, Extra { uid, gid, ..old });
        }
        if let Some(mode) = changes.mode {
            held.set_mode(mode & 0o7777)?;
        }
        let Changes { mode, uid, gid, size, times } = changes;
        let nothing = mode.is_none() && uid.is_none() && gid.is_none() && size.is_none();
        if times != SetTimes::default() {
            held.set_times(times)?;
        } else if nothing {
            touch(&*held)?;
        }
        self.attr(number)
    }

    pub(super) fn read_link(&self, number: u64) -> Result<Vec<u8>, Errno> {
        self.overlay.read_held_link(&*self.held(number)?)
    }

    pub(super) fn make_dir(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        let dir = self.held(parent)?;
        self.overlay.create_dir_at(&*dir, path(name), mode)?;
        let made = self.own(caller, &*dir, name, None)?;
        if dir.stat()?.mode & SET_GID != 0 {
            made.set_mode(made.stat()?.mode | SET_GID)?;
        }
        self.lookup(parent, name)
    }

    /// Makes a file that is not opened.
    pub(super) fn make_node(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        rdev: u32,
    ) -> Result<FileAttr, Errno> {
        let dir = self.held(parent)?;
        let special = attr::special_type(mode).map(|kind| Special { kind, rdev });
        match special {
            Some(_) => self.overlay.make_special(&*dir, path(name), mode & 0o7777)?,
            None => {
                let unread = new_file(mode, Access { read: false, write: true });
                drop(self.overlay.open_at(&*dir, path(name), &unread)?);
            }
        }
        self.own(caller, &*dir, name, special)?;
        self.lookup(parent, name)
    }

    pub(super) fn symlink(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        target: &[u8],
    ) -> Result<FileAttr, Errno> {
        let dir = self.held(parent)?;
        self.overlay.symlink_at(target, &*dir, path(name))?;
        self.own(caller, &*dir, name, None)?;
        self.lookup(parent, name)
    }

    /// Makes a file and opens it; answers a handle with it. Whoever makes a file has the access that is
    /// asked for, whatever the mode forbids from then on. The kernel has looked and seen nothing; if
    /// somebody else has made one meanwhile, that is opened as it would have been.
    pub(super) fn create(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        how: Creation,
    ) -> Result<(FileAttr, u64), Errno> {
        let dir = self.held(parent)?;
        let made = match self.overlay.open_at(&*dir, path(name), &new_file(mode, how.access)) {
            Ok(made) => {
                self.own(caller, &*dir, name, None)?;
                Some(made)
            }
            Err(Errno::Exist) if !how.exclusive => None,
            Err(errno) => return Err(errno),
        };
        let attr = self.lookup(parent, name)?;
        let number = attr.ino.0;
        let open_existing = || {
            let handle = self.open_as(number, how.access)?;
            if how.truncate {
                self.file(handle)?.set_len(0)?;
            }
            Ok(handle)
        };
        let handle = match made {
            Some(made) => Ok(self.table().open(Open::File(made))),
            None => open_existing(),
        };
        let opened = handle.and_then(|handle| Ok((self.attr(number)?, handle)));
        opened.inspect_err(|_| self.forget(number, 1))
    }

    /// Notes to whom something belongs that was just made in a directory.
    fn own(
        &self,
        caller: Caller,
        dir: &dyn File,
        name: &OsStr,
        special: Option<Special>,
    ) -> Result<Arc<dyn File>, Errno> {
        let above = dir.stat()?;
        let made = self.overlay.hold(dir, path(name))?;
        let stat = made.stat()?;
        let mut table = self.table();
        let gid = match above.mode & SET_GID != 0 {
            true => table.extra(&above).gid,
            false => caller.gid,
        };
        table.set_extra(&stat, Extra { uid: caller.uid, gid, special });
        drop(table);
        Ok(made)
    }

    pub(super) fn link(&self, number: u64, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let (held, dir) = (self.held(number)?, self.held(parent)?);
        self.overlay.link_held(&*held, &*dir, path(name))?;
        self.lookup(parent, name)
    }

    pub(super) fn remove_file(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.overlay.remove_file_at(&*self.held(parent)?, path(name))
    }

    pub(super) fn remove_dir(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.overlay.remove_dir_at(&*self.held(parent)?, path(name))
    }

    pub(super) fn rename(
        &self,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        how: Renaming,
    ) -> Result<(), Errno> {
        let (from, to) = (self.held(parent)?, self.held(new_parent)?);
        self.overlay.rename_with(&*from, path(name), &*to, path(new_name), how)
    }

    pub(super) fn open_as(&self, number: u64, access: Access) -> Result<u64, Errno> {
        let held = self.held(number)?;
        let file = self.overlay.open_held(&*held, access)?;
        Ok(self.table().open(Open::File(file)))
    }

    /// Opens a directory. What is in it is read when it is first listed.
    pub(super) fn open_dir(&self, number: u64) -> Result<u64, Errno> {
        let held = self.held(number)?;
        let dir = self.overlay.open_held(&*held, Access { read: true, write: false })?;
        Ok(self.table().open(Open::Dir(dir, None)))
    }

    /// What is in a directory from one position on, as it was when it was last listed from its
    /// beginning. The kernel asks for a large directory in many pieces, so each entry is made when
    /// it is taken.
    pub(super) fn list(
        &self,
        number: u64,
        handle: u64,
        from: u64,
    ) -> Result<impl Iterator<Item = Listed> + '_, Errno> {
        let opened = self.table().opened(handle)?;
        let Open::Dir(dir, kept) = &*opened else { return Err(Errno::Notdir) };
        let entries = match kept {
            Some(entries) if from > 0 => entries.clone(),
            _ => {
                let entries = Arc::new(dir.read_dir()?);
                self.table().reopen(handle, Open::Dir(dir.clone(), Some(entries.clone())));
                entries
            }
        };
        let dev = dir.stat()?.dev;
        let dots = [(&b"."[..], number), (b"..", self.table().parent(number))];
        let dots = dots.map(|(name, number)| Listed {
            name: name.to_vec(),
            number,
            kind: FileType::Directory,
        });
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let behind_dots = from.saturating_sub(dots.len());
        let listed = (behind_dots..entries.len()).map(move |at| {
            let entry = &entries[at];
            Listed {
                name: entry.name.to_vec(),
                number: self.table().number((dev, entry.ino)),
                kind: attr::file_type(entry.kind),
            }
        });
        Ok(dots.into_iter().skip(from).chain(listed))
    }

    pub(super) fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let file = self.file(handle)?;
        let mut bytes = vec![0; len];
        let mut done = 0;
        // The kernel takes less than it wants for the end of the file.
        while done < len {
            match file.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    pub(super) fn write(
        &self,
        handle: u64,
        offset: u64,
        bytes: &[u8],
        append: bool,
    ) -> Result<usize, Errno> {
        let file = self.file(handle)?;
        match append {
            true => file.append(bytes).map(|(written, _)| written),
            false => file.write_at(bytes, offset),
        }
    }

    pub(super) fn sync(&self, handle: u64, data_only: bool) -> Result<(), Errno> {
        match &*self.table().opened(handle)? {
            Open::File(file) | Open::Dir(file, _) => file.sync(data_only),
        }
    }

    pub(super) fn close(&self, handle: u64) {
        let closed = self.table().close(handle);
        drop(closed);
    }

    /// `fallocate(2)`. A hole that is punched is filled with zeros.
    pub(super) fn allocate(
        &self,
        handle: u64,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> Result<(), Errno> {
        let file = self.file(handle)?;
        let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
        match mode {
            0 => file.allocate(offset, len),
            KEEP_SIZE => Ok(()),
            ZERO_RANGE => {
                zero(&*file, offset, end)?;
                file.allocate(offset, len)
            }
            _ if mode == ZERO_RANGE | KEEP_SIZE || mode == PUNCH_HOLE | KEEP_SIZE => {
                zero(&*file, offset, end)
            }
            _ => Err(Errno::Notsup),
        }
    }

    pub(super) fn seek(&self, handle: u64, offset: u64, what: Seek) -> Result<u64, Errno> {
        let file = self.file(handle)?;
        let size = file.stat()?.size;
        if offset >= size {
            return Err(Errno::Nxio);
        }
        if what == Seek::Data {
            let data = file.next_data(offset)?.ok_or(Errno::Nxio)?;
            return Ok(data.start.max(offset));
        }
        let mut at = offset;
        while let Some(data) = file.next_data(at)?
            && data.start <= at
        {
            at = data.end;
        }
        Ok(at.min(size))
    }

    /// Copies at most `len` bytes, and answers how many.
    pub(super) fn copy(
        &self,
        (from, from_offset): (u64, u64),
        (to, to_offset): (u64, u64),
        len: u64,
    ) -> Result<usize, Errno> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(COPY_BYTES);
        let bytes = self.read(from, from_offset, len)?;
        match bytes.is_empty() {
            true => Ok(0),
            false => self.write(to, to_offset, &bytes, false),
        }
    }

    pub(super) fn usage(&self) -> (Quota, Usage) {
        (self.overlay.core.config.quota, self.overlay.usage())
    }

    fn file(&self, handle: u64) -> Result<Arc<dyn File>, Errno> {
        match &*self.table().opened(handle)? {
            Open::File(file) => Ok(file.clone()),
            Open::Dir(..) => Err(Errno::Isdir),
        }
    }
}

/// Writes zeros between two offsets, as far as the file goes and where there is anything else.
fn zero(file: &dyn File, offset: u64, end: u64) -> Result<(), Errno> {
    let end = end.min(file.stat()?.size);
    let zeros = vec![0; COPY_BYTES];
    let mut at = offset;
    while at < end {
        let Some(data) = file.next_data(at)? else { return Ok(()) };
        at = data.start.max(at);
        let len = data.end.min(end).saturating_sub(at).min(COPY_BYTES as u64) as usize;
        if len == 0 {
            return Ok(());
        }
        at += file.write_at(&zeros[..len], at)? as u64;
    }
    Ok(())
}

/// Moves the time of the change and nothing else, answering what was there.
fn touch(file: &dyn File) -> Result<Stat, Errno> {
    let stat = file.stat()?;
    file.set_times(SetTimes { atime: Some(SetTime::At(stat.atime)), ..SetTimes::default() })?;
    Ok(stat)
}

fn path(name: &OsStr) -> GuestPath<'_> {
    GuestPath::new(name.as_bytes())
}

fn new_file(mode: u32, access: Access) -> OpenHow {
    OpenHow {
        read: access.read,
        write: access.write,
        create: Create::New,
        follow: Follow::No,
        mode: mode & 0o7777,
        ..OpenHow::READ
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::table::TOP;
    use super::*;

    #[test]
    fn a_directory_that_is_listed_in_pieces_costs_about_as_much_as_in_one() {
        const FILES: u64 = 5_000;
        let lower = tempfile::tempdir().unwrap();
        for n in 0..FILES {
            std::fs::write(lower.path().join(n.to_string()), "").unwrap();
        }
        let server = Server::new(Overlay::new(lower.path()).unwrap()).unwrap();
        let dir = server.open_dir(TOP).unwrap();
        let whole = || server.list(TOP, dir, 0).unwrap().count() as u64;
        let by_one = || (0..).map_while(|at| server.list(TOP, dir, at).unwrap().next()).count();
        let timed = |count: &dyn Fn() -> u64| -> Duration {
            let start = Instant::now();
            assert_eq!(count(), FILES + 2, "with the dots");
            start.elapsed()
        };
        timed(&whole); // looks at the disk, once
        let (in_one, in_pieces) = (timed(&whole), timed(&|| by_one() as u64));
        // Each piece could be as large as all the rest: that would be 2,500 times as much.
        assert!(in_pieces < 100 * in_one, "{in_pieces:?} and {in_one:?}");
    }
}
