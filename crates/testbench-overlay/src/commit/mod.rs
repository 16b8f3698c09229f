//! Committing: the changes of an overlay are written to the real directory beneath it.
//!
//! # How it works
//!
//! 1. *Check.* Everything that the overlay has seen of the directory is looked at again. A
//!    difference is a [`Conflict`], and nothing is written.
//! 2. *Plan.* The upper layer becomes a list of steps: moves, removals, new files. Nothing that the
//!    overlay knows to be the same file is copied: renames are renames.
//! 3. *Stage.* In a directory `.testbench-commit` at the top of the root, new files are prepared
//!    with their content, permission bits, times, and, where they replace another, its owner and
//!    extended attributes. The journal is written there, with a checksum, and everything is
//!    synced. Then the check is made once more. Up to here the tree is as it was.
//! 4. *Steps.* The journal is put in force, in one instant. From now on there is only one way:
//!    forward. Files that leave their place are moved to the stage, deepest first; directories that
//!    go are removed; then everything is put in place from above downwards, a changed file in one
//!    instant over the old one; permission bits and times come last.
//! 5. The stage is renamed, which makes the commit, and removed.
//!
//! A step that finds its place changed by another process is passed over, and the rest completes:
//! see [`Committed::passed_over`]. If the process dies, or the system refuses a step, the journal is
//! still there, and [`Overlay::recover`] makes the steps that are left.
//!
//! # Promises
//!
//! - With a conflict, nothing is written.
//! - A commit that returns `Ok` is on stable storage.
//! - A commit that was interrupted at any point leaves the tree before or after it, once `recover`
//!   has run; so does a recovery that was interrupted, however often.
//! - A changed file holds its old or its new content at every instant, and never none or a part.
//! - A file that another process changes during the commit is not overwritten.
//! - Nothing outside of the root is written, wherever symlinks or hard links lead. A file that also
//!   has a name outside is not changed there: inside, a new file takes its place.
//!
//! # Not promised
//!
//! - POSIX cannot change many files in one instant: a process that reads the tree during a commit
//!   sees a part of it. Files that move, and those in the way of directories, are absent for a
//!   moment.
//! - A write by another process is not noticed if it leaves size and times as they were, or goes to
//!   a deleted or replaced file that the process still holds open after its last check.
//! - Owner and extended attributes of a replaced file are kept as far as the system allows it.
//! - Access times, and the times of the root directory after an interruption, may differ.
//! - A commit that takes from the owner of the root directory a right to that directory itself can
//!   do so only when the journal is gone, unless root commits. If the process dies in between,
//!   before the last of its system calls, all is committed but that: the owner still has these
//!   rights, and nothing is left to recover.
//! - Another overlay of the same directory, forks included, finds the directory changed.
//!
//! Begin with `survey.rs` (the changes) and `journal.rs` (the steps); `check.rs` and `plan.rs` lead
//! from one to the other, `apply.rs` makes them. `disk.rs` has the system calls, `rebase.rs` the
//! overlay afterwards, `places.rs` of the crate the numbers that stand for paths.

mod apply;
mod check;
mod conflict;
mod disk;
mod error;
mod gate;
mod journal;
mod options;
mod plan;
mod rebase;
mod recover;
mod stage;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

pub use apply::PassedOver;
pub use conflict::{Conflict, OurChange, TheirChange};
pub(crate) use disk::{At, Disk, STAGE, WASTE};
pub use error::{CommitError, RecoverError};
pub(crate) use gate::Open;
pub use options::CommitOptions;
pub use recover::Recovered;

use self::error::Result;
use self::gate::Gate;
use self::plan::Plan;
use self::survey::Survey;
use crate::ops::core::{Core, Tx};
use crate::places::{PathId, Paths};
use crate::upper::inode::{Entry, Ino, State};
use crate::{Errno, GuestPath, Overlay};

