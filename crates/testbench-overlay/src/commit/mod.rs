//! Committing: what an overlay holds is written to the real directory beneath it.
//!
//! # How it works
//!
//! 1. *Check.* Everything that the overlay has seen of the directory is looked at again. What is
//!    not as it was is a [`Conflict`]; a resolver may decide on each, otherwise nothing is written.
//! 2. *Plan.* The upper layer becomes a list of steps: moves, removals, new files. Nothing that the
//!    overlay knows to be the same file is copied: renames are renames.
//! 3. *Stage.* In a directory `.testbench-commit` at the top of the root, everything that is to be
//!    put in place is prepared: new files with their content, permission bits, times, and, where
//!    they replace another, its owner and extended attributes. Then the journal is written there,
//!    with a checksum, and synced to the disk. Up to here the tree is as it was.
//! 4. *Steps.* What leaves its place is moved to the stage, what lies deeper first; what comes is
//!    put in place from above downwards, a changed file in one instant over the old one; permission
//!    bits and times come last. What is moved or replaced is checked again just before, and once
//!    more at the end.
//! 5. The stage is renamed, which makes the commit, and removed, with all that was deleted or
//!    replaced.
//!
//! If a step fails, the steps made so far are taken back. If the process dies, the journal is still
//! there: see [`Overlay::recover`].
//!
//! # What is promised
//!
//! - With a conflict, nothing is written.
//! - A commit that answers `Ok` is on stable storage.
//! - A commit that was interrupted at any point, and then resumed or undone, leaves the tree after
//!   or before it, and nothing else; so does a recovery that was interrupted, however often.
//! - A changed file holds its old or its new content at every instant, and never none or a part.
//! - Nothing outside of the root is written, wherever symlinks or hard links lead. A file that also
//!   has a name outside is not changed there: inside, a new file takes its place.
//!
//! # What is not
//!
//! - POSIX cannot change many files in one instant: whoever reads the tree during a commit sees a
//!   part of it. Files that move, and those in the way of directories, are absent for a moment.
//! - A write by someone else between the last check and the change itself is not seen if it leaves
//!   size and times as they were.
//! - Owner and extended attributes of a replaced file are kept as far as the system allows it.
//! - Access times, and the times of the root directory after an interruption, may differ.
//! - A commit that takes from the owner of the root directory a right to that directory itself can
//!   do so only when the journal is gone, unless root commits. If the process dies in between,
//!   before the last of its system calls, all is committed but that: the owner still has these
//!   rights, and nothing is left to recover.
//! - Another overlay of the same directory, forks included, finds what it has seen changed. So do
//!   checkpoints, after a commit that was taken back: that changes the ctime of what was moved.
//!
//! Begin with `survey.rs` (what has changed) and `step.rs` (what is done about it); `check.rs` and
//! `plan.rs` lead from one to the other, `apply.rs` does it. `disk.rs` holds the system calls,
//! `journal.rs` what is on the stage, `rebase.rs` the overlay afterwards.

mod apply;
mod check;
mod conflict;
mod disk;
mod error;
mod gate;
mod journal;
mod plan;
mod rebase;
mod recover;
mod resolve;
mod stage;
mod step;
mod survey;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use conflict::{Conflict, OurChange, Resolution, TheirChange, Versions};
pub(crate) use disk::{STAGE, WASTE};
pub use error::CommitError;
pub use recover::{RecoverError, Recovered, UnfinishedCommit};

use self::apply::{Failure, Run};
use self::check::Was;
use self::disk::{At, Disk};
use self::gate::{Gate, Open};
use self::plan::{Plan, Planner, Resolved, Unplannable};
use self::resolve::Resolver;
use self::stage::{Unstaged, Written};
use self::step::{In, Layout, Slot};
use self::survey::Survey;
use crate::lower::observe::Stamp;
use crate::ops::core::Core;
use crate::ops::lookup::Tx;
use crate::upper::inode::{Entry, Ino};
use crate::vfs::name::RelPath;
use crate::{Errno, Overlay};

/// What a commit has done, in numbers.
///
/// ```
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::create_dir(dir.path().join("old"))?;
/// std::fs::write(dir.path().join("old/a"), "text")?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::rename(dir.path().join("old"), dir.path().join("new"))?;
/// fs::write(dir.path().join("b"), "12345")?;
///
/// let committed = overlay.commit()?;
/// assert_eq!((committed.files_written, committed.bytes_written), (1, 5));
/// assert_eq!((committed.moved, committed.removed), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// New files that were written, be it in the place of old ones.
    pub files_written: u64,
    /// The bytes in them.
    pub bytes_written: u64,
    /// Files and directories that were moved; what is in a directory is not counted.
    pub moved: u64,
    /// Files and directories that were removed; what is in a directory is not counted.
    pub removed: u64,
}

