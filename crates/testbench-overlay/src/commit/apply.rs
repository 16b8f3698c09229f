//! Making the steps of a commit, from the first to the last.
//!
//! There is no record of how far it got but the disk itself: each step looks whether it is done. So
//! the same code commits and completes an interrupted commit, and may itself be interrupted.
//!
//! Nothing that another process has changed meanwhile is overwritten. Such a path is *passed over*:
//! everything else is committed, and the report says where the content for that path is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use super::disk::{At, Disk};
use super::error::{Failure, at, on_stage};
use super::gate::Gate;
use super::journal::{self, In, Incoming, Mark, MetaStep, Out, Slot, Steps, letter};
use super::paths::PathId;
use super::plan::WORK;
use crate::{Errno, FileKind, Stat};

/// More files and directories than this are synced by one call for the whole file system, which
/// also waits for everything that other processes have written there. Each one is held open until
/// then, so this must stay far below the limit of open files of a process.
const SYNC_EACH_MAX: usize = 128;

/// A path that was passed over, and where its content is, both relative to the root.
pub(super) type Passed = (Box<[u8]>, Option<Vec<u8>>);

/// Files and directories that are to be brought to stable storage.
enum ToSync {
    Few(Vec<OwnedFd>),
    /// So many that the whole file system is synced.
    Many,
}

/// A commit at work.
pub(super) struct Run<'a, 'g, G> {
    disk: &'a mut Disk<'g, G>,
    steps: &'a Steps,
    /// An earlier process has been here: steps may have been made already.
    again: bool,
    /// The slots from which something is put in place.
    used: BTreeSet<Slot>,
    passed: BTreeSet<PathId>,
}

/// Makes all steps; [`finish`], [`clean_up`] and [`settle_top`] are left.
pub(super) fn forward<G: Gate>(
    disk: &mut Disk<'_, G>,
    steps: &Steps,
    again: bool,
    moved: bool,
) -> Result<Vec<Passed>, Failure> {
    let used = steps.ins.iter().filter_map(In::slot).collect();
    let mut run = Run { disk, steps, again, used, passed: BTreeSet::new() };
    if !moved {
        run.open_dirs(steps.opens.iter())?;
        for out in &steps.outs {
            run.take_out(out)?;
        }
        let left = steps.outs.iter().map(|out| run.disk.paths.dir(out.path)).collect();
        let left = run.open_to_sync(left)?;
        run.sync(left)?;
        journal::mark_moved(run.disk).map_err(on_stage)?;
    }
    if again {
        let dirs = steps.metas.iter().filter(|meta| meta.kind == letter(FileKind::Dir));
        run.open_dirs(dirs.map(|meta| &meta.path))?;
    }
    for step in &steps.ins {
        run.put_in(step)?;
    }
    run.drop_old()?;
    // While they still can be opened.
    let entered = steps.ins.iter().map(|step| run.disk.paths.dir(step.path));
    let changed = entered.chain(steps.metas.iter().map(|meta| meta.path)).collect();
    let changed = run.open_to_sync(changed)?;
    for meta in steps.metas.iter().rev().filter(|meta| meta.path != PathId::TOP) {
        run.set_meta(meta)?;
    }
    if let Some(top) = steps.metas.iter().find(|meta| meta.path == PathId::TOP) {
        let mode = mode_under_stage(top);
        run.set_meta(&MetaStep { mode, ..top.clone() })?;
    }
    run.sync(changed)?;
    run.report()
}

/// From here on the commit is made: the stage is waste.
pub(super) fn finish<G: Gate>(disk: &mut Disk<'_, G>) -> Result<(), Failure> {
    disk.give_up_stage().map_err(on_stage)
}

/// Removes everything that is on the stage, and the stage.
pub(super) fn clean_up<G: Gate>(disk: &mut Disk<'_, G>) -> Result<(), Failure> {
    if disk.is_waste() {
        disk.sync_root().map_err(on_stage)?;
    }
    // The journal says what is left to do, so it goes last.
    let names = disk.list_stage().map_err(on_stage)?;
    for slot in names.iter().filter_map(|entry| Slot::parse(&entry.name)) {
        disk.unlink(At::Slot(slot)).map_err(on_stage)?;
    }
    for name in journal::OURS {
        if names.iter().any(|entry| *entry.name == *name.as_bytes()) {
            disk.unlink(At::Stage(name)).map_err(on_stage)?;
        }
    }
    disk.remove_stage().map_err(on_stage)
}

