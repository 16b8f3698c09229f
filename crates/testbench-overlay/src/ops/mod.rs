//! Operations on names: create, remove, link, rename. Each one decides everything, lower look-ups
//! and errors included, before it changes anything. The order in which errors are found is Linux's.

pub(crate) mod by_path;
pub(crate) mod core;
pub(crate) mod links;
pub(crate) mod lookup;

use smallvec::smallvec;
use testbench_clock::WallTime;

use crate::lower::view::Meta;
use crate::ops::core::Tx;
use crate::ops::lookup::Found;
use crate::resolve::{End, Last, Step, check_text, not_to_create};
use crate::upper::content::Content;
use crate::upper::inode::{Dir, Entry, Ino, Inode, Node};
use crate::vfs::Result;
use crate::vfs::name::Name;
use crate::{Create, Errno, FileKind, GuestPath, OpenHow};

/// The treatment of the target name in [`Overlay::rename_with`](crate::Overlay::rename_with), as the
/// flags of Linux's `renameat2(2)` say.
///
/// ```
/// use testbench_overlay::{Errno, Fs, GuestPath, Overlay, Renaming};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a"), "a")?;
/// std::fs::write(dir.path().join("b"), "b")?;
/// let overlay = Overlay::new(dir.path())?;
/// let top = overlay.root()?;
/// let (a, b) = (GuestPath::new("a"), GuestPath::new("b"));
/// assert_eq!(overlay.rename_with(&*top, a, &*top, b, Renaming::New), Err(Errno::Exist));
/// overlay.rename_with(&*top, a, &*top, b, Renaming::Exchange)?;
/// assert_eq!(overlay.diff()?.stat().renamed, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renaming {
    /// A file, or an empty directory of the same kind, is replaced: `rename(2)`.
    Replace,
    /// If it is taken, the operation fails with [`Errno::Exist`] (`RENAME_NOREPLACE`).
    New,
    /// The target entry moves to the old name in the same step (`RENAME_EXCHANGE`).
    Exchange,
}

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;
const WRITE_AND_SEARCH: u32 = 0o3;

