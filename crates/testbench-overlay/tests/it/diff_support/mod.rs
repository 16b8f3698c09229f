//! Random trees of files with identities, random changes to them, and the changes as a producer
//! reports them.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use testbench_overlay::diff::{Change, Content, Side};
use testbench_overlay::{FileKind, GuestPath};

pub(crate) type Path = Vec<u8>;

/// The entry at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    File { mode: u32, bytes: Arc<[u8]> },
    Dir { mode: u32 },
    Symlink { target: Arc<[u8]> },
}

impl Item {
    pub(crate) fn file(mode: u32, bytes: &[u8]) -> Item {
        Item::File { mode, bytes: bytes.into() }
    }

    pub(crate) fn is_dir(&self) -> bool {
        matches!(self, Item::Dir { .. })
    }

    pub(crate) fn side(&self) -> Side {
        match self {
            Item::File { mode, bytes } => Side::file(*mode, Arc::clone(bytes)),
            Item::Dir { mode } => Side::dir(*mode),
            Item::Symlink { target } => Side::symlink(Arc::clone(target)),
        }
    }
}

/// Paths with what is at them.
pub(crate) type Listing = BTreeMap<Path, Item>;

/// Names over inodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    names: BTreeMap<Path, u64>,
    inodes: BTreeMap<u64, Item>,
    next: u64,
}

impl Tree {
    pub(crate) fn listing(&self) -> Listing {
        self.names.iter().map(|(path, id)| (path.clone(), self.inodes[id].clone())).collect()
    }

    pub(crate) fn is_dir(&self, path: &[u8]) -> bool {
        path.is_empty() || self.get(path).is_some_and(Item::is_dir)
    }

    pub(crate) fn get(&self, path: &[u8]) -> Option<&Item> {
        self.names.get(path).map(|id| &self.inodes[id])
    }

    pub(crate) fn set(&mut self, path: &[u8], item: Item) {
        self.inodes.insert(self.names[path], item);
    }

    /// Puts a new inode at `path`, in place of everything that is there.
    pub(crate) fn create(&mut self, path: &[u8], item: Item) {
        self.remove(path);
        self.next += 1;
        self.inodes.insert(self.next, item);
        self.names.insert(path.to_vec(), self.next);
    }

    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.names.retain(|name, _| name != path && !is_below(name, path));
    }

    pub(crate) fn rename(&mut self, from: &[u8], to: &[u8]) {
        self.remove(to);
        let moves = |name: &Path| name == from || is_below(name, from);
        let moved: Vec<(Path, u64)> = self
            .names
            .iter()
            .filter(|(name, _)| moves(name))
            .map(|(n, i)| (n.clone(), *i))
            .collect();
        for (name, id) in moved {
            self.names.remove(&name);
            self.names.insert([to, &name[from.len()..]].concat(), id);
        }
    }

    pub(crate) fn link(&mut self, existing: &[u8], path: &[u8]) {
        let id = self.names[existing];
        self.remove(path);
        self.names.insert(path.to_vec(), id);
    }

    /// Whether two names are of one inode.
    pub(crate) fn is_same(&self, one: &[u8], other: &[u8]) -> bool {
        self.names.get(one).is_some_and(|id| self.names.get(other) == Some(id))
    }

    pub(crate) fn paths(&self) -> Vec<Path> {
        self.names.keys().cloned().collect()
    }
}

/// What one listing has and the other does not, for people.
pub(crate) fn differences(found: &Listing, expected: &Listing) -> String {
    let mut out = String::new();
    for (what, these, those) in [("missing", expected, found), ("extra", found, expected)] {
        for (path, item) in these.iter().filter(|(path, item)| those.get(*path) != Some(item)) {
            let item = format!("{:?}", item.side());
            out += &format!("{what} {:?}: {item}\n", GuestPath::new(path));
        }
    }
    out
}

