//! Policy: what may not be changed, and what may not be seen.

use super::pattern::Pattern;
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{Errno, GuestPath, OverlayError};

/// The rules of one overlay, by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    read_only: Vec<RelPath>,
    hidden: Vec<Pattern>,
}

impl Policy {
    pub(crate) fn new(read_only: &[Vec<u8>], hidden: &[String]) -> Result<Policy, OverlayError> {
        let pattern = |pattern: &String| {
            Pattern::new(pattern).map_err(|source| OverlayError::Pattern { source })
        };
        Ok(Policy {
            read_only: read_only.iter().map(|path| plain_path(path)).collect::<Result<_, _>>()?,
            hidden: hidden.iter().map(pattern).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn hides(&self, path: &RelPath) -> bool {
        !path.is_top() && self.hidden.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether what was done in a copy of the tree may be done in the overlay.
    pub(crate) fn check_absorbed(&self, path: &RelPath) -> Result<()> {
        self.check_change(path)?;
        if self.hides(path) { Err(Errno::Acces) } else { Ok(()) }
    }

    pub(crate) fn hides_anything(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// Whether all that is hidden beneath a directory is so still when that has moved.
    pub(crate) fn hides_moved(&self, from: &RelPath, to: &RelPath) -> bool {
        self.hidden.iter().all(|pattern| pattern.holds_beneath(from, to))
    }

    /// [`Errno::Rofs`] for a path in a subtree that cannot be changed, its top included.
    pub(crate) fn check_change(&self, path: &RelPath) -> Result<()> {
        if self.read_only.iter().any(|top| is_in(path, top)) { Err(Errno::Rofs) } else { Ok(()) }
    }

    /// [`Errno::Busy`] for the directories above such a subtree: with them it would move to where
    /// no rule protects it.
    pub(crate) fn check_move(&self, path: &RelPath) -> Result<()> {
        if self.read_only.iter().any(|top| is_in(top, path)) { Err(Errno::Busy) } else { Ok(()) }
    }
}

/// A path from the top as a person writes it, without anything that would need a walk.
pub(crate) fn plain_path(path: &[u8]) -> Result<RelPath, OverlayError> {
    let is_plain = |part: &[u8]| !matches!(part, b"." | b"..") && !part.contains(&0);
    if GuestPath::new(path).components().all(is_plain) {
        return Ok(RelPath::from_bytes(path));
    }
    Err(OverlayError::Path { path: GuestPath::new(path).to_string() })
}

pub(crate) fn is_in(path: &RelPath, top: &RelPath) -> bool {
    match path.as_bytes().strip_prefix(top.as_bytes()) {
        Some(rest) => top.is_top() || rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtree_is_a_directory_and_not_a_prefix() {
        let path = |path: &str| RelPath::from_bytes(path.as_bytes());
        assert!(is_in(&path("a/b"), &path("a")) && is_in(&path("a"), &path("a")));
        assert!(!is_in(&path("ab"), &path("a")) && !is_in(&path("a"), &path("a/b")));
        assert!(is_in(&path("a"), &RelPath::TOP) && !is_in(&RelPath::TOP, &path("a")));
        assert!(plain_path(b"/a//b/").unwrap() == path("a/b"));
        assert!(plain_path(b"a/../b").is_err() && plain_path(b"a\0").is_err());
    }
}
