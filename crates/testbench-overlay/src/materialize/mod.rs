//! The overlay for code that cannot go through it: a native child, or Rust code that calls
//! `std::fs`. The tree is written out, used, and what has changed there is read back.
//!
//! Both ways go through handles, one name at a time ([`RealTree`]): whoever swaps names in the
//! directory meanwhile, as a process that a native tool has left behind, can neither make us write
//! beside it nor read something else. `absorb.rs` is the way back.

#![allow(clippy::disallowed_methods, reason = "makes the directory that it writes to")]

pub(crate) mod apply;

mod absorb;
mod real;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use testbench_clock::WallTime;

use crate::commit::{At, Disk};
use crate::diff::Diff;
use crate::handle::Handle;
use crate::ops::core::Core;
use crate::places::PathId;
use crate::upper::inode::{Ino, Node};
use crate::vfs::name::RelPath;
use crate::{Errno, File, FileKind, Overlay, SetTime, SetTimes};
use real::Scan;

pub(crate) use real::RealTree;

/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// An overlay written out into a real directory. Made by [`Overlay::materialize`].
///
/// ```
/// use testbench_overlay::Overlay;
///
/// let (lower, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// std::fs::write(lower.path().join("a"), "text")?;
/// let overlay = Overlay::new(lower.path())?;
/// let mut written = overlay.materialize(out.path().join("copy"))?;
/// std::fs::remove_file(written.path().join("a"))?;
/// assert_eq!(written.absorb()?, [b"a"]);
/// assert_eq!(overlay.diff()?.summary(), "D a\n");
/// assert!(lower.path().join("a").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Materialized {
    overlay: Arc<Overlay>,
    dir: PathBuf,
    /// Where it was written, whatever its path leads to by now.
    tree: RealTree,
    /// The directory as it was written.
    written: Scan,
    /// When the last of that was written, by the clock of the file system.
    written_at: WallTime,
}

impl Overlay {
    /// Writes the merged tree into `dir`, which is made if it is missing and must be empty. Hard
    /// links, permission bits and times are kept; devices, sockets and FIFOs are left out. Where
    /// the file system can, files that are as they were beneath share its blocks with theirs.
    ///
    /// [Hidden](crate::OverlayBuilder::hide) names and mounted trees are left out. Faults and the audit
    /// are about operations on the overlay, and do not see this.
    ///
    /// Nobody else should change the overlay while it is written: each change is in the copy or is not,
    /// and a rollback makes it fail with [`io::ErrorKind::StaleNetworkFileHandle`].
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
    /// [`io::ErrorKind::InvalidInput`] if `dir` lies in the lower directory or that in `dir`,
    /// [`io::ErrorKind::DirectoryNotEmpty`], and whatever reading the overlay or writing the
    /// directory gives; the message names the path. The directory then holds a part of the tree.
    pub fn materialize(self: &Arc<Self>, dir: impl AsRef<Path>) -> io::Result<Materialized> {
        let dir = std::path::absolute(dir.as_ref())?;
        self.check_apart(&dir).map_err(|e| about("materialize an overlay into", &dir, e))?;
        std::fs::create_dir_all(&dir).map_err(|e| about("create", &dir, e))?;
        let tree = RealTree::open(&dir).map_err(|e| about("open", &dir, e))?;
        if !tree.at(&RelPath::TOP, "list", tree.seen.list(&RelPath::TOP))?.is_empty() {
            let full = io::ErrorKind::DirectoryNotEmpty.into();
            return Err(about("materialize an overlay into", &dir, full));
        }
        let (core, disk) = (&self.core, tree.disk());
        Writer { core, tree: &tree, disk, first: BTreeMap::new(), dirs: Vec::new() }
            .write_tree()?;
        let written = tree.scan()?;
        let written_at = written.latest();
        Ok(Materialized { overlay: self.clone(), dir, tree, written, written_at })
    }

    /// Refuses a directory that is a part of what is read: it would change the lower tree, and never
    /// be full.
    fn check_apart(&self, dir: &Path) -> io::Result<()> {
        match self.root_that_meets(&as_it_will_be(dir)?) {
            None => Ok(()),
            Some(root) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "it lies in the lower directory `{}`, or that in it, and the lower directory is \
                     never written; choose a directory elsewhere",
                    root.display()
                ),
            )),
        }
    }
}

/// The canonical path that an absolute one has once its missing directories are made.
fn as_it_will_be(path: &Path) -> io::Result<PathBuf> {
    let exists = |at: &&Path| std::fs::symlink_metadata(at).is_ok();
    let there = path.ancestors().find(exists).unwrap_or(path);
    let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
    if rest.components().any(|part| part == Component::ParentDir) {
        let why = "a `..` in it follows a directory that is missing";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(std::fs::canonicalize(there)?.join(rest))
}

struct Writer<'c> {
    core: &'c Arc<Core>,
    tree: &'c RealTree,
    disk: Disk<'c>,
    /// The first place of a file that may have several names.
    first: BTreeMap<Ino, PathId>,
    /// Directories whose mode and times are set when all in them is done.
    dirs: Vec<(PathId, crate::Stat)>,
}

