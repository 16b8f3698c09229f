//! [`HostDir`]: a real directory, out of which no path leads.
//!
//! Host paths and guest paths meet here and nowhere else. A path is walked component by component
//! ([`resolve`]) over handles of the directories on the way; where a
//! prefix has no symlinks in it, one system call (`openat2` with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`) does the same work at once.

mod file;
mod walk;

use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::resolve::{self, End, Last, ShortName, not_to_create};
use crate::sys::{self, Access};
use crate::trees::refusal::Closed;
use crate::vfs::Result;
use crate::vfs::name::NAME_BYTES_MAX;
use crate::{Create, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, SetTimes, Stat};
use file::HostFile;
use walk::{HostWalk, Spot};

/// A confined real directory. Cloning gives another handle to the same one.
///
/// New entries get exactly the requested permission bits; the umask does not apply.
/// Devices, sockets and FIFOs are listed but never opened ([`Errno::Nxio`]).
///
/// ```
/// use testbench_overlay::{Errno, Follow, Fs, GuestPath, HostDir};
///
/// let dir = tempfile::tempdir()?;
/// std::os::unix::fs::symlink("/etc/hostname", dir.path().join("out"))?;
/// let tree = HostDir::open(dir.path())?.read_only();
/// let top = tree.root()?;
/// let stat = tree.stat_at(&*top, GuestPath::new("out"), Follow::Yes);
/// assert_eq!(stat, Err(Errno::NotCapable));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HostDir {
    tree: Arc<Tree>,
}

#[derive(Clone, Debug)]
struct Tree {
    top: Arc<OwnedFd>,
    path: PathBuf,
    read_only: bool,
    /// Walk every path component by component, as where `openat2` does not exist.
    portable: bool,
}

impl HostDir {
    /// Opens a directory for reading and writing.
    ///
    /// ```
    /// use testbench_overlay::{Create, Fs, GuestPath, HostDir, OpenHow};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let tree = HostDir::open(dir.path())?;
    /// let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    /// tree.open_at(&*tree.root()?, GuestPath::new("a"), &how)?.append(b"text")?;
    /// assert_eq!(std::fs::read_to_string(dir.path().join("a"))?, "text", "this is the real disk");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of opening it; [`io::ErrorKind::NotADirectory`] if it is something else.
    pub fn open(path: impl AsRef<Path>) -> io::Result<HostDir> {
        let top = Arc::new(sys::open_top(path.as_ref())?);
        let path = path.as_ref().canonicalize()?;
        Ok(HostDir { tree: Arc::new(Tree { top, path, read_only: false, portable: false }) })
    }

