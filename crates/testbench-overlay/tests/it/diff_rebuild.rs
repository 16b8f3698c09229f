//! Readers that are not ours get the new tree from the old one and a rendering: `diffy` reads the
//! blocks of the patch, the few lines below its remarks, so that not even empty directories, odd
//! modes and hard links are lost; and the hunks of the JSON give the new text.
#![allow(clippy::print_stdout, reason = "the table is for the reader of the log")]

use std::collections::{BTreeMap, BTreeSet};

use crate::diff_support::{
    Item, Listing, Path, Rng, Tree, cases, changes, differences, random_change, random_tree,
};
use diffy::patch_set::{FileMode, FileOperation, ParseOptions, PatchKind, PatchSet};
use testbench_overlay::GuestPath;
use testbench_overlay::diff::{Diff, Document, Hunk, Op};

#[test]
fn the_whole_new_tree_comes_out_of_the_patch() {
    let mut remarks: BTreeMap<String, usize> = BTreeMap::new();
    each_case(500, |seed, lower, upper| {
        let patch = Diff::from_changes(changes(lower, upper)).patch();
        let old = lower.listing();
        let rebuilt = Rebuild::new(&old, &patch, &mut remarks);
        check(seed, &rebuilt.tree, &upper.listing(), &patch);
        for (path, to) in rebuilt.links {
            assert!(upper.is_same(&path, &to), "seed {seed}: {path:?} is no link to {to:?}");
        }
    });
    println!("{remarks:#?}");
    for remark in ["add dir", "delete dir", "rename dir", "meta dir", "link file", "modify file"] {
        assert!(remarks.get(remark).is_some_and(|n| *n >= 10), "few of `{remark}`: {remarks:?}");
    }
}

#[test]
fn the_order_of_the_changes_does_not_matter() {
    each_case(100, |seed, lower, upper| {
        let mut changes = changes(lower, upper);
        let diff = Diff::from_changes(changes.clone());
        changes.reverse();
        assert_eq!(Diff::from_changes(changes), diff, "seed {seed}");
    });
}

#[test]
fn renames_by_content_lead_to_the_same_tree() {
    let mut renames = 0;
    each_case(200, |seed, lower, upper| {
        // What a producer without identities says.
        let (old, new) = (lower.listing(), upper.listing());
        let paths: BTreeSet<&Path> = old.keys().chain(new.keys()).collect();
        let changes = paths.into_iter().map(|path| testbench_overlay::diff::Change {
            path: path.as_slice().into(),
            before: old.get(path).map(Item::side),
            after: new.get(path).map(Item::side),
            origin: testbench_overlay::diff::Origin::InPlace,
        });
        let diff = Diff::from_changes(changes).renames_by_content();
        renames += diff.entries().iter().filter(|entry| entry.op() == Op::Rename).count();
        let patch = diff.patch();
        let rebuilt = Rebuild::new(&old, &patch, &mut BTreeMap::new());
        check(seed, &rebuilt.tree, &new, &patch);
    });
    assert!(renames >= 50, "only {renames} renames");
}

#[test]
fn the_json_comes_back_and_its_hunks_give_the_new_text() {
    let mut texts = 0;
    each_case(300, |seed, lower, upper| {
        let diff = Diff::from_changes(changes(lower, upper));
        let json = diff.to_json();
        let document =
            Document::from_json(&json).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(document, diff.document(), "seed {seed}");
        assert_eq!(document.to_json(), json, "seed {seed}");
        let compact = serde_json::to_string(&diff).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&compact).unwrap(), document, "seed {seed}");
        for (record, entry) in document.records().iter().zip(diff.entries()) {
            let Some(text) = &record.text else { continue };
            let bytes = |side: Option<&testbench_overlay::diff::Side>| {
                side.and_then(|side| side.bytes()).unwrap_or_default().to_vec()
            };
            let new = apply(&bytes(entry.before()), &text.hunks, text.new_eol);
            assert_eq!(new, bytes(entry.after()), "seed {seed}: {record:?}");
            texts += 1;
        }
    });
    assert!(texts >= 200, "only {texts} texts");
}

fn check(seed: u64, found: &Listing, expected: &Listing, patch: &[u8]) {
    let differences = differences(found, expected);
    assert!(differences.is_empty(), "seed {seed}:\n{differences}{}", patch.escape_ascii());
}

/// The new text by the hunks of the JSON.
fn apply(old: &[u8], hunks: &[Hunk], new_eol: Option<bool>) -> Vec<u8> {
    let old: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let (mut new, mut at) = (Vec::new(), 0);
    let mut last_is_of_hunk = false;
    for hunk in hunks {
        let start = hunk.old_start as usize - usize::from(hunk.old_lines > 0);
        new.extend_from_slice(&old[at..start].concat());
        at = start + hunk.old_lines as usize;
        for line in hunk.lines.iter().filter(|line| !line.starts_with('-')) {
            new.extend_from_slice(&line.as_bytes()[1..]);
            new.push(b'\n');
        }
        last_is_of_hunk = at == old.len();
    }
    new.extend_from_slice(&old[at..].concat());
    if last_is_of_hunk && new_eol == Some(false) {
        new.pop();
    }
    new
}

