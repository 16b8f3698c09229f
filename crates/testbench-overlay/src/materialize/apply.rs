//! The inverse of a diff: making paths look as they once did, such as when what a program did to
//! its files is played back.

use std::io;
use std::sync::Arc;

use testbench_clock::WallTime;

use super::{RealTree, write_all};
use crate::diff::{Content, Side};
use crate::handle::Handle;
use crate::lower::present;
use crate::ops::Renaming;
use crate::ops::core::{Core, Tx};
use crate::resolve::End;
use crate::upper::inode::{Ino, Node};
use crate::vfs::name::RelPath;
use crate::{
    Create, Errno, File, FileKind, Follow, GuestPath, OpenHow, Overlay, SetTime, SetTimes,
};

/// How many bytes are compared and written at a time.
const STEP_BYTES: usize = 64 << 10;

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
    /// The file, directory or symlink at the path; `None` removes the path. [`Content::Unread`]
    /// leaves the content of what is there.
    pub side: Option<Side>,
    /// Where it moved from, which is tried first, so that it stays the same file. The entry there
    /// afterwards is made to look like `side` all the same.
    pub moved_from: Option<Vec<u8>>,
    /// The file of which it is one more name, if that is there.
    pub link_to: Option<Vec<u8>>,
    /// Whether a file or symlink that is there now is replaced by a new one, even of the same kind.
    /// It matters to the other names of the old one.
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
        self.put_all(puts, None)
    }

    /// The same. The contents of files are those that `source` has at their paths, if it is given.
    pub(super) fn put_all<'p>(
        &'p self,
        puts: &'p [Put],
        source: Option<&'p RealTree>,
    ) -> Result<(), ApplyError> {
        let mut puts: Vec<&Put> = puts.iter().collect();
        puts.sort_by(|a, b| a.path.cmp(&b.path));
        let mut putter = Putter { core: &self.core, source, last: b"", dirs: Vec::new() };
        let mut run = |step: Step<'p>, put: &'p Put| {
            step(&mut putter, put).map_err(|errno| ApplyError { path: put.path.clone(), errno })
        };
        puts.iter().try_for_each(|put| run(Putter::move_if_free, put))?;
        // What lies in a directory sorts behind it, so backwards is from the bottom up.
        puts.iter().rev().try_for_each(|put| run(Putter::clear, put))?;
        puts.iter().try_for_each(|put| run(Putter::put, put))?;
        // At last, since what is done in a directory moves its times.
        puts.iter().try_for_each(|put| run(Putter::set_mtime, put))
    }
}

/// A step that is taken for each put.
type Step<'p> = fn(&mut Putter<'p>, &'p Put) -> Result<(), Errno>;

/// Goes through puts in the order of their paths, with the directories on the way to the last one
/// at hand: each is looked up once, however deep it lies.
struct Putter<'p> {
    core: &'p Arc<Core>,
    source: Option<&'p RealTree>,
    last: &'p [u8],
    /// The directories above `last`, and how much of it leads to each.
    dirs: Vec<(usize, Ino)>,
}

impl<'p> Putter<'p> {
    /// Returns the directory of a path and the name in it, which is `.` for the top.
    fn parent(&mut self, tx: &mut Tx<'_>, path: &'p [u8]) -> Result<(Ino, GuestPath<'p>), Errno> {
        let leads = |end: usize| path.get(end) == Some(&b'/') && path[..end] == self.last[..end];
        while self.dirs.last().is_some_and(|(end, _)| !leads(*end)) {
            self.dirs.pop();
        }
        self.last = path;
        let (mut start, mut dir) =
            self.dirs.last().map_or((0, Ino::ROOT), |(end, dir)| (end + 1, *dir));
        while let Some(len) = path[start..].iter().position(|byte| *byte == b'/') {
            dir = tx.find(dir, GuestPath::new(&path[start..start + len]), End::Name)?;
            self.dirs.push((start + len, dir));
            start += len + 1;
        }
        Ok((dir, GuestPath::new(if path.is_empty() { &b"."[..] } else { &path[start..] })))
    }

    /// Identity is kept where it can be; the content is seen to afterwards.
    fn move_if_free(&mut self, put: &'p Put) -> Result<(), Errno> {
        let Some(from) = &put.moved_from else { return Ok(()) };
        let mut tx = self.core.tx_as_root();
        let (from, to) = (GuestPath::new(from), GuestPath::new(&put.path));
        if let Err(Errno::Noent) = tx.find(Ino::ROOT, to, End::Name) {
            let _ = tx.rename(Ino::ROOT, from, Ino::ROOT, to, Renaming::Replace);
        }
        Ok(())
    }