/// The report of a commit.
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
/// assert!(committed.passed_over.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The number of new files that were written, those in the place of old ones included.
    pub files_written: u64,
    /// The bytes in them.
    pub bytes_written: u64,
    /// The number of files and directories that were moved, without those in a moved directory.
    pub moved: u64,
    /// The number of files and directories that were removed, without those in a removed
    /// directory.
    pub removed: u64,
    /// The paths that another process changed when the commit was at work already, sorted. Nearly
    /// always empty.
    pub passed_over: Vec<PassedOver>,
}

impl Overlay {
    /// Writes all changes to the real directory beneath. If anything there is not as the overlay
    /// saw it, nothing is written.
    ///
    /// Afterwards the overlay is as one that has just been made of the directory: its diff is
    /// empty, checkpoints from before are refused. Open handles go on, and so does an overlay that
    /// [lies on](Overlay::over) this one: to it nothing has changed. Other operations on the
    /// overlay block until the commit is done.
    ///
    /// The [documentation of the crate](crate#committing) says what is promised and what is not.
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
    /// See [`CommitError`]. Unless it is [`CommitError::Interrupted`] or
    /// [`CommitError::Leftover`], the directory is as it was.
    pub fn commit(&self) -> Result<Committed, CommitError> {
        self.commit_with(&CommitOptions::new())
    }

    /// As [`Overlay::commit`], over conflicts or for some paths only: see [`CommitOptions`].
    ///
    /// # Errors
    ///
    /// As [`Overlay::commit`].
    pub fn commit_with(&self, options: &CommitOptions) -> Result<Committed, CommitError> {
        self.commit_through(&Open, options)
    }

    fn commit_through(&self, gate: &dyn Gate, options: &CommitOptions) -> Result<Committed> {
        let dir = self.core.lower.host_dir().ok_or(CommitError::NoDirectory)?;
        let path = dir.path().to_path_buf();
        // The overlay keeps itself from writing to its own root, and a caller's promise is kept.
        if dir.is_read_only() && self.core.config.host_root.is_none() {
            return Err(CommitError::ReadOnly { path });
        }
        let keeps = self.is_beneath.load(Ordering::Relaxed);
        run(&self.core, &mut Disk::new(dir.top(), path, gate), options, keeps)
    }
}

/// Commits. If it `keeps`, every inode keeps its number and its times.
fn run(
    core: &Core,
    disk: &mut Disk<'_>,
    options: &CommitOptions,
    keeps: bool,
) -> Result<Committed> {
    let mut tx = core.tx_as_root();
    check_free(disk, &tx)?;
    match tx.find_other_names() {
        // The check finds a change beneath too, and says more about it.
        Ok(()) | Err(Errno::Stale) => {}
        Err(errno) => return Err(unread(errno)),
    }
    survey::pin_names(&mut tx);
    let state = tx.live.state.clone();
    let mut survey = Survey::new(&state, &mut disk.paths).map_err(unread)?;
    limit(&mut survey, &mut disk.paths, core, options)?;
    let (conflicts, now) = check::check(disk, &survey)?;
    if !options.force && !conflicts.is_empty() {
        return Err(CommitError::Conflicts { conflicts });
    }
    let plan = plan::plan(disk, &survey, now)?;
    let mut committed =
        Committed { moved: plan.moved, removed: plan.removed, ..Default::default() };
    let mut cleared = Ok(());
    if !plan.steps.is_empty() {
        disk.make_stage().map_err(|error| match error.errno() {
            Errno::Exist | Errno::Busy => CommitError::Unfinished { path: disk.host_path(At::TOP) },
            _ => error,
        })?;
        rebase::take_up_orphans(&mut tx);
        let check_again = (!options.force).then_some(&survey);
        let written = stage(core, &state, disk, &plan, check_again)?;
        (committed.files_written, committed.bytes_written) = written;
        let passed_over = apply::forward(disk, &plan.steps, false);
        committed.passed_over = passed_over.map_err(|source| interrupted(disk, source))?;
        cleared = apply::clean_up(disk);
    }
    core.lower.forget_dirs();
    rebase::rebase(&mut tx, disk, &survey, keeps);
    // Last, since it may close the top to us.
    let settled = cleared.and_then(|()| apply::settle_top(disk, &plan.steps));
    rebase::see_top(&mut tx, disk);
    tx.live.renew();
    core.lower.forget_changes();
    let leftover = |source| CommitError::Leftover { source: Box::new(source) };
    settled.map(|()| committed).map_err(leftover)
}

