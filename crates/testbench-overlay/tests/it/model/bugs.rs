//! A tree with one fault in it, for the model to find. Each is one that a layered file system of
//! the usual make has had: the fault is made here, before a sound overlay, through the seam that
//! every tree has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use testbench_overlay::{
    Create, DirEntry, Errno, File, FileKind, Follow, Fs, GuestPath, HostDir, OpenHow, Overlay,
    Result, SetTimes, Stat,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// What lay in a removed directory is found still by its path, though no listing shows it.
    NoAncestorWhiteout,
    /// A directory that is made where one was removed shows what was in that.
    MkdirNotOpaque,
    /// A file that is cut and made longer again shows its old bytes.
    StaleBytes,
    /// Moving a file makes a new one with the same content.
    RenameAsCopy,
    /// A hard link is another file with the same content.
    LostHardLink,
}

impl Bug {
    pub(crate) const ALL: [Bug; 5] = [
        Bug::NoAncestorWhiteout,
        Bug::MkdirNotOpaque,
        Bug::StaleBytes,
        Bug::RenameAsCopy,
        Bug::LostHardLink,
    ];
}

/// The length to which each file was cut, by its number, and what was cut off.
type Cut = BTreeMap<u64, (u64, Vec<u8>)>;

/// An overlay, with or without a bug.
#[derive(Debug)]
pub(crate) struct Planted {
    inner: Arc<Overlay>,
    lower: HostDir,
    bug: Option<Bug>,
    /// Paths of directories that were removed.
    removed: Mutex<BTreeSet<Vec<u8>>>,
    /// What was cut off, by the number of the file.
    cut: Arc<Mutex<Cut>>,
}

