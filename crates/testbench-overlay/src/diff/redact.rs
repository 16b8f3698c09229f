//! [`Redactions`]: leave out and replace parts that differ from run to run.

use std::fmt;
use std::sync::Arc;

use bstr::ByteSlice as _;

use super::change::{Change, Content, Origin, Side};
use super::model::{Diff, Entry, Op};
use super::normal::settled;
use crate::FileKind;

type Skip = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;
type MapPath = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;
type MapContent = Arc<dyn Fn(&[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// Filters on paths and contents, applied in the order in which they were added.
///
/// They act before anything is compared: lines are compared and hashes computed after them, and sides
/// that they make equal are no difference. Each content filter gets the path as it was before the path
/// filters.
///
/// Paths are relative to the root; a rename is judged by its new path.
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Redactions, Side};
///
/// let diff = Diff::from_changes([
///     Change::added("target/x", Side::file(0o644, *b"x")),
///     Change::added("tmp-81723", Side::file(0o644, *b"made by 81723\n")),
/// ]);
/// let redactions = Redactions::new()
///     .skip(|path| path.starts_with(b"target/"))
///     .path(|path| path.starts_with(b"tmp-").then(|| b"tmp-N".to_vec()))
///     .replace("81723", "N");
/// assert_eq!(diff.redact(&redactions).summary(), "A tmp-N\n");
/// ```
#[derive(Clone, Default)]
pub struct Redactions {
    skip: Vec<Skip>,
    paths: Vec<MapPath>,
    contents: Vec<MapContent>,
}

impl Diff {
    /// Applies `redactions`. Entries without a difference after them are left out.
    pub fn redact(&self, redactions: &Redactions) -> Diff {
        let skipped = |entry: &Entry| redactions.skip.iter().any(|skip| skip(entry.path()));
        let kept = self.all().into_iter().filter(|(entry, _)| !skipped(entry));
        settled(kept.map(|(entry, carried)| {
            let mut entry = Entry { change: redactions.change(&entry.change), op: entry.op };
            if carried {
                // An entry that only moved along counts once it differs.
                entry.op = Op::Modify;
            } else if entry.op == Op::Rename && entry.moved_from() == Some(entry.path()) {
                entry.op = Op::Modify;
                entry.change.origin = Origin::InPlace;
            }
            entry
        }))
    }
}

impl Redactions {
    /// Returns an empty list of filters.
    pub fn new() -> Redactions {
        Redactions::default()
    }

    /// Leaves out the paths for which `filter` returns true.
    pub fn skip(mut self, filter: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Redactions {
        self.skip.push(Arc::new(filter));
        self
    }

    /// Replaces the paths for which `filter` returns another one.
    ///
    /// The result becomes a path relative to the root, as all paths of a diff are: slashes at both ends,
    /// doubled slashes and components `.` are removed. A component that cannot be a name is put in
    /// brackets, `..` as `[..]`, and a path of which nothing is left is `[empty]`.
    pub fn path(
        mut self,
        filter: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Redactions {
        self.paths.push(Arc::new(filter));
        self
    }

    /// Replaces the contents of files and the targets of symlinks for which `filter`, given path
    /// and content, returns another one.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Redactions, Side};
    ///
    /// // Lines in any order are one and the same to this test.
    /// let sorted = Redactions::new().content(|path, content| {
    ///     let mut lines: Vec<_> = content.split_inclusive(|byte| *byte == b'\n').collect();
    ///     lines.sort();
    ///     path.ends_with(b".list").then(|| lines.concat())
    /// });
    /// let (old, new) = (Side::file(0o644, *b"a\nb\n"), Side::file(0o644, *b"b\na\n"));
    /// let diff = Diff::from_changes([Change::changed("x.list", old, new)]);
    /// assert!(diff.redact(&sorted).is_empty());
    /// ```
    pub fn content(
        mut self,
        filter: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Redactions {
        self.contents.push(Arc::new(filter));
        self
    }

    /// Replaces each `needle` in the contents of files and the targets of symlinks. An empty one
    /// occurs nowhere.
    pub fn replace(self, needle: impl AsRef<[u8]>, with: impl AsRef<[u8]>) -> Redactions {
        let (needle, with) = (needle.as_ref().to_vec(), with.as_ref().to_vec());
        self.content(move |_, content| {
            let occurs = !needle.is_empty() && content.contains_str(&needle);
            occurs.then(|| content.replace(&needle, &with))
        })
    }

    fn change(&self, change: &Change) -> Change {
        let Change { path, before, after, origin } = change;
        let old_path = change.moved_from().unwrap_or(path);
        Change {
            path: self.map_path(path),
            before: before.as_ref().map(|side| self.side(old_path, side)),
            after: after.as_ref().map(|side| self.side(path, side)),
            origin: match origin {
                Origin::InPlace => Origin::InPlace,
                Origin::RenamedFrom(from) => Origin::RenamedFrom(self.map_path(from)),
                Origin::LinkTo(to) => Origin::LinkTo(self.map_path(to)),
            },
        }
    }

    fn map_path(&self, path: &[u8]) -> Box<[u8]> {
        let mut path: Box<[u8]> = path.into();
        for filter in &self.paths {
            if let Some(other) = filter(&path) {
                path = relative(&other);
            }
        }
        path
    }

    fn side(&self, path: &[u8], side: &Side) -> Side {
        let mut side = side.clone();
        if !matches!(side.kind, FileKind::File | FileKind::Symlink) {
            return side;
        }
        for filter in &self.contents {
            if let Some(other) = side.bytes().and_then(|content| filter(path, content)) {
                side.content = Content::Bytes(other.into());
            }
        }
        side
    }
}

impl fmt::Debug for Redactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactions").finish_non_exhaustive()
    }
}

/// The path that a filter means, in the form that every reader of a diff relies on.
fn relative(path: &[u8]) -> Box<[u8]> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let names = parts.map(|part| match part {
        b".." => b"[..]".to_vec(),
        part => part.replace(b"\0", b"[NUL]"),
    });
    match names.collect::<Vec<_>>().join(&b'/') {
        nothing if nothing.is_empty() => Box::from(*b"[empty]"),
        names => names.into(),
    }
}
