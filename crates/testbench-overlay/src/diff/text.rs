//! Which lines changed: one algorithm, three lines of context, no deadline.
//!
//! The algorithm is part of the format's version: imara-diff's histogram with its placement of
//! ambiguous hunks by indentation. The golden vectors in the tests notice if it changes.

use std::ops::Range;

use imara_diff::{Algorithm, InternedInput, sources};
use serde::{Deserialize, Serialize};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Of files with more lines on either side, the lines between the first and the last difference
/// are replaced as a whole: a bound by count gives the same bytes on every machine, one by time
/// would not.
pub(super) const LINES_MAX: usize = 200_000;

/// git looks for a NUL in as many bytes to tell binary files from text.
const SNIFF_BYTES: usize = 8000;

/// Whether git would call this content binary.
pub(super) fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(SNIFF_BYTES)].contains(&0)
}

/// Whether this content can be shown as text in a `String`.
pub(super) fn is_readable(content: &[u8]) -> bool {
    !is_binary(content) && std::str::from_utf8(content).is_ok()
}

/// One change of a [`Text`](super::Text), with three unchanged lines before and after it.
///
/// Lines are counted from 1; where there are none, the number of the line before is given.
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Side};
///
/// let (old, new) = (Side::file(0o644, *b"1\n2\n3\n"), Side::file(0o644, *b"1\n3\n"));
/// let document = Diff::from_changes([Change::changed("f", old, new)]).document();
/// let hunk = &document.records()[0].text.as_ref().unwrap().hunks[0];
/// assert_eq!((hunk.old_start, hunk.old_lines), (1, 3));
/// assert_eq!((hunk.new_start, hunk.new_lines), (1, 2));
/// assert_eq!(hunk.lines, [" 1", "-2", " 3"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Hunk {
    /// Number of the first old line.
    pub old_start: u64,
    /// How many old lines there are.
    pub old_lines: u64,
    /// Number of the first new line.
    pub new_start: u64,
    /// How many new lines there are.
    pub new_lines: u64,
    /// The lines without their line feeds, behind a space (in both), `-` (old) or `+` (new).
    pub lines: Vec<String>,
}

/// Two texts, their lines (each with its line feed, if it has one), and where they differ.
pub(super) struct TextDiff<'a> {
    old: Vec<&'a [u8]>,
    new: Vec<&'a [u8]>,
    edits: Vec<Edit>,
}

struct Edit {
    old: Range<usize>,
    new: Range<usize>,
}

/// A line, and its mark: space, minus or plus.
pub(super) type Line<'a> = (char, &'a [u8]);

impl<'a> TextDiff<'a> {
    pub(super) fn new(old: &'a [u8], new: &'a [u8]) -> TextDiff<'a> {
        let lines = |text: &'a [u8]| text.split_inclusive(|byte| *byte == b'\n').collect();
        let (old_lines, new_lines): (Vec<_>, Vec<_>) = (lines(old), lines(new));
        let has_choice = !old_lines.is_empty() && !new_lines.is_empty();
        let edits = if has_choice && old_lines.len().max(new_lines.len()) <= LINES_MAX {
            compare(old, new)
        } else {
            between_first_and_last(&old_lines, &new_lines)
        };
        TextDiff { old: old_lines, new: new_lines, edits }
    }

    /// Number of lines added.
    pub(super) fn insertions(&self) -> usize {
        self.edits.iter().map(|edit| edit.new.len()).sum()
    }

    /// Number of lines removed.
    pub(super) fn deletions(&self) -> usize {
        self.edits.iter().map(|edit| edit.old.len()).sum()
    }

    /// Returns each hunk, apart from its lines: these need not be UTF-8.
    pub(super) fn hunks(&self) -> impl Iterator<Item = (Hunk, Vec<Line<'a>>)> {
        // Two changes share a hunk when their contexts touch, as in git.
        self.edits
            .chunk_by(|one, next| next.old.start - one.old.end <= 2 * CONTEXT)
            .map(|edits| self.hunk(edits))
    }

    fn hunk(&self, edits: &[Edit]) -> (Hunk, Vec<Line<'a>>) {
        let (first, last) = (&edits[0], &edits[edits.len() - 1]);
        let lead = first.old.start.min(CONTEXT);
        let trail = (self.old.len() - last.old.end).min(CONTEXT);
        let old = first.old.start - lead..last.old.end + trail;
        let new = first.new.start - lead..last.new.end + trail;
        let mut lines = Vec::with_capacity(old.len().max(new.len()));
        let mut at = old.start;
        for edit in edits {
            lines.extend(self.old[at..edit.old.start].iter().map(|line| (' ', *line)));
            lines.extend(self.old[edit.old.clone()].iter().map(|line| ('-', *line)));
            lines.extend(self.new[edit.new.clone()].iter().map(|line| ('+', *line)));
            at = edit.old.end;
        }
        lines.extend(self.old[at..old.end].iter().map(|line| (' ', *line)));
        let start = |range: &Range<usize>| (range.start + usize::from(!range.is_empty())) as u64;
        let hunk = Hunk {
            old_start: start(&old),
            old_lines: old.len() as u64,
            new_start: start(&new),
            new_lines: new.len() as u64,
            lines: Vec::new(),
        };
        (hunk, lines)
    }
}

