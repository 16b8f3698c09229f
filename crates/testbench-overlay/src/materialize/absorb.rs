//! Absorbing: the changes of a directory since an overlay was written out into it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use testbench_clock::WallTime;

use super::trail::Trail;
use super::{COPY_BYTES, Materialized, RealTree, about};
use crate::handle::Handle;
use crate::lower::observe::{LowerId, Stamp};
use crate::ops::core::Tx;
use crate::places::{PathId, Paths};
use crate::resolve::End;
use crate::upper::inode::{Ino, Node};
use crate::vfs::name::RelPath;
use crate::{Create, Errno, File, FileKind, Follow, GuestPath, OpenHow, SetTime, SetTimes};

/// The state of a directory: its places, each directory before what is in it, and the stamp of each.
#[derive(Debug)]
pub(super) struct Scan {
    paths: Paths,
    stamps: Vec<(PathId, Stamp)>,
}

impl Scan {
    /// Looks at the whole directory.
    pub(super) fn of(tree: &RealTree) -> io::Result<Scan> {
        let top = tree.at(&RelPath::TOP, "look at", tree.seen.top_stat())?;
        let mut trail = Trail::new(tree);
        let mut stamps = vec![(PathId::TOP, Stamp::of(&top))];
        let mut todo = vec![PathId::TOP];
        while let Some(at) = todo.pop() {
            let entries = trail.list(at);
            for entry in trail.at(at, "list", entries)? {
                let place = trail.paths.child(at, &entry.name);
                let stat = trail.look(place);
                // A name that is gone by now was never there.
                let Some(stat) = trail.at(place, "look at", stat)? else { continue };
                stamps.push((place, Stamp::of(&stat)));
                if stat.kind == FileKind::Dir {
                    todo.push(place);
                }
            }
        }
        Ok(Scan { paths: trail.paths, stamps })
    }

    /// When the last change that shows in the directory was made, by the clock of its file system.
    pub(super) fn latest(&self) -> WallTime {
        let ctimes = self.stamps.iter().map(|(_, stamp)| stamp.ctime);
        ctimes.fold(self.stamps[0].1.ctime, WallTime::max)
    }

    /// All that is below the top.
    fn by_path(&self) -> BTreeMap<RelPath, Stamp> {
        let mut paths = BTreeMap::from([(PathId::TOP, RelPath::TOP)]);
        let mut stamps = BTreeMap::new();
        for (id, stamp) in &self.stamps[1..] {
            let path = paths[&self.paths.dir(*id)].child(self.paths.name(*id));
            paths.insert(*id, path.clone());
            stamps.insert(path, *stamp);
        }
        stamps
    }
}

/// Whether the thing itself was changed, and not only what is in a directory, or how many names a
/// file has.
fn is_changed(was: &Stamp, is: &Stamp) -> bool {
    let Stamp { kind, id, mode, size, mtime, ctime: _ } = *is;
    (kind, id, mode) != (was.kind, was.id, was.mode)
        || (kind != FileKind::Dir && (size, mtime) != (was.size, was.mtime))
}

/// Returns the modification time of a changed entry, if it has a new one. An entry that was written or
/// touched since `written_at` gets the time of the overlay's clock. A time that the file system's clock
/// did not produce was set, as by `touch -d`, `tar` or `cp -p`, and is kept.
fn mtime_of(was: Option<&Stamp>, is: &Stamp, written_at: WallTime) -> Option<SetTime> {
    match was {
        Some(was) if (was.id, was.mtime) == (is.id, is.mtime) => None,
        _ if (written_at..=is.ctime).contains(&is.mtime) => Some(SetTime::Now),
        _ => Some(SetTime::At(is.mtime)),
    }
}

