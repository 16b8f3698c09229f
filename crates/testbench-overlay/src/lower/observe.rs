//! Observations of the lower tree, and the check whether they still hold.
//!
//! Nothing that an overlay shows of its lower tree is believed twice without being compared. A file
//! is known by its [`Stamp`]; what was not there, and what a directory listed, are observations of
//! their own. A stamp misses one thing: a write of the same length within the step of the file
//! system's clock in which the stamp was taken. Where that can have happened (the file was changed
//! shortly before it was first read) or where it costs nothing (the file is short), a hash of the
//! whole content is taken at the first read, and is compared by [`Lower::recheck`], by the diff and by
//! the commit. Of files over 16 MiB the stamp is all that is compared.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use testbench_clock::{Clock as _, WallTime};

use crate::lower::view::Meta;
use crate::lower::{self, Lower};
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{DirEntry, Errno, File, FileKind, Stat};

/// A file up to this length is hashed at its first read whenever it was written: the read fetches
/// about as much anyway.
const HASHED_ALWAYS_BYTES_MAX: u64 = 64 * 1024;

/// A longer file is never hashed: reading a few bytes of it must not cost reading all of it.
const HASHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A file changed less than this before it is read may be changed again without its times showing
/// it. Two seconds is the coarsest step in use (FAT); Linux's own file systems step by the kernel's
/// tick, at most 10 ms.
const TIMES_SETTLE_AFTER: Duration = Duration::from_secs(2);

/// How much of a file is read at a time to hash it.
const HASH_STEP_BYTES: usize = 1 << 20;

/// Something in the lower tree that is not what it was when the overlay first saw it.
///
/// ```
/// use testbench_overlay::{LowerChangeKind, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("a");
/// std::fs::write(&file, "first")?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::read(&file)?;
///
/// std::fs::write(&file, "other")?; // Another program, behind the overlay's back.
/// let [change] = &overlay.check_lower()?[..] else { panic!("one change") };
/// assert_eq!((change.path(), change.kind()), (&b"a"[..], LowerChangeKind::Modified));
/// assert_eq!(change.to_string(), "lower file \"a\" was changed since the overlay first saw it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerChange {
    path: RelPath,
    kind: LowerChangeKind,
}

/// A kind of change in the lower tree.
///
/// ```
/// use testbench_overlay::{LowerChangeKind, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// assert_eq!(fs::read_dir(dir.path())?.count(), 0);
/// assert!(!fs::exists(dir.path().join("new"))?);
/// std::fs::write(dir.path().join("new"), "")?;
/// let kinds: Vec<_> = overlay.check_lower()?.iter().map(|change| change.kind()).collect();
/// assert_eq!(kinds, [LowerChangeKind::Listing, LowerChangeKind::Appeared]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LowerChangeKind {
    /// It is not there any more.
    Removed,
    /// It is there, and was not.
    Appeared,
    /// Its content, permission bits or times differ, or it is another file of the same kind.
    Modified,
    /// It is of another kind.
    Retyped,
    /// A directory has gained or lost entries.
    Listing,
}

impl LowerChange {
    pub(crate) fn new(path: &RelPath, kind: LowerChangeKind) -> LowerChange {
        LowerChange { path: path.clone(), kind }
    }

    /// The path of it, relative to the lower root, in raw bytes; empty for the root itself.
    pub fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    /// Its change since the overlay first saw it.
    pub fn kind(&self) -> LowerChangeKind {
        self.kind
    }
}

/// A sentence: `lower file "a/b" was changed since the overlay first saw it`.
impl fmt::Display for LowerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            LowerChangeKind::Removed => "was removed",
            LowerChangeKind::Appeared => "has appeared",
            LowerChangeKind::Modified => "was changed",
            LowerChangeKind::Retyped => "is of another kind",
            LowerChangeKind::Listing => "has gained or lost entries",
        };
        write!(f, "lower file {:?} {what} since the overlay first saw it", self.path)
    }
}