fn each_case(count: u64, mut check: impl FnMut(u64, &Tree, &Tree)) {
    for seed in 0..cases(count) {
        let mut rng = Rng::new(seed);
        let lower = random_tree(&mut rng);
        let mut upper = lower.clone();
        for _ in 0..1 + rng.below(12) {
            random_change(&mut rng, &mut upper);
        }
        check(seed, &lower, &upper);
    }
}

/// The tree that a patch makes of another one.
struct Rebuild<'a> {
    old: &'a Listing,
    removed: BTreeSet<Path>,
    tree: Listing,
    links: Vec<(Path, Path)>,
}

impl<'a> Rebuild<'a> {
    fn new(old: &'a Listing, patch: &[u8], counts: &mut BTreeMap<String, usize>) -> Rebuild<'a> {
        let mut rebuild =
            Rebuild { old, removed: BTreeSet::new(), tree: Listing::new(), links: Vec::new() };
        let (mut for_git, mut behind_remarks, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
        for line in patch.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(b"# ") {
                None => for_git.extend_from_slice(line),
                Some(line) => match Remark::parse(line) {
                    Some(remark) => remarks.push(remark),
                    None => behind_remarks.extend_from_slice(line),
                },
            }
        }
        rebuild.blocks(&for_git);
        rebuild.blocks(&behind_remarks);
        rebuild.directories(&remarks);
        for (path, item) in old {
            if !rebuild.removed.contains(path) {
                rebuild.tree.entry(path.clone()).or_insert_with(|| item.clone());
            }
        }
        for remark in remarks {
            *counts.entry(format!("{} {}", remark.op, remark.kind)).or_default() += 1;
            rebuild.remark(remark);
        }
        rebuild
    }

    fn blocks(&mut self, patch: &[u8]) {
        // Like git, diffy takes a patch without any block for a mistake.
        if patch.is_empty() {
            return;
        }
        for file in PatchSet::parse_bytes(patch, ParseOptions::gitdiff()) {
            let file = file.unwrap_or_else(|error| panic!("{error}\n{}", patch.escape_ascii()));
            let (from, to) = match file.operation().clone() {
                FileOperation::Create(to) => (None, Some(to[2..].to_vec())),
                FileOperation::Delete(from) => (Some(from[2..].to_vec()), None),
                FileOperation::Modify { original, modified } => {
                    (Some(original[2..].to_vec()), Some(modified[2..].to_vec()))
                }
                FileOperation::Rename { from, to } => (Some(from.to_vec()), Some(to.to_vec())),
                FileOperation::Copy { .. } => panic!("a copy"),
            };
            let old = from.map(|from| (self.old[&from].clone(), self.removed.insert(from)));
            let Some((item, _)) = &old else {
                let new = patched(&[], file.patch());
                self.tree.insert(to.expect("a new path"), item_of(file.new_mode(), new, None));
                continue;
            };
            let bytes = match item {
                Item::File { bytes, .. } => bytes,
                Item::Symlink { target } => target,
                Item::Dir { .. } => panic!("a block for a directory"),
            };
            let new = patched(bytes, file.patch());
            match to {
                Some(to) => {
                    let item = item_of(file.new_mode(), new, Some(item));
                    self.tree.insert(to, item);
                }
                None => assert_eq!(new, b"", "a deletion leaves content"),
            }
        }
    }

    /// Directories move with those above them.
    fn directories(&mut self, remarks: &[Remark]) {
        let moved: BTreeMap<&Path, &Path> = remarks
            .iter()
            .filter(|remark| remark.op == "rename" && remark.kind == "dir")
            .map(|remark| (&remark.paths[0], &remark.paths[1]))
            .collect();
        let deleted: BTreeSet<&Path> = remarks
            .iter()
            .filter(|remark| remark.op == "delete" && remark.kind == "dir")
            .map(|remark| &remark.paths[0])
            .collect();
        for (path, item) in self.old.iter().filter(|(_, item)| item.is_dir()) {
            if deleted.contains(path) {
                self.removed.insert(path.clone());
                continue;
            }
            let ends =
                (1..=path.len()).rev().filter(|end| path.get(*end).is_none_or(|b| *b == b'/'));
            let above = ends.map(|end| path.split_at(end));
            for (dir, rest) in above {
                if let Some(to) = moved.get(&dir.to_vec()) {
                    self.removed.insert(path.clone());
                    self.tree.insert([to, rest].concat(), item.clone());
                    break;
                }
            }
        }
    }

    fn remark(&mut self, remark: Remark) {
        let [first, .., last] = &remark.paths[..] else {
            let path = remark.paths[0].clone();
            return self.remark(Remark { paths: vec![path.clone(), path], ..remark });
        };
        match (remark.op.as_str(), remark.kind.as_str()) {
            ("add", "dir") => {
                let mode = remark.modes[0];
                self.tree.insert(first.clone(), Item::Dir { mode });
            }
            ("delete", "dir") => {
                assert_eq!(self.old[first], Item::Dir { mode: remark.modes[0] });
            }
            ("delete", _) => {}
            ("link", _) => {
                self.links.push((first.clone(), last.clone()));
                self.set_mode(first, &remark.modes);
            }
            _ => self.set_mode(last, &remark.modes),
        }
    }

    fn set_mode(&mut self, path: &Path, modes: &[u32]) {
        let Some(new) = modes.last() else { return };
        match self.tree.get_mut(path).unwrap_or_else(|| panic!("{:?}", GuestPath::new(path))) {
            Item::File { mode, .. } | Item::Dir { mode } => *mode = *new,
            Item::Symlink { .. } => panic!("a mode for a symlink"),
        }
    }
}

/// Applies one block, and checks that it leads back.
fn patched(old: &[u8], patch: &PatchKind<'_, [u8]>) -> Vec<u8> {
    match patch {
        PatchKind::Text(text) => {
            let new = diffy::apply_bytes(old, text).unwrap();
            assert_eq!(diffy::apply_bytes(&new, &text.reverse()).unwrap(), old);
            new
        }
        PatchKind::Binary(binary) => {
            let new = binary.apply(old).unwrap();
            assert_eq!(binary.apply_reverse(&new).unwrap(), old);
            new
        }
    }
}

fn item_of(mode: Option<&FileMode>, bytes: Vec<u8>, old: Option<&Item>) -> Item {
    let bytes = bytes.into();
    match (mode, old) {
        (Some(FileMode::Symlink), _) => Item::Symlink { target: bytes },
        (Some(FileMode::Regular), _) => Item::File { mode: 0o644, bytes },
        (Some(FileMode::Executable), _) => Item::File { mode: 0o755, bytes },
        (None, Some(Item::File { mode, .. })) => Item::File { mode: *mode, bytes },
        (None, Some(Item::Symlink { .. })) => Item::Symlink { target: bytes },
        other => panic!("a block without a mode: {other:?}"),
    }
}

/// `OP KIND PATH[ -> PATH][ mode MODE[ -> MODE]]`
struct Remark {
    op: String,
    kind: String,
    paths: Vec<Path>,
    modes: Vec<u32>,
}

impl Remark {
    /// `None` for a line of a block that stands behind `# `.
    fn parse(line: &[u8]) -> Option<Remark> {
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let (op, rest) = line.split_once(' ')?;
        let (kind, rest) = rest.split_once(' ')?;
        if matches!(op, "old" | "new") && kind == "binary," {
            return Some(Remark {
                op: op.into(),
                kind: kind.into(),
                paths: vec![vec![]],
                modes: vec![],
            });
        }
        let is_op = matches!(op, "add" | "delete" | "modify" | "rename" | "link" | "meta");
        if !is_op || !matches!(kind, "file" | "dir" | "symlink") {
            return None;
        }
        let mut words = words(rest);
        let mut paths = vec![words.remove(0)];
        if words.first().is_some_and(|word| word == b"->") {
            paths.push(words.remove(1));
            words.remove(0);
        }
        let mut modes = Vec::new();
        if !words.is_empty() {
            assert_eq!(words.remove(0), b"mode", "{line}");
            for word in words.iter().filter(|word| *word != b"->") {
                modes.push(u32::from_str_radix(std::str::from_utf8(word).unwrap(), 8).unwrap());
            }
        }
        Some(Remark { op: op.into(), kind: kind.into(), paths, modes })
    }
}

/// The words of a remark, without quotes and escapes.
fn words(text: &str) -> Vec<Path> {
    let mut words = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let mut word = Vec::new();
        if rest[0] != b'"' {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        } else {
            rest = &rest[1..];
            while rest[0] != b'"' {
                let escape: &[(u8, u8)] = &[
                    (b'a', 7),
                    (b'b', 8),
                    (b't', 9),
                    (b'n', 10),
                    (b'v', 11),
                    (b'f', 12),
                    (b'r', 13),
                ];
                match rest {
                    [b'\\', a @ b'0'..=b'3', b, c, ..] => {
                        word.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                        rest = &rest[4..];
                    }
                    [b'\\', letter, ..] => {
                        let found = escape.iter().find(|(l, _)| l == letter);
                        word.push(found.map_or(*letter, |(_, byte)| *byte));
                        rest = &rest[2..];
                    }
                    _ => {
                        word.push(rest[0]);
                        rest = &rest[1..];
                    }
                }
            }
            rest = &rest[1..];
        }
        words.push(word);
        rest = rest.strip_prefix(b" ").unwrap_or(rest);
    }
    words
}
