//! From the upper layer to the list of changes that a [`Diff`](crate::Diff) is made of.
//!
//! Only names with an entry in the upper layer are compared. A removed or moved directory is the
//! exception: its lower contents are listed, since each of its files is gone or has come along.
//!
//! A path names the same place before (in the lower tree) and after, so the old state of a path is
//! read from the lower tree. The origin of an inode of the upper layer is the path from which it
//! came.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::OverlayError;
use crate::diff::{Change, Content, DiffOptions, Side};
use crate::error::{display, read_error};
use crate::handle::whole;
use crate::lower::observe::{Listing, Observation, Seen, Stamp};
use crate::lower::view::Meta;
use crate::ops::core::Core;
use crate::ops::lookup::path_of;
use crate::upper::inode::{Dir, Entry, Ino, Inode, Node, State};
use crate::vfs::name::RelPath;
use crate::{DirEntry, Errno, FileKind, LowerChangeKind, Stat};

/// The limit for the contents of all changes. A diff outlives the trees that it compares, so it holds
/// the contents in memory. More than this is a file with a hole of gigabytes or a runaway program,
/// and would fill the memory of the machine.
const BYTES_MAX: u64 = 4 << 30;

/// All changes, in no particular order.
pub(crate) fn changes(core: &Core, options: DiffOptions) -> Result<Vec<Change>> {
    let state = core.find_other_names().map_err(|errno| read_error(&core.lower, b"", errno))?;
    // Paths count by where they lead now, not by where they led when a directory was opened.
    core.lower.forget_dirs();
    let (sources, room) = (BTreeSet::new(), Cell::new(BYTES_MAX));
    let mut changes = Changes { core, options, state, sources, room, changes: Vec::new() };
    changes.report_top()?;
    let (placed, removed) = changes.place_entries()?;
    // Moves must be known before removals.
    for (ino, places) in &placed {
        changes.report(*ino, places)?;
    }
    for lower in removed {
        changes.report_lower(lower, None)?;
    }
    Ok(changes.changes)
}

struct Changes<'c> {
    core: &'c Core,
    options: DiffOptions,
    state: State,
    /// Lower paths of files that live on: elsewhere, or at the same path in a directory that was
    /// replaced. The contents of such a directory are reported with it.
    sources: BTreeSet<RelPath>,
    /// How many bytes of contents there is room for still.
    room: Cell<u64>,
    changes: Vec<Change>,
}

/// A name of an inode.
#[derive(Clone, Debug)]
struct Place {
    path: RelPath,
    /// The lower path that the directory's own origin gives the name.
    lower: Option<RelPath>,
}

/// The places of each inode that has an entry.
type Placed = BTreeMap<Ino, Vec<Place>>;

type Result<T> = std::result::Result<T, OverlayError>;

impl<'c> Changes<'c> {
    /// The top can change its mode and nothing else.
    fn report_top(&mut self) -> Result<()> {
        let inode = self.inode(Ino::ROOT, &RelPath::TOP)?;
        let before = inode.origin.as_ref().map_or(inode.meta, |origin| origin.meta);
        let [before, after] = [before, inode.meta].map(|meta| self.unread(FileKind::Dir, &meta));
        self.changes.push(Change::changed(b"", before, after));
        Ok(())
    }

