//! The bytes that a file had beneath, with a watch over whether they are still the same.

use std::sync::{Arc, PoisonError, RwLock};

use crate::lower::observe::{Origin, Seen, Stamp};
use crate::lower::read_ahead::ReadAhead;
use crate::lower::{self, Lower};
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{Errno, File, HostDir, LowerChangeKind, Stat};

/// Reads the lower file behind one inode, which it keeps open between reads.
#[derive(Debug, Default)]
pub(crate) struct Base {
    open: RwLock<Option<Opened>>,
    /// The path must still lead to it. Else the directory that is kept open will do: what is left
    /// of a file whose directory was moved away can be committed.
    by_path: bool,
}

#[derive(Debug)]
struct Opened {
    /// The state for which it was opened: after a commit an inode has another.
    seen: Seen,
    file: Arc<dyn File>,
    ahead: ReadAhead,
}

impl Base {
    pub(crate) fn by_path() -> Base {
        Base { by_path: true, ..Base::default() }
    }

    /// Fills `buf` with the bytes at `offset` of the file as it was first seen.
    pub(crate) fn read(
        &self,
        lower: &Lower,
        origin: Option<&Origin>,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<()> {
        let origin = origin.ok_or(Errno::Io)?;
        let read = |file: &dyn File, buf: &mut [u8], at| read_watched(lower, origin, file, buf, at);
        // With the file at hand and not with a share in it: a small read costs little else.
        let opened = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Opened { seen, file, ahead }) = &*opened
            && seen.is(&origin.seen)
        {
            let size = seen.stamp.size;
            return ahead.read(buf, offset, size, |buf, at| read(&**file, buf, at));
        }
        drop(opened);
        read(&*self.open(lower, origin)?, buf, offset)
    }

    /// Makes `target` share the blocks of the file beneath, if all of that can be relied on without
    /// reading it; else returns false, and `target` is as empty as it was.
    pub(crate) fn clone_into(&self, lower: &Lower, origin: &Origin, target: &dyn File) -> bool {
        let seen = &origin.seen;
        if !lower.stamp_suffices(seen) {
            return false;
        }
        let Ok(file) = self.open(lower, origin) else { return false };
        if !HostDir::share_blocks(&*file, target) {
            return false;
        }
        // Looked at after it, as after reading.
        let stands = file.stat().is_ok_and(|stat| seen.stamp == Stamp::of(&stat));
        if !stands {
            let _ = target.set_len(0);
        }
        stands
    }

    /// Opens the file beneath, whether it has changed or not.
    pub(crate) fn open(&self, lower: &Lower, origin: &Origin) -> Result<Arc<dyn File>> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open
            && open.seen.is(&origin.seen)
        {
            return Ok(open.file.clone());
        }
        let file = match lower.open(origin.path(), self.by_path) {
            Err(Errno::Noent | Errno::Notdir | Errno::Loop) => {
                return Err(lower.note_change(origin.path(), LowerChangeKind::Removed));
            }
            file => file?,
        };
        let (seen, ahead) = (origin.seen.clone(), ReadAhead::default());
        *open = Some(Opened { seen, file: file.clone(), ahead });
        Ok(file)
    }
}

impl Lower {
    /// The whole of a lower file, whose metadata was just seen to be `stat`.
    pub(crate) fn read_lower(&self, path: &RelPath, stat: &Stat) -> Result<Arc<[u8]>> {
        let file = self.open(path, false)?;
        let mut bytes = lower::zeros(stat.size)?;
        let read = lower::read_exact(&*file, &mut bytes, 0);
        if read == Err(Errno::Stale) || Stamp::of(&file.stat()?) != Stamp::of(stat) {
            return Err(self.note_change(path, LowerChangeKind::Modified));
        }
        read.map(|()| bytes.into())
    }
}

/// Reads, and compares the file with what was first seen.
fn read_watched(
    lower: &Lower,
    origin: &Origin,
    file: &dyn File,
    buf: &mut [u8],
    offset: u64,
) -> Result<()> {
    let seen = &origin.seen;
    let read = lower.before_read(seen, file).and_then(|()| lower::read_exact(file, buf, offset));
    // Looked at after reading: what was read before the file changed is what was first seen.
    let unchanged = seen.stamp == Stamp::of(&file.stat()?);
    if !unchanged || read == Err(Errno::Stale) {
        return Err(lower.note_change(origin.path(), LowerChangeKind::Modified));
    }
    read
}
