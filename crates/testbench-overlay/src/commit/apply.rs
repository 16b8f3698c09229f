//! Making the steps of a commit, from the first to the last.
//!
//! There is no record of how far it got but the disk itself: each step looks whether it is done. So
//! the same code commits and completes an interrupted commit, and may itself be interrupted.
//!
//! Nothing that another process has changed meanwhile is overwritten. Such a path is *passed over*:
//! everything else is committed, and the report says where the content for that path is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::disk::{At, Disk, allowed};
use super::error::Result;
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
pub(super) fn forward(disk: &mut Disk<'_>, steps: &Steps, moved: bool) -> Result<Vec<PassedOver>> {
    let used = steps.ins.iter().filter_map(In::slot).collect();
    let mut run = Run { disk, steps, used, passed: BTreeSet::new(), lost: BTreeSet::new() };
    if !moved {
        run.open_dirs(steps.opens.iter())?;
        for out in &steps.outs {
            if !run.take_out(out)? {
                run.passed.insert(out.path);
                run.lost.extend(out.slot);
            }
        }
        let left = steps.outs.iter().map(|out| run.disk.paths.dir(out.path)).collect();
        run.settle(left, &[])?;
        journal::mark_moved(run.disk)?;
    }
    // An interrupted run may have closed some already.
    let dirs = steps.metas.iter().filter(|meta| meta.kind == FileKind::Dir);
    run.open_dirs(dirs.map(|meta| &meta.path))?;
    for step in &steps.ins {
        if !run.put_in(step)? {
            run.passed.insert(step.path);
        }
    }
    let passed = run.empty_stage()?;
    let entered = steps.ins.iter().map(|step| run.disk.paths.dir(step.path)).collect();
    run.settle(entered, &steps.metas)?;
    disk.give_up_stage()?;
    let report = |(path, kept_at)| PassedOver { path: disk.paths.bytes(path), kept_at };
    let mut passed: Vec<PassedOver> = passed.into_iter().map(report).collect();
    passed.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(passed)
}