    /// Finds the places of all inodes with an entry, and the lower names that their own directory
    /// does not show any more. A list and not recursion: a guest may nest directories deeper than
    /// the stack is.
    fn place_entries(&self) -> Result<(Placed, Vec<RelPath>)> {
        let (mut placed, mut removed) = (Placed::new(), Vec::new());
        let mut dirs = vec![(Ino::ROOT, RelPath::TOP)];
        while let Some((ino, path)) = dirs.pop() {
            let dir = self.state.dir(ino).map_err(self.at(&path))?;
            for (name, entry) in dir.entries.iter() {
                let path = path.child(name.as_bytes());
                let lower = dir.lower.as_ref().map(|lower| lower.child(name.as_bytes()));
                let Entry::Present(child) = *entry else {
                    removed.extend(lower);
                    continue;
                };
                let inode = self.inode(child, &path)?;
                let came_from = |lower: &RelPath| {
                    inode.origin.as_ref().is_some_and(|origin| origin.paths.contains(lower))
                };
                removed.extend(lower.clone().filter(|lower| !came_from(lower)));
                if inode.kind() == FileKind::Dir {
                    dirs.push((child, path.clone()));
                }
                placed.entry(child).or_default().push(Place { path, lower });
            }
        }
        // A path comes before all others by which the same inode is reported as a link.
        for places in placed.values_mut() {
            places.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Ok((placed, removed))
    }

    /// Reports an inode: what it was and is where the lower tree had it, where else it is now, and
    /// its further names. An entry that it replaced is reported as removed.
    fn report(&mut self, ino: Ino, places: &[Place]) -> Result<()> {
        let inode = self.inode(ino, &places[0].path)?;
        let (mut first, mut others) = (None, Vec::new());
        for Place { path, lower } in places {
            let was_at = |path: &&RelPath| {
                inode.origin.as_ref().is_some_and(|origin| origin.paths.contains(*path))
            };
            match [Some(path), lower.as_ref()].into_iter().flatten().find(was_at) {
                Some(from) => {
                    self.report_kept(&inode, from, path)?;
                    first.get_or_insert_with(|| path.clone());
                }
                None => others.push(path),
            }
        }
        let first = match first.or_else(|| self.unpinned_place(&inode)) {
            Some(first) => first,
            None => {
                let first = others.remove(0);
                match &inode.origin {
                    Some(origin) => self.report_kept(&inode, origin.path(), first)?,
                    None => {
                        let side = self.side(&inode, first)?;
                        self.changes.push(Change::added(first.as_bytes(), side));
                    }
                }
                first.clone()
            }
        };
        for path in others {
            let side = self.side(&inode, path)?;
            self.changes.push(Change::linked(first.as_bytes(), path.as_bytes(), side));
        }
        Ok(())
    }

    /// A name under which an inode still is where it was, although no entry says so.
    fn unpinned_place(&self, inode: &Inode) -> Option<RelPath> {
        let origin = inode.origin.as_ref()?;
        inode.names.iter().find_map(|(dir, name)| {
            let lower = self.state.dir(*dir).ok()?.lower.as_ref()?.child(name.as_bytes());
            let path = path_of(&self.state, *dir)?.child(name.as_bytes());
            origin.paths.contains(&lower).then_some(path)
        })
    }

    /// Reports something that the lower tree had at `from`, and that is now at `path`.
    fn report_kept(&mut self, inode: &Inode, from: &RelPath, path: &RelPath) -> Result<()> {
        let (before, after) = self.sides(inode, from, path)?;
        self.sources.insert(from.clone());
        self.changes.push(Change::renamed(from.as_bytes(), path.as_bytes(), before, after));
        let Node::Dir(Dir { lower: Some(lower), entries, .. }) = &inode.node else { return Ok(()) };
        if from == path {
            return Ok(());
        }
        // The files that came along and have no entry of their own.
        for entry in self.list(lower)? {
            if !entries.contains_key(&entry.name[..]) {
                self.report_lower(lower.child(&entry.name), Some(path.child(&entry.name)))?;
            }
        }
        Ok(())
    }

    /// Reports a lower path, and all beneath it, as moved to another one, or as gone: unless it has
    /// moved, it is not shown where it was.
    fn report_lower(&mut self, lower: RelPath, to: Option<RelPath>) -> Result<()> {
        // A list and not recursion: a tree may be deeper than the stack.
        let mut todo = vec![(lower, to)];
        while let Some((lower, to)) = todo.pop() {
            if to.is_none() && self.sources.contains(&lower) {
                continue;
            }
            let Some(stat) = self.core.lower.stat(&lower).map_err(self.at(&lower))? else {
                // Removed here, and then there.
                if let Some(Observation::Removed(..)) = self.state.reads.get(&lower) {
                    return Err(self.changed(&lower, LowerChangeKind::Removed));
                }
                continue;
            };
            if self.state.was_absent(&lower) {
                return Err(self.changed(&lower, LowerChangeKind::Appeared));
            }
            let needed = to.as_ref().is_none_or(|to| needs_content(&lower, to, stat.kind));
            let side = match needed {
                true => self.lower_side(&lower, &stat)?,
                false => self.unread(stat.kind, &self.core.view.meta(&stat)),
            };
            if stat.kind == FileKind::Dir {
                let below = self.list(&lower)?.into_iter().map(|entry| {
                    (lower.child(&entry.name), to.as_ref().map(|to| to.child(&entry.name)))
                });
                todo.extend(below);
            }
            self.changes.push(match &to {
                None => Change::removed(lower.as_bytes(), side),
                Some(to) => Change::renamed(lower.as_bytes(), to.as_bytes(), side.clone(), side),
            });
            if to.is_some() {
                self.sources.insert(lower);
            }
        }
        Ok(())
    }

    /// Lists a lower directory; fails if it was listed before with other entries.
    fn list(&self, dir: &RelPath) -> Result<Vec<DirEntry>> {
        let before = self.state.reads.get(dir).and_then(Observation::listing);
        let entries = self.core.lower.list(dir).map_err(self.at(dir))?;
        if before.is_some_and(|before| *before != Listing::of(&entries)) {
            return Err(self.changed(dir, LowerChangeKind::Listing));
        }
        Ok(entries)
    }

    /// Before and after of something that was in the lower tree, at `from`, and is now at `path`.
    fn sides(&self, inode: &Inode, from: &RelPath, path: &RelPath) -> Result<(Side, Side)> {
        let origin = inode.origin.as_ref().expect("it was in the lower tree");
        let needed = needs_content(from, path, inode.kind());
        let unchanged = match &inode.node {
            Node::File(content) => content.is_base(origin.seen.stamp.size),
            _ => true,
        };
        if unchanged && !needed {
            let [old, new] = [&origin.meta, &inode.meta];
            return Ok((self.unread(inode.kind(), old), self.unread(inode.kind(), new)));
        }
        let mut before = inode.clone();
        before.meta = origin.meta;
        if let Node::File(_) = inode.node {
            before.node = Node::File(crate::upper::content::Content::base(origin.seen.stamp.size));
        }
        let before = self.side(&before, path)?;
        let as_seen = before.bytes().is_none_or(|bytes| origin.seen.agrees_with(bytes));
        if !as_seen {
            return Err(self.changed(origin.path(), LowerChangeKind::Modified));
        }
        Ok((before, self.side(inode, path)?))
    }

    /// Returns an inode as it is now.
    fn side(&self, inode: &Inode, path: &RelPath) -> Result<Side> {
        let content = match &inode.node {
            Node::Dir(_) | Node::Special => Content::Unread,
            Node::Symlink(target) => Content::Bytes(target.clone()),
            Node::File(content) => {
                self.make_room(content.len(), path)?;
                Content::Bytes(whole(self.core, inode).map_err(self.at(path))?)
            }
        };
        Ok(self.side_of(inode.kind(), &inode.meta, content))
    }

    /// Something whose content is the same on both sides.
    fn unread(&self, kind: FileKind, meta: &Meta) -> Side {
        self.side_of(kind, meta, Content::Unread)
    }

    /// With its time, if times count.
    fn side_of(&self, kind: FileKind, meta: &Meta, content: Content) -> Side {
        let since_start = || {
            let ns = meta.mtime.unix_nanos() - self.core.view.start.unix_nanos();
            // Three centuries before or after the start are the limit.
            ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        };
        let mtime_ns = self.options.times.then(since_start);
        Side { kind, mode: meta.mode, content, mtime_ns }
    }

    /// [`Errno::Fbig`] if so many bytes more are too many. Asked before they are read.
    fn make_room(&self, bytes: u64, path: &RelPath) -> Result<()> {
        let left = self.room.get().checked_sub(bytes).ok_or(Errno::Fbig);
        self.room.set(left.map_err(self.at(path))?);
        Ok(())
    }

    /// Returns the file of the lower tree at a path that the upper layer no longer shows.
    fn lower_side(&self, path: &RelPath, stat: &Stat) -> Result<Side> {
        let seen = match self.state.reads.get(path) {
            Some(Observation::Removed(seen, _)) => Some(seen),
            _ => None,
        };
        let content = match stat.kind {
            FileKind::Dir | FileKind::Special => Content::Unread,
            FileKind::Symlink => {
                Content::Bytes(self.core.lower.read_link(path).map_err(self.at(path))?.into())
            }
            FileKind::File => {
                self.make_room(stat.size, path)?;
                Content::Bytes(self.core.lower.read_lower(path, stat).map_err(self.at(path))?)
            }
        };
        let side = self.side_of(stat.kind, &self.core.view.meta(stat), content);
        match seen.and_then(|seen| change_since(seen, stat, &side)) {
            Some(kind) => Err(self.changed(path, kind)),
            None => Ok(side),
        }
    }

    fn inode(&self, ino: Ino, path: &RelPath) -> Result<Arc<Inode>> {
        self.state.inode(ino).cloned().map_err(self.at(path))
    }

    fn changed(&self, path: &RelPath, kind: LowerChangeKind) -> OverlayError {
        self.at(path)(self.core.lower.note_change(path, kind))
    }

    /// The error of a path.
    fn at(&self, path: &RelPath) -> impl FnOnce(Errno) -> OverlayError + use<'c, '_> {
        let (core, path) = (self.core, path.clone());
        move |errno| match errno {
            Errno::Fbig => OverlayError::DiffTooLarge {
                path: display(path.as_bytes()).to_string(),
                bytes_max: BYTES_MAX,
            },
            errno => read_error(&core.lower, path.as_bytes(), errno),
        }
    }
}

/// How something that was removed here has changed beneath since it was seen.
fn change_since(seen: &Seen, stat: &Stat, side: &Side) -> Option<LowerChangeKind> {
    let as_seen = side.bytes().is_none_or(|bytes| seen.agrees_with(bytes));
    let modified = (!as_seen).then_some(LowerChangeKind::Modified);
    seen.stamp.change_to(&Stamp::of(stat)).or(modified)
}

/// Whether the content of something that moved is needed, be it unchanged.
fn needs_content(from: &RelPath, path: &RelPath, kind: FileKind) -> bool {
    from != path && Change::rename_needs_content(from.as_bytes(), path.as_bytes(), kind)
}
