//! The operations on paths, on their way through the stages.
//!
//! A path is walked here through the [`Namespace`]; what remains is an operation on one name in one
//! directory of one tree, which is the overlay's own or another.

use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Stuck, Wait};

use super::Pipeline;
use super::file::StagedFile;
use super::operation::{Operation, Request};
use crate::handle::Handle;
use crate::ops::{Renaming, names_only};
use crate::resolve::{End, Last, Step};
use crate::trees::namespace::{Found, Rights, Spot, device};
use crate::vfs::Result;
use crate::vfs::name::RelPath;
use crate::{Create, Errno, File, FileKind, Follow, Fs, GuestPath, OpenHow, SetTimes, Stat};

/// One name in one directory of one tree. All symlinks that are to be followed have been followed by
/// the walk.
pub(super) struct At<'p> {
    pub(super) fs: &'p dyn Fs,
    /// The number of the tree, unless it is the overlay's own.
    pub(super) tree: Option<usize>,
    pub(super) dir: Arc<dyn File>,
    pub(super) name: Vec<u8>,
}

impl At<'_> {
    pub(super) fn path(&self) -> GuestPath<'_> {
        GuestPath::new(&self.name)
    }

    fn stat(&self) -> Result<Stat> {
        let stat = self.fs.stat_at(&*self.dir, self.path(), Follow::No)?;
        Ok(Stat { dev: self.tree.map_or(stat.dev, device), ..stat })
    }
}

/// Each operation names itself, for the stages, and says what it does with a name in one tree.
impl Fs for Arc<Pipeline> {
    fn root(&self) -> Result<Arc<dyn File>> {
        Ok(self.top())
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        let (place, subject) = self.walk(dir, path, End::of_open(path, how))?;
        let creates = how.create != Create::Never;
        let is_new = creates && place.as_ref().is_ok_and(is_missing);
        let operation = if is_new { Operation::Create } else { Operation::Open };
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            self.check_hidden(&place, &request.path, is_new)?;
            let existing = how.create != Create::New && (how.write || how.truncate);
            if (is_new && !place.slash) || (existing && matches!(place.found, Step::Leaf(()))) {
                self.policy().check_change(&request.path)?;
            }
            let how = OpenHow { follow: Follow::No, ..how.clone() };
            let at = match how.create {
                // About the name, slash and all, since what is there is not to be opened.
                Create::New => self.name(&place),
                _ => self.object(&place),
            };
            let file = at.fs.open_at(&*at.dir, at.path(), &how)?;
            Ok(self.wrap_at(file, place, &request.path))
        })
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        self.on(Operation::Stat, dir, path, End::of(follow), |at| at.stat())
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        self.on(Operation::ReadLink, dir, path, End::Keep, |at| {
            at.fs.read_link_at(&*at.dir, at.path())
        })
    }

    fn create_dir_at(&self, dir: &dyn File, path: GuestPath<'_>, mode: u32) -> Result<()> {
        self.on(Operation::CreateDir, dir, path, End::Name, |at| {
            at.fs.create_dir_at(&*at.dir, at.path(), mode)
        })
    }

    fn symlink_at(&self, target: &[u8], dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.on(Operation::Symlink, dir, path, End::Name, |at| {
            at.fs.symlink_at(target, &*at.dir, at.path())
        })
    }

    fn link_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        follow: Follow,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        let (source, from) = self.walk(from_dir, from, End::of(follow))?;
        let (target, to) = self.walk(to_dir, to, End::Name)?;
        let request = Request { to: Some(to.clone()), ..Request::new(Operation::Link, from) };
        self.run(request, |request| {
            let source = source?;
            let from = match source.found {
                Step::Missing => return Err(Errno::Noent),
                Step::Link(..) | Step::Leaf(()) if source.slash => return Err(Errno::Notdir),
                _ => self.object(&source),
            };
            let target = target?;
            self.check_link(source.dir.tree(), &request.path, &target, &to)?;
            if self.namespace.is_mount_point(&source) {
                return Err(Errno::Xdev);
            }
            let to = self.name(&target);
            from.fs.link_at(&*from.dir, from.path(), Follow::No, &*to.dir, to.path())
        })
    }

    fn rename_at(
        &self,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
    ) -> Result<()> {
        self.rename(from_dir, from, to_dir, to, Renaming::Replace)
    }

    fn remove_file_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.on(Operation::RemoveFile, dir, path, End::Name, |at| {
            at.fs.remove_file_at(&*at.dir, at.path())
        })
    }

    fn remove_dir_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<()> {
        self.on(Operation::RemoveDir, dir, path, End::Name, |at| {
            at.fs.remove_dir_at(&*at.dir, at.path())
        })
    }

    fn set_times_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        times: SetTimes,
    ) -> Result<()> {
        self.on(Operation::SetTimes, dir, path, End::of(follow), |at| {
            at.fs.set_times_at(&*at.dir, at.path(), Follow::No, times)
        })
    }

    fn set_mode_at(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        follow: Follow,
        mode: u32,
    ) -> Result<()> {
        self.on(Operation::SetMode, dir, path, End::of(follow), |at| {
            at.fs.set_mode_at(&*at.dir, at.path(), Follow::No, mode)
        })
    }
}

