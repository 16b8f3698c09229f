//! The diff in its normal form.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::change::{Change, Content, Origin, Side};
use super::{DiffStat, Document, Redactions, SnapshotOptions, normal, patch, review};
use crate::{FileKind, GuestPath};

/// The net change between two trees of files, as a value.
///
/// It holds the contents of what changed, so that it can be compared, kept and rendered later, when
/// the trees are gone. See the [module](crate::diff) for the renderings.
///
/// Two diffs are equal when they hold the same entries with the same contents. Its `Display` is
/// [`Diff::snapshot`] with the default options, its `Serialize` the JSON of [`Diff::to_json`].
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Op, Side};
///
/// let same = Side::file(0o644, *b"same");
/// let diff = Diff::from_changes([
///     Change::changed("unchanged", same.clone(), same),
///     Change::removed("gone", Side::file(0o644, *b"bytes")),
/// ]);
/// let [entry] = diff.entries() else { panic!("{diff}") };
/// assert_eq!((entry.path(), entry.op()), (&b"gone"[..], Op::Delete));
/// ```
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
    pub(super) path: Box<[u8]>,
    pub(super) op: Op,
    /// Of a link the name it links to, otherwise the path from which it moved.
    pub(super) other: Option<Box<[u8]>>,
    pub(super) old: Option<Side>,
    pub(super) new: Option<Side>,
}

/// What happened to a path. The letters in a [summary](Diff::summary) are those of git.
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Op, Side};
///
/// let file = |text: &[u8]| Side::file(0o644, text);
/// let diff = Diff::from_changes([
///     Change::changed("content", file(b"1"), file(b"2")),
///     Change::changed("kind", file(b""), Side::dir(0o755)),
///     Change::changed("mode", file(b"1"), Side::file(0o755, *b"1")),
/// ]);
/// let ops: Vec<Op> = diff.entries().iter().map(|entry| entry.op()).collect();
/// assert_eq!(ops, [Op::Modify, Op::Retype, Op::Meta]);
/// ```
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

impl Diff {
    /// The normal form of these changes, in any order.
    ///
    /// What did not change is dropped, and so are paths without either side; a `Delete` and an
    /// `Add` of one path become one entry; the removal of a path that something moved away from is
    /// part of the rename. A second move of one file is taken as a link to the first, a move that
    /// changes the kind as a removal and an addition.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let file = || Side::file(0o644, *b"text");
    /// let diff = Diff::from_changes([
    ///     Change::removed("a", file()),
    ///     Change::renamed("a", "b", file(), file()), // explains the removal
    ///     Change::removed("x", file()),
    ///     Change::added("x", Side::dir(0o755)), // together a change of kind
    /// ]);
    /// assert_eq!(diff.summary(), "R a -> b\nT x/ (file -> dir)\n");
    /// ```
    pub fn from_changes(changes: impl IntoIterator<Item = Change>) -> Diff {
        normal::form(changes.into_iter().collect())
    }

    /// Whether nothing changed.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// assert!(Diff::default().is_empty());
    /// let same = || Side::file(0o644, *b"text");
    /// assert!(Diff::from_changes([Change::changed("a", same(), same())]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What changed, ordered by the raw bytes of the paths; where something was removed and
    /// something else moved to the same path, the removal comes first.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let diff = Diff::from_changes(["b", "a/x", "a", "B"].map(|path| {
    ///     Change::added(path, Side::dir(0o755))
    /// }));
    /// let paths: Vec<&[u8]> = diff.entries().iter().map(|entry| entry.path()).collect();
    /// assert_eq!(paths, [&b"B"[..], b"a", b"a/x", b"b"]);
    /// ```
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// One line for each entry, such as `M src/a.rs`, `A cache/` or `R a -> b`; empty for an empty
    /// diff.
    ///
    /// The letters are git's: `A`dded, `D`eleted, `M`odified (content or mode), `R`enamed,
    /// re`T`yped; and `L` for a hard link. A directory has a slash behind it. What is out of the
    /// ordinary follows in parentheses.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let diff = Diff::from_changes([
    ///     Change::added("bin/tool", Side::file(0o755, *b"x")),
    ///     Change::removed("cache", Side::dir(0o755)),
    /// ]);
    /// assert_eq!(diff.summary(), "A bin/tool (mode 0755)\nD cache/\n");
    /// ```
    pub fn summary(&self) -> String {
        review::summary(self)
    }

