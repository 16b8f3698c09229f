//! Names of directory entries, and paths below the top of a lower tree.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::vfs::Result;
use crate::{Errno, GuestPath};

/// Linux's `NAME_MAX`: the longest name that every file system beneath can hold.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// The name of a directory entry: one component, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(Arc<[u8]>);

impl Name {
    pub(crate) fn new(bytes: &[u8]) -> Result<Name> {
        debug_assert!(
            !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/')
        );
        if bytes.len() > NAME_BYTES_MAX { Err(Errno::Nametoolong) } else { Ok(Name(bytes.into())) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", GuestPath::new(self.as_bytes()))
    }
}

/// A path from the top of a lower tree, without `.`, `..`, doubled slashes or symlinks in it.
/// The top itself is the empty path.
///
/// It carries its hash: looking a name up asks for the hash of every path on the way, and the one
/// of a child goes on from that of its directory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RelPath {
    hash: PathHash,
    bytes: Option<Arc<[u8]>>,
}

impl RelPath {
    pub(crate) const TOP: RelPath = RelPath { bytes: None, hash: PathHash::TOP };

    pub(crate) fn child(&self, name: &[u8]) -> RelPath {
        let hash = self.child_hash(name);
        let bytes = match &self.bytes {
            Some(parent) => {
                let mut bytes = SmallVec::<[u8; 256]>::from_slice(parent);
                bytes.push(b'/');
                bytes.extend_from_slice(name);
                bytes[..].into()
            }
            None => name.into(),
        };
        RelPath { bytes: Some(bytes), hash }
    }

    /// Returns the [`RelPath::hash`] of a child.
    pub(crate) fn child_hash(&self, name: &[u8]) -> PathHash {
        if self.is_top() { self.hash.then(name) } else { self.hash.then(b"/").then(name) }
    }

    /// Whether this is the path of `name` in `dir`.
    pub(crate) fn is_child(&self, dir: &RelPath, name: &[u8]) -> bool {
        let Some(rest) = self.as_bytes().strip_suffix(name) else { return false };
        match &dir.bytes {
            Some(dir) => rest.strip_suffix(b"/") == Some(dir),
            None => rest.is_empty() && !self.is_top(),
        }
    }

    pub(crate) fn hash(&self) -> PathHash {
        self.hash
    }

    /// A path in the form that [`RelPath::as_bytes`] gives.
    pub(crate) fn from_bytes(bytes: &[u8]) -> RelPath {
        let parts = GuestPath::new(bytes).components();
        parts.fold(RelPath::TOP, |path, name| path.child(name))
    }

    /// A path below this one; itself if `below` is empty.
    pub(crate) fn join(&self, below: &[u8]) -> RelPath {
        if below.is_empty() { self.clone() } else { self.child(below) }
    }

    /// The directory and the last component; `None` for the top.
    pub(crate) fn split(&self) -> Option<(RelPath, &[u8])> {
        let bytes = self.bytes.as_deref()?;
        Some(match bytes.iter().rposition(|b| *b == b'/') {
            Some(at) => {
                let (dir, name) = (&bytes[..at], &bytes[at + 1..]);
                (RelPath { bytes: Some(dir.into()), hash: PathHash::TOP.then(dir) }, name)
            }
            None => (RelPath::TOP, bytes),
        })
    }

    /// The paths on the way from the top to this one, this one included and the top not, each with
    /// its hash: all of them in one pass.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (PathHash, &[u8])> {
        let bytes = self.as_bytes();
        let (mut hash, mut done) = (PathHash::TOP, 0);
        let ends = (1..=bytes.len()).filter(|end| bytes.get(*end).is_none_or(|b| *b == b'/'));
        ends.map(move |end| {
            hash = hash.then(&bytes[done..end]);
            done = end;
            (hash, &bytes[..end])
        })
    }

    /// A path with the hash that [`RelPath::steps`] gave with it.
    pub(crate) fn of_step((hash, bytes): (PathHash, &[u8])) -> RelPath {
        debug_assert_eq!(hash, PathHash::TOP.then(bytes));
        RelPath { bytes: Some(bytes.into()), hash }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_top(&self) -> bool {
        self.bytes.is_none()
    }

    /// The path as others write it.
    fn as_guest(&self) -> GuestPath<'_> {
        GuestPath::new(if self.is_top() { &b"."[..] } else { self.as_bytes() })
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &RelPath) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &RelPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for RelPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash.mixed());
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_guest())
    }
}

/// The hash of a path, which can go on: that of `a/b` follows from that of `a`.
///
/// FNV-1a with 64 bits, the same on every machine. It need not withstand an attacker: a user that maps
/// by it compares paths too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathHash(u64);

impl PathHash {
    const TOP: PathHash = PathHash(0xcbf2_9ce4_8422_2325);
    const PRIME: u64 = 0x0100_0000_01b3;

    fn then(self, bytes: &[u8]) -> PathHash {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PathHash::PRIME);
        PathHash(bytes.iter().fold(self.0, step))
    }

    /// All of its bits depending on all bytes (the finalizer of MurmurHash3).
    pub(crate) fn mixed(self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        x ^ (x >> 33)
    }
}

/// For keys that are hashes already: [`RelPath`] and inode numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = PathHash(self.0).then(bytes).0;
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl BuildHasher for Hashed {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        Hashed(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_hash_however_it_was_made() {
        let path = RelPath::TOP.child(b"a").child(b"bc").child(b"d");
        let (dir, name) = path.split().unwrap();
        assert_eq!(dir, RelPath::TOP.child(b"a").child(b"bc"));
        assert_eq!(dir.child_hash(name), path.hash());
        assert_ne!(RelPath::TOP.child(b"ab").hash(), RelPath::TOP.child(b"a").child(b"b").hash());
        assert!(
            path.is_child(&dir, b"d") && !path.is_child(&dir, b"") && !path.is_child(&dir, b"c")
        );
        assert!(!path.is_child(&RelPath::TOP, b"d") && !dir.is_child(&RelPath::TOP, b"a"));
        assert!(RelPath::TOP.child(b"a").is_child(&RelPath::TOP, b"a"));
        assert!(!RelPath::TOP.is_child(&RelPath::TOP, b""));
    }

    #[test]
    fn the_steps_of_a_path_lead_to_it() {
        let path = RelPath::from_bytes(b"a/bc/d");
        let steps: Vec<RelPath> = path.steps().map(RelPath::of_step).collect();
        assert_eq!(steps, [&b"a"[..], b"a/bc", b"a/bc/d"].map(RelPath::from_bytes));
        assert_eq!(RelPath::TOP.steps().count(), 0);
    }
}
