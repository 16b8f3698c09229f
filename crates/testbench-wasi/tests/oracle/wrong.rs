//! Overlays with one planted mistake each.

use std::sync::Arc;

use testbench_overlay::{
    Create, DirEntry, Errno, File, Follow, Fs, GuestPath, OpenHow, Overlay, SetTimes, Stat,
};

type Result<T> = std::result::Result<T, Errno>;

/// What is done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// A rename over an existing file is refused.
    RenameNeverReplaces,
    /// A trailing slash after the name of a file is ignored.
    TrailingSlashIgnored,
    /// Making a directory that exists succeeds.
    MkdirOfExisting,
    /// Removing a directory as a file has another errno.
    UnlinkOfDirectory,
    /// An append overwrites the first bytes.
    AppendToTheFront,
    /// Nothing can be read behind the end.
    ReadPastTheEnd,
    /// A symlink's target loses its last byte; seen by reading it back.
    ShortTarget,
    /// Setting times leaves the time of modification alone.
    MtimeIsKept,
    /// `O_EXCL` is ignored.
    ExclusiveIgnored,
}

impl Mistake {
    pub(crate) const ALL: [Mistake; 9] = [
        Mistake::RenameNeverReplaces,
        Mistake::TrailingSlashIgnored,
        Mistake::MkdirOfExisting,
        Mistake::UnlinkOfDirectory,
        Mistake::AppendToTheFront,
        Mistake::ReadPastTheEnd,
        Mistake::ShortTarget,
        Mistake::MtimeIsKept,
        Mistake::ExclusiveIgnored,
    ];
}

/// An overlay that makes one mistake.
#[derive(Debug)]
pub(crate) struct Wrong {
    inner: Arc<Overlay>,
    mistake: Mistake,
}

impl Wrong {
    pub(crate) fn new(inner: Arc<Overlay>, mistake: Mistake) -> Wrong {
        Wrong { inner, mistake }
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }
}

impl Fs for Wrong {
    fn root(&self) -> Result<Arc<dyn File>> {
        self.inner.root()
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let mut how = how.clone();
        if self.makes(Mistake::ExclusiveIgnored) && how.create == Create::New {
            how.create = Create::IfMissing;
        }
        let file = self.inner.open_at(dir, path, &how)?;
        // Only files are wrapped: the overlay wants its own directories back.
        match file.read_dir() {
            Err(Errno::Notdir) => Ok(Arc::new(WrongFile { inner: file, mistake: self.mistake })),
            _ => Ok(file),
        }
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        let bytes = path.as_bytes();
        if self.makes(Mistake::TrailingSlashIgnored)
            && let Some(trimmed) = bytes.strip_suffix(b"/")
            && !trimmed.is_empty()
        {
            return self.inner.stat_at(dir, GuestPath::new(trimmed), follow);
        }
        self.inner.stat_at(dir, path, follow)
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        self.inner.read_link_at(dir, path)
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        match self.inner.create_dir_at(dir, path, mode) {
            Err(Errno::Exist) if self.makes(Mistake::MkdirOfExisting) => Ok(()),
            done => done,
        }
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        let short = self.makes(Mistake::ShortTarget) && target.len() > 1;
        self.inner.symlink_at(&target[..target.len() - usize::from(short)], dir, path)
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        self.inner.link_at(from_dir, from, follow, to_dir, to)
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let there = self.inner.stat_at(to_dir, to, Follow::No).is_ok();
        if self.makes(Mistake::RenameNeverReplaces) && there {
            return Err(Errno::Exist);
        }
        self.inner.rename_at(from_dir, from, to_dir, to)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        match self.inner.remove_file_at(dir, path) {
            Err(Errno::Isdir) if self.makes(Mistake::UnlinkOfDirectory) => Err(Errno::Perm),
            done => done,
        }
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.inner.remove_dir_at(dir, path)
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mut times: SetTimes,
    ) -> Result<()> {
        if self.makes(Mistake::MtimeIsKept) {
            times.mtime = None;
        }
        self.inner.set_times_at(dir, path, follow, times)
    }
}

/// An open file of [`Wrong`].
#[derive(Debug)]
struct WrongFile {
    inner: Arc<dyn File>,
    mistake: Mistake,
}

impl File for WrongFile {
    fn stat(&self) -> Result<Stat> {
        self.inner.stat()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        if self.mistake == Mistake::ReadPastTheEnd && offset > self.inner.stat()?.size {
            return Err(Errno::Inval);
        }
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.inner.write_at(buf, offset)
    }

    fn append(&self, buf: &[u8]) -> Result<(usize, u64)> {
        if self.mistake == Mistake::AppendToTheFront {
            let n = self.inner.write_at(buf, 0)?;
            return Ok((n, self.inner.stat()?.size));
        }
        self.inner.append(buf)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.allocate(offset, len)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.inner.sync(data_only)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.inner.set_times(times)
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.inner.set_mode(mode)
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        self.inner.read_dir()
    }
}
