//! What is [held](crate::mount::hold) of an overlay that has stages.

use std::any::Any;
use std::sync::Arc;

use super::file::StagedFile;
use super::mounts::{Inside, Spot};
use super::operation::{Operation, Request};
use super::staged::{Staged, Target};
use crate::handle::Handle;
use crate::mount::hold::ByName;
use crate::ops::Access;
use crate::resolve::{End, Step};
use crate::{Errno, File, Follow, GuestPath, OpenHow};

impl Staged<'_> {
    pub(crate) fn hold(self, dir: &dyn File, name: GuestPath<'_>) -> Result<Arc<dyn File>, Errno> {
        let (place, subject) = self.walk(&self.spot(dir)?, name, End::Keep);
        self.run(Request::new(Operation::Stat, subject), |request| {
            let place = place?;
            self.check_hidden(&place, &request.path, false)?;
            let file: Arc<dyn File> = match (&place.found, self.object(&place)) {
                (Step::Dir(Spot::In(Inside { dir, .. })), _) => dir.clone(),
                (_, Target::Own(dir, name)) => self.core.hold(dir, GuestPath::new(&name))?,
                (_, Target::In(mount, dir, name)) => {
                    let held = ByName { fs: self.pipe.mounts.fs(mount).clone(), dir, name };
                    held.stat()?;
                    Arc::new(held)
                }
            };
            Ok(self.wrap(file, &place, &request.path))
        })
    }

    pub(crate) fn make_special(
        self,
        dir: &dyn File,
        name: GuestPath<'_>,
        mode: u32,
    ) -> Result<(), Errno> {
        self.on_new_name(Operation::Create, dir, name, |target| match target {
            Target::Own(dir, name) => self.core.tx().make_special(dir, GuestPath::new(&name), mode),
            Target::In(..) => Err(Errno::Perm),
        })
    }

    pub(crate) fn link_held(
        self,
        held: &dyn File,
        dir: &dyn File,
        name: GuestPath<'_>,
    ) -> Result<(), Errno> {
        let held = (held as &dyn Any).downcast_ref::<StagedFile>().ok_or(Errno::Xdev)?;
        let (target, to) = self.walk(&self.spot(dir)?, name, End::Name);
        let request =
            Request { to: Some(to.clone()), ..Request::new(Operation::Link, held.path.clone()) };
        self.run(request, |request| {
            let target = target?;
            self.check_new_name(Operation::Link, &target, &to)?;
            self.pipe.policy.check_change(&request.path)?;
            match (self.name(&target), held.mount) {
                (Target::Own(dir, name), None) => {
                    let ino = Handle::ino_in(&*held.inner, self.core)?;
                    self.core.tx().link(ino, dir, GuestPath::new(&name))
                }
                (Target::In(mount, dir, name), Some(own)) if own == mount => {
                    let held = held.by_name().ok_or(Errno::Perm)?;
                    held.link(&*dir, GuestPath::new(&name))
                }
                _ => Err(Errno::Xdev),
            }
        })
    }
}

impl StagedFile {
    pub(crate) fn open_held(&self, access: Access) -> Result<Arc<dyn File>, Errno> {
        let staged = self.staged();
        staged.run(Request::new(Operation::Open, self.path.clone()), |request| {
            if access.write {
                staged.pipe.policy.check_change(&request.path)?;
            }
            let file = match (&self.spot, self.mount, self.by_name()) {
                (_, None, _) => {
                    self.core.open_held(Handle::ino_in(&*self.inner, &self.core)?, access)?
                }
                (_, Some(_), Some(held)) => held.open(access)?,
                (_, Some(mount), None) => {
                    let how = OpenHow {
                        write: access.write,
                        directory: true,
                        follow: Follow::No,
                        ..OpenHow::READ
                    };
                    staged.fs(mount).open_at(&*self.inner, GuestPath::new(b"."), &how)?
                }
            };
            let path = request.path.clone();
            let file = StagedFile::new(&self.core, file, path, self.spot.clone(), self.mount);
            Ok(Arc::new(file) as Arc<dyn File>)
        })
    }

    pub(crate) fn read_held_link(&self) -> Result<Vec<u8>, Errno> {
        self.run(Operation::ReadLink, || match self.by_name() {
            Some(held) => held.read_link(),
            None => self.core.read_held_link(Handle::ino_in(&*self.inner, &self.core)?),
        })
    }

    fn by_name(&self) -> Option<&ByName> {
        (&*self.inner as &dyn Any).downcast_ref()
    }
}
