//! [`Server`]: the requests of the kernel, done on an overlay.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{FileAttr, FileType};

use testbench_overlay::pipeline::{Quota, Usage};
use testbench_overlay::{
    Create, Errno, File, FileKind, Fs, GuestPath, InodeHandle, OpenHow, Overlay, Renaming, SetTime,
    SetTimes, Stat,
};

use crate::attr;
use crate::table::{Extra, Opened, SpecialFile, Table, id_of};

/// The set-group-id bit.
const SET_GID: u32 = 0o2000;

/// The most that one request copies, so that no other waits long for a large copy.
const COPY_BYTES: usize = 1 << 20;

/// Flags of `fallocate(2)`.
const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const ZERO_RANGE: i32 = 0x10;

#[derive(Debug)]
pub(crate) struct Server {
    overlay: Arc<Overlay>,
    table: Mutex<Table>,
}

/// The user on whose behalf a request is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The metadata of an inode that is to be changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SetAttr {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) times: SetTimes,
}

/// One entry of a listing.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) number: u64,
    pub(crate) kind: FileType,
}

impl Server {
    pub(crate) fn new(overlay: Arc<Overlay>) -> Result<Server, Errno> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let top = overlay.inode_at(&*overlay.root()?, GuestPath::new("."))?;
        let table = Table::new(top, uid.as_raw(), gid.as_raw())?;
        Ok(Server { overlay, table: Mutex::new(table) })
    }

    /// The lock is never held during an operation of the overlay.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inode(&self, number: u64) -> Result<InodeHandle, Errno> {
        self.table().inode(number)
    }

    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let inode = self.overlay.inode_at(&*self.inode(parent)?, path(name))?;
        let stat = inode.stat()?;
        let mut table = self.table();
        let number = table.tell(inode, &stat, parent);
        Ok(attr::attr(number, &stat, &table.extra(id_of(&stat))))
    }

    pub(crate) fn forget(&self, number: u64, times: u64) {
        let forgotten = self.table().forget(number, times);
        if let Some(inode) = forgotten
            && let Ok(stat) = inode.stat()
            && stat.nlink == 0
        {
            self.table().drop_extra(id_of(&stat));
        }
    }

    pub(crate) fn attr(&self, number: u64) -> Result<FileAttr, Errno> {
        let stat = self.inode(number)?.stat()?;
        Ok(attr::attr(number, &stat, &self.table().extra(id_of(&stat))))
    }

    pub(crate) fn set_attr(
        &self,
        number: u64,
        handle: Option<u64>,
        changes: SetAttr,
    ) -> Result<FileAttr, Errno> {
        let inode = self.inode(number)?;
        if let Some(size) = changes.size {
            let file = match handle {
                Some(handle) => self.file(handle)?,
                None => inode.open(&OpenHow { read: false, write: true, ..OpenHow::READ })?,
            };
            file.set_len(size)?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            // Only the time of the change is the overlay's; the owner is ours.
            let id = id_of(&touch(&*inode)?);
            let mut table = self.table();
            let old = table.extra(id);
            let (uid, gid) = (changes.uid.unwrap_or(old.uid), changes.gid.unwrap_or(old.gid));
            table.set_extra(id, Extra { uid, gid, ..old });
        }
        if let Some(mode) = changes.mode {
            inode.set_mode(mode & 0o7777)?;
        }
        let SetAttr { mode, uid, gid, size, times } = changes;
        let nothing = mode.is_none() && uid.is_none() && gid.is_none() && size.is_none();
        if times != SetTimes::default() {
            inode.set_times(times)?;
        } else if nothing {
            touch(&*inode)?;
        }
        self.attr(number)
    }

    pub(crate) fn read_link(&self, number: u64) -> Result<Vec<u8>, Errno> {
        self.inode(number)?.read_link()
    }

    pub(crate) fn make_dir(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        self.overlay.create_dir_at(&*self.inode(parent)?, path(name), mode)?;
        self.made(caller, parent, name, None)
    }

    /// Makes a file without opening it. A special file is an empty one in the overlay; its kind is
    /// the mount's.
    pub(crate) fn make_node(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        rdev: u32,
    ) -> Result<FileAttr, Errno> {
        let how =
            OpenHow { write: true, create: Create::New, mode: mode & 0o7777, ..OpenHow::READ };
        drop(self.overlay.open_at(&*self.inode(parent)?, path(name), &how)?);
        let special = attr::special_type(mode).map(|kind| SpecialFile { kind, rdev });
        self.made(caller, parent, name, special)
    }

    pub(crate) fn symlink(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        target: &[u8],
    ) -> Result<FileAttr, Errno> {
        self.overlay.symlink_at(target, &*self.inode(parent)?, path(name))?;
        self.made(caller, parent, name, None)
    }

    /// Makes a file and opens it; returns a handle too. The maker gets the access that `how` asks for, whatever
    /// mode the file has. The kernel has found no such name before; a file that was made by
    /// other ways meanwhile is opened, unless `how` wants a new one.
    pub(crate) fn create(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        how: &OpenHow,
    ) -> Result<(FileAttr, u64), Errno> {
        let new = OpenHow { create: Create::New, truncate: false, ..how.clone() };
        let (attr, file) = match self.overlay.open_at(&*self.inode(parent)?, path(name), &new) {
            Ok(made) => (self.made(caller, parent, name, None)?, Ok(made)),
            Err(Errno::Exist) if how.create != Create::New => {
                let attr = self.lookup(parent, name)?;
                (attr, self.inode(attr.ino.0).and_then(|inode| inode.open(how)))
            }
            Err(errno) => return Err(errno),
        };
        let number = attr.ino.0;
        let opened = file.and_then(|file| {
            let attr = self.attr(number)?;
            Ok((attr, self.table().open(Opened::File(file))))
        });
        opened.inspect_err(|_| self.forget(number, 1))
    }

    /// Looks up an inode that was just made, and sets its owner. In a directory with the set-group-id bit
    /// it belongs to the directory's group, and a directory gets the bit too.
    fn made(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        special: Option<SpecialFile>,
    ) -> Result<FileAttr, Errno> {
        let dir = self.inode(parent)?;
        let above = dir.stat()?;
        let inherits = above.mode & SET_GID != 0;
        let inode = self.overlay.inode_at(&*dir, path(name))?;
        let stat = inode.stat()?;
        if inherits && stat.kind == FileKind::Dir {
            inode.set_mode(stat.mode | SET_GID)?;
        }
        {
            let mut table = self.table();
            let gid = if inherits { table.extra(id_of(&above)).gid } else { caller.gid };
            table.set_extra(id_of(&stat), Extra { uid: caller.uid, gid, special });
        }
        self.lookup(parent, name)
    }

    pub(crate) fn link(&self, number: u64, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let (inode, dir) = (self.inode(number)?, self.inode(parent)?);
        inode.link(&*dir, path(name))?;
        self.lookup(parent, name)
    }

    pub(crate) fn remove_file(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.overlay.remove_file_at(&*self.inode(parent)?, path(name))
    }

    pub(crate) fn remove_dir(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.overlay.remove_dir_at(&*self.inode(parent)?, path(name))
    }

    pub(crate) fn rename(
        &self,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        how: Renaming,
    ) -> Result<(), Errno> {
        let (from, to) = (self.inode(parent)?, self.inode(new_parent)?);
        self.overlay.rename_with(&*from, path(name), &*to, path(new_name), how)
    }

    pub(crate) fn open_as(&self, number: u64, how: &OpenHow) -> Result<u64, Errno> {
        let file = self.inode(number)?.open(how)?;
        Ok(self.table().open(Opened::File(file)))
    }

    /// Opens a directory. Its entries are read when it is first listed.
    pub(crate) fn open_dir(&self, number: u64) -> Result<u64, Errno> {
        let dir = self.inode(number)?.open(&OpenHow::READ)?;
        Ok(self.table().open(Opened::Dir(dir, None)))
    }

    /// Lists a directory from one position on, as it was when it was last listed from its beginning.
    /// The kernel asks for a large directory in many pieces, so each entry is made when it is
    /// taken.
    pub(crate) fn list(
        &self,
        number: u64,
        handle: u64,
        from: u64,
    ) -> Result<impl Iterator<Item = Listed> + '_, Errno> {
        let opened = self.table().opened(handle)?;
        let Opened::Dir(dir, kept) = &*opened else { return Err(Errno::Notdir) };
        let entries = match kept {
            Some(entries) if from > 0 => entries.clone(),
            _ => {
                let entries = Arc::new(dir.read_dir()?);
                self.table().reopen(handle, Opened::Dir(dir.clone(), Some(entries.clone())));
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
            let (entry, table) = (&entries[at], self.table());
            let id = (dev, entry.ino);
            Listed {
                name: entry.name.to_vec(),
                number: table.number(id),
                kind: table.extra(id).kind(entry.kind),
            }
        });
        Ok(dots.into_iter().skip(from).chain(listed))
    }

    pub(crate) fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let file = self.file(handle)?;
        let mut bytes = vec![0; len];
        let mut done = 0;
        // The kernel takes a short read for the end of the file.
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

    pub(crate) fn write(
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

    pub(crate) fn sync(&self, handle: u64, data_only: bool) -> Result<(), Errno> {
        match &*self.table().opened(handle)? {
            Opened::File(file) | Opened::Dir(file, _) => file.sync(data_only),
        }
    }

    pub(crate) fn close(&self, handle: u64) {
        let closed = self.table().close(handle);
        drop(closed);
    }

    /// `fallocate(2)`. A hole that is punched is filled with zeros.
    pub(crate) fn allocate(
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

    /// Returns where the next data at or after `offset` begins.
    pub(crate) fn next_data(&self, handle: u64, offset: u64) -> Result<u64, Errno> {
        let data = self.file(handle)?.next_data(offset)?.ok_or(Errno::Nxio)?;
        Ok(data.start.max(offset))
    }

    /// Returns where the next hole at or after `offset` begins; the end of the file counts as one.
    pub(crate) fn next_hole(&self, handle: u64, offset: u64) -> Result<u64, Errno> {
        let file = self.file(handle)?;
        let size = file.stat()?.size;
        if offset >= size {
            return Err(Errno::Nxio);
        }
        let mut at = offset;
        while let Some(data) = file.next_data(at)?
            && data.start <= at
        {
            at = data.end;
        }
        Ok(at.min(size))
    }

    /// Copies at most `len` bytes, and returns how many.
    pub(crate) fn copy(
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

    pub(crate) fn usage(&self) -> (Quota, Usage) {
        (self.overlay.quota(), self.overlay.usage())
    }

    fn file(&self, handle: u64) -> Result<Arc<dyn File>, Errno> {
        match &*self.table().opened(handle)? {
            Opened::File(file) => Ok(file.clone()),
            Opened::Dir(..) => Err(Errno::Isdir),
        }
    }
}

/// Overwrites the data between two offsets with zeros, up to the end of the file.
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

/// Sets the time of the change to now and nothing else, and returns the metadata before.
fn touch(file: &dyn File) -> Result<Stat, Errno> {
    let stat = file.stat()?;
    file.set_times(SetTimes { atime: Some(SetTime::At(stat.atime)), ..SetTimes::default() })?;
    Ok(stat)
}

fn path(name: &OsStr) -> GuestPath<'_> {
    GuestPath::new(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::table::TOP;

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
