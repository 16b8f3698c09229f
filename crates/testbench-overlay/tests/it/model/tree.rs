//! What a tree looks like from outside: all that both subjects can be compared by.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::{digest, explain};

/// Paths below a root, each with what is there.
pub(crate) type Tree = BTreeMap<String, Node>;

/// What is at a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Of a file a hash, of a symlink the target; or why it cannot be read.
    pub(crate) content: String,
    /// How many names it has. A file system's count for directories is its own affair.
    nlink: u64,
    /// The first path of the same file.
    same_as: String,
    /// Seconds, where the time was set explicitly and nothing has changed it since.
    set_mtime: Option<u64>,
    /// Whether the listing and the metadata give one number.
    listed_by_its_number: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Link,
    /// No user may ask what it is.
    Closed,
}

/// Times before this one, in 2011, were set explicitly: the model sets none behind it.
const SET_BEFORE: Duration = Duration::from_secs(1_300_000_000);

/// How a subject is looked at. Only names, no handles.
pub(crate) trait Look {
    /// Names, with the numbers that the listing gives.
    fn list(path: &Path) -> io::Result<Vec<(OsString, u64)>>;

    /// A symlink stands for itself.
    fn facts(path: &Path) -> io::Result<Facts>;

    fn read(path: &Path) -> io::Result<Vec<u8>>;

    fn read_link(path: &Path) -> io::Result<PathBuf>;
}

/// What metadata say.
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) ino: u64,
    pub(crate) nlink: u64,
    pub(crate) mtime: SystemTime,
}

/// All that is below `root`, and the root itself at the empty path.
pub(crate) fn of<L: Look>(root: &Path) -> Tree {
    let mut walk = Walk { tree: Tree::new(), first: BTreeMap::new() };
    let facts = L::facts(root).expect("nothing takes the root away");
    walk.enter::<L>(root, String::new(), facts.ino, facts);
    walk.tree
}

struct Walk {
    tree: Tree,
    /// The first path of each number.
    first: BTreeMap<u64, String>,
}

impl Walk {
    fn enter<L: Look>(&mut self, at: &Path, path: String, listed: u64, facts: Facts) {
        let same_as = self.first.entry(facts.ino).or_insert_with(|| path.clone()).clone();
        let since_1970 = facts.mtime.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut node = Node {
            kind: facts.kind,
            mode: facts.mode,
            content: String::new(),
            nlink: if facts.kind == Kind::Dir { 0 } else { facts.nlink },
            same_as,
            set_mtime: (since_1970 < SET_BEFORE).then_some(since_1970.as_secs()),
            listed_by_its_number: listed == facts.ino,
        };
        let content = match facts.kind {
            Kind::File => L::read(at).map(|bytes| digest(&bytes)),
            Kind::Link => L::read_link(at).map(|target| target.display().to_string()),
            Kind::Dir | Kind::Closed => L::list(at).map(|names| {
                self.enter_all::<L>(at, &path, names);
                String::new()
            }),
        };
        node.content = content.unwrap_or_else(|error| explain(&error));
        self.tree.insert(path, node);
    }

    fn enter_all<L: Look>(&mut self, at: &Path, path: &str, mut names: Vec<(OsString, u64)>) {
        names.sort();
        for (name, listed) in names {
            let below = match path {
                "" => name.display().to_string(),
                _ => format!("{path}/{}", name.display()),
            };
            let at = at.join(&name);
            match L::facts(&at) {
                Ok(facts) => self.enter::<L>(&at, below, listed, facts),
                Err(error) => {
                    self.tree.insert(below, Node::closed(explain(&error)));
                }
            }
        }
    }
}

impl Node {
    fn closed(content: String) -> Node {
        Node {
            kind: Kind::Closed,
            mode: 0,
            content,
            nlink: 0,
            same_as: String::new(),
            set_mtime: None,
            listed_by_its_number: true,
        }
    }
}

/// What is different, a line for each path.
pub(crate) fn difference(plain: &Tree, overlay: &Tree) -> String {
    let paths: BTreeSet<&String> = plain.keys().chain(overlay.keys()).collect();
    let lines =
        paths.into_iter().filter(|path| plain.get(*path) != overlay.get(*path)).map(|path| {
            format!(
                "{path}:\n    std::fs {:?}\n    overlay {:?}",
                plain.get(path),
                overlay.get(path)
            )
        });
    lines.collect::<Vec<_>>().join("\n")
}
