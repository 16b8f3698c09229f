//! Looking things up: the upper entries first, then the lower tree, with a note of all that was
//! seen there.

use std::sync::Arc;

use smallvec::smallvec;
use testbench_clock::WallTime;

use crate::lower::observe::{Listing, LowerId, Observation, Origin, Seen, Stamp};
use crate::lower::{self, OpenDir};
use crate::ops::core::{Child, Tx};
use crate::resolve::{self, End, Last, Place, Step, Walk};
use crate::upper::content::Content;
use crate::upper::inode::{Dir, Entry, Ino, Inode, Node, State};
use crate::vfs::Result;
use crate::vfs::name::{Name, RelPath};
use crate::{DirEntry, Errno, FileKind, GuestPath, LowerChangeKind, Stat};

/// A question to a lower directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// A name in it. The directory that was first seen answers, if it is open still.
    Name,
    /// All that is in it, or that something is not in it: that it still is at its path counts.
    Itself,
}

/// Permission to look names up in a directory.
const SEARCH: u32 = 0o1;

/// Where a path leads in an overlay.
pub(crate) type Found = Place<Ino, Ino>;

impl Tx<'_> {
    pub(crate) fn now(&self) -> WallTime {
        self.core.clock.wall()
    }

    /// Whether the owner's bits allow `wanted` (4 read, 2 write, 1 search).
    pub(crate) fn may(&self, inode: &Inode, wanted: u32) -> Result<()> {
        let allowed = self.as_root || (inode.meta.mode >> 6) & wanted == wanted;
        if allowed { Ok(()) } else { Err(Errno::Acces) }
    }

    pub(crate) fn walk(&mut self, start: Ino, path: GuestPath<'_>, end: End) -> Result<Found> {
        resolve::walk(self, start, path, end)
    }

    /// Walks to something that must exist.
    pub(crate) fn find(&mut self, start: Ino, path: GuestPath<'_>, end: End) -> Result<Ino> {
        let place = self.walk(start, path, end)?;
        let slash = place.slash;
        match place.found {
            Step::Missing => Err(Errno::Noent),
            Step::Dir(ino) => Ok(ino),
            Step::Link(_, ino) | Step::Leaf(ino) if !slash => Ok(ino),
            Step::Link(..) | Step::Leaf(_) => Err(Errno::Notdir),
        }
    }

    /// Walks, and returns the place with its path.
    pub(crate) fn place(
        &mut self,
        start: Ino,
        path: GuestPath<'_>,
        end: End,
    ) -> Result<(Found, RelPath)> {
        let place = self.walk(start, path, end)?;
        let dir = path_of(&self.live.state, place.dir).ok_or(Errno::Noent)?;
        let path = match &place.last {
            Last::Name(name) => dir.child(name),
            Last::Dot | Last::DotDot => dir,
        };
        Ok((place, path))
    }

    /// Returns the inode of a name in a directory.
    pub(crate) fn lookup(&mut self, dir: Ino, name: &[u8]) -> Result<Option<Ino>> {
        let inode = self.live.state.inode(dir)?.clone();
        Ok(self.child(dir, &inode, name, false)?.map(|(ino, _)| ino))
    }

    /// The same, with what the caller has at hand already. A walk that goes on `through` it says
    /// so.
    fn child(
        &mut self,
        dir: Ino,
        inode: &Inode,
        name: &[u8],
        through: bool,
    ) -> Result<Option<Child>> {
        let Node::Dir(node) = &inode.node else { return Err(Errno::Notdir) };
        match (node.entries.get(name), &node.lower) {
            (Some(Entry::Present(ino)), _) => {
                Ok(Some((*ino, self.live.state.inode(*ino)?.clone())))
            }
            (Some(Entry::Whiteout), _) | (None, None) => Ok(None),
            (None, Some(lower)) => self.lower_child(dir, inode, lower, name, through),
        }
    }

    fn lower_child(
        &mut self,
        dir: Ino,
        dir_inode: &Inode,
        lower_dir: &RelPath,
        name: &[u8],
        through: bool,
    ) -> Result<Option<Child>> {
        let (ino, inode) = self.lower_number(lower_dir, name);
        let known = match inode {
            // A directory through which a walk leads is kept open beneath, and is the one that was
            // first seen. A read or a miss in it finds out that its path belongs to another by now.
            Some(inode) if through && inode.kind() == FileKind::Dir => {
                return Ok(Some((ino, inode.clone())));
            }
            inode => inode.cloned(),
        };
        let opened = self.open_lower(dir_inode, lower_dir, Wants::Name)?;
        let lower = &self.core.lower;
        // One that is new to it is opened at once.
        let enters = through && known.is_none();
        let entered = enters.then(|| lower.enter(&opened, lower_dir.child(name)));
        let stat = match entered {
            Some(Ok((_, stat))) => Some(stat),
            Some(Err(_)) | None => lower.stat_in(&opened, name)?,
        };
        let Some(inode) = known else {
            return match stat {
                Some(stat) => self.saw(dir, lower_dir, name, ino, &stat).map(Some),
                None => self.saw_nothing(dir, lower_dir, name).map(|()| None),
            };
        };
        let change = match (&stat, &inode.origin) {
            (Some(stat), Some(origin)) => origin.seen.stamp.change_to(&Stamp::of(stat)),
            (Some(_), None) => Some(LowerChangeKind::Modified),
            (None, _) => Some(LowerChangeKind::Removed),
        };
        match change {
            None => Ok(Some((ino, inode))),
            Some(change) => Err(lower.note_change(&lower_dir.child(name), change)),
        }
    }

    /// The lower directory of an upper one, if it is still the one that was first seen.
    fn open_lower(&self, dir: &Inode, lower: &RelPath, wants: Wants) -> Result<OpenDir> {
        let id = dir.origin.as_ref().map(|origin| origin.seen.stamp.id);
        let opened = match wants {
            Wants::Itself => self.core.lower.dir_now(lower)?,
            Wants::Name => lower::present(self.core.lower.dir(lower, id))?,
        };
        match (opened, id) {
            (None, _) => Err(self.core.lower.note_change(lower, LowerChangeKind::Removed)),
            (Some(opened), Some(id)) if opened.id != id => {
                Err(self.core.lower.note_change(lower, LowerChangeKind::Modified))
            }
            (Some(opened), _) => Ok(opened),
        }
    }

    /// The inode already made for a lower path.
    pub(crate) fn known(&self, dir: &RelPath, name: &[u8]) -> Option<Ino> {
        let (ino, inode) = self.lower_number(dir, name);
        inode.map(|_| ino)
    }

    /// The number of a lower path, and the inode if there is one for it: the path's hash, or the
    /// next number that no other path has.
    fn lower_number(&self, dir: &RelPath, name: &[u8]) -> (Ino, Option<&Arc<Inode>>) {
        let mut ino = Ino::of_lower(dir.child_hash(name));
        while let Some(inode) = self.live.state.inodes.get(&ino) {
            if inode.origin.as_ref().is_some_and(|origin| origin.path().is_child(dir, name)) {
                return (ino, Some(inode));
            }
            ino = Ino(ino.0 + 1);
        }
        (ino, None)
    }

    fn saw_nothing(&mut self, dir: Ino, lower_dir: &RelPath, name: &[u8]) -> Result<()> {
        let path = lower_dir.child(name);
        if self.live.state.was_absent(&path) {
            return Ok(());
        }
        // The directory must still be at its place, or something else is missing there.
        if !lower_dir.is_top() {
            self.open_lower(self.live.state.inode(dir)?, lower_dir, Wants::Itself)?;
        }
        self.note(path, Observation::Absent)
    }

    /// Remembers something seen of the lower tree, if there is room.
    fn note(&mut self, path: RelPath, seen: Observation) -> Result<()> {
        let state = &mut self.live.state;
        if !state.reads.contains_key(&path) {
            state.usage.check_observation(&self.core.config.quota)?;
        }
        state.observe(path, seen);
        Ok(())
    }

    /// Makes an inode with the number `ino`, which is that of the path.
    fn saw(
        &mut self,
        dir: Ino,
        lower_dir: &RelPath,
        name: &[u8],
        ino: Ino,
        stat: &Stat,
    ) -> Result<Child> {
        let path = lower_dir.child(name);
        if self.live.state.was_absent(&path) {
            return Err(self.core.lower.note_change(&path, LowerChangeKind::Appeared));
        }
        let stamp = Stamp::of(stat);
        let linked = stat.kind != FileKind::Dir && stat.nlink > 1;
        if linked && let Some(ino) = self.other_name(dir, name, &path, &stamp)? {
            return Ok((ino, self.live.state.inode(ino)?.clone()));
        }
        let inode = Arc::new(self.inode_for(dir, name, path, stat)?);
        if linked {
            self.live.state.lower_ids.insert_mut(stamp.id, ino);
        }
        self.live.state.insert(ino, inode.clone());
        Ok((ino, inode))
    }

    fn inode_for(&mut self, dir: Ino, name: &[u8], path: RelPath, stat: &Stat) -> Result<Inode> {
        let node = match stat.kind {
            FileKind::Dir => Node::Dir(Dir::over(path.clone())),
            FileKind::File => Node::File(Content::base(stat.size)),
            FileKind::Symlink => Node::Symlink(self.core.lower.read_link(&path)?.into()),
            FileKind::Special => Node::Special,
        };
        let seen = match &node {
            Node::Symlink(target) => Seen::with_content(stat, target),
            _ => Seen::new(stat),
        };
        let meta = self.core.view.meta(stat);
        let links = if stat.kind == FileKind::Dir { 1 } else { stat.nlink.max(1) };
        let name = Name::new(name)?;
        let origin = Origin { paths: smallvec![path], seen, links, meta };
        let names = smallvec![(dir, name)];
        Ok(Inode { meta, node, names, is_pinned: false, origin: Some(Arc::new(origin)) })
    }

    /// The entries of the merged directory, by raw bytes.
    pub(crate) fn list(&mut self, dir: Ino) -> Result<Vec<DirEntry>> {
        let node = self.live.state.dir(dir)?.clone();
        let mut merged = match &node.lower {
            Some(lower) => self.list_lower(dir, lower)?,
            None => Vec::new(),
        };
        if node.entries.is_empty() {
            return Ok(merged);
        }
        merged.retain(|entry| !node.entries.contains_key(&entry.name[..]));
        for (name, entry) in node.entries.iter() {
            if let Entry::Present(ino) = entry {
                let kind = self.live.state.inode(*ino)?.kind();
                merged.push(DirEntry { name: name.as_bytes().into(), ino: ino.0, kind });
            }
        }
        merged.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(merged)
    }

    fn list_lower(&mut self, dir: Ino, lower: &RelPath) -> Result<Vec<DirEntry>> {
        // Where no entry says what it is, it was looked at when it was opened.
        let wants = if self.is_pinned(dir) { Wants::Itself } else { Wants::Name };
        let opened = self.open_lower(self.live.state.inode(dir)?, lower, wants)?;
        let mut listing = self.core.lower.list_in(&opened)?;
        self.saw_listing(lower, &listing)?;
        for entry in &mut listing {
            entry.ino = self.listed_number(dir, lower, entry).0;
        }
        Ok(listing)
    }

    /// The number of a lower entry that may not have been looked up yet.
    fn listed_number(&self, dir: Ino, lower: &RelPath, entry: &DirEntry) -> Ino {
        let state = &self.live.state;
        if !state.lower_ids.is_empty() {
            let dev =
                state.inodes.get(&dir).and_then(|i| i.origin.as_ref()).map(|o| o.seen.stamp.id.dev);
            let id = dev.map(|dev| LowerId { dev, ino: entry.ino });
            if let Some(linked) = id.and_then(|id| state.lower_ids.get(&id)) {
                return *linked;
            }
        }
        self.lower_number(lower, &entry.name).0
    }

    fn saw_listing(&mut self, lower: &RelPath, entries: &[DirEntry]) -> Result<()> {
        let listing = Listing::of(entries);
        match self.live.state.reads.get(lower) {
            Some(Observation::Listing(before)) if *before == listing => Ok(()),
            Some(Observation::Listing(_)) => {
                Err(self.core.lower.note_change(lower, LowerChangeKind::Listing))
            }
            Some(Observation::Absent | Observation::Removed(..)) | None => {
                self.note(lower.clone(), Observation::Listing(listing))
            }
        }
    }

    /// Whether the merged directory shows nothing. Stops at the first thing it shows.
    pub(crate) fn is_empty(&mut self, dir: Ino) -> Result<bool> {
        let node = self.live.state.dir(dir)?;
        if node.entries.values().any(|entry| matches!(entry, Entry::Present(_))) {
            return Ok(false);
        }
        if node.lower.is_none() {
            return Ok(true);
        }
        Ok(self.list(dir)?.is_empty())
    }
}

