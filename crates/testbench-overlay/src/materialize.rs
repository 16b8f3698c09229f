//! The overlay for code that cannot go through it: a native child, or Rust code that calls
//! `std::fs`. The tree is written out, used, and what has changed there is read back.
#![allow(clippy::disallowed_methods, reason = "writes trees to the real disk, and reads them back")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::Core;
use crate::diff::Diff;
use crate::handle::Handle;
use crate::inode::{Ino, Node};
use crate::lookup::Tx;
use crate::resolve::End;
use crate::{Create, Errno, File, FileKind, Follow, GuestPath, OpenHow, Overlay};

/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// An overlay written out into a real directory. Made by [`Overlay::materialize`].
#[derive(Debug)]
pub struct Materialized {
    overlay: Arc<Overlay>,
    dir: PathBuf,
    /// What was written, by path below the directory.
    written: BTreeMap<Vec<u8>, Stamp>,
}

/// What tells whether something was changed in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    kind: FileKind,
    id: (u64, u64),
    mode: u32,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Stamp {
        let kind = match metadata.file_type() {
            t if t.is_dir() => FileKind::Dir,
            t if t.is_file() => FileKind::File,
            t if t.is_symlink() => FileKind::Symlink,
            _ => FileKind::Special,
        };
        Stamp {
            kind,
            id: (metadata.dev(), metadata.ino()),
            mode: metadata.mode() & 0o7777,
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Overlay {
    /// Writes the merged tree into `dir`, which is made if it is missing and must be empty. Hard
    /// links, permission bits and times are kept; devices, sockets and FIFOs are left out.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let (lower, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// let overlay = Overlay::new(lower.path())?;
    /// let mut written = overlay.materialize(out.path())?;
    /// std::fs::write(out.path().join("made-by-a-native-tool"), "x")?;
    /// written.absorb()?;
    /// assert_eq!(overlay.diff()?.summary(), "A made-by-a-native-tool\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::DirectoryNotEmpty`], and whatever reading the overlay or writing the
    /// directory gives; the message names the path. The directory then holds a part of the tree.
    pub fn materialize(self: &Arc<Self>, dir: impl AsRef<Path>) -> io::Result<Materialized> {
        let dir = std::path::absolute(dir.as_ref())?;
        fs::create_dir_all(&dir).map_err(|e| about("create", &dir, e))?;
        if fs::read_dir(&dir)?.next().is_some() {
            let full = io::ErrorKind::DirectoryNotEmpty.into();
            return Err(about("materialize an overlay into", &dir, full));
        }
        let mut writer = Writer { core: &self.core, first: BTreeMap::new(), dirs: Vec::new() };
        writer.write_tree(Ino::ROOT, &dir)?;
        writer.finish()?;
        let written = scan(&dir)?;
        Ok(Materialized { overlay: self.clone(), dir, written })
    }
}

struct Writer<'c> {
    core: &'c Arc<Core>,
    /// Where a file that may have several names was written first.
    first: BTreeMap<Ino, PathBuf>,
    /// Directories whose mode and times are set when all in them is done.
    dirs: Vec<(PathBuf, crate::Stat)>,
}

impl Writer<'_> {
    /// Writes all that is in a directory. Goes by a list: a tree may be deeper than the stack.
    fn write_tree(&mut self, top: Ino, host: &Path) -> io::Result<()> {
        let mut todo = vec![(top, host.to_path_buf())];
        while let Some((dir, host)) = todo.pop() {
            let (stat, entries) = {
                let mut tx = self.core.tx_as_root();
                let stat = tx.live.state.inode(dir).map(|inode| inode.stat(dir));
                (self.at(&host, stat)?, self.at(&host, tx.list(dir))?)
            };
            self.dirs.push((host.clone(), stat));
            for entry in entries {
                let host = host.join(os_str(&entry.name));
                let child = self.core.tx_as_root().lookup(dir, &entry.name);
                if let Some(child) = self.at(&host, child)?
                    && self.write(child, &host)? == FileKind::Dir
                {
                    todo.push((child, host));
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, ino: Ino, host: &Path) -> io::Result<FileKind> {
        let inode = self.at(host, self.core.tx().live.state.inode(ino).cloned())?;
        let stat = inode.stat(ino);
        if let Some(first) = self.first.get(&ino) {
            fs::hard_link(first, host).map_err(|e| about("link", host, e))?;
            return Ok(stat.kind);
        }
        let further_names = inode.origin.as_ref().is_some_and(|o| o.may_have_more_names());
        if stat.kind != FileKind::Dir && (stat.nlink > 1 || further_names) {
            self.first.insert(ino, host.to_path_buf());
        }
        match &inode.node {
            Node::Special => {
                // Left out, so there is nothing that its other names could be linked to.
                self.first.remove(&ino);
            }
            Node::Symlink(target) => std::os::unix::fs::symlink(os_str(target), host)
                .and_then(|()| set_link_times(host, &stat))
                .map_err(|e| about("create", host, e))?,
            Node::Dir(_) => fs::create_dir(host).map_err(|e| about("create", host, e))?,
            Node::File(_) => {
                let source = Handle::new(self.core, &mut self.core.tx(), ino, true, false);
                let file = copy_out(&source, host).map_err(|e| about("write", host, e))?;
                set_meta(&file, &stat).map_err(|e| about("set the metadata of", host, e))?;
            }
        }
        Ok(stat.kind)
    }

    fn finish(&mut self) -> io::Result<()> {
        while let Some((host, stat)) = self.dirs.pop() {
            let dir = fs::File::open(&host).map_err(|e| about("open", &host, e))?;
            set_meta(&dir, &stat).map_err(|e| about("set the metadata of", &host, e))?;
        }
        Ok(())
    }

    fn at<T>(&self, host: &Path, result: Result<T, Errno>) -> io::Result<T> {
        result.map_err(|errno| about("read through the overlay, to write", host, errno.into()))
    }
}

fn copy_out(source: &dyn File, host: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(host)?;
    let mut buf = vec![0; COPY_BYTES];
    let mut offset = 0;
    while let Some(data) = source.next_data(offset)? {
        offset = data.start;
        while offset < data.end {
            let part = (data.end - offset).min(COPY_BYTES as u64) as usize;
            let n = source.read_at(&mut buf[..part], offset)?;
            if n == 0 {
                break;
            }
            std::os::unix::fs::FileExt::write_all_at(&file, &buf[..n], offset)?;
            offset += n as u64;
        }
        offset = offset.max(data.end);
    }
    // What was passed over at the end is part of the file all the same.
    file.set_len(source.stat()?.size)?;
    Ok(file)
}

fn set_link_times(host: &Path, stat: &crate::Stat) -> io::Result<()> {
    use crate::{SetTime, SetTimes};

    let (Some(dir), Some(name)) = (host.parent(), host.file_name()) else { return Ok(()) };
    let times =
        SetTimes { atime: Some(SetTime::At(stat.atime)), mtime: Some(SetTime::At(stat.mtime)) };
    Ok(crate::sys::set_times_at(&crate::sys::open_top(dir)?, name.as_bytes(), times)?)
}

fn set_meta(file: &fs::File, stat: &crate::Stat) -> io::Result<()> {
    let mut times = fs::FileTimes::new();
    if let Some(t) = stat.atime.to_system_time() {
        times = times.set_accessed(t);
    }
    if let Some(t) = stat.mtime.to_system_time() {
        times = times.set_modified(t);
    }
    file.set_times(times)?;
    file.set_permissions(fs::Permissions::from_mode(stat.mode))
}

/// All that is below a directory; every directory before what is in it.
fn scan(dir: &Path) -> io::Result<BTreeMap<Vec<u8>, Stamp>> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir).min_depth(1).follow_links(false) {
        let entry = entry.map_err(io::Error::from)?;
        let path = entry.path();
        let metadata = fs::symlink_metadata(path).map_err(|e| about("look at", path, e))?;
        let below = path.strip_prefix(dir).unwrap_or(path);
        found.insert(below.as_os_str().as_bytes().to_vec(), Stamp::of(&metadata));
    }
    Ok(found)
}

impl Materialized {
    /// The directory that was written.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Takes over into the overlay what has changed in the directory since it was written (or last
    /// absorbed): as ordinary writes, removals and so on, which the diff then shows. Permission
    /// bits do not get in the way, since it has happened. The directory is left as it is.
    ///
    /// A file that was moved there is one that is gone and one that is new.
    ///
    /// Answers the paths that it changed or found to be touched, in order.
    ///
    /// # Errors
    ///
    /// Whatever reading the directory or changing the overlay gives; the message names the path.
    /// What was taken over before it stays.
    pub fn absorb(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let now = scan(&self.dir)?;
        // What lies in a directory sorts behind it, so backwards is from the bottom up.
        for (path, was) in self.written.iter().rev() {
            if now.get(path).is_none_or(|is| is.kind != was.kind) {
                self.remove(path, was.kind)?;
            }
        }
        let mut links = Links::default();
        for (path, is) in &now {
            // Names that are what they were come first, whatever the order of the new ones.
            if self.written.get(path).is_some_and(|was| (was.id, was.kind) == (is.id, is.kind)) {
                links.note(is, path);
            }
        }
        for (path, is) in &now {
            let was = self.written.get(path).filter(|was| was.kind == is.kind);
            self.absorb_one(path, was, is, &mut links)?;
        }
        let was = std::mem::replace(&mut self.written, now);
        let mut changed: Vec<Vec<u8>> = was
            .iter()
            .filter(|(path, was)| self.written.get(*path) != Some(was))
            .map(path_of)
            .collect();
        changed
            .extend(self.written.iter().filter(|(path, _)| !was.contains_key(*path)).map(path_of));
        changed.sort_unstable();
        Ok(changed)
    }

    fn absorb_one(
        &self,
        path: &[u8],
        was: Option<&Stamp>,
        is: &Stamp,
        links: &mut Links,
    ) -> io::Result<()> {
        let host = self.dir.join(os_str(path));
        if was == Some(is) || is.kind == FileKind::Special {
            return Ok(());
        }
        if was.is_none() {
            self.remove_special(path)?;
        }
        // Another file under an old name, as after writing beside and renaming. A symlink never
        // changes, but a new one may have been given the number of the old one.
        let replaced = match is.kind {
            FileKind::File => was.is_some_and(|was| was.id != is.id),
            FileKind::Symlink => was.is_some(),
            FileKind::Dir | FileKind::Special => false,
        };
        if replaced {
            self.apply(path, |tx, at| tx.remove_file(Ino::ROOT, at))?;
        }
        if (was.is_none() || replaced) && is.kind != FileKind::Dir {
            if let Some(first) = links.first(is).filter(|first| *first != path) {
                self.link(first, path)?;
            } else if is.kind == FileKind::Symlink {
                self.absorb_symlink(path, &host)?;
            }
            links.note(is, path);
        }
        if is.kind == FileKind::Symlink {
            return Ok(());
        }
        match is.kind {
            FileKind::Dir if was.is_none() => {
                self.apply(path, |tx, at| tx.create_dir(Ino::ROOT, at, is.mode))?;
            }
            FileKind::File => self.absorb_content(path, &host)?,
            FileKind::Dir | FileKind::Symlink | FileKind::Special => {}
        }
        self.apply(path, |tx, at| {
            let ino = tx.find(Ino::ROOT, at, End::Name)?;
            if tx.live.state.inode(ino)?.meta.mode == is.mode {
                return Ok(());
            }
            tx.set_mode(ino, is.mode)
        })
    }

    fn absorb_symlink(&self, path: &[u8], host: &Path) -> io::Result<()> {
        let target = fs::read_link(host).map_err(|e| about("read", host, e))?;
        let target = target.as_os_str().as_bytes();
        self.apply(path, |tx, at| tx.symlink(target, Ino::ROOT, at))
    }

    fn link(&self, first: &[u8], path: &[u8]) -> io::Result<()> {
        self.apply(path, |tx, at| {
            let ino = tx.find(Ino::ROOT, GuestPath::new(first), End::Name)?;
            tx.link(ino, Ino::ROOT, at)
        })
    }

    /// Removes what was written and is gone. With a directory goes what was never written into it:
    /// devices, sockets and FIFOs.
    fn remove(&self, path: &[u8], kind: FileKind) -> io::Result<()> {
        self.apply(path, |tx, at| {
            if kind != FileKind::Dir {
                return tx.remove_file(Ino::ROOT, at);
            }
            let dir = tx.find(Ino::ROOT, at, End::Name)?;
            for entry in tx.list(dir)? {
                if entry.kind == FileKind::Special {
                    tx.remove_file(dir, GuestPath::new(&entry.name))?;
                }
            }
            tx.remove_dir(Ino::ROOT, at)
        })
    }

    /// Makes room where the overlay has something that was not written out.
    fn remove_special(&self, path: &[u8]) -> io::Result<()> {
        self.apply(path, |tx, at| match tx.find(Ino::ROOT, at, End::Name) {
            Ok(ino) if tx.live.state.inode(ino)?.kind() == FileKind::Special => {
                tx.remove_file(Ino::ROOT, at)
            }
            Ok(_) | Err(Errno::Noent) => Ok(()),
            Err(errno) => Err(errno),
        })
    }

    /// Makes a file of the overlay hold what the real one holds, writing only what differs.
    fn absorb_content(&self, path: &[u8], host: &Path) -> io::Result<()> {
        let how =
            OpenHow { write: true, create: Create::IfMissing, follow: Follow::No, ..OpenHow::READ };
        let core = &self.overlay.core;
        let target = self.apply(path, |tx, at| {
            let ino = tx.open(Ino::ROOT, at, &how)?;
            Ok(Handle::new(core, tx, ino, true, true))
        })?;
        let source = fs::File::open(host).map_err(|e| about("open", host, e))?;
        copy_in(&source, &target).map_err(|e| about("absorb", host, e))
    }

    fn apply<T>(
        &self,
        path: &[u8],
        operation: impl FnOnce(&mut Tx<'_>, GuestPath<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let result = operation(&mut self.overlay.core.tx_as_root(), GuestPath::new(path));
        result.map_err(|errno| about("absorb", &self.dir.join(os_str(path)), errno.into()))
    }
}

fn path_of((path, _): (&Vec<u8>, &Stamp)) -> Vec<u8> {
    path.clone()
}

/// Under which path of the overlay a file of the directory is known: several names may be one file.
#[derive(Default)]
struct Links {
    by_id: BTreeMap<(u64, u64), Vec<u8>>,
}

impl Links {
    fn note(&mut self, stamp: &Stamp, path: &[u8]) {
        self.by_id.entry(stamp.id).or_insert_with(|| path.to_vec());
    }

    fn first(&self, stamp: &Stamp) -> Option<&[u8]> {
        self.by_id.get(&stamp.id).map(Vec::as_slice)
    }
}

fn copy_in(source: &fs::File, target: &Handle) -> io::Result<()> {
    let (mut new, mut old) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
    let mut offset = 0;
    loop {
        let n = std::os::unix::fs::FileExt::read_at(source, &mut new, offset)?;
        if n == 0 {
            break;
        }
        let held = target.read_at(&mut old[..n], offset)?;
        if held < n || new[..n] != old[..n] {
            let mut done = 0;
            while done < n {
                done += target.write_at(&new[done..n], offset + done as u64)?;
            }
        }
        offset += n as u64;
    }
    if target.stat()?.size != offset {
        target.set_len(offset)?;
    }
    Ok(())
}

/// What `code` does to a copy of the directory `dir`, as a diff. The directory itself is not
/// touched. For code that calls `std::fs` itself, which an overlay cannot see.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a.txt"), "old\n")?;
/// let diff = testbench_overlay::capture(dir.path(), |copy| {
///     std::fs::rename(copy.join("a.txt"), copy.join("b.txt"))
/// })?;
/// assert_eq!(diff.renames_by_content().summary(), "R a.txt -> b.txt\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// What copying, `code` or comparing gives.
pub fn capture<E: From<io::Error>>(
    dir: impl AsRef<Path>,
    code: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Diff, E> {
    let dir = dir.as_ref();
    let overlay = Overlay::builder(dir)
        .lower_modes(crate::LowerModes::Real)
        .lower_times(crate::LowerTimes::Real)
        .build()
        .map_err(io::Error::from)?;
    let temp = tempfile::tempdir()?;
    let copy = temp.path().join("copy");
    let mut written = overlay.materialize(&copy)?;
    code(&copy)?;
    written.absorb()?;
    Ok(overlay.diff().map_err(io::Error::from)?)
}

pub(crate) fn os_str(bytes: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(bytes)
}

fn about(what: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} `{}`: {error}", path.display()))
}