    /// The text for people, for use with insta; empty for an empty diff.
    ///
    /// First the [summary](Diff::summary), then for each file whose content changed the changed
    /// lines as in a patch, or size and SHA-256 for what is not UTF-8 text or too long.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side, SnapshotOptions};
    ///
    /// let diff = Diff::from_changes([
    ///     Change::added("a.txt", Side::file(0o644, *b"text\n")),
    ///     Change::added("b.bin", Side::file(0o644, *b"\0\x01")),
    /// ]);
    /// let text = diff.snapshot(&SnapshotOptions::new());
    /// assert!(text.starts_with("A a.txt\nA b.bin\n\n"));
    /// assert!(text.contains("+++ b/a.txt\n@@ -0,0 +1,1 @@\n+text\n"));
    /// assert!(text.contains("\n+binary, 2 bytes, sha256 "));
    /// ```
    pub fn snapshot(&self, options: &SnapshotOptions) -> String {
        review::snapshot(self, options)
    }

    /// The same diff after `redactions`; what they make equal is no longer in it.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Redactions, Side};
    ///
    /// let stamped = |time: &str| Side::file(0o644, format!("built {time}\n").into_bytes());
    /// let (old, new) = (stamped("09:00"), stamped("09:01"));
    /// let diff = Diff::from_changes([Change::changed("stamp", old, new)]);
    /// let without_times = Redactions::new().replace("09:00", "NOW").replace("09:01", "NOW");
    /// assert!(diff.redact(&without_times).is_empty(), "no difference is left");
    /// ```
    pub fn redact(&self, redactions: &Redactions) -> Diff {
        redactions.apply(self)
    }

    /// The patch for `git apply`; empty for an empty diff.
    ///
    /// Applied to a copy of the old tree it gives the new one, and with `-R` the other way round,
    /// as far as git can see: paths, contents, executable bits and link targets. All else stands
    /// in lines that start with `# `, which git ignores: directories, other mode bits, times, hard
    /// links, and what lies in a `.git` directory (the lines of its patch, each behind `# `).
    ///
    /// The blocks are in the order of their paths, but where something moved away from a path and
    /// something new is there now, the new one comes last: git needs it so.
    ///
    /// What to know about `git apply`: it refuses an empty patch, and one of `# ` lines only, unless
    /// told `--allow-empty`. It removes directories that become empty. It can neither put a file
    /// where empty directories are nested, nor anything below the name of a symlink that leads back
    /// to itself, or to where the next name on the way is a symlink too: so `git apply -R` ends with "Too many levels
    /// of symbolic links" where a directory with files in it has become a symlink to itself, before
    /// it has changed anything. Run in a subdirectory of a
    /// repository it passes over the files without a word: set `GIT_CEILING_DIRECTORIES` to the
    /// directory above the tree.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let diff = Diff::from_changes([
    ///     Change::added("cache", Side::dir(0o755)),
    ///     Change::changed("a", Side::file(0o644, *b"1\n"), Side::file(0o644, *b"2\n")),
    /// ]);
    /// let patch = String::from_utf8(diff.patch()).unwrap();
    /// assert!(patch.contains("--- a/a\n+++ b/a\n@@ -1,1 +1,1 @@\n-1\n+2\n"));
    /// assert!(patch.lines().any(|line| line.starts_with("# ")), "git knows no empty directories");
    /// ```
    pub fn patch(&self) -> Vec<u8> {
        patch::patch(self)
    }

