//! Names of directory entries, and paths below the top of a lower tree.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::{Errno, GuestPath};

/// Linux's `NAME_MAX`: the longest name that every file system beneath can hold.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// A single component: not empty, not `.` or `..`, without `/` or NUL, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(Arc<[u8]>);

impl Name {
    /// Checks what a walk has not yet checked: the length.
    pub(crate) fn new(bytes: &[u8]) -> Result<Name, Errno> {
        debug_assert!(
            !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/')
        );
        if bytes.len() > NAME_BYTES_MAX {
            return Err(Errno::Nametoolong);
        }
        Ok(Name(bytes.into()))
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
        write!(f, "\"{}\"", GuestPath::new(&self.0))
    }
}

/// A path from the top of a lower tree, without `.`, `..`, doubled slashes or symlinks in it.
/// The top itself is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RelPath(Option<Arc<[u8]>>);

impl RelPath {
    pub(crate) const TOP: RelPath = RelPath(None);

    pub(crate) fn child(&self, name: &[u8]) -> RelPath {
        let Some(parent) = &self.0 else {
            return RelPath(Some(name.into()));
        };
        RelPath(Some([parent, &b"/"[..], name].concat().into()))
    }

    /// The directory and the last component; `None` for the top.
    pub(crate) fn split(&self) -> Option<(RelPath, &[u8])> {
        let bytes = self.0.as_deref()?;
        Some(match bytes.iter().rposition(|b| *b == b'/') {
            Some(at) => (RelPath(Some(bytes[..at].into())), &bytes[at + 1..]),
            None => (RelPath::TOP, bytes),
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_top(&self) -> bool {
        self.0.is_none()
    }

    /// The path as others write it.
    fn as_guest(&self) -> GuestPath<'_> {
        GuestPath::new(if self.is_top() { &b"."[..] } else { self.as_bytes() })
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_guest())
    }
}