impl Pipeline {
    pub(crate) fn top(self: &Arc<Self>) -> Arc<dyn File> {
        self.wrap(self.core.top(), RelPath::TOP, Some(Spot::TOP), None)
    }

    /// Moves a name. [`Fs`] has the plain way alone, so only the overlay's own tree has the others.
    pub(crate) fn rename(
        self: &Arc<Self>,
        from_dir: &dyn File,
        from: GuestPath<'_>,
        to_dir: &dyn File,
        to: GuestPath<'_>,
        how: Renaming,
    ) -> Result<()> {
        let (source, from) = self.walk(from_dir, from, End::Parent)?;
        let (target, to) = self.walk(to_dir, to, End::Parent)?;
        let request = Request { to: Some(to.clone()), ..Request::new(Operation::Rename, from) };
        self.run(request, |request| {
            let (source, target) = (source?, target?);
            self.check_rename((&source, &request.path), (&target, &to), how)?;
            let (from, to) = (self.name(&source), self.name(&target));
            match (&source.dir, &target.dir) {
                (Spot::Own(from_dir), Spot::Own(to_dir)) => {
                    self.core.tx().rename(*from_dir, from.path(), *to_dir, to.path(), how)
                }
                _ if how == Renaming::Replace => {
                    from.fs.rename_at(&*from.dir, from.path(), &*to.dir, to.path())
                }
                _ => Err(Errno::Inval),
            }
        })
    }

    /// The canonical path: of a place outside, that on the disk.
    pub(crate) fn canonical(&self, path: GuestPath<'_>) -> Result<Vec<u8>> {
        let (place, subject) = self.namespace.walk(&Spot::TOP, path, End::Follow, Rights::FreeDots);
        self.run(Request::new(Operation::Stat, subject), |request| {
            let place = place?;
            match &place.found {
                Step::Missing => Err(Errno::Noent),
                Step::Link(..) | Step::Leaf(()) if place.slash => Err(Errno::Notdir),
                _ if self.namespace.is_outside(&place) => Ok(self.namespace.host_path(&place)),
                _ => Ok(request.path.as_bytes().to_vec()),
            }
        })
    }

