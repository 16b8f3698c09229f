//! [`Diff::snapshot`]: the text for people.

use std::fmt;

use super::blocks::{Block, blocks, paths};
use super::change::{Content, Side};
use super::model::{Diff, Entry, Op, name};
use super::patch::{digest, line, write_header, write_hunks};
use super::quote::shown;
use super::redact::Redactions;
use super::text::{TextDiff, is_readable};
use crate::FileKind;

/// The limits and redactions of [`Diff::snapshot`].
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
    /// Shows changed lines up to 64 KiB for one file and 1 MiB in all, without redactions.
    pub fn new() -> SnapshotOptions {
        SnapshotOptions {
            max_file_bytes: 64 << 10,
            max_total_bytes: 1 << 20,
            redactions: Redactions::new(),
        }
    }

    /// A file whose hunks (the changed lines with those around them, and their headers) are longer
    /// than this shows its sizes and hashes instead.
    pub fn max_file_bytes(mut self, bytes: usize) -> SnapshotOptions {
        self.max_file_bytes = bytes;
        self
    }

    /// Files whose hunks no longer fit into this many bytes for all files together show their sizes
    /// and hashes instead. The summary is always complete.
    pub fn max_total_bytes(mut self, bytes: usize) -> SnapshotOptions {
        self.max_total_bytes = bytes;
        self
    }

    /// Applies redactions, before anything is compared or hashed.
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

impl Diff {
    /// Returns one line for each entry, such as `M src/a.rs`, `A cache/` or `R a -> b`; nothing for an
    /// empty diff.
    ///
    /// The letters are git's: `A`dded, `D`eleted, `M`odified (content or mode), `R`enamed,
    /// re`T`yped; and `L` for a hard link. A directory ends with a slash. Unusual properties follow
    /// in parentheses.
    pub fn summary(&self) -> String {
        self.entries.iter().map(summary_line).collect()
    }

    /// Returns the text for people, for use with insta; nothing for an empty diff.
    ///
    /// The [summary](Diff::summary) comes first. Then each file whose content changed has its changed
    /// lines as in a patch, or size and SHA-256 if it is not UTF-8 text or too long.
    pub fn snapshot(&self, options: &SnapshotOptions) -> String {
        snapshot(&self.redact(&options.redactions), options)
    }
}

/// As [`Diff::snapshot`] with the default options.
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

/// As in a [summary](Diff::summary).
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(summary_line(self).trim_end())
    }
}

fn snapshot(diff: &Diff, options: &SnapshotOptions) -> String {
    let mut out = diff.summary().into_bytes();
    let (summary_bytes, mut room) = (out.len(), options.max_total_bytes);
    for entry in &diff.entries {
        // The content of a link is shown at the file to which it links.
        if entry.op == Op::Link {
            continue;
        }
        for block in &blocks(entry) {
            let Some((old, new)) = block.contents().filter(|(old, new)| old != new) else {
                continue;
            };
            if out.len() == summary_bytes {
                out.push(b'\n');
            }
            write_header(block, &mut out);
            room -= write_body(block, old, new, options.max_file_bytes.min(room), &mut out);
        }
    }
    String::from_utf8(out).expect("names are quoted, texts are checked")
}

/// Writes the changed lines if they fit into `max` bytes, and returns how many they took.
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
    let letter = entry.op.letter();
    let slash = if entry.kind() == FileKind::Dir && !entry.path().is_empty() { "/" } else { "" };
    let paths = paths(entry.op, entry, entry.path(), |path| format!("{}{slash}", shown(path)));
    let remarks = remarks(entry);
    let remarks = if remarks.is_empty() { "" } else { &format!(" ({})", remarks.join(", ")) };
    format!("{letter} {paths}{remarks}\n")
}

/// The unusual properties of an entry.
fn remarks(entry: &Entry) -> Vec<String> {
    let mut remarks = Vec::new();
    let is_rare = |side: &&Side| matches!(side.kind, FileKind::Symlink | FileKind::Special);
    match (entry.before(), entry.after()) {
        (Some(old), Some(new)) if old.kind != new.kind => {
            remarks.push(format!("{} -> {}", name(old.kind), name(new.kind)));
            remarks.extend(unusual_mode(new));
        }
        (Some(old), Some(new)) if old.mode != new.mode => {
            remarks.push(format!("mode {:04o} -> {:04o}", old.mode, new.mode));
        }
        (Some(_), Some(_)) => {}
        (old, new) => {
            let rare = old.or(new).filter(is_rare);
            remarks.extend(rare.map(|side| name(side.kind)));
            let is_empty = |new: &Side| {
                new.kind == FileKind::File && new.bytes().is_some_and(<[u8]>::is_empty)
            };
            remarks.extend(new.filter(|new| is_empty(new)).map(|_| "empty".to_owned()));
            remarks.extend(new.and_then(unusual_mode));
        }
    }
    remarks.extend(line_endings(entry));
    remarks.extend(times(entry));
    let one_sided = entry.before().is_none() || entry.after().is_none();
    if one_sided && entry.sides().any(|side| side.content == Content::Unread) {
        remarks.push("content not read".into());
    }
    remarks
}

/// A mode other than the one with which programs create such a thing by default.
fn unusual_mode(side: &Side) -> Option<String> {
    let is_ordinary = match side.kind {
        FileKind::File => side.mode == 0o644,
        FileKind::Dir => side.mode == 0o755,
        FileKind::Symlink => true,
        FileKind::Special => false,
    };
    (!is_ordinary).then(|| format!("mode {:04o}", side.mode))
}

/// How the lines end, if it is not with a line feed or has changed: in the lines below it cannot be
/// seen, and insta takes CRLF for LF.
fn line_endings(entry: &Entry) -> Option<String> {
    let of =
        |side: Option<&Side>| endings(side.filter(|side| side.kind == FileKind::File)?.bytes()?);
    match (of(entry.before()), of(entry.after())?) {
        (Some(old), new) if old != new => Some(format!("{old} -> {new}")),
        (None, new) if new != "LF" => Some(new.to_owned()),
        _ => None,
    }
}

fn endings(content: &[u8]) -> Option<&'static str> {
    if !is_readable(content) {
        return None;
    }
    let lines = || content.split_inclusive(|byte| *byte == b'\n').filter(|l| l.ends_with(b"\n"));
    let any = |is_crlf: bool| lines().any(|line| line.ends_with(b"\r\n") == is_crlf);
    match (any(true), any(false)) {
        (false, false) => None,
        (false, true) => Some("LF"),
        (true, false) => Some("CRLF"),
        (true, true) => Some("CRLF and LF"),
    }
}

fn times(entry: &Entry) -> Option<String> {
    let mtime = |side: Option<&Side>| side?.mtime_ns;
    match (mtime(entry.before()), mtime(entry.after())?) {
        (Some(old), new) if old != new => Some(format!("mtime {old} -> {new} ns")),
        (_, new) if entry.before().is_none() => Some(format!("mtime {new} ns")),
        _ => None,
    }
}
