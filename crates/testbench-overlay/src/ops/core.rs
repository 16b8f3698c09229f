//! The parts of an overlay: the lower tree, the clock, the rules, and the state behind one lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::Clock;

use crate::lower::Lower;
use crate::lower::view::View;
use crate::pipeline::Policy;
use crate::resolve::strip_root;
use crate::upper::inode::{Ino, Inode, State};
use crate::upper::quota::Quota;
use crate::upper::store::Store;
use crate::vfs::Result;
use crate::{File, HostDir};

/// The part that an overlay and its handles share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) lower: Lower,
    pub(crate) view: View,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    /// Shared with forks: they hold the same chunks.
    pub(crate) store: Arc<Store>,
    live: Mutex<Live>,
}

/// The rules of one overlay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// The lower directory as the host names it: as given and in its canonical form.
    pub(crate) host_root: Option<(PathBuf, PathBuf)>,
    /// Where guests see the top.
    pub(crate) mounted_at: Option<Vec<u8>>,
    /// Real directories that [`crate::fs`] reaches beside the overlay, with their tops.
    pub(crate) passthrough: Vec<(HostDir, Result<Arc<dyn File>>)>,
    pub(crate) as_root: bool,
    pub(crate) quota: Quota,
    pub(crate) policy: Policy,
}

impl Config {
    /// The part of an absolute path below the top, if it leads there.
    pub(crate) fn inside<'t>(&self, path: &'t [u8]) -> Option<&'t [u8]> {
        let host = self.host_root.iter().flat_map(|(given, canonical)| [given, canonical]);
        let host = host.map(|path| path.as_os_str().as_encoded_bytes());
        host.chain(self.mounted_at.as_deref()).find_map(|own| strip_root(path, own))
    }
}

/// The identity that an overlay shares with its forks until one of them commits, and with no other
/// overlay.
#[derive(Debug)]
pub(crate) struct Family;

/// The part of an overlay that changes in use.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) state: State,
    /// Whose saved states these are; another one after a commit.
    pub(crate) family: Arc<Family>,
    /// How many handles are open on each inode. Not part of the state: handles outlive a rollback.
    pub(crate) opens: BTreeMap<Ino, u32>,
}

impl Live {
    fn new(state: State, family: Arc<Family>) -> Live {
        Live { state, family, opens: BTreeMap::new() }
    }

    /// Refuses the states that were saved so far.
    pub(crate) fn renew(&mut self) {
        self.family = Arc::new(Family);
    }

    /// Drops files without a name that no handle keeps.
    pub(crate) fn forget_closed(&mut self) {
        let open = |ino| self.opens.contains_key(ino);
        let closed: Vec<_> = self.state.orphans.keys().filter(|ino| !open(ino)).copied().collect();
        for ino in closed {
            self.state.forget(ino);
        }
    }
}

/// One operation, from its beginning to its end, on the locked state.
pub(crate) struct Tx<'c> {
    pub(crate) core: &'c Core,
    pub(crate) live: MutexGuard<'c, Live>,
    /// Permission bits do not bind.
    pub(crate) as_root: bool,
    /// The last entry of a walk, so that it is not looked up again.
    pub(crate) came_to: Option<Child>,
    /// `.` and `..` ask for no permission, as where `realpath` resolves them.
    pub(crate) free_dots: bool,
}

/// The target of a name: the number, and the inode as it is now.
pub(crate) type Child = (Ino, Arc<Inode>);

impl Core {
    pub(crate) fn new(
        lower: Lower,
        view: View,
        config: Config,
        clock: Arc<dyn Clock>,
        store: Arc<Store>,
        state: State,
    ) -> Core {
        let live = Mutex::new(Live::new(state, Arc::new(Family)));
        Core { lower, view, config, clock, store, live }
    }

    /// The same in everything but the state and who is open on it.
    pub(crate) fn fork(&self, state: State, family: Arc<Family>) -> Core {
        Core {
            lower: self.lower.fork(),
            view: self.view,
            config: self.config.clone(),
            clock: self.clock.clone(),
            store: self.store.clone(),
            live: Mutex::new(Live::new(state, family)),
        }
    }

    pub(crate) fn tx(&self) -> Tx<'_> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        Tx { core: self, live, as_root: self.config.as_root, came_to: None, free_dots: false }
    }

    /// One in which permission bits do not bind, for what has already happened elsewhere.
    pub(crate) fn tx_as_root(&self) -> Tx<'_> {
        Tx { as_root: true, ..self.tx() }
    }
}
