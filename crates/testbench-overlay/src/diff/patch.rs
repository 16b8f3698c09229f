//! [`Diff::patch`]: the patch for `git apply`.

use std::collections::BTreeMap;

use super::blocks::{Block, GitFile, Pieces, pieces};
use super::git::{NO_BLOB, binary_literal, blob_id, sha256};
use super::model::Diff;
use super::quote::quoted;
use super::text::{Hunk, TextDiff, is_binary};

impl Diff {
    /// Returns the patch for `git apply`; nothing for an empty diff.
    ///
    /// Applied to a copy of the old tree it gives the new one, and with `-R` the other way round,
    /// as far as git can see: paths, contents, executable bits and link targets. Everything else stands
    /// in lines that start with `# `, which git ignores: directories, other mode bits, times, hard
    /// links, and entries in a `.git` directory (the lines of their patch, each behind `# `).
    ///
    /// The blocks are in the order of their paths. Only a new file at a path from which another moved
    /// away comes last, because git needs it so.
    ///
    /// Properties of `git apply`: it refuses an empty patch, and one of `# ` lines only, without
    /// `--allow-empty`. It removes directories that become empty. It cannot put a file where
    /// empty directories are nested. It puts nothing below the name of a symlink that leads back to itself
    /// or to another symlink: `git apply -R` ends with "Too many levels of symbolic links", before any
    /// change, where a directory with files has become such a symlink. In a subdirectory
    /// of a repository it silently skips the files: set `GIT_CEILING_DIRECTORIES` to the directory
    /// above the tree.
    pub fn patch(&self) -> Vec<u8> {
        let all: Vec<Pieces<'_>> =
            self.all().into_iter().map(|(entry, carried)| pieces(entry, carried)).collect();
        let mut out = Vec::new();
        for pieces in in_git_order(&all) {
            for note in &pieces.notes {
                line(&mut out, &format!("# {note}"));
            }
            for block in &pieces.blocks {
                if block.is_refused() {
                    let mut commented = Vec::new();
                    write_block(block, &mut commented);
                    for line in commented.split_inclusive(|byte| *byte == b'\n') {
                        out.extend_from_slice(b"# ");
                        out.extend_from_slice(line);
                    }
                } else {
                    write_block(block, &mut out);
                }
            }
        }
        out
    }
}

/// Sorts by path, except where git needs another order.
///
/// git reads the old side of a rename from the old tree, but the old side of anything else from
/// what the blocks before made of its path, and `-R` goes through the blocks backwards. So at one
/// path a deletion stands before what moves there, and an addition behind what moves away.
fn in_git_order<'a, 'b>(all: &'b [Pieces<'a>]) -> impl Iterator<Item = &'b Pieces<'a>> {
    let mut left: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut entered: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (n, pieces) in all.iter().enumerate() {
        for block in pieces.blocks.iter().filter(|block| !block.is_refused()) {
            block.old.map(|old| left.insert(old.path, n));
            block.new.map(|new| entered.insert(new.path, n));
        }
    }
    let turn = |(n, pieces): &(usize, &Pieces<'a>)| {
        let mut turn = 1;
        for block in pieces.blocks.iter().filter(|block| !block.is_refused()) {
            match (block.old, block.new) {
                (Some(old), None) if entered.get(old.path).is_some_and(|other| other < n) => {
                    turn = 0
                }
                (None, Some(new)) if left.get(new.path).is_some_and(|other| other > n) => turn = 2,
                _ => {}
            }
        }
        turn
    };
    let mut ordered: Vec<_> = all.iter().enumerate().collect();
    ordered.sort_by_key(turn);
    ordered.into_iter().map(|(_, pieces)| pieces)
}

fn write_block(block: &Block<'_>, out: &mut Vec<u8>) {
    write_header(block, out);
    write_redundant_modes(block, out);
    let Some((old, new)) = block.contents() else { return };
    write_index(block, old, new, out);
    if is_binary(old) || is_binary(new) {
        line(out, "GIT binary patch");
        binary_literal(new, out);
        binary_literal(old, out);
        // The blank line above must not be the last one: text ends with one line feed. And a
        // reader who cannot decode base 85 sees what it is.
        for (which, file, content) in [("old", block.old, old), ("new", block.new, new)] {
            if file.is_some() {
                line(out, &format!("# {which} {}", digest("binary", content)));
            }
        }
    } else {
        // git ends a name that contains a space with a tab, so that the part behind the space is
        // not taken for a date.
        write_hunks(block, &TextDiff::new(old, new), "\t", out);
    }
}