    /// What the JSON holds: the entries with sizes and hashes, and the changed lines of texts, but
    /// not the contents.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let diff = Diff::from_changes([Change::added("a.bin", Side::file(0o644, vec![0; 4096]))]);
    /// let document = diff.document();
    /// let record = &document.records()[0];
    /// assert_eq!(record.new.as_ref().unwrap().size_bytes, Some(4096));
    /// assert!(record.text.is_none());
    /// ```
    pub fn document(&self) -> Document {
        Document::of(self)
    }

    /// The JSON, with one entry on each line. It ends with a line feed, also for an empty diff.
    /// [`Document::from_json`] reads it back.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let side = || Side::unread_file(0o644);
    /// let json = Diff::from_changes([Change::renamed("a", "b", side(), side())]).to_json();
    /// let entry = json.lines().nth(1).unwrap();
    /// assert_eq!(entry, r#"{"path":"b","op":"rename","from":"a","kind":"file"}]}"#);
    /// ```
    pub fn to_json(&self) -> String {
        self.document().to_json()
    }

    /// How many entries there are of each kind, and how many lines were added and removed.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let diff = Diff::from_changes([
    ///     Change::added("a", Side::file(0o644, *b"one\ntwo\n")),
    ///     Change::removed("b", Side::file(0o644, *b"three\n")),
    /// ]);
    /// let line = "1 added, 1 deleted, 0 modified, 0 renamed; +2 -1 lines";
    /// assert_eq!(diff.stat().to_string(), line);
    /// ```
    pub fn stat(&self) -> DiffStat {
        DiffStat::of(self)
    }

    /// The same diff with a removed and an added file of equal content, not empty, taken as a
    /// rename.
    ///
    /// A pair with the same file name goes first, then the order of the paths decides. Use it where
    /// identity is not known, as after [`Diff::between`].
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let diff = Diff::from_changes([
    ///     Change::removed("a", Side::file(0o644, *b"text")),
    ///     Change::added("b", Side::file(0o644, *b"text")),
    /// ]);
    /// assert_eq!(diff.summary(), "D a\nA b\n");
    /// assert_eq!(diff.renames_by_content().summary(), "R a -> b\n");
    /// ```
    pub fn renames_by_content(self) -> Diff {
        normal::pair_by_content(self)
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
    /// The path at which it is now, or was if it is gone: relative to the root, which is the empty
    /// path itself, in raw bytes.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let (old, new) = (Side::dir(0o755), Side::dir(0o700));
    /// let diff = Diff::from_changes([Change::changed("", old, new)]);
    /// assert_eq!(diff.entries()[0].path(), b"", "the root itself");
    /// ```
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What happened to the path.
    ///
    /// ```
    /// use testbench_overlay::diff::Op;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::create_dir(dir.path().join("out"))?;
    /// assert!(overlay.diff()?.entries().iter().all(|entry| entry.op() == Op::Add));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn op(&self) -> Op {
        self.op
    }

    /// What it is now, or was if it is gone.
    ///
    /// ```
    /// use testbench_overlay::FileKind;
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let (was, is) = (Side::file(0o644, *b"x"), Side::symlink(*b"y"));
    /// let diff = Diff::from_changes([Change::changed("a", was, is)]);
    /// assert_eq!(diff.entries()[0].kind(), FileKind::Symlink);
    /// ```
    pub fn kind(&self) -> FileKind {
        let side = self.new.as_ref().or(self.old.as_ref());
        side.expect("an entry has a side").kind
    }

    /// The path at which it was, if not here: of a [`Op::Rename`], and of what changed inside of a
    /// directory that was renamed.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("a"), "text")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::rename(dir.path().join("a"), dir.path().join("b"))?;
    /// let diff = overlay.diff()?;
    /// let entry = &diff.entries()[0];
    /// assert_eq!((entry.moved_from(), entry.path()), (Some(&b"a"[..]), &b"b"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn moved_from(&self) -> Option<&[u8]> {
        self.other.as_deref().filter(|_| self.op != Op::Link)
    }

    /// Of a [`Op::Link`] the other name of the file.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("a"), "text")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::hard_link(dir.path().join("a"), dir.path().join("b"))?;
    /// assert_eq!(overlay.diff()?.entries()[0].link_to(), Some(&b"a"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn link_to(&self) -> Option<&[u8]> {
        self.other.as_deref().filter(|_| self.op == Op::Link)
    }

