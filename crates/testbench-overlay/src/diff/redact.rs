//! Leaving out and replacing what differs from run to run.

use std::fmt;
use std::sync::Arc;

use super::change::{Content, Side};
use super::model::{Diff, Entry, Op};
use super::normal::{Settled, settle, sorted};
use crate::FileKind;

type Skip = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;
type MapPath = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;
type MapContent = Arc<dyn Fn(&[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// Filters on paths and contents, applied in the order in which they were added.
///
/// They act on the trees, so to say, not on the text: what is equal after them is no difference,
/// lines are compared and hashes computed of what they leave. Each content filter gets the path as
/// it was before any of the path filters.
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

impl Redactions {
    /// No filters: nothing is left out or replaced.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Redactions, Side};
    ///
    /// let diff = Diff::from_changes([Change::added("a", Side::dir(0o755))]);
    /// assert_eq!(diff.redact(&Redactions::new()), diff);
    /// ```
    pub fn new() -> Redactions {
        Redactions::default()
    }

    /// Leaves out the paths for which `filter` answers true.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Redactions, Side};
    ///
    /// let diff = Diff::from_changes([
    ///     Change::added("src/a.rs", Side::file(0o644, *b"")),
    ///     Change::added("src/a.rs.bak", Side::file(0o644, *b"")),
    /// ]);
    /// let no_backups = Redactions::new().skip(|path| path.ends_with(b".bak"));
    /// assert_eq!(diff.redact(&no_backups).summary(), "A src/a.rs (empty)\n");
    /// ```
    pub fn skip(mut self, filter: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Redactions {
        self.skip.push(Arc::new(filter));
        self
    }

    /// Replaces the paths for which `filter` answers another one.
    ///
    /// What it answers becomes a path relative to the root, as all paths of a diff are: slashes at
    /// both ends and doubled ones go, and so do components `.`; what cannot be a name is shown in
    /// brackets, `..` as `[..]`, and a path of which nothing is left as `[empty]`.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Redactions, Side};
    ///
    /// let diff = Diff::from_changes([Change::added("cache/3f9a", Side::dir(0o755))]);
    /// let stable = Redactions::new()
    ///     .path(|path| path.starts_with(b"cache/").then(|| b"cache/[hash]".to_vec()));
    /// assert_eq!(diff.redact(&stable).entries()[0].path(), b"cache/[hash]");
    /// ```
    pub fn path(
        mut self,
        filter: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Redactions {
        self.paths.push(Arc::new(filter));
        self
    }

    /// Replaces the contents of files and the targets of symlinks for which `filter`, given path
    /// and content, answers another one.
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
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Redactions, Side};
    ///
    /// let user = Side::file(0o644, *b"owner = mia\nhome = /home/mia\n");
    /// let diff = Diff::from_changes([Change::added("config", user)]);
    /// let text = diff.redact(&Redactions::new().replace("mia", "[user]")).to_string();
    /// assert!(text.ends_with("+owner = [user]\n+home = /home/[user]\n"));
    /// ```
    pub fn replace(self, needle: impl AsRef<[u8]>, with: impl AsRef<[u8]>) -> Redactions {
        let (needle, with) = (needle.as_ref().to_vec(), with.as_ref().to_vec());
        self.content(move |_, content| replace_all(content, &needle, &with))
    }

    /// Whether there is no filter.
    ///
    /// ```
    /// use testbench_overlay::diff::Redactions;
    ///
    /// assert!(Redactions::new().is_empty());
    /// assert!(!Redactions::new().skip(|path| path.starts_with(b"target")).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.skip.is_empty() && self.paths.is_empty() && self.contents.is_empty()
    }

    pub(super) fn apply(&self, diff: &Diff) -> Diff {
        let mut redacted = Diff::default();
        for (entry, carried) in diff.all() {
            if self.skip.iter().any(|skip| skip(&entry.path)) {
                continue;
            }
            let mut entry = self.entry(entry);
            if carried {
                // What only came along counts once it differs.
                entry.op = Op::Modify;
            } else if entry.op == Op::Rename && entry.other.as_ref() == Some(&entry.path) {
                entry.op = Op::Modify;
                entry.other = None;
            }
            match settle(entry) {
                Settled::Changed(entry) => redacted.entries.push(entry),
                Settled::Carried(entry) => redacted.carried.push(entry),
                Settled::Unchanged => {}
            }
        }
        sorted(redacted)
    }

    fn entry(&self, entry: &Entry) -> Entry {
        Entry {
            path: self.map_path(&entry.path),
            op: entry.op,
            other: entry.other.as_deref().map(|path| self.map_path(path)),
            old: entry.old.as_ref().map(|side| self.side(entry.old_path(), side)),
            new: entry.new.as_ref().map(|side| self.side(&entry.path, side)),
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

/// How many filters there are; what they do cannot be shown.
impl fmt::Debug for Redactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactions")
            .field("skip", &self.skip.len())
            .field("paths", &self.paths.len())
            .field("contents", &self.contents.len())
            .finish()
    }
}

/// The path that a filter means, in the form that every reader of a diff relies on.
fn relative(path: &[u8]) -> Box<[u8]> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let names = parts.map(|part| match part {
        b".." => b"[..]".to_vec(),
        part => replace_all(part, b"\0", b"[NUL]").unwrap_or_else(|| part.to_vec()),
    });
    match names.collect::<Vec<_>>().join(&b'/') {
        nothing if nothing.is_empty() => Box::from(*b"[empty]"),
        names => names.into(),
    }
}

fn replace_all(content: &[u8], needle: &[u8], with: &[u8]) -> Option<Vec<u8>> {
    let first = find(content, needle)?;
    let mut out = Vec::with_capacity(content.len());
    let (mut rest, mut next) = (content, Some(first));
    while let Some(at) = next {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with);
        rest = &rest[at + needle.len()..];
        next = find(rest, needle);
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn find(content: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut from = 0;
    while let Some(at) = content[from..].iter().position(|byte| byte == first) {
        if content[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