    /// The same directory, in which every change is [`Errno::Rofs`].
    ///
    /// ```
    /// use testbench_overlay::{Errno, Fs, GuestPath, HostDir};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let tree = HostDir::open(dir.path())?.read_only();
    /// let made = tree.create_dir_at(&*tree.root()?, GuestPath::new("d"), 0o755);
    /// assert_eq!(made, Err(Errno::Rofs));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_only(self) -> HostDir {
        self.with(|tree| tree.read_only = true)
    }

    /// The directory's path on the host, canonical when it was opened.
    pub fn path(&self) -> &Path {
        &self.tree.path
    }

    pub(crate) fn top(&self) -> Arc<OwnedFd> {
        self.tree.top.clone()
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.tree.read_only
    }

    /// Makes the file `to`, opened for writing, share all blocks of `from`, where both are of real
    /// directories on one file system that can do it. Else nothing happens.
    pub(crate) fn share_blocks(from: &dyn File, to: &dyn File) -> bool {
        let host = |file| (file as &dyn Any).downcast_ref::<HostFile>();
        match (host(from), host(to)) {
            (Some(from), Some(to)) => sys::share_blocks(&from.fd, &to.fd),
            _ => false,
        }
    }

    /// Makes a regular file that is open for writing one of this tree.
    pub(crate) fn written_file(&self, file: OwnedFd) -> Arc<dyn File> {
        self.file(file, FileKind::File, &OpenHow { write: true, ..OpenHow::READ })
    }

    /// Without `openat2`, for the test that both ways agree.
    #[cfg(test)]
    pub(crate) fn portable(self) -> HostDir {
        self.with(|tree| tree.portable = true)
    }

    fn with(self, change: impl FnOnce(&mut Tree)) -> HostDir {
        let mut tree = Tree::clone(&self.tree);
        change(&mut tree);
        HostDir { tree: Arc::new(tree) }
    }

    fn closed<'a>(&'a self, dir: &'a dyn File, path: GuestPath<'a>) -> Option<Closed<'a>> {
        self.tree.read_only.then_some(Closed { fs: self, dir, path })
    }

    /// Fails if the directory is read-only: with an error that comes before `EROFS`, or that.
    fn refuse(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        before: impl FnOnce(Closed<'_>) -> Result<()>,
    ) -> Result<()> {
        self.closed(dir, path).map_or(Ok(()), |at| before(at).and(Err(Errno::Rofs)))
    }

    fn dir_fd<'d>(&self, dir: &'d dyn File) -> Result<&'d Arc<OwnedFd>> {
        match (dir as &dyn Any).downcast_ref::<HostFile>() {
            Some(file) if Arc::ptr_eq(&file.tree, &self.tree) => match file.kind {
                FileKind::Dir => Ok(&file.fd),
                _ => Err(Errno::Notdir),
            },
            _ => Err(Errno::Xdev),
        }
    }

    fn locate(&self, dir: &dyn File, path: GuestPath<'_>, end: End) -> Result<Spot> {
        let dir = self.dir_fd(dir)?;
        if let Some(spot) = self.locate_at_once(dir, path, end) {
            return Ok(spot);
        }
        let place = resolve::walk(&mut HostWalk { tree: &self.tree }, dir.clone(), path, end)?;
        Spot::from_place(place)
    }

    /// Most paths have no symlink in them and end in a plain name.
    fn locate_at_once(&self, dir: &Arc<OwnedFd>, path: GuestPath<'_>, end: End) -> Option<Spot> {
        let bytes = path.as_bytes();
        let (prefix, name) = match bytes.iter().rposition(|b| *b == b'/') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (&b""[..], bytes),
        };
        if !is_plain_name(name) || resolve::check_text(path).is_err() || path.is_absolute() {
            return None;
        }
        let parent = if prefix.is_empty() {
            dir.clone()
        } else if self.tree.portable {
            return None;
        } else {
            Arc::new(sys::open_dirs_beneath(dir, prefix).ok()?)
        };
        let stat = match sys::stat_at(&parent, name) {
            _ if end == End::Parent => None,
            Ok(stat)
                if stat.kind == FileKind::Symlink && matches!(end, End::Follow | End::Create) =>
            {
                return None;
            }
            Ok(stat) => Some(stat),
            Err(Errno::Noent) => None,
            Err(_) => return None,
        };
        Some(Spot {
            dir: parent,
            last: Last::Name(ShortName::from_slice(name)),
            stat,
            slash: false,
        })
    }

    fn file(&self, fd: OwnedFd, kind: FileKind, how: &OpenHow) -> Arc<dyn File> {
        Arc::new(HostFile::new(&self.tree, fd, kind, how))
    }

    fn open_spot(&self, spot: &Spot, how: &OpenHow) -> Result<Arc<dyn File>> {
        let creates = how.create != Create::Never;
        if creates && spot.slash {
            return Err(not_to_create(&spot.last, how.create));
        }
        let Some(stat) = spot.stat else {
            if !creates {
                return Err(Errno::Noent);
            }
            let fd = sys::create_file(&spot.dir, spot.name()?, access(how), how.mode)?;
            return Ok(self.file(fd, FileKind::File, how));
        };
        match stat.kind {
            _ if how.create == Create::New => Err(Errno::Exist),
            FileKind::Dir if creates || writes(how) => Err(Errno::Isdir),
            FileKind::Dir => {
                let access = if how.read { Access::Read } else { Access::Search };
                let fd = sys::open_dir(&spot.dir, spot.name_or_dot(), access)?;
                Ok(self.file(fd, FileKind::Dir, how))
            }
            _ if how.directory || spot.slash => Err(Errno::Notdir),
            FileKind::Symlink => Err(Errno::Loop),
            FileKind::Special => Err(Errno::Nxio),
            FileKind::File => {
                let fd = sys::open_file(&spot.dir, spot.name()?, access(how))?;
                if how.truncate {
                    sys::set_len(&fd, 0)?;
                }
                Ok(self.file(fd, FileKind::File, how))
            }
        }
    }
}

