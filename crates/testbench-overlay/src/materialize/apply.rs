//! The inverse of a diff: making paths look as they once did, such as when what a program did to
//! its files is played back.

use std::io;

use crate::diff::{Content, Side};
use crate::handle::Handle;
use crate::ops::Renaming;
use crate::ops::core::Tx;
use crate::resolve::End;
use crate::upper::inode::Ino;
use crate::{
    Create, Errno, File, FileKind, Follow, GuestPath, OpenHow, Overlay, SetTime, SetTimes,
};

use testbench_clock::WallTime;

/// The state that one path shall have; see [`Overlay::apply`].
///
/// ```
/// use testbench_overlay::Put;
/// use testbench_overlay::diff::Side;
///
/// let moved = Put {
///     moved_from: Some(b"old".to_vec()),
///     ..Put::new("new", Some(Side::unread_file(0o644)))
/// };
/// assert_eq!(moved.path, b"new");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// From the top, without symlinks on the way; the empty path is the top.
    pub path: Vec<u8>,
    /// The file, directory or symlink at the path; `None` removes the path. [`Content::Unread`] leaves the content of what is
    /// there.
    pub side: Option<Side>,
    /// Where it moved from, which is tried first, so that it stays the same file. The entry there
    /// afterwards is made to look like `side` all the same.
    pub moved_from: Option<Vec<u8>>,
    /// The file of which it is one more name, if that is there.
    pub link_to: Option<Vec<u8>>,
    /// Whether a file of the same kind that is there now is replaced by a new one, rather than
    /// written to. It matters to the other names of that file.
    pub fresh: bool,
    /// The time of the last change of its content, if it is not to be now.
    pub mtime: Option<WallTime>,
}

impl Put {
    /// Makes `path` look like `side`; `None` removes what is there.
    ///
    /// ```
    /// use testbench_overlay::diff::Side;
    /// use testbench_overlay::{Overlay, Put};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("old"), "")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// overlay.apply(&[
    ///     Put::new("old", None),
    ///     Put::new("latest", Some(Side::symlink(*b"v2"))),
    /// ])?;
    /// assert_eq!(overlay.diff()?.summary(), "A latest (symlink)\nD old\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(path: impl Into<Vec<u8>>, side: Option<Side>) -> Put {
        let path = path.into();
        Put { path, side, moved_from: None, link_to: None, fresh: false, mtime: None }
    }
}

/// A change that does not fit the tree that is there.
///
/// ```
/// use testbench_overlay::diff::Side;
/// use testbench_overlay::{Errno, Overlay, Put};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let error = overlay.apply(&[Put::new("no/new", Some(Side::file(0o644, *b"")))]).unwrap_err();
/// assert_eq!((&error.path[..], error.errno), (&b"no/new"[..], Errno::Noent));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "cannot change `{}`: {errno}; the files are not those of the recording",
    GuestPath::new(path)
)]
pub struct ApplyError {
    /// Where.
    pub path: Vec<u8>,
    /// Why.
    #[source]
    pub errno: Errno,
}

/// The kind is that of the error number.
impl From<ApplyError> for io::Error {
    fn from(error: ApplyError) -> io::Error {
        io::Error::new(io::Error::from(error.errno).kind(), error)
    }
}

impl Overlay {
    /// Makes paths look as the `puts` say, in whatever order these come: as ordinary changes, which
    /// the diff then shows. Permission bits are not checked, because the change has happened already.
    /// A path that already has its state is not touched.
    ///
    /// ```
    /// use testbench_overlay::diff::Side;
    /// use testbench_overlay::{Overlay, Put};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("old"), "x")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// overlay.apply(&[
    ///     Put::new("new/file", Some(Side::file(0o644, *b"text"))),
    ///     Put::new("new", Some(Side::dir(0o755))),
    ///     Put::new("old", None),
    /// ])?;
    /// assert_eq!(overlay.diff()?.summary(), "A new/\nA new/file\nD old\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApplyError`] with the first path that cannot be changed. Earlier changes stay.
    pub fn apply(&self, puts: &[Put]) -> Result<(), ApplyError> {
        let mut puts: Vec<&Put> = puts.iter().collect();
        puts.sort_by(|a, b| a.path.cmp(&b.path));
        for put in &puts {
            if let Some(from) = &put.moved_from {
                self.move_if_free(from, &put.path);
            }
        }
        // What lies in a directory sorts behind it, so backwards is from the bottom up.
        for put in puts.iter().rev() {
            self.clear(put).map_err(|errno| ApplyError { path: put.path.clone(), errno })?;
        }
        for put in &puts {
            self.put(put).map_err(|errno| ApplyError { path: put.path.clone(), errno })?;
        }
        for put in &puts {
            self.set_mtime(put).map_err(|errno| ApplyError { path: put.path.clone(), errno })?;
        }
        Ok(())
    }

    /// Identity is kept where it can be; the content is seen to afterwards.
    fn move_if_free(&self, from: &[u8], to: &[u8]) {
        let mut tx = self.core.tx_as_root();
        if matches!(tx.find(Ino::ROOT, GuestPath::new(to), End::Name), Err(Errno::Noent)) {
            let _ = tx.rename(
                Ino::ROOT,
                GuestPath::new(from),
                Ino::ROOT,
                GuestPath::new(to),
                Renaming::Replace,
            );
        }
    }