fn is_below(name: &[u8], dir: &[u8]) -> bool {
    name.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The changes between two states of one tree, as an overlay that knows identities reports them.
pub(crate) fn changes(lower: &Tree, upper: &Tree) -> Vec<Change> {
    let origin: BTreeMap<u64, &Path> = lower.names.iter().map(|(path, id)| (*id, path)).collect();
    let mut names: BTreeMap<u64, Vec<&Path>> = BTreeMap::new();
    for (path, id) in &upper.names {
        names.entry(*id).or_default().push(path);
    }
    let mut changes = Vec::new();
    let mut replaced = BTreeSet::new();
    for (id, paths) in &names {
        let side = upper.inodes[id].side();
        let before = origin.get(id).map(|path| (*path, lower.inodes[id].side()));
        let first = match &before {
            Some((path, _)) if paths.contains(path) => *path,
            _ => paths[0],
        };
        for path in paths {
            // What was at this path and is nowhere any more.
            let gone = lower.names.get(*path).filter(|id| !names.contains_key(id));
            let gone = gone.map(|id| lower.inodes[id].side());
            if *path != first {
                let mut link = Change::linked(first, path, side.clone());
                link.before = gone;
                changes.push(link);
                replaced.insert(*path);
                continue;
            }
            match (&before, gone) {
                (Some((from, before)), _) if from == path => {
                    changes.push(Change::changed(path, before.clone(), side.clone()));
                }
                (Some((from, before)), _) => {
                    changes.push(renamed(from, path, before.clone(), side.clone()));
                }
                (None, Some(gone)) => {
                    changes.push(Change::changed(path, gone, side.clone()));
                    replaced.insert(*path);
                }
                (None, None) => changes.push(Change::added(path, side.clone())),
            }
        }
    }
    for (path, id) in &lower.names {
        if !names.contains_key(id) && !replaced.contains(path) {
            changes.push(Change::removed(path, lower.inodes[id].side()));
        }
    }
    changes
}

/// A rename whose content was not read if it did not change, as long as the patch can do without.
fn renamed(from: &[u8], path: &[u8], mut before: Side, mut after: Side) -> Change {
    let crosses = in_repository(from) != in_repository(path);
    if before.content == after.content && before.kind != FileKind::Dir && !crosses {
        before.content = Content::Unread;
        after.content = Content::Unread;
    }
    Change::renamed(from, path, before, after)
}

/// Whether git leaves this path alone.
pub(crate) fn in_repository(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| matches!(name, b".git" | b"git~1"))
}

/// How many random cases to try: `n`, or what `TESTBENCH_DIFF_CASES` says.
#[allow(clippy::disallowed_methods, reason = "for a person who wants to try more for once")]
pub(crate) fn cases(n: u64) -> u64 {
    std::env::var("TESTBENCH_DIFF_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(n)
}

/// A small generator of random numbers that will be the same for ever (SplitMix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"a.b",
    b"a-b",
    b"a b",
    b"x b",
    b" lead",
    b"trail ",
    b"q\"uote",
    b"new\nline",
    b"tab\t",
    b"cr\r",
    b"back\\slash",
    b"\xc3\xa4",
    b"\xff\xfe",
    b"-dash",
    b".gitignore",
    b"dev",
    b"null",
    b"#",
    b"@@ -1,1 +1,1 @@",
    b"diff --git a",
    b"->",
    b"x b/",
    b"\x7f\x01",
    b"..x",
    b"'",
];

/// A tree with a few of everything.
pub(crate) fn random_tree(rng: &mut Rng) -> Tree {
    let mut tree = Tree::default();
    for _ in 0..4 + rng.below(14) {
        let path = random_path(rng, &tree);
        let item = random_item(rng, 3);
        tree.create(&path, item);
    }
    if rng.one_in(3) {
        tree.create(b".git", Item::Dir { mode: 0o755 });
        tree.create(b".git/config", random_file(rng));
    }
    tree
}

/// Changes the tree in one way; the answer says how.
pub(crate) fn random_change(rng: &mut Rng, tree: &mut Tree) -> &'static str {
    let paths = tree.paths();
    if paths.is_empty() || rng.one_in(5) {
        let path = random_path(rng, tree);
        let item = random_item(rng, 3);
        tree.create(&path, item);
        return "create";
    }
    let path = rng.pick(&paths);
    let item = tree.get(&path).expect("listed").clone();
    match (rng.below(9), item) {
        (0, _) => {
            tree.remove(&path);
            "remove"
        }
        (1, _) => {
            let item = random_item(rng, 2);
            tree.create(&path, item);
            "replace"
        }
        (2 | 3, Item::File { mode, bytes }) => {
            let bytes = random_edit(rng, &bytes);
            tree.set(&path, Item::File { mode, bytes });
            "write"
        }
        (2 | 3, Item::Symlink { .. }) => {
            tree.set(&path, random_symlink(rng));
            "relink"
        }
        (4, Item::File { bytes, .. }) => {
            tree.set(&path, Item::File { mode: random_mode(rng), bytes });
            "chmod"
        }
        (4, Item::Dir { .. }) => {
            tree.set(&path, Item::Dir { mode: rng.pick(&[0o755, 0o700, 0o1777]) });
            "chmod dir"
        }
        (5, Item::File { .. }) => {
            let to = random_path(rng, tree);
            if to == path || is_below(&path, &to) {
                return "nothing";
            }
            tree.link(&path, &to);
            "link"
        }
        (_, item) => {
            let to = random_path(rng, tree);
            if to == path || is_below(&to, &path) || is_below(&path, &to) {
                return "nothing";
            }
            tree.rename(&path, &to);
            if item.is_dir() { "rename dir" } else { "rename" }
        }
    }
}

