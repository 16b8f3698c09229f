//! [`Diff::stat`]: counts.

use std::fmt;

use super::blocks::blocks;
use super::model::{Diff, Op};
use super::text::{TextDiff, is_binary};

/// How much changed, see [`Diff::stat`].
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Side};
///
/// let diff = Diff::from_changes([
///     Change::changed("a", Side::file(0o644, *b"1\n"), Side::file(0o644, *b"2\n3\n")),
///     Change::removed("b", Side::dir(0o755)),
/// ]);
/// let stat = diff.stat();
/// assert_eq!((stat.modified, stat.deleted, stat.insertions, stat.deletions), (1, 1, 2, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffStat {
    /// Entries that are new.
    pub added: usize,
    /// Entries that are gone.
    pub deleted: usize,
    /// Entries whose content, mode, times or kind changed.
    pub modified: usize,
    /// Entries that are one more name of a file: hard links. Their lines are counted where they
    /// link to.
    pub linked: usize,
    /// Entries that moved, changed or not.
    pub renamed: usize,
    /// Lines added to text files.
    pub insertions: usize,
    /// Lines removed from text files.
    pub deletions: usize,
}

impl Diff {
    /// Counts the entries of each kind, and the lines that were added and removed.
    pub fn stat(&self) -> DiffStat {
        let mut stat = DiffStat::default();
        for entry in &self.entries {
            *match entry.op {
                Op::Add => &mut stat.added,
                Op::Delete => &mut stat.deleted,
                Op::Rename => &mut stat.renamed,
                Op::Link => &mut stat.linked,
                Op::Modify | Op::Retype | Op::Meta => &mut stat.modified,
            } += 1;
            for block in blocks(entry).iter().filter(|_| entry.op != Op::Link) {
                let Some((old, new)) = block.contents() else { continue };
                if !is_binary(old) && !is_binary(new) {
                    let text = TextDiff::new(old, new);
                    stat.insertions += text.insertions();
                    stat.deletions += text.deletions();
                }
            }
        }
        stat
    }
}

impl DiffStat {
    /// Returns the number of entries of the diff.
    pub fn entries(&self) -> usize {
        self.added + self.deleted + self.modified + self.linked + self.renamed
    }
}

/// On one line, such as `2 added, 1 deleted, 0 modified, 0 renamed; +12 -3 lines`; hard links, which
/// are rare, stand there if there are any: `0 renamed, 1 linked;`.
impl fmt::Display for DiffStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DiffStat { added, deleted, modified, linked, renamed, insertions, deletions } = self;
        write!(f, "{added} added, {deleted} deleted, {modified} modified, {renamed} renamed")?;
        if *linked > 0 {
            write!(f, ", {linked} linked")?;
        }
        write!(f, "; +{insertions} -{deletions} lines")
    }
}
