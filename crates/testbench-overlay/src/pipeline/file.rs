//! Open files and directories of an overlay that has a pipeline.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::Pipeline;
use super::operation::{Operation, Request};
use crate::handle::Handle;
use crate::ops::core::Core;
use crate::trees::namespace::{Spot, device};
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{DirEntry, Errno, File, FileKind, SetTimes, Stat};

/// A handle behind the pipeline of the overlay through which it was opened. The file is in the
/// overlay's own tree or in a mounted one.
#[derive(Clone)]
pub(crate) struct StagedFile {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) inner: Arc<dyn File>,
    /// The path under which it was opened.
    pub(super) path: RelPath,
    /// The place where names in it are looked up; `None` unless it is a directory.
    pub(super) spot: Option<Spot>,
    /// The number of the mounted tree that it is in; `None` for the overlay's own tree.
    pub(super) tree: Option<usize>,
}

impl fmt::Debug for StagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StagedFile { inner, path, .. } = self;
        f.debug_struct("StagedFile").field("path", path).field("inner", inner).finish()
    }
}

impl StagedFile {
    /// Returns the handle behind a staged one, or [`Errno::Xdev`] if that is not of `core`'s own tree.
    pub(crate) fn own_in<'f>(file: &'f dyn File, core: &Arc<Core>) -> Result<&'f dyn File> {
        match (file as &dyn Any).downcast_ref::<StagedFile>() {
            Some(staged) if staged.is_of(core) && staged.tree.is_none() => Ok(&*staged.inner),
            Some(_) => Err(Errno::Xdev),
            None => Ok(file),
        }
    }

    /// Returns the directory behind a handle of `core`.
    pub(super) fn spot_in(file: &dyn File, core: &Arc<Core>) -> Result<Spot> {
        match (file as &dyn Any).downcast_ref::<StagedFile>() {
            Some(staged) if staged.is_of(core) => staged.spot.clone().ok_or(Errno::Notdir),
            Some(_) => Err(Errno::Xdev),
            None => Handle::ino_in(file, core).map(Spot::Own),
        }
    }

    fn is_of(&self, core: &Arc<Core>) -> bool {
        Arc::ptr_eq(&self.pipeline.core, core)
    }

    pub(super) fn run<T>(
        &self,
        operation: Operation,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.pipeline.run(Request::new(operation, self.path.clone()), |_| act())
    }

    /// Runs an operation that changes something and needs no handle that is open for writing.
    pub(super) fn change<T>(
        &self,
        operation: Operation,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.run(operation, || {
            self.pipeline.policy().check_change(&self.path)?;
            act()
        })
    }

    /// Reads or writes bytes: as many as the faults let through.
    fn transfer<T>(
        &self,
        operation: Operation,
        len: usize,
        act: impl FnOnce(usize) -> Result<(T, usize)>,
    ) -> Result<T> {
        let request = Request { len, ..Request::new(operation, self.path.clone()) };
        self.pipeline.transfer(request, |_, granted| act(granted))
    }
}

impl File for StagedFile {
    fn inner(&self) -> Option<&dyn File> {
        Some(&*self.inner)
    }

    fn stat(&self) -> Result<Stat> {
        self.run(Operation::Stat, || {
            let stat = self.inner.stat()?;
            Ok(Stat { dev: self.tree.map_or(stat.dev, device), ..stat })
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.transfer(Operation::Read, buf.len(), |granted| {
            let done = self.inner.read_at(&mut buf[..granted], offset)?;
            Ok((done, done))
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.transfer(Operation::Write, buf.len(), |granted| {
            let done = self.inner.write_at(&buf[..granted], offset)?;
            Ok((done, done))
        })
    }

    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        self.transfer(Operation::Write, buf.len(), |granted| {
            let (done, end) = self.inner.append(&buf[..granted])?;
            Ok(((done, end), done))
        })
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.run(Operation::SetLen, || self.inner.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.run(Operation::SetLen, || self.inner.allocate(offset, len))
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
            let (namespace, policy) = (&self.pipeline.namespace, self.pipeline.policy());
            if policy.hides_anything() {
                let dir = namespace.path_of(spot);
                entries.retain(|entry| !policy.hides(&dir.child(&entry.name)));
            }
            for (name, top) in namespace.points(spot) {
                let (ino, kind) = (top.stat()?.ino, FileKind::Dir);
                entries.retain(|entry| *entry.name != *name);
                entries.push(DirEntry { name: name.into(), ino, kind });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        })
    }
}