/// The lines from `diff --git` on that say what happens to the file as such.
pub(super) fn write_header(block: &Block<'_>, out: &mut Vec<u8>) {
    let Some(first) = block.old.or(block.new) else { return };
    let second = block.new.unwrap_or(first);
    let (a, b) = (quoted("a/", first.path), quoted("b/", second.path));
    line(out, &format!("diff --git {a} {b}"));
    match (block.old, block.new) {
        (Some(old), None) => line(out, &format!("deleted file mode {}", old.mode)),
        (None, Some(new)) => line(out, &format!("new file mode {}", new.mode)),
        (Some(old), Some(new)) if old.mode != new.mode => {
            line(out, &format!("old mode {}\nnew mode {}", old.mode, new.mode));
        }
        _ => {}
    }
    if block.is_rename() {
        if block.contents().is_none() {
            line(out, "similarity index 100%");
        }
        let (from, to) = (quoted("", first.path), quoted("", second.path));
        line(out, &format!("rename from {from}\nrename to {to}"));
    }
}

/// The file names and the hunks; nothing if no line differs.
///
/// `behind_space` ends a name that contains a space.
pub(super) fn write_hunks(
    block: &Block<'_>,
    text: &TextDiff<'_>,
    behind_space: &str,
    out: &mut Vec<u8>,
) {
    let label = |prefix: &str, file: Option<GitFile<'_>>| {
        let name = file.map_or("/dev/null".to_owned(), |file| quoted(prefix, file.path));
        let end = if name.contains(' ') { behind_space } else { "" };
        name + end
    };
    for (n, (hunk, lines)) in text.hunks().enumerate() {
        if n == 0 {
            let (old, new) = (label("a/", block.old), label("b/", block.new));
            line(out, &format!("--- {old}\n+++ {new}"));
        }
        let Hunk { old_start, old_lines, new_start, new_lines, .. } = hunk;
        line(out, &format!("@@ -{old_start},{old_lines} +{new_start},{new_lines} @@"));
        for (mark, content) in lines {
            out.push(mark as u8);
            out.extend_from_slice(content);
            if !content.ends_with(b"\n") {
                line(out, "\n\\ No newline at end of file");
            }
        }
    }
}

/// Length and hash of a content that is not shown.
pub(super) fn digest(what: &str, content: &[u8]) -> String {
    let bytes = content.len();
    let unit = if bytes == 1 { "byte" } else { "bytes" };
    format!("{what}, {bytes} {unit}, sha256 {}", sha256(content))
}

pub(super) fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Modes that the header has said or that did not change, where git (2.47 for one) needs them.
fn write_redundant_modes(block: &Block<'_>, out: &mut Vec<u8>) {
    match (block.old, block.new) {
        // `git apply -R` swaps old and new mode only if there is a new one; without it, it restores
        // everything as an ordinary file.
        (Some(old), None) if old.mode != "100644" => line(out, &format!("new mode {}", old.mode)),
        // That a symlink makes way, so that files may be put below its name, git takes from the
        // mode; in other blocks the index line has it.
        (Some(old), Some(_)) if block.is_rename() && old.mode == "120000" => {
            line(out, &format!("old mode {0}\nnew mode {0}", old.mode));
        }
        _ => {}
    }
}

fn write_index(block: &Block<'_>, old: &[u8], new: &[u8], out: &mut Vec<u8>) {
    let old_id = block.old.map_or(NO_BLOB.to_owned(), |_| blob_id(old));
    let new_id = block.new.map_or(NO_BLOB.to_owned(), |_| blob_id(new));
    match (block.old, block.new) {
        (Some(file), Some(new)) if file.mode == new.mode => {
            line(out, &format!("index {old_id}..{new_id} {}", file.mode));
        }
        _ => line(out, &format!("index {old_id}..{new_id}")),
    }
}
