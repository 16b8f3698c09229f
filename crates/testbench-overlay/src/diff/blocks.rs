//! Which of git's file blocks and `# ` lines an entry becomes.

use super::change::{Content, Side};
use super::git::{git_keeps_mode, git_mode, git_refuses};
use super::model::{Entry, Op, same};
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
    let is_one = old.zip(new).is_some_and(|(old, new)| old.side.kind == new.side.kind);
    let mut blocks = split(old, new, !is_one);
    blocks.retain(|block| block.is_known() && block.says_something());
    blocks
}

/// The pieces of an entry in a patch; `carried` if it only moved along with a directory.
pub(super) fn pieces(entry: &Entry, carried: bool) -> Pieces<'_> {
    let (old, new) = git_files(entry);
    let is_split = old.zip(new).is_some_and(|(old, new)| !old.goes_with(new));
    let mut blocks = split(old, new, is_split);
    let complete = blocks.iter().all(Block::is_known);
    blocks.retain(|block| block.is_known() && block.says_something());
    let other = entry.other.as_deref();
    let notes = match (&entry.old, &entry.new) {
        // Two blocks, or a block and a remark, tell nothing of each other's side.
        (Some(old), Some(new)) if is_split || old.kind != new.kind => {
            let op = if entry.op == Op::Link { Op::Link } else { Op::Add };
            let removed = note(Op::Delete, entry.old_path(), None, Some(old), None, complete);
            let added = note(op, &entry.path, other, None, Some(new), complete);
            removed.into_iter().chain(added).collect()
        }
        _ if carried && complete => Vec::new(),
        (old, new) => {
            let (old, new) = (old.as_ref(), new.as_ref());
            note(entry.op, &entry.path, other, old, new, complete).into_iter().collect()
        }
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
        !same_mode || self.is_rename() || self.contents().is_some()
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
    let old = entry.old.as_ref().and_then(|side| GitFile::new(entry.old_path(), side));
    let new = entry.new.as_ref().and_then(|side| GitFile::new(&entry.path, side));
    (old, new)
}

fn split<'a>(old: Option<GitFile<'a>>, new: Option<GitFile<'a>>, is_split: bool) -> Vec<Block<'a>> {
    match (old, new) {
        (None, None) => Vec::new(),
        (Some(_), Some(_)) if is_split => vec![Block { old, new: None }, Block { old: None, new }],
        _ => vec![Block { old, new }],
    }
}

/// `OP KIND PATH[ -> PATH][ mode MODE[ -> MODE]][ mtime NS[ -> NS]][ unread]`, or nothing if git
/// says it all.
fn note(
    op: Op,
    path: &[u8],
    other: Option<&[u8]>,
    old: Option<&Side>,
    new: Option<&Side>,
    complete: bool,
) -> Option<String> {
    let sides = [old, new];
    let kind = sides.into_iter().flatten().last()?.kind;
    let mode = |side: &Side| format!("{:04o}", side.mode);
    let mtime = |side: &Side| side.mtime_ns.map_or("-".to_owned(), |ns| ns.to_string());
    let stored = |side: &Side| GitFile::new(b"", side).is_some();

    let mut facts = String::new();
    if !sides.into_iter().flatten().all(|side| git_keeps_mode(side.kind, side.mode)) {
        facts += &fact("mode", old.map(mode), new.map(mode));
    }
    if sides.into_iter().flatten().any(|side| side.mtime_ns.is_some()) {
        facts += &fact("mtime", old.map(mtime), new.map(mtime));
    }
    if !complete {
        facts += " unread";
    }
    let in_git = op != Op::Link && sides.into_iter().flatten().all(stored);
    if in_git && facts.is_empty() {
        return None;
    }
    let path = word(path);
    let paths = match (op, other) {
        (Op::Rename, Some(from)) => format!("{} -> {path}", word(from)),
        (Op::Link, Some(to)) => format!("{path} -> {}", word(to)),
        _ => path,
    };
    Some(format!("{} {} {paths}{facts}", op.names().0, kind_name(kind)))
}

/// Returns nothing for a fact that is the same on both sides.
fn fact(name: &str, old: Option<String>, new: Option<String>) -> String {
    match (old, new) {
        (Some(old), Some(new)) if old == new => String::new(),
        (Some(old), Some(new)) => format!(" {name} {old} -> {new}"),
        (old, new) => old.or(new).map_or_else(String::new, |one| format!(" {name} {one}")),
    }
}

/// As in the JSON and in `# ` lines.
pub(super) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Dir => "dir",
        FileKind::Symlink => "symlink",
        FileKind::Special => "special",
    }
}