/// The path of a directory from the top; `None` if it has been removed.
pub(crate) fn path_of(state: &State, dir: Ino) -> Option<RelPath> {
    let mut names = Vec::new();
    let mut at = dir;
    while at != Ino::ROOT {
        let (parent, name) = state.inode(at).ok()?.names.first()?.clone();
        names.push(name);
        at = parent;
    }
    Some(names.iter().rev().fold(RelPath::TOP, |path, name| path.child(name.as_bytes())))
}

impl Walk for Tx<'_> {
    type Dir = Ino;
    type Leaf = Ino;

    fn search(&mut self, dir: &Ino, is_for_dots: bool) -> Result<()> {
        if is_for_dots && self.free_dots {
            return Ok(());
        }
        self.may(self.live.state.inode(*dir)?, SEARCH)
    }

    fn step(&mut self, dir: &Ino, name: &[u8], is_last: bool) -> Result<Step<Ino, Ino>> {
        let dir_inode = self.live.state.inode(*dir)?.clone();
        self.may(&dir_inode, SEARCH)?;
        let Some((ino, inode)) = self.child(*dir, &dir_inode, name, !is_last)? else {
            return Ok(Step::Missing);
        };
        let step = match &inode.node {
            Node::Dir(_) => Step::Dir(ino),
            Node::Symlink(target) => Step::Link(target.to_vec(), ino),
            Node::File(_) | Node::Special => Step::Leaf(ino),
        };
        if is_last {
            self.came_to = Some((ino, inode));
        }
        Ok(step)
    }

    fn top(&mut self) -> Ino {
        Ino::ROOT
    }

    fn same(&self, a: &Ino, b: &Ino) -> bool {
        a == b
    }

    fn inside<'t>(&self, target: &'t [u8]) -> Option<&'t [u8]> {
        self.core.config.inside(target)
    }
}
