//! An open file of a tree, with its open file description (POSIX).

use std::io::{self, SeekFrom};
use std::sync::Arc;

use super::lock::{Kind, Lock, TryLockError};
use super::position::Position;
use super::route::{Place, error_of_open};
use crate::vfs::Result;
use crate::{Errno, File, OpenHow, Stat};

/// A handle of a tree together with the open file description (POSIX).
#[derive(Clone, Debug)]
pub(super) struct TreeFile {
    file: Arc<dyn File>,
    description: Arc<Description>,
}

/// The state that clones of a handle share.
#[derive(Debug)]
struct Description {
    /// Where it was opened, for error messages.
    place: Place<'static>,
    position: Position,
    append: bool,
    lock: Lock,
}

impl TreeFile {
    pub(super) fn open(place: Place<'_>, how: &OpenHow, append: bool) -> io::Result<TreeFile> {
        let file = place.result(place.fs().open_at(place.top(), place.guest(), how))?;
        let (lock, position) = (Lock::new(&place), Position::default());
        let description = Description { place: place.into_owned(), position, append, lock };
        Ok(TreeFile { file, description: Arc::new(description) })
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        self.run(|file| file.stat())
    }

    /// Runs an operation on the handle; its error names the path.
    pub(super) fn run<T>(&self, operation: impl FnOnce(&dyn File) -> Result<T>) -> io::Result<T> {
        self.result(operation(&*self.file))
    }

    fn result<T>(&self, result: Result<T>) -> io::Result<T> {
        result.map_err(|errno| error_of_open(&self.description.place, &*self.file, errno))
    }

    pub(super) fn lock(&self, kind: Kind) -> io::Result<()> {
        self.description.lock.acquire(self.stat()?.ino, kind)
    }

    pub(super) fn try_lock(&self, kind: Kind) -> Result<(), TryLockError> {
        let stat = self.stat().map_err(TryLockError::Error)?;
        self.description.lock.try_acquire(stat.ino, kind)
    }

    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut position = self.description.position.take()?;
        let read = self.read_at(buf, position.at)?;
        position.at += read as u64;
        Ok(read)
    }

    pub(super) fn unlock(&self) -> io::Result<()> {
        self.description.lock.release()
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.result(self.file.read_at(buf, offset))
    }

    /// `pwrite`, which on Linux appends to a file opened with `O_APPEND`, whatever the offset.
    pub(super) fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match self.description.append {
            true => self.append(buf).map(|(written, _)| written),
            false => self.result(self.file.write_at(buf, offset)),
        }
    }

    fn append(&self, buf: &[u8]) -> io::Result<(usize, u64)> {
        self.result(self.file.append(buf))
    }

    pub(super) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let mut position = self.description.position.take()?;
        let (written, end) = if self.description.append {
            self.append(buf)?
        } else {
            let written = self.write_at(buf, position.at)?;
            (written, position.at + written as u64)
        };
        position.at = end;
        Ok(written)
    }

    pub(super) fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        let mut position = self.description.position.take()?;
        let (from, by) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(by) => (position.at, by),
            SeekFrom::End(by) => (self.stat()?.size, by),
        };
        let target = i64::try_from(from).ok().and_then(|from| from.checked_add(by));
        position.at = target.and_then(|at| u64::try_from(at).ok()).ok_or(Errno::Inval)?;
        Ok(position.at)
    }
}