/// A path in a directory that is there; it may be there itself.
fn random_path(rng: &mut Rng, tree: &Tree) -> Path {
    let mut dirs: Vec<Path> = tree.paths().into_iter().filter(|path| tree.is_dir(path)).collect();
    dirs.push(Vec::new());
    let dir = rng.pick(&dirs);
    // A slash would be no name; `x b/` is there to make one of the components end oddly.
    let mut name = rng.pick(NAMES).to_vec();
    name.retain(|byte| *byte != b'/');
    if dir.is_empty() && rng.one_in(30) {
        name = b"git~1".to_vec();
    }
    if dir.is_empty() { name } else { [&dir[..], b"/", &name].concat() }
}

fn random_item(rng: &mut Rng, dirs: usize) -> Item {
    match rng.below(5 + dirs) {
        0..4 => random_file(rng),
        4 => random_symlink(rng),
        _ => Item::Dir { mode: if rng.one_in(4) { 0o700 } else { 0o755 } },
    }
}

fn random_symlink(rng: &mut Rng) -> Item {
    // None that leads back to itself: git cannot look below such a name, be it on the way out.
    let targets = [&b"."[..], b"..", b"../x y", b"/abs", b"a\nb", b"\xff", b"dangling/\"q\""];
    let target = rng.pick(&targets);
    Item::Symlink { target: target.into() }
}

fn random_file(rng: &mut Rng) -> Item {
    Item::File { mode: random_mode(rng), bytes: random_content(rng).into() }
}

fn random_mode(rng: &mut Rng) -> u32 {
    rng.pick(&[0o644, 0o644, 0o644, 0o755, 0o755, 0o600, 0o700, 0o664, 0o4755])
}

fn random_content(rng: &mut Rng) -> Vec<u8> {
    match rng.below(10) {
        0 => Vec::new(),
        1 => (0..rng.below(300)).map(|_| rng.next() as u8).chain([0]).collect(),
        2 => b"\xff\xfe not UTF-8\n".repeat(rng.below(4) + 1),
        // A NUL so late that git takes it for text.
        3 => [vec![b'x'; 8000 + rng.below(50)], b"\0\nend\n".to_vec()].concat(),
        // More than one line of a binary block and more than one stored block.
        4 if rng.one_in(4) => (0..70_000 + rng.below(200)).map(|n| (n / 7) as u8).collect(),
        _ => {
            let tail = if rng.one_in(3) { &b"no line feed here"[..] } else { b"" };
            let count = rng.below(30);
            let mut text: Vec<u8> = (0..count).flat_map(|_| random_line(rng)).collect();
            text.extend_from_slice(tail);
            text
        }
    }
}

fn random_line(rng: &mut Rng) -> Vec<u8> {
    let lines: [&[u8]; 14] = [
        b"",
        b"one",
        b"two",
        b"three",
        b"    indented",
        b"}",
        b"crlf\r",
        b"-minus",
        b"+plus",
        b"@@ -1 +1 @@",
        b"diff --git a/x b/x",
        b"\\ No newline at end of file",
        b"# comment",
        b"--- a/x",
    ];
    let mut line = rng.pick(&lines).to_vec();
    if rng.one_in(3) {
        line.extend_from_slice(rng.below(100).to_string().as_bytes());
    }
    line.push(b'\n');
    line
}

/// Another content that has much in common with this one.
fn random_edit(rng: &mut Rng, bytes: &[u8]) -> Arc<[u8]> {
    if rng.one_in(5) {
        return random_content(rng).into();
    }
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(lines.len() + 1);
        match rng.below(3) {
            0 if at < lines.len() => drop(lines.remove(at)),
            1 if at < lines.len() => lines[at] = random_line(rng),
            _ => lines.insert(at, random_line(rng)),
        }
    }
    if rng.one_in(4) && lines.last().is_some_and(|line| line.ends_with(b"\n")) {
        lines.last_mut().expect("there is one").pop();
    }
    lines.concat().into()
}
