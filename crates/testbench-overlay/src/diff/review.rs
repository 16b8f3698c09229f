//! The text for people.

use super::blocks::{Block, blocks, kind_name};
use super::change::{Content, Side};
use super::model::{Diff, Entry, Op};
use super::patch::{digest, line, write_header, write_hunks};
use super::quote::shown;
use super::redact::Redactions;
use super::text::{TextDiff, is_readable};
use crate::FileKind;

/// What [`Diff::snapshot`] shows.
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Redactions, Side, SnapshotOptions};
///
/// let diff = Diff::from_changes([Change::added("log", Side::file(0o644, *b"pid 4711\n"))]);
/// let options = SnapshotOptions::new().redactions(Redactions::new().replace("4711", "[pid]"));
/// assert!(diff.snapshot(&options).ends_with("+pid [pid]\n"));
/// ```
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    max_file_bytes: usize,
    max_total_bytes: usize,
    redactions: Redactions,
}

impl SnapshotOptions {
    /// Changed lines up to 64 KiB for one file and 1 MiB in all; no redactions.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side, SnapshotOptions};
    ///
    /// let diff = Diff::from_changes([Change::added("a", Side::file(0o644, vec![b'x'; 70_000]))]);
    /// let text = diff.snapshot(&SnapshotOptions::new());
    /// assert!(text.contains("\n+text, 70000 bytes, sha256 "), "too long to be shown");
    /// ```
    pub fn new() -> SnapshotOptions {
        SnapshotOptions {
            max_file_bytes: 64 << 10,
            max_total_bytes: 1 << 20,
            redactions: Redactions::new(),
        }
    }

    /// A file whose hunks (the changed lines with those around them, and their headers) are longer
    /// than this shows its sizes and hashes instead.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side, SnapshotOptions};
    ///
    /// let diff = Diff::from_changes([Change::added("a", Side::file(0o644, *b"0123456789\n"))]);
    /// let text = diff.snapshot(&SnapshotOptions::new().max_file_bytes(10));
    /// assert!(!text.contains("0123456789") && text.contains("11 bytes"));
    /// ```
    pub fn max_file_bytes(mut self, bytes: usize) -> SnapshotOptions {
        self.max_file_bytes = bytes;
        self
    }

    /// Files whose hunks no longer fit into this many bytes for all files together show their sizes
    /// and hashes instead. The summary is always complete.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Side, SnapshotOptions};
    ///
    /// let file = |name| Change::added(name, Side::file(0o644, *b"text\n"));
    /// let diff = Diff::from_changes([file("a"), file("b")]);
    /// let text = diff.snapshot(&SnapshotOptions::new().max_total_bytes(60));
    /// assert!(text.starts_with("A a\nA b\n"), "all that changed is named");
    /// assert_eq!(text.matches("+text\n").count(), 1, "and the first file is shown");
    /// ```
    pub fn max_total_bytes(mut self, bytes: usize) -> SnapshotOptions {
        self.max_total_bytes = bytes;
        self
    }

    /// What to leave out or replace, before anything is compared or hashed.
    ///
    /// ```
    /// use testbench_overlay::diff::{Change, Diff, Redactions, Side, SnapshotOptions};
    ///
    /// let diff = Diff::from_changes([
    ///     Change::added("out.txt", Side::file(0o644, *b"took 12 ms\n")),
    ///     Change::added(".DS_Store", Side::file(0o644, *b"\0")),
    /// ]);
    /// let redactions =
    ///     Redactions::new().skip(|path| path == b".DS_Store").replace("12 ms", "[time]");
    /// let text = diff.snapshot(&SnapshotOptions::new().redactions(redactions));
    /// assert!(text.starts_with("A out.txt\n\n") && text.ends_with("+took [time]\n"));
    /// ```
    pub fn redactions(mut self, redactions: Redactions) -> SnapshotOptions {
        self.redactions = redactions;
        self
    }
}

impl Default for SnapshotOptions {
    fn default() -> SnapshotOptions {
        SnapshotOptions::new()
    }
}

/// See [`Diff::snapshot`].
pub(super) fn snapshot(diff: &Diff, options: &SnapshotOptions) -> String {
    let redacted;
    let diff = if options.redactions.is_empty() {
        diff
    } else {
        redacted = diff.redact(&options.redactions);
        &redacted
    };
    let mut out = summary(diff).into_bytes();
    let mut room = options.max_total_bytes;
    let mut first = true;
    for entry in &diff.entries {
        // Of a link the line above says all: the content is shown where it links to.
        if entry.op == Op::Link {
            continue;
        }
        for block in &blocks(entry) {
            let Some((old, new)) = block.contents().filter(|(old, new)| old != new) else {
                continue;
            };
            if first {
                out.push(b'\n');
                first = false;
            }
            write_header(block, &mut out);
            room -= write_body(block, old, new, options.max_file_bytes.min(room), &mut out);
        }
    }
    String::from_utf8(out).expect("names are quoted, texts are checked")
}

/// See [`Diff::summary`].
pub(super) fn summary(diff: &Diff) -> String {
    diff.entries.iter().map(summary_line).collect()
}

