//! Making the steps of a commit, from the first to the last.
//!
//! There is no record of how far it got but the disk itself: each step looks whether it is done. So
//! the same code commits and completes an interrupted commit, and may itself be interrupted.
//!
//! Nothing that another process has changed meanwhile is overwritten. Such a path is *passed over*:
//! everything else is committed, and the report says where the content for that path is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::disk::{At, Disk};
use super::error::CommitError;
use super::journal::{self, In, Incoming, Mark, MetaStep, Out, Steps};
use crate::places::PathId;
use crate::{Errno, FileKind, Stat};

/// The directory at the top of the root for files that could not be put in place.
const KEPT: &[u8] = b".testbench-kept";

/// The owner's bits without which a directory cannot be worked in.
pub(super) const WORK: u32 = 0o700;

/// More files and directories than this are synced by one call for the whole file system, which
/// also waits for everything that other processes have written there.
const SYNC_EACH_MAX: usize = 128;

/// A path at which a commit left the work of another process as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// Relative to the top, in raw bytes.
    pub path: Box<[u8]>,
    /// The file or directory with the content that could not be put there, in `.testbench-kept` at
    /// the top. `None` if there is none: a path was to be removed, or the content to be moved there
    /// had changed.
    pub kept_at: Option<PathBuf>,
}

/// A commit at work.
struct Run<'a, 'g> {
    disk: &'a mut Disk<'g>,
    steps: &'a Steps,
    /// The slots from which something is put in place.
    used: BTreeSet<u64>,
    passed: BTreeSet<PathId>,
    /// The slots that stay empty, since what was to wait there has been passed over.
    lost: BTreeSet<u64>,
}

/// Makes all steps, but for all that leave their place if these have `moved` already. Then the
/// commit is made; [`clean_up`] and [`settle_top`] are left.
pub(super) fn forward(
    disk: &mut Disk<'_>,
    steps: &Steps,
    moved: bool,
) -> Result<Vec<PassedOver>, CommitError> {
    let used = steps.ins.iter().filter_map(In::slot).collect();
    let mut run = Run { disk, steps, used, passed: BTreeSet::new(), lost: BTreeSet::new() };
    if !moved {
        run.open_dirs(steps.opens.iter())?;
        steps.outs.iter().try_for_each(|out| run.take_out(out))?;
        let left = steps.outs.iter().map(|out| run.disk.paths.dir(out.path)).collect();
        run.settle(left, &[])?;
        journal::mark_moved(run.disk)?;
    }
    // An interrupted run may have closed some already.
    let dirs = steps.metas.iter().filter(|meta| meta.kind == FileKind::Dir);
    run.open_dirs(dirs.map(|meta| &meta.path))?;
    steps.ins.iter().try_for_each(|step| run.put_in(step))?;
    run.drop_old()?;
    let entered = steps.ins.iter().map(|step| run.disk.paths.dir(step.path)).collect();
    run.settle(entered, &steps.metas)?;
    let passed = run.report()?;
    disk.give_up_stage()?;
    Ok(passed)
}

/// Removes everything that is on the stage, and the stage.
pub(super) fn clean_up(disk: &mut Disk<'_>) -> Result<(), CommitError> {
    if disk.is_waste() {
        disk.sync_root()?;
    }
    let names = disk.list(At::STAGE)?;
    let slots = names.iter().filter_map(|entry| journal::slot(&entry.name)).map(At::Slot);
    // The journal says what is left to do, so it goes last.
    let is_there = |name: &&str| names.iter().any(|entry| *entry.name == *name.as_bytes());
    let ours = journal::OURS.into_iter().filter(is_there).map(At::Stage);
    slots.chain(ours).try_for_each(|at| disk.unlink(at))?;
    disk.remove_stage()
}

