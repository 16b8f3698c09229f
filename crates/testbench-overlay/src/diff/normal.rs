//! [`Diff::from_changes`]: brings changes into the one normal form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::{Change, Content, Origin, Side};
use super::model::{Diff, Entry, Op, same};
use crate::FileKind;

type Path = Box<[u8]>;

impl Diff {
    /// Brings changes, in any order, into the normal form.
    ///
    /// A change without a difference is dropped, and so is a path without either side. A removal and an
    /// addition of one path become one entry. The removal of a path from which a file moved away is
    /// part of the rename. A second move of one file becomes a link to the first. A move that changes the
    /// kind becomes a removal and an addition.
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
        form(changes.into_iter().collect())
    }

    /// Takes a removed and an added file of equal content, not empty, for a rename.
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
        let all = self.entries.into_iter().chain(self.carried);
        let mut changes: Vec<Option<Change>> = all.map(|entry| Some(entry.change)).collect();
        for same_name_only in [true, false] {
            // The removed files of each kind and content, the first in order last.
            let mut removed: BTreeMap<ContentKey, Vec<usize>> = BTreeMap::new();
            for (index, change) in changes.iter().enumerate().rev() {
                if let Some((key, false)) = content_key(change, same_name_only) {
                    removed.entry(key).or_default().push(index);
                }
            }
            for index in 0..changes.len() {
                let Some((key, true)) = content_key(&changes[index], same_name_only) else {
                    continue;
                };
                let Some(source) = removed.get_mut(&key).and_then(Vec::pop) else { continue };
                let old = changes[source].take();
                if let (Some(new), Some(old)) = (&mut changes[index], old) {
                    new.before = old.before;
                    new.origin = Origin::RenamedFrom(old.path);
                }
            }
        }
        form(changes.into_iter().flatten().collect())
    }
}

fn form(changes: Vec<Change>) -> Diff {
    let mut changes: Vec<Change> = changes.into_iter().flat_map(well_formed).collect();
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    one_move_each(&mut changes);
    let changes = merge_removals(changes);
    let moved_dirs: BTreeMap<Path, Path> = changes
        .iter()
        .filter(|change| change.after.as_ref().is_some_and(|side| side.kind == FileKind::Dir))
        .filter_map(|change| Some((change.path.clone(), change.moved_from()?.into())))
        .collect();
    settled(changes.into_iter().map(|change| {
        let op = op(&change, &moved_dirs);
        Entry { change, op }
    }))
}

/// Compares the sides of each entry, drops contents that are equal, corrects the operations
/// accordingly, leaves out entries without a difference, and sorts.
pub(super) fn settled(entries: impl Iterator<Item = Entry>) -> Diff {
    let mut diff = Diff::default();
    for mut entry in entries {
        let mut list = &mut diff.entries;
        if let (Some(old), Some(new), Op::Modify | Op::Meta) =
            (entry.before(), entry.after(), entry.op)
        {
            if !same(&old.content, &new.content) {
                entry.op = Op::Modify;
            } else if (old.mode, old.mtime_ns) != (new.mode, new.mtime_ns) {
                entry.op = Op::Meta;
            } else if entry.moved_from().is_some() {
                entry.op = Op::Rename;
                list = &mut diff.carried;
            } else {
                continue;
            }
        }
        if entry.sides().next().is_some() {
            drop_content(&mut entry);
            list.push(entry);
        }
    }
    diff.entries.sort_by(|a, b| a.key().cmp(&b.key()));
    diff.carried.sort_by(|a, b| a.key().cmp(&b.key()));
    diff
}

/// The parts that are equal in both sides of a rename: kind, name if it counts, content.
type ContentKey = (FileKind, Path, Arc<[u8]>);

/// The key of a file that was removed or added, and whether it was added.
fn content_key(change: &Option<Change>, with_name: bool) -> Option<(ContentKey, bool)> {
    let change = change.as_ref().filter(|change| change.origin == Origin::InPlace)?;
    let (side, is_new) = match (&change.before, &change.after) {
        (Some(old), None) => (old, false),
        (None, Some(new)) => (new, true),
        _ => return None,
    };
    let Content::Bytes(bytes) = &side.content else { return None };
    let name = change.path.rsplit(|byte| *byte == b'/').next().filter(|_| with_name);
    let key = (side.kind, name.unwrap_or_default().into(), Arc::clone(bytes));
    (!bytes.is_empty()).then_some((key, is_new))
}

