//! The operations on paths, on their way through the stages.
//!
//! A path is walked here, with policy and mounts in view; what remains is an operation on one name in
//! one directory of one tree, which is the overlay's own or a mounted one.

use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Stuck, Wait};

use super::Pipeline;
use super::file::StagedFile;
use super::mounts::{Inside, Spot, device};
use super::operation::{Operation, Request};
use super::walk::Found;
use crate::handle::Numbered;
use crate::ops::by_path::At;
use crate::ops::core::Core;
use crate::ops::{Renaming, names_only};
use crate::resolve::{End, Last, Step};
use crate::upper::inode::Ino;
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{Create, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow};

/// An overlay's core behind its stages.
#[derive(Clone, Copy)]
pub(crate) struct Staged<'c> {
    pub(super) core: &'c Arc<Core>,
    pub(super) pipe: &'c Pipeline,
}

/// An operation on two paths.
#[derive(Clone, Copy)]
pub(crate) enum Pair {
    Link,
    Rename(Renaming),
}

/// One name in one directory of one tree.
pub(super) struct Target<'c> {
    tree: &'c dyn Fs,
    /// The number of the tree, unless it is the overlay's own.
    pub(super) mount: Option<usize>,
    pub(super) dir: Arc<dyn File>,
    pub(super) name: Vec<u8>,
}

impl Target<'_> {
    pub(super) fn path(&self) -> GuestPath<'_> {
        GuestPath::new(&self.name)
    }

    /// All symlinks that are to be followed have been followed by the walk.
    pub(super) fn at(&self) -> At<'_> {
        let device = self.mount.map(device);
        At { tree: self.tree, dir: &*self.dir, path: self.path(), follow: Follow::No, device }
    }
}