    /// An operation on one path that makes or removes a name, as `End::Name` says, or is about the
    /// object to which the path leads.
    fn on<T>(
        self: &Arc<Self>,
        operation: Operation,
        dir: &dyn File,
        path: GuestPath<'_>,
        end: End,
        act: impl FnOnce(At<'_>) -> Result<T>,
    ) -> Result<T> {
        self.on_place(operation, dir, path, end, |place, _| match end {
            End::Name => act(self.name(&place)),
            _ => act(self.object(&place)),
        })
    }

    pub(super) fn on_place<T>(
        &self,
        operation: Operation,
        dir: &dyn File,
        path: GuestPath<'_>,
        end: End,
        act: impl FnOnce(Found, &RelPath) -> Result<T>,
    ) -> Result<T> {
        let (place, subject) = self.walk(dir, path, end)?;
        self.run(Request::new(operation, subject), |request| {
            let place = place?;
            self.check(operation, &place, &request.path)?;
            act(place, &request.path)
        })
    }

    /// Walks from a directory of this pipeline.
    pub(super) fn walk(
        &self,
        dir: &dyn File,
        path: GuestPath<'_>,
        end: End,
    ) -> Result<(Result<Found>, RelPath)> {
        let start = StagedFile::spot_in(dir, &self.core)?;
        Ok(self.namespace.walk(&start, path, end, Rights::Usual))
    }

    /// Whether policy and mounts allow an operation on one path.
    fn check(&self, operation: Operation, place: &Found, path: &RelPath) -> Result<()> {
        let policy = self.policy();
        match operation {
            Operation::CreateDir | Operation::Symlink => {
                self.check_new_name(operation, place, path)
            }
            Operation::RemoveFile | Operation::RemoveDir => {
                if let Last::Name(_) = place.last {
                    policy.check_change(path)?;
                    policy.check_move(path)?;
                }
                self.check_hidden(place, path, false)?;
                self.check_removal(operation, place)
            }
            Operation::SetTimes | Operation::SetMode if !is_missing(place) => {
                policy.check_change(path)
            }
            _ => self.check_hidden(place, path, false),
        }
    }

    /// A mount point can neither be removed, nor a directory that holds one.
    fn check_removal(&self, operation: Operation, place: &Found) -> Result<()> {
        let is_dir = operation == Operation::RemoveDir;
        match &place.found {
            _ if is_dir && place.last == Last::DotDot => Err(Errno::Notempty),
            _ if self.namespace.is_mount_point(place) => {
                Err(if is_dir { Errno::Busy } else { Errno::Isdir })
            }
            Step::Dir(dir) if is_dir && self.namespace.has_points(dir) => Err(Errno::Notempty),
            _ => Ok(()),
        }
    }

    pub(super) fn check_link(
        &self,
        tree: Option<usize>,
        path: &RelPath,
        target: &Found,
        to: &RelPath,
    ) -> Result<()> {
        self.check_new_name(Operation::Link, target, to)?;
        self.policy().check_change(path)?;
        if tree == target.dir.tree() { Ok(()) } else { Err(Errno::Xdev) }
    }

    fn check_rename(
        self: &Arc<Self>,
        (source, from): (&Found, &RelPath),
        (target, to): (&Found, &RelPath),
        how: Renaming,
    ) -> Result<()> {
        if source.dir.tree() != target.dir.tree() {
            return Err(Errno::Xdev);
        }
        names_only(&source.last, &target.last, how)?;
        let policy = self.policy();
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
        // In an exchange both names move.
        let moved = [(source, from, to), (target, to, from)];
        let moved = if how == Renaming::Exchange { &moved[..] } else { &moved[..1] };
        let is_kept = |(place, from, to): &(&Found, &RelPath, &RelPath)| {
            self.shows_hidden(place, from, to) || self.namespace.moves_a_mount(place)
        };
        let is_mount_point = |place| self.namespace.is_mount_point(place);
        if moved.iter().any(is_kept) || is_mount_point(source) || is_mount_point(target) {
            return Err(Errno::Busy);
        }
        match how {
            // A directory with a mount point in it is not empty.
            Renaming::Replace if self.namespace.holds_a_mount(target)? => Err(Errno::Notempty),
            _ => Ok(()),
        }
    }

    /// A hidden name does not exist, and no entry can be made in its place.
    fn check_hidden(&self, place: &Found, path: &RelPath, is_new: bool) -> Result<()> {
        match place.found {
            Step::Missing if self.policy().hides(path) => {
                Err(if is_new { Errno::Acces } else { Errno::Noent })
            }
            _ => Ok(()),
        }
    }

    /// The order of Linux: what is there, then a slash that only a directory may have, then whether
    /// anything may be made.
    fn check_new_name(&self, operation: Operation, place: &Found, path: &RelPath) -> Result<()> {
        if !is_missing(place) {
            return Err(Errno::Exist);
        }
        if place.slash && operation != Operation::CreateDir {
            return Err(Errno::Noent);
        }
        self.policy().check_change(path)?;
        self.check_hidden(place, path, true)
    }

    /// Whether what is hidden in a directory would no longer be so where that is to go.
    fn shows_hidden(self: &Arc<Self>, place: &Found, from: &RelPath, to: &RelPath) -> bool {
        !self.policy().hides_moved(from, to)
            && self.name(place).stat().is_ok_and(|stat| stat.kind == FileKind::Dir)
    }

    /// The object to which a path leads.
    pub(super) fn object(&self, place: &Found) -> At<'_> {
        match &place.found {
            // A mount's own top, or the directory that the path ends in.
            Step::Dir(dir @ Spot::In(_)) => self.at(dir, b".".to_vec()),
            _ => self.name(place),
        }
    }

