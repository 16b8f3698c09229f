//! The inode table: identity belongs to files, names to directory entries.
//!
//! A [`State`] is the whole upper layer as a value. Its maps are persistent, so that a copy of it
//! (a checkpoint, a fork) costs a few reference counts, whatever has been changed.
//!
//! Inodes are made when something is first looked at. Directory entries hold **changes** only: a
//! name that has no entry is what the lower directory says. *Pinned* is an inode that can be
//! reached from the top through entries alone; everything changed is pinned, which is what lets
//! the diff walk the changes without looking at the rest.

use std::sync::Arc;

use testbench_clock::WallTime;

use crate::lower::observe::{Few, LowerId, Observation, Origin};
use crate::lower::view::Meta;
use crate::upper::PMap;
use crate::upper::content::Content;
use crate::upper::quota::{Usage, entry_bytes};
use crate::vfs::Result;
use crate::vfs::name::{Hashed, Name, PathHash, RelPath};
use crate::{Errno, FileKind, Stat};

/// The inode table. The numbers of lower files are hashes already, those of new files count up, and
/// no two are equal: each serves as its own hash, and the order is the same on every machine.
pub(crate) type Inodes = rpds::HashTrieMapSync<Ino, Arc<Inode>, Hashed>;

/// How many ways a branch of the inode table has. With more, a change after a checkpoint copies more.
const TABLE_DEGREE: u8 = 16;

/// The number of the device of every overlay.
pub(crate) const DEVICE: u64 = 1;

/// The size of every directory, as on a fresh ext4.
const DIR_SIZE_BYTES: u64 = 4096;

/// The link count of every directory. 1 stands for "not counted" (as on btrfs), so that programs
/// do not conclude the number of subdirectories from it.
const DIR_NLINK: u64 = 1;

/// The number of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ino(pub(crate) u64);

impl Ino {
    pub(crate) const ROOT: Ino = Ino(2);
    const NEW: u64 = 1 << 63;

    /// The number that a lower file has, unless another file has it already.
    pub(crate) fn of_lower(path: PathHash) -> Ino {
        if path == RelPath::TOP.hash() {
            return Ino::ROOT;
        }
        // The lowest numbers are left to those with a meaning.
        Ino((path.mixed() & !Ino::NEW).max(16))
    }

    /// The number of the `n`th new file.
    pub(crate) fn of_new(n: u64) -> Ino {
        Ino(n | Ino::NEW)
    }
}

/// The upper layer.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Changed through [`State::insert`], [`State::inode_mut`] and [`State::remove`] only.
    pub(crate) inodes: Inodes,
    /// Lower files with several names, by their identity beneath.
    pub(crate) lower_ids: PMap<LowerId, Ino>,
    /// Observations of the lower tree that belong to no inode. Changed through [`State::observe`] only.
    pub(crate) reads: PMap<RelPath, Observation>,
    /// Inodes without a name, kept for the handles that are open on them.
    pub(crate) orphans: PMap<Ino, ()>,
    /// How many new inodes there have been.
    pub(crate) created: u64,
    /// The account of all that is held. The methods that change the state keep it.
    pub(crate) usage: Usage,
}

impl State {
    pub(crate) fn new(root: Inode) -> State {
        let inodes =
            Inodes::new_with_hasher_and_degree_and_ptr_kind(Hashed::default(), TABLE_DEGREE);
        let mut state = State {
            inodes,
            lower_ids: PMap::new_sync(),
            reads: PMap::new_sync(),
            orphans: PMap::new_sync(),
            created: 0,
            usage: Usage::default(),
        };
        state.insert(Ino::ROOT, root);
        state
    }

    /// [`Errno::Stale`]: a handle from before a rollback.
    pub(crate) fn inode(&self, ino: Ino) -> Result<&Arc<Inode>> {
        self.inodes.get(&ino).ok_or(Errno::Stale)
    }

    /// For changes of what costs nothing: metadata and names. A caller that changes the content notes
    /// the difference in the account.
    pub(crate) fn inode_mut(&mut self, ino: Ino) -> Result<&mut Inode> {
        self.inodes.get_mut(&ino).map(Arc::make_mut).ok_or(Errno::Stale)
    }

    /// Adds an inode, or exchanges the present one.
    pub(crate) fn insert(&mut self, ino: Ino, inode: impl Into<Arc<Inode>>) {
        self.remove(ino);
        let inode = inode.into();
        self.usage.charge(inode.usage());
        self.inodes.insert_mut(ino, inode);
    }

    fn remove(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get(&ino) else { return };
        self.usage.release(inode.usage());
        self.inodes.remove_mut(&ino);
    }

    pub(crate) fn dir(&self, ino: Ino) -> Result<&Dir> {
        match &self.inode(ino)?.node {
            Node::Dir(dir) => Ok(dir),
            _ => Err(Errno::Notdir),
        }
    }

    /// Sets or removes the entry of a name.
    pub(crate) fn set_entry(&mut self, dir: Ino, name: Name, entry: Option<Entry>) -> Result<()> {
        let Node::Dir(Dir { entries, .. }) = &mut self.inode_mut(dir)?.node else {
            return Err(Errno::Notdir);
        };
        let (before, entry_bytes) = (entries.size() as u64, entry_bytes(&name));
        match entry {
            Some(entry) => entries.insert_mut(name, entry),
            None => _ = entries.remove_mut(&name),
        }
        let after = entries.size() as u64;
        let charged = self.usage.metadata_bytes + entry_bytes * after;
        self.usage.metadata_bytes = charged - entry_bytes * before;
        Ok(())
    }
}

