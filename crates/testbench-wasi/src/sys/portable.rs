//! The same by path, for systems where a user's cache directory is private by inheritance.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::Entry;

/// A directory that is private as far as its parent is.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Opens `path`, made if it is missing.
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(PrivateDir { path: path.to_owned() })
    }

    /// Opens a regular file for reading.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a regular file"));
        }
        File::open(path)
    }

    /// Makes a file that does not exist yet.
    pub(crate) fn create_new(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))
    }

    /// Renames within the directory.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    /// Removes a name.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    /// The regular files whose names are UTF-8, in no particular order.
    pub(crate) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // It may be gone by now.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let modified = metadata.modified()?;
                entries.push(Entry { name, bytes: metadata.len(), modified });
            }
        }
        Ok(entries)
    }

    /// Does nothing: the time of writing serves as well.
    pub(crate) fn touch(_file: &File) -> io::Result<()> {
        Ok(())
    }
}

/// Differs when a file was changed, as far as the system tells by its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    bytes: u64,
    modified: Option<std::time::SystemTime>,
}

impl Identity {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Identity { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}
