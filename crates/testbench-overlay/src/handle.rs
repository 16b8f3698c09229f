//! Open files and directories of an overlay, and what happens to bytes.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::lower::base::Base;
use crate::lower::observe::Origin;
use crate::ops::core::{Core, Tx};
use crate::pipeline::StagedFile;
use crate::upper::content::{Content, ReadBase};
use crate::upper::inode::{Ino, Inode, Node};
use crate::upper::quota::Room;
use crate::vfs::Result;
use crate::{DirEntry, Errno, File, SetTime, SetTimes, Stat};

/// An open file or directory of one overlay.
pub(crate) struct Handle {
    core: Arc<Core>,
    ino: Ino,
    read: bool,
    write: bool,
    base: Base,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { ino, read, write, .. } = self;
        f.debug_struct("Handle")
            .field("ino", ino)
            .field("read", read)
            .field("write", write)
            .finish()
    }
}

impl Handle {
    /// A handle counts as open until it drops.
    pub(crate) fn new(
        core: &Arc<Core>,
        tx: &mut Tx<'_>,
        ino: Ino,
        read: bool,
        write: bool,
    ) -> Handle {
        *tx.live.opens.entry(ino).or_insert(0) += 1;
        Handle { core: core.clone(), ino, read, write, base: Base::by_path() }
    }

    /// The inode of a handle, if it is one of `core`'s.
    pub(crate) fn ino_in(file: &dyn File, core: &Arc<Core>) -> Result<Ino> {
        match (StagedFile::own_in(file, core)? as &dyn Any).downcast_ref::<Handle>() {
            Some(handle) if Arc::ptr_eq(&handle.core, core) => Ok(handle.ino),
            _ => Err(Errno::Xdev),
        }
    }

    /// Whether a rollback went back to where what a handle of `core` is open on is not.
    pub(crate) fn is_undone(file: &dyn File, core: &Arc<Core>) -> bool {
        Handle::ino_in(file, core).is_ok_and(|ino| core.tx().live.state.inode(ino).is_err())
    }

    /// Makes `target` share the blocks of the lower file, if this one is still what that was and the
    /// file system can do it; else does nothing.
    pub(crate) fn clone_unchanged(&self, target: &dyn File) -> bool {
        let Ok(inode) = self.core.tx().live.state.inode(self.ino).cloned() else { return false };
        match (&inode.node, inode.origin.as_deref()) {
            (Node::File(content), Some(origin)) if content.is_base(origin.seen.stamp.size) => {
                self.base.clone_into(&self.core.lower, origin, target)
            }
            _ => false,
        }
    }

    fn writable(&self) -> Result<()> {
        if self.write { Ok(()) } else { Err(Errno::Badf) }
    }

    /// Changes the content and its times.
    fn change<R>(
        &self,
        tx: &mut Tx<'_>,
        change: impl FnOnce(&mut Content, &mut Room, ReadBase<'_>) -> Result<R>,
    ) -> Result<R> {
        let origin = tx.live.state.inode(self.ino)?.origin.clone();
        let mut base =
            |buf: &mut [u8], at: u64| self.base.read(&self.core.lower, origin.as_deref(), buf, at);
        tx.change(self.ino, |content, room| change(content, room, &mut base))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut tx = self.core.tx();
        let Some(count) = tx.live.opens.get_mut(&self.ino) else { return };
        *count -= 1;
        if *count == 0 {
            tx.live.opens.remove(&self.ino);
            if tx.live.state.orphans.contains_key(&self.ino) {
                tx.live.state.forget(self.ino);
            }
        }
    }
}

impl File for Handle {
    fn stat(&self) -> Result<Stat> {
        self.core.tx().live.state.inode(self.ino).map(|inode| inode.stat(self.ino))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        // With the inode in hand, the bytes are read without the lock.
        let inode = self.core.tx().live.state.inode(self.ino)?.clone();
        if inode.kind() == crate::FileKind::Dir {
            return Err(Errno::Isdir);
        }
        if !self.read {
            return Err(Errno::Badf);
        }
        let mut base = |buf: &mut [u8], at: u64| {
            self.base.read(&self.core.lower, inode.origin.as_deref(), buf, at)
        };
        content(&inode)?.read_at(buf, offset, &mut base)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.writable()?;
        // Nothing is written, so nothing changes: neither a time nor a lower file.
        if buf.is_empty() {
            return Ok(0);
        }
        self.change(&mut self.core.tx(), |content, room, base| {
            content.write_at(buf, offset, room, base)
        })
    }

    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        self.writable()?;
        if buf.is_empty() {
            return Ok((0, self.core.tx().live.state.inode(self.ino)?.size()));
        }
        self.change(&mut self.core.tx(), |content, room, base| {
            let end = content.len();
            let written = content.write_at(buf, end, room, base)?;
            Ok((written, end + written as u64))
        })
    }

