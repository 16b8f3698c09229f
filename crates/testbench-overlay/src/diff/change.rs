//! [`Change`]: one name that differs.

use std::fmt;
use std::sync::Arc;

use super::git::git_refuses;
use crate::{FileKind, GuestPath};

/// One name that differs, as reported to
/// [`Diff::from_changes`](super::Diff::from_changes).
///
/// Paths are relative to the root, with `/` between components and none at either end; the empty
/// path is the root itself.
///
/// - A name whose content, mode or kind changed, or that is there in one tree only, is
///   [`Origin::InPlace`]. Everything in an added or removed directory is reported, and the
///   directory too.
/// - A file that moved is [`Origin::RenamedFrom`]; `before` is then what was at its *old* path. If
///   something else was at the new path, a [`Change::removed`] says so as well. The vacated path
///   needs no change of its own.
/// - A directory that moved is reported like a file, and so is **every file and symlink that came
///   along**, changed or not: the patch needs them, the other renderings leave out those that are
///   explained by the directory. A removal inside has its old path, an addition its
///   new one.
/// - A further name of a file is [`Origin::LinkTo`] the first one, with its content.
///
/// ```
/// use testbench_overlay::diff::{Change, Diff, Origin, Side};
///
/// let change = Change::linked("b", "a", Side::file(0o644, *b"text"));
/// assert!(matches!(change.origin, Origin::LinkTo(_)));
/// assert_eq!(Diff::from_changes([change]).summary(), "L a -> b\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it is now, or was if it is gone.
    pub path: Box<[u8]>,
    /// The old side; for a rename the one at the old path.
    pub before: Option<Side>,
    /// The new side.
    pub after: Option<Side>,
    /// Where `after` came from.
    pub origin: Origin,
}

/// Where the file behind a name came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// From the same path, or from nowhere.
    InPlace,
    /// It is the very file that was at this path, and is no longer.
    RenamedFrom(Box<[u8]>),
    /// It is one more name of the file at this path of the changed tree.
    LinkTo(Box<[u8]>),
}

/// A file, directory or symlink, before or after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The kind.
    pub kind: FileKind,
    /// Permission bits; of a symlink they mean nothing and are ignored.
    pub mode: u32,
    /// The bytes of a file, or a symlink's target.
    pub content: Content,
    /// Time of last change of the content in nanoseconds since the start (of an overlay: since it was
    /// made), if the diff is to hold times; negative for earlier. See
    /// [`DiffOptions::times`](super::DiffOptions::times).
    pub mtime_ns: Option<i64>,
}

/// The content of one [`Side`].
///
/// ```
/// use testbench_overlay::diff::{Change, Content, Diff, Side};
///
/// // Only the mode differs, so the file need not be read.
/// let diff = Diff::from_changes([Change::changed(
///     "tool",
///     Side::unread_file(0o644),
///     Side::unread_file(0o755),
/// )]);
/// assert_eq!(diff.summary(), "M tool (mode 0644 -> 0755)\n");
/// assert_eq!(diff.entries()[0].after().unwrap().content, Content::Unread);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes; none for directories and special files.
    Bytes(Arc<[u8]>),
    /// Not read, because it is the same as on the other side.
    ///
    /// On a side without another the renderings say that the content is not known.
    Unread,
}

impl Change {
    /// A change of a path where nothing was, and something is now.
    pub fn added(path: impl AsRef<[u8]>, after: Side) -> Change {
        Change::new(path, None, Some(after), Origin::InPlace)
    }

    /// A change of a path where something was, and nothing is now.
    pub fn removed(path: impl AsRef<[u8]>, before: Side) -> Change {
        Change::new(path, Some(before), None, Origin::InPlace)
    }

    /// A change of a path where what is there differs from what was.
    pub fn changed(path: impl AsRef<[u8]>, before: Side, after: Side) -> Change {
        Change::new(path, Some(before), Some(after), Origin::InPlace)
    }