    /// The name itself.
    pub(super) fn name(&self, place: &Found) -> At<'_> {
        let mut name = match &place.last {
            Last::Name(name) => name.to_vec(),
            // The place is the directory to which the walk has come.
            Last::Dot | Last::DotDot => b".".to_vec(),
        };
        if place.slash {
            name.push(b'/');
        }
        self.at(&place.dir, name)
    }

    fn at(&self, dir: &Spot, name: Vec<u8>) -> At<'_> {
        let tree = dir.tree();
        let (fs, dir): (&dyn Fs, Arc<dyn File>) = match dir {
            Spot::Own(ino) => (
                &self.core,
                Arc::new(Handle::new(&self.core, &mut self.core.tx(), *ino, false, false)),
            ),
            Spot::In(inside) => (&**self.namespace.fs(inside.tree), inside.dir.clone()),
        };
        At { fs, tree, dir, name }
    }

    /// The handle of what was opened at a place.
    pub(super) fn wrap_at(
        self: &Arc<Self>,
        inner: Arc<dyn File>,
        place: Found,
        path: &RelPath,
    ) -> Arc<dyn File> {
        let (spot, tree) = match place.found {
            Step::Dir(spot) => (Some(spot.clone()), spot.tree()),
            _ => (None, place.dir.tree()),
        };
        self.wrap(inner, path.clone(), spot, tree)
    }

    fn wrap(
        self: &Arc<Self>,
        inner: Arc<dyn File>,
        path: RelPath,
        spot: Option<Spot>,
        tree: Option<usize>,
    ) -> Arc<dyn File> {
        Arc::new(StagedFile { pipeline: self.clone(), inner, path, spot, tree })
    }

    /// Sends one operation through all stages.
    pub(super) fn run<T>(
        &self,
        request: Request,
        act: impl FnOnce(&Request) -> Result<T>,
    ) -> Result<T> {
        self.transfer(request, |request, _| Ok((act(request)?, 0)))
    }

    /// Sends one operation through all stages that moves bytes: as many of them as the faults let
    /// through. `act` returns how many were moved.
    pub(super) fn transfer<T>(
        &self,
        request: Request,
        act: impl FnOnce(&Request, usize) -> Result<(T, usize)>,
    ) -> Result<T> {
        let result = self.judge(&request).and_then(|granted| {
            let result = act(&request, granted);
            let done = result.as_ref().map_or(0, |(_, done)| *done);
            self.faults.settle(&request, granted, done);
            result
        });
        if let Some(audit) = &self.audit {
            let result = result.as_ref().map(|(_, done)| *done as u64).map_err(|errno| *errno);
            audit.note(&request, self.core.clock.wall(), result);
        }
        Ok(result?.0)
    }

    /// The first stage. Returns how many of the bytes may be moved.
    fn judge(&self, request: &Request) -> Result<usize> {
        if self.faults.is_empty() {
            return Ok(request.len);
        }
        let verdict = self.faults.judge(request);
        if verdict.wait > Duration::ZERO {
            self.wait(verdict.wait, request)?;
        }
        verdict.error.map_or(Ok(verdict.len), Err)
    }

    /// Lets virtual time pass, as the participant on whose thread this is.
    fn wait(&self, duration: Duration, request: &Request) -> Result<()> {
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