/// How often an open is tried again when the name appears or disappears under our hands.
const RACES_MAX: usize = 8;

impl Fs for HostDir {
    fn root(&self) -> Result<Arc<dyn File>> {
        let fd = sys::open_dir(&self.tree.top, b".", Access::Read)?;
        Ok(self.file(fd, FileKind::Dir, &OpenHow::READ))
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let how = match self.closed(dir, path) {
            Some(closed) => &closed.open(how)?,
            None => how,
        };
        let creates = how.create != Create::Never;
        if creates && how.directory {
            return Err(Errno::Inval);
        }
        // A directory under a plain name in another is one system call away. All else that may be
        // there, and every error, is for the long way to tell.
        if how.directory && !writes(how) && is_plain_name(path.as_bytes()) {
            let access = if how.read { Access::Read } else { Access::Search };
            if let Ok(fd) = sys::open_dir(self.dir_fd(dir)?, path.as_bytes(), access) {
                return Ok(self.file(fd, FileKind::Dir, how));
            }
        }
        let end = End::of_open(path, how);
        let mut tries = 0;
        loop {
            let spot = self.locate(dir, path, end)?;
            let opened = self.open_spot(&spot, how);
            let raced = match (&opened, spot.stat) {
                (Err(Errno::Exist), None) => how.create == Create::IfMissing,
                (Err(Errno::Noent), Some(_)) => creates,
                _ => false,
            };
            tries += 1;
            if !raced || tries == RACES_MAX {
                return opened;
            }
        }
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        self.locate(dir, path, End::of(follow))?.present()
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        let spot = self.locate(dir, path, End::Keep)?;
        match spot.present()?.kind {
            FileKind::Symlink => sys::read_link(&spot.dir, spot.name()?),
            _ => Err(Errno::Inval),
        }
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        self.refuse(dir, path, |at| at.new_name(true))?;
        let spot = self.locate(dir, path, End::Name)?;
        sys::create_dir(&spot.dir, &spot.free_name()?, mode)
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.refuse(dir, path, |at| at.symlink(target))?;
        let spot = self.locate(dir, path, End::Name)?;
        sys::symlink(target, &spot.dir, &spot.free_name()?)
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let to_at = Closed { fs: self, dir: to_dir, path: to };
        self.refuse(from_dir, from, |at| at.link(follow, to_at))?;
        let source = self.locate(from_dir, from, End::of(follow))?;
        let kind = source.present()?.kind;
        let target = self.locate(to_dir, to, End::Name)?;
        let name = target.free_name()?;
        match kind {
            // A slash is found before the directory that cannot be linked.
            FileKind::Dir if target.slash => Err(Errno::Noent),
            FileKind::Dir => Err(Errno::Perm),
            _ => sys::link(&source.dir, source.name()?, &target.dir, &name),
        }
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let to_at = Closed { fs: self, dir: to_dir, path: to };
        self.refuse(from_dir, from, |at| at.rename(to_at))?;
        let source = self.locate(from_dir, from, End::Parent)?;
        let target = self.locate(to_dir, to, End::Parent)?;
        let (Last::Name(_), Last::Name(_)) = (&source.last, &target.last) else {
            return Err(Errno::Busy);
        };
        sys::rename(&source.dir, &source.name_slash()?, &target.dir, &target.name_slash()?)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.refuse(dir, path, |at| at.remove_file())?;
        let spot = self.locate(dir, path, End::Name)?;
        match spot.last {
            Last::Name(_) => sys::remove_file(&spot.dir, &spot.name_slash()?),
            Last::Dot | Last::DotDot => Err(Errno::Isdir),
        }
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.refuse(dir, path, |at| at.remove_dir())?;
        let spot = self.locate(dir, path, End::Name)?;
        match spot.last {
            Last::Name(_) => sys::remove_dir(&spot.dir, &spot.name_slash()?),
            Last::Dot => Err(Errno::Inval),
            Last::DotDot => Err(Errno::Notempty),
        }
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        if self.tree.read_only && times == SetTimes::default() {
            return Ok(());
        }
        self.refuse(dir, path, |at| at.stat(follow).map(drop))?;
        let spot = self.locate(dir, path, End::of(follow))?;
        spot.present()?;
        sys::set_times_at(&spot.dir, spot.name_or_dot(), times)
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<()> {
        self.refuse(dir, path, |at| at.stat(follow).map(drop))?;
        let spot = self.locate(dir, path, End::of(follow))?;
        // The only call that cannot be led astray by a name swapped for a symlink is the one on an
        // open file, so the file must be readable or writable.
        let fd = match spot.present()?.kind {
            FileKind::Dir => sys::open_dir(&spot.dir, spot.name_or_dot(), Access::Read)?,
            FileKind::File => match sys::open_file(&spot.dir, spot.name()?, Access::Read) {
                Err(Errno::Acces) => sys::open_file(&spot.dir, spot.name()?, Access::Write)?,
                opened => opened?,
            },
            FileKind::Symlink | FileKind::Special => return Err(Errno::Notsup),
        };
        sys::set_mode(&fd, mode)
    }
}

/// One component that is neither `.` nor `..`, and that every system call can take.
fn is_plain_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_BYTES_MAX
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Whether what is there is changed by opening it, or can be from then on.
fn writes(how: &OpenHow) -> bool {
    how.write || how.truncate
}

fn access(how: &OpenHow) -> Access {
    match (how.read, writes(how)) {
        (_, false) => Access::Read,
        (false, true) => Access::Write,
        (true, true) => Access::ReadWrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shape of path, with and without `openat2`.
    #[test]
    fn both_ways_of_walking_agree() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/f"), "text").unwrap();
        std::os::unix::fs::symlink("d/e", at("in")).unwrap();
        std::os::unix::fs::symlink("../..", at("d/out")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let fast = HostDir::open(dir.path()).unwrap();
        let slow = fast.clone().portable();
        let (fast_top, slow_top) = (fast.root().unwrap(), slow.root().unwrap());
        let firsts =
            ["d", "d/e", "d/f", "in", "in/..", "loop", "d/out", "none", ".", "..", "", "/d"];
        let lasts = ["", "/", "/.", "/..", "/f", "/e/..//f", "/../d/f", "/none", "/none/x"];
        let mut seen = std::collections::BTreeSet::new();
        for path in firsts.iter().flat_map(|a| lasts.map(|b| format!("{a}{b}"))) {
            let path = GuestPath::new(&path);
            for follow in [Follow::Yes, Follow::No] {
                let stat = fast.stat_at(&*fast_top, path, follow);
                assert_eq!(stat, slow.stat_at(&*slow_top, path, follow), "{path} {follow:?}");
                seen.insert(stat.map(|stat| stat.kind));
                let how = OpenHow { follow, ..OpenHow::READ };
                let ino = |file: Arc<dyn File>| file.stat().map(|stat| stat.ino);
                let a = fast.open_at(&*fast_top, path, &how).and_then(ino);
                let b = slow.open_at(&*slow_top, path, &how).and_then(ino);
                assert_eq!(a, b, "{path} {follow:?}");
            }
        }
        for wanted in [Errno::Noent, Errno::Notdir, Errno::Loop, Errno::NotCapable] {
            assert!(seen.contains(&Err(wanted)), "{wanted} was never answered");
        }
    }
}
