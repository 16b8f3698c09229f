//! What stands against a commit, and what to do about it.

use std::fmt;

use crate::GuestPath;
use crate::diff::Side;

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
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir(dir.path().join("src"))?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::write(dir.path().join("src/a"), "ours")?;
    /// std::fs::write(dir.path().join("src/a"), "theirs")?;
    /// let error = overlay.commit().unwrap_err();
    /// assert_eq!(error.conflicts()[0].path(), b"src/a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What the overlay has done at this path.
    ///
    /// ```
    /// use testbench_overlay::{OurChange, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    /// std::fs::write(&a, "base")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::rename(&a, &b)?;
    /// std::fs::write(&a, "theirs")?;
    /// let error = overlay.commit().unwrap_err();
    /// assert_eq!(error.conflicts()[0].ours(), &OurChange::Renamed { to: b"b"[..].into() });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ours(&self) -> &OurChange {
        &self.ours
    }

    /// What happened to this path of the lower directory since the overlay saw it.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, TheirChange, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let file = dir.path().join("a");
    /// std::fs::write(&file, "base")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::write(&file, "ours")?;
    /// std::fs::remove_file(&file)?;
    /// std::fs::create_dir(&file)?;
    /// let error = overlay.commit().unwrap_err();
    /// assert_eq!(error.conflicts()[0].theirs(), TheirChange::Retyped);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

/// What the overlay has done to something of the lower directory.
///
/// ```
/// use testbench_overlay::OurChange;
///
/// assert_eq!(OurChange::Deleted.to_string(), "deleted");
/// let moved = OurChange::Renamed { to: b"src/b.rs"[..].into() };
/// assert_eq!(moved.to_string(), "renamed to src/b.rs");
/// ```
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

/// What happened to something in the lower directory since the overlay saw it.
///
/// ```
/// use testbench_overlay::TheirChange;
///
/// let text = [TheirChange::Appeared, TheirChange::Listing].map(|change| change.to_string());
/// assert_eq!(text, ["appeared", "given or robbed of entries"]);
/// ```
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

/// The three versions of what a [`Conflict`] is about, for a resolver. `None` where there was, or
/// is, nothing.
///
/// ```
/// use testbench_overlay::{Overlay, Resolution, Versions, fs, install};
///
/// fn union_of_lines(versions: &Versions) -> Resolution {
///     let [Some(ours), Some(theirs)] = [&versions.ours, &versions.theirs] else {
///         return Resolution::Abort; // somebody has deleted it
///     };
///     match (ours.bytes(), theirs.bytes()) {
///         (Some(ours), Some(theirs)) => Resolution::Content([theirs, ours].concat()),
///         _ => Resolution::Abort,
///     }
/// }
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join(".gitignore");
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::write(&file, "target\n")?;
/// std::fs::write(&file, "*.log\n")?;
/// overlay.commit_with(|_conflict, versions| union_of_lines(versions))?;
/// assert_eq!(std::fs::read_to_string(&file)?, "*.log\ntarget\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Versions {
    /// What the overlay saw first. Its content is
    /// [`Content::Unread`](crate::diff::Content::Unread) where nobody kept it, which is the rule:
    /// the lower directory held it, and holds something else now.
    pub base: Option<Side>,
    /// What the overlay shows, wherever it is now. Its content is
    /// [`Content::Unread`](crate::diff::Content::Unread) if it rests on the base that is gone.
    pub ours: Option<Side>,
    /// What is in the lower directory now.
    pub theirs: Option<Side>,
}

/// What a resolver answers to a [`Conflict`].
///
/// ```
/// use testbench_overlay::{Overlay, Resolution, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("a");
/// for (resolution, wanted) in [
///     (Resolution::Ours, "ours"),
///     (Resolution::Theirs, "theirs"),
///     (Resolution::Content(b"both".to_vec()), "both"),
/// ] {
///     std::fs::write(&file, "base")?;
///     let overlay = Overlay::new(dir.path())?;
///     let _installed = install(overlay.clone());
///     fs::write(&file, "ours")?;
///     std::fs::write(&file, "theirs")?;
///     overlay.commit_with(|_, _| resolution.clone())?;
///     assert_eq!(std::fs::read_to_string(&file)?, wanted);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// The overlay's version is written, whatever is there. What the overlay has not touched stays
    /// theirs: the permission bits of a file that was only written to, further names of a file
    /// that were never looked at.
    Ours,
    /// What is in the lower directory stays, and our change is dropped, with all that depends on
    /// it: both ends of a rename, everything in a directory.
    Theirs,
    /// A file with these bytes is written: the outcome of a merge.
    Content(Vec<u8>),
    /// Nothing is written, and the commit answers with the conflicts.
    Abort,
}
