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

use crate::OverlayError;
use crate::diff::{Change, Content, DiffOptions, Side};
use crate::error::{display, read_error};
use crate::handle::whole;
use crate::lower::observe::{Listing, Observation, Origin, Seen, Stamp};
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
pub(crate) fn changes(core: &Core, options: DiffOptions) -> Result<Vec<Change>, OverlayError> {
    let state = core.find_other_names().map_err(|errno| read_error(&core.lower, b"", errno))?;
    // Paths count by where they lead now, not by where they led when a directory was opened.
    core.lower.forget_dirs();
    let mut changes = Changes {
        core,
        options,
        state,
        placed: BTreeMap::new(),
        removed: Vec::new(),
        sources: BTreeSet::new(),
        room: Cell::new(BYTES_MAX),
        changes: Vec::new(),
    };
    match changes.run() {
        Ok(()) => Ok(changes.changes),
        Err(At { path, errno: Errno::Fbig }) => {
            let path = display(path.as_bytes()).to_string();
            Err(OverlayError::DiffTooLarge { path, bytes_max: BYTES_MAX })
        }
        Err(At { path, errno }) => Err(read_error(&core.lower, path.as_bytes(), errno)),
    }
}

struct Changes<'c> {
    core: &'c Core,
    options: DiffOptions,
    state: State,
    /// The places of every pinned inode.
    placed: BTreeMap<Ino, Vec<Place>>,
    /// Lower names that their own directory does not show any more.
    removed: Vec<RelPath>,
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

/// An error and where it happened.
struct At {
    path: RelPath,
    errno: Errno,
}

fn at(path: &RelPath) -> impl FnOnce(Errno) -> At + '_ {
    move |errno| At { path: path.clone(), errno }
}

/// Visits a path below another, and returns whether to enter it.
type Visit<'v, C> = dyn FnMut(&mut C, &[u8]) -> Result<bool, At> + 'v;

