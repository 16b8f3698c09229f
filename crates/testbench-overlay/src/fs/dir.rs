//! Directories, as in `std::fs`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::route::{Place, Route, at, os_str, route};
use super::{FileType, Metadata};
use crate::{File, Follow, GuestPath, OpenHow};

/// The entries of a directory. Mirrors [`std::fs::ReadDir`]; in a tree they come in the order of
/// the raw bytes of their names, and are those of the moment when the directory was opened.
#[derive(Debug)]
pub struct ReadDir {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Real(std::fs::ReadDir),
    Tree(Arc<TreeDir>, std::vec::IntoIter<crate::DirEntry>),
}

/// A directory of a tree that was opened to be listed.
struct TreeDir {
    /// As it was given.
    path: PathBuf,
    place: Place<'static>,
    file: Arc<dyn File>,
}

impl fmt::Debug for TreeDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// One entry of a directory. Mirrors [`std::fs::DirEntry`] and its extension for Unix.
#[derive(Clone)]
pub struct DirEntry {
    inner: EntryInner,
}

#[derive(Clone)]
enum EntryInner {
    Real(Arc<std::fs::DirEntry>),
    Tree(Arc<TreeDir>, crate::DirEntry),
}

/// Lists a directory.
///
/// # Errors
///
/// As [`std::fs::read_dir`], and those of the [module](super).
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref();
    let inner = match route(path)? {
        Route::Real => Inner::Real(std::fs::read_dir(path)?),
        Route::Tree(place) => {
            let how = OpenHow { directory: true, ..OpenHow::READ };
            let file = place.result(place.fs().open_at(place.top(), place.guest(), &how))?;
            let entries = place.result(file.read_dir())?.into_iter();
            let (path, place) = (path.to_path_buf(), place.into_owned());
            Inner::Tree(Arc::new(TreeDir { path, place, file }), entries)
        }
    };
    Ok(ReadDir { inner })
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        let inner = match &mut self.inner {
            Inner::Real(real) => real.next()?.map(|entry| EntryInner::Real(Arc::new(entry))),
            Inner::Tree(dir, entries) => Ok(EntryInner::Tree(dir.clone(), entries.next()?)),
        };
        Some(inner.map(|inner| DirEntry { inner }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.inner {
            Inner::Real(real) => real.size_hint(),
            Inner::Tree(_, entries) => entries.size_hint(),
        }
    }
}

impl DirEntry {
    /// The path of the directory as it was given to [`read_dir`], with the name joined to it.
    pub fn path(&self) -> PathBuf {
        match &self.inner {
            EntryInner::Real(real) => real.path(),
            EntryInner::Tree(dir, entry) => dir.path.join(os_str(&entry.name)),
        }
    }

    /// The last component of the path alone.
    pub fn file_name(&self) -> OsString {
        match &self.inner {
            EntryInner::Real(real) => real.file_name(),
            EntryInner::Tree(_, entry) => os_str(&entry.name),
        }
    }

    /// Returns the kind of the entry; a symlink is not followed. It is known from the listing, so in a tree
    /// this costs nothing.
    ///
    /// # Errors
    ///
    /// Those of [`DirEntry::metadata`] where the listing does not say.
    pub fn file_type(&self) -> io::Result<FileType> {
        match &self.inner {
            EntryInner::Real(real) => real.file_type().map(FileType::from),
            EntryInner::Tree(_, entry) => Ok(FileType::from(entry.kind)),
        }
    }

    /// Returns the metadata of the entry; a symlink is not followed. The entry is looked up in the
    /// directory that was listed, wherever that is now.
    ///
    /// # Errors
    ///
    /// As [`std::fs::DirEntry::metadata`], and those of the [module](super).
    pub fn metadata(&self) -> io::Result<Metadata> {
        match &self.inner {
            EntryInner::Real(real) => real.metadata().map(Metadata::from),
            EntryInner::Tree(dir, entry) => {
                let name = GuestPath::new(&entry.name);
                let place = &dir.place;
                place.result(place.fs().stat_at(&*dir.file, name, Follow::No)).map(Metadata::from)
            }
        }
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        match &self.inner {
            EntryInner::Real(real) => real.ino(),
            EntryInner::Tree(_, entry) => entry.ino,
        }
    }
}

/// `DirEntry("path")`, as in std.
impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}

/// How directories are to be created. Mirrors [`std::fs::DirBuilder`] and its extension for Unix.
#[derive(Clone, Debug)]
pub struct DirBuilder {
    recursive: bool,
    mode: u32,
}

impl Default for DirBuilder {
    fn default() -> Self {
        DirBuilder::new()
    }
}

impl DirBuilder {
    /// How [`create_dir`](super::create_dir) makes one: a single directory, with the mode `0777`
    /// less the umask.
    pub fn new() -> DirBuilder {
        DirBuilder { recursive: false, mode: 0o777 }
    }

    /// Creates missing directories above it too, and accepts a directory that exists.
    pub fn recursive(&mut self, recursive: bool) -> &mut Self {
        self.recursive = recursive;
        self
    }

    /// Creates the directory at `path`.
    ///
    /// # Errors
    ///
    /// As [`std::fs::DirBuilder::create`], and those of the [module](super).
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match self.recursive {
            true => self.create_all(path.as_ref()),
            false => self.create_one(path.as_ref()),
        }
    }

    fn create_one(&self, path: &Path) -> io::Result<()> {
        at(
            path,
            |path| {
                std::fs::DirBuilder::new().recursive(self.recursive).mode(self.mode).create(path)
            },
            |fs, dir, path| fs.create_dir_at(dir, path, self.mode & !super::UMASK),
        )
    }

    fn create_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let is_dir = |path: &Path| super::metadata(path).is_ok_and(|metadata| metadata.is_dir());
        // Up to what exists, and down again; not by recursion, since a path has up to 2,048 parts.
        let mut missing = Vec::new();
        for path in path.ancestors() {
            match self.create_one(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(path),
                Err(error) if !is_dir(path) => return Err(error),
                _ => break,
            }
            if path.parent().is_none_or(|parent| parent.as_os_str().is_empty()) {
                break;
            }
        }
        while let Some(path) = missing.pop() {
            match self.create_one(path) {
                Err(error) if !is_dir(path) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }
}
