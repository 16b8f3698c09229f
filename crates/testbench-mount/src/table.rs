//! [`Table`]: the inodes that the kernel knows by number, and the files that it has open.

use std::collections::BTreeMap;
use std::sync::Arc;

use fuser::FileType;
use testbench_overlay::{DirEntry, Errno, File, FileKind, InodeHandle, Stat};

/// The number of the top directory, which FUSE fixes.
pub(crate) const TOP: u64 = 1;

/// An inode as the overlay names it: device and number.
type Id = (u64, u64);

/// The metadata that a mount has beyond the overlay's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Of a special file made through the mount, which is an empty file in the overlay.
    pub(crate) special: Option<SpecialFile>,
}

impl Extra {
    pub(crate) fn kind(&self, kind: FileKind) -> FileType {
        self.special.map_or_else(|| file_type(kind), |special| special.kind)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SpecialFile {
    pub(crate) kind: FileType,
    pub(crate) rdev: u32,
}

/// An inode that the kernel knows.
#[derive(Debug)]
struct Known {
    inode: InodeHandle,
    id: Id,
    /// The number of the directory through which it was found last.
    parent: u64,
    /// How often the kernel was told of it.
    lookups: u64,
}

/// An open file or directory.
#[derive(Debug)]
pub(crate) enum Opened {
    File(Arc<dyn File>),
    /// With its entries once they are listed, so that a position in them stays good when the directory changes.
    Dir(Arc<dyn File>, Option<Arc<Vec<DirEntry>>>),
}

#[derive(Debug)]
pub(crate) struct Table {
    known: BTreeMap<u64, Known>,
    numbers: BTreeMap<Id, u64>,
    extras: BTreeMap<Id, Extra>,
    opened: BTreeMap<u64, Arc<Opened>>,
    last_handle: u64,
    /// Of an inode that is not in `extras`.
    default: Extra,
    own_dev: u64,
}

impl Table {
    pub(crate) fn new(top: InodeHandle, uid: u32, gid: u32) -> Result<Table, Errno> {
        let id = id_of(&top.stat()?);
        // The kernel never forgets this one.
        let top = Known { inode: top, id, parent: TOP, lookups: 1 };
        Ok(Table {
            known: BTreeMap::from([(TOP, top)]),
            numbers: BTreeMap::from([(id, TOP)]),
            extras: BTreeMap::new(),
            opened: BTreeMap::new(),
            last_handle: 0,
            default: Extra { uid, gid, special: None },
            own_dev: id.0,
        })
    }

    /// Fails with [`Errno::Stale`] if the kernel was never told of this number.
    pub(crate) fn inode(&self, number: u64) -> Result<InodeHandle, Errno> {
        self.known.get(&number).map(|known| known.inode.clone()).ok_or(Errno::Stale)
    }

    pub(crate) fn parent(&self, number: u64) -> u64 {
        self.known.get(&number).map_or(TOP, |known| known.parent)
    }

    /// Counts that the kernel is told of an inode, and returns its number.
    pub(crate) fn tell(&mut self, inode: InodeHandle, stat: &Stat, parent: u64) -> u64 {
        let id = id_of(stat);
        let number = self.number(id);
        self.numbers.insert(id, number);
        let lookups = self.known.get(&number).map_or(0, |known| known.lookups) + 1;
        // The new handle replaces the old: in a tree that is mounted in the overlay, only the latest name
        // is sure to lead there.
        self.known.insert(number, Known { inode, id, parent, lookups });
        number
    }

    /// Returns the number under which the kernel knows an inode, or will. It is the overlay's own, so that it
    /// stays the same from mount to mount; only a tree mounted in the overlay may have one that is
    /// taken.
    pub(crate) fn number(&self, id: Id) -> u64 {
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        let (dev, ino) = id;
        let mut number = match dev == self.own_dev {
            true => ino,
            false => (ino ^ dev.rotate_right(16)).max(TOP + 1),
        };
        while self.known.contains_key(&number) {
            number = number.wrapping_add(1).max(TOP + 1);
        }
        number
    }

    /// Counts that the kernel has forgotten an inode `times` times. Returns the handle once the kernel
    /// knows it no longer, to be dropped without the table's lock.
    pub(crate) fn forget(&mut self, number: u64, times: u64) -> Option<InodeHandle> {
        let known = self.known.get_mut(&number).filter(|_| number != TOP)?;
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups > 0 {
            return None;
        }
        let known = self.known.remove(&number)?;
        self.numbers.remove(&known.id);
        Some(known.inode)
    }

    pub(crate) fn extra(&self, id: Id) -> Extra {
        self.extras.get(&id).copied().unwrap_or(self.default)
    }

    pub(crate) fn set_extra(&mut self, id: Id, extra: Extra) {
        self.extras.insert(id, extra);
    }

    /// For an inode that is gone.
    pub(crate) fn drop_extra(&mut self, id: Id) {
        self.extras.remove(&id);
    }

    /// Returns a handle for the kernel.
    pub(crate) fn open(&mut self, opened: Opened) -> u64 {
        self.last_handle += 1;
        self.opened.insert(self.last_handle, Arc::new(opened));
        self.last_handle
    }

    /// Exchanges the entries of an open directory.
    pub(crate) fn reopen(&mut self, handle: u64, opened: Opened) {
        self.opened.insert(handle, Arc::new(opened));
    }

    pub(crate) fn opened(&self, handle: u64) -> Result<Arc<Opened>, Errno> {
        self.opened.get(&handle).cloned().ok_or(Errno::Badf)
    }

    /// Returns what was open, to be dropped without the table's lock.
    pub(crate) fn close(&mut self, handle: u64) -> Option<Arc<Opened>> {
        self.opened.remove(&handle)
    }
}

pub(crate) fn id_of(stat: &Stat) -> Id {
    (stat.dev, stat.ino)
}

/// Special files of the lower tree show as sockets, which the kernel never opens.
fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Dir => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Special => FileType::Socket,
    }
}
