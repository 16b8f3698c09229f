//! Conflicts: the reasons against a commit.

use std::fmt;

use crate::GuestPath;

/// Something beneath the overlay is not what the overlay saw there, so that the commit would
/// write over it, or rests on what is no longer true.
///
/// ```
/// use testbench_overlay::{OurChange, Overlay, TheirChange, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("a");
/// std::fs::write(&file, "base")?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::write(&file, "ours")?;
/// std::fs::remove_file(&file)?;
///
/// let error = overlay.commit().unwrap_err();
/// let [conflict] = error.conflicts() else { panic!("one conflict") };
/// assert_eq!((conflict.path(), conflict.theirs()), (&b"a"[..], TheirChange::Removed));
/// assert_eq!(conflict.ours(), &OurChange::Modified);
/// assert_eq!(conflict.to_string(), "a: modified in the overlay, removed beneath it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub(super) path: Box<[u8]>,
    pub(super) ours: OurChange,
    pub(super) theirs: TheirChange,
}

impl Conflict {
    /// The path in the lower directory that the conflict is about, relative to its top, in raw
    /// bytes; empty for the top itself.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The change that the overlay has made at this path.
    pub fn ours(&self) -> &OurChange {
        &self.ours
    }

    /// The change to this path of the lower directory since the overlay saw it.
    pub fn theirs(&self) -> TheirChange {
        self.theirs
    }
}

/// A line: `src/a.rs: modified in the overlay, removed beneath it`.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conflict { path, ours, theirs } = self;
        let path = GuestPath::new(if path.is_empty() { &b"."[..] } else { path });
        write!(f, "{path}: {ours} in the overlay, {theirs} beneath it")
    }
}

/// A change that the overlay has made to something of the lower directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OurChange {
    /// Nothing: it has only been looked at.
    Looked,
    /// Nothing to the directory itself, but something in it has changed.
    Inside,
    /// There was nothing.
    Added,
    /// The content has changed.
    Modified,
    /// Permission bits or times have changed.
    Meta,
    /// It is gone.
    Deleted,
    /// Something else is there now.
    Replaced,
    /// It has been given a further name.
    Linked {
        /// The new name, relative to the top.
        to: Box<[u8]>,
    },
    /// It has moved.
    Renamed {
        /// Where it is now, relative to the top.
        to: Box<[u8]>,
    },
}

impl fmt::Display for OurChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OurChange::Looked => write!(f, "looked at"),
            OurChange::Inside => write!(f, "changed inside"),
            OurChange::Added => write!(f, "added"),
            OurChange::Modified => write!(f, "modified"),
            OurChange::Meta => write!(f, "given another mode or time"),
            OurChange::Deleted => write!(f, "deleted"),
            OurChange::Replaced => write!(f, "replaced"),
            OurChange::Linked { to } => write!(f, "linked as {}", GuestPath::new(to)),
            OurChange::Renamed { to } => write!(f, "renamed to {}", GuestPath::new(to)),
        }
    }
}

/// A change to something in the lower directory since the overlay saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TheirChange {
    /// There was nothing, now there is something.
    Appeared,
    /// It is gone, or a directory above it is.
    Removed,
    /// The same file holds something else, or was written to.
    Modified,
    /// The same file has other permission bits, or something else about it has changed than the
    /// content: its owner, the number of its names.
    Meta,
    /// Another file of the same kind has its name.
    Replaced,
    /// It is of another kind now.
    Retyped,
    /// The directory has gained or lost entries.
    Listing,
}

impl fmt::Display for TheirChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TheirChange::Appeared => "appeared",
            TheirChange::Removed => "removed",
            TheirChange::Modified => "modified",
            TheirChange::Meta => "given another mode, owner or number of names",
            TheirChange::Replaced => "replaced",
            TheirChange::Retyped => "replaced by something of another kind",
            TheirChange::Listing => "given or robbed of entries",
        })
    }
}