    /// Removes what is in the way.
    fn clear(&self, put: &Put) -> Result<(), Errno> {
        let mut tx = self.core.tx_as_root();
        let path = at(&put.path);
        let ino = match tx.find(Ino::ROOT, path, End::Name) {
            Ok(ino) => ino,
            Err(Errno::Noent | Errno::Notdir) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let kind = tx.live.state.inode(ino)?.kind();
        let wanted = put.side.as_ref().map(|side| side.kind);
        match (kind, wanted) {
            (FileKind::Dir, Some(FileKind::Dir)) => Ok(()),
            (FileKind::File, Some(FileKind::File)) if !put.fresh => Ok(()),
            (FileKind::Dir, _) => tx.remove_dir(Ino::ROOT, path),
            _ if self.is_same_link(&mut tx, ino, put)? => Ok(()),
            _ => tx.remove_file(Ino::ROOT, path),
        }
    }

    fn is_same_link(&self, tx: &mut Tx<'_>, ino: Ino, put: &Put) -> Result<bool, Errno> {
        let crate::upper::inode::Node::Symlink(target) = &tx.live.state.inode(ino)?.node else {
            return Ok(false);
        };
        let wanted = put.side.as_ref().filter(|side| side.kind == FileKind::Symlink);
        Ok(wanted.is_some_and(|side| side.bytes().is_none_or(|bytes| bytes == &target[..])))
    }

    fn put(&self, put: &Put) -> Result<(), Errno> {
        let Some(side) = &put.side else { return Ok(()) };
        let path = at(&put.path);
        let mut tx = self.core.tx_as_root();
        let present = match tx.find(Ino::ROOT, path, End::Name) {
            Ok(_) => true,
            Err(Errno::Noent) => false,
            Err(errno) => return Err(errno),
        };
        match side.kind {
            FileKind::Special => return Err(Errno::Notsup),
            FileKind::Symlink if present => return Ok(()),
            FileKind::Symlink => {
                return tx.symlink(side.bytes().ok_or(Errno::Inval)?, Ino::ROOT, path);
            }
            FileKind::Dir if present => {}
            FileKind::Dir => tx.create_dir(Ino::ROOT, path, side.mode)?,
            FileKind::File => {
                if !present && let Some(first) = &put.link_to {
                    let first = tx.find(Ino::ROOT, at(first), End::Name)?;
                    tx.link(first, Ino::ROOT, path)?;
                }
                drop(tx);
                self.put_content(path, side)?;
                tx = self.core.tx_as_root();
            }
        }
        let ino = tx.find(Ino::ROOT, path, End::Name)?;
        if tx.live.state.inode(ino)?.meta.mode == side.mode {
            return Ok(());
        }
        tx.set_mode(ino, side.mode)
    }

    fn put_content(&self, path: GuestPath<'_>, side: &Side) -> Result<(), Errno> {
        let how = OpenHow {
            write: true,
            create: Create::IfMissing,
            follow: Follow::No,
            mode: side.mode,
            ..OpenHow::READ
        };
        let mut tx = self.core.tx_as_root();
        let ino = tx.open(Ino::ROOT, path, &how)?;
        let file = Handle::new(&self.core, &mut tx, ino, true, true);
        drop(tx);
        match &side.content {
            Content::Unread => Ok(()),
            Content::Bytes(bytes) => write_whole(&file, bytes),
        }
    }

    fn set_mtime(&self, put: &Put) -> Result<(), Errno> {
        let Some(mtime) = put.mtime.filter(|_| put.side.is_some()) else { return Ok(()) };
        let mut tx = self.core.tx_as_root();
        let ino = tx.find(Ino::ROOT, at(&put.path), End::Name)?;
        tx.set_times(ino, SetTimes { mtime: Some(SetTime::At(mtime)), atime: None })
    }
}

fn at(path: &[u8]) -> GuestPath<'_> {
    GuestPath::new(if path.is_empty() { &b"."[..] } else { path })
}

/// Makes a file hold `bytes`, if it does not already.
fn write_whole(file: &Handle, bytes: &[u8]) -> Result<(), Errno> {
    let size = file.stat()?.size;
    if size == bytes.len() as u64 && holds(file, bytes)? {
        return Ok(());
    }
    file.set_len(0)?;
    let mut done = 0;
    while done < bytes.len() {
        done += file.write_at(&bytes[done..], done as u64)?;
    }
    Ok(())
}

fn holds(file: &Handle, bytes: &[u8]) -> Result<bool, Errno> {
    const STEP_BYTES: usize = 64 * 1024;
    let mut buf = vec![0; STEP_BYTES.min(bytes.len())];
    let mut at = 0;
    while at < bytes.len() {
        let n = file.read_at(&mut buf, at as u64)?;
        if n == 0 || bytes.get(at..at + n) != Some(&buf[..n]) {
            return Ok(false);
        }
        at += n;
    }
    Ok(true)
}