impl Tx<'_> {
    pub(crate) fn open(&mut self, start: Ino, path: GuestPath<'_>, how: &OpenHow) -> Result<Ino> {
        let creates = how.create != Create::Never;
        if creates && how.directory {
            return Err(Errno::Inval);
        }
        let place = self.walk(start, path, End::of_open(path, how))?;
        if creates && place.slash {
            return Err(not_to_create(&place.last, how.create));
        }
        match place.found {
            Step::Missing if !creates => Err(Errno::Noent),
            Step::Missing => {
                let name = free(&place, false)?;
                self.create(place.dir, name, Node::File(Content::empty()), how.mode)
            }
            _ if how.create == Create::New => Err(Errno::Exist),
            Step::Dir(_) if creates => Err(Errno::Isdir),
            Step::Link(..) | Step::Leaf(_) if place.slash => Err(Errno::Notdir),
            Step::Dir(ino) | Step::Link(_, ino) | Step::Leaf(ino) => {
                self.open_inode(ino, how).map(|()| ino)
            }
        }
    }

    /// Opens an inode that is there already.
    pub(crate) fn open_inode(&mut self, ino: Ino, how: &OpenHow) -> Result<()> {
        let writes = how.write || how.truncate;
        let wanted = if how.read { READ } else { 0 } | if writes { WRITE } else { 0 };
        let inode = self.live.state.inode(ino)?;
        match inode.kind() {
            FileKind::Dir if writes => Err(Errno::Isdir),
            FileKind::Dir => self.may(inode, wanted),
            _ if how.directory => Err(Errno::Notdir),
            FileKind::Symlink => Err(Errno::Loop),
            FileKind::Special => Err(Errno::Nxio),
            FileKind::File => {
                self.may(inode, wanted)?;
                if how.truncate { self.set_len(ino, 0) } else { Ok(()) }
            }
        }
    }

    pub(crate) fn create_dir(&mut self, start: Ino, path: GuestPath<'_>, mode: u32) -> Result<()> {
        let place = self.walk(start, path, End::Name)?;
        // Linux does not take the set-id bits from `mkdir`.
        let name = free(&place, true)?;
        self.create(place.dir, name, Node::Dir(Dir::opaque()), mode & 0o1777).map(drop)
    }

    pub(crate) fn symlink(&mut self, target: &[u8], start: Ino, path: GuestPath<'_>) -> Result<()> {
        check_text(GuestPath::new(target))?;
        let place = self.walk(start, path, End::Name)?;
        let name = free(&place, false)?;
        self.create(place.dir, name, Node::Symlink(target.into()), 0o777).map(drop)
    }

    fn create(&mut self, dir: Ino, name: Name, node: Node, mode: u32) -> Result<Ino> {
        self.may_change(dir)?;
        self.live.state.usage.check_inode(&self.core.config.quota)?;
        let now = self.now();
        self.pin(dir)?;
        self.live.state.created += 1;
        let ino = Ino::of_new(self.live.state.created);
        let inode = Inode {
            meta: Meta::new(mode, now),
            node,
            names: smallvec![(dir, name.clone())],
            is_pinned: true,
            origin: None,
        };
        self.live.state.insert(ino, inode);
        self.live.state.set_entry(dir, name, Some(Entry::Present(ino)))?;
        self.live.state.inode_mut(dir)?.touch(now);
        Ok(ino)
    }

    pub(crate) fn link(&mut self, from: Ino, to_start: Ino, to: GuestPath<'_>) -> Result<()> {
        let place = self.walk(to_start, to, End::Name)?;
        let name = free(&place, false)?;
        self.may_change(place.dir)?;
        let inode = self.live.state.inode(from)?;
        if inode.kind() == FileKind::Dir {
            return Err(Errno::Perm);
        }
        if inode.nlink(from) == 0 {
            return Err(Errno::Noent);
        }
        let now = self.now();
        self.pin(place.dir)?;
        self.pin(from)?;
        let inode = self.live.state.inode_mut(from)?;
        inode.names.push((place.dir, name.clone()));
        inode.meta.ctime = now;
        self.live.state.set_entry(place.dir, name, Some(Entry::Present(from)))?;
        self.live.state.inode_mut(place.dir)?.touch(now);
        Ok(())
    }

    pub(crate) fn remove_file(&mut self, start: Ino, path: GuestPath<'_>) -> Result<()> {
        let place = self.walk(start, path, End::Name)?;
        if !matches!(place.last, Last::Name(_)) {
            return Err(Errno::Isdir);
        }
        match place.found {
            Step::Missing => Err(Errno::Noent),
            Step::Dir(_) if place.slash => Err(Errno::Isdir),
            _ if place.slash => Err(Errno::Notdir),
            Step::Dir(_) => {
                self.may_change(place.dir)?;
                Err(Errno::Isdir)
            }
            Step::Link(_, ino) | Step::Leaf(ino) => {
                self.may_change(place.dir)?;
                self.detach_at(&place, ino)
            }
        }
    }

    pub(crate) fn remove_dir(&mut self, start: Ino, path: GuestPath<'_>) -> Result<()> {
        let place = self.walk(start, path, End::Name)?;
        match place.last {
            Last::DotDot => return Err(Errno::Notempty),
            Last::Dot => return Err(Errno::Inval),
            Last::Name(_) => {}
        }
        match place.found {
            Step::Missing => Err(Errno::Noent),
            Step::Link(..) | Step::Leaf(_) => {
                self.may_change(place.dir)?;
                Err(Errno::Notdir)
            }
            Step::Dir(ino) => {
                self.may_change(place.dir)?;
                if !self.is_empty(ino)? {
                    return Err(Errno::Notempty);
                }
                self.detach_at(&place, ino)
            }
        }
    }

    fn detach_at(&mut self, place: &Found, ino: Ino) -> Result<()> {
        let name = name_of(place)?;
        let now = self.now();
        self.pin(place.dir)?;
        self.detach(place.dir, &name, ino, now)?;
        self.live.state.inode_mut(place.dir)?.touch(now);
        Ok(())
    }

    pub(crate) fn rename(
        &mut self,
        from_start: Ino,
        from: GuestPath<'_>,
        to_start: Ino,
        to: GuestPath<'_>,
        how: Renaming,
    ) -> Result<()> {
        let mut source = self.walk(from_start, from, End::Parent)?;
        let mut target = self.walk(to_start, to, End::Parent)?;
        names_only(&source.last, &target.last, how)?;
        source.look(self)?;
        let ino = present(&source.found).ok_or(Errno::Noent)?;
        target.look(self)?;
        let replaced = present(&target.found);
        match (how, replaced) {
            (Renaming::New, Some(_)) => return Err(Errno::Exist),
            (Renaming::Exchange, None) => return Err(Errno::Noent),
            (Renaming::Exchange, Some(other)) => {
                return self.exchange(&source, ino, &target, other);
            }
            _ => {}
        }
        let is_dir = matches!(source.found, Step::Dir(_));
        if !is_dir && (source.slash || target.slash) {
            return Err(Errno::Notdir);
        }
        if is_dir && self.is_ancestor(ino, target.dir)? {
            return Err(Errno::Inval);
        }
        if let Some(replaced) = replaced {
            if self.is_ancestor(replaced, source.dir)? {
                return Err(Errno::Notempty);
            }
            if replaced == ino {
                return Ok(());
            }
        }
        self.may_change(source.dir)?;
        self.may_change(target.dir)?;
        match &target.found {
            Step::Dir(_) if !is_dir => return Err(Errno::Isdir),
            Step::Link(..) | Step::Leaf(_) if is_dir => return Err(Errno::Notdir),
            _ => {}
        }
        if is_dir && source.dir != target.dir {
            // The entry `..` in it changes.
            self.may(self.live.state.inode(ino)?, WRITE)?;
        }
        if is_dir
            && let Some(replaced) = replaced
            && !self.is_empty(replaced)?
        {
            return Err(Errno::Notempty);
        }
        let (from_name, to_name) = (name_of(&source)?, name_of(&target)?);
        self.move_entry((source.dir, from_name), (target.dir, to_name), ino, replaced)
    }

    /// Gives each of two names what the other one stands for.
    fn exchange(&mut self, source: &Found, ino: Ino, target: &Found, other: Ino) -> Result<()> {
        let is_dir = |place: &Found| matches!(place.found, Step::Dir(_));
        if [source, target].into_iter().any(|place| place.slash && !is_dir(place)) {
            return Err(Errno::Notdir);
        }
        for (place, ino, other_dir) in [(source, ino, target.dir), (target, other, source.dir)] {
            if is_dir(place) && self.is_ancestor(ino, other_dir)? {
                return Err(Errno::Inval);
            }
        }
        if ino == other {
            return Ok(());
        }
        for (place, ino, other_dir) in [(source, ino, target.dir), (target, other, source.dir)] {
            self.may_change(place.dir)?;
            if matches!(place.found, Step::Dir(_)) && place.dir != other_dir {
                // The entry `..` in it changes.
                self.may(self.live.state.inode(ino)?, WRITE)?;
            }
        }
        let from = (source.dir, name_of(source)?);
        let to = (target.dir, name_of(target)?);
        let now = self.now();
        self.pin(from.0)?;
        self.pin(to.0)?;
        self.put(ino, &from, &to, now)?;
        self.put(other, &to, &from, now)
    }

    fn move_entry(
        &mut self,
        from: (Ino, Name),
        to: (Ino, Name),
        ino: Ino,
        replaced: Option<Ino>,
    ) -> Result<()> {
        let now = self.now();
        self.pin(from.0)?;
        self.pin(to.0)?;
        if let Some(replaced) = replaced {
            self.detach(to.0, &to.1, replaced, now)?;
        }
        self.hide(from.0, &from.1)?;
        self.live.state.inode_mut(from.0)?.touch(now);
        self.put(ino, &from, &to, now)
    }

    /// Gives an inode a name in place of another one.
    fn put(&mut self, ino: Ino, old: &(Ino, Name), new: &(Ino, Name), now: WallTime) -> Result<()> {
        self.live.state.set_entry(new.0, new.1.clone(), Some(Entry::Present(ino)))?;
        let inode = self.live.state.inode_mut(ino)?;
        inode.names.retain(|name| name != old);
        inode.names.push(new.clone());
        inode.meta.ctime = now;
        self.live.state.inode_mut(new.0)?.touch(now);
        Ok(())
    }

    /// Takes a name off an inode, and the inode out of the table if that was its last one and
    /// no handle keeps it.
    fn detach(&mut self, dir: Ino, name: &Name, ino: Ino, now: WallTime) -> Result<()> {
        self.hide(dir, name)?;
        let inode = self.live.state.inode_mut(ino)?;
        inode.names.retain(|(d, n)| (*d, &*n) != (dir, name));
        inode.meta.ctime = now;
        if inode.nlink(ino) > 0 {
            return Ok(());
        }
        if inode.kind() == FileKind::Dir {
            // A handle that is open on it sees it empty, whatever happens beneath.
            let empty = Inode { node: Node::Dir(Dir::opaque()), ..inode.clone() };
            self.live.state.insert(ino, empty);
        }
        if self.live.opens.contains_key(&ino) {
            self.live.state.orphans.insert_mut(ino, ());
        } else {
            self.live.state.forget(ino);
        }
        Ok(())
    }

    /// Makes a name in a pinned directory show nothing.
    fn hide(&mut self, dir: Ino, name: &Name) -> Result<()> {
        let lower = self.live.state.dir(dir)?.lower.as_ref().map(|l| l.child(name.as_bytes()));
        let hides = lower.is_some_and(|path| !self.live.state.was_absent(&path));
        self.live.state.set_entry(dir, name.clone(), hides.then_some(Entry::Whiteout))
    }

    pub(crate) fn is_pinned(&self, ino: Ino) -> bool {
        let state = &self.live.state;
        let held = |(dir, name): &(Ino, Name)| {
            let entry = state.dir(*dir).ok().and_then(|dir| dir.entries.get(name));
            entry == Some(&Entry::Present(ino))
        };
        ino == Ino::ROOT || state.inode(ino).is_ok_and(|inode| inode.names.iter().any(held))
    }

    /// Makes an inode reachable from the top through entries, under every name that it has.
    pub(crate) fn pin(&mut self, ino: Ino) -> Result<()> {
        // What follows is a change: of an inode that is held here, too, it would change a copy.
        self.came_to = None;
        let mut todo = vec![ino];
        while let Some(ino) = todo.pop() {
            let inode = self.live.state.inode(ino)?;
            if inode.is_pinned {
                continue;
            }
            for (dir, name) in inode.names.clone() {
                let entry = Entry::Present(ino);
                if self.live.state.dir(dir)?.entries.get(&name) != Some(&entry) {
                    self.live.state.set_entry(dir, name, Some(entry))?;
                    todo.push(dir);
                }
            }
            self.live.state.inode_mut(ino)?.is_pinned = true;
        }
        Ok(())
    }

    /// Whether `dir` is `ancestor` or lies beneath it.
    fn is_ancestor(&self, ancestor: Ino, dir: Ino) -> Result<bool> {
        let mut at = dir;
        loop {
            if at == ancestor {
                return Ok(true);
            }
            match self.live.state.inode(at)?.names.first() {
                Some((parent, _)) => at = *parent,
                None => return Ok(false),
            }
        }
    }

    /// Whether names may be added to and taken from a directory.
    fn may_change(&self, dir: Ino) -> Result<()> {
        let inode = self.live.state.inode(dir)?;
        if inode.nlink(dir) == 0 {
            return Err(Errno::Noent);
        }
        self.may(inode, WRITE_AND_SEARCH)
    }
}

/// Only names can be moved. The old one is looked at first.
pub(crate) fn names_only(old: &Last, new: &Last, how: Renaming) -> Result<()> {
    match (old, new) {
        (Last::Name(_), Last::Name(_)) => Ok(()),
        (Last::Name(_), _) if how == Renaming::New => Err(Errno::Exist),
        _ => Err(Errno::Busy),
    }
}

/// The name that can be created at a place.
fn free(place: &Found, is_dir: bool) -> Result<Name> {
    match place.found {
        Step::Missing if place.slash && !is_dir => Err(Errno::Noent),
        Step::Missing => name_of(place),
        _ => Err(Errno::Exist),
    }
}

fn name_of(place: &Found) -> Result<Name> {
    match &place.last {
        Last::Name(name) => Name::new(name),
        Last::Dot | Last::DotDot => Err(Errno::Inval),
    }
}

fn present(found: &Step<Ino, Ino>) -> Option<Ino> {
    match found {
        Step::Missing => None,
        Step::Dir(ino) | Step::Link(_, ino) | Step::Leaf(ino) => Some(*ino),
    }
}