/// Removes everything that is on the stage, and the stage.
pub(super) fn clean_up(disk: &mut Disk<'_>) -> Result<()> {
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
pub(super) fn settle_top(disk: &mut Disk<'_>, steps: &Steps) -> Result<()> {
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
    /// Takes something out of its place; false if that was changed.
    fn take_out(&mut self, Out { path, slot, was }: &Out) -> Result<bool> {
        if let Some(slot) = slot
            && self.disk.look(At::Slot(*slot))?.is_some()
        {
            return Ok(true);
        }
        let here = At::Tree(*path);
        match (self.disk.look(here)?, slot) {
            // Removed already, unless it is needed elsewhere.
            (None, slot) => Ok(slot.is_none_or(|slot| !self.used.contains(&slot))),
            (Some(is), _) if !was.matches(&is) => Ok(false),
            (Some(_), Some(slot)) => made(self.disk.rename_new(here, At::Slot(*slot))),
            (Some(_), None) => made(self.disk.remove_dir(here)),
        }
    }

    /// Puts something in its place; false if that was changed.
    fn put_in(&mut self, In { path, what, over }: &In) -> Result<bool> {
        let here = At::Tree(*path);
        let slot = match what {
            // Another process may have made it, and its directory will do.
            Incoming::Dir if self.disk.look(here)?.is_some_and(is_dir) => return Ok(true),
            Incoming::Dir => return made(self.disk.make_dir(here)),
            Incoming::Slot(slot) => *slot,
            Incoming::Link(of, slot) => {
                match (self.disk.look(At::Tree(*of))?, self.disk.look(here)?) {
                    (Some(of), Some(is)) if same(&of, &is) => return Ok(true),
                    (Some(_), _) if !self.passed.contains(of) => {}
                    _ => return Ok(false),
                }
                if self.disk.look(At::Slot(*slot))?.is_none() {
                    self.disk.link(At::Tree(*of), At::Slot(*slot))?;
                }
                *slot
            }
        };
        match (self.disk.look(At::Slot(slot))?, over) {
            // If it was not lost, it was put there already.
            (None, _) => Ok(!self.lost.contains(&slot)),
            (Some(_), None) => made(self.disk.rename_new(At::Slot(slot), here)),
            (Some(_), Some((old, was))) => self.replace(slot, here, *old, was),
        }
    }

    /// Puts a file in the place of another, which is kept as `old`.
    fn replace(&mut self, new: u64, here: At, old: u64, was: &Mark) -> Result<bool> {
        if self.disk.look(At::Slot(old))?.is_none() {
            match self.disk.look(here)? {
                Some(is) if !was.matches(&is) => return Ok(false),
                Some(_) if !self.set_aside(here, old)? => return Ok(false),
                _ => {}
            }
        }
        self.cover(new, here, old)
    }

    /// Keeps a file on the stage that is about to be replaced: as a second name, so that there is
    /// no instant at which nothing is at the path.
    fn set_aside(&mut self, here: At, slot: u64) -> Result<bool> {
        use Errno::{Inval, Mlink, Noent, Nosys, Notsup, Perm};
        match self.disk.link(here, At::Slot(slot)) {
            // Hard links are not to be had everywhere and for every file.
            Err(error) if [Perm, Notsup, Mlink, Nosys, Inval].contains(&error.errno()) => {
                made(self.disk.rename_new(here, At::Slot(slot)))
            }
            Err(error) if error.errno() == Noent => Ok(true),
            linked => made(linked),
        }
    }

    /// Puts a file in the place of another that was [set aside](Run::set_aside).
    fn cover(&mut self, new: u64, here: At, old: u64) -> Result<bool> {
        let (new, old) = (At::Slot(new), At::Slot(old));
        let (new_is, old_is) = (self.disk.look(new)?, self.disk.look(old)?);
        let is = |is: &Stat, slot: Option<Stat>| slot.is_some_and(|slot| same(is, &slot));
        match self.disk.look(here)? {
            None => made(self.disk.rename_new(new, here)),
            Some(found) if is(&found, old_is) => made(self.disk.rename_over(new, here)),
            // It was covered before, and giving the place back was begun.
            Some(found) if is(&found, new_is) => made(self.disk.unlink(new)),
            Some(_) => Ok(false),
        }
    }

    /// Empties the stage. The files that have left their place for good are dropped; one that another
    /// process has written to meanwhile gets its place back. Everything else could not be put in
    /// place, and is kept. Returns the paths that were passed over, with what is kept of each.
    fn empty_stage(&mut self) -> Result<BTreeMap<PathId, Option<PathBuf>>> {
        let steps = self.steps;
        let mut paths = BTreeMap::new();
        // Of each old file, its mark, and the slot from which another has come to its place.
        let mut old_files: BTreeMap<u64, (&Mark, Option<u64>)> = BTreeMap::new();
        for out in &steps.outs {
            let Some(slot) = out.slot else { continue };
            paths.insert(slot, out.path);
            if !self.used.contains(&slot) {
                old_files.insert(slot, (&out.was, None));
            }
        }
        for step in &steps.ins {
            paths.extend(step.slot().map(|slot| (slot, step.path)));
            if let Some((slot, was)) = &step.over {
                paths.insert(*slot, step.path);
                old_files.insert(*slot, (was, step.slot()));
            }
        }
        let mut kept = BTreeMap::new();
        let names = self.disk.list(At::STAGE)?;
        let mut full: BTreeSet<u64> =
            names.iter().filter_map(|entry| journal::slot(&entry.name)).collect();
        while let Some(slot) = full.pop_first() {
            let path = *paths.get(&slot).unwrap_or(&PathId::TOP);
            if let Some((was, new)) = old_files.get(&slot) {
                let Some(is) = self.disk.look(At::Slot(slot))? else { continue };
                // A file with another name is not lost, and the steps may have changed its times.
                if is.nlink > 1 || was.holds(&is) {
                    self.disk.unlink(At::Slot(slot))?;
                    continue;
                }
                let here = At::Tree(path);
                let back = match new.filter(|_| !self.passed.contains(&path)) {
                    Some(new) => {
                        full.insert(new);
                        self.set_aside(here, new)? && self.cover(slot, here, new)?
                    }
                    None => made(self.disk.rename_new(At::Slot(slot), here))?,
                };
                self.passed.insert(path);
                if back {
                    continue;
                }
            }
            if self.disk.look(At::Slot(slot))?.is_some() {
                kept.insert(path, Some(self.keep(slot, path)?));
            }
        }
        let mut passed: BTreeMap<_, _> = self.passed.iter().map(|path| (*path, None)).collect();
        passed.extend(kept);
        Ok(passed)
    }

    /// Moves something from the stage to where files are kept that could not be put in place.
    fn keep(&mut self, slot: u64, path: PathId) -> Result<PathBuf> {
        let dir = self.disk.paths.child(PathId::TOP, KEPT);
        allowed(self.disk.make_dir(At::Tree(dir)), &[Errno::Exist])?;
        let name = self.disk.paths.name(path);
        // With the number in front it must still be a name.
        let name = name[..name.len().min(200)].to_vec();
        let mut number = 1;
        loop {
            let numbered = [format!("{number}-").as_bytes(), &name].concat();
            let place = At::Tree(self.disk.paths.child(dir, &numbered));
            if allowed(self.disk.rename_new(At::Slot(slot), place), &[Errno::Exist])? {
                return Ok(self.disk.host_path(place));
            }
            number += 1;
        }
    }

    /// Makes sure that the directories can be worked in, from the top down.
    fn open_dirs<'d>(&mut self, dirs: impl Iterator<Item = &'d PathId>) -> Result<()> {
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
    fn settle(&mut self, dirs: BTreeSet<PathId>, metas: &[MetaStep]) -> Result<()> {
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
    fn set_meta(&mut self, meta: &MetaStep) -> Result<()> {
        let here = At::Tree(meta.path);
        let is = self.disk.look(here)?.filter(|is| is.kind == meta.kind);
        let Some(is) = is.filter(|_| !self.passed.contains(&meta.path)) else { return Ok(()) };
        let mode = mode_under_stage(meta);
        if is.mode != mode && is.kind != FileKind::Symlink {
            self.disk.set_mode(here, mode)?;
        }
        let set = self.disk.set_times(here, meta.times.set());
        // In a directory that belongs to another user the system keeps the times.
        let may_fail = [Errno::Perm, Errno::Acces];
        allowed(set, if is_dir(is) { &may_fail } else { &[] }).map(drop)
    }
}

/// Whether a step is made; false if another process has changed its place.
fn made(done: Result<()>) -> Result<bool> {
    use Errno::{Busy, Exist, Isdir, Loop, Noent, Notdir, Notempty};
    allowed(done, &[Exist, Noent, Notempty, Notdir, Isdir, Loop, Busy])
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
