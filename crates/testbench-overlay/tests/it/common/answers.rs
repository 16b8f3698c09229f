//! One path at a time: each operation of [`Fs`], and what the kernel does about the same path.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "shared between test targets")]

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};
use testbench_overlay::{Create, Errno, File, Follow, Fs, GuestPath, OpenHow, SetTime, SetTimes};

/// Everything that a path can lead to, in every way that it can be written.
pub(crate) const PATHS: &[&str] = &[
    "f",
    "f/",
    "f/x",
    "d",
    "d/",
    "d/f",
    "d/.",
    "d/..",
    "d/./",
    "d/../",
    "new",
    "new/",
    "d/new",
    "no/new",
    "no/new/",
    "l",
    "l/",
    "dl",
    "dl/",
    "dl/f",
    "dl/new",
    "dangling",
    "dangling/",
    ".",
    "./",
    "",
    "fifo",
];

pub(crate) fn populate(root: &Path) {
    std::fs::create_dir_all(root.join("d/sub")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(root.join("f"), "text").unwrap();
    std::fs::write(root.join("d/f"), "text").unwrap();
    symlink("f", root.join("l")).unwrap();
    symlink("d", root.join("dl")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let fifo = root.join("fifo");
    rustix::fs::mknodat(CWD, fifo, FileType::Fifo, Mode::from(0o644), 0).unwrap();
}

/// What each operation is called, and how it is done on one path.
pub(crate) trait Subject {
    fn open(&self, path: &str, how: &OpenHow) -> Result<(), Errno>;
    fn mkdir(&self, path: &str) -> Result<(), Errno>;
    fn symlink(&self, path: &str) -> Result<(), Errno>;
    fn link(&self, from: &str, to: &str) -> Result<(), Errno>;
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno>;
    fn unlink(&self, path: &str) -> Result<(), Errno>;
    fn rmdir(&self, path: &str) -> Result<(), Errno>;
    fn chmod(&self, path: &str) -> Result<(), Errno>;
    fn times(&self, path: &str, times: SetTimes) -> Result<(), Errno>;
    fn stat(&self, path: &str, follow: Follow) -> Result<(), Errno>;
    fn read_link(&self, path: &str) -> Result<(), Errno>;
}

pub(crate) struct Kernel(pub OwnedFd);

impl Subject for Kernel {
    fn open(&self, path: &str, how: &OpenHow) -> Result<(), Errno> {
        let mut flags = match (how.read, how.write) {
            (true, true) => OFlags::RDWR,
            (_, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        flags |= OFlags::NONBLOCK;
        flags |= if how.truncate { OFlags::TRUNC } else { OFlags::empty() };
        flags |= if how.follow == Follow::No { OFlags::NOFOLLOW } else { OFlags::empty() };
        flags |= match how.create {
            Create::Never => OFlags::empty(),
            Create::IfMissing => OFlags::CREATE,
            Create::New => OFlags::CREATE | OFlags::EXCL,
        };
        Ok(rustix::fs::openat(&self.0, path, flags, Mode::from(0o644)).map(drop)?)
    }
    fn mkdir(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::mkdirat(&self.0, path, Mode::from(0o755))?)
    }
    fn symlink(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::symlinkat("x", &self.0, path)?)
    }
    fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        Ok(rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())?)
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }
    fn unlink(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::unlinkat(&self.0, path, AtFlags::empty())?)
    }
    fn rmdir(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::unlinkat(&self.0, path, AtFlags::REMOVEDIR)?)
    }
    fn chmod(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::chmodat(&self.0, path, Mode::from(0o600), AtFlags::empty())?)
    }
    fn times(&self, path: &str, times: SetTimes) -> Result<(), Errno> {
        let of = |time: Option<SetTime>| Timespec {
            tv_sec: 0,
            tv_nsec: if time.is_some() { rustix::fs::UTIME_NOW } else { rustix::fs::UTIME_OMIT },
        };
        let times = Timestamps { last_access: of(times.atime), last_modification: of(times.mtime) };
        Ok(rustix::fs::utimensat(&self.0, path, &times, AtFlags::empty())?)
    }
    fn stat(&self, path: &str, follow: Follow) -> Result<(), Errno> {
        let flags = match follow {
            Follow::Yes => AtFlags::empty(),
            Follow::No => AtFlags::SYMLINK_NOFOLLOW,
        };
        Ok(rustix::fs::statat(&self.0, path, flags).map(drop)?)
    }
    fn read_link(&self, path: &str) -> Result<(), Errno> {
        Ok(rustix::fs::readlinkat(&self.0, path, Vec::new()).map(drop)?)
    }
}