/// Writes the changed lines if they fit into `max` bytes, and answers how many they took.
fn write_body(block: &Block<'_>, old: &[u8], new: &[u8], max: usize, out: &mut Vec<u8>) -> usize {
    let readable = is_readable(old) && is_readable(new);
    if readable && max > 0 {
        let start = out.len();
        // No tabs at the ends of lines, which editors take away.
        write_hunks(block, &TextDiff::new(old, new), "", out);
        let len = out.len() - start;
        if len <= max {
            return len;
        }
        out.truncate(start);
    }
    for (mark, file, content) in [('-', block.old, old), ('+', block.new, new)] {
        if file.is_some() {
            let what = if is_readable(content) { "text" } else { "binary" };
            line(out, &format!("{mark}{}", digest(what, content)));
        }
    }
    0
}

fn summary_line(entry: &Entry) -> String {
    let letter = match entry.op {
        Op::Delete => 'D',
        Op::Add => 'A',
        Op::Modify | Op::Meta => 'M',
        Op::Rename => 'R',
        Op::Retype => 'T',
        Op::Link => 'L',
    };
    let slash = if entry.kind() == FileKind::Dir && !entry.path.is_empty() { "/" } else { "" };
    let path = format!("{}{slash}", shown(&entry.path));
    let paths = match (entry.op, &entry.other) {
        (Op::Rename, Some(from)) => format!("{}{slash} -> {path}", shown(from)),
        (Op::Link, Some(to)) => format!("{path} -> {}", shown(to)),
        _ => path,
    };
    let remarks = remarks(entry);
    if remarks.is_empty() {
        format!("{letter} {paths}\n")
    } else {
        format!("{letter} {paths} ({})\n", remarks.join(", "))
    }
}

/// What is out of the ordinary about an entry.
fn remarks(entry: &Entry) -> Vec<String> {
    let mut remarks = Vec::new();
    match (&entry.old, &entry.new) {
        (None, Some(new)) => {
            match new.kind {
                FileKind::Symlink | FileKind::Special => remarks.push(kind_name(new.kind).into()),
                FileKind::File if new.bytes().is_some_and(<[u8]>::is_empty) => {
                    remarks.push("empty".into());
                }
                FileKind::File | FileKind::Dir => {}
            }
            if !is_ordinary(new) {
                remarks.push(format!("mode {:04o}", new.mode));
            }
        }
        (Some(old), None) => match old.kind {
            FileKind::Symlink | FileKind::Special => remarks.push(kind_name(old.kind).into()),
            FileKind::File | FileKind::Dir => {}
        },
        (Some(old), Some(new)) if old.kind != new.kind => {
            remarks.push(format!("{} -> {}", kind_name(old.kind), kind_name(new.kind)));
            if !is_ordinary(new) {
                remarks.push(format!("mode {:04o}", new.mode));
            }
        }
        (Some(old), Some(new)) if old.mode != new.mode => {
            remarks.push(format!("mode {:04o} -> {:04o}", old.mode, new.mode));
        }
        _ => {}
    }
    remarks.extend(line_endings(entry));
    remarks.extend(times(entry));
    let one_sided = entry.old.is_none() || entry.new.is_none();
    let mut sides = [&entry.old, &entry.new].into_iter().flatten();
    if one_sided && sides.any(|side| side.content == Content::Unread) {
        remarks.push("content not read".into());
    }
    remarks
}

/// The mode that programs create such a thing with by default.
fn is_ordinary(side: &Side) -> bool {
    match side.kind {
        FileKind::File => side.mode == 0o644,
        FileKind::Dir => side.mode == 0o755,
        FileKind::Symlink => true,
        FileKind::Special => false,
    }
}

/// How the lines end, if it is not with a line feed or has changed: in the lines below it cannot be
/// seen, and insta takes CRLF for LF.
fn line_endings(entry: &Entry) -> Option<String> {
    let of = |side: &Option<Side>| {
        let side = side.as_ref().filter(|side| side.kind == FileKind::File);
        endings(side.and_then(Side::bytes)?)
    };
    match (of(&entry.old), of(&entry.new)?) {
        (Some(old), new) if old != new => Some(format!("{old} -> {new}")),
        (None, new) if new != "LF" => Some(new.to_owned()),
        _ => None,
    }
}

fn endings(content: &[u8]) -> Option<&'static str> {
    if !is_readable(content) {
        return None;
    }
    let lines = content.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let (mut crlf, mut lf) = (false, false);
    for line in lines {
        *(if line.ends_with(b"\r\n") { &mut crlf } else { &mut lf }) = true;
    }
    match (crlf, lf) {
        (false, false) => None,
        (false, true) => Some("LF"),
        (true, false) => Some("CRLF"),
        (true, true) => Some("CRLF and LF"),
    }
}

fn times(entry: &Entry) -> Option<String> {
    let mtime = |side: &Option<Side>| side.as_ref().and_then(|side| side.mtime_ns);
    match (mtime(&entry.old), mtime(&entry.new)) {
        (Some(old), Some(new)) if old != new => Some(format!("mtime {old} -> {new} ns")),
        (_, Some(new)) if entry.old.is_none() => Some(format!("mtime {new} ns")),
        _ => None,
    }
}