    /// What was there before; `None` if it is new. Its content is [`Content::Unread`] if it did not
    /// change.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let (old, new) = (Side::file(0o644, *b"1"), Side::file(0o644, *b"2"));
    /// let diff = Diff::from_changes([
    ///     Change::changed("a", old, new),
    ///     Change::added("b", Side::dir(0o755)),
    /// ]);
    /// let [a, b] = diff.entries() else { panic!("two entries") };
    /// assert_eq!(a.before().unwrap().bytes(), Some(&b"1"[..]));
    /// assert!(b.before().is_none());
    /// ```
    pub fn before(&self) -> Option<&Side> {
        self.old.as_ref()
    }

    /// What is there now; `None` if it is gone. Its content is [`Content::Unread`] if it did not
    /// change.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side};
    ///
    /// let (old, new) = (Side::file(0o644, *b"1"), Side::file(0o600, *b"2"));
    /// let diff = Diff::from_changes([
    ///     Change::changed("a", old, new),
    ///     Change::removed("b", Side::dir(0o755)),
    /// ]);
    /// let [a, b] = diff.entries() else { panic!("two entries") };
    /// assert_eq!(a.after().unwrap().mode, 0o600);
    /// assert!(b.after().is_none());
    /// ```
    pub fn after(&self) -> Option<&Side> {
        self.new.as_ref()
    }

    /// Where the old side was.
    pub(super) fn old_path(&self) -> &[u8] {
        self.moved_from().unwrap_or(&self.path)
    }

    /// The order of entries. The paths alone decide for trees as they are; after redactions several
    /// may share one, and the rest keeps their order from depending on what was redacted.
    pub(super) fn key(&self) -> impl Ord + '_ {
        fn bytes(side: &Option<Side>) -> Option<(u32, Option<&[u8]>)> {
            side.as_ref().map(|side| (side.mode, side.bytes()))
        }
        (&self.path, self.op, &self.other, bytes(&self.old), bytes(&self.new))
    }

    /// Whether both sides are there with the same content.
    pub(super) fn keeps_content(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => old.kind == new.kind && same(&old.content, &new.content),
            _ => false,
        }
    }

    /// The change that [`Diff::from_changes`] makes this entry of.
    pub(super) fn into_change(self) -> Change {
        let origin = match self.other {
            None => Origin::InPlace,
            Some(to) if self.op == Op::Link => Origin::LinkTo(to),
            Some(from) => Origin::RenamedFrom(from),
        };
        Change { path: self.path, before: self.old, after: self.new, origin }
    }
}

/// Whether two contents of one file are the same.
pub(super) fn same(old: &Content, new: &Content) -> bool {
    match (old, new) {
        (Content::Bytes(old), Content::Bytes(new)) => old == new,
        _ => true,
    }
}

/// The text for people, as [`Diff::snapshot`] gives it with the default options.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.snapshot(&SnapshotOptions::default()))
    }
}

/// The summary, on one line.
impl fmt::Debug for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Diff ")?;
        f.debug_list().entries(self.summary().lines()).finish()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path =
            |path: &Option<Box<[u8]>>| path.as_deref().map(|p| format!("{:?}", GuestPath::new(p)));
        f.debug_struct("Entry")
            .field("path", &GuestPath::new(&self.path))
            .field("op", &self.op)
            .field("other", &path(&self.other))
            .field("old", &self.old)
            .field("new", &self.new)
            .finish()
    }
}
