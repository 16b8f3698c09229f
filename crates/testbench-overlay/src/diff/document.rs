//! [`Document`]: a diff without the contents, as the JSON holds it.

use serde::{Deserialize, Serialize};

use super::change::Side;
use super::fields;
use super::git::sha256;
use super::model::{Diff, Entry, Op};
use super::text::{Hunk, TextDiff, is_readable};
use crate::FileKind;

/// A [`Diff`] without the contents, which its JSON holds and from which it can be read back.
///
/// There is no patch of it, since sizes and hashes stand for what is not text.
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Document, Op, Side};
///
/// let diff = Diff::from_changes([Change::added("a", Side::file(0o644, *b"text\n"))]);
/// let document = Document::from_json(&diff.to_json())?;
/// assert_eq!(document, diff.document());
/// assert_eq!(document.records()[0].op, Op::Add);
/// assert_eq!(document.records()[0].text.as_ref().unwrap().hunks[0].lines, ["+text"]);
/// # Ok::<(), testbench_overlay::diff::JsonError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub(super) records: Vec<Record>,
}

/// One entry of a [`Document`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record {
    /// Where it is now, or was if it is gone; `.` is the root.
    #[serde(with = "fields::name")]
    pub path: Box<[u8]>,
    /// The operation.
    pub op: Op,
    /// Where it was, if not here.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "fields::option_name")]
    pub from: Option<Box<[u8]>>,
    /// Of a link, the other name of the file.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "fields::option_name")]
    pub to: Option<Box<[u8]>>,
    /// The kind that it has now, or had if it is gone.
    pub kind: FileKind,
    /// The old side; absent also if nothing but the path differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Facts>,
    /// The new side; absent also if nothing but the path differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Facts>,
    /// The changed lines, if the content of a file changed, both sides are UTF-8 text, and it is
    /// no link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
}

/// One side of a [`Record`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Facts {
    /// The kind; only where old and new differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileKind>,
    /// Permission bits; none for a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "fields::mode")]
    pub mode: Option<u32>,
    /// Length of a file in bytes; only where the content changed.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "size")]
    pub size_bytes: Option<u64>,
    /// SHA-256 of a file in lower-case hexadecimal digits; only where the content changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Target of a symlink; only where it changed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "fields::option_name")]
    pub target: Option<Box<[u8]>>,
    /// Time of last change in nanoseconds since the start, if the diff holds times; see
    /// [`Side::mtime_ns`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<i64>,
}

/// The changed lines of a [`Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Text {
    /// The changes in order.
    pub hunks: Vec<Hunk>,
    /// Whether the old text is empty or ends with a line feed; `None` without an old side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_eol: Option<bool>,
    /// Whether the new text is empty or ends with a line feed; `None` without a new side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_eol: Option<bool>,
}

impl Document {
    /// Returns the entries in the order of [`Diff::entries`].
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

impl Diff {
    /// Returns the document that the JSON holds: the entries with sizes and hashes, and the changed lines
    /// of texts, but not the contents.
    pub fn document(&self) -> Document {
        Document { records: self.entries.iter().map(record).collect() }
    }
}

fn record(entry: &Entry) -> Record {
    let with_content = !entry.keeps_content();
    let facts = |side: &Side| facts(side, with_content, entry.op == Op::Retype);
    let (mut old, mut new) = (entry.before().map(facts), entry.after().map(facts));
    if old == new {
        (old, new) = (None, None);
    }
    Record {
        path: named(entry.path()),
        op: entry.op,
        from: entry.moved_from().map(named),
        to: entry.link_to().map(named),
        kind: entry.kind(),
        old,
        new,
        text: text(entry),
    }
}

fn facts(side: &Side, with_content: bool, with_kind: bool) -> Facts {
    let content = side.bytes().filter(|_| with_content);
    let of_file = content.filter(|_| side.kind == FileKind::File);
    let of_symlink = content.filter(|_| side.kind == FileKind::Symlink);
    Facts {
        kind: with_kind.then_some(side.kind),
        mode: (side.kind != FileKind::Symlink).then_some(side.mode),
        size_bytes: of_file.map(|content| content.len() as u64),
        sha256: of_file.map(sha256),
        target: of_symlink.map(Into::into),
        mtime_ns: side.mtime_ns,
    }
}

fn text(entry: &Entry) -> Option<Text> {
    if matches!(entry.op, Op::Link | Op::Retype) || entry.keeps_content() {
        return None;
    }
    let readable = |side: &Side| side.bytes().is_some_and(is_readable);
    if !entry.sides().all(|side| side.kind == FileKind::File && readable(side)) {
        return None;
    }
    let [old, new] = [entry.before(), entry.after()].map(|side| side.and_then(Side::bytes));
    let ends = |content: &[u8]| content.last().is_none_or(|last| *last == b'\n');
    // Both texts are UTF-8, and no character has a line feed inside.
    let line = |(mark, line): (char, &[u8])| {
        format!("{mark}{}", String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)))
    };
    let diff = TextDiff::new(old.unwrap_or_default(), new.unwrap_or_default());
    let hunks = diff.hunks();
    Some(Text {
        hunks: hunks
            .map(|(hunk, lines)| Hunk { lines: lines.into_iter().map(line).collect(), ..hunk })
            .collect(),
        old_eol: old.map(ends),
        new_eol: new.map(ends),
    })
}

fn named(path: &[u8]) -> Box<[u8]> {
    if path.is_empty() { b".".as_slice().into() } else { path.into() }
}