impl Overlay {
    /// Writes what has changed to the real directory beneath; if anything there is not what the
    /// overlay saw, nothing is written.
    ///
    /// Afterwards the overlay is as one that has just been made of the directory: its diff is
    /// empty, checkpoints from before are refused. Open handles go on, and so does an overlay that
    /// [lies on](Overlay::over) this one: to it nothing has changed. Other operations on the
    /// overlay wait until the commit is done.
    ///
    /// What is promised, what is not, and where the journal is, stands in the
    /// [documentation of the crate](crate#committing).
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::write(dir.path().join("out.txt"), "text")?;
    /// assert!(!dir.path().join("out.txt").exists());
    ///
    /// overlay.commit()?;
    /// assert_eq!(std::fs::read_to_string(dir.path().join("out.txt"))?, "text");
    /// assert!(overlay.diff()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`CommitError`]: conflicts; a lower tree that is not a real directory; whatever the
    /// system answers, a full disk for example. But for [`CommitError::Interrupted`] and
    /// [`CommitError::Leftover`] the directory is as it was.
    pub fn commit(&self) -> Result<Committed, CommitError> {
        self.commit_through(&Open, None)
    }

    /// As [`Overlay::commit`], and asks what to do about each conflict.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, Resolution, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let file = dir.path().join("list");
    /// std::fs::write(&file, "a\n")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// fs::write(&file, "a\nours\n")?;
    /// std::fs::write(&file, "a\ntheirs\n")?;
    ///
    /// overlay.commit_with(|conflict, versions| {
    ///     assert_eq!(conflict.to_string(), "list: modified in the overlay, modified beneath it");
    ///     let theirs = versions.theirs.as_ref().and_then(|side| side.bytes()).unwrap_or_default();
    ///     Resolution::Content([theirs, b"ours\n"].concat())
    /// })?;
    /// assert_eq!(std::fs::read_to_string(&file)?, "a\ntheirs\nours\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The resolver may read, through the overlay and beneath. If the overlay or the directory is
    /// changed before it has answered everything, by the resolver or by somebody else, nothing is
    /// committed: what it was asked about is not so any more.
    ///
    /// # Errors
    ///
    /// As [`Overlay::commit`]. [`CommitError::Resolution`] if an answer cannot be carried out;
    /// [`CommitError::Changed`] if what it was asked about has changed meanwhile.
    pub fn commit_with(
        &self,
        mut resolver: impl FnMut(&Conflict, &Versions) -> Resolution,
    ) -> Result<Committed, CommitError> {
        self.commit_through(&Open, Some(&mut resolver))
    }

    fn commit_through<G: Gate>(
        &self,
        gate: &G,
        resolver: Option<Resolver<'_>>,
    ) -> Result<Committed, CommitError> {
        let (root, path) = self.real_root()?;
        let keeps = self.is_beneath.load(Ordering::Relaxed);
        let mut commit = Commit { disk: Disk::new(root, gate), root: path, keeps };
        commit.run(&self.core, resolver)
    }

    /// The directory beneath, and its path for messages.
    fn real_root(&self) -> Result<(Arc<OwnedFd>, PathBuf), CommitError> {
        let dir = self.core.lower.host_dir().ok_or(CommitError::NoDirectory)?;
        // The overlay keeps itself from writing to its own root, and a caller's promise is kept.
        if dir.is_read_only() && self.core.config.host_root.is_none() {
            return Err(CommitError::ReadOnly { path: dir.path().to_path_buf() });
        }
        Ok((dir.top(), dir.path().to_path_buf()))
    }
}

/// A commit at work.
struct Commit<'g, G> {
    disk: Disk<'g, G>,
    root: PathBuf,
    /// Everything keeps its number and its times.
    keeps: bool,
}

