//! [`Diff`] and [`Entry`]: the diff in its normal form.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::change::{Change, Content, Origin, Side};
use crate::FileKind;

/// The net change between two trees of files, as a value.
///
/// It holds the contents of what changed, so that it can be compared, kept and rendered later, when
/// the trees are gone. See the [module](crate::diff) for the renderings.
///
/// Two diffs are equal when they hold the same entries with the same contents. Its `Display` is
/// [`Diff::snapshot`] with the default options, its `Serialize` the JSON of [`Diff::to_json`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Sorted by [`Entry::key`].
    pub(super) entries: Vec<Entry>,
    /// Files and symlinks that moved because a directory above them did, and did not change.
    pub(super) carried: Vec<Entry>,
}

/// One entry of a [`Diff`].
///
/// ```
/// use testbench_overlay::FileKind;
/// use testbench_overlay::diff::{Change, Diff, Op, Side};
///
/// let side = || Side::file(0o644, *b"text");
/// let diff = Diff::from_changes([Change::renamed("a", "b", side(), side())]);
/// let [entry] = diff.entries() else { panic!("{diff}") };
/// assert_eq!((entry.op(), entry.kind()), (Op::Rename, FileKind::File));
/// assert_eq!((entry.path(), entry.moved_from(), entry.link_to()), (&b"b"[..], Some(&b"a"[..]), None));
/// assert_eq!(entry.before().map(|side| side.mode), entry.after().map(|side| side.mode));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub(super) change: Change,
    pub(super) op: Op,
}

/// The operation on a path. The letters in a [summary](Diff::summary) are those of git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Op {
    /// It is gone.
    Delete,
    /// It is new.
    Add,
    /// The content changed, and possibly the mode.
    Modify,
    /// It moved here, and possibly changed.
    Rename,
    /// It is of another kind now: deleted and added.
    Retype,
    /// It is one more name of a file.
    Link,
    /// Permission bits or times changed, the content did not.
    Meta,
}

impl Op {
    /// The letter in a [summary](Diff::summary).
    pub fn letter(self) -> char {
        match self {
            Op::Delete => 'D',
            Op::Add => 'A',
            Op::Modify | Op::Meta => 'M',
            Op::Rename => 'R',
            Op::Retype => 'T',
            Op::Link => 'L',
        }
    }
}

/// The name of an operation or a kind in `# ` lines, in a summary and in the JSON.
pub(super) fn name(of: impl fmt::Debug) -> String {
    format!("{of:?}").to_lowercase()
}

impl Diff {
    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the entries, ordered by the raw bytes of the paths. A removal comes before a rename to the
    /// same path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Entries and carried files, in the order of a patch, and whether they are carried.
    pub(super) fn all(&self) -> Vec<(&Entry, bool)> {
        let entries = self.entries.iter().map(|entry| (entry, false));
        let carried = self.carried.iter().map(|entry| (entry, true));
        let mut all: Vec<_> = entries.chain(carried).collect();
        all.sort_by(|(a, _), (b, _)| a.key().cmp(&b.key()));
        all
    }
}

impl Entry {
    /// Returns the path at which it is now, or was if it is gone: raw bytes, relative to the root. The
    /// root is the empty path.
    pub fn path(&self) -> &[u8] {
        &self.change.path
    }

    /// Returns the operation.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Returns the kind that it has now, or had if it is gone.
    pub fn kind(&self) -> FileKind {
        self.after().or(self.before()).expect("an entry has a side").kind
    }

    /// Returns the path at which it was before, if it moved: by an [`Op::Rename`], or inside of a
    /// directory that was renamed.
    pub fn moved_from(&self) -> Option<&[u8]> {
        self.change.moved_from()
    }

    /// Returns the other name of the file, for an [`Op::Link`].
    pub fn link_to(&self) -> Option<&[u8]> {
        match &self.change.origin {
            Origin::LinkTo(to) => Some(to),
            _ => None,
        }
    }

    /// Returns the old side; `None` if the entry is new. An unchanged content is [`Content::Unread`].
    pub fn before(&self) -> Option<&Side> {
        self.change.before.as_ref()
    }

    /// Returns the new side; `None` if the entry is gone. An unchanged content is [`Content::Unread`].
    pub fn after(&self) -> Option<&Side> {
        self.change.after.as_ref()
    }

    /// Where the old side was.
    pub(super) fn old_path(&self) -> &[u8] {
        self.moved_from().unwrap_or(self.path())
    }

    /// The sides that are there, the old one first.
    pub(super) fn sides(&self) -> impl Iterator<Item = &Side> + Clone {
        self.before().into_iter().chain(self.after())
    }

    /// The order of entries. The paths alone decide for trees as they are; after redactions several
    /// may share one, and the rest keeps their order from depending on what was redacted.
    pub(super) fn key(&self) -> impl Ord + '_ {
        let sides = [self.before(), self.after()];
        let sides = sides.map(|side| side.map(|side| (side.mode, side.bytes())));
        (self.path(), self.op, &self.change.origin, sides)
    }

    /// Whether both sides are there with the same content.
    pub(super) fn keeps_content(&self) -> bool {
        match (self.before(), self.after()) {
            (Some(old), Some(new)) => old.kind == new.kind && same(&old.content, &new.content),
            _ => false,
        }
    }
}

/// Whether two contents of one file are the same.
pub(super) fn same(old: &Content, new: &Content) -> bool {
    match (old, new) {
        (Content::Bytes(old), Content::Bytes(new)) => old == new,
        _ => true,
    }
}
