//! [`Diff::from_changes`]: brings changes into the one normal form.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
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
        pair_by_content(self)
    }
}

fn form(changes: Vec<Change>) -> Diff {
    let mut changes: Vec<Change> = changes.into_iter().flat_map(well_formed).collect();
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    one_move_each(&mut changes);
    let vacated: BTreeSet<Path> = changes.iter().filter_map(moved_from).cloned().collect();
    for change in &mut changes {
        if moved_from(change).is_none() && vacated.contains(&change.path) {
            change.before = None;
        }
    }
    let changes = merge_removals(changes);
    let moved_dirs: BTreeMap<Path, Path> = changes
        .iter()
        .filter(|change| change.after.as_ref().is_some_and(|side| side.kind == FileKind::Dir))
        .filter_map(|change| Some((change.path.clone(), moved_from(change)?.clone())))
        .collect();
    settled(changes.into_iter().map(|change| {
        let explained = is_explained(&change, &moved_dirs);
        entry(change, explained)
    }))
}

/// Compares the sides of each entry, drops contents that are equal, corrects the operations
/// accordingly, leaves out entries without a difference, and sorts.
pub(super) fn settled(entries: impl Iterator<Item = Entry>) -> Diff {
    let mut diff = Diff::default();
    for mut entry in entries {
        if entry.keeps_content() {
            drop_content(&mut entry);
        }
        match settled_op(&entry) {
            Some((op, false)) => diff.entries.push(Entry { op, ..entry }),
            Some((op, true)) => diff.carried.push(Entry { op, ..entry }),
            None => {}
        }
    }
    diff.entries.sort_by(|a, b| a.key().cmp(&b.key()));
    diff.carried.sort_by(|a, b| a.key().cmp(&b.key()));
    diff
}

/// Returns the operation of an entry, and whether it only moved along with a directory; `None` if
/// nothing differs.
fn settled_op(entry: &Entry) -> Option<(Op, bool)> {
    match (&entry.old, &entry.new) {
        (None, None) => None,
        (Some(old), Some(new)) if matches!(entry.op, Op::Modify | Op::Meta) => {
            if !same(&old.content, &new.content) {
                Some((Op::Modify, false))
            } else if (old.mode, old.mtime_ns) != (new.mode, new.mtime_ns) {
                Some((Op::Meta, false))
            } else {
                entry.other.is_some().then_some((Op::Rename, true))
            }
        }
        _ => Some((entry.op, false)),
    }
}

fn pair_by_content(diff: Diff) -> Diff {
    let mut entries: Vec<Option<Entry>> = diff.entries.into_iter().map(Some).collect();
    let mut moved = Vec::new();
    for same_name_only in [true, false] {
        // The removed files of each kind and content, the first in order last.
        let mut removed: BTreeMap<ContentKey, Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate().rev() {
            if let Some(key) = content_key(entry, Op::Delete, same_name_only) {
                removed.entry(key).or_default().push(index);
            }
        }
        for index in 0..entries.len() {
            let Some(key) = content_key(&entries[index], Op::Add, same_name_only) else { continue };
            let Some(source) = removed.get_mut(&key).and_then(Vec::pop) else { continue };
            if let (Some(mut new), Some(old)) = (entries[index].take(), entries[source].take()) {
                new.op = Op::Rename;
                new.other = Some(old.path);
                new.old = old.old;
                moved.push(new);
            }
        }
    }
    let all = entries.into_iter().flatten().chain(moved).chain(diff.carried);
    form(all.map(Entry::into_change).collect())
}

/// The parts that are equal in both entries of a rename: kind, name if it counts, content.
type ContentKey = (FileKind, Path, Arc<[u8]>);

