//! An open file of a tree, with its open file description (POSIX).

use std::io::{self, SeekFrom};
use std::sync::Arc;

use super::lock::Lock;
use super::position::Position;
use super::route::{Place, error_of_open};
use crate::vfs::Result;
use crate::{Errno, File, OpenHow, Stat};

/// An open file description (POSIX) of a tree, which the clones of a file share.
#[derive(Debug)]
pub(super) struct TreeFile {
    file: Arc<dyn File>,
    /// Where it was opened, for error messages.
    place: Place<'static>,
    position: Position,
    append: bool,
    pub(super) lock: Lock,
}

impl TreeFile {
    pub(super) fn open(place: Place<'_>, how: &OpenHow, append: bool) -> io::Result<TreeFile> {
        let file = place.result(place.fs().open_at(place.top(), place.guest(), how))?;
        let (lock, position) = (Lock::new(&place), Position::default());
        Ok(TreeFile { file, place: place.into_owned(), position, append, lock })
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        self.run(|file| file.stat())
    }

    /// Runs an operation on the handle; its error names the path.
    pub(super) fn run<T>(&self, operation: impl FnOnce(&dyn File) -> Result<T>) -> io::Result<T> {
        operation(&*self.file).map_err(|errno| error_of_open(&self.place, &*self.file, errno))
    }

    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut position = self.position.take()?;
        let read = self.run(|file| file.read_at(buf, position.at))?;
        position.at += read as u64;
        Ok(read)
    }

    /// `pwrite`, which on Linux appends to a file opened with `O_APPEND`, whatever the offset.
    pub(super) fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.write_to(buf, offset).map(|(written, _)| written)
    }

    pub(super) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let mut position = self.position.take()?;
        let (written, end) = self.write_to(buf, position.at)?;
        position.at = end;
        Ok(written)
    }

    /// Returns how many bytes were written, and the offset behind them.
    fn write_to(&self, buf: &[u8], offset: u64) -> io::Result<(usize, u64)> {
        self.run(|file| match self.append {
            true => file.append(buf),
            false => file.write_at(buf, offset).map(|written| (written, offset + written as u64)),
        })
    }

    pub(super) fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        let mut position = self.position.take()?;
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
