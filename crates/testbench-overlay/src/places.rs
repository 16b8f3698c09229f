//! Places in a real directory: paths as numbers, and a walk along open directories.
//!
//! A path is the number of its directory and a name. A tree that is 10,000 directories deep has
//! 10,000 short names; written out, its paths would take 100 MB. With a [`DirCursor`] a neighbour of
//! the last place is a step away. So the cost of a commit and of a materialization grows with the
//! number of paths, and not with their length.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Errno;
use crate::diff::name;
use crate::lower::observe::{LowerId, Stamp};
use crate::sys::{self, Access};
use crate::vfs::name::{NAME_BYTES_MAX, RelPath};

/// A journal with more paths than this is not one of ours: their names alone would fill the memory.
const PATHS_MAX: u32 = 1 << 30;

/// The number of a path in a [`Paths`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PathId(u32);

impl PathId {
    pub(crate) const TOP: PathId = PathId(0);
}

/// Paths relative to the top of a directory.
#[derive(Debug)]
pub(crate) struct Paths {
    nodes: BTreeMap<PathId, Node>,
}

#[derive(Debug)]
struct Node {
    dir: PathId,
    name: Arc<[u8]>,
    depth: usize,
    inside: BTreeMap<Arc<[u8]>, PathId>,
}

/// A path in the journal: its number, the directory's, and the name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line(PathId, PathId, #[serde(with = "name")] Box<[u8]>);

impl Paths {
    pub(crate) fn new() -> Paths {
        let top =
            Node { dir: PathId::TOP, name: Arc::default(), depth: 0, inside: BTreeMap::new() };
        Paths { nodes: BTreeMap::from([(PathId::TOP, top)]) }
    }

    pub(crate) fn child(&mut self, dir: PathId, name: &[u8]) -> PathId {
        if let Some(id) = self.nodes[&dir].inside.get(name) {
            return *id;
        }
        let last = self.nodes.last_key_value().map_or(0, |(last, _)| last.0);
        let id = PathId(last + 1);
        self.insert(id, dir, name);
        id
    }

    fn insert(&mut self, id: PathId, dir: PathId, name: &[u8]) {
        let name: Arc<[u8]> = name.into();
        let above = self.nodes.get_mut(&dir).expect("a directory comes before what is in it");
        above.inside.insert(name.clone(), id);
        let depth = above.depth + 1;
        self.nodes.insert(id, Node { dir, name, depth, inside: BTreeMap::new() });
    }

    /// Numbers these sorted paths. Each shares most of its way with the one before it.
    pub(crate) fn add_sorted<'p>(
        &mut self,
        sorted: impl Iterator<Item = &'p RelPath>,
    ) -> Vec<PathId> {
        let mut last: &[u8] = b"";
        let mut way: Vec<(usize, PathId)> = Vec::new();
        let mut ids = Vec::new();
        for path in sorted.map(RelPath::as_bytes) {
            let shares = |end: usize| {
                path.starts_with(&last[..end]) && matches!(path.get(end), None | Some(b'/'))
            };
            while way.last().is_some_and(|(end, _)| !shares(*end)) {
                way.pop();
            }
            let mut at = way.last().map_or(0, |(end, _)| end + 1);
            while at < path.len() {
                let end = path[at..].iter().position(|b| *b == b'/').map_or(path.len(), |n| at + n);
                let dir = way.last().map_or(PathId::TOP, |(_, id)| *id);
                way.push((end, self.child(dir, &path[at..end])));
                at = end + 1;
            }
            ids.push(way.last().map_or(PathId::TOP, |(_, id)| *id));
            last = path;
        }
        ids
    }

    /// The directory of a path; the top's is the top.
    pub(crate) fn dir(&self, id: PathId) -> PathId {
        self.nodes[&id].dir
    }

    /// The last component; empty for the top.
    pub(crate) fn name(&self, id: PathId) -> &[u8] {
        &self.nodes[&id].name
    }

    pub(crate) fn depth(&self, id: PathId) -> usize {
        self.nodes[&id].depth
    }

    /// The path and the directories above it, up to the top.
    pub(crate) fn upwards(&self, id: PathId) -> impl Iterator<Item = PathId> {
        std::iter::successors(Some(id), |id| (*id != PathId::TOP).then(|| self.dir(*id)))
    }

    /// The path as it is written.
    pub(crate) fn bytes(&self, id: PathId) -> Box<[u8]> {
        let names: Vec<&[u8]> = self.upwards(id).map(|id| self.name(id)).collect();
        let names: Vec<&[u8]> = names.into_iter().rev().skip(1).collect();
        names.join(&b'/').into()
    }

    /// The place of each path in an order in which directories come before what is in them, and all
    /// that is in a directory comes together.
    pub(crate) fn order(&self) -> BTreeMap<PathId, usize> {
        let (mut order, mut next) = (BTreeMap::new(), vec![PathId::TOP]);
        while let Some(id) = next.pop() {
            order.insert(id, order.len());
            next.extend(self.nodes[&id].inside.values().rev());
        }
        order
    }

    /// These paths for the journal.
    pub(crate) fn to_lines(&self, used: impl Iterator<Item = PathId>) -> Vec<Line> {
        let mut needed = BTreeSet::new();
        for id in used {
            // Behind one that is there, all are.
            let _ = self.upwards(id).take_while(|id| needed.insert(*id)).count();
        }
        needed.remove(&PathId::TOP);
        needed.iter().map(|id| Line(*id, self.dir(*id), self.name(*id).into())).collect()
    }

    /// The paths in a journal, which another program may have written: none leads out of the root.
    pub(crate) fn from_lines(lines: Vec<Line>) -> Result<Paths, String> {
        let mut paths = Paths::new();
        for Line(id, dir, name) in lines {
            let bad = matches!(&*name, b"" | b"." | b"..")
                || name.iter().any(|byte| matches!(byte, 0 | b'/'))
                || name.len() > NAME_BYTES_MAX
                || id.0 > PATHS_MAX;
            if bad || paths.has(id) || !paths.has(dir) {
                return Err("a path is not relative to the root".to_owned());
            }
            paths.insert(id, dir, &name);
        }
        Ok(paths)
    }

    pub(crate) fn has(&self, id: PathId) -> bool {
        self.nodes.contains_key(&id)
    }
}

