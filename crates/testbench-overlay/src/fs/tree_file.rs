//! An open file of a tree, with what POSIX calls its open file description.

use std::io::{self, SeekFrom};
use std::sync::Arc;

use super::lock::{self, Lock, TryLockError};
use super::position::{Position, Taken};
use super::route::{Place, error_of_open};
use crate::{Errno, File, OpenHow, SetTimes, Stat};

/// A handle of a tree together with what POSIX calls the open file description.
#[derive(Clone, Debug)]
pub(super) struct TreeFile {
    file: Arc<dyn File>,
    description: Arc<Description>,
}

/// The state that clones of a handle share.
#[derive(Debug)]
struct Description {
    /// Where it was opened, for what an error has to say.
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
        self.result(self.file.stat())
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.result(self.file.set_len(len))
    }

    pub(super) fn sync(&self, data_only: bool) -> io::Result<()> {
        self.result(self.file.sync(data_only))
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.result(self.file.set_mode(mode))
    }

    pub(super) fn set_times(&self, times: SetTimes) -> io::Result<()> {
        self.result(self.file.set_times(times))
    }

    fn result<T>(&self, result: Result<T, Errno>) -> io::Result<T> {
        result.map_err(|errno| error_of_open(&self.description.place, &*self.file, errno))
    }

    pub(super) fn lock(&self, kind: lock::Kind) -> io::Result<()> {
        self.description.lock.acquire(self.stat()?.ino, kind)
    }

    pub(super) fn try_lock(&self, kind: lock::Kind) -> Result<(), TryLockError> {
        let stat = self.stat().map_err(TryLockError::Error)?;
        self.description.lock.try_acquire(stat.ino, kind)
    }

    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let read = read_at(&*self.file, &mut self.description.position.take()?, buf);
        self.result(read)
    }

    pub(super) fn read_mut(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(description) = Arc::get_mut(&mut self.description) else {
            return self.read(buf);
        };
        let read = read_at(&*self.file, &mut description.position.take_alone(), buf);
        self.result(read)
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
        let target = match to {
            SeekFrom::Start(offset) => i64::try_from(offset).ok(),
            SeekFrom::Current(by) => {
                i64::try_from(position.at).ok().and_then(|p| p.checked_add(by))
            }
            SeekFrom::End(by) => {
                let size = self.stat()?.size;
                i64::try_from(size).ok().and_then(|size| size.checked_add(by))
            }
        };
        position.at = target.and_then(|t| u64::try_from(t).ok()).ok_or(Errno::Inval)?;
        Ok(position.at)
    }
}

fn read_at(file: &dyn File, position: &mut Taken<'_>, buf: &mut [u8]) -> Result<usize, Errno> {
    let read = file.read_at(buf, position.at)?;
    position.at += read as u64;
    Ok(read)
}