/// Gives the top its times, since the stage came and went in it, and takes from its mode the bits
/// that the stage needed. There is no journal any more that could say so: see the promises in the
/// documentation of `commit/mod.rs`.
pub(super) fn settle_top<G: Gate>(disk: &mut Disk<'_, G>, steps: &Steps) -> Result<(), Failure> {
    let Some(top) = steps.metas.iter().find(|meta| meta.path == PathId::TOP) else {
        return Ok(());
    };
    let here = At::Tree(PathId::TOP);
    let _ = disk.set_times(here, &top.times);
    let held_back = mode_under_stage(top);
    let is = disk.look(here).map_err(at("look at", &disk.paths, PathId::TOP))?;
    // Another process may have set another since.
    if held_back == top.mode || is.is_none_or(|is| is.mode != held_back) {
        return Ok(());
    }
    let set = disk.set_mode(here, FileKind::Dir, top.mode);
    set.and_then(|()| disk.sync_root()).map_err(at("set the mode of", &disk.paths, PathId::TOP))
}

/// The mode that the top can have as long as there is a stage: only root could find and remove that
/// in a top that does not let its owner do so.
fn mode_under_stage(top: &MetaStep) -> u32 {
    if rustix::process::geteuid().is_root() { top.mode } else { top.mode | WORK }
}

impl<G: Gate> Run<'_, '_, G> {
    fn take_out(&mut self, Out { path, slot, was }: &Out) -> Result<(), Failure> {
        if let Some(slot) = slot
            && self.again
            && self.look_slot(*slot)?.is_some()
        {
            return Ok(());
        }
        let done = match (self.look(*path)?, slot) {
            // Removed already.
            (None, slot) if slot.is_none_or(|slot| !self.used.contains(&slot)) => return Ok(()),
            (Some(is), Some(slot)) if was.matches(&is) => {
                self.disk.rename_new(At::Tree(*path), At::Slot(*slot))
            }
            (Some(is), None) if was.matches(&is) => self.disk.remove_dir(At::Tree(*path)),
            _ => Err(Errno::Noent),
        };
        self.unless_in_the_way(done, *path, "take away")
    }

    fn put_in(&mut self, In { path, what, over }: &In) -> Result<(), Failure> {
        let slot = match what {
            Incoming::Dir => {
                let made = match self.disk.make_dir(At::Tree(*path)) {
                    // Made already, or by another process, whose directory will do.
                    Err(Errno::Exist) if self.look(*path)?.is_some_and(is_dir) => Ok(()),
                    made => made,
                };
                return self.unless_in_the_way(made, *path, "create");
            }
            Incoming::Slot(slot) => *slot,
            Incoming::Link(of, slot) => {
                match (self.look(*of)?, self.look(*path)?) {
                    (Some(of), Some(is)) if same(&of, &is) => return Ok(()),
                    (Some(_), _) if !self.passed.contains(of) => {}
                    _ => return self.unless_in_the_way(Err(Errno::Noent), *path, "link"),
                }
                if self.look_slot(*slot)?.is_none() {
                    let linked = self.disk.link(At::Tree(*of), At::Slot(*slot));
                    linked.map_err(at("link", &self.disk.paths, *of))?;
                }
                *slot
            }
        };
        // Put there already.
        if self.again && self.look_slot(slot)?.is_none() {
            return Ok(());
        }
        let done = match over {
            None => self.disk.rename_new(At::Slot(slot), At::Tree(*path)),
            Some((old, was)) => self.replace(slot, *path, *old, was)?,
        };
        self.unless_in_the_way(done, *path, "put in place")
    }

