//! What the kernel's numbers stand for.

use std::collections::BTreeMap;
use std::sync::Arc;

use fuser::FileType;

use crate::{DirEntry, Errno, File, Stat};

/// The number of the top directory, which FUSE fixes.
pub(super) const TOP: u64 = 1;

/// A file as the overlay names it: device and number.
pub(super) type Id = (u64, u64);

/// What a mount knows of a file beyond what the overlay does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) special: Option<Special>,
}

/// Which special file it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Special {
    pub(super) kind: FileType,
    pub(super) rdev: u32,
}

/// A file that the kernel knows.
#[derive(Debug)]
struct Node {
    held: Arc<dyn File>,
    id: Id,
    /// The number of the directory through which it was found last.
    parent: u64,
    /// How often the kernel was told of it.
    lookups: u64,
}

/// Something open.
#[derive(Debug)]
pub(super) enum Open {
    File(Arc<dyn File>),
    /// What was listed is kept, so that a position in it stays good whatever changes.
    Dir(Arc<dyn File>, Option<Arc<Vec<DirEntry>>>),
}

#[derive(Debug)]
pub(super) struct Table {
    nodes: BTreeMap<u64, Node>,
    numbers: BTreeMap<Id, u64>,
    extras: BTreeMap<Id, Extra>,
    open: BTreeMap<u64, Arc<Open>>,
    opened: u64,
    /// Of what nothing else is known.
    default: Extra,
    own_dev: u64,
}

impl Table {
    pub(super) fn new(top: Arc<dyn File>, uid: u32, gid: u32) -> Result<Table, Errno> {
        let stat = top.stat()?;
        let id = (stat.dev, stat.ino);
        // The kernel never forgets this one.
        let node = Node { held: top, id, parent: TOP, lookups: 1 };
        Ok(Table {
            nodes: BTreeMap::from([(TOP, node)]),
            numbers: BTreeMap::from([(id, TOP)]),
            extras: BTreeMap::new(),
            open: BTreeMap::new(),
            opened: 0,
            default: Extra { uid, gid, special: None },
            own_dev: stat.dev,
        })
    }

    /// [`Errno::Stale`]: the kernel asks about what it was never told of.
    pub(super) fn held(&self, number: u64) -> Result<Arc<dyn File>, Errno> {
        self.nodes.get(&number).map(|node| node.held.clone()).ok_or(Errno::Stale)
    }

    pub(super) fn parent(&self, number: u64) -> u64 {
        self.nodes.get(&number).map_or(TOP, |node| node.parent)
    }

    /// Notes that the kernel is told of a file, and answers its number.
    pub(super) fn tell(&mut self, held: Arc<dyn File>, stat: &Stat, parent: u64) -> u64 {
        let id = (stat.dev, stat.ino);
        let number = self.number(id);
        self.numbers.insert(id, number);
        let node = self.nodes.entry(number).or_insert_with(|| Node {
            held: held.clone(),
            id,
            parent,
            lookups: 0,
        });
        // Of a tree that is mounted in the overlay, only the latest name is sure to lead there.
        (node.held, node.parent) = (held, parent);
        node.lookups += 1;
        number
    }

    /// The number under which the kernel knows a file, or will. It is the overlay's own, so that it
    /// stays the same from mount to mount; only a mounted tree may use one that is taken.
    pub(super) fn number(&self, id: Id) -> u64 {
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        let (dev, ino) = id;
        let mut number = match dev == self.own_dev {
            true => ino,
            false => (ino ^ dev.rotate_right(16)).max(TOP + 1),
        };
        while self.nodes.contains_key(&number) {
            number = number.wrapping_add(1).max(TOP + 1);
        }
        number
    }

    /// Notes that the kernel has forgotten a file so many times; what is no longer held is answered,
    /// to be dropped without holding up anyone.
    pub(super) fn forget(&mut self, number: u64, times: u64) -> Option<Arc<dyn File>> {
        let node = self.nodes.get_mut(&number).filter(|_| number != TOP)?;
        node.lookups = node.lookups.saturating_sub(times);
        if node.lookups > 0 {
            return None;
        }
        let node = self.nodes.remove(&number)?;
        self.numbers.remove(&node.id);
        Some(node.held)
    }

    pub(super) fn extra(&self, stat: &Stat) -> Extra {
        self.extras.get(&(stat.dev, stat.ino)).copied().unwrap_or(self.default)
    }

    pub(super) fn set_extra(&mut self, stat: &Stat, extra: Extra) {
        self.extras.insert((stat.dev, stat.ino), extra);
    }

    /// For a file that is no more.
    pub(super) fn drop_extra(&mut self, stat: &Stat) {
        self.extras.remove(&(stat.dev, stat.ino));
    }

    pub(super) fn open(&mut self, open: Open) -> u64 {
        self.opened += 1;
        self.open.insert(self.opened, Arc::new(open));
        self.opened
    }

    /// Exchanges what a directory's handle lists.
    pub(super) fn reopen(&mut self, handle: u64, open: Open) {
        self.open.insert(handle, Arc::new(open));
    }

    pub(super) fn opened(&self, handle: u64) -> Result<Arc<Open>, Errno> {
        self.open.get(&handle).cloned().ok_or(Errno::Badf)
    }

    pub(super) fn close(&mut self, handle: u64) -> Option<Arc<Open>> {
        self.open.remove(&handle)
    }
}