impl Changes<'_> {
    fn run(&mut self) -> Result<(), At> {
        self.report_top()?;
        self.place_entries()?;
        let placed = std::mem::take(&mut self.placed);
        // Moves must be known before additions and removals.
        for (ino, places) in &placed {
            let inode = self.state.inode(*ino).map_err(at(&places[0].path))?.clone();
            if let Some(origin) = &inode.origin {
                self.report_old(&inode, origin, places)?;
            }
        }
        for (ino, places) in &placed {
            let inode = self.state.inode(*ino).map_err(at(&places[0].path))?.clone();
            if inode.origin.is_none() {
                self.report_new(&inode, places)?;
            }
        }
        for lower in std::mem::take(&mut self.removed) {
            self.report_removed(&lower)?;
        }
        Ok(())
    }

    /// The top can change its mode and nothing else.
    fn report_top(&mut self) -> Result<(), At> {
        let inode = self.state.inode(Ino::ROOT).map_err(at(&RelPath::TOP))?;
        let after = inode.meta;
        let before = inode.origin.as_ref().map_or(after, |origin| origin.meta);
        let [before, after] = [before, after].map(|meta| self.unread(FileKind::Dir, &meta));
        self.changes.push(Change::changed(b"", before, after));
        Ok(())
    }

    /// Finds the places of all entries. A list and not recursion: a guest may nest directories
    /// deeper than the stack is.
    fn place_entries(&mut self) -> Result<(), At> {
        let mut dirs = vec![(Ino::ROOT, RelPath::TOP)];
        while let Some((ino, path)) = dirs.pop() {
            let dir = self.state.dir(ino).map_err(at(&path))?.clone();
            for (name, entry) in dir.entries.iter() {
                let path = path.child(name.as_bytes());
                let lower = dir.lower.as_ref().map(|lower| lower.child(name.as_bytes()));
                let Entry::Present(child) = *entry else {
                    self.removed.extend(lower);
                    continue;
                };
                let inode = self.state.inode(child).map_err(at(&path))?;
                let came_from = |lower: &RelPath| {
                    inode.origin.as_ref().is_some_and(|origin| origin.paths.contains(lower))
                };
                self.removed.extend(lower.clone().filter(|lower| !came_from(lower)));
                if inode.kind() == FileKind::Dir {
                    dirs.push((child, path.clone()));
                }
                self.placed.entry(child).or_default().push(Place { path, lower });
            }
        }
        // A path comes before all others by which the same inode is reported as a link.
        for places in self.placed.values_mut() {
            places.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(())
    }

    /// Something that was in the lower tree.
    fn report_old(&mut self, inode: &Inode, origin: &Origin, places: &[Place]) -> Result<(), At> {
        let was_at = |path: &RelPath| origin.paths.contains(path);
        let mut first = None;
        let mut others = Vec::new();
        for Place { path, lower } in places {
            if was_at(path) {
                let (before, after) = self.sides(inode, origin, path, path)?;
                self.sources.insert(path.clone());
                self.changes.push(Change::changed(path.as_bytes(), before, after));
            } else if let Some(from) = lower.as_ref().filter(|lower| was_at(lower)) {
                self.report_moved(inode, origin, from, path)?;
            } else {
                others.push(path);
                continue;
            }
            first.get_or_insert_with(|| path.clone());
        }
        let first = first.or_else(|| self.unpinned_place(inode, origin));
        match (first, others.split_first()) {
            (Some(first), _) => self.report_links(inode, &first, &others),
            (None, Some((first, links))) => {
                self.report_moved(inode, origin, origin.path(), first)?;
                self.report_links(inode, first, links)
            }
            (None, None) => Ok(()),
        }
    }

    /// A name under which an inode still is where it was, although no entry says so.
    fn unpinned_place(&self, inode: &Inode, origin: &Origin) -> Option<RelPath> {
        inode.names.iter().find_map(|(dir, name)| {
            let lower = self.state.dir(*dir).ok()?.lower.as_ref()?.child(name.as_bytes());
            let path = path_of(&self.state, *dir)?.child(name.as_bytes());
            origin.paths.contains(&lower).then_some(path)
        })
    }

    fn report_moved(
        &mut self,
        inode: &Inode,
        origin: &Origin,
        from: &RelPath,
        path: &RelPath,
    ) -> Result<(), At> {
        let (before, after) = self.sides(inode, origin, from, path)?;
        self.sources.insert(from.clone());
        self.changes.push(Change::renamed(from.as_bytes(), path.as_bytes(), before, after));
        match &inode.node {
            Node::Dir(dir) => self.report_carried(dir, path),
            _ => Ok(()),
        }
    }

    /// Reports the files that came along with a directory and have no entry of their own.
    fn report_carried(&mut self, dir: &Dir, path: &RelPath) -> Result<(), At> {
        let Some(lower) = &dir.lower else { return Ok(()) };
        for entry in self.list(lower)? {
            if dir.entries.contains_key(&entry.name[..]) {
                continue;
            }
            let (from, path) = (lower.child(&entry.name), path.child(&entry.name));
            self.descend(&from, entry.kind, &mut |this, below| {
                let (from, path) = (from.join(below), path.join(below));
                let stat = this.core.lower.stat(&from).map_err(at(&from))?;
                let Some(stat) = stat else { return Ok(false) };
                let side = match needs_content(&from, &path, stat.kind) {
                    true => this.lower_side(&from, &stat)?,
                    false => this.unread(stat.kind, &this.core.view.meta(&stat)),
                };
                let change = Change::renamed(from.as_bytes(), path.as_bytes(), side.clone(), side);
                this.changes.push(change);
                this.sources.insert(from);
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Shows a lower path and all that lies below it to `visit`, as paths below it, parents first.
    /// A directory for which `visit` returns `false` is not entered.
    ///
    /// Goes by a list and one growing path, since a tree may be deeper than the stack, and all of
    /// its paths together longer than memory.
    fn descend(
        &mut self,
        top: &RelPath,
        kind: FileKind,
        visit: &mut Visit<'_, Self>,
    ) -> Result<(), At> {
        let list = |this: &Self, below: &[u8]| this.list(&top.join(below)).map(Vec::into_iter);
        if !visit(self, b"")? || kind != FileKind::Dir {
            return Ok(());
        }
        let mut below: Vec<u8> = Vec::new();
        let mut dirs: Vec<(usize, std::vec::IntoIter<DirEntry>)> = vec![(0, list(self, b"")?)];
        while let Some((len, entries)) = dirs.last_mut() {
            below.truncate(*len);
            let Some(entry) = entries.next() else {
                dirs.pop();
                continue;
            };
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&entry.name);
            if visit(self, &below)? && entry.kind == FileKind::Dir {
                dirs.push((below.len(), list(self, &below)?));
            }
        }
        Ok(())
    }

    /// Lists a lower directory; fails if it was listed before with other entries.
    fn list(&self, dir: &RelPath) -> Result<Vec<DirEntry>, At> {
        let before = self.state.reads.get(dir).and_then(Observation::listing);
        let entries = self.core.lower.list(dir).map_err(at(dir))?;
        if let Some(before) = before
            && *before != Listing::of(&entries)
        {
            return Err(self.changed(dir, LowerChangeKind::Listing));
        }
        Ok(entries)
    }

    fn changed(&self, path: &RelPath, kind: LowerChangeKind) -> At {
        At { path: path.clone(), errno: self.core.lower.note_change(path, kind) }
    }

    /// Reports an entry that was not in the lower tree. The entry that it replaced is reported as removed.
    fn report_new(&mut self, inode: &Inode, places: &[Place]) -> Result<(), At> {
        let paths: Vec<&RelPath> = places.iter().map(|place| &place.path).collect();
        let (first, links) = paths.split_first().expect("an inode is placed with a path");
        self.changes.push(Change::added(first.as_bytes(), self.side(inode, first)?));
        self.report_links(inode, first, links)
    }

    fn report_links(
        &mut self,
        inode: &Inode,
        first: &RelPath,
        links: &[&RelPath],
    ) -> Result<(), At> {
        for path in links {
            let side = self.side(inode, path)?;
            self.changes.push(Change::linked(first.as_bytes(), path.as_bytes(), side));
        }
        Ok(())
    }

    /// A lower name that is not shown where it was: unless it has moved, it is gone, and so is all
    /// beneath it that has not moved.
    fn report_removed(&mut self, lower: &RelPath) -> Result<(), At> {
        if self.sources.contains(lower) {
            return Ok(());
        }
        let Some(stat) = self.core.lower.stat(lower).map_err(at(lower))? else {
            return self.vanished(lower);
        };
        self.check_absent(lower)?;
        self.descend(lower, stat.kind, &mut |this, below| {
            let path = lower.join(below);
            if this.sources.contains(&path) {
                return Ok(false);
            }
            let Some(stat) = this.core.lower.stat(&path).map_err(at(&path))? else {
                return this.vanished(&path).map(|()| false);
            };
            let side = this.lower_side(&path, &stat)?;
            this.changes.push(Change::removed(path.as_bytes(), side));
            Ok(true)
        })
    }

    /// Fails if something that is there was not when it was looked for first.
    fn check_absent(&self, lower: &RelPath) -> Result<(), At> {
        match self.state.was_absent(lower) {
            false => Ok(()),
            true => Err(self.changed(lower, LowerChangeKind::Appeared)),
        }
    }

    /// A removed lower file that is not there any more was removed twice.
    fn vanished(&self, lower: &RelPath) -> Result<(), At> {
        match self.state.reads.get(lower) {
            Some(Observation::Removed(..)) => Err(self.changed(lower, LowerChangeKind::Removed)),
            _ => Ok(()),
        }
    }

    /// Before and after of something that was in the lower tree, at `from`, and is now at `path`.
    fn sides(
        &self,
        inode: &Inode,
        origin: &Origin,
        from: &RelPath,
        path: &RelPath,
    ) -> Result<(Side, Side), At> {
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
            let kind = LowerChangeKind::Modified;
            let errno = self.core.lower.note_change(origin.path(), kind);
            return Err(At { path: path.clone(), errno });
        }
        Ok((before, self.side(inode, path)?))
    }

    /// Returns an inode as it is now.
    fn side(&self, inode: &Inode, path: &RelPath) -> Result<Side, At> {
        let content = match &inode.node {
            Node::Dir(_) | Node::Special => Content::Unread,
            Node::Symlink(target) => Content::Bytes(target.clone()),
            Node::File(content) => {
                self.make_room(content.len(), path)?;
                Content::Bytes(whole(self.core, inode).map_err(at(path))?)
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
        let mtime_ns = self.options.has_times().then(since_start);
        Side { kind, mode: meta.mode, content, mtime_ns }
    }

    /// [`Errno::Fbig`] if so many bytes more are too many. Asked before they are read.
    fn make_room(&self, bytes: u64, path: &RelPath) -> Result<(), At> {
        let left = self.room.get().checked_sub(bytes).ok_or(Errno::Fbig).map_err(at(path))?;
        self.room.set(left);
        Ok(())
    }

    /// Returns the file of the lower tree at a path that the upper layer no longer shows.
    fn lower_side(&self, path: &RelPath, stat: &Stat) -> Result<Side, At> {
        let seen = match self.state.reads.get(path) {
            Some(Observation::Removed(seen, _)) => Some(seen),
            _ => None,
        };
        let content = match stat.kind {
            FileKind::Dir | FileKind::Special => Content::Unread,
            FileKind::Symlink => {
                Content::Bytes(self.core.lower.read_link(path).map_err(at(path))?.into())
            }
            FileKind::File => {
                self.make_room(stat.size, path)?;
                Content::Bytes(self.core.lower.read_lower(path, stat).map_err(at(path))?)
            }
        };
        let side = self.side_of(stat.kind, &self.core.view.meta(stat), content);
        match seen.and_then(|seen| change_since(seen, stat, &side)) {
            Some(kind) => Err(self.changed(path, kind)),
            None => Ok(side),
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