/// Which file of the lower tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LowerId {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// The metadata that tells one state of a lower file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) id: LowerId,
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) mtime: WallTime,
    pub(crate) ctime: WallTime,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Stamp {
        Stamp {
            id: LowerId { dev: stat.dev, ino: stat.ino },
            kind: stat.kind,
            mode: stat.mode,
            size: stat.size,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }

    /// Whether it is still the same state.
    pub(crate) fn matches(&self, now: &Stamp) -> bool {
        self.change_to(now).is_none()
    }

    /// Returns the change from this stamp to `now`, by metadata. The content of a directory is observed
    /// by name, so only the identity of the directory itself counts.
    pub(crate) fn change_to(&self, now: &Stamp) -> Option<LowerChangeKind> {
        match (self.kind, now.kind) {
            (was, is) if was != is => Some(LowerChangeKind::Retyped),
            (FileKind::Dir, _) => (self.id != now.id).then_some(LowerChangeKind::Modified),
            _ => (self != now).then_some(LowerChangeKind::Modified),
        }
    }
}

/// The state in which something of the lower tree was first seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) stamp: Stamp,
    /// The hash of the whole content, once it was taken; shared by all copies of this value.
    content: Arc<OnceLock<blake3::Hash>>,
}

impl Seen {
    pub(crate) fn new(stat: &Stat) -> Seen {
        Seen { stamp: Stamp::of(stat), content: Arc::default() }
    }

    /// A symlink with this target.
    pub(crate) fn with_content(stat: &Stat, target: &[u8]) -> Seen {
        let content = Arc::new(OnceLock::from(blake3::hash(target)));
        Seen { stamp: Stamp::of(stat), content }
    }

    /// The hash of the whole content (of a symlink, its target), if one was taken.
    pub(crate) fn content_hash(&self) -> Option<blake3::Hash> {
        self.content.get().copied()
    }

    /// Whether the two are copies of one value.
    pub(crate) fn is(&self, other: &Seen) -> bool {
        Arc::ptr_eq(&self.content, &other.content)
    }

    /// Whether these bytes, just read as the whole content, are those first seen.
    pub(crate) fn agrees_with(&self, bytes: &[u8]) -> bool {
        self.content.get().is_none_or(|hash| *hash == blake3::hash(bytes))
    }
}

/// A list that nearly always has one element, which then needs no memory of its own.
pub(crate) type Few<T> = smallvec::SmallVec<[T; 1]>;

/// Where an inode came from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The lower paths at which it was seen, the first one first.
    pub(crate) paths: Few<RelPath>,
    pub(crate) seen: Seen,
    /// How many names it has beneath. Some may lie outside of the root, and those inside may not
    /// have been looked at yet.
    pub(crate) links: u64,
    /// As it was presented before any change.
    pub(crate) meta: Meta,
}

impl Origin {
    pub(crate) fn path(&self) -> &RelPath {
        &self.paths[0]
    }

    /// Whether the lower tree may hold names of it that were not looked at yet.
    pub(crate) fn may_have_more_names(&self) -> bool {
        self.links > self.paths.len() as u64
    }
}

/// Something seen of the lower tree that is not in an inode.
#[derive(Clone, Debug)]
pub(crate) enum Observation {
    /// Nothing was there.
    Absent,
    /// A directory had these entries.
    Listing(Listing),
    /// Something was there in this state, and the upper layer has removed it; with what it had
    /// listed, if it was a directory and was asked.
    Removed(Seen, Option<Listing>),
}

impl Observation {
    pub(crate) fn listing(&self) -> Option<&Listing> {
        match self {
            Observation::Listing(listing) | Observation::Removed(_, Some(listing)) => Some(listing),
            Observation::Absent | Observation::Removed(_, None) => None,
        }
    }
}

/// The listing of a directory: a hash over its names and their kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing(blake3::Hash);

impl Listing {
    pub(crate) fn of(entries: &[DirEntry]) -> Listing {
        let mut hasher = blake3::Hasher::new();
        for entry in entries {
            hasher.update(&(entry.name.len() as u64).to_le_bytes());
            hasher.update(&entry.name);
            hasher.update(&[entry.kind as u8]);
        }
        Listing(hasher.finalize())
    }
}

