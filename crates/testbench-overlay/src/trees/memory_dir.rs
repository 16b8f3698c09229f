//! [`MemoryDir`]: a tree of files in memory. It is the upper layer of an overlay with nothing
//! beneath, so it behaves the same in everything.

use std::sync::Arc;

use testbench_clock::{Clock, WallTime};

use crate::{
    Create, DirEntry, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, Overlay, Stat,
    vfs::Result,
};

/// A tree of files in memory.
///
/// ```
/// use testbench_overlay::{Follow, Fs, GuestPath, MemoryDir};
///
/// let tree = MemoryDir::builder()
///     .file("etc/motd", "hello\n")
///     .symlink("motd", "etc/motd")
///     .dir("tmp")
///     .build()?;
/// let top = tree.root()?;
/// assert_eq!(tree.stat_at(&*top, GuestPath::new("motd"), Follow::Yes)?.size, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MemoryDir {
    overlay: Arc<Overlay>,
}

impl MemoryDir {
    /// An empty tree, to be filled.
    ///
    /// ```
    /// use testbench_overlay::{Fs, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().build()?;
    /// assert!(tree.root()?.read_dir()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> MemoryDirBuilder {
        MemoryDirBuilder { clock: None, items: Vec::new() }
    }
}

/// The content of a new [`MemoryDir`]. Directories on the way are made as needed, with mode `0755`.
///
/// ```
/// use testbench_overlay::{Errno, MemoryDir};
///
/// let tree = MemoryDir::builder().dir("empty").executable("bin/tool", "x").build();
/// assert!(tree.is_ok());
/// let twice = MemoryDir::builder().file("a", "").dir("a/b").build();
/// assert_eq!(twice.unwrap_err().errno(), Errno::Notdir);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct MemoryDirBuilder {
    clock: Option<Arc<dyn Clock>>,
    items: Vec<(Vec<u8>, Item)>,
}

#[derive(Debug)]
enum Item {
    Dir,
    File(Vec<u8>, u32),
    Symlink(Vec<u8>),
}

impl MemoryDirBuilder {
    /// Where times come from; by default the clock that is installed on this thread, else the
    /// system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Adds an empty directory with mode `0755`. One that is there already is fine.
    ///
    /// ```
    /// use testbench_overlay::{FileKind, Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("var/log", "").dir("var").dir("var/tmp").build()?;
    /// let stat = tree.stat_at(&*tree.root()?, GuestPath::new("var/tmp"), Follow::No)?;
    /// assert_eq!((stat.kind, stat.mode), (FileKind::Dir, 0o755));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dir(self, path: impl Into<Vec<u8>>) -> Self {
        self.item(path, Item::Dir)
    }

    /// Adds a file with mode `0644`.
    ///
    /// ```
    /// use testbench_overlay::{Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().file("src/main.rs", "fn main() {}\n").build()?;
    /// let stat = tree.stat_at(&*tree.root()?, GuestPath::new("src/main.rs"), Follow::No)?;
    /// assert_eq!((stat.size, stat.mode), (13, 0o644));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn file(self, path: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Self {
        self.item(path, Item::File(content.into(), 0o644))
    }

    /// Adds a file with mode `0755`.
    ///
    /// ```
    /// use testbench_overlay::{Follow, Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().executable("run.sh", "#!/bin/sh\n").build()?;
    /// let stat = tree.stat_at(&*tree.root()?, GuestPath::new("run.sh"), Follow::No)?;
    /// assert_eq!(stat.mode, 0o755);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn executable(self, path: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Self {
        self.item(path, Item::File(content.into(), 0o755))
    }

    /// Adds a symlink at `path` that holds `target`, whatever that says.
    ///
    /// ```
    /// use testbench_overlay::{Fs, GuestPath, MemoryDir};
    ///
    /// let tree = MemoryDir::builder().symlink("latest", "releases/v2").build()?;
    /// let target = tree.read_link_at(&*tree.root()?, GuestPath::new("latest"))?;
    /// assert_eq!(target, b"releases/v2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn symlink(self, path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        self.item(path, Item::Symlink(target.into()))
    }

    fn item(mut self, path: impl Into<Vec<u8>>, item: Item) -> Self {
        self.items.push((path.into(), item));
        self
    }

    /// Makes the tree.
    ///
    /// # Errors
    ///
    /// [`MemoryDirError`] for the first path that cannot be made, such as one that is there twice
    /// or leads through a file.
    pub fn build(self) -> std::result::Result<MemoryDir, MemoryDirError> {
        let clock = self.clock.unwrap_or_else(testbench_clock::current);
        let start = clock.wall();
        let at =
            |path: &[u8], errno| MemoryDirError { path: GuestPath::new(path).to_string(), errno };
        let overlay = Overlay::over(Arc::new(Empty { start }))
            .clock(clock)
            .build()
            .map_err(|_| at(b".", Errno::Io))?;
        for (path, item) in &self.items {
            put(&overlay, path, item).map_err(|errno| at(path, errno))?;
        }
        Ok(MemoryDir { overlay })
    }
}

