//! What an overlay is made of: the lower tree, the clock, the rules, and the state behind one lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use testbench_clock::{Clock, SystemClock};

use crate::Errno;
use crate::checkpoint::Family;
use crate::fs::passthrough::Passthrough;
use crate::lower::observe::{LowerChange, LowerChangeKind};
use crate::lower::{Lower, View};
use crate::ops::lookup::{Stride, Tx};
use crate::pipeline::{Pipeline, Quota};
use crate::upper::inode::{Ino, State};
use crate::upper::store::Store;
use crate::vfs::name::RelPath;

/// What an overlay and its handles share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) lower: Arc<Lower>,
    pub(crate) view: View,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    /// Shared with forks: they hold the same chunks.
    pub(crate) store: Arc<Store>,
    /// What operations go through before they reach this core, if there is anything.
    pub(crate) pipeline: Option<Box<Pipeline>>,
    /// The clock by which the lower tree's times go, if that is a real directory.
    pub(crate) disk_clock: Option<SystemClock>,
    live: Mutex<Live>,
    lower_changes: Mutex<Vec<LowerChange>>,
}

/// The rules of one overlay.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The lower directory as the host names it: as given and in its canonical form.
    pub(crate) host_root: Option<(PathBuf, PathBuf)>,
    /// Where guests see the top.
    pub(crate) mounted_at: Option<Vec<u8>>,
    /// Real directories that [`crate::fs`] reaches beside the overlay.
    pub(crate) passthrough: Vec<Passthrough>,
    pub(crate) as_root: bool,
    pub(crate) quota: Quota,
}

impl Config {
    /// The absolute paths under which the top is known.
    pub(crate) fn own_paths(&self) -> impl Iterator<Item = &[u8]> {
        let host = self.host_root.iter().flat_map(|(given, canonical)| [given, canonical]);
        let host = host.map(|path| path.as_os_str().as_encoded_bytes());
        host.chain(self.mounted_at.as_deref())
    }
}

/// What changes while an overlay is used.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) state: State,
    /// Whose saved states these are; another one after a commit.
    pub(crate) family: Arc<Family>,
    /// How many handles are open on each inode. Not part of the state: handles outlive a rollback.
    pub(crate) opens: BTreeMap<Ino, u32>,
    /// Where the last walk came through: the next one often comes the same way.
    pub(crate) last_stride: Option<Stride>,
}

impl Live {
    fn new(state: State, family: Arc<Family>) -> Live {
        Live { state, family, opens: BTreeMap::new(), last_stride: None }
    }
}

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
        let disk_clock = config.host_root.as_ref().map(|_| SystemClock::new("overlay"));
        let (lower, lower_changes) = (Arc::new(lower), Mutex::default());
        let pipeline = None;
        Core { lower, view, config, clock, store, pipeline, disk_clock, live, lower_changes }
    }

    /// The same in everything but the state and who is open on it.
    pub(crate) fn fork(&self, state: State, family: Arc<Family>) -> Core {
        Core {
            lower: self.lower.clone(),
            view: self.view,
            config: self.config.clone(),
            clock: self.clock.clone(),
            store: self.store.clone(),
            pipeline: self.pipeline.as_ref().map(|pipeline| Box::new(pipeline.fork())),
            disk_clock: self.disk_clock.clone(),
            live: Mutex::new(Live::new(state, family)),
            lower_changes: Mutex::new(self.lower_changes()),
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

    /// Keeps the change for [`Core::lower_changes`] and answers the error of the operation.
    pub(crate) fn note_lower_change(&self, path: &RelPath, kind: LowerChangeKind) -> Errno {
        let change = LowerChange::new(path, kind);
        let mut changes = self.lower_changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !changes.contains(&change) {
            changes.push(change);
        }
        Errno::Stale
    }

    pub(crate) fn lower_changes(&self) -> Vec<LowerChange> {
        self.lower_changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a commit they are history.
    pub(crate) fn forget_lower_changes(&self) {
        self.lower_changes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