impl Lower {
    /// Keeps the change for [`Lower::changes`] and returns the error of the operation that met it.
    pub(crate) fn note_change(&self, path: &RelPath, kind: LowerChangeKind) -> Errno {
        let change = LowerChange::new(path, kind);
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !changes.contains(&change) {
            changes.push(change);
        }
        Errno::Stale
    }

    /// The changes that operations have met, in this order.
    pub(crate) fn changes(&self) -> Vec<LowerChange> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a commit they are history.
    pub(crate) fn forget_changes(&self) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether what was seen at a path is still so, content included; `None` if it is.
    pub(crate) fn recheck(
        &self,
        path: &RelPath,
        was: &Observation,
    ) -> Result<Option<LowerChangeKind>> {
        let now = self.stat(path)?;
        let (seen, now) = match (was, now) {
            (Observation::Absent, now) => return Ok(now.map(|_| LowerChangeKind::Appeared)),
            (_, None) => return Ok(Some(LowerChangeKind::Removed)),
            (Observation::Listing(_), Some(now)) if now.kind != FileKind::Dir => {
                return Ok(Some(LowerChangeKind::Retyped));
            }
            (Observation::Listing(listing), _) => return self.relist(path, listing),
            (Observation::Removed(seen, _), Some(now)) => (seen, now),
        };
        if let Some(kind) = seen.stamp.change_to(&Stamp::of(&now)) {
            return Ok(Some(kind));
        }
        if let Some(listing) = was.listing() {
            return self.relist(path, listing);
        }
        let Some(hash) = seen.content_hash() else { return Ok(None) };
        let is = match now.kind {
            FileKind::Symlink => blake3::hash(&self.read_link(path)?),
            _ => match hash_of(&*self.open(path, false)?, now.size) {
                Err(Errno::Stale) => return Ok(Some(LowerChangeKind::Modified)),
                hash => hash?,
            },
        };
        Ok((is != hash).then_some(LowerChangeKind::Modified))
    }

    /// Whether a directory still lists what it did; `None` if so.
    fn relist(&self, dir: &RelPath, was: &Listing) -> Result<Option<LowerChangeKind>> {
        let now = Listing::of(&self.list(dir)?);
        Ok((now != *was).then_some(LowerChangeKind::Listing))
    }

    /// Before the first read of a file: takes the hash of its content if the stamp alone cannot be
    /// relied on. The caller compares the stamp **after** its read: bytes that were read before a change
    /// are those first seen.
    pub(crate) fn before_read(&self, seen: &Seen, file: &dyn File) -> Result<()> {
        if !self.stamp_suffices(seen) {
            let _ = seen.content.set(hash_of(file, seen.stamp.size)?);
        }
        Ok(())
    }

    /// Whether the content can be taken for what was first seen without reading it.
    pub(crate) fn stamp_suffices(&self, seen: &Seen) -> bool {
        let is_small = seen.stamp.size <= HASHED_ALWAYS_BYTES_MAX;
        seen.content.get().is_some() || !(is_small || self.may_change_unseen(seen))
    }

    /// Whether a change after this moment could leave the stamp as it is.
    fn may_change_unseen(&self, seen: &Seen) -> bool {
        if seen.stamp.size > HASHED_BYTES_MAX {
            return false;
        }
        match &self.clock {
            Some(clock) => {
                let since = clock.wall().checked_duration_since(seen.stamp.ctime);
                since.is_none_or(|since| since < TIMES_SETTLE_AFTER)
            }
            // The times of another tree may be those of a clock that stands still.
            None => true,
        }
    }
}

fn hash_of(file: &dyn File, size: u64) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; HASH_STEP_BYTES.min(usize::try_from(size).unwrap_or(HASH_STEP_BYTES))];
    let mut at = 0;
    while at < size {
        let part = (size - at).min(buf.len() as u64) as usize;
        lower::read_exact(file, &mut buf[..part], at)?;
        hasher.update(&buf[..part]);
        at += part as u64;
    }
    Ok(hasher.finalize())
}