    /// Puts a file in the place of another, which is kept as `old`.
    fn replace(
        &mut self,
        new: Slot,
        path: PathId,
        old: Slot,
        was: &Mark,
    ) -> Result<Result<(), Errno>, Failure> {
        if self.look_slot(old)?.is_none() {
            match self.look(path)? {
                Some(is) if was.matches(&is) => self.set_aside(path, old)?,
                Some(_) => return Ok(Err(Errno::Exist)),
                None => {}
            }
        }
        self.cover(new, path, old)
    }

    /// Keeps a file on the stage that is about to be replaced: as a second name, so that there is
    /// no instant at which nothing is at the path.
    fn set_aside(&mut self, path: PathId, slot: Slot) -> Result<(), Failure> {
        let linked = match self.disk.link(At::Tree(path), At::Slot(slot)) {
            // Hard links are not to be had everywhere and for everyone.
            Err(Errno::Perm | Errno::Notsup | Errno::Mlink | Errno::Nosys | Errno::Inval) => {
                self.disk.rename_new(At::Tree(path), At::Slot(slot))
            }
            linked => linked,
        };
        match linked {
            Err(Errno::Noent) => Ok(()),
            linked => linked.map_err(at("link", &self.disk.paths, path)),
        }
    }

    /// Puts a file in the place of another that was [set aside](Run::set_aside).
    fn cover(&mut self, new: Slot, path: PathId, old: Slot) -> Result<Result<(), Errno>, Failure> {
        let (new_is, old_is) = (self.look_slot(new)?, self.look_slot(old)?);
        let is = |is: &Stat, slot: Option<Stat>| slot.is_some_and(|slot| same(is, &slot));
        Ok(match self.look(path)? {
            None => self.disk.rename_new(At::Slot(new), At::Tree(path)),
            Some(found) if is(&found, old_is) => {
                self.disk.rename_over(At::Slot(new), At::Tree(path))
            }
            // It was covered before, and giving the place back was begun.
            Some(found) if is(&found, new_is) => self.disk.unlink(At::Slot(new)),
            Some(_) => Err(Errno::Exist),
        })
    }

    /// Drops the files that have left their place for good. One that another process has written to
    /// meanwhile gets its place back.
    fn drop_old(&mut self) -> Result<(), Failure> {
        let steps = self.steps;
        let used = self.used.clone();
        let outs = steps.outs.iter().filter_map(|out| Some((out.slot?, out.path, &out.was, None)));
        let outs = outs.filter(|(slot, ..)| !used.contains(slot));
        let replaced = steps.ins.iter().filter_map(|step| {
            step.over.as_ref().map(|(old, was)| (*old, step.path, was, step.slot()))
        });
        for (old, path, was, new) in outs.chain(replaced) {
            let Some(is) = self.look_slot(old)? else { continue };
            // A file with another name is not lost, and the steps may have changed its times.
            if is.nlink > 1 || was.holds(&is) {
                self.disk.unlink(At::Slot(old)).map_err(on_stage)?;
                continue;
            }
            let back = match new {
                Some(new) if !self.passed.contains(&path) => {
                    self.set_aside(path, new)?;
                    self.cover(old, path, new)?
                }
                _ => self.disk.rename_new(At::Slot(old), At::Tree(path)),
            };
            self.passed.insert(path);
            self.unless_in_the_way(back, path, "put back")?;
        }
        Ok(())
    }

    /// Moves all that is left on the stage to where it is kept.
    fn report(mut self) -> Result<Vec<Passed>, Failure> {
        let names = self.disk.list_stage().map_err(on_stage)?;
        let left: BTreeSet<Slot> =
            names.iter().filter_map(|entry| Slot::parse(&entry.name)).collect();
        let mut kept = BTreeMap::new();
        if !left.is_empty() {
            let outs = self.steps.outs.iter().filter_map(|out| Some((out.slot?, out.path)));
            let old =
                self.steps.ins.iter().filter_map(|step| Some((step.over.as_ref()?.0, step.path)));
            let new = self.steps.ins.iter().filter_map(|step| Some((step.slot()?, step.path)));
            let paths: BTreeMap<Slot, PathId> = outs.chain(old).chain(new).collect();
            for slot in left {
                let path = *paths.get(&slot).unwrap_or(&PathId::TOP);
                let name = self.disk.paths.name(path).to_vec();
                let place = self.disk.keep(slot, &name).map_err(on_stage)?;
                kept.insert(path, place);
                self.passed.insert(path);
            }
        }
        let passed = std::mem::take(&mut self.passed).into_iter();
        let mut passed: Vec<Passed> =
            passed.map(|path| (self.disk.paths.bytes(path), kept.remove(&path))).collect();
        passed.sort();
        Ok(passed)
    }

