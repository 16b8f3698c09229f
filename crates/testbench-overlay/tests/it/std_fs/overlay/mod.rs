//! The subject: the mirror of `std::fs` with an overlay installed, and for what is done through
//! handles of directories the trait that guests use.

pub(crate) use testbench_overlay::fs;
pub(crate) use testbench_overlay::fs::symlink;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use testbench_clock::Context;
use testbench_overlay::{Create, File, FileKind, Follow, Fs as _, GuestPath, OpenHow};
use testbench_overlay::{Overlay, install};

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

/// An empty directory of the test's own, and what is done to it in an overlay.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
    overlay: Arc<Overlay>,
}

impl Sandbox {
    /// Nothing may reach the disk.
    pub(crate) fn run(test: fn(&Sandbox)) {
        let dir = tempfile::tempdir().unwrap();
        let overlay = Overlay::new(dir.path()).unwrap();
        let sandbox = Sandbox { dir, overlay };
        let installed = install(sandbox.overlay.clone());
        test(&sandbox);
        drop(installed);
        assert_eq!(
            std::fs::read_dir(sandbox.dir.path()).unwrap().count(),
            0,
            "it reached the disk"
        );
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn top(&self) -> Dir {
        Dir::top(self.overlay.clone())
    }
}

/// `f` for another thread.
pub(crate) fn carried<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let context = Context::capture();
    move || {
        let _entered = context.enter();
        f()
    }
}

pub(crate) fn set_modified(path: &Path, secs: i64, follow: bool) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(secs.try_into().unwrap());
    let times = fs::FileTimes::new().set_modified(time);
    if follow { fs::set_times(path, times) } else { fs::set_times_nofollow(path, times) }
}

/// Whether paths of the host are refused that lead out of the sandbox.
pub(crate) const CONFINED: bool = true;

/// Whether something was refused because it leads out of a directory.
pub(crate) fn leads_out(error: &io::Error) -> bool {
    // The disk's own refusal has a number.
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

/// A directory out of which no path leads.
pub(crate) struct Dir {
    overlay: Arc<Overlay>,
    dir: Arc<dyn File>,
}

const DIR: OpenHow = OpenHow { directory: true, ..OpenHow::READ };

impl Dir {
    /// An overlay of a directory of the machine, not of the sandbox.
    pub(crate) fn ambient(path: &str) -> Dir {
        Dir::top(Overlay::new(path).unwrap())
    }

    fn top(overlay: Arc<Overlay>) -> Dir {
        let dir = overlay.root().unwrap();
        Dir { overlay, dir }
    }

    fn open(&self, path: &str, how: &OpenHow) -> io::Result<Dir> {
        let dir = self.overlay.open_at(&*self.dir, GuestPath::new(path), how)?;
        Ok(Dir { overlay: self.overlay.clone(), dir })
    }

    pub(crate) fn open_dir(&self, path: &str) -> io::Result<Dir> {
        self.open(path, &DIR)
    }

    pub(crate) fn open_dir_nofollow(&self, path: &str) -> io::Result<Dir> {
        self.open(path, &OpenHow { follow: Follow::No, ..DIR })
    }

    pub(crate) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.open(path, &OpenHow::READ)?.dir;
        let mut bytes = vec![0; file.stat()?.size as usize];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(crate) fn create(&self, path: &str) -> io::Result<()> {
        let create = Create::IfMissing;
        let how = OpenHow { read: false, write: true, truncate: true, create, ..OpenHow::READ };
        self.open(path, &how).map(drop)
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self, path: &str) -> io::Result<bool> {
        let stat = self.overlay.stat_at(&*self.dir, GuestPath::new(path), Follow::Yes)?;
        Ok(stat.kind == FileKind::Dir)
    }

    /// Device and number of the directory itself.
    pub(crate) fn identity(&self) -> (u64, u64) {
        let stat = self.dir.stat().unwrap();
        (stat.dev, stat.ino)
    }

    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let entries = self.dir.read_dir()?;
        Ok(entries.into_iter().map(|e| String::from_utf8(e.name.into_vec()).unwrap()).collect())
    }

    pub(crate) fn create_dir(&self, path: &str) -> io::Result<()> {
        Ok(self.overlay.create_dir_at(&*self.dir, GuestPath::new(path), 0o755)?)
    }

    pub(crate) fn symlink(&self, target: &str, path: &str) -> io::Result<()> {
        Ok(self.overlay.symlink_at(target.as_bytes(), &*self.dir, GuestPath::new(path))?)
    }

    pub(crate) fn hard_link(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (GuestPath::new(from), GuestPath::new(to));
        Ok(self.overlay.link_at(&*self.dir, from, Follow::No, &*self.dir, to)?)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (GuestPath::new(from), GuestPath::new(to));
        Ok(self.overlay.rename_at(&*self.dir, from, &*self.dir, to)?)
    }

    pub(crate) fn remove_file(&self, path: &str) -> io::Result<()> {
        Ok(self.overlay.remove_file_at(&*self.dir, GuestPath::new(path))?)
    }

    pub(crate) fn read_link(&self, path: &str) -> io::Result<String> {
        let target = self.overlay.read_link_at(&*self.dir, GuestPath::new(path))?;
        Ok(String::from_utf8(target).unwrap())
    }
}
