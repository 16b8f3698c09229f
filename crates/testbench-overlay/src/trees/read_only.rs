//! [`ReadOnly`]: any tree, without its changing operations.

use std::any::Any;
use std::sync::Arc;

use crate::trees::refusal::Closed;
use crate::{Errno, File, Follow, Fs, GuestPath, OpenHow, SetTimes, Stat, vfs::Result};

/// A tree in which every change is [`Errno::Rofs`], whatever the tree beneath permits. Errors that
/// Linux finds first on a read-only mount come first here too: a new name that exists is
/// [`Errno::Exist`].
///
/// ```
/// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, ReadOnly};
///
/// let tree = ReadOnly::new(MemoryDir::builder().file("a", "text").build()?);
/// let top = tree.root()?;
/// assert_eq!(tree.remove_file_at(&*top, GuestPath::new("a")), Err(Errno::Rofs));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadOnly {
    inner: Arc<dyn Fs>,
}

impl ReadOnly {
    /// Closes `inner` to changes.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, ReadOnly};
    ///
    /// let tree = ReadOnly::new(MemoryDir::builder().file("a", "").build()?);
    /// let made = tree.symlink_at(b"a", &*tree.root()?, GuestPath::new("b"));
    /// assert_eq!(made, Err(Errno::Rofs));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(inner: impl Fs) -> ReadOnly {
        ReadOnly::over(Arc::new(inner))
    }

    /// A view of `inner` that is closed to changes. Another holder of `inner` can still change it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use testbench_overlay::{Errno, Fs, GuestPath, MemoryDir, ReadOnly};
    ///
    /// let tree = Arc::new(MemoryDir::builder().build()?);
    /// let view = ReadOnly::over(tree.clone());
    /// let path = GuestPath::new("d");
    /// assert_eq!(view.create_dir_at(&*view.root()?, path, 0o755), Err(Errno::Rofs));
    /// tree.create_dir_at(&*tree.root()?, path, 0o755)?;
    /// assert_eq!(view.root()?.read_dir()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn over(inner: Arc<dyn Fs>) -> ReadOnly {
        ReadOnly { inner }
    }
}

impl ReadOnly {
    fn at<'a>(&'a self, dir: &'a dyn File, path: GuestPath<'a>) -> Result<Closed<'a>> {
        Ok(Closed { fs: &*self.inner, dir: unwrap(dir)?, path })
    }
}

impl Fs for ReadOnly {
    fn root(&self) -> Result<Arc<dyn File>> {
        self.inner.root().map(wrap)
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let at = self.at(dir, path)?;
        self.inner.open_at(at.dir, path, &at.open(how)?).map(wrap)
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        self.at(dir, path)?.stat(follow)
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        self.inner.read_link_at(unwrap(dir)?, path)
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, _: u32) -> Result<()> {
        self.at(dir, path)?.new_name(true)?;
        Err(Errno::Rofs)
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.at(dir, path)?.symlink(target)?;
        Err(Errno::Rofs)
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        self.at(from_dir, from)?.link(follow, self.at(to_dir, to)?)?;
        Err(Errno::Rofs)
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        self.at(from_dir, from)?.rename(self.at(to_dir, to)?)?;
        Err(Errno::Rofs)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.at(dir, path)?.remove_file()?;
        Err(Errno::Rofs)
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.at(dir, path)?.remove_dir()?;
        Err(Errno::Rofs)
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        // To set none of them is no change.
        if times == SetTimes::default() { Ok(()) } else { self.set_mode_at(dir, path, follow, 0) }
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        _: u32,
    ) -> Result<()> {
        self.at(dir, path)?.stat(follow)?;
        Err(Errno::Rofs)
    }
}

/// An open file or directory of a [`ReadOnly`]. It was not opened for writing, so the tree beneath
/// refuses to write with the right error.
#[derive(Debug)]
struct ReadOnlyFile {
    inner: Arc<dyn File>,
}

impl File for ReadOnlyFile {
    fn inner(&self) -> Option<&dyn File> {
        Some(&*self.inner)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        if times == SetTimes::default() { Ok(()) } else { Err(Errno::Rofs) }
    }

    fn set_mode(&self, _: u32) -> Result<()> {
        Err(Errno::Rofs)
    }
}

fn wrap(inner: Arc<dyn File>) -> Arc<dyn File> {
    Arc::new(ReadOnlyFile { inner })
}

fn unwrap(dir: &dyn File) -> Result<&dyn File> {
    let wrapped = (dir as &dyn Any).downcast_ref::<ReadOnlyFile>();
    wrapped.map(|file| &*file.inner).ok_or(Errno::Xdev)
}