impl Writer<'_> {
    /// Writes all entries. Goes by a list: a tree may be deeper than the stack.
    fn write_tree(&mut self) -> io::Result<()> {
        let mut todo = vec![(Ino::ROOT, PathId::TOP)];
        while let Some((dir, at)) = todo.pop() {
            let (stat, entries) = {
                let mut tx = self.core.tx_as_root();
                let stat = tx.live.state.inode(dir).map(|inode| inode.stat(dir));
                (self.read(at, stat)?, self.read(at, tx.list(dir))?)
            };
            self.dirs.push((at, stat));
            for entry in entries {
                let place = self.disk.paths.child(at, &entry.name);
                let policy = &self.core.config.policy;
                let path = || RelPath::TOP.join(&self.disk.paths.bytes(place));
                if policy.hides_anything() && policy.hides(&path()) {
                    continue;
                }
                let child = self.core.tx_as_root().lookup(dir, &entry.name);
                if let Some(child) = self.read(place, child)?
                    && self.write(child, place)? == FileKind::Dir
                {
                    todo.push((child, place));
                }
            }
        }
        // From the bottom up: a change in a directory moves its times, and its permission bits may
        // allow nothing.
        while let Some((at, stat)) = self.dirs.pop() {
            self.set_meta(at, &stat)?;
        }
        Ok(())
    }

    fn write(&mut self, ino: Ino, at: PathId) -> io::Result<FileKind> {
        let inode = self.read(at, self.core.tx().live.state.inode(ino).cloned())?;
        let stat = inode.stat(ino);
        let here = At::Tree(at);
        if let Some(first) = self.first.get(&ino) {
            self.disk.link(At::Tree(*first), here)?;
            return Ok(stat.kind);
        }
        let further_names = inode.origin.as_ref().is_some_and(|o| o.may_have_more_names());
        let may_be_linked = stat.nlink > 1 || further_names;
        if may_be_linked && !matches!(stat.kind, FileKind::Dir | FileKind::Special) {
            self.first.insert(ino, at);
        }
        match &inode.node {
            // Left out.
            Node::Special => {}
            Node::Symlink(target) => {
                self.disk.symlink(target, here)?;
                self.disk.set_times(here, times(&stat))?;
            }
            Node::Dir(_) => self.disk.make_dir(here)?,
            Node::File(_) => {
                let source = Handle::new(self.core, &mut self.core.tx(), ino, true, false);
                let file = self.tree.host.written_file(self.disk.make_file(here)?);
                let copied = copy_out(&source, &*file);
                copied.map_err(|errno| self.disk.refused("write", here, errno))?;
                self.set_meta(at, &stat)?;
            }
        }
        Ok(stat.kind)
    }

    fn set_meta(&mut self, at: PathId, stat: &crate::Stat) -> io::Result<()> {
        self.disk.set_times(At::Tree(at), times(stat))?;
        Ok(self.disk.set_mode(At::Tree(at), stat.mode)?)
    }

    fn read<T>(&self, at: PathId, result: Result<T, Errno>) -> io::Result<T> {
        let what = "read through the overlay, to write";
        Ok(result.map_err(|errno| self.disk.refused(what, At::Tree(at), errno))?)
    }
}

fn copy_out(source: &Handle, target: &dyn File) -> Result<(), Errno> {
    if source.clone_unchanged(target) {
        return Ok(());
    }
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
            write_all(target, &buf[..n], offset)?;
            offset += n as u64;
        }
        offset = offset.max(data.end);
    }
    // What was passed over at the end is part of the file all the same.
    target.set_len(source.stat()?.size)
}

fn write_all(target: &dyn File, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        match target.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::Io),
            Ok(n) => done += n,
            Err(Errno::Intr) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn times(stat: &crate::Stat) -> SetTimes {
    SetTimes { atime: Some(SetTime::At(stat.atime)), mtime: Some(SetTime::At(stat.mtime)) }
}

/// Runs `code` on a copy of the directory `dir` and returns its changes as a diff. The directory
/// itself is not touched. It is for code that calls `std::fs`, which an overlay cannot see.
///
/// `code` gets the path of the copy. Changes elsewhere are real and not in the diff, and the current
/// directory stays the same. A file that was moved in the copy appears as removed and added; see
/// [`Diff::renames_by_content`].
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
/// The error of copying, of `code`, or of comparing.
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

pub(crate) fn about(what: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} `{}`: {error}", path.display()))
}