    /// Removes what is in the way.
    fn clear(&mut self, put: &'p Put) -> Result<(), Errno> {
        let mut tx = self.core.tx_as_root();
        let Some((dir, name)) = present(self.parent(&mut tx, &put.path))? else { return Ok(()) };
        let Some(ino) = present(tx.find(dir, name, End::Name))? else { return Ok(()) };
        let inode = tx.live.state.inode(ino)?;
        let stays = put.side.as_ref().is_some_and(|side| match &inode.node {
            Node::Dir(_) => side.kind == FileKind::Dir,
            Node::File(_) => side.kind == FileKind::File && !put.fresh,
            Node::Symlink(target) => {
                let is_same = side.bytes().is_none_or(|bytes| *bytes == target[..]);
                side.kind == FileKind::Symlink && is_same && !put.fresh
            }
            Node::Special => false,
        });
        match inode.kind() {
            _ if stays => Ok(()),
            FileKind::Dir => remove_dir(&mut tx, dir, name, ino),
            _ => tx.remove_file(dir, name),
        }
    }

    fn put(&mut self, put: &'p Put) -> Result<(), Errno> {
        let Some(side) = &put.side else { return Ok(()) };
        let mut tx = self.core.tx_as_root();
        let (dir, name) = self.parent(&mut tx, &put.path)?;
        let is_there = present(tx.find(dir, name, End::Name))?.is_some();
        match (side.kind, &put.link_to) {
            (FileKind::Special, _) => return Err(Errno::Notsup),
            _ if is_there => {}
            (FileKind::Dir, _) => tx.create_dir(dir, name, side.mode)?,
            (_, Some(first)) => {
                let first = tx.find(Ino::ROOT, GuestPath::new(first), End::Name)?;
                tx.link(first, dir, name)?;
            }
            (FileKind::Symlink, _) => {
                tx.symlink(side.bytes().ok_or(Errno::Inval)?, dir, name)?;
            }
            (FileKind::File, _) => {}
        }
        if side.kind == FileKind::File {
            drop(tx);
            self.put_content(dir, name, put, side)?;
            tx = self.core.tx_as_root();
        }
        let ino = tx.find(dir, name, End::Name)?;
        let keeps_mode = tx.live.state.inode(ino)?.meta.mode == side.mode;
        if keeps_mode || side.kind == FileKind::Symlink {
            Ok(())
        } else {
            tx.set_mode(ino, side.mode)
        }
    }

    fn put_content(
        &self,
        dir: Ino,
        name: GuestPath<'_>,
        put: &Put,
        side: &Side,
    ) -> Result<(), Errno> {
        let path = RelPath::TOP.join(&put.path);
        let source = self.source.map(|tree| tree.seen.open(&path, false)).transpose()?;
        let how = OpenHow {
            write: true,
            create: Create::IfMissing,
            follow: Follow::No,
            mode: side.mode,
            ..OpenHow::READ
        };
        let mut tx = self.core.tx_as_root();
        let ino = tx.open(dir, name, &how)?;
        let target = Handle::new(self.core, &mut tx, ino, true, true);
        drop(tx);
        match (source, &side.content) {
            (Some(file), _) => copy_in(|buf, at| file.read_at(buf, at), &target),
            (None, Content::Unread) => Ok(()),
            (None, Content::Bytes(bytes)) => copy_in(
                |buf, at| {
                    let rest = &bytes[at as usize..];
                    let n = rest.len().min(buf.len());
                    buf[..n].copy_from_slice(&rest[..n]);
                    Ok(n)
                },
                &target,
            ),
        }
    }

    fn set_mtime(&mut self, put: &'p Put) -> Result<(), Errno> {
        let Some(mtime) = put.mtime.filter(|_| put.side.is_some()) else { return Ok(()) };
        let mut tx = self.core.tx_as_root();
        let (dir, name) = self.parent(&mut tx, &put.path)?;
        let ino = tx.find(dir, name, End::Name)?;
        tx.set_times(ino, SetTimes { mtime: Some(SetTime::At(mtime)), atime: None })
    }
}

/// Removes a directory, and the devices, sockets and FIFOs in it, which no put can name.
fn remove_dir(tx: &mut Tx<'_>, dir: Ino, name: GuestPath<'_>, ino: Ino) -> Result<(), Errno> {
    for entry in tx.list(ino)? {
        if entry.kind == FileKind::Special {
            tx.remove_file(ino, GuestPath::new(&entry.name))?;
        }
    }
    tx.remove_dir(dir, name)
}

/// Makes a file hold all that `read` returns, writing only what differs.
fn copy_in(
    read: impl Fn(&mut [u8], u64) -> Result<usize, Errno>,
    target: &Handle,
) -> Result<(), Errno> {
    let (mut new, mut old) = (vec![0; STEP_BYTES], vec![0; STEP_BYTES]);
    let mut offset = 0;
    loop {
        let n = match read(&mut new, offset) {
            Ok(0) => break,
            Err(Errno::Intr) => continue,
            read => read?,
        };
        let held = target.read_at(&mut old[..n], offset)?;
        if held < n || new[..n] != old[..n] {
            write_all(target, &new[..n], offset)?;
        }
        offset += n as u64;
    }
    if target.stat()?.size != offset { target.set_len(offset) } else { Ok(()) }
}