impl Planted {
    pub(crate) fn new(inner: Arc<Overlay>, lower: HostDir, bug: Option<Bug>) -> Planted {
        Planted { inner, lower, bug, removed: Mutex::default(), cut: Arc::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Where a name in a directory is, from the top.
    fn path(&self, dir: &dyn File, name: GuestPath<'_>) -> Option<Vec<u8>> {
        let dir = self.inner.names_of(dir).ok()?.into_iter().next()?;
        let name = name.components().next()?;
        Some(if dir.is_empty() { name.to_vec() } else { [&dir, &b"/"[..], name].concat() })
    }

    /// The path to ask the lower tree for, where the bug lets that through.
    fn resurfaces(&self, dir: &dyn File, name: GuestPath<'_>) -> Option<Vec<u8>> {
        let path = self.path(dir, name).filter(|_| self.has(Bug::NoAncestorWhiteout))?;
        self.removed.lock().unwrap().contains(&path).then_some(path)
    }

    fn read_whole(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<(Stat, Vec<u8>)> {
        let how = OpenHow { follow: Follow::No, ..OpenHow::READ };
        let file = self.inner.open_at(dir, path, &how)?;
        let stat = file.stat()?;
        let mut bytes = vec![0; stat.size as usize];
        read_full(&*file, &mut bytes, 0)?;
        Ok((stat, bytes))
    }

    fn write_new(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        stat: &Stat,
        bytes: &[u8],
    ) -> Result<()> {
        let how = OpenHow { write: true, create: Create::New, mode: stat.mode, ..OpenHow::READ };
        let file = self.inner.open_at(dir, path, &how)?;
        let mut done = 0;
        while done < bytes.len() {
            done += file.write_at(&bytes[done..], done as u64)?;
        }
        Ok(())
    }

    /// Makes a copy of what is at a name take its place.
    fn make_other(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let (stat, bytes) = self.read_whole(dir, path)?;
        if stat.kind == FileKind::File {
            self.inner.remove_file_at(dir, path)?;
            self.write_new(dir, path, &stat, &bytes)?;
        }
        Ok(())
    }

    /// Fills a new directory with the files that the lower one at its path has.
    fn fill(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let Some(below) = self.path(dir, path) else { return Ok(()) };
        let how = OpenHow { directory: true, follow: Follow::No, ..OpenHow::READ };
        let top = self.lower.root()?;
        let Ok(old) = self.lower.open_at(&*top, GuestPath::new(&below), &how) else {
            return Ok(());
        };
        let new = self.inner.open_at(dir, path, &how)?;
        for entry in old.read_dir()? {
            let name = GuestPath::new(&entry.name);
            match entry.kind {
                FileKind::Dir => self.inner.create_dir_at(&*new, name, 0o755)?,
                FileKind::Symlink => self.inner.symlink_at(b"a", &*new, name)?,
                FileKind::File | FileKind::Special => {
                    let stat = self.lower.stat_at(&*old, name, Follow::No)?;
                    self.write_new(&*new, name, &stat, b"")?;
                }
            }
        }
        Ok(())
    }
}

fn read_full(file: &dyn File, buf: &mut [u8], offset: u64) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(())
}

/// A directory's handle is the inner tree's own, or one of the lower tree; that of a file is
/// wrapped where its bytes are to go wrong.
impl Fs for Planted {
    fn root(&self) -> Result<Arc<dyn File>> {
        self.inner.root()
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let file = match self.inner.open_at(dir, path, how) {
            Err(Errno::Xdev) => return self.lower.open_at(dir, path, how),
            Err(Errno::Noent) => match self.resurfaces(dir, path) {
                Some(below) => {
                    let top = self.lower.root()?;
                    return self.lower.open_at(&*top, GuestPath::new(&below), how);
                }
                None => return Err(Errno::Noent),
            },
            opened => opened?,
        };
        match self.has(Bug::StaleBytes) && file.stat()?.kind == FileKind::File {
            true => Ok(Arc::new(Stale { file, cut: self.cut.clone() })),
            false => Ok(file),
        }
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        match self.inner.stat_at(dir, path, follow) {
            Err(Errno::Xdev) => self.lower.stat_at(dir, path, follow),
            Err(Errno::Noent) => match self.resurfaces(dir, path) {
                Some(below) => {
                    self.lower.stat_at(&*self.lower.root()?, GuestPath::new(&below), follow)
                }
                None => Err(Errno::Noent),
            },
            stat => stat,
        }
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        match self.inner.read_link_at(dir, path) {
            Err(Errno::Xdev) => self.lower.read_link_at(dir, path),
            target => target,
        }
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        self.inner.create_dir_at(dir, path, mode)?;
        if self.has(Bug::MkdirNotOpaque) { self.fill(dir, path) } else { Ok(()) }
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.inner.symlink_at(target, dir, path)
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        self.inner.link_at(from_dir, from, follow, to_dir, to)?;
        if self.has(Bug::LostHardLink) { self.make_other(to_dir, to) } else { Ok(()) }
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let is_file = self.inner.stat_at(from_dir, from, Follow::No).map(|stat| stat.kind);
        self.inner.rename_at(from_dir, from, to_dir, to)?;
        match self.has(Bug::RenameAsCopy) && is_file == Ok(FileKind::File) {
            true => self.make_other(to_dir, to),
            false => Ok(()),
        }
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.inner.remove_file_at(dir, path)
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let below = self.path(dir, path);
        self.inner.remove_dir_at(dir, path)?;
        self.removed.lock().unwrap().extend(below);
        Ok(())
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        self.inner.set_times_at(dir, path, follow, times)
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<()> {
        self.inner.set_mode_at(dir, path, follow, mode)
    }
}

/// A file that forgets nothing.
#[derive(Debug)]
struct Stale {
    file: Arc<dyn File>,
    cut: Arc<Mutex<Cut>>,
}

impl File for Stale {
    fn set_len(&self, len: u64) -> Result<()> {
        let stat = self.file.stat()?;
        if len < stat.size {
            let mut tail = vec![0; (stat.size - len) as usize];
            if read_full(&*self.file, &mut tail, len).is_ok() {
                self.cut.lock().unwrap().insert(stat.ino, (len, tail));
            }
        }
        self.file.set_len(len)?;
        let cut = self.cut.lock().unwrap();
        match cut.get(&stat.ino) {
            Some((at, tail)) if len > stat.size && *at >= stat.size && *at < len => {
                let shown = tail.len().min((len - at) as usize);
                self.file.write_at(&tail[..shown], *at).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn stat(&self) -> Result<Stat> {
        self.file.stat()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        self.file.append(buf)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.file.sync(data_only)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.file.set_times(times)
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.file.set_mode(mode)
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        self.file.read_dir()
    }
}
