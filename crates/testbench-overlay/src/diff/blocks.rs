//! Which of git's file blocks and `# ` lines an entry becomes.

use super::change::{Content, Side};
use super::git::{git_keeps_mode, git_mode, git_refuses};
use super::model::{Entry, Op, name, same};
use super::quote::word;
use crate::FileKind;

/// One entry in a patch.
pub(super) struct Pieces<'a> {
    /// The facts that git cannot express, without the `# `.
    pub(super) notes: Vec<String>,
    pub(super) blocks: Vec<Block<'a>>,
}

/// One `diff --git`: at least one side, and of the same kind if both are there.
pub(super) struct Block<'a> {
    pub(super) old: Option<GitFile<'a>>,
    pub(super) new: Option<GitFile<'a>>,
}

/// A file or symlink as git sees it.
#[derive(Clone, Copy)]
pub(super) struct GitFile<'a> {
    pub(super) path: &'a [u8],
    pub(super) mode: &'static str,
    side: &'a Side,
}

/// The blocks of an entry for a reader that accepts any path.
pub(super) fn blocks(entry: &Entry) -> Vec<Block<'_>> {
    let (old, new) = git_files(entry);
    split(old, new, old.zip(new).is_some_and(|(old, new)| old.side.kind != new.side.kind)).0
}

/// The pieces of an entry in a patch; `carried` if it only moved along with a directory.
pub(super) fn pieces(entry: &Entry, carried: bool) -> Pieces<'_> {
    let (old, new) = git_files(entry);
    let is_split = old.zip(new).is_some_and(|(old, new)| !old.goes_with(new));
    let (blocks, complete) = split(old, new, is_split);
    let notes = match (entry.before(), entry.after()) {
        // Two blocks, or a block and a remark, tell nothing of each other's side.
        (Some(old), Some(new)) if is_split || old.kind != new.kind => {
            let op = if entry.op == Op::Link { Op::Link } else { Op::Add };
            let removed = note(Op::Delete, entry, [Some(old), None], complete);
            removed.into_iter().chain(note(op, entry, [None, Some(new)], complete)).collect()
        }
        _ if carried && complete => Vec::new(),
        (old, new) => note(entry.op, entry, [old, new], complete).into_iter().collect(),
    };
    Pieces { notes, blocks }
}

impl<'a> Block<'a> {
    /// Whether git would refuse it.
    pub(super) fn is_refused(&self) -> bool {
        [self.old, self.new].into_iter().flatten().any(GitFile::is_refused)
    }

    pub(super) fn is_rename(&self) -> bool {
        self.old.zip(self.new).is_some_and(|(old, new)| old.path != new.path)
    }

    /// Old and new content, empty for a side that is not there; `None` if they are the same.
    pub(super) fn contents(&self) -> Option<(&'a [u8], &'a [u8])> {
        let bytes = |file: Option<GitFile<'a>>| file.map_or(Some(&[][..]), |f| f.side.bytes());
        match (self.old, self.new) {
            (Some(old), Some(new)) if same(&old.side.content, &new.side.content) => None,
            (old, new) => bytes(old).zip(bytes(new)),
        }
    }

    /// Whether the contents are known, where a patch needs them.
    fn is_known(&self) -> bool {
        let is_read = |file: GitFile<'_>| file.side.content != Content::Unread;
        self.old.xor(self.new).is_none_or(is_read)
    }

    fn says_something(&self) -> bool {
        let same_mode = self.old.map(|file| file.mode) == self.new.map(|file| file.mode);
        let is_there = self.old.or(self.new).is_some();
        is_there && (!same_mode || self.is_rename() || self.contents().is_some())
    }
}

impl<'a> GitFile<'a> {
    /// `None` if git does not store such a thing: directories, devices, a symlink to nowhere.
    fn new(path: &'a [u8], side: &'a Side) -> Option<GitFile<'a>> {
        let nowhere = side.kind == FileKind::Symlink && side.bytes().is_some_and(<[u8]>::is_empty);
        let mode = git_mode(side.kind, side.mode)?;
        (!nowhere).then_some(GitFile { path, mode, side })
    }

    fn is_refused(self) -> bool {
        git_refuses(self.path, self.side.kind)
    }

    fn goes_with(self, new: GitFile<'_>) -> bool {
        self.side.kind == new.side.kind && self.is_refused() == new.is_refused()
    }
}

fn git_files(entry: &Entry) -> (Option<GitFile<'_>>, Option<GitFile<'_>>) {
    let old = entry.before().and_then(|side| GitFile::new(entry.old_path(), side));
    let new = entry.after().and_then(|side| GitFile::new(entry.path(), side));
    (old, new)
}

/// The blocks that say something, and whether all that they need is known.
fn split<'a>(
    old: Option<GitFile<'a>>,
    new: Option<GitFile<'a>>,
    is_split: bool,
) -> (Vec<Block<'a>>, bool) {
    let mut blocks = match is_split {
        true => vec![Block { old, new: None }, Block { old: None, new }],
        false => vec![Block { old, new }],
    };
    let complete = blocks.iter().all(Block::is_known);
    blocks.retain(|block| block.is_known() && block.says_something());
    (blocks, complete)
}

/// `OP KIND PATH[ -> PATH][ mode MODE[ -> MODE]][ mtime NS[ -> NS]][ unread]`, or nothing if git
/// says it all.
fn note(op: Op, entry: &Entry, sides: [Option<&Side>; 2], complete: bool) -> Option<String> {
    let there = || sides.into_iter().flatten();
    let mut facts = String::new();
    if !there().all(|side| git_keeps_mode(side.kind, side.mode)) {
        facts += &fact("mode", sides, |side| format!("{:04o}", side.mode));
    }
    if there().any(|side| side.mtime_ns.is_some()) {
        let mtime = |side: &Side| side.mtime_ns.map_or("-".to_owned(), |ns| ns.to_string());
        facts += &fact("mtime", sides, mtime);
    }
    if !complete {
        facts += " unread";
    }
    let is_stored = there().all(|side| GitFile::new(b"", side).is_some());
    if op != Op::Link && is_stored && facts.is_empty() {
        return None;
    }
    let path = if sides[1].is_some() { entry.path() } else { entry.old_path() };
    let paths = paths(op, entry, path, word);
    let kind = name(there().last()?.kind);
    Some(format!("{} {kind} {paths}{facts}", name(op)))
}

/// Returns nothing for a fact that is the same on both sides.
fn fact(what: &str, sides: [Option<&Side>; 2], of: impl Fn(&Side) -> String) -> String {
    match sides.map(|side| side.map(&of)) {
        [Some(old), Some(new)] if old == new => String::new(),
        [Some(old), Some(new)] => format!(" {what} {old} -> {new}"),
        [old, new] => old.or(new).map_or_else(String::new, |one| format!(" {what} {one}")),
    }
}

/// The path, with the one from which the file moved, or of which it is a further name.
pub(super) fn paths(op: Op, entry: &Entry, path: &[u8], show: impl Fn(&[u8]) -> String) -> String {
    let path = show(path);
    match (op, entry.moved_from(), entry.link_to()) {
        (Op::Rename, Some(from), _) => format!("{} -> {path}", show(from)),
        (Op::Link, _, Some(to)) => format!("{path} -> {}", show(to)),
        _ => path,
    }
}
