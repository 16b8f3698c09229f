//! Open files and directories of an overlay that has stages.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::mounts::{Spot, device};
use super::operation::{Operation, Request};
use super::staged::Staged;
use crate::handle::Handle;
use crate::ops::core::Core;
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{DirEntry, Errno, File, FileKind, SetTimes, Stat};

/// A handle, of the overlay's own tree or of a mounted one, behind the stages of the overlay through
/// which it was opened.
pub(crate) struct StagedFile {
    pub(super) core: Arc<Core>,
    pub(super) inner: Arc<dyn File>,
    /// Under which it was opened.
    pub(super) path: RelPath,
    /// Of a directory, where names in it are looked up.
    pub(super) spot: Option<Spot>,
    pub(super) mount: Option<usize>,
}

impl fmt::Debug for StagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StagedFile { inner, path, .. } = self;
        f.debug_struct("StagedFile").field("path", path).field("inner", inner).finish()
    }
}

impl StagedFile {
    pub(crate) fn new(
        core: &Arc<Core>,
        inner: Arc<dyn File>,
        path: RelPath,
        spot: Option<Spot>,
        mount: Option<usize>,
    ) -> StagedFile {
        StagedFile { core: core.clone(), inner, path, spot, mount }
    }

    /// The top directory of an overlay.
    pub(crate) fn top(core: &Arc<Core>, inner: Arc<dyn File>) -> Arc<dyn File> {
        let spot = Some(Spot::Own(crate::upper::inode::Ino::ROOT));
        Arc::new(StagedFile::new(core, inner, RelPath::TOP, spot, None))
    }

    /// Returns the file behind the stages, if `file` is one of `core`'s own.
    pub(crate) fn own_in<'f>(file: &'f dyn File, core: &Arc<Core>) -> Result<&'f dyn File> {
        match (file as &dyn Any).downcast_ref::<StagedFile>() {
            Some(staged) if Arc::ptr_eq(&staged.core, core) && staged.mount.is_none() => {
                Ok(&*staged.inner)
            }
            Some(_) => Err(Errno::Xdev),
            None => Ok(file),
        }
    }

    /// The directory behind a handle of `core`.
    pub(super) fn spot_in(file: &dyn File, core: &Arc<Core>) -> Result<Spot> {
        match (file as &dyn Any).downcast_ref::<StagedFile>() {
            Some(staged) if Arc::ptr_eq(&staged.core, core) => {
                staged.spot.clone().ok_or(Errno::Notdir)
            }
            Some(_) => Err(Errno::Xdev),
            None => Handle::ino_in(file, core).map(Spot::Own),
        }
    }

    /// Another handle of the same file.
    pub(super) fn with(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        let StagedFile { core, path, spot, mount, .. } = self;
        Arc::new(StagedFile::new(core, inner, path.clone(), spot.clone(), *mount))
    }

    pub(super) fn staged(&self) -> Staged<'_> {
        let pipe = self.core.pipeline.as_deref().expect("a staged file comes out of a pipeline");
        Staged::new(&self.core, pipe)
    }

    pub(super) fn run<T>(
        &self,
        operation: Operation,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.staged().run(Request::new(operation, self.path.clone()), |_| act())
    }

    /// An operation that changes something and does not need a handle that is open for writing.
    pub(super) fn change<T>(
        &self,
        operation: Operation,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.run(operation, || {
            self.staged().pipe.policy.check_change(&self.path)?;
            act()
        })
    }

    /// Moves bytes: as many of them as the faults let through.
    fn transfer<T>(
        &self,
        operation: Operation,
        len: usize,
        count: impl FnOnce(&T) -> usize,
        act: impl FnOnce(usize) -> Result<T>,
    ) -> Result<T> {
        let request = Request { len, ..Request::new(operation, self.path.clone()) };
        self.staged().transfer(request, count, |_, granted| act(granted))
    }
}

impl File for StagedFile {
    fn stat(&self) -> Result<Stat> {
        self.run(Operation::Stat, || {
            let stat = self.inner.stat()?;
            Ok(Stat { dev: self.mount.map_or(stat.dev, device), ..stat })
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.transfer(
            Operation::Read,
            buf.len(),
            |done| *done,
            |granted| self.inner.read_at(&mut buf[..granted], offset),
        )
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.transfer(
            Operation::Write,
            buf.len(),
            |done| *done,
            |granted| self.inner.write_at(&buf[..granted], offset),
        )
    }

    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        self.transfer(
            Operation::Write,
            buf.len(),
            |(done, _)| *done,
            |granted| self.inner.append(&buf[..granted]),
        )
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.run(Operation::SetLen, || self.inner.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.run(Operation::SetLen, || self.inner.allocate(offset, len))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        self.inner.next_data(offset)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.run(Operation::Sync, || self.inner.sync(data_only))
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.change(Operation::SetTimes, || self.inner.set_times(times))
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.change(Operation::SetMode, || self.inner.set_mode(mode))
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        self.run(Operation::ReadDir, || {
            let mut entries = self.inner.read_dir()?;
            let Some(spot) = &self.spot else { return Ok(entries) };
            let staged = self.staged();
            if staged.pipe.policy.hides_anything() {
                let dir = staged.path_of(spot);
                entries.retain(|entry| !staged.pipe.policy.hides(&dir.child(&entry.name)));
            }
            for (name, top) in staged.pipe.mounts.points(spot) {
                let (ino, kind) = (top.stat()?.ino, FileKind::Dir);
                entries.retain(|entry| *entry.name != *name);
                entries.push(DirEntry { name: name.into(), ino, kind });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        })
    }
}
