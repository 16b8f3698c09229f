//! The control: `std::fs` on the real disk, and for what is done through handles of directories
//! the kernel's own confinement, `openat2` with `RESOLVE_BENEATH`.

pub(crate) use std::fs;
pub(crate) use std::os::unix::fs::symlink;

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

#[path = "../cases/files.rs"]
pub(crate) mod files;
#[path = "../cases/handles.rs"]
pub(crate) mod handles;
#[path = "../cases/links.rs"]
pub(crate) mod links;
#[path = "../cases/listing.rs"]
pub(crate) mod listing;
#[path = "../cases/metadata.rs"]
pub(crate) mod metadata;
#[path = "../cases/paths.rs"]
pub(crate) mod paths;
#[path = "../cases/rename.rs"]
pub(crate) mod rename;
#[path = "../cases/times.rs"]
pub(crate) mod times;

/// An empty directory of the test's own.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn run(test: fn(&Sandbox)) {
        let sandbox = Sandbox { dir: tempfile::tempdir().unwrap() };
        test(&sandbox);
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn top(&self) -> Dir {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Dir(rustix::fs::open(self.dir.path(), flags, Mode::empty()).unwrap())
    }
}

/// `f` for another thread.
pub(crate) fn carried<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    f
}

pub(crate) fn set_modified(path: &Path, secs: i64, follow: bool) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: 0 },
    };
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags)?)
}

/// Whether paths of the host are refused that lead out of the sandbox.
pub(crate) const CONFINED: bool = false;

/// Whether something was refused because it leads out of a directory.
pub(crate) fn leads_out(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

/// A directory out of which no path leads.
pub(crate) struct Dir(OwnedFd);

impl Dir {
    /// A directory of the machine, not of the sandbox.
    pub(crate) fn ambient(path: &str) -> Dir {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Dir(rustix::fs::open(path, flags, Mode::empty()).unwrap())
    }

    fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let mode = if flags.contains(OFlags::CREATE) { 0o644 } else { 0 };
        let (flags, mode) = (flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            // When something is renamed or mounted anywhere meanwhile, the kernel cannot be sure that
            // a `..` stayed inside, and asks to be asked again.
            match rustix::fs::openat2(&self.0, path, flags, mode, resolve) {
                Err(Errno::AGAIN) => {}
                opened => return Ok(opened?),
            }
        }
    }

    /// Nothing if `path` stays inside; what it names need not exist.
    fn check(&self, path: &str) -> io::Result<()> {
        match self.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(error) if leads_out(&error) => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn open_dir(&self, path: &str) -> io::Result<Dir> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY).map(Dir)
    }

    pub(crate) fn open_dir_nofollow(&self, path: &str) -> io::Result<Dir> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW).map(Dir)
    }

    pub(crate) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::from(self.open(path, OFlags::RDONLY)?).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn create(&self, path: &str) -> io::Result<()> {
        self.open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC).map(drop)
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self, path: &str) -> io::Result<bool> {
        let file = self.open(path, OFlags::PATH)?;
        Ok(rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_dir())
    }

    /// Device and number of the directory itself.
    pub(crate) fn identity(&self) -> (u64, u64) {
        let stat = rustix::fs::fstat(&self.0).unwrap();
        (stat.st_dev, stat.st_ino)
    }

    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = Vec::with_capacity(8192);
        let mut raw = RawDir::new(&self.0, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = raw.next() {
            names.push(entry?.file_name().to_str().unwrap().to_owned());
        }
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
    }

    pub(crate) fn create_dir(&self, path: &str) -> io::Result<()> {
        self.check(path)?;
        Ok(rustix::fs::mkdirat(&self.0, path, Mode::from_raw_mode(0o755))?)
    }

    pub(crate) fn symlink(&self, target: &str, path: &str) -> io::Result<()> {
        self.check(path)?;
        Ok(rustix::fs::symlinkat(target, &self.0, path)?)
    }

    pub(crate) fn hard_link(&self, from: &str, to: &str) -> io::Result<()> {
        self.check(from)?;
        self.check(to)?;
        Ok(rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())?)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check(from)?;
        self.check(to)?;
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    pub(crate) fn remove_file(&self, path: &str) -> io::Result<()> {
        self.check(path)?;
        Ok(rustix::fs::unlinkat(&self.0, path, AtFlags::empty())?)
    }

    pub(crate) fn read_link(&self, path: &str) -> io::Result<String> {
        self.check(path)?;
        Ok(rustix::fs::readlinkat(&self.0, path, Vec::new())?.into_string().unwrap())
    }
}
