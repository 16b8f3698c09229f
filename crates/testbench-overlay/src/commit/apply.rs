//! Making the steps of a commit, and taking them back.
//!
//! Nothing is kept of how far it got but what the disk itself shows: each step looks whether it is
//! done already. So the same code commits, goes on with an interrupted commit, and goes back, and
//! any of these may be interrupted and taken up again.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use super::disk::{At, Disk};
use super::gate::Gate;
use super::journal::{self, MOVED, UNDO};
use super::step::{In, Layout, Mark, Meta, Out, Placed, Slot, Steps};
use crate::vfs::name::RelPath;
use crate::{Errno, FileKind, Stat};

/// The owner's bits without which a directory cannot be worked in.
const WORK: u32 = 0o700;

/// More files and directories than this are synced by one call for the whole file system, which
/// also waits for whatever anyone else has written there. Each one is held open until then, so this
/// must stay far below what a process may have open.
const SYNC_EACH_MAX: usize = 128;

/// Why a step was not made.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something is not there any more, not what it was, or in the way.
    Changed(RelPath),
    /// The system refused.
    Os { what: &'static str, path: Box<[u8]>, errno: Errno },
}

/// Asked just before something is taken out or replaced whether it still is what it was: the path in one of the layouts, and what is there now.
pub(super) type Still<'a> = &'a dyn Fn(Layout, &RelPath, &Stat) -> bool;

/// What is to be brought to stable storage.
enum Changed {
    Few(Vec<OwnedFd>),
    /// So much that the whole file system is synced.
    Many,
}

/// A commit at work.
pub(super) struct Run<'a, 'g, G> {
    pub(super) disk: &'a Disk<'g, G>,
    pub(super) steps: &'a Steps,
    pub(super) still: Still<'a>,
    /// An earlier process has been here: steps may have been made already.
    pub(super) again: bool,
}

impl<G: Gate> Run<'_, '_, G> {
    /// Makes all steps; what is left is to [finish].
    pub(super) fn forward(&self, moved: bool) -> Result<(), Failure> {
        if !moved {
            self.open_dirs(|meta| meta.before.as_ref())?;
            for out in &self.steps.outs {
                self.take_out(out)?;
            }
            self.sync(self.open_to_sync(self.steps.parents_before())?)?;
            self.mark(MOVED)?;
        }
        if self.again {
            self.open_dirs(|meta| meta.after.as_ref())?;
        }
        for step in &self.steps.ins {
            self.put_in(step)?;
        }
        self.check_old()?;
        // While they still can be opened.
        let metas =
            self.steps.metas.iter().filter_map(|meta| Some(meta.after.as_ref()?.path.clone()));
        let changed = self.open_to_sync(self.steps.parents_after().chain(metas))?;
        for (meta, after) in self.metas(|meta| meta.after.as_ref()).into_iter().rev() {
            self.set_meta(meta, after)?;
        }
        self.sync(changed)
    }

    /// Takes all steps back, and the journal away.
    pub(super) fn backward(&self, moved: bool) -> Result<(), Failure> {
        self.mark(UNDO)?;
        if moved {
            self.open_dirs(|meta| meta.after.as_ref())?;
            for (meta, after) in self.metas(|meta| meta.after.as_ref()) {
                if let Some(before) = meta.before.as_ref().filter(|_| !meta.is_dir()) {
                    self.set_meta(meta, &Placed { path: after.path.clone(), ..before.clone() })?;
                }
            }
            for step in self.steps.ins.iter().rev() {
                self.take_in_back(step)?;
            }
            self.sync(self.open_to_sync(self.steps.parents_after())?)?;
            self.unmark(MOVED)?;
        }
        self.open_dirs(|meta| meta.before.as_ref())?;
        for out in self.steps.outs.iter().rev() {
            self.put_out_back(out)?;
        }
        let metas =
            self.steps.metas.iter().filter_map(|meta| Some(meta.before.as_ref()?.path.clone()));
        let changed = self.open_to_sync(self.steps.parents_before().chain(metas))?;
        for (meta, before) in self.metas(|meta| meta.before.as_ref()).into_iter().rev() {
            self.set_meta(meta, before)?;
        }
        self.sync(changed)?;
        self.unmark(journal::JOURNAL)
    }

    /// Whether the disk is in one of the states that these steps lead through; looked at before an
    /// interrupted commit is taken up, so that a journal that belongs elsewhere changes nothing.
    pub(super) fn fits(&self, moved: bool) -> Result<(), Failure> {
        for out in &self.steps.outs {
            let taken = self.look_stage(out.slot)?.is_some();
            if !moved && !taken && !self.look(&out.from)?.is_some_and(|is| out.was.matches(&is)) {
                return Err(Failure::Changed(out.from.clone()));
            }
        }
        for step in self.steps.ins.iter().filter(|_| moved) {
            let (slot, path) = match step {
                In::Move { slot, to, .. } => (*slot, to),
                In::Replace { new, path, .. } => (*new, path),
                In::Dir { .. } => continue,
            };
            if self.look_stage(slot)?.is_none() && self.look(path)?.is_none() {
                return Err(Failure::Changed(path.clone()));
            }
        }
        Ok(())
    }