    fn set_len(&self, len: u64) -> Result<()> {
        // `ftruncate` reports a read-only descriptor as EINVAL, not as EBADF.
        self.writable().map_err(|_| Errno::Inval)?;
        self.core.tx().set_len(self.ino, len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Err(Errno::Inval);
        }
        self.writable()?;
        let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
        let mut tx = self.core.tx();
        if tx.live.state.inode(self.ino)?.size() < end { tx.set_len(self.ino, end) } else { Ok(()) }
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        let inode = self.core.tx().live.state.inode(self.ino)?.clone();
        let content = content(&inode)?;
        let mut at = offset;
        while let Some(data) = content.next_data(at) {
            if !content.is_from_base(data.start) {
                return Ok(Some(data));
            }
            // What is a hole beneath is one here.
            let origin = inode.origin.as_deref().ok_or(Errno::Io)?;
            let file = self.base.open(&self.core.lower, origin)?;
            match file.next_data(data.start)? {
                Some(there) if there.start < data.end => {
                    return Ok(Some(there.start..there.end.min(data.end)));
                }
                _ => at = data.end,
            }
        }
        Ok(None)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.core.tx().set_times(self.ino, times)
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.core.tx().set_mode(self.ino, mode)
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        let mut tx = self.core.tx();
        tx.live.state.dir(self.ino)?;
        if !self.read {
            return Err(Errno::Badf);
        }
        tx.list(self.ino)
    }
}

impl Tx<'_> {
    /// Changes the content of a file; if that fails, nothing else changes.
    fn change<R>(
        &mut self,
        ino: Ino,
        change: impl FnOnce(&mut Content, &mut Room) -> Result<R>,
    ) -> Result<R> {
        content(self.live.state.inode(ino)?)?;
        let now = self.now();
        self.pin(ino)?;
        let usage = self.live.state.usage;
        let mut room = usage.room(&self.core.config.quota, &self.core.store);
        let inode = self.live.state.inode_mut(ino)?;
        let Node::File(content) = &mut inode.node else { return Err(Errno::Inval) };
        let before = content.held_bytes();
        let done = change(content, &mut room);
        let after = content.held_bytes();
        if done.is_ok() {
            inode.touch(now);
            if !self.as_root {
                inode.meta.mode = without_set_id(inode.meta.mode);
            }
        }
        self.live.state.usage.bytes = usage.bytes + after - before;
        done
    }

    pub(crate) fn set_len(&mut self, ino: Ino, len: u64) -> Result<()> {
        self.change(ino, |content, room| content.set_len(len, room))
    }

    pub(crate) fn set_times(&mut self, ino: Ino, times: SetTimes) -> Result<()> {
        // As on Linux, not even the time of the change moves.
        if times == SetTimes::default() {
            return self.live.state.inode(ino).map(drop);
        }
        let now = self.now();
        self.pin(ino)?;
        let meta = &mut self.live.state.inode_mut(ino)?.meta;
        let pick = |time| match time {
            SetTime::Now => now,
            SetTime::At(at) => at,
        };
        meta.atime = times.atime.map_or(meta.atime, pick);
        meta.mtime = times.mtime.map_or(meta.mtime, pick);
        meta.ctime = now;
        Ok(())
    }

    pub(crate) fn set_mode(&mut self, ino: Ino, mode: u32) -> Result<()> {
        if let Node::Symlink(_) = self.live.state.inode(ino)?.node {
            return Err(Errno::Notsup);
        }
        let now = self.now();
        self.pin(ino)?;
        let meta = &mut self.live.state.inode_mut(ino)?.meta;
        meta.mode = mode & 0o7777;
        meta.ctime = now;
        Ok(())
    }
}

/// The mode of a file after a write without privileges, as on Linux: a program that runs as another
/// user is not for others to change. The set-group-id bit of a file that its group cannot
/// execute means something else, and stays.
fn without_set_id(mode: u32) -> u32 {
    const SET_UID: u32 = 0o4000;
    const SET_GID: u32 = 0o2000;
    const GROUP_EXECUTES: u32 = 0o0010;
    match mode & GROUP_EXECUTES {
        0 => mode & !SET_UID,
        _ => mode & !(SET_UID | SET_GID),
    }
}

/// All bytes of a file.
pub(crate) fn whole(core: &Core, inode: &Inode) -> Result<Arc<[u8]>> {
    let base = Base::default();
    let origin: Option<&Origin> = inode.origin.as_deref();
    let mut read = |buf: &mut [u8], at: u64| base.read(&core.lower, origin, buf, at);
    Ok(content(inode)?.to_vec(&mut read)?.into())
}

fn content(inode: &Inode) -> Result<&Content> {
    match &inode.node {
        Node::File(content) => Ok(content),
        Node::Dir(_) => Err(Errno::Isdir),
        Node::Symlink(_) | Node::Special => Err(Errno::Inval),
    }
}