/// Gives the top its times, since the stage came and went in it, and takes from its mode the bits
/// that the stage needed. There is no journal any more that could say so: see the promises in the
/// documentation of `commit/mod.rs`.
pub(super) fn settle_top(disk: &mut Disk<'_>, steps: &Steps) -> Result<(), CommitError> {
    let Some(top) = steps.metas.iter().find(|meta| meta.path == PathId::TOP) else {
        return Ok(());
    };
    let _ = disk.set_times(At::TOP, top.times.set());
    let held_back = mode_under_stage(top);
    let is = disk.look(At::TOP)?;
    // Another process may have set another since.
    if held_back == top.mode || is.is_none_or(|is| is.mode != held_back) {
        return Ok(());
    }
    disk.set_mode(At::TOP, top.mode)?;
    disk.sync_root()
}

/// The mode that something can have as long as there is a stage: only root could find and remove
/// that in a top that does not let its owner do so.
fn mode_under_stage(meta: &MetaStep) -> u32 {
    let is_top = meta.path == PathId::TOP;
    let must_open = is_top && !rustix::process::geteuid().is_root();
    if must_open { meta.mode | WORK } else { meta.mode }
}

impl Run<'_, '_> {
    fn take_out(&mut self, Out { path, slot, was }: &Out) -> Result<(), CommitError> {
        if let Some(slot) = slot
            && self.disk.look(At::Slot(*slot))?.is_some()
        {
            return Ok(());
        }
        let here = At::Tree(*path);
        let used = slot.filter(|slot| self.used.contains(slot));
        let done = match (self.disk.look(here)?, slot) {
            // Removed already.
            (None, _) if used.is_none() => return Ok(()),
            (Some(is), Some(slot)) if was.matches(&is) => {
                self.disk.rename_new(here, At::Slot(*slot))
            }
            (Some(is), None) if was.matches(&is) => self.disk.remove_dir(here),
            _ => Err(self.disk.refused("change", here, Errno::Exist)),
        };
        if !self.is_done(done, *path)? {
            self.lost.extend(used);
        }
        Ok(())
    }

    fn put_in(&mut self, In { path, what, over }: &In) -> Result<(), CommitError> {
        let here = At::Tree(*path);
        let slot = match what {
            Incoming::Dir => {
                let made = match self.disk.make_dir(here) {
                    // Made already, or by another process, whose directory will do.
                    Err(_) if self.disk.look(here)?.is_some_and(is_dir) => Ok(()),
                    made => made,
                };
                return self.is_done(made, *path).map(drop);
            }
            Incoming::Slot(slot) => *slot,
            Incoming::Link(of, slot) => {
                match (self.disk.look(At::Tree(*of))?, self.disk.look(here)?) {
                    (Some(of), Some(is)) if same(&of, &is) => return Ok(()),
                    (Some(_), _) if !self.passed.contains(of) => {}
                    _ => {
                        return self
                            .is_done(Err(self.disk.refused("change", here, Errno::Exist)), *path)
                            .map(drop);
                    }
                }
                if self.disk.look(At::Slot(*slot))?.is_none() {
                    self.disk.link(At::Tree(*of), At::Slot(*slot))?;
                }
                *slot
            }
        };
        let done = match (self.disk.look(At::Slot(slot))?, over) {
            (None, _) if self.lost.contains(&slot) => {
                Err(self.disk.refused("change", here, Errno::Exist))
            }
            // Put there already.
            (None, _) => return Ok(()),
            (Some(_), None) => self.disk.rename_new(At::Slot(slot), here),
            (Some(_), Some((old, was))) => self.replace(slot, here, *old, was),
        };
        self.is_done(done, *path).map(drop)
    }

    /// Puts a file in the place of another, which is kept as `old`.
    fn replace(&mut self, new: u64, here: At, old: u64, was: &Mark) -> Result<(), CommitError> {
        if self.disk.look(At::Slot(old))?.is_none() {
            match self.disk.look(here)? {
                Some(is) if was.matches(&is) => self.set_aside(here, old)?,
                Some(_) => return Err(self.disk.refused("change", here, Errno::Exist)),
                None => {}
            }
        }
        self.cover(new, here, old)
    }