/// Makes sure that no other commit is at work or was interrupted, and that the overlay has not
/// taken our name.
fn check_free(disk: &mut Disk<'_>, tx: &Tx<'_>) -> Result<()> {
    let top = tx.live.state.dir(Ino::ROOT).map_err(unread)?;
    for name in [STAGE, WASTE] {
        let stage = disk.at_top(name);
        match disk.look(stage) {
            Ok(None) => {}
            Ok(Some(_)) => return Err(CommitError::Unfinished { path: disk.host_path(At::TOP) }),
            // Where we may not look we cannot make a stage either, and say so then.
            Err(error) if error.errno() == Errno::Acces => {}
            Err(error) => return Err(error),
        }
        if let Some(Entry::Present(_)) = top.entries.get(name) {
            return Err(CommitError::Reserved);
        }
    }
    Ok(())
}

/// Limits a survey to the paths of the options.
fn limit(
    survey: &mut Survey<'_>,
    paths: &mut Paths,
    core: &Core,
    options: &CommitOptions,
) -> Result<()> {
    let Some(only) = &options.only else { return Ok(()) };
    let mut ids = BTreeSet::new();
    for path in only {
        let root = core.config.host_root.iter().flat_map(|(given, real)| [given, real]);
        let below = root.into_iter().find_map(|root| path.strip_prefix(root).ok());
        let below = below.unwrap_or(path).as_os_str().as_encoded_bytes();
        let names = GuestPath::new(below).components().filter(|name| *name != b".");
        let id = names.fold(PathId::TOP, |dir, name| paths.child(dir, name));
        if !survey.changes_in(paths, id) {
            return Err(CommitError::Unchanged { path: path.clone() });
        }
        ids.insert(id);
    }
    survey.limit(paths, ids).map_err(|(one, other)| CommitError::Apart {
        path: paths.bytes(one),
        other: paths.bytes(other),
    })
}

/// Prepares everything, makes sure that nothing has changed meanwhile, and puts the journal in
/// force. Returns the number of files written, and of their bytes.
fn stage(
    core: &Core,
    state: &State,
    disk: &mut Disk<'_>,
    plan: &Plan,
    check_again: Option<&Survey<'_>>,
) -> Result<(u64, u64)> {
    let mut prepare = || {
        journal::claim(disk)?;
        let written = stage::fill(core, state, disk, &plan.stage)?;
        journal::prepare(disk, &plan.steps)?;
        if let Some(survey) = check_again {
            let (conflicts, _) = check::check(disk, survey)?;
            if !conflicts.is_empty() {
                return Err(CommitError::Conflicts { conflicts });
            }
        }
        journal::store(disk)?;
        Ok(written)
    };
    prepare().map_err(|error| {
        // The journal may be in force; until it is gone, the stage must stay whole.
        match journal::withdraw(disk).and_then(|()| apply::clean_up(disk)) {
            Ok(()) => error,
            Err(_) => interrupted(disk, error),
        }
    })
}

fn interrupted(disk: &Disk<'_>, source: CommitError) -> CommitError {
    CommitError::Interrupted { path: disk.host_path(At::TOP), source: Box::new(source) }
}

fn unread(errno: Errno) -> CommitError {
    CommitError::Read { path: Box::default(), errno }
}
