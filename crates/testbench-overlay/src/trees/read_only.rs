//! [`ReadOnly`]: any tree, without its changing operations.

use std::any::Any;
use std::sync::Arc;

use crate::trees::refusal;
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
pub struct ReadOnly<F: ?Sized> {
    inner: Arc<F>,
}

impl<F: Fs> ReadOnly<F> {
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
    pub fn new(inner: F) -> Self {
        ReadOnly::over(Arc::new(inner))
    }
}

impl<F: Fs + ?Sized> ReadOnly<F> {
    /// A view of `inner` that is closed to changes; who else has it can still change it.
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
    pub fn over(inner: Arc<F>) -> Self {
        ReadOnly { inner }
    }
}

impl<F: Fs + ?Sized> Fs for ReadOnly<F> {
    fn root(&self) -> Result<Arc<dyn File>> {
        self.inner.root().map(wrap)
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let dir = unwrap(dir)?;
        let how = refusal::open(&*self.inner, dir, path, how)?;
        self.inner.open_at(dir, path, &how).map(wrap)
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        self.inner.stat_at(unwrap(dir)?, path, follow)
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        self.inner.read_link_at(unwrap(dir)?, path)
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, _: u32) -> Result<()> {
        Err(refusal::new_name(&*self.inner, unwrap(dir)?, path, true))
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        Err(refusal::symlink(&*self.inner, target, unwrap(dir)?, path))
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let (from, to) = ((unwrap(from_dir)?, from), (unwrap(to_dir)?, to));
        Err(refusal::link(&*self.inner, from, follow, to))
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let (from, to) = ((unwrap(from_dir)?, from), (unwrap(to_dir)?, to));
        Err(refusal::rename(&*self.inner, from, to))
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        Err(refusal::remove_file(&*self.inner, unwrap(dir)?, path))
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        Err(refusal::remove_dir(&*self.inner, unwrap(dir)?, path))
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        refusal::set_times(&*self.inner, unwrap(dir)?, path, follow, times)
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        _: u32,
    ) -> Result<()> {
        Err(refusal::set_mode(&*self.inner, unwrap(dir)?, path, follow))
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
