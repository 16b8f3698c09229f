//! The operations on paths, on their way through the stages.
//!
//! A path is walked here, with policy and mounts in view; what remains for the core, or for a
//! mounted tree, is an operation on one name in one directory.

use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Stuck, Wait};

use super::Pipeline;
use super::file::StagedFile;
use super::mounts::{Inside, Spot, on_device};
use super::operation::{Operation, Request};
use super::walk::Found;
use crate::ops::Renaming;
use crate::ops::by_path::end;
use crate::ops::core::Core;
use crate::resolve::{End, Last, Step};
use crate::upper::inode::Ino;
use crate::vfs::name::RelPath;
use crate::{Create, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, SetTimes, Stat};

/// An overlay's core behind its stages.
#[derive(Clone, Copy)]
pub(crate) struct Staged<'c> {
    pub(super) core: &'c Arc<Core>,
    pub(super) pipe: &'c Pipeline,
}

/// One name in one directory of one tree.
pub(super) enum Target {
    Own(Ino, Vec<u8>),
    In(usize, Arc<dyn File>, Vec<u8>),
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
    ) -> Result<Arc<dyn File>, Errno> {
        let creates = how.create != Create::Never;
        let end = match how.follow {
            _ if how.create == Create::New => End::Name,
            _ if creates && path.as_bytes().last() == Some(&b'/') => End::Name,
            Follow::Yes if creates => End::Create,
            follow => end(follow),
        };
        let (place, subject) = self.walk(&self.spot(dir)?, path, end);
        let is_new = creates && place.as_ref().is_ok_and(is_missing);
        let operation = if is_new { Operation::Create } else { Operation::Open };
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            self.check_hidden(&place, &request.path, is_new)?;
            let existing = how.create != Create::New && (how.write || how.truncate);
            if (is_new && !place.slash) || (existing && matches!(place.found, Step::Leaf(()))) {
                self.pipe.policy.check_change(&request.path)?;
            }
            // Links have been followed, as far as they are to be.
            let how = OpenHow { follow: Follow::No, ..how.clone() };
            let target = match how.create {
                // About the name, slash and all, since what is there is not to be opened.
                Create::New => self.name(&place),
                _ => self.object(&place),
            };
            let file = match target {
                Target::Own(dir, name) => self.core.open_at(dir, GuestPath::new(&name), &how)?,
                Target::In(mount, dir, name) => {
                    self.fs(mount).open_at(&*dir, GuestPath::new(&name), &how)?
                }
            };
            Ok(self.wrap(file, &place, &request.path))
        })
    }

    pub(crate) fn stat_at(
        self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
    ) -> Result<Stat, Errno> {
        self.on_object(Operation::Stat, dir, path, end(follow), |target| self.stat(target))
    }

    fn stat(&self, target: Target) -> Result<Stat, Errno> {
        match target {
            Target::Own(dir, name) => self.core.stat_at(dir, GuestPath::new(&name), Follow::No),
            Target::In(mount, dir, name) => {
                let stat = self.fs(mount).stat_at(&*dir, GuestPath::new(&name), Follow::No)?;
                Ok(on_device(mount, stat))
            }
        }
    }

    pub(crate) fn read_link_at(
        self,
        dir: &dyn File,
        path: GuestPath<'_>,
    ) -> Result<Vec<u8>, Errno> {
        self.on_object(Operation::ReadLink, dir, path, End::Keep, |target| match target {
            Target::Own(dir, name) => self.core.read_link_at(dir, GuestPath::new(&name)),
            Target::In(mount, dir, name) => {
                self.fs(mount).read_link_at(&*dir, GuestPath::new(&name))
            }
        })
    }

    pub(crate) fn set_times_at(
        self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<(), Errno> {
        self.on_object(Operation::SetTimes, dir, path, end(follow), |target| match target {
            Target::Own(dir, name) => {
                self.core.set_times_at(dir, GuestPath::new(&name), Follow::No, times)
            }
            Target::In(mount, dir, name) => {
                self.fs(mount).set_times_at(&*dir, GuestPath::new(&name), Follow::No, times)
            }
        })
    }

    pub(crate) fn set_mode_at(
        self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<(), Errno> {
        self.on_object(Operation::SetMode, dir, path, end(follow), |target| match target {
            Target::Own(dir, name) => {
                self.core.set_mode_at(dir, GuestPath::new(&name), Follow::No, mode)
            }
            Target::In(mount, dir, name) => {
                self.fs(mount).set_mode_at(&*dir, GuestPath::new(&name), Follow::No, mode)
            }
        })
    }

    /// Where a path leads, from the overlay's top; absolute if that is out of the root.
    pub(crate) fn canonical(self, path: GuestPath<'_>) -> Result<Vec<u8>, Errno> {
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

    pub(crate) fn create_dir_at(
        self,
        dir: &dyn File,
        path: GuestPath<'_>,
        mode: u32,
    ) -> Result<(), Errno> {
        self.on_new_name(Operation::CreateDir, dir, path, |target| match target {
            Target::Own(dir, name) => self.core.create_dir_at(dir, GuestPath::new(&name), mode),
            Target::In(mount, dir, name) => {
                self.fs(mount).create_dir_at(&*dir, GuestPath::new(&name), mode)
            }
        })
    }

    pub(crate) fn symlink_at(
        self,
        to: &[u8],
        dir: &dyn File,
        path: GuestPath<'_>,
    ) -> Result<(), Errno> {
        self.on_new_name(Operation::Symlink, dir, path, |target| match target {
            Target::Own(dir, name) => self.core.symlink_at(to, dir, GuestPath::new(&name)),
            Target::In(mount, dir, name) => {
                self.fs(mount).symlink_at(to, &*dir, GuestPath::new(&name))
            }
        })
    }

    pub(crate) fn remove_file_at(self, dir: &dyn File, path: GuestPath<'_>) -> Result<(), Errno> {
        self.on_old_name(Operation::RemoveFile, dir, path, |place, target| match target {
            _ if self.is_mount_point(place) => Err(Errno::Isdir),
            Target::Own(dir, name) => self.core.remove_file_at(dir, GuestPath::new(&name)),
            Target::In(mount, dir, name) => {
                self.fs(mount).remove_file_at(&*dir, GuestPath::new(&name))
            }
        })
    }

    pub(crate) fn remove_dir_at(self, dir: &dyn File, path: GuestPath<'_>) -> Result<(), Errno> {
        self.on_old_name(Operation::RemoveDir, dir, path, |place, target| match target {
            _ if place.last == Last::DotDot => Err(Errno::Notempty),
            _ if self.is_mount_point(place) => Err(Errno::Busy),
            _ if self.holds_mounts(&place.found) => Err(Errno::Notempty),
            Target::Own(dir, name) => self.core.remove_dir_at(dir, GuestPath::new(&name)),
            Target::In(mount, dir, name) => {
                self.fs(mount).remove_dir_at(&*dir, GuestPath::new(&name))
            }
        })
    }

    pub(crate) fn rename_at(
        self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
        how: Renaming,
    ) -> Result<(), Errno> {
        let (source, path) = self.walk(&self.spot(from_dir)?, from, End::Parent);
        let (target, to) = self.walk(&self.spot(to_dir)?, to, End::Parent);
        let request = Request { to: Some(to.clone()), ..Request::new(Operation::Rename, path) };
        self.run(request, |request| {
            let (source, target) = (source?, target?);
            if tree_of(&source.dir) != tree_of(&target.dir) {
                return Err(Errno::Xdev);
            }
            crate::ops::names_only(&source.last, &target.last, how)?;
            for path in [&request.path, &to] {
                self.pipe.policy.check_change(path)?;
                self.pipe.policy.check_move(path)?;
            }
            if self.pipe.policy.hides(&request.path) {
                return Err(Errno::Noent);
            }
            if self.pipe.policy.hides(&to) {
                return Err(Errno::Acces);
            }
            let exchanges = how == Renaming::Exchange;
            if self.shows_hidden(&source, &request.path, &to)
                || (exchanges && self.shows_hidden(&target, &to, &request.path))
            {
                return Err(Errno::Busy);
            }
            let point = self.is_mount_point(&source) || self.is_mount_point(&target);
            if point || self.moves_a_mount(&source) || (exchanges && self.moves_a_mount(&target)) {
                return Err(Errno::Busy);
            }
            if how == Renaming::Replace {
                self.check_replaced(&target)?;
            }
            match (self.name(&source), self.name(&target)) {
                (Target::Own(from_dir, from), Target::Own(to_dir, to)) => {
                    let (from, to) = (GuestPath::new(&from), GuestPath::new(&to));
                    self.core.rename_at(from_dir, from, to_dir, to, how)
                }
                // The seam has nothing but the plain one.
                (Target::In(..), _) if how != Renaming::Replace => Err(Errno::Inval),
                (Target::In(mount, from_dir, from), Target::In(_, to_dir, to)) => {
                    let (from, to) = (GuestPath::new(&from), GuestPath::new(&to));
                    self.fs(mount).rename_at(&*from_dir, from, &*to_dir, to)
                }
                _ => Err(Errno::Xdev),
            }
        })
    }

    pub(crate) fn link_at(
        self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<(), Errno> {
        let (source, path) = self.walk(&self.spot(from_dir)?, from, end(follow));
        let (target, to) = self.walk(&self.spot(to_dir)?, to, End::Name);
        let request = Request { to: Some(to.clone()), ..Request::new(Operation::Link, path) };
        self.run(request, |request| {
            let source = source?;
            if is_missing(&source) {
                return Err(Errno::Noent);
            }
            if source.slash && !matches!(source.found, Step::Dir(_)) {
                return Err(Errno::Notdir);
            }
            let target = target?;
            self.check_new_name(Operation::Link, &target, &to)?;
            self.pipe.policy.check_change(&request.path)?;
            if tree_of(&source.dir) != tree_of(&target.dir) || self.is_mount_point(&source) {
                return Err(Errno::Xdev);
            }
            match (self.object(&source), self.name(&target)) {
                (Target::Own(from_dir, from), Target::Own(to_dir, to)) => {
                    let (from, to) = (GuestPath::new(&from), GuestPath::new(&to));
                    self.core.link_at(from_dir, from, Follow::No, to_dir, to)
                }
                (Target::In(mount, from_dir, from), Target::In(_, to_dir, to)) => {
                    let (from, to) = (GuestPath::new(&from), GuestPath::new(&to));
                    self.fs(mount).link_at(&*from_dir, from, Follow::No, &*to_dir, to)
                }
                _ => Err(Errno::Xdev),
            }
        })
    }

    /// An operation on what is at a path.
    pub(super) fn on_object<T>(
        self,
        operation: Operation,
        dir: &dyn File,
        path: GuestPath<'_>,
        end: End,
        act: impl FnOnce(Target) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (place, subject) = self.walk(&self.spot(dir)?, path, end);
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            self.check_hidden(&place, &request.path, false)?;
            let changes = matches!(operation, Operation::SetTimes | Operation::SetMode);
            if changes && !is_missing(&place) {
                self.pipe.policy.check_change(&request.path)?;
            }
            act(self.object(&place))
        })
    }

    /// An operation that makes a name.
    pub(super) fn on_new_name(
        self,
        operation: Operation,
        dir: &dyn File,
        path: GuestPath<'_>,
        act: impl FnOnce(Target) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (place, subject) = self.walk(&self.spot(dir)?, path, End::Name);
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            self.check_new_name(operation, &place, &request.path)?;
            act(self.name(&place))
        })
    }

    /// An operation that takes a name away.
    fn on_old_name(
        self,
        operation: Operation,
        dir: &dyn File,
        path: GuestPath<'_>,
        act: impl FnOnce(&Found, Target) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (place, subject) = self.walk(&self.spot(dir)?, path, End::Name);
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            if let Last::Name(_) = place.last {
                self.pipe.policy.check_change(&request.path)?;
                self.pipe.policy.check_move(&request.path)?;
            }
            self.check_hidden(&place, &request.path, false)?;
            act(&place, self.name(&place))
        })
    }

    /// A hidden name does not exist, and no entry can be made in its place.
    pub(super) fn check_hidden(
        &self,
        place: &Found,
        path: &RelPath,
        is_new: bool,
    ) -> Result<(), Errno> {
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
    ) -> Result<(), Errno> {
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
            && self.stat(self.name(place)).is_ok_and(|stat| stat.kind == FileKind::Dir)
    }

    /// A directory with a mount point in it is not empty.
    fn check_replaced(&self, target: &Found) -> Result<(), Errno> {
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

    fn holds_mounts(&self, found: &Step<Spot, ()>) -> bool {
        matches!(found, Step::Dir(dir) if self.pipe.mounts.points(dir).next().is_some())
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

    /// For what acts on what a path leads to.
    pub(super) fn object(&self, place: &Found) -> Target {
        match &place.found {
            // A mount's own top, or the directory that the path ends in.
            Step::Dir(Spot::In(Inside { mount, dir, .. })) => {
                Target::In(*mount, dir.clone(), b".".to_vec())
            }
            _ => self.name(place),
        }
    }

    /// For what acts on the name itself.
    pub(super) fn name(&self, place: &Found) -> Target {
        let mut name = match &place.last {
            Last::Name(name) => name.to_vec(),
            // The place is the directory to which the walk has come.
            Last::Dot | Last::DotDot => b".".to_vec(),
        };
        if place.slash {
            name.push(b'/');
        }
        match &place.dir {
            Spot::Own(dir) => Target::Own(*dir, name),
            Spot::In(Inside { mount, dir, .. }) => Target::In(*mount, dir.clone(), name),
        }
    }

    pub(super) fn fs(&self, mount: usize) -> &dyn Fs {
        &**self.pipe.mounts.fs(mount)
    }

    /// The directory behind a handle.
    pub(super) fn spot(&self, dir: &dyn File) -> Result<Spot, Errno> {
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
        act: impl FnOnce(&Request) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let result = self.judge(&request).and_then(|_| act(&request));
        self.note(&request, result.as_ref().map(|_| 0).map_err(|errno| *errno));
        result
    }

    /// The first stage: answers how many of the bytes may be moved.
    pub(super) fn judge(self, request: &Request) -> Result<usize, Errno> {
        if self.pipe.faults.is_empty() {
            return Ok(request.len);
        }
        let verdict = self.pipe.faults.judge(request);
        if verdict.wait > Duration::ZERO {
            self.wait(verdict.wait, request)?;
        }
        verdict.error.map_or(Ok(verdict.len), Err)
    }

    /// The last stage.
    pub(super) fn note(self, request: &Request, result: Result<u64, Errno>) {
        if let Some(audit) = &self.pipe.audit {
            audit.note(request, self.core.clock.wall(), result);
        }
    }

    /// Lets virtual time pass, as the participant on whose thread this is.
    fn wait(self, duration: Duration, request: &Request) -> Result<(), Errno> {
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