    fn take_out(&self, Out { from, slot, was }: &Out) -> Result<(), Failure> {
        if self.again && self.look_stage(*slot)?.is_some() {
            return Ok(());
        }
        self.check(Layout::Before, from, was)?;
        self.move_new(At::Tree(from), At::Stage(&String::from(*slot)), from)
    }

    fn put_out_back(&self, Out { from, slot, .. }: &Out) -> Result<(), Failure> {
        if self.look_stage(*slot)?.is_none() {
            return Ok(());
        }
        self.move_new(At::Stage(&String::from(*slot)), At::Tree(from), from)
    }

    fn put_in(&self, step: &In) -> Result<(), Failure> {
        match step {
            In::Move { slot, to, .. } => {
                if self.again && self.look_stage(*slot)?.is_none() {
                    return Ok(());
                }
                self.move_new(At::Stage(&String::from(*slot)), At::Tree(to), to)
            }
            In::Dir { path } => match self.disk.make_dir(At::Tree(path)) {
                Err(Errno::Exist) if self.again => Ok(()),
                Err(Errno::Exist) => Err(Failure::Changed(path.clone())),
                made => made.map_err(os("create", path)),
            },
            In::Replace { new, old, path, was, .. } => self.swap(*new, *old, path, Some(was)),
        }
    }

    fn take_in_back(&self, step: &In) -> Result<(), Failure> {
        match step {
            In::Move { slot, to, is } => {
                if self.look_stage(*slot)?.is_some() {
                    return Ok(());
                }
                if !self.look(to)?.is_some_and(|stat| is.matches(&stat)) {
                    return Err(Failure::Changed(to.clone()));
                }
                self.move_new(At::Tree(to), At::Stage(&String::from(*slot)), to)
            }
            In::Dir { path } => match self.disk.remove_dir(At::Tree(path)) {
                Ok(()) | Err(Errno::Noent) => Ok(()),
                Err(Errno::Notempty | Errno::Notdir) => Err(Failure::Changed(path.clone())),
                Err(errno) => Err(os("remove", path)(errno)),
            },
            In::Replace { new, old, path, is, .. } => {
                if self.look_stage(*old)?.is_none() {
                    return Ok(());
                }
                self.swap(*old, *new, path, self.look_stage(*new)?.is_none().then_some(is))
            }
        }
    }

    /// Puts `new` in the place of what is at `path`, which is kept as `old`: first as a second
    /// name, so that there is no instant at which nothing is at `path`.
    fn swap(
        &self,
        new: Slot,
        old: Slot,
        path: &RelPath,
        was: Option<&Mark>,
    ) -> Result<(), Failure> {
        let (new_name, old_name) = (String::from(new), String::from(old));
        let Some(incoming) = self.look_stage(new)? else { return Ok(()) };
        if self.look_stage(old)?.is_none() {
            if let Some(was) = was {
                self.check(Layout::After, path, was)?;
            }
            match self.disk.link(At::Tree(path), At::Stage(&old_name)) {
                Ok(()) => {}
                // Hard links are not to be had everywhere and for everyone.
                Err(Errno::Perm | Errno::Notsup | Errno::Mlink | Errno::Nosys | Errno::Inval) => {
                    self.move_new(At::Tree(path), At::Stage(&old_name), path)?;
                }
                Err(errno) => return Err(os("link", path)(errno)),
            }
        }
        let kept = self.look_stage(old)?.ok_or_else(|| Failure::Changed(path.clone()))?;
        let done = match self.look(path)? {
            None => return self.move_new(At::Stage(&new_name), At::Tree(path), path),
            Some(is) if same(&is, &kept) => {
                self.disk.rename_over(At::Stage(&new_name), At::Tree(path))
            }
            // On the way back from here, `new` was given a second name before it was replaced.
            Some(is) if same(&is, &incoming) => self.disk.unlink(At::Stage(&new_name)),
            Some(_) => return Err(Failure::Changed(path.clone())),
        };
        done.map_err(os("replace", path))
    }