/// The directory of the last place, open, and the way to it. No symlink is followed.
#[derive(Debug)]
pub(crate) struct DirCursor {
    top: Arc<OwnedFd>,
    /// The directories from the top to the last one, each with its identity.
    way: Vec<(PathId, LowerId)>,
    last: Arc<OwnedFd>,
}

impl DirCursor {
    pub(crate) fn new(top: Arc<OwnedFd>) -> DirCursor {
        DirCursor { last: top.clone(), top, way: Vec::new() }
    }

    /// Opens a directory for looking up names, from the nearest one on the way to the last.
    pub(crate) fn dir(&mut self, paths: &Paths, id: PathId) -> Result<Arc<OwnedFd>, Errno> {
        let shared = paths.upwards(id).find(|id| self.leads_through(paths, *id));
        self.climb(shared.map_or(0, |id| paths.depth(id)));
        let down: Vec<PathId> =
            paths.upwards(id).take_while(|id| !self.leads_through(paths, *id)).collect();
        for id in down.into_iter().rev().filter(|id| *id != PathId::TOP) {
            let dir = sys::open_dir(&self.last, paths.name(id), Access::Search)?;
            self.way.push((id, Stamp::of(&sys::stat(&dir)?).id));
            self.last = Arc::new(dir);
        }
        Ok(self.last.clone())
    }

    /// Leaves a directory that is about to give its place to something else.
    pub(crate) fn leave(&mut self, paths: &Paths, id: PathId) {
        if self.leads_through(paths, id) {
            self.climb(paths.depth(id) - 1);
        }
    }

    fn leads_through(&self, paths: &Paths, id: PathId) -> bool {
        let above = paths.depth(id).checked_sub(1);
        above.and_then(|above| self.way.get(above)).is_some_and(|(is, _)| *is == id)
    }

    /// Goes up to a depth; to the top, if a directory does not lie where it did.
    fn climb(&mut self, depth: usize) {
        while self.way.len() > depth {
            self.way.pop();
            let above = self.way.last().and_then(|(_, id)| {
                let above = sys::open_dir(&self.last, b"..", Access::Search).ok()?;
                sys::stat(&above).is_ok_and(|is| Stamp::of(&is).id == *id).then_some(above)
            });
            match above {
                Some(above) => self.last = Arc::new(above),
                None => {
                    self.way.clear();
                    self.last = self.top.clone();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_paths_are_numbered_once_and_read_back() {
        let texts: [&[u8]; 7] = [b"", b"a", b"a-b", b"a/b", b"a/b/c", b"a/bc", b"d/e"];
        let rel = texts.map(RelPath::from_bytes);
        let mut paths = Paths::new();
        let ids = paths.add_sorted(rel.iter());
        for (id, text) in ids.iter().zip(texts) {
            assert_eq!(&*paths.bytes(*id), text);
        }
        assert_eq!(paths.add_sorted(rel.iter()), ids);
        let order = paths.order();
        let mut sorted = ids.clone();
        sorted.sort_by_key(|id| order[id]);
        let written = sorted.iter().map(|id| String::from_utf8(paths.bytes(*id).into()).unwrap());
        let wanted = ["", "a", "a/b", "a/b/c", "a/bc", "a-b", "d/e"];
        assert_eq!(written.collect::<Vec<_>>(), wanted);

        let json = serde_json::to_string(&paths.to_lines([ids[4]].into_iter())).unwrap();
        assert_eq!(json, r#"[[1,0,"a"],[3,1,"b"],[4,3,"c"]]"#);
        let back = Paths::from_lines(serde_json::from_str(&json).unwrap()).unwrap();
        assert_eq!(&*back.bytes(ids[4]), b"a/b/c");
    }

    #[test]
    fn a_path_of_the_journal_cannot_lead_out() {
        for name in ["/etc", "a/b", "..", ".", "", "a\\u0000"] {
            let lines = serde_json::from_str(&format!(r#"[[1,0,"{name}"]]"#)).unwrap();
            assert!(Paths::from_lines(lines).is_err(), "{name}");
        }
        for json in [r#"[[1,1,"a"]]"#, r#"[[2,1,"a"]]"#, r#"[[0,0,"a"]]"#] {
            assert!(Paths::from_lines(serde_json::from_str(json).unwrap()).is_err(), "{json}");
        }
    }
}
