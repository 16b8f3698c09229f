//! [`Diff::between`]: compares two real directories.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::change::{Change, Content, Origin, Side};
use super::model::Diff;
use crate::materialize::RealTree;
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind, Stat};

impl Diff {
    /// Compares two directories of the real file system: `before` is the old side, `after` the new
    /// one.
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
        let open = |root| RealTree::open(root).map_err(|error| about("list", root, error));
        let trees = [open(before)?, open(after)?];
        let found = [scan(&trees[0])?, scan(&trees[1])?];
        let paths: BTreeSet<&RelPath> = found.iter().flat_map(BTreeMap::keys).collect();
        let mut changes = Vec::new();
        for path in paths {
            let side = |n: usize| {
                let stat = found[n].get(path);
                stat.map(|stat| read(&trees[n], path, stat)).transpose()
            };
            let (before, after) = (side(0)?, side(1)?);
            // Only what differs stays in memory.
            if before != after {
                let (path, origin) = (path.as_bytes().into(), Origin::InPlace);
                changes.push(Change { path, before, after, origin });
            }
        }
        Ok(Diff::from_changes(changes))
    }
}

/// Everything below the top.
fn scan(tree: &RealTree) -> io::Result<BTreeMap<RelPath, Stat>> {
    let mut found = BTreeMap::new();
    // A list and not recursion: a tree may be deeper than the stack.
    let mut dirs = vec![RelPath::TOP];
    while let Some(dir) = dirs.pop() {
        for entry in at(tree, &dir, "list", tree.list(&dir))? {
            let path = dir.child(&entry.name);
            let Some(stat) = at(tree, &path, "stat", tree.stat(&path))? else { continue };
            if stat.kind == FileKind::Dir {
                dirs.push(path.clone());
            }
            found.insert(path, stat);
        }
    }
    Ok(found)
}

fn read(tree: &RealTree, path: &RelPath, stat: &Stat) -> io::Result<Side> {
    let content = match stat.kind {
        FileKind::File => at(tree, path, "read", read_whole(tree, path))?,
        FileKind::Symlink => at(tree, path, "read the link", tree.read_link(path))?,
        FileKind::Dir | FileKind::Special => Vec::new(),
    };
    let content = Content::Bytes(content.into());
    Ok(Side { kind: stat.kind, mode: stat.mode, content, mtime_ns: None })
}

/// Bytes of one read from a file that grows while it is read.
const READ_BYTES: usize = 1 << 20;

fn read_whole(tree: &RealTree, path: &RelPath) -> Result<Vec<u8>, Errno> {
    let file = tree.open_file(path)?;
    // One more than it says, so that one read finds the end of a file that does not grow.
    let size = usize::try_from(file.stat()?.size).map_err(|_| Errno::Fbig)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size.saturating_add(1)).map_err(|_| Errno::Nomem)?;
    loop {
        let done = bytes.len();
        let room = (bytes.capacity() - done).clamp(1, READ_BYTES);
        bytes.resize(done + room, 0);
        let n = match file.read_at(&mut bytes[done..], done as u64) {
            Err(Errno::Intr) => 0,
            Ok(0) => {
                bytes.truncate(done);
                return Ok(bytes);
            }
            read => read?,
        };
        bytes.truncate(done + n);
    }
}

fn at<T>(tree: &RealTree, path: &RelPath, what: &str, result: Result<T, Errno>) -> io::Result<T> {
    result.map_err(|errno| about(what, &tree.host_path(path), errno.into()))
}

fn about(what: &str, host: &Path, error: io::Error) -> io::Error {
    let message = format!("cannot {what} `{}` to compare it: {error}", host.display());
    io::Error::new(error.kind(), message)
}