    /// What was taken out is still what it was: nobody has written to it through an open file. Of a
    /// file that lives on under another name the steps themselves may have changed the times.
    fn check_old(&self) -> Result<(), Failure> {
        let outs = self.steps.outs.iter().map(|out| (out.slot, &out.from, &out.was));
        let replaced = self.steps.ins.iter().filter_map(|step| match step {
            In::Replace { old, path, was, .. } => Some((*old, path, was)),
            In::Move { .. } | In::Dir { .. } => None,
        });
        for (slot, path, was) in outs.chain(replaced) {
            if self.look_stage(slot)?.is_some_and(|stat| stat.nlink == 1 && !was.matches(&stat)) {
                return Err(Failure::Changed(path.clone()));
            }
        }
        Ok(())
    }

    fn check(&self, layout: Layout, path: &RelPath, was: &Mark) -> Result<(), Failure> {
        match self.look(path)? {
            Some(stat) if was.matches(&stat) && (self.still)(layout, path, &stat) => Ok(()),
            _ => Err(Failure::Changed(path.clone())),
        }
    }

    /// Makes sure that the directories can be worked in, from the top down.
    fn open_dirs<'m>(
        &'m self,
        place: impl Fn(&'m Meta) -> Option<&'m Placed>,
    ) -> Result<(), Failure> {
        for (_, Placed { path, .. }) in self.metas(place).iter().filter(|(meta, _)| meta.is_dir()) {
            let Some(stat) = self.look(path)? else { continue };
            if stat.kind == FileKind::Dir && stat.mode & WORK != WORK {
                let at = At::Tree(path);
                let opened = self.disk.set_mode(at, FileKind::Dir, stat.mode | WORK);
                opened.map_err(os("open for writing", path))?;
            }
        }
        Ok(())
    }

    /// What has permission bits and times in one of the two layouts, directories before what is in
    /// them.
    fn metas<'m>(
        &'m self,
        place: impl Fn(&'m Meta) -> Option<&'m Placed>,
    ) -> Vec<(&'m Meta, &'m Placed)> {
        let metas = self.steps.metas.iter();
        let mut placed: Vec<_> = metas.filter_map(|meta| Some((meta, place(meta)?))).collect();
        placed.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
        placed
    }

    /// Sets permission bits and times of what is there.
    fn set_meta(&self, meta: &Meta, to: &Placed) -> Result<(), Failure> {
        let (at, path, kind) = (At::Tree(&to.path), &to.path, meta.kind.into());
        let Some(stat) = self.look(path)?.filter(|stat| stat.kind == kind) else { return Ok(()) };
        let mode = mode_under_stage(to);
        if stat.mode != mode && kind != FileKind::Symlink {
            self.disk.set_mode(at, kind, mode).map_err(os("set the mode of", path))?;
        }
        match self.disk.set_times(at, &to.times) {
            // In a directory that belongs to someone else the system keeps the times.
            Err(Errno::Perm | Errno::Acces) if kind == FileKind::Dir => Ok(()),
            set => set.map_err(os("set the times of", path)),
        }
    }

    fn move_new(&self, from: At<'_>, to: At<'_>, path: &RelPath) -> Result<(), Failure> {
        match self.disk.rename_new(from, to) {
            Err(Errno::Exist | Errno::Notempty | Errno::Noent) => {
                Err(Failure::Changed(path.clone()))
            }
            moved => moved.map_err(os("move", path)),
        }
    }

    fn look(&self, path: &RelPath) -> Result<Option<Stat>, Failure> {
        self.disk.look(At::Tree(path)).map_err(os("look at", path))
    }

    fn look_stage(&self, slot: Slot) -> Result<Option<Stat>, Failure> {
        let name = String::from(slot);
        self.disk.look(At::Stage(&name)).map_err(|errno| on_stage(&name, errno))
    }

    fn mark(&self, name: &str) -> Result<(), Failure> {
        journal::mark(self.disk, name).map_err(|errno| on_stage(name, errno))
    }

    fn unmark(&self, name: &str) -> Result<(), Failure> {
        journal::unmark(self.disk, name).map_err(|errno| on_stage(name, errno))
    }

    /// Opens what is to be brought to stable storage. What counts is how much that is, and not how
    /// many steps have changed it: a directory out of which thousands of files went is one.
    fn open_to_sync(&self, paths: impl Iterator<Item = RelPath>) -> Result<Changed, Failure> {
        let paths: BTreeSet<RelPath> = paths.collect();
        if paths.len() > SYNC_EACH_MAX {
            return Ok(Changed::Many);
        }
        let mut opened = Vec::new();
        for path in &paths {
            opened.extend(self.disk.open_to_sync(At::Tree(path)).map_err(os("open", path))?);
        }
        Ok(Changed::Few(opened))
    }

    /// Brings what has been changed, and the stage, to stable storage.
    fn sync(&self, changed: Changed) -> Result<(), Failure> {
        let synced = match changed {
            Changed::Many => self.disk.sync_all(),
            Changed::Few(opened) => opened
                .iter()
                .try_for_each(|opened| self.disk.sync_opened(opened))
                .and_then(|()| self.disk.sync_stage()),
        };
        synced.map_err(os("sync", &RelPath::TOP))
    }
}

