//! Advisory locks on files of an overlay, with the rules of `flock(2)`: a lock belongs to an open
//! file description, and counts against all others of the same file.
//!
//! They live beside the overlay and not in it: a holder is code of this process, so a
//! checkpoint neither saves nor restores them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Event, Stuck, Wait};

use super::route::Place;
use crate::{Overlay, Stat};

pub use std::fs::TryLockError;

/// The kind of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Shared,
    Exclusive,
}

/// The part that one open file description has in the locks of its file.
#[derive(Debug)]
pub(super) struct Lock {
    /// Which description.
    owner: u64,
    /// `None` for a file beside the overlay.
    overlay: Option<Arc<Overlay>>,
    /// The file, once there has been a lock.
    held: Mutex<Option<FileId>>,
}

/// A file of an overlay: the address of what all handles of the overlay share, and the inode. As
/// long as there is a lock, the overlay exists, so no other has its address.
type FileId = (usize, u64);

/// The holders of a lock on a file.
#[derive(Debug, Default)]
struct Holders {
    owners: BTreeMap<u64, Kind>,
    released: Event,
}

static LOCKS: Mutex<BTreeMap<FileId, Holders>> = Mutex::new(BTreeMap::new());

fn locks() -> MutexGuard<'static, BTreeMap<FileId, Holders>> {
    LOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lock {
    pub(super) fn new(place: &Place<'_>) -> Lock {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        Lock {
            owner: OWNERS.fetch_add(1, Ordering::Relaxed),
            overlay: place.is_overlay().then(|| place.overlay().clone()),
            held: Mutex::default(),
        }
    }

    fn file(&self, ino: u64) -> io::Result<FileId> {
        let refused = || {
            let text = "files in a directory that is passed through cannot be locked";
            io::Error::new(io::ErrorKind::Unsupported, text)
        };
        let overlay = self.overlay.as_ref().ok_or_else(refused)?;
        Ok((Arc::as_ptr(&overlay.core).addr(), ino))
    }

    /// Takes the lock, or says on what to wait.
    fn take(&self, file: FileId, kind: Kind) -> Result<(), testbench_clock::Listener> {
        let mut locks = locks();
        let holders = locks.entry(file).or_default();
        let others = holders.owners.iter().filter(|(owner, _)| **owner != self.owner);
        let free = match kind {
            Kind::Exclusive => others.count() == 0,
            Kind::Shared => others.into_iter().all(|(_, held)| *held == Kind::Shared),
        };
        if !free {
            // Linux gives up the lock that is to be converted before it takes the other kind, so
            // that two holders who both want to exclude all others do not wait for each other.
            if holders.owners.remove(&self.owner).is_some() {
                holders.released.notify();
            }
            return Err(holders.released.listen());
        }
        let before = holders.owners.insert(self.owner, kind);
        if before == Some(Kind::Exclusive) && kind == Kind::Shared {
            holders.released.notify();
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    pub(super) fn try_acquire(
        &self,
        stat: io::Result<Stat>,
        kind: Kind,
    ) -> Result<(), TryLockError> {
        let file = stat.and_then(|stat| self.file(stat.ino)).map_err(TryLockError::Error)?;
        self.take(file, kind).map_err(|_| TryLockError::WouldBlock)
    }

    pub(super) fn acquire(&self, stat: io::Result<Stat>, kind: Kind) -> io::Result<()> {
        let file = self.file(stat?.ino)?;
        let clock = testbench_clock::current();
        while let Err(released) = self.take(file, kind) {
            let wait = Wait { deadline: None, on: &[released], what: &"a lock on a file" };
            clock.wait(wait).map_err(|stuck| match stuck {
                Stuck::Deadlock(_) => io::Error::new(io::ErrorKind::Deadlock, stuck),
                stuck => io::Error::other(stuck),
            })?;
        }
        Ok(())
    }

    pub(super) fn release(&self) -> io::Result<()> {
        self.file(0)?;
        self.let_go();
        Ok(())
    }

    fn let_go(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(file) = held else { return };
        let mut locks = locks();
        let Some(holders) = locks.get_mut(&file) else { return };
        holders.owners.remove(&self.owner);
        let released = holders.released.clone();
        if holders.owners.is_empty() {
            locks.remove(&file);
        }
        drop(locks);
        released.notify();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.let_go();
    }
}