pub(crate) struct Ours(Arc<dyn Fs>, Arc<dyn File>);

impl Ours {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Ours {
        let top = fs.root().unwrap();
        Ours(fs, top)
    }
}

impl Subject for Ours {
    fn open(&self, path: &str, how: &OpenHow) -> Result<(), Errno> {
        self.0.open_at(&*self.1, GuestPath::new(path), how).map(drop)
    }
    fn mkdir(&self, path: &str) -> Result<(), Errno> {
        self.0.create_dir_at(&*self.1, GuestPath::new(path), 0o755)
    }
    fn symlink(&self, path: &str) -> Result<(), Errno> {
        self.0.symlink_at(b"x", &*self.1, GuestPath::new(path))
    }
    fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = (GuestPath::new(from), GuestPath::new(to));
        self.0.link_at(&*self.1, from, Follow::No, &*self.1, to)
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = (GuestPath::new(from), GuestPath::new(to));
        self.0.rename_at(&*self.1, from, &*self.1, to)
    }
    fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.0.remove_file_at(&*self.1, GuestPath::new(path))
    }
    fn rmdir(&self, path: &str) -> Result<(), Errno> {
        self.0.remove_dir_at(&*self.1, GuestPath::new(path))
    }
    fn chmod(&self, path: &str) -> Result<(), Errno> {
        self.0.set_mode_at(&*self.1, GuestPath::new(path), Follow::Yes, 0o600)
    }
    fn times(&self, path: &str, times: SetTimes) -> Result<(), Errno> {
        self.0.set_times_at(&*self.1, GuestPath::new(path), Follow::Yes, times)
    }
    fn stat(&self, path: &str, follow: Follow) -> Result<(), Errno> {
        self.0.stat_at(&*self.1, GuestPath::new(path), follow).map(drop)
    }
    fn read_link(&self, path: &str) -> Result<(), Errno> {
        self.0.read_link_at(&*self.1, GuestPath::new(path)).map(drop)
    }
}

type Question = (&'static str, fn(&dyn Subject, &str) -> Result<(), Errno>);

/// What is asked about each path.
pub(crate) const QUESTIONS: &[Question] = &[
    ("read", |s, p| s.open(p, &OpenHow::READ)),
    ("write", |s, p| s.open(p, &how(true, Create::Never, false, Follow::Yes))),
    ("truncate", |s, p| s.open(p, &how(true, Create::Never, true, Follow::Yes))),
    ("truncate to read", |s, p| s.open(p, &how(false, Create::Never, true, Follow::Yes))),
    ("write nofollow", |s, p| s.open(p, &how(true, Create::Never, false, Follow::No))),
    ("create", |s, p| s.open(p, &how(true, Create::IfMissing, true, Follow::Yes))),
    ("create to read", |s, p| s.open(p, &how(false, Create::IfMissing, false, Follow::Yes))),
    ("create new", |s, p| s.open(p, &how(true, Create::New, false, Follow::Yes))),
    ("mkdir", |s, p| s.mkdir(p)),
    ("symlink", |s, p| s.symlink(p)),
    ("link to", |s, p| s.link("f", p)),
    ("link from", |s, p| s.link(p, "made")),
    ("link a dir to", |s, p| s.link("d", p)),
    ("rename to", |s, p| s.rename("f", p)),
    ("rename a dir to", |s, p| s.rename("d", p)),
    ("rename from", |s, p| s.rename(p, "made")),
    ("unlink", |s, p| s.unlink(p)),
    ("rmdir", |s, p| s.rmdir(p)),
    ("chmod", |s, p| s.chmod(p)),
    ("times", |s, p| s.times(p, NOW)),
    ("stat", |s, p| s.stat(p, Follow::Yes)),
    ("lstat", |s, p| s.stat(p, Follow::No)),
    ("readlink", |s, p| s.read_link(p)),
];

const NOW: SetTimes = SetTimes { atime: None, mtime: Some(SetTime::Now) };

const fn how(write: bool, create: Create, truncate: bool, follow: Follow) -> OpenHow {
    OpenHow { write, create, truncate, follow, ..OpenHow::READ }
}