impl State {
    /// Whether the lower tree was seen to have nothing at a path.
    pub(crate) fn was_absent(&self, path: &RelPath) -> bool {
        matches!(self.reads.get(path), Some(Observation::Absent))
    }

    /// Everything that was seen of the lower tree, each with its path.
    pub(crate) fn observed(&self) -> impl Iterator<Item = (&RelPath, Observation)> {
        let origins = self.inodes.values().filter_map(|inode| inode.origin.as_ref());
        let present = origins.flat_map(|origin| {
            origin.paths.iter().map(|path| (path, Observation::Removed(origin.seen.clone(), None)))
        });
        present.chain(self.reads.iter().map(|(path, seen)| (path, seen.clone())))
    }

    /// Removes an inode that has neither name nor handle. Its lower file stays observed. The inode
    /// itself stays if it was changed and may have further names, which show the change.
    pub(crate) fn forget(&mut self, ino: Ino) {
        self.orphans.remove_mut(&ino);
        let Some(inode) = self.inodes.get(&ino) else { return };
        if let Some(origin) = inode.origin.clone() {
            let stays = origin.may_have_more_names() && inode.is_changed();
            self.note_removed(&origin);
            if stays {
                return;
            }
        }
        self.remove(ino);
    }

    /// Remembers something seen of the lower tree.
    pub(crate) fn observe(&mut self, path: RelPath, seen: Observation) {
        if !self.reads.contains_key(&path) {
            self.usage.charge(Usage::of_observation(&path));
        }
        self.reads.insert_mut(path, seen);
    }

    /// Remembers what was seen of a lower file that no inode stands for any more.
    pub(crate) fn note_removed(&mut self, origin: &Origin) {
        for path in &origin.paths {
            let listing = self.reads.get(path).and_then(Observation::listing).cloned();
            let removed = Observation::Removed(origin.seen.clone(), listing);
            self.observe(path.clone(), removed);
        }
    }
}

/// One file, directory or symlink.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) node: Node,
    /// The names it is known by. A directory has at most one; the top and what was unlinked, none.
    pub(crate) names: Few<(Ino, Name)>,
    /// Every one of the names is known to have an entry, and so has every directory above. A file
    /// may have thousands of names, which are not to be gone through at each write.
    pub(crate) is_pinned: bool,
    pub(crate) origin: Option<Arc<Origin>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Dir(Dir),
    File(Content),
    Symlink(Arc<[u8]>),
    /// A device, socket or FIFO of the lower tree: listed, moved and removed, never opened.
    Special,
}

#[derive(Clone, Debug)]
pub(crate) struct Dir {
    pub(crate) entries: PMap<Name, Entry>,
    /// The lower directory seen through this one; `None` is an opaque directory.
    pub(crate) lower: Option<RelPath>,
}

impl Dir {
    pub(crate) fn opaque() -> Dir {
        Dir { entries: PMap::new_sync(), lower: None }
    }

    pub(crate) fn over(lower: RelPath) -> Dir {
        Dir { entries: PMap::new_sync(), lower: Some(lower) }
    }
}

/// The entry of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Present(Ino),
    /// Hides a lower name.
    Whiteout,
}

impl Inode {
    pub(crate) fn kind(&self) -> FileKind {
        match self.node {
            Node::Dir(_) => FileKind::Dir,
            Node::File(_) => FileKind::File,
            Node::Symlink(_) => FileKind::Symlink,
            Node::Special => FileKind::Special,
        }
    }

    /// The names that are known. Lower names outside of the root, such as a package manager's cache,
    /// never count, so that the number does not depend on the machine.
    pub(crate) fn nlink(&self, ino: Ino) -> u64 {
        match self.node {
            Node::Dir(_) if ino == Ino::ROOT || !self.names.is_empty() => DIR_NLINK,
            Node::Dir(_) => 0,
            _ => self.names.len() as u64,
        }
    }

    /// Whether it differs in anything but its names from what it was beneath.
    pub(crate) fn is_changed(&self) -> bool {
        let Some(origin) = &self.origin else { return true };
        let (old, new) = (&origin.meta, &self.meta);
        let same_meta = (old.mode, old.atime, old.mtime) == (new.mode, new.atime, new.mtime);
        let same_content = match &self.node {
            Node::File(content) => content.is_base(origin.seen.stamp.size),
            _ => true,
        };
        !(same_meta && same_content)
    }

    /// Returns its part of the account.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::of_inode(self.origin.as_deref());
        match &self.node {
            Node::Dir(dir) => {
                usage.metadata_bytes += dir.entries.keys().map(entry_bytes).sum::<u64>();
            }
            Node::File(content) => usage.bytes = content.held_bytes(),
            Node::Symlink(target) => usage.metadata_bytes += target.len() as u64,
            Node::Special => {}
        }
        usage
    }

    pub(crate) fn size(&self) -> u64 {
        match &self.node {
            Node::Dir(_) => DIR_SIZE_BYTES,
            Node::File(content) => content.len(),
            Node::Symlink(target) => target.len() as u64,
            Node::Special => 0,
        }
    }

    pub(crate) fn stat(&self, ino: Ino) -> Stat {
        Stat {
            dev: DEVICE,
            ino: ino.0,
            kind: self.kind(),
            mode: self.meta.mode,
            nlink: self.nlink(ino),
            size: self.size(),
            atime: self.meta.atime,
            mtime: self.meta.mtime,
            ctime: self.meta.ctime,
        }
    }

    /// Notes a change of the content at `now`.
    pub(crate) fn touch(&mut self, now: WallTime) {
        self.meta.mtime = now;
        self.meta.ctime = now;
    }
}