/// The point of no return: from here on the commit is made.
pub(super) fn finish<G: Gate>(disk: &mut Disk<'_, G>) -> Result<(), Failure> {
    disk.give_up_stage().map_err(|errno| on_stage("", errno))
}

/// Removes all that is on the stage, and the stage. What says how far the commit got goes last.
pub(super) fn clean_up<G: Gate>(disk: &mut Disk<'_, G>) -> Result<(), Failure> {
    let names = disk.list_stage().map_err(|errno| on_stage("", errno))?;
    let mut waste = names.iter().filter_map(|entry| Slot::parse(&entry.name)).collect::<Vec<_>>();
    let next = waste.iter().map(|slot| match slot {
        Slot::Waste(n) => n + 1,
        Slot::New(_) | Slot::Old(_) => 0,
    });
    let mut next = next.max().unwrap_or(0);
    while let Some(slot) = waste.pop() {
        let name = String::from(slot);
        remove(disk, &name, &mut next, &mut waste).map_err(|errno| on_stage(&name, errno))?;
    }
    // Of a stage that is waste the journal alone says what is left to do; any other has none by now.
    for name in [journal::JOURNAL_NEW, MOVED, UNDO, journal::FORMAT, journal::JOURNAL] {
        match disk.unlink(At::Stage(name)) {
            Ok(()) | Err(Errno::Noent) => {}
            Err(errno) => return Err(on_stage(name, errno)),
        }
    }
    disk.remove_stage().map_err(|errno| on_stage("", errno))
}

/// Gives the top the times that it is to have, since the stage came and went in it, and takes from
/// its mode what the stage still needed. There is no journal any more that could say so: see what
/// the documentation of this module does not promise.
pub(super) fn settle_top<G: Gate>(
    disk: &Disk<'_, G>,
    steps: &Steps,
    after: bool,
) -> Result<(), Failure> {
    let place = |meta: &Meta| match after {
        true => meta.after.clone(),
        false => meta.before.clone(),
    };
    let Some(top) = steps.metas.iter().filter_map(place).find(|placed| placed.path.is_top()) else {
        return Ok(());
    };
    let at = At::Tree(&RelPath::TOP);
    let _ = disk.set_times(at, &top.times);
    let held_back = mode_under_stage(&top);
    let is = disk.look(at).map_err(os("look at", &RelPath::TOP))?;
    // Somebody else may have set another since.
    if held_back == top.mode || is.is_none_or(|is| is.mode != held_back) {
        return Ok(());
    }
    let set = disk.set_mode(at, FileKind::Dir, top.mode);
    set.and_then(|()| disk.sync_root()).map_err(os("set the mode of", &RelPath::TOP))
}

/// The mode that something can have as long as there is a stage: nobody but root could find and
/// remove that in a top that does not let its owner do so.
fn mode_under_stage(placed: &Placed) -> u32 {
    let is_bound = placed.path.is_top() && !rustix::process::geteuid().is_root();
    if is_bound { placed.mode | WORK } else { placed.mode }
}

/// Removes one thing from the stage. The directories in a directory become waste of their own, so
/// that their depth does not matter.
fn remove<G: Gate>(
    disk: &Disk<'_, G>,
    name: &str,
    next: &mut u64,
    waste: &mut Vec<Slot>,
) -> Result<(), Errno> {
    let at = At::Stage(name);
    let Some(stat) = disk.look(at)? else { return Ok(()) };
    if stat.kind != FileKind::Dir {
        return disk.unlink(at);
    }
    if stat.mode & WORK != WORK {
        disk.set_mode(at, FileKind::Dir, WORK)?;
    }
    for entry in disk.list(at)? {
        let inside = At::Inside(name, &entry.name);
        if entry.kind != FileKind::Dir {
            disk.unlink(inside)?;
            continue;
        }
        // To be moved, a directory must be writable itself.
        disk.set_mode(inside, FileKind::Dir, WORK)?;
        let slot = Slot::Waste(*next);
        *next += 1;
        disk.rename_new(inside, At::Stage(&String::from(slot)))?;
        waste.push(slot);
    }
    disk.remove_dir(at)
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.dev, a.ino) == (b.dev, b.ino)
}

pub(super) fn os(what: &'static str, path: &RelPath) -> impl Fn(Errno) -> Failure + use<> {
    let path: Box<[u8]> = path.as_bytes().into();
    move |errno| Failure::Os { what, path: path.clone(), errno }
}

pub(super) fn on_stage(name: &str, errno: Errno) -> Failure {
    let stage = String::from_utf8_lossy(super::disk::STAGE);
    Failure::Os { what: "use", path: format!("{stage}/{name}").into_bytes().into(), errno }
}
