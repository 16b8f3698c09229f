//! [`Diff::between`]: compares two real directories.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::change::{Change, Content, Origin, Side};
use super::model::Diff;
use crate::lower::Lower;
use crate::lower::observe::Stamp;
use crate::materialize::{RealTree, about};
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind};

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
        let found = [trees[0].scan()?.by_path(), trees[1].scan()?.by_path()];
        let paths: BTreeSet<&RelPath> = found.iter().flat_map(BTreeMap::keys).collect();
        let mut changes = Vec::new();
        for path in paths {
            let side = |n: usize| {
                let stamp = found[n].get(path);
                stamp.map(|stamp| read(&trees[n], path, stamp)).transpose()
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

fn read(tree: &RealTree, path: &RelPath, stamp: &Stamp) -> io::Result<Side> {
    let bytes = match stamp.kind {
        FileKind::File => read_file(&tree.seen, path),
        FileKind::Symlink => tree.seen.read_link(path).map(Into::into),
        FileKind::Dir | FileKind::Special => Ok(Arc::default()),
    };
    let content = Content::Bytes(tree.at(path, "read", bytes)?);
    Ok(Side { kind: stamp.kind, mode: stamp.mode, content, mtime_ns: None })
}

fn read_file(seen: &Lower, path: &RelPath) -> Result<Arc<[u8]>, Errno> {
    seen.read_lower(path, &seen.stat(path)?.ok_or(Errno::Noent)?)
}