impl Materialized {
    /// The directory that was written, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Applies the changes of the directory since it was written (or last absorbed) to the overlay: as
    /// ordinary writes, removals and so on, which the diff then shows. Permission bits are not checked,
    /// because the change has happened already. The directory stays as it is.
    ///
    /// A file that was moved there appears as removed and added. A file that was written or touched
    /// there has changed now, by the overlay's clock. A time that was set explicitly, as by
    /// `touch -d`, is kept.
    ///
    /// Returns the paths that it changed or found to be touched, in order.
    ///
    /// ```
    /// use testbench_overlay::Overlay;
    ///
    /// let (lower, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// let overlay = Overlay::new(lower.path())?;
    /// let mut written = overlay.materialize(out.path())?;
    /// std::fs::write(out.path().join("new"), "text")?;
    /// assert_eq!(written.absorb()?, [b"new"]);
    /// assert!(written.absorb()?.is_empty(), "nothing has happened since");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ReadOnlyFilesystem`] if something has changed that is
    /// [read-only](crate::OverlayBuilder::read_only_at), and [`io::ErrorKind::PermissionDenied`] if a
    /// [hidden](crate::OverlayBuilder::hide) name was made: then nothing is taken over. Else whatever
    /// reading the directory or changing the overlay gives; what was taken over before it stays. The
    /// message names the path. [`io::ErrorKind::NotFound`] if the directory itself is no
    /// longer the one that was written.
    pub fn absorb(&mut self) -> io::Result<Vec<Vec<u8>>> {
        if !self.tree.is_in_place() {
            let error = io::Error::new(
                io::ErrorKind::NotFound,
                "it was moved, removed or replaced since the overlay was written there",
            );
            return Err(about("absorb", &self.dir, error));
        }
        self.tree.renew();
        let scan = Scan::of(&self.tree)?;
        let (written, now) = (self.written.by_path(), scan.by_path());
        self.check_policy(&written, &now)?;
        // What lies in a directory sorts behind it, so backwards is from the bottom up.
        for (path, was) in written.iter().rev() {
            if now.get(path).is_none_or(|is| is.kind != was.kind) {
                self.remove(path, was.kind)?;
            }
        }
        let mut links = Links::default();
        for (path, is) in &now {
            // Names that are what they were come first, whatever the order of the new ones.
            if let Some(was) = written.get(path)
                && self.is_the_same(path, was, is)?
            {
                links.note(is, path);
            }
        }
        for (path, is) in &now {
            let was = written.get(path).filter(|was| was.kind == is.kind);
            self.absorb_one(path, was, is, &mut links)?;
        }
        // At last, since what is done in a directory moves its times.
        for (path, is) in &now {
            self.absorb_time(path, written.get(path), is)?;
        }
        self.written_at = scan.latest().max(self.written_at);
        self.written = scan;
        let differs = |(path, was): &(&RelPath, &Stamp)| now.get(*path) != Some(was);
        let is_new = |(path, _): &(&RelPath, &Stamp)| !written.contains_key(*path);
        let mut changed: Vec<Vec<u8>> =
            written.iter().filter(differs).chain(now.iter().filter(is_new)).map(path_of).collect();
        changed.sort_unstable();
        Ok(changed)
    }

    /// Nothing is taken over if a part of it must not be.
    fn check_policy(
        &self,
        written: &BTreeMap<RelPath, Stamp>,
        now: &BTreeMap<RelPath, Stamp>,
    ) -> io::Result<()> {
        let policy = &self.overlay.core.config.policy;
        let differs =
            |(path, was): &(&RelPath, &Stamp)| now.get(*path).is_none_or(|is| is_changed(was, is));
        let was = written.iter().filter(differs);
        let new = now.iter().filter(|(path, _)| !written.contains_key(*path));
        for (path, _) in was.chain(new) {
            self.tree.at(path, "absorb", policy.check_absorbed(path))?;
        }
        Ok(())
    }