fn between_first_and_last(old: &[&[u8]], new: &[&[u8]]) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail =
        old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let edit = Edit { old: head..old.len() - tail, new: head..new.len() - tail };
    if edit.old.is_empty() && edit.new.is_empty() { Vec::new() } else { vec![edit] }
}

fn compare(old: &[u8], new: &[u8]) -> Vec<Edit> {
    let input = InternedInput::new(sources::byte_lines(old), sources::byte_lines(new));
    let mut diff = imara_diff::Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let range = |range: Range<u32>| range.start as usize..range.end as usize;
    diff.hunks().map(|hunk| Edit { old: range(hunk.before), new: range(hunk.after) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(old: &str, new: &str) -> String {
        let diff = TextDiff::new(old.as_bytes(), new.as_bytes());
        let mut out = String::new();
        for (hunk, lines) in diff.hunks() {
            out += &format!(
                "@@ -{},{} +{},{} @@\n",
                hunk.old_start, hunk.old_lines, hunk.new_start, hunk.new_lines
            );
            for (mark, line) in lines {
                out += &format!("{mark}{}", String::from_utf8_lossy(line));
                out += if line.ends_with(b"\n") { "" } else { "$\n" };
            }
        }
        out
    }

    fn numbered(range: Range<usize>) -> String {
        range.map(|n| format!("{n}\n")).collect()
    }

    #[test]
    fn contexts_that_touch_share_a_hunk() {
        let old = numbered(1..20);
        let six_apart = old.replace("5\n", "").replace("12\n", "");
        assert_eq!(show(&old, &six_apart).matches("@@ -").count(), 1, "{}", show(&old, &six_apart));
        let seven_apart = old.replacen("5\n", "", 1).replace("13\n", "");
        assert_eq!(show(&old, &seven_apart).matches("@@ -").count(), 2);
    }

    #[test]
    fn an_empty_side_counts_from_line_zero() {
        assert_eq!(show("", "a\nb"), "@@ -0,0 +1,2 @@\n+a\n+b$\n");
        assert_eq!(show("a\n", ""), "@@ -1,1 +0,0 @@\n-a\n");
        assert_eq!(show("", ""), "");
    }

    #[test]
    fn only_the_missing_line_feed_differs() {
        assert_eq!(show("a\nb", "a\nb\n"), "@@ -1,2 +1,2 @@\n a\n-b$\n+b\n");
    }

    #[test]
    fn above_the_limit_the_middle_is_replaced_as_a_whole() {
        let old = numbered(0..LINES_MAX + 2);
        let new = old.replacen("10\n", "x\n", 1).replacen("\n20\n", "\ny\n", 1);
        let diff = TextDiff::new(old.as_bytes(), new.as_bytes());
        assert_eq!((diff.deletions(), diff.insertions(), diff.hunks().count()), (11, 11, 1));
        let shorter = &old[..old.len() / 2];
        let diff = TextDiff::new(shorter.as_bytes(), shorter.as_bytes());
        assert_eq!(diff.hunks().count(), 0);
    }

    #[test]
    fn binary_is_a_nul_near_the_start() {
        let mut bytes = vec![b'a'; SNIFF_BYTES + 1];
        bytes[SNIFF_BYTES] = 0;
        assert!(!is_binary(&bytes) && is_readable(&bytes));
        bytes[SNIFF_BYTES - 1] = 0;
        assert!(is_binary(&bytes));
        assert!(!is_binary(b"\xff") && !is_readable(b"\xff"));
    }
}
