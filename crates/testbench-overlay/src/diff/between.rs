//! Comparing two real directories.
#![allow(clippy::disallowed_methods, reason = "compares real directories")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::change::{Change, Content, Origin, Side};
use super::model::Diff;
use crate::FileKind;

impl Diff {
    /// What differs between two directories of the real file system: `before` is the old side,
    /// `after` the new one.
    ///
    /// Symlinks are compared, not followed. Identity is not known here, so a file that was moved is
    /// one removed and one added; see [`Diff::renames_by_content`]. The permission bits of the two
    /// directories themselves do not count. Names that are not Unicode are compared as they are on
    /// Unix, and in Rust's own encoding elsewhere.
    ///
    /// # Errors
    ///
    /// If one of the two is no directory, or something in them cannot be read; the message names
    /// it.
    ///
    /// ```
    /// use testbench_overlay::diff::Diff;
    ///
    /// let (before, after) = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// std::fs::write(after.path().join("new"), "line\n")?;
    /// assert_eq!(Diff::between(before.path(), after.path())?.summary(), "A new\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn between(before: &Path, after: &Path) -> io::Result<Diff> {
        let mut changes = Vec::new();
        let mut dirs =
            vec![Pair { path: Vec::new(), before: Some(before.into()), after: Some(after.into()) }];
        // Directories wait here and not on the call stack: how deep they nest is not ours to say.
        while let Some(pair) = dirs.pop() {
            for (name, (before, after)) in pair.names()? {
                let path = join(&pair.path, name.as_encoded_bytes());
                let (old, new) = (look(before.as_deref())?, look(after.as_deref())?);
                let is_dir = |entry: &Option<Entry>| {
                    entry.as_ref().is_some_and(|entry| entry.kind == FileKind::Dir)
                };
                if is_dir(&old) || is_dir(&new) {
                    let path = path.clone();
                    let before = before.filter(|_| is_dir(&old));
                    let after = after.filter(|_| is_dir(&new));
                    dirs.push(Pair { path, before, after });
                }
                let (before, after) = sides(old, new)?;
                // Only what differs stays in memory.
                if before != after {
                    let (path, origin) = (path.into(), Origin::InPlace);
                    changes.push(Change { path, before, after, origin });
                }
            }
        }
        Ok(Diff::from_changes(changes))
    }
}

/// Before and after.
type Paths = (Option<PathBuf>, Option<PathBuf>);

/// A directory that is on one side at least.
struct Pair {
    path: Vec<u8>,
    before: Option<PathBuf>,
    after: Option<PathBuf>,
}

impl Pair {
    /// Every name in either, with its full paths.
    fn names(&self) -> io::Result<BTreeMap<OsString, Paths>> {
        let mut names: BTreeMap<OsString, Paths> = BTreeMap::new();
        for (dir, is_old) in [(&self.before, true), (&self.after, false)] {
            let Some(dir) = dir else { continue };
            for entry in fs::read_dir(dir).map_err(|error| about("list", dir, error))? {
                let entry = entry.map_err(|error| about("list", dir, error))?;
                let paths = names.entry(entry.file_name()).or_default();
                *(if is_old { &mut paths.0 } else { &mut paths.1 }) = Some(entry.path());
            }
        }
        Ok(names)
    }
}

struct Entry {
    host: PathBuf,
    kind: FileKind,
    mode: u32,
}

fn look(host: Option<&Path>) -> io::Result<Option<Entry>> {
    let Some(host) = host else { return Ok(None) };
    let meta = fs::symlink_metadata(host).map_err(|error| about("stat", host, error))?;
    let kind = match meta.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Dir,
        kind if kind.is_symlink() => FileKind::Symlink,
        _ => FileKind::Special,
    };
    Ok(Some(Entry { host: host.into(), kind, mode: permission_bits(&meta) }))
}

fn sides(old: Option<Entry>, new: Option<Entry>) -> io::Result<(Option<Side>, Option<Side>)> {
    let side = |entry: Option<Entry>| entry.map(|entry| read(&entry)).transpose();
    Ok((side(old)?, side(new)?))
}

fn read(entry: &Entry) -> io::Result<Side> {
    let host = &entry.host;
    let content = match entry.kind {
        FileKind::File => fs::read(host).map_err(|error| about("read", host, error))?,
        FileKind::Symlink => {
            let target =
                fs::read_link(host).map_err(|error| about("read the link", host, error))?;
            target.as_os_str().as_encoded_bytes().to_vec()
        }
        FileKind::Dir | FileKind::Special => Vec::new(),
    };
    let content = Content::Bytes(content.into());
    Ok(Side { kind: entry.kind, mode: entry.mode, content, mtime_ns: None })
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn about(what: &str, host: &Path, error: io::Error) -> io::Error {
    let message = format!("cannot {what} `{}` to compare it: {error}", host.display());
    io::Error::new(error.kind(), message)
}

#[cfg(unix)]
fn permission_bits(meta: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn permission_bits(meta: &fs::Metadata) -> u32 {
    match (meta.is_dir(), meta.permissions().readonly()) {
        (true, false) => 0o755,
        (true, true) => 0o555,
        (false, false) => 0o644,
        (false, true) => 0o444,
    }
}
