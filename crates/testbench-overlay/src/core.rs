//! What an overlay is made of: the lower tree, the clock, the rules, and the state behind one lock.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use testbench_clock::Clock;

use crate::checkpoint::Family;
use crate::inode::{Ino, Origin, Stamp, State};
use crate::lookup::Tx;
use crate::lower::{self, Lower, View};
use crate::name::RelPath;
use crate::{Errno, HostDir, Stat};

/// What an overlay and its handles share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) lower: Arc<Lower>,
    pub(crate) view: View,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
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
    pub(crate) passthrough: Vec<HostDir>,
    pub(crate) as_root: bool,
    pub(crate) on_lower_change: LowerPolicy,
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
}

/// What happens when the lower tree turns out not to be what it was when first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerPolicy {
    /// The operation fails with [`Errno::Stale`], and [`Overlay::lower_changes`] says what changed.
    ///
    /// [`Overlay::lower_changes`]: crate::Overlay::lower_changes
    #[default]
    Verify,
    /// What was first seen is kept: content is read into memory when a file is first looked at.
    Capture,
    /// The overlay shows what is there now.
    Live,
}

/// Something in the lower tree that is not what it was when the overlay first saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerChange {
    path: RelPath,
    what: &'static str,
}

impl LowerChange {
    pub(crate) const REMOVED: LowerChange = LowerChange::kind("was removed");
    pub(crate) const APPEARED: LowerChange = LowerChange::kind("has appeared");
    pub(crate) const MODIFIED: LowerChange = LowerChange::kind("was changed");
    pub(crate) const LISTING: LowerChange = LowerChange::kind("has gained or lost entries");

    const fn kind(what: &'static str) -> LowerChange {
        LowerChange { path: RelPath::TOP, what }
    }

    /// Where, relative to the lower root, in raw bytes; empty for the root itself.
    pub fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
}

/// A sentence: `lower file "a/b" was changed since the overlay first saw it`.
impl fmt::Display for LowerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lower file {:?} {} since the overlay first saw it", self.path, self.what)
    }
}

impl Core {
    pub(crate) fn new(
        lower: Lower,
        view: View,
        config: Config,
        clock: Arc<dyn Clock>,
        state: State,
    ) -> Core {
        let live = Mutex::new(Live { state, family: Arc::new(Family), opens: BTreeMap::new() });
        Core { lower: Arc::new(lower), view, config, clock, live, lower_changes: Mutex::default() }
    }

    /// The same in everything but the state and who is open on it.
    pub(crate) fn fork(&self, state: State, family: Arc<Family>) -> Core {
        Core {
            lower: self.lower.clone(),
            view: self.view,
            config: self.config.clone(),
            clock: self.clock.clone(),
            live: Mutex::new(Live { state, family, opens: BTreeMap::new() }),
            lower_changes: Mutex::new(self.lower_changes()),
        }
    }

    pub(crate) fn tx(&self) -> Tx<'_> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        Tx { core: self, live, as_root: self.config.as_root }
    }

    /// One in which permission bits do not bind, for what has already happened elsewhere.
    pub(crate) fn tx_as_root(&self) -> Tx<'_> {
        Tx { as_root: true, ..self.tx() }
    }

    /// Keeps the change for [`Core::lower_changes`] and answers the error of the operation.
    pub(crate) fn note_lower_change(&self, path: &RelPath, what: LowerChange) -> Errno {
        let change = LowerChange { path: path.clone(), ..what };
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

    /// The whole of a lower file, whose metadata was just seen to be `stat`.
    pub(crate) fn read_lower(&self, path: &RelPath, stat: &Stat) -> Result<Arc<[u8]>, Errno> {
        let file = self.lower.open(path)?;
        let len = usize::try_from(stat.size).map_err(|_| Errno::Fbig)?;
        let mut bytes = vec![0; len];
        lower::read_exact(&*file, &mut bytes, 0)?;
        if Stamp::of(&file.stat()?) != Stamp::of(stat) {
            return Err(self.note_lower_change(path, LowerChange::MODIFIED));
        }
        Ok(bytes.into())
    }
}

/// Reads the bytes that a file had beneath, and makes sure that they are still the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Base {
    file: std::sync::OnceLock<Arc<dyn crate::File>>,
}

impl Base {
    pub(crate) fn read(
        &self,
        core: &Core,
        origin: Option<&Origin>,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), Errno> {
        let origin = origin.ok_or(Errno::Io)?;
        if let Some(captured) = &origin.captured {
            let from = usize::try_from(offset).map_err(|_| Errno::Io)?;
            buf.copy_from_slice(captured.get(from..from + buf.len()).ok_or(Errno::Io)?);
            return Ok(());
        }
        let file = self.open(core, origin)?;
        if core.config.on_lower_change == LowerPolicy::Live {
            // What a shortened file lacks reads as zeros, not as what the buffer held before.
            buf.fill(0);
        }
        let read = lower::read_exact(&**file, buf, offset);
        // Looked at after reading: what was read before the file changed is what was first seen.
        let unchanged = origin.stamp == Stamp::of(&file.stat()?);
        match core.config.on_lower_change {
            LowerPolicy::Live => match read {
                Err(Errno::Stale) => Ok(()),
                read => read,
            },
            _ if unchanged && read != Err(Errno::Stale) => read,
            _ => Err(core.note_lower_change(origin.path(), LowerChange::MODIFIED)),
        }
    }

    fn open(&self, core: &Core, origin: &Origin) -> Result<&Arc<dyn crate::File>, Errno> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = match core.lower.open(origin.path()) {
            Err(Errno::Noent | Errno::Notdir | Errno::Loop) => {
                return Err(core.note_lower_change(origin.path(), LowerChange::REMOVED));
            }
            file => file?,
        };
        Ok(self.file.get_or_init(|| file))
    }
}