impl<'c> Staged<'c> {
    pub(crate) fn new(core: &'c Arc<Core>, pipe: &'c Pipeline) -> Staged<'c> {
        Staged { core, pipe }
    }

    pub(crate) fn open_at(
        self,
        dir: &dyn File,
        path: GuestPath<'_>,
        how: &OpenHow,
    ) -> Result<Arc<dyn File>> {
        let (place, subject) = self.walk(&self.spot(dir)?, path, End::of_open(path, how));
        let creates = how.create != Create::Never;
        let is_new = creates && place.as_ref().is_ok_and(is_missing);
        let operation = if is_new { Operation::Create } else { Operation::Open };
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            self.check_hidden(&place, &request.path, is_new)?;
            let existing = how.create != Create::New && (how.write || how.truncate);
            if (is_new && !place.slash) || (existing && matches!(place.found, Step::Leaf(()))) {
                self.pipe.policy.check_change(&request.path)?;
            }
            let how = OpenHow { follow: Follow::No, ..how.clone() };
            let target = match how.create {
                // About the name, slash and all, since what is there is not to be opened.
                Create::New => self.name(&place),
                _ => self.object(&place),
            };
            let file = target.tree.open_at(&*target.dir, target.path(), &how)?;
            Ok(self.wrap(file, &place, &request.path))
        })
    }

    /// Where a path leads, from the overlay's top; absolute if that is out of the root.
    pub(crate) fn canonical(self, path: GuestPath<'_>) -> Result<Vec<u8>> {
        let (place, subject) = self.walk_as(&Spot::Own(Ino::ROOT), path, End::Follow, true);
        self.run(Request::new(Operation::Stat, subject), |request| {
            let place = place?;
            match &place.found {
                Step::Missing => Err(Errno::Noent),
                Step::Link(..) | Step::Leaf(()) if place.slash => Err(Errno::Notdir),
                _ if self.is_outside(&place) => Ok(self.host_path(&place)),
                _ => Ok(request.path.as_bytes().to_vec()),
            }
        })
    }

    /// An operation on one path, other than to open it.
    pub(crate) fn on<T>(
        self,
        operation: Operation,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        act: impl FnOnce(At<'_>) -> Result<T>,
    ) -> Result<T> {
        use Operation::{CreateDir, RemoveDir, RemoveFile, Symlink};
        let is_about_the_name = matches!(operation, CreateDir | Symlink | RemoveFile | RemoveDir);
        let end = if is_about_the_name { End::Name } else { End::of(follow) };
        self.on_place(operation, dir, path, end, |place, _| match is_about_the_name {
            true => act(self.name(place).at()),
            false => act(self.object(place).at()),
        })
    }

    /// The same for what wants to see to where the walk has led.
    pub(super) fn on_place<T>(
        self,
        operation: Operation,
        dir: &dyn File,
        path: GuestPath<'_>,
        end: End,
        act: impl FnOnce(&Found, &RelPath) -> Result<T>,
    ) -> Result<T> {
        let (place, subject) = self.walk(&self.spot(dir)?, path, end);
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            self.check(operation, &place, &request.path)?;
            act(&place, &request.path)
        })
    }

    /// An operation on two paths.
    pub(crate) fn on_two(
        self,
        pair: Pair,
        (from_dir, from, follow): (&dyn File, GuestPath<'_>, Follow),
        (to_dir, to): (&dyn File, GuestPath<'_>),
        act: impl FnOnce(At<'_>, At<'_>) -> Result<()>,
    ) -> Result<()> {
        let (operation, from_end, to_end) = match pair {
            Pair::Link => (Operation::Link, End::of(follow), End::Name),
            Pair::Rename(_) => (Operation::Rename, End::Parent, End::Parent),
        };
        let (source, path) = self.walk(&self.spot(from_dir)?, from, from_end);
        let (target, to) = self.walk(&self.spot(to_dir)?, to, to_end);
        let request = Request { to: Some(to.clone()), ..Request::new(operation, path) };
        self.run(request, |request| {
            let source = source?;
            let from = match pair {
                Pair::Link => self.linked(&source)?,
                Pair::Rename(_) => self.name(&source),
            };
            let target = target?;
            match pair {
                Pair::Link => {
                    self.check_link(tree_of(&source.dir), &request.path, &target, &to)?;
                    if self.is_mount_point(&source) {
                        return Err(Errno::Xdev);
                    }
                }
                Pair::Rename(how) => {
                    self.check_rename((&source, &request.path), (&target, &to), how)?;
                }
            }
            act(from.at(), self.name(&target).at())
        })
    }

    /// Whether policy and mounts allow an operation on one path.
    fn check(self, operation: Operation, place: &Found, path: &RelPath) -> Result<()> {
        let policy = &self.pipe.policy;
        match operation {
            Operation::CreateDir | Operation::Symlink => {
                return self.check_new_name(operation, place, path);
            }
            Operation::RemoveFile | Operation::RemoveDir => {
                if let Last::Name(_) = place.last {
                    policy.check_change(path)?;
                    policy.check_move(path)?;
                }
                self.check_hidden(place, path, false)?;
                return self.check_removal(operation, place);
            }
            _ => self.check_hidden(place, path, false)?,
        }
        match operation {
            Operation::SetTimes | Operation::SetMode if !is_missing(place) => {
                policy.check_change(path)
            }
            _ => Ok(()),
        }
    }

    /// A mount point can neither be removed, nor a directory that holds one.
    fn check_removal(self, operation: Operation, place: &Found) -> Result<()> {
        let is_dir = operation == Operation::RemoveDir;
        match &place.found {
            _ if is_dir && place.last == Last::DotDot => Err(Errno::Notempty),
            _ if self.is_mount_point(place) => Err(if is_dir { Errno::Busy } else { Errno::Isdir }),
            Step::Dir(dir) if is_dir && self.pipe.mounts.points(dir).next().is_some() => {
                Err(Errno::Notempty)
            }
            _ => Ok(()),
        }
    }

    /// The file that is to get one more name.
    fn linked(self, source: &Found) -> Result<Target<'c>> {
        match source.found {
            Step::Missing => Err(Errno::Noent),
            Step::Link(..) | Step::Leaf(()) if source.slash => Err(Errno::Notdir),
            _ => Ok(self.object(source)),
        }
    }

    /// Whether a file in the tree `mount` at `path` may get one more name.
    pub(super) fn check_link(
        self,
        mount: Option<usize>,
        path: &RelPath,
        target: &Found,
        to: &RelPath,
    ) -> Result<()> {
        self.check_new_name(Operation::Link, target, to)?;
        self.pipe.policy.check_change(path)?;
        if mount == tree_of(&target.dir) { Ok(()) } else { Err(Errno::Xdev) }
    }

    fn check_rename(
        self,
        (source, from): (&Found, &RelPath),
        (target, to): (&Found, &RelPath),
        how: Renaming,
    ) -> Result<()> {
        if tree_of(&source.dir) != tree_of(&target.dir) {
            return Err(Errno::Xdev);
        }
        names_only(&source.last, &target.last, how)?;
        let policy = &self.pipe.policy;
        for path in [from, to] {
            policy.check_change(path)?;
            policy.check_move(path)?;
        }
        if policy.hides(from) {
            return Err(Errno::Noent);
        }
        if policy.hides(to) {
            return Err(Errno::Acces);
        }
        let exchanges = how == Renaming::Exchange;
        let is_busy = self.shows_hidden(source, from, to)
            || (exchanges && self.shows_hidden(target, to, from))
            || self.is_mount_point(source)
            || self.is_mount_point(target)
            || self.moves_a_mount(source)
            || (exchanges && self.moves_a_mount(target));
        if is_busy {
            return Err(Errno::Busy);
        }
        if how == Renaming::Replace { self.check_replaced(target) } else { Ok(()) }
    }

    /// A hidden name does not exist, and no entry can be made in its place.
    pub(super) fn check_hidden(&self, place: &Found, path: &RelPath, is_new: bool) -> Result<()> {
        match place.found {
            Step::Missing if self.pipe.policy.hides(path) => {
                Err(if is_new { Errno::Acces } else { Errno::Noent })
            }
            _ => Ok(()),
        }
    }

    /// The order of Linux: what is there, then a slash that only a directory may have, then whether
    /// anything may be made.
    pub(super) fn check_new_name(
        &self,
        operation: Operation,
        place: &Found,
        path: &RelPath,
    ) -> Result<()> {
        if !is_missing(place) {
            return Err(Errno::Exist);
        }
        if place.slash && operation != Operation::CreateDir {
            return Err(Errno::Noent);
        }
        self.pipe.policy.check_change(path)?;
        self.check_hidden(place, path, true)
    }

    /// Whether what is hidden in a directory would no longer be so where that is to go.
    fn shows_hidden(&self, place: &Found, from: &RelPath, to: &RelPath) -> bool {
        !self.pipe.policy.hides_moved(from, to)
            && self.name(place).at().stat().is_ok_and(|stat| stat.kind == FileKind::Dir)
    }

    /// A directory with a mount point in it is not empty.
    fn check_replaced(&self, target: &Found) -> Result<()> {
        let Last::Name(name) = &target.last else { return Ok(()) };
        let replaced = match &target.dir {
            Spot::Own(dir) => self.core.tx().lookup(*dir, name)?.map(Spot::Own),
            Spot::In(inside) => {
                Some(Spot::In(Inside { path: inside.path.child(name), ..inside.clone() }))
            }
        };
        match replaced {
            Some(spot) if self.pipe.mounts.points(&spot).next().is_some() => Err(Errno::Notempty),
            _ => Ok(()),
        }
    }

    /// Whether a mount is anchored by path somewhere below; those in the overlay's own directories
    /// come along with them.
    fn moves_a_mount(&self, source: &Found) -> bool {
        match (&source.dir, &source.last) {
            (Spot::In(inside), Last::Name(name)) => {
                self.pipe.mounts.any_below(inside.mount, &inside.path.child(name))
            }
            _ => false,
        }
    }

    pub(super) fn is_mount_point(&self, place: &Found) -> bool {
        match &place.last {
            Last::Name(name) => self.pipe.mounts.at(&place.dir, name).is_some(),
            Last::Dot | Last::DotDot => false,
        }
    }

    /// The target of an operation on what a path leads to.
    pub(super) fn object(self, place: &Found) -> Target<'c> {
        match &place.found {
            // A mount's own top, or the directory that the path ends in.
            Step::Dir(dir @ Spot::In(_)) => self.target(dir, b".".to_vec()),
            _ => self.name(place),
        }
    }

    /// The target of an operation on the name itself.
    pub(super) fn name(self, place: &Found) -> Target<'c> {
        let mut name = match &place.last {
            Last::Name(name) => name.to_vec(),
            // The place is the directory to which the walk has come.
            Last::Dot | Last::DotDot => b".".to_vec(),
        };
        if place.slash {
            name.push(b'/');
        }
        self.target(&place.dir, name)
    }

    fn target(self, spot: &Spot, name: Vec<u8>) -> Target<'c> {
        let (tree, dir): (&dyn Fs, Arc<dyn File>) = match spot {
            Spot::Own(ino) => {
                (self.core, Arc::new(Numbered { core: self.core.clone(), ino: *ino }))
            }
            Spot::In(inside) => (&**self.pipe.mounts.fs(inside.mount), inside.dir.clone()),
        };
        Target { tree, mount: tree_of(spot), dir, name }
    }

    /// The directory behind a handle.
    pub(super) fn spot(&self, dir: &dyn File) -> Result<Spot> {
        StagedFile::spot_in(dir, self.core)
    }

    pub(super) fn wrap(&self, file: Arc<dyn File>, place: &Found, path: &RelPath) -> Arc<dyn File> {
        let spot = match &place.found {
            Step::Dir(spot) => Some(spot.clone()),
            _ => None,
        };
        let mount = tree_of(spot.as_ref().unwrap_or(&place.dir));
        Arc::new(StagedFile::new(self.core, file, path.clone(), spot, mount))
    }

    /// Sends one operation through all stages.
    pub(super) fn run<T>(
        self,
        request: Request,
        act: impl FnOnce(&Request) -> Result<T>,
    ) -> Result<T> {
        self.transfer(request, |_| 0, |request, _| act(request))
    }

    /// Sends one operation through all stages that moves bytes: as many of them as the faults let
    /// through.
    pub(super) fn transfer<T>(
        self,
        request: Request,
        count: impl FnOnce(&T) -> usize,
        act: impl FnOnce(&Request, usize) -> Result<T>,
    ) -> Result<T> {
        let mut done = 0;
        let result = self.judge(&request).and_then(|granted| {
            let result = act(&request, granted);
            done = result.as_ref().map_or(0, count);
            self.pipe.faults.settle(&request, granted, done);
            result
        });
        if let Some(audit) = &self.pipe.audit {
            let result = result.as_ref().map(|_| done as u64).map_err(|errno| *errno);
            audit.note(&request, self.core.clock.wall(), result);
        }
        result
    }

    /// The first stage. Returns how many of the bytes may be moved.
    fn judge(self, request: &Request) -> Result<usize> {
        if self.pipe.faults.is_empty() {
            return Ok(request.len);
        }
        let verdict = self.pipe.faults.judge(request);
        if verdict.wait > Duration::ZERO {
            self.wait(verdict.wait, request)?;
        }
        verdict.error.map_or(Ok(verdict.len), Err)
    }

    /// Lets virtual time pass, as the participant on whose thread this is.
    fn wait(self, duration: Duration, request: &Request) -> Result<()> {
        let here = testbench_clock::current();
        let own = &self.core.clock;
        let same = match (here.as_mock(), own.as_mock()) {
            (Some(here), Some(own)) => here.is_on_timeline_of(own),
            _ => false,
        };
        let clock = if same { &here } else { own };
        let what = format_args!("latency of {} {:?}", request.operation, request.path);
        let deadline = clock.mono().checked_add(duration);
        match clock.wait(Wait { deadline, on: &[], what: &what }) {
            Ok(_) => Ok(()),
            Err(Stuck::Cancelled(_)) => Err(Errno::Canceled),
            Err(_) => Err(Errno::Deadlk),
        }
    }
}

fn is_missing(place: &Found) -> bool {
    matches!(place.found, Step::Missing)
}

/// Which tree a directory is of.
pub(super) fn tree_of(dir: &Spot) -> Option<usize> {
    match dir {
        Spot::Own(_) => None,
        Spot::In(inside) => Some(inside.mount),
    }
}