    fn absorb_one(
        &self,
        path: &RelPath,
        was: Option<&Stamp>,
        is: &Stamp,
        links: &mut Links,
    ) -> io::Result<()> {
        if was == Some(is) || is.kind == FileKind::Special {
            return Ok(());
        }
        if was.is_none() {
            self.remove_special(path)?;
        }
        // Another file under an old name, as after writing beside and renaming.
        let replaced = match was {
            Some(was) if is.kind != FileKind::Dir => !self.is_the_same(path, was, is)?,
            _ => false,
        };
        if replaced {
            self.apply(path, |tx, at| tx.remove_file(Ino::ROOT, at))?;
        }
        if (was.is_none() || replaced) && is.kind != FileKind::Dir {
            if let Some(first) = links.first(is).filter(|first| *first != path) {
                self.link(first, path)?;
            } else if is.kind == FileKind::Symlink {
                self.absorb_symlink(path)?;
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
            FileKind::File => self.absorb_content(path)?,
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

    fn absorb_time(&self, path: &RelPath, was: Option<&Stamp>, is: &Stamp) -> io::Result<()> {
        let mtime = mtime_of(was, is, self.written_at);
        // Of a directory that is read-only: something came into it, and was gone again.
        let may_not = self.overlay.core.config.policy.check_absorbed(path).is_err();
        if mtime.is_none() || may_not || is.kind == FileKind::Special {
            return Ok(());
        }
        self.apply(path, |tx, at| {
            let ino = tx.find(Ino::ROOT, at, End::Name)?;
            tx.set_times(ino, SetTimes { atime: None, mtime })
        })
    }

    /// Whether it is what was there before. A symlink never changes, but a new one may have been given
    /// the number of an old one.
    fn is_the_same(&self, path: &RelPath, was: &Stamp, is: &Stamp) -> io::Result<bool> {
        if (was.id, was.kind) != (is.id, is.kind) {
            return Ok(false);
        }
        if was == is || is.kind != FileKind::Symlink {
            return Ok(true);
        }
        let target = self.tree.at(path, "read", self.tree.read_link(path))?;
        self.apply(path, |tx, at| {
            let ino = tx.find(Ino::ROOT, at, End::Name)?;
            let node = &tx.live.state.inode(ino)?.node;
            Ok(matches!(node, Node::Symlink(held) if **held == target[..]))
        })
    }

    fn absorb_symlink(&self, path: &RelPath) -> io::Result<()> {
        let target = self.tree.at(path, "read", self.tree.read_link(path))?;
        self.apply(path, |tx, at| tx.symlink(&target, Ino::ROOT, at))
    }

    fn link(&self, first: &RelPath, path: &RelPath) -> io::Result<()> {
        self.apply(path, |tx, at| {
            let ino = tx.find(Ino::ROOT, GuestPath::new(first.as_bytes()), End::Name)?;
            tx.link(ino, Ino::ROOT, at)
        })
    }

    /// Removes what was written and is gone. With a directory goes what was never written into it:
    /// devices, sockets and FIFOs.
    fn remove(&self, path: &RelPath, kind: FileKind) -> io::Result<()> {
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
    fn remove_special(&self, path: &RelPath) -> io::Result<()> {
        self.apply(path, |tx, at| match tx.find(Ino::ROOT, at, End::Name) {
            Ok(ino) if tx.live.state.inode(ino)?.kind() == FileKind::Special => {
                tx.remove_file(Ino::ROOT, at)
            }
            Ok(_) | Err(Errno::Noent) => Ok(()),
            Err(errno) => Err(errno),
        })
    }

    /// Makes a file of the overlay hold what the real one holds, writing only what differs.
    fn absorb_content(&self, path: &RelPath) -> io::Result<()> {
        let how =
            OpenHow { write: true, create: Create::IfMissing, follow: Follow::No, ..OpenHow::READ };
        let core = &self.overlay.core;
        let target = self.apply(path, |tx, at| {
            let ino = tx.open(Ino::ROOT, at, &how)?;
            Ok(Handle::new(core, tx, ino, true, true))
        })?;
        let source = self.tree.at(path, "open", self.tree.open_file(path))?;
        self.tree.at(path, "absorb", copy_in(&*source, &target))
    }

    fn apply<T>(
        &self,
        path: &RelPath,
        operation: impl FnOnce(&mut Tx<'_>, GuestPath<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let at = GuestPath::new(path.as_bytes());
        self.tree.at(path, "absorb", operation(&mut self.overlay.core.tx_as_root(), at))
    }
}

fn path_of((path, _): (&RelPath, &Stamp)) -> Vec<u8> {
    path.as_bytes().to_vec()
}

/// Under which path of the overlay a file of the directory is known: several names may be one file.
#[derive(Default)]
struct Links {
    by_id: BTreeMap<LowerId, RelPath>,
}

impl Links {
    fn note(&mut self, stamp: &Stamp, path: &RelPath) {
        self.by_id.entry(stamp.id).or_insert_with(|| path.clone());
    }

    fn first(&self, stamp: &Stamp) -> Option<&RelPath> {
        self.by_id.get(&stamp.id)
    }
}

fn copy_in(source: &dyn File, target: &Handle) -> Result<(), Errno> {
    let (mut new, mut old) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
    let mut offset = 0;
    loop {
        let n = match source.read_at(&mut new, offset) {
            Ok(0) => break,
            Err(Errno::Intr) => continue,
            read => read?,
        };
        let held = target.read_at(&mut old[..n], offset)?;
        if held < n || new[..n] != old[..n] {
            super::write_all(target, &new[..n], offset)?;
        }
        offset += n as u64;
    }
    if target.stat()?.size != offset { target.set_len(offset) } else { Ok(()) }
}
