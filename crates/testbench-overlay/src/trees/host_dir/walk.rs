//! Where a path leads.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{RACES_MAX, Tree};
use crate::resolve::{self, Last, Place, Step, Walk};
use crate::sys::{self, Access};
use crate::vfs::Result;
use crate::{Errno, FileKind, Stat};

/// Where a path leads.
pub(super) struct Spot {
    pub(super) dir: Arc<OwnedFd>,
    pub(super) last: Last,
    pub(super) stat: Option<Stat>,
    pub(super) slash: bool,
}

impl Spot {
    pub(super) fn from_place(place: Place<Arc<OwnedFd>, Stat>) -> Result<Spot> {
        let Place { dir, last, found, slash } = place;
        let stat = match found {
            Step::Missing => None,
            Step::Dir(dir) => Some(sys::stat(&dir)?),
            Step::Link(_, stat) | Step::Leaf(stat) => Some(stat),
        };
        Ok(Spot { dir, last, stat, slash })
    }

    pub(super) fn present(&self) -> Result<Stat> {
        match self.stat {
            None => Err(Errno::Noent),
            Some(stat) if self.slash && stat.kind != FileKind::Dir => Err(Errno::Notdir),
            Some(stat) => Ok(stat),
        }
    }

    pub(super) fn name(&self) -> Result<&[u8]> {
        match &self.last {
            Last::Name(name) => Ok(name),
            Last::Dot | Last::DotDot => Err(Errno::Isdir),
        }
    }

    /// A name for calls on directories, where the place itself will do.
    pub(super) fn name_or_dot(&self) -> &[u8] {
        match &self.last {
            Last::Name(name) => name,
            Last::Dot | Last::DotDot => b".",
        }
    }

    pub(super) fn free_name(&self) -> Result<Vec<u8>> {
        if self.stat.is_some() { Err(Errno::Exist) } else { self.name_slash() }
    }

    /// The name with the slash that came behind it, so that the kernel applies its rules. Only for
    /// calls that never follow the last component, slash or not.
    pub(super) fn name_slash(&self) -> Result<Vec<u8>> {
        let mut name = self.name()?.to_vec();
        if self.slash {
            name.push(b'/');
        }
        Ok(name)
    }
}

pub(super) struct HostWalk<'a> {
    pub(super) tree: &'a Tree,
}

impl Walk for HostWalk<'_> {
    type Dir = Arc<OwnedFd>;
    type Leaf = Stat;

    fn search(&mut self, _: &Arc<OwnedFd>, _: bool) -> Result<()> {
        // The kernel checks it with every call on a name.
        Ok(())
    }

    fn step(
        &mut self,
        dir: &Arc<OwnedFd>,
        name: &[u8],
        _: bool,
    ) -> Result<Step<Arc<OwnedFd>, Stat>> {
        let mut tries = 0;
        loop {
            let stat = match sys::stat_at(dir, name) {
                Err(Errno::Noent) => return Ok(Step::Missing),
                stat => stat?,
            };
            let step = match stat.kind {
                FileKind::Dir => {
                    sys::open_dir(dir, name, Access::Search).map(|dir| Step::Dir(Arc::new(dir)))
                }
                FileKind::Symlink => {
                    sys::read_link(dir, name).map(|target| Step::Link(target, stat))
                }
                FileKind::File | FileKind::Special => Ok(Step::Leaf(stat)),
            };
            // Something else is there by now: the two calls have seen two things.
            let raced =
                matches!(step, Err(Errno::Noent | Errno::Notdir | Errno::Loop | Errno::Inval));
            tries += 1;
            if !raced || tries == RACES_MAX {
                return step;
            }
        }
    }

    fn top(&mut self) -> Arc<OwnedFd> {
        self.tree.top.clone()
    }

    fn same(&self, a: &Arc<OwnedFd>, b: &Arc<OwnedFd>) -> bool {
        sys::same(a, b)
    }

    fn inside<'t>(&self, target: &'t [u8]) -> Option<&'t [u8]> {
        resolve::strip_root(target, self.tree.path.as_os_str().as_encoded_bytes())
    }
}
