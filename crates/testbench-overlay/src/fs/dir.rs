//! Directories, as in `std::fs`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::meta::{FileType, Metadata};
use super::route::{Place, Route, os_str, route};
use super::symlink_metadata;
use crate::{FileKind, OpenHow};

/// The entries of a directory. Mirrors [`std::fs::ReadDir`]; in a tree they come in the order of
/// the raw bytes of their names, and are those of the moment when the directory was opened.
#[derive(Debug)]
pub struct ReadDir {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Real(std::fs::ReadDir),
    Tree(PathBuf, std::vec::IntoIter<crate::DirEntry>),
}

/// One entry of a directory. Mirrors [`std::fs::DirEntry`].
#[derive(Clone, Debug)]
pub struct DirEntry {
    path: PathBuf,
    name: OsString,
    kind: Option<FileKind>,
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
            Inner::Tree(path.to_path_buf(), place.result(list(&place))?.into_iter())
        }
    };
    Ok(ReadDir { inner })
}

fn list(place: &Place) -> crate::Result<Vec<crate::DirEntry>> {
    let how = OpenHow { directory: true, ..OpenHow::READ };
    place.fs.open_at(&*place.top, place.guest(), &how)?.read_dir()
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        match &mut self.inner {
            Inner::Real(real) => Some(real.next()?.map(|entry| DirEntry {
                path: entry.path(),
                name: entry.file_name(),
                kind: None,
            })),
            Inner::Tree(dir, entries) => {
                let entry = entries.next()?;
                let name = os_str(&entry.name);
                Some(Ok(DirEntry { path: dir.join(&name), name, kind: Some(entry.kind) }))
            }
        }
    }
}

impl DirEntry {
    /// The path of the directory as it was given to [`read_dir`], with the name joined to it.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The name alone.
    pub fn file_name(&self) -> OsString {
        self.name.clone()
    }

    /// What the entry is; a symlink is not followed.
    ///
    /// # Errors
    ///
    /// Those of [`symlink_metadata`] where the listing does not say.
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.kind {
            Some(kind) => Ok(FileType::new(kind)),
            None => self.metadata().map(|metadata| metadata.file_type()),
        }
    }

    /// What is known about the entry; a symlink is not followed.
    ///
    /// # Errors
    ///
    /// Those of [`symlink_metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        symlink_metadata(&self.path)
    }
}