    /// A change of place: what was at `from` is now at `path`.
    pub fn renamed(
        from: impl AsRef<[u8]>,
        path: impl AsRef<[u8]>,
        before: Side,
        after: Side,
    ) -> Change {
        Change::new(path, Some(before), Some(after), Origin::RenamedFrom(from.as_ref().into()))
    }

    /// A hard link: `path` is one more name of the file at `to`.
    pub fn linked(to: impl AsRef<[u8]>, path: impl AsRef<[u8]>, after: Side) -> Change {
        Change::new(path, None, Some(after), Origin::LinkTo(to.as_ref().into()))
    }

    /// Whether the patch needs the content of a file or symlink that moved, be it unchanged.
    ///
    /// That is so where git refuses one of the two names, such as `.git/x`, and takes the other:
    /// the patch then removes the one or adds the other, and with [`Content::Unread`] can only
    /// remark on it.
    ///
    /// ```
    /// use testbench_overlay::FileKind;
    /// use testbench_overlay::diff::Change;
    ///
    /// assert!(Change::rename_needs_content(b".git/hooks/x", b"x", FileKind::File));
    /// assert!(!Change::rename_needs_content(b"a/x", b"x", FileKind::File));
    /// ```
    pub fn rename_needs_content(
        from: impl AsRef<[u8]>,
        path: impl AsRef<[u8]>,
        kind: FileKind,
    ) -> bool {
        matches!(kind, FileKind::File | FileKind::Symlink)
            && git_refuses(from.as_ref(), kind) != git_refuses(path.as_ref(), kind)
    }

    pub(super) fn moved_from(&self) -> Option<&[u8]> {
        match &self.origin {
            Origin::RenamedFrom(from) => Some(from),
            _ => None,
        }
    }

    fn new(
        path: impl AsRef<[u8]>,
        before: Option<Side>,
        after: Option<Side>,
        origin: Origin,
    ) -> Change {
        Change { path: path.as_ref().into(), before, after, origin }
    }
}

impl Side {
    /// A regular file with these permission bits and this content.
    pub fn file(mode: u32, bytes: impl Into<Arc<[u8]>>) -> Side {
        Side::new(FileKind::File, mode, Content::Bytes(bytes.into()))
    }

    /// A regular file with the same content on the other side, see [`Content::Unread`].
    pub fn unread_file(mode: u32) -> Side {
        Side::new(FileKind::File, mode, Content::Unread)
    }

    /// A directory with these permission bits.
    pub fn dir(mode: u32) -> Side {
        Side::new(FileKind::Dir, mode, Content::empty())
    }

    /// A symlink that holds `target`.
    pub fn symlink(target: impl Into<Arc<[u8]>>) -> Side {
        Side::new(FileKind::Symlink, 0o777, Content::Bytes(target.into()))
    }

    /// A symlink with the same target on the other side, see [`Content::Unread`].
    pub fn unread_symlink() -> Side {
        Side::new(FileKind::Symlink, 0o777, Content::Unread)
    }

    /// A device, socket or FIFO with these permission bits.
    pub fn special(mode: u32) -> Side {
        Side::new(FileKind::Special, mode, Content::empty())
    }

    fn new(kind: FileKind, mode: u32, content: Content) -> Side {
        Side { kind, mode, content, mtime_ns: None }
    }

    /// The bytes of a file, or a symlink's target, if they were read. Empty for directories and
    /// special files.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes),
            Content::Unread => None,
        }
    }
}

impl Content {
    fn empty() -> Content {
        Content::Bytes(Arc::default())
    }
}

/// The path for people.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::InPlace => write!(f, "InPlace"),
            Origin::RenamedFrom(path) => write!(f, "RenamedFrom({:?})", GuestPath::new(path)),
            Origin::LinkTo(path) => write!(f, "LinkTo({:?})", GuestPath::new(path)),
        }
    }
}

/// Short contents as they are, others by their length.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Bytes(bytes) if bytes.len() <= 64 => write!(f, "{:?}", GuestPath::new(bytes)),
            Content::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Content::Unread => write!(f, "<unread>"),
        }
    }
}