impl<G: Gate> Commit<'_, G> {
    fn run(
        &mut self,
        core: &Core,
        resolver: Option<Resolver<'_>>,
    ) -> Result<Committed, CommitError> {
        let mut tx = core.tx_as_root();
        self.check_free(&tx)?;
        match tx.find_other_names() {
            // What has changed beneath is found by the check, which says more about it.
            Ok(()) | Err(Errno::Stale) => {}
            Err(errno) => return Err(self.at(&RelPath::TOP, errno)),
        }
        let state = tx.live.state.clone();
        let survey = Survey::new(&state).map_err(|errno| self.at(&RelPath::TOP, errno))?;
        let seen = check::seen(&state);
        let check = || {
            let checked = check::check(&self.disk, &survey, &seen);
            checked.map_err(|(path, errno)| self.at(&path, errno))
        };
        let checked = check()?;
        let resolved = match resolver {
            _ if checked.conflicts.is_empty() => Resolved::default(),
            None => return Err(CommitError::Conflicts { conflicts: checked.conflicts }),
            Some(resolver) => {
                // What it does is not ours to know: it may well look at the overlay.
                drop(tx);
                let asked = (core, &self.disk, &survey, &seen);
                let resolved = resolve::resolve(asked, &checked.conflicts, resolver)?;
                tx = core.tx_as_root();
                if !survey::same_changes(&state, &tx.live.state) || !checked.is_same(&check()?) {
                    return Err(CommitError::Changed);
                }
                resolved
            }
        };
        let mut plan = Planner::plan(&self.disk, &survey, &resolved, checked.now)
            .map_err(|unplannable| self.unplannable(unplannable, &resolved))?;
        let mut committed = Committed::default();
        let mut cleared = Ok(());
        if plan.steps.len() > 0 {
            self.disk.make_stage().map_err(|errno| match errno {
                Errno::Exist | Errno::Busy => CommitError::Unfinished { path: self.root.clone() },
                errno => self.disk_error("create the journal in", b"", errno),
            })?;
            rebase::take_up_orphans(&mut tx);
            let done = self.stage(&tx, &state, &mut plan).and_then(|written| {
                cleared = self.apply(&survey, &seen, &plan)?;
                Ok(written)
            });
            match done {
                Ok(written) => committed = count(&plan, written),
                Err(error) => {
                    rebase::look_again(&mut tx, &self.disk);
                    return Err(error);
                }
            }
        }
        core.lower.forget_dirs();
        rebase::rebase(&mut tx, &self.disk, self.keeps);
        // Last, since it may close the top to us.
        let settled = cleared.and_then(|()| apply::settle_top(&self.disk, &plan.steps, true));
        rebase::see_top(&mut tx, &self.disk);
        tx.live.renew();
        core.forget_lower_changes();
        let leftover = |failure| CommitError::Leftover { source: Box::new(self.failed(failure)) };
        settled.map(|()| committed).map_err(leftover)
    }

    /// Nothing else is committing, or was interrupted, and the overlay has not taken our name.
    fn check_free(&self, tx: &Tx<'_>) -> Result<(), CommitError> {
        let top = tx.live.state.dir(Ino::ROOT).map_err(|errno| self.at(&RelPath::TOP, errno))?;
        for name in [STAGE, WASTE] {
            let stage = RelPath::TOP.child(name);
            match self.disk.look(At::Tree(&stage)) {
                // Where we may not look we cannot make a stage either, and say so then.
                Ok(None) | Err(Errno::Acces) => {}
                Ok(Some(_)) => {
                    return Err(CommitError::Unfinished { path: self.root.clone() });
                }
                Err(errno) => return Err(self.at(&stage, errno)),
            }
            if let Some(Entry::Present(_)) = top.entries.get(name) {
                return Err(CommitError::Reserved);
            }
        }
        Ok(())
    }

    fn stage(
        &mut self,
        tx: &Tx<'_>,
        state: &crate::upper::inode::State,
        plan: &mut Plan,
    ) -> Result<Written, CommitError> {
        let mut staged = || {
            journal::claim(&self.disk).map_err(|errno| apply::on_stage(journal::FORMAT, errno))?;
            let written = stage::fill(tx.core, state, &self.disk, plan)?;
            let stored = journal::store(&self.disk, &plan.steps);
            stored.map_err(|errno| apply::on_stage(journal::JOURNAL, errno))?;
            Ok(written)
        };
        staged().map_err(|unstaged: Unstaged| {
            // The journal may be there already; until it is gone, the stage must stay whole.
            let unmarked = journal::unmark(&self.disk, journal::JOURNAL)
                .map_err(|errno| apply::on_stage(journal::JOURNAL, errno));
            let cleared = unmarked.and_then(|()| apply::clean_up(&mut self.disk));
            let error = match unstaged {
                Unstaged::Read(path, errno) => self.at(&path, errno),
                Unstaged::Failed(failure) => self.failed(failure),
            };
            match cleared {
                Ok(()) => error,
                Err(_) => self.interrupted(error),
            }
        })
    }

    /// Makes the steps, or takes them back. The inner result is that of clearing up.
    fn apply(
        &mut self,
        survey: &Survey<'_>,
        seen: &std::collections::BTreeMap<RelPath, Was>,
        plan: &Plan,
    ) -> Result<Result<(), Failure>, CommitError> {
        let still = |layout: Layout, path: &RelPath, stat: &crate::Stat| {
            let stamp = match layout {
                Layout::Before => plan.outs.get(path),
                Layout::After => plan.replaced.get(path),
            };
            stamp.is_some_and(|stamp| is_still(stamp, stat))
        };
        let steps = &plan.steps;
        let run = Run { disk: &self.disk, steps, still: &still, again: false };
        let Err(failure) = run.forward(false).and_then(|()| apply::finish(&mut self.disk)) else {
            // Whether the disk has the new name of the stage or the old one, it has the new tree.
            let synced = self.disk.sync_root().map_err(apply::os("sync", &RelPath::TOP));
            let cleared = synced.and_then(|()| apply::clean_up(&mut self.disk));
            return Ok(cleared);
        };
        let error = match failure {
            Failure::Changed(path) => {
                let existed = matches!(seen.get(&path), Some(Was::There(_)));
                let ours = survey.ours_at(&path, existed);
                let theirs = TheirChange::Modified;
                let conflict = Conflict { path: path.as_bytes().into(), ours, theirs };
                CommitError::Conflicts { conflicts: vec![conflict] }
            }
            failure => self.failed(failure),
        };
        let moved = match journal::progress(&self.disk) {
            Ok(journal::Progress::Begun { moved, .. }) => moved,
            _ => return Err(self.interrupted(error)),
        };
        let back = Run { disk: &self.disk, steps, still: &|_, _, _| true, again: true };
        let undone = back.backward(moved).and_then(|()| apply::clean_up(&mut self.disk));
        match undone {
            Ok(()) => {
                // The directory is as it was; so are its times, if that can be.
                let _ = apply::settle_top(&self.disk, steps, false);
                Err(error)
            }
            Err(_) => Err(self.interrupted(error)),
        }
    }

    fn interrupted(&self, error: CommitError) -> CommitError {
        CommitError::Interrupted { path: self.root.clone(), source: Box::new(error) }
    }

    fn failed(&self, failure: Failure) -> CommitError {
        match failure {
            Failure::Changed(path) => {
                self.disk_error("put in place", path.as_bytes(), Errno::Stale)
            }
            Failure::Os { what, path, errno } => self.disk_error(what, &path, errno),
        }
    }

    fn unplannable(&self, unplannable: Unplannable, resolved: &Resolved) -> CommitError {
        match unplannable {
            Unplannable::NoDirectory(path) => {
                let about = |conflict: &&Conflict| conflict.path() == path.as_bytes();
                match resolved.conflicts.iter().find(about) {
                    Some(conflict) => CommitError::Resolution {
                        conflict: Box::new(conflict.clone()),
                        why: "the directory is gone in which the file would be",
                    },
                    None => self.at(&path, Errno::Noent),
                }
            }
            Unplannable::TwoContents(path) => {
                let about = |conflict: &&Conflict| conflict.path() == path.as_bytes();
                match resolved.conflicts.iter().find(about) {
                    Some(conflict) => CommitError::Resolution {
                        conflict: Box::new(conflict.clone()),
                        why: "another name of the same file was given another content",
                    },
                    None => self.at(&path, Errno::Inval),
                }
            }
            Unplannable::Device(path) => {
                CommitError::Device { path: recover::host_path(&self.root, path.as_bytes()) }
            }
            Unplannable::Special(path) => self.at(&path, Errno::Nxio),
            Unplannable::At(path, errno) => self.disk_error("look at", path.as_bytes(), errno),
        }
    }

    fn disk_error(&self, what: &'static str, path: &[u8], errno: Errno) -> CommitError {
        let path = recover::host_path(&self.root, path);
        CommitError::Disk { what, path, source: errno.into() }
    }

    fn at(&self, path: &RelPath, errno: Errno) -> CommitError {
        CommitError::Read { path: path.as_bytes().into(), errno }
    }
}

/// Whether a file is what it was when the commit began. What we have done to one of several names
/// has changed the ctime of all.
fn is_still(was: &Stamp, stat: &crate::Stat) -> bool {
    let is = Stamp::of(stat);
    let is = if stat.nlink > 1 { Stamp { ctime: was.ctime, ..is } } else { is };
    was.matches(&is)
}

fn count(plan: &Plan, written: Written) -> Committed {
    let is_old = |step: &&In| match step {
        In::Move { slot, .. } | In::Replace { new: slot, .. } => matches!(slot, Slot::Old(_)),
        In::Dir { .. } => false,
    };
    let moved = plan.steps.ins.iter().filter(is_old).count();
    Committed {
        files_written: written.files,
        bytes_written: written.bytes,
        moved: moved as u64,
        removed: (plan.steps.outs.len() - moved) as u64,
    }
}