fn content_key(entry: &Option<Entry>, op: Op, with_name: bool) -> Option<ContentKey> {
    let entry = entry.as_ref().filter(|entry| entry.op == op)?;
    let side = entry.new.as_ref().or(entry.old.as_ref())?;
    let Content::Bytes(bytes) = &side.content else { return None };
    let name = entry.path.rsplit(|byte| *byte == b'/').next().filter(|_| with_name);
    (!bytes.is_empty()).then(|| (side.kind, name.unwrap_or_default().into(), Arc::clone(bytes)))
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
    let from = match mem::replace(&mut change.origin, Origin::InPlace) {
        Origin::RenamedFrom(from) if from != change.path => from,
        Origin::LinkTo(to) if to != change.path && change.after.is_some() => {
            change.origin = Origin::LinkTo(to);
            return vec![change];
        }
        _ => return vec![change],
    };
    match (change.before.take(), change.after.take()) {
        (None, None) => Vec::new(),
        (Some(before), None) => vec![Change::removed(from, before)],
        (Some(before), Some(after)) if before.kind != after.kind => {
            vec![Change::removed(from, before), Change::added(change.path, after)]
        }
        (before, Some(after)) => {
            let before = before.unwrap_or_else(|| unread(&after));
            vec![Change::renamed(from, change.path, before, after)]
        }
    }
}

/// Of several moves of one file the first stands, the others become links to it.
fn one_move_each(changes: &mut [Change]) {
    let mut first: BTreeMap<Path, (Path, Option<Side>)> = BTreeMap::new();
    for change in changes {
        let Some(from) = moved_from(change) else { continue };
        let Some((path, side)) = first.get(from) else {
            first.insert(from.clone(), (change.path.clone(), change.after.clone()));
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

/// A removal and an addition of one path are one change.
fn merge_removals(changes: Vec<Change>) -> Vec<Change> {
    let mut removed: BTreeMap<Path, Side> = BTreeMap::new();
    let mut rest = Vec::with_capacity(changes.len());
    for mut change in changes {
        match (change.before.take(), &change.after) {
            (Some(before), None) => drop(removed.insert(change.path, before)),
            (before, _) => {
                change.before = before;
                rest.push(change);
            }
        }
    }
    for change in &mut rest {
        if change.before.is_none() && moved_from(change).is_none() {
            change.before = removed.remove(&change.path);
        }
    }
    rest.extend(removed.into_iter().map(|(path, side)| Change::removed(path, side)));
    rest
}

/// Whether the nearest directory above that moved took this along.
fn is_explained(change: &Change, moved_dirs: &BTreeMap<Path, Path>) -> bool {
    let Some(from) = moved_from(change) else { return false };
    let above = change.path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    for (slash, _) in above {
        if let Some(dir_from) = moved_dirs.get(&change.path[..slash]) {
            return from.strip_prefix(&**dir_from) == Some(&change.path[slash..]);
        }
    }
    false
}

fn entry(change: Change, explained: bool) -> Entry {
    let Change { path, before: old, after: new, origin } = change;
    let (op, other) = match (origin, &old, &new) {
        (Origin::LinkTo(to), _, Some(_)) => (Op::Link, Some(to)),
        (Origin::RenamedFrom(from), ..) if explained => (Op::Modify, Some(from)),
        (Origin::RenamedFrom(from), ..) => (Op::Rename, Some(from)),
        (_, None, _) => (Op::Add, None),
        (_, _, None) => (Op::Delete, None),
        (_, Some(old), Some(new)) if old.kind != new.kind => (Op::Retype, None),
        _ => (Op::Modify, None),
    };
    Entry { path, op, other, old, new }
}

/// Equal contents need not be kept, except where the patch has to delete one and add the other.
fn drop_content(entry: &mut Entry) {
    let needed = Change::rename_needs_content(entry.old_path(), &entry.path, entry.kind());
    if needed || entry.op == Op::Link || matches!(entry.kind(), FileKind::Dir | FileKind::Special) {
        return;
    }
    for side in [&mut entry.old, &mut entry.new].into_iter().flatten() {
        side.content = Content::Unread;
    }
}

fn moved_from(change: &Change) -> Option<&Path> {
    match &change.origin {
        Origin::RenamedFrom(from) => Some(from),
        _ => None,
    }
}

fn unread(side: &Side) -> Side {
    Side { content: Content::Unread, ..side.clone() }
}