    /// Passes over a path that another process has changed.
    fn unless_in_the_way(
        &mut self,
        done: Result<(), Errno>,
        path: PathId,
        what: &'static str,
    ) -> Result<(), Failure> {
        match done {
            Err(
                Errno::Exist
                | Errno::Noent
                | Errno::Notempty
                | Errno::Notdir
                | Errno::Isdir
                | Errno::Loop
                | Errno::Busy,
            ) => {
                self.passed.insert(path);
                Ok(())
            }
            done => done.map_err(at(what, &self.disk.paths, path)),
        }
    }

    /// Makes sure that the directories can be worked in, from the top down.
    fn open_dirs<'d>(&mut self, dirs: impl Iterator<Item = &'d PathId>) -> Result<(), Failure> {
        for path in dirs {
            let Some(is) = self.look(*path)?.filter(|is| is_dir(*is)) else { continue };
            if is.mode & WORK != WORK {
                let opened = self.disk.set_mode(At::Tree(*path), is.kind, is.mode | WORK);
                opened.map_err(at("open for writing", &self.disk.paths, *path))?;
            }
        }
        Ok(())
    }

    /// Sets permission bits and times, unless something else is there now.
    fn set_meta(&mut self, meta: &MetaStep) -> Result<(), Failure> {
        let is = self.look(meta.path)?.filter(|is| letter(is.kind) == meta.kind);
        let Some(is) = is.filter(|_| !self.passed.contains(&meta.path)) else { return Ok(()) };
        let here = At::Tree(meta.path);
        if is.mode != meta.mode && is.kind != FileKind::Symlink {
            let set = self.disk.set_mode(here, is.kind, meta.mode);
            set.map_err(at("set the mode of", &self.disk.paths, meta.path))?;
        }
        match self.disk.set_times(here, &meta.times) {
            // In a directory that belongs to another user the system keeps the times.
            Err(Errno::Perm | Errno::Acces) if is_dir(is) => Ok(()),
            set => set.map_err(at("set the times of", &self.disk.paths, meta.path)),
        }
    }

    fn look(&mut self, path: PathId) -> Result<Option<Stat>, Failure> {
        let is = self.disk.look(At::Tree(path));
        is.map_err(at("look at", &self.disk.paths, path))
    }

    fn look_slot(&mut self, slot: Slot) -> Result<Option<Stat>, Failure> {
        self.disk.look(At::Slot(slot)).map_err(on_stage)
    }

    /// Opens the files and directories to be synced. Their number counts, not that of the steps: a
    /// directory out of which thousands of files went is one.
    fn open_to_sync(&mut self, paths: BTreeSet<PathId>) -> Result<ToSync, Failure> {
        if paths.len() > SYNC_EACH_MAX {
            return Ok(ToSync::Many);
        }
        let mut opened = Vec::new();
        for path in paths {
            let file = self.disk.open_to_sync(At::Tree(path));
            opened.extend(file.map_err(at("open", &self.disk.paths, path))?);
        }
        Ok(ToSync::Few(opened))
    }

    fn sync(&self, changed: ToSync) -> Result<(), Failure> {
        let synced = match changed {
            ToSync::Many => self.disk.sync_all(),
            ToSync::Few(opened) => opened
                .iter()
                .try_for_each(|opened| self.disk.sync_opened(opened))
                .and_then(|()| self.disk.sync_stage()),
        };
        synced.map_err(on_stage)
    }
}

fn is_dir(stat: Stat) -> bool {
    stat.kind == FileKind::Dir
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.dev, a.ino) == (b.dev, b.ino)
}
