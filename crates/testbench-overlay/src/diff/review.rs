//! [`Diff::snapshot`]: the text for people.

use std::fmt;

use super::blocks::{Block, blocks, kind_name};
use super::change::{Content, Side};
use super::model::{Diff, Entry, Op};
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
        match options.redactions.is_empty() {
            true => snapshot(self, options),
            false => snapshot(&self.redact(&options.redactions), options),
        }
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

fn snapshot(diff: &Diff, options: &SnapshotOptions) -> String {
    let mut out = diff.summary().into_bytes();
    let mut room = options.max_total_bytes;
    let mut first = true;
    for entry in &diff.entries {
        // The content of a link is shown at the file to which it links.
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
    let (_, letter) = entry.op.names();
    let slash = if entry.kind() == FileKind::Dir && !entry.path.is_empty() { "/" } else { "" };
    let path = format!("{}{slash}", shown(&entry.path));
    let paths = match (entry.op, &entry.other) {
        (Op::Rename, Some(from)) => format!("{}{slash} -> {path}", shown(from)),
        (Op::Link, Some(to)) => format!("{path} -> {}", shown(to)),
        _ => path,
    };
    let remarks = remarks(entry);
    let remarks = if remarks.is_empty() { "" } else { &format!(" ({})", remarks.join(", ")) };
    format!("{letter} {paths}{remarks}\n")
}

/// The unusual properties of an entry.
fn remarks(entry: &Entry) -> Vec<String> {
    let mut remarks = Vec::new();
    let kind = |side: &Side| {
        let is_rare = matches!(side.kind, FileKind::Symlink | FileKind::Special);
        is_rare.then(|| kind_name(side.kind).to_owned())
    };
    let mode = |side: &Side| (!is_ordinary(side)).then(|| format!("mode {:04o}", side.mode));
    match (&entry.old, &entry.new) {
        (None, Some(new)) => {
            remarks.extend(kind(new));
            if new.kind == FileKind::File && new.bytes().is_some_and(<[u8]>::is_empty) {
                remarks.push("empty".into());
            }
            remarks.extend(mode(new));
        }
        (Some(old), None) => remarks.extend(kind(old)),
        (Some(old), Some(new)) if old.kind != new.kind => {
            remarks.push(format!("{} -> {}", kind_name(old.kind), kind_name(new.kind)));
            remarks.extend(mode(new));
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