    /// Keeps a file on the stage that is about to be replaced: as a second name, so that there is
    /// no instant at which nothing is at the path.
    fn set_aside(&mut self, here: At, slot: u64) -> Result<(), CommitError> {
        let Err(error) = self.disk.link(here, At::Slot(slot)) else { return Ok(()) };
        match error.errno() {
            // Hard links are not to be had everywhere and for everyone.
            Errno::Perm | Errno::Notsup | Errno::Mlink | Errno::Nosys | Errno::Inval => {
                self.disk.rename_new(here, At::Slot(slot))
            }
            Errno::Noent => Ok(()),
            _ => Err(error),
        }
    }

    /// Puts a file in the place of another that was [set aside](Run::set_aside).
    fn cover(&mut self, new: u64, here: At, old: u64) -> Result<(), CommitError> {
        let (new, old) = (At::Slot(new), At::Slot(old));
        let (new_is, old_is) = (self.disk.look(new)?, self.disk.look(old)?);
        let is = |is: &Stat, slot: Option<Stat>| slot.is_some_and(|slot| same(is, &slot));
        match self.disk.look(here)? {
            None => self.disk.rename_new(new, here),
            Some(found) if is(&found, old_is) => self.disk.rename_over(new, here),
            // It was covered before, and giving the place back was begun.
            Some(found) if is(&found, new_is) => self.disk.unlink(new),
            Some(_) => Err(self.disk.refused("change", here, Errno::Exist)),
        }
    }

    /// Drops the files that have left their place for good. One that another process has written to
    /// meanwhile gets its place back.
    fn drop_old(&mut self) -> Result<(), CommitError> {
        let steps = self.steps;
        let outs = steps.outs.iter().filter_map(|out| Some((out.slot?, out.path, &out.was, None)));
        let outs = outs.filter(|(slot, ..)| !self.used.contains(slot)).collect::<Vec<_>>();
        let replaced = steps.ins.iter().filter_map(|step| {
            step.over.as_ref().map(|(old, was)| (*old, step.path, was, step.slot()))
        });
        for (old, path, was, new) in outs.into_iter().chain(replaced) {
            let Some(is) = self.disk.look(At::Slot(old))? else { continue };
            // A file with another name is not lost, and the steps may have changed its times.
            if is.nlink > 1 || was.holds(&is) {
                self.disk.unlink(At::Slot(old))?;
                continue;
            }
            let here = At::Tree(path);
            let back = match new.filter(|_| !self.passed.contains(&path)) {
                Some(new) => self.set_aside(here, new).and_then(|()| self.cover(old, here, new)),
                None => self.disk.rename_new(At::Slot(old), here),
            };
            self.passed.insert(path);
            self.is_done(back, path)?;
        }
        Ok(())
    }

    /// Moves all that is left on the stage to where it is kept.
    fn report(mut self) -> Result<Vec<PassedOver>, CommitError> {
        let outs = self.steps.outs.iter().filter_map(|out| Some((out.slot?, out.path)));
        let ins = self.steps.ins.iter().flat_map(|step| {
            let old = step.over.as_ref().map(|(old, _)| *old);
            old.into_iter().chain(step.slot()).map(|slot| (slot, step.path))
        });
        let paths: BTreeMap<u64, PathId> = outs.chain(ins).collect();
        let mut passed: BTreeMap<PathId, Option<PathBuf>> =
            self.passed.iter().map(|path| (*path, None)).collect();
        for entry in self.disk.list(At::STAGE)? {
            let Some(slot) = journal::slot(&entry.name) else { continue };
            let path = *paths.get(&slot).unwrap_or(&PathId::TOP);
            passed.insert(path, Some(self.keep(slot, path)?));
        }
        let paths = &self.disk.paths;
        let passed = passed.into_iter();
        let mut passed: Vec<PassedOver> =
            passed.map(|(path, kept_at)| PassedOver { path: paths.bytes(path), kept_at }).collect();
        passed.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(passed)
    }