/// A path that a [`MemoryDirBuilder`] could not make.
///
/// ```
/// use testbench_overlay::{Errno, MemoryDir, MemoryDirError};
///
/// let long = "x".repeat(256);
/// let error: MemoryDirError = MemoryDir::builder().dir(long).build().unwrap_err();
/// assert_eq!(error.errno(), Errno::Nametoolong);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot make `{path}` in a tree in memory: {errno}")]
pub struct MemoryDirError {
    path: String,
    #[source]
    errno: Errno,
}

/// The kind is that of [`MemoryDirError::errno`].
impl From<MemoryDirError> for std::io::Error {
    fn from(error: MemoryDirError) -> std::io::Error {
        std::io::Error::new(std::io::Error::from(error.errno).kind(), error)
    }
}

impl MemoryDirError {
    /// Why the path could not be made.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

fn put(overlay: &Overlay, path: &[u8], item: &Item) -> Result<()> {
    let top = overlay.root()?;
    for (at, _) in path.iter().enumerate().filter(|(at, byte)| *at > 0 && **byte == b'/') {
        make_dir(overlay, &*top, GuestPath::new(&path[..at]))?;
    }
    let path = GuestPath::new(path);
    match item {
        Item::Dir => make_dir(overlay, &*top, path),
        Item::Symlink(target) => overlay.symlink_at(target, &*top, path),
        Item::File(content, mode) => {
            let how = OpenHow { write: true, create: Create::New, mode: *mode, ..OpenHow::READ };
            let file = overlay.open_at(&*top, path, &how)?;
            file.write_at(content, 0).map(|_| ())
        }
    }
}

fn make_dir(overlay: &Overlay, top: &dyn File, path: GuestPath<'_>) -> Result<()> {
    match overlay.create_dir_at(top, path, 0o755) {
        Err(Errno::Exist) => match overlay.stat_at(top, path, Follow::Yes)?.kind {
            FileKind::Dir => Ok(()),
            _ => Err(Errno::Notdir),
        },
        made => made,
    }
}

impl Fs for MemoryDir {
    fn inner(&self) -> Result<&dyn Fs> {
        Ok(&*self.overlay)
    }
}

/// A tree of one directory that holds nothing, and that directory.
#[derive(Clone, Copy, Debug)]
struct Empty {
    start: WallTime,
}

impl Fs for Empty {
    fn root(&self) -> Result<Arc<dyn File>> {
        Ok(Arc::new(*self))
    }

    fn open_at(&self, _: &dyn File, path: GuestPath<'_>, _: &OpenHow) -> Result<Arc<dyn File>> {
        if path.as_bytes() == b"." { self.root() } else { Err(Errno::Noent) }
    }

    fn stat_at(&self, _: &dyn File, _: GuestPath<'_>, _: Follow) -> Result<Stat> {
        Err(Errno::Noent)
    }
}

impl File for Empty {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: 1,
            ino: 2,
            kind: FileKind::Dir,
            mode: 0o755,
            nlink: 1,
            size: 0,
            atime: self.start,
            mtime: self.start,
            ctime: self.start,
        })
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        Ok(Vec::new())
    }
}