/// Without bits that do not matter and origins that say nothing, and with both sides of a rename of
/// one kind.
fn well_formed(mut change: Change) -> Vec<Change> {
    for side in [&mut change.before, &mut change.after].into_iter().flatten() {
        side.mode = if side.kind == FileKind::Symlink { 0o777 } else { side.mode & 0o7777 };
        if matches!(side.kind, FileKind::Dir | FileKind::Special) {
            side.content = Content::Bytes(Default::default());
        }
    }
    let says_nothing = match &change.origin {
        Origin::InPlace => true,
        Origin::RenamedFrom(from) => *from == change.path,
        Origin::LinkTo(to) => *to == change.path || change.after.is_none(),
    };
    if says_nothing {
        change.origin = Origin::InPlace;
    }
    let Some(from) = change.moved_from().map(Path::from) else { return vec![change] };
    match (change.before.take(), change.after.take()) {
        (None, None) => Vec::new(),
        (Some(before), None) => vec![Change::removed(from, before)],
        (Some(before), Some(after)) if before.kind != after.kind => {
            vec![Change::removed(from, before), Change::added(change.path, after)]
        }
        (before, Some(after)) => {
            let unread = || Side { content: Content::Unread, ..after.clone() };
            vec![Change::renamed(from, change.path, before.unwrap_or_else(unread), after)]
        }
    }
}

/// Of several moves of one file the first stands, the others become links to it.
fn one_move_each(changes: &mut [Change]) {
    let mut first: BTreeMap<Path, (Path, Option<Side>)> = BTreeMap::new();
    for change in changes {
        let Some(from) = change.moved_from() else { continue };
        let Some((path, side)) = first.get(from) else {
            first.insert(from.into(), (change.path.clone(), change.after.clone()));
            continue;
        };
        let is_dir = change.after.as_ref().is_some_and(|side| side.kind == FileKind::Dir);
        change.origin = if is_dir { Origin::InPlace } else { Origin::LinkTo(path.clone()) };
        change.before = None;
        if let (Some(after), Some(side)) = (&mut change.after, side)
            && after.content == Content::Unread
        {
            after.content = side.content.clone();
        }
    }
}

/// A removal and an addition of one path are one change. The removal of a path from which a file
/// moved away is a part of the move.
fn merge_removals(changes: Vec<Change>) -> Vec<Change> {
    let vacated: BTreeSet<Path> =
        changes.iter().filter_map(Change::moved_from).map(Path::from).collect();
    let (gone, mut rest): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| change.after.is_none());
    let removed = gone.into_iter().filter_map(|change| Some((change.path, change.before?)));
    let mut removed: BTreeMap<Path, Side> = removed.collect();
    removed.retain(|path, _| !vacated.contains(path));
    for change in rest.iter_mut().filter(|change| change.moved_from().is_none()) {
        change.before = match change.before.take() {
            _ if vacated.contains(&change.path) => None,
            None => removed.remove(&change.path),
            before => before,
        };
    }
    rest.extend(removed.into_iter().map(|(path, side)| Change::removed(path, side)));
    rest
}

/// Returns the operation that the sides and the origin are. A move is none where the nearest
/// directory above that moved took this along.
fn op(change: &Change, moved_dirs: &BTreeMap<Path, Path>) -> Op {
    match (&change.origin, &change.before, &change.after) {
        (Origin::LinkTo(_), ..) => Op::Link,
        (Origin::RenamedFrom(from), ..) if !is_explained(from, &change.path, moved_dirs) => {
            Op::Rename
        }
        (_, None, _) => Op::Add,
        (_, _, None) => Op::Delete,
        (_, Some(old), Some(new)) if old.kind != new.kind => Op::Retype,
        _ => Op::Modify,
    }
}

fn is_explained(from: &[u8], path: &[u8], moved_dirs: &BTreeMap<Path, Path>) -> bool {
    let above = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    for (slash, _) in above {
        if let Some(dir_from) = moved_dirs.get(&path[..slash]) {
            return from.strip_prefix(&**dir_from) == Some(&path[slash..]);
        }
    }
    false
}

/// Equal contents need not be kept, except where the patch has to delete one and add the other.
fn drop_content(entry: &mut Entry) {
    let needed = Change::rename_needs_content(entry.old_path(), entry.path(), entry.kind());
    let has_none = matches!(entry.kind(), FileKind::Dir | FileKind::Special);
    if needed || has_none || entry.op == Op::Link || !entry.keeps_content() {
        return;
    }
    for side in [&mut entry.change.before, &mut entry.change.after].into_iter().flatten() {
        side.content = Content::Unread;
    }
}