    /// Moves something from the stage to where files are kept that could not be put in place.
    fn keep(&mut self, slot: u64, path: PathId) -> Result<PathBuf, CommitError> {
        let dir = self.disk.paths.child(PathId::TOP, KEPT);
        match self.disk.make_dir(At::Tree(dir)) {
            Err(error) if error.errno() != Errno::Exist => return Err(error),
            _ => {}
        }
        let name = self.disk.paths.name(path);
        // With the number in front it must still be a name.
        let name = name[..name.len().min(200)].to_vec();
        let mut number = 1;
        loop {
            let numbered = [format!("{number}-").as_bytes(), &name].concat();
            let place = At::Tree(self.disk.paths.child(dir, &numbered));
            match self.disk.rename_new(At::Slot(slot), place) {
                Err(error) if error.errno() == Errno::Exist => number += 1,
                kept => return kept.map(|()| self.disk.host_path(place)),
            }
        }
    }

    /// Passes over a path that another process has changed: then the result is false.
    fn is_done(
        &mut self,
        done: Result<(), CommitError>,
        path: PathId,
    ) -> Result<bool, CommitError> {
        let Err(error) = done else { return Ok(true) };
        match error.errno() {
            Errno::Exist
            | Errno::Noent
            | Errno::Notempty
            | Errno::Notdir
            | Errno::Isdir
            | Errno::Loop
            | Errno::Busy => {
                self.passed.insert(path);
                Ok(false)
            }
            _ => Err(error),
        }
    }

    /// Makes sure that the directories can be worked in, from the top down.
    fn open_dirs<'d>(&mut self, dirs: impl Iterator<Item = &'d PathId>) -> Result<(), CommitError> {
        let mut missing = BTreeSet::new();
        for path in dirs {
            // In a directory that is still to be made there is nothing.
            let is_beyond = missing.contains(&self.disk.paths.dir(*path));
            let here = At::Tree(*path);
            match if is_beyond { None } else { self.disk.look(here)? } {
                None => _ = missing.insert(*path),
                Some(is) if is_dir(is) && !may_work(&is) => {
                    self.disk.set_mode(here, is.mode | WORK)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Sets permission bits and times, from below upwards, and brings these and the directories to
    /// stable storage. They are opened before they may be closed to their owner.
    fn settle(&mut self, dirs: BTreeSet<PathId>, metas: &[MetaStep]) -> Result<(), CommitError> {
        let with_meta: BTreeSet<PathId> = metas.iter().map(|meta| meta.path).collect();
        let others = dirs.difference(&with_meta).map(|dir| (*dir, None));
        let metas = metas.iter().rev().map(|meta| (meta.path, Some(meta)));
        let sync_each = dirs.len() + with_meta.len() <= SYNC_EACH_MAX;
        for (path, meta) in others.chain(metas) {
            let here = At::Tree(path);
            let opened = if sync_each { self.disk.open_to_sync(here)? } else { None };
            meta.map_or(Ok(()), |meta| self.set_meta(meta))?;
            opened.map_or(Ok(()), |opened| self.disk.sync(here, &opened))?;
        }
        if sync_each { self.disk.sync_stage() } else { self.disk.sync_all() }
    }

    /// Sets permission bits and times, unless something else is there now.
    fn set_meta(&mut self, meta: &MetaStep) -> Result<(), CommitError> {
        let here = At::Tree(meta.path);
        let is = self.disk.look(here)?.filter(|is| is.kind == meta.kind);
        let Some(is) = is.filter(|_| !self.passed.contains(&meta.path)) else { return Ok(()) };
        let mode = mode_under_stage(meta);
        if is.mode != mode && is.kind != FileKind::Symlink {
            self.disk.set_mode(here, mode)?;
        }
        match self.disk.set_times(here, meta.times.set()) {
            // In a directory that belongs to another user the system keeps the times.
            Err(error) if is_dir(is) && matches!(error.errno(), Errno::Perm | Errno::Acces) => {
                Ok(())
            }
            set => set,
        }
    }
}

fn is_dir(stat: Stat) -> bool {
    stat.kind == FileKind::Dir
}

/// Whether a directory's owner may work in it.
pub(super) fn may_work(stat: &Stat) -> bool {
    stat.mode & WORK == WORK
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.dev, a.ino) == (b.dev, b.ino)
}
