//! [`Protocol`]: decodes the requests of FUSE for the [`Server`], and encodes the replies.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::OFlags;
use testbench_overlay::{Create, Errno, OpenHow, Renaming, SetTimes};

use crate::attr::{self, errno};
use crate::server::{Caller, Listed, Server, SetAttr};

/// The same for all, since no number ever stands for a second file.
const GENERATION: Generation = Generation(0);

/// The longest name that an overlay takes, as Linux has it.
const NAME_BYTES_MAX: u32 = 255;

/// `SEEK_DATA` and `SEEK_HOLE` of Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// `O_APPEND`, `O_EXCL` and `O_TRUNC` of Linux.
const APPEND: i32 = OFlags::APPEND.bits() as i32;
const EXCLUSIVE: i32 = OFlags::EXCL.bits() as i32;
const TRUNCATE: i32 = OFlags::TRUNC.bits() as i32;

#[derive(Debug)]
pub(crate) struct Protocol {
    server: Server,
    /// How long the kernel may keep a reply.
    cache: Duration,
}

impl Protocol {
    pub(crate) fn new(server: Server, cache: Duration) -> Protocol {
        Protocol { server, cache }
    }

    fn entry(&self, reply: ReplyEntry, attr: Result<FileAttr, Errno>) {
        match attr {
            Ok(attr) => reply.entry(&self.cache, &attr, GENERATION),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn attr(&self, reply: ReplyAttr, attr: Result<FileAttr, Errno>) {
        match attr {
            Ok(attr) => reply.attr(&self.cache, &attr),
            Err(error) => reply.error(errno(error)),
        }
    }
}

/// Requests that are not here fail with `ENOSYS`. After that the kernel no longer asks for extended attributes
/// or for a flush, which nothing needs because every write is done already.
impl Filesystem for Protocol {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_time_granularity(Duration::from_nanos(1));
        let mut wanted = InitFlags::FUSE_AUTO_INVAL_DATA | InitFlags::FUSE_PARALLEL_DIROPS;
        if !self.cache.is_zero() {
            // Without a cache the kernel would ask for the metadata again at once.
            wanted |= InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO;
        }
        for flag in wanted.iter() {
            // Older kernels do without.
            let _ = config.add_capabilities(flag);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, self.server.lookup(parent.0, name));
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.server.forget(number.0, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.attr(reply, self.server.attr(number.0));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (atime, mtime) = (atime.map(attr::set_time), mtime.map(attr::set_time));
        let changes = SetAttr { mode, uid, gid, size, times: SetTimes { atime, mtime } };
        let handle = handle.map(|handle| handle.0);
        self.attr(reply, self.server.set_attr(number.0, handle, changes));
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        data(reply, self.server.read_link(number.0));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.entry(reply, self.server.make_node(caller(request), parent.0, name, mode, rdev));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        self.entry(reply, self.server.make_dir(caller(request), parent.0, name, mode));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.server.remove_file(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.server.remove_dir(parent.0, name));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes();
        self.entry(reply, self.server.symlink(caller(request), parent.0, name, target));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let how = match flags {
            _ if flags.is_empty() => Renaming::Replace,
            RenameFlags::RENAME_NOREPLACE => Renaming::New,
            RenameFlags::RENAME_EXCHANGE => Renaming::Exchange,
            _ => return reply.error(errno(Errno::Inval)),
        };
        done(reply, self.server.rename(parent.0, name, new_parent.0, new_name, how));
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, self.server.link(number.0, parent.0, name));
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        opened(reply, self.server.open_as(number.0, &how(flags.0)));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        data(reply, self.server.read(handle.0, offset, size as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        how: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // The kernel gives bytes from a mapping their place.
        let append = flags.0 & APPEND != 0 && !how.contains(WriteFlags::FUSE_WRITE_CACHE);
        written(reply, self.server.write(handle.0, offset, bytes, append));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.server.close(handle.0);
        reply.ok();
    }

    fn fsync(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        done(reply, self.server.sync(handle.0, data_only));
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        opened(reply, self.server.open_dir(number.0));
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = match self.server.list(number.0, handle.0, offset) {
            Ok(listed) => listed,
            Err(error) => return reply.error(errno(error)),
        };
        for (Listed { name, number, kind }, next) in listed.zip(offset + 1..) {
            if reply.add(INodeNo(number), next, kind, OsStr::from_bytes(&name)) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = match self.server.list(number.0, handle.0, offset) {
            Ok(listed) => listed,
            Err(error) => return reply.error(errno(error)),
        };
        for (Listed { name, number: listed, .. }, next) in listed.zip(offset + 1..) {
            let name = OsStr::from_bytes(&name);
            // The kernel does not count these two as look-ups.
            let is_dot = name == "." || name == "..";
            let attr = match is_dot {
                true => self.server.attr(listed),
                false => self.server.lookup(number.0, name),
            };
            // An entry that was removed meanwhile is left out.
            let Ok(attr) = attr else { continue };
            if reply.add(attr.ino, next, name, &self.cache, &attr, GENERATION) {
                if !is_dot {
                    self.server.forget(attr.ino.0, 1);
                }
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.server.close(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        done(reply, self.server.sync(handle.0, data_only));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (quota, usage) = self.server.usage();
        let block = u64::from(attr::BLOCK_BYTES);
        let (blocks, used) = (quota.bytes_max() / block, usage.bytes / block);
        let free = blocks.saturating_sub(used);
        let files = quota.inodes_max();
        let free_files = files.saturating_sub(usage.inodes);
        let size = attr::BLOCK_BYTES;
        reply.statfs(blocks, free, free, files, free_files, size, NAME_BYTES_MAX, size);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = if flags & EXCLUSIVE != 0 { Create::New } else { Create::IfMissing };
        let truncate = flags & TRUNCATE != 0;
        let how = OpenHow { create, truncate, mode: mode & 0o7777, ..how(flags) };
        match self.server.create(caller(request), parent.0, name, &how) {
            Ok((attr, handle)) => {
                let handle = FileHandle(handle);
                reply.created(&self.cache, &attr, GENERATION, handle, FopenFlags::empty());
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        done(reply, self.server.allocate(handle.0, offset, len, mode));
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = match (whence, u64::try_from(offset)) {
            (SEEK_DATA, Ok(offset)) => self.server.next_data(handle.0, offset),
            (SEEK_HOLE, Ok(offset)) => self.server.next_hole(handle.0, offset),
            (SEEK_DATA | SEEK_HOLE, Err(_)) => Err(Errno::Nxio),
            _ => Err(Errno::Inval),
        };
        at(reply, found);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        from: FileHandle,
        from_offset: u64,
        _: INodeNo,
        to: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        written(reply, self.server.copy((from.0, from_offset), (to.0, to_offset), len));
    }
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid() }
}

fn how(flags: i32) -> OpenHow {
    let mode = OpenFlags(flags).acc_mode();
    let (read, write) = (mode != OpenAccMode::O_WRONLY, mode != OpenAccMode::O_RDONLY);
    OpenHow { read, write, ..OpenHow::READ }
}

/// Defines functions that reply with a result: as the expression says, or with the error.
macro_rules! replies {
    ($($name:ident($reply:ident: $type:ty, $value:ident: $ok:ty) => $send:expr;)*) => {$(
        fn $name($reply: $type, result: Result<$ok, Errno>) {
            match result {
                Ok($value) => $send,
                Err(error) => $reply.error(errno(error)),
            }
        }
    )*};
}

replies! {
    done(reply: ReplyEmpty, _done: ()) => reply.ok();
    data(reply: ReplyData, bytes: Vec<u8>) => reply.data(&bytes);
    opened(reply: ReplyOpen, handle: u64) => reply.opened(FileHandle(handle), FopenFlags::empty());
    // No request is larger than a `u32`.
    written(reply: ReplyWrite, len: usize) => reply.written(u32::try_from(len).unwrap_or(u32::MAX));
    at(reply: ReplyLseek, offset: u64) => reply.offset(offset as i64);
}
