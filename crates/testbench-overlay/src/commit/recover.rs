//! Taking up a commit that was interrupted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::apply::{self, Failure, Run};
use super::disk::{Disk, STAGE};
use super::gate::{Gate, Open};
use super::journal::{self, Progress, Unusable};
use super::step::Steps;
use crate::{Errno, Overlay, sys};

/// A commit that was interrupted, made ready by [`Overlay::recover`]. Nothing has been changed
/// yet; as long as this value exists, nobody else can take the commit up.
///
/// ```
/// use testbench_overlay::{Overlay, Recovered};
///
/// let dir = tempfile::tempdir()?;
/// // As a crash leaves it before anything was done.
/// std::fs::create_dir(dir.path().join(".testbench-commit"))?;
/// assert!(Overlay::new(dir.path()).is_err());
///
/// let unfinished = Overlay::recover(dir.path())?.expect("there is one");
/// assert!(unfinished.to_string().contains("before it changed anything"));
/// assert_eq!(unfinished.resume()?, Recovered::Before);
/// Overlay::new(dir.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "call `resume` or `undo`"]
pub struct UnfinishedCommit(Recovery<'static, Open>);

/// Which tree there is after an interrupted commit was taken up.
///
/// ```
/// use testbench_overlay::{Overlay, Recovered};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::create_dir(dir.path().join(".testbench-commit"))?; // begun, and not got far
/// let unfinished = Overlay::recover(dir.path())?.expect("there is one");
/// match unfinished.resume()? {
///     Recovered::After => println!("all that was to be committed is there"),
///     other => assert_eq!(other, Recovered::Before),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// The one before the commit.
    Before,
    /// The one after the commit.
    After,
}

/// Why an interrupted commit could not be taken up. Nothing is lost in any of these cases: what
/// the commit took out of the tree, and what it was about to put there, stays where it is.
///
/// ```
/// use testbench_overlay::{Overlay, RecoverError};
///
/// let error = Overlay::recover("/no/such/directory").unwrap_err();
/// assert!(matches!(error, RecoverError::Open { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The directory cannot be used.
    #[error("cannot look for an interrupted commit in {}: {source}", path.display())]
    Open {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The commit is not interrupted.
    #[error("a commit to {} is under way in another process or thread: wait until it ends", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// What is there was not made by a commit.
    #[error(
        "{} was not made by a commit, since it holds `{name}`; nothing was changed: move it away \
         to use the directory above it",
        stage.display()
    )]
    Foreign {
        /// The directory in which a commit keeps its journal.
        stage: PathBuf,
        /// What should not be in it.
        name: String,
    },
    /// The journal is of a version that this program does not know.
    #[error(
        "the journal in {} is of version {found}, this program reads version 1; nothing was \
         changed: use the program that began the commit, or a newer one",
        stage.display()
    )]
    Version {
        /// The directory in which a commit keeps its journal.
        stage: PathBuf,
        /// What stands in the journal.
        found: String,
    },
    /// The journal is not what was written.
    #[error(
        "the journal in {} is damaged: {why}; nothing was changed. What the commit took out of \
         the tree lies there as `o0`, `o1`, …, what it was about to put there as `n0`, `n1`, …",
        stage.display()
    )]
    Damaged {
        /// The directory in which a commit keeps its journal.
        stage: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody has worked in the tree since the commit was interrupted, or the journal belongs to
    /// another tree.
    #[error(
        "{} is not what the interrupted commit left there; put it right, or try the other of \
         `resume` and `undo`",
        path.display()
    )]
    Changed {
        /// What is in the way, missing or changed.
        path: PathBuf,
    },
    /// The system refused a step.
    #[error("cannot {what} {}: {source}; put that right and recover again", path.display())]
    Disk {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Overlay {
    /// Looks for a commit to the directory `root` that was interrupted: the process was killed, or
    /// the machine lost power. `None` if there is none.
    ///
    /// Until it is taken up, no overlay of `root` can be made, since what is there is neither the
    /// tree before nor the one after.
    ///
    /// ```
    /// use testbench_overlay::Overlay;
    ///
    /// let dir = tempfile::tempdir()?;
    /// if let Some(unfinished) = Overlay::recover(dir.path())? {
    ///     eprintln!("{unfinished}");
    ///     unfinished.resume()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`RecoverError`]. What is there is read, and nothing is changed.
    pub fn recover(root: impl AsRef<Path>) -> Result<Option<UnfinishedCommit>, RecoverError> {
        let found = Recovery::find(root.as_ref(), &Open)?;
        Ok(found.map(UnfinishedCommit))
    }
}

impl UnfinishedCommit {
    /// The directory that was committed to, as it was given to [`Overlay::recover`].
    ///
    /// ```
    /// use testbench_overlay::Overlay;
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir(dir.path().join(".testbench-commit"))?;
    /// let unfinished = Overlay::recover(dir.path())?.expect("there is one");
    /// assert_eq!(unfinished.root(), dir.path());
    /// unfinished.undo()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Goes on with the commit.
    ///
    /// It answers [`Recovered::Before`] where that cannot be done: not all was prepared yet when
    /// the commit was interrupted, or the way back had been taken.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, Recovered};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir(dir.path().join(".testbench-commit"))?;
    /// let unfinished = Overlay::recover(dir.path())?.expect("there is one");
    /// assert_eq!(unfinished.resume()?, Recovered::Before, "nothing was prepared yet");
    /// assert!(Overlay::recover(dir.path())?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`RecoverError`]; it can be tried again, and the commit can still be undone.
    pub fn resume(self) -> Result<Recovered, RecoverError> {
        self.0.resume()
    }

    /// Puts everything back.
    ///
    /// It answers [`Recovered::After`] where that cannot be done: the commit had been made, all
    /// but removing what it no longer needs.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, Recovered};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::create_dir(dir.path().join(".testbench-commit"))?;
    /// let unfinished = Overlay::recover(dir.path())?.expect("there is one");
    /// assert_eq!(unfinished.undo()?, Recovered::Before);
    /// assert_eq!(std::fs::read_dir(dir.path())?.count(), 0, "the journal is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`RecoverError`]; it can be tried again.
    pub fn undo(self) -> Result<Recovered, RecoverError> {
        self.0.undo()
    }
}

/// A sentence: `a commit to /a/b was interrupted before it changed anything`.
impl fmt::Display for UnfinishedCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.0.progress {
            Progress::Staging => "before it changed anything",
            Progress::Begun { undo: false, .. } => "half-way",
            Progress::Begun { undo: true, .. } => "on the way back",
            Progress::Done => "when all but the clearing up was done",
        };
        write!(f, "a commit to {} was interrupted {how}", self.0.root.display())
    }
}

/// [`UnfinishedCommit`] behind any gate.
#[derive(Debug)]
pub(super) struct Recovery<'g, G> {
    root: PathBuf,
    disk: Disk<'g, G>,
    progress: Progress,
    steps: Steps,
}

impl<'g, G: Gate> Recovery<'g, G> {
    pub(super) fn find(root: &Path, gate: &'g G) -> Result<Option<Self>, RecoverError> {
        let open = |source: io::Error| RecoverError::Open { path: root.to_path_buf(), source };
        let top = sys::open_top(root).map_err(open)?;
        let mut disk = Disk::new(Arc::new(top), gate);
        let stage = root.join(crate::materialize::os_str(STAGE));
        match disk.open_stage() {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(Errno::Busy) => return Err(RecoverError::Busy { path: root.to_path_buf() }),
            Err(Errno::Notdir | Errno::Loop) => {
                return Err(RecoverError::Foreign { stage, name: ".".to_owned() });
            }
            Err(errno) => return Err(open(errno.into())),
        }
        let progress = match journal::progress(&disk) {
            Ok(progress) => progress,
            Err(Ok(name)) => return Err(RecoverError::Foreign { stage, name }),
            Err(Err(errno)) => return Err(open(errno.into())),
        };
        let loaded = match progress {
            Progress::Staging => Ok(Steps::default()),
            // The journal may be gone already.
            Progress::Done => {
                Ok(journal::load(&disk).ok().and_then(Result::ok).unwrap_or_default())
            }
            Progress::Begun { .. } => journal::load(&disk).map_err(|errno| open(errno.into()))?,
        };
        let steps = loaded.map_err(|unusable| match unusable {
            Unusable::Foreign => RecoverError::Foreign { stage, name: journal::JOURNAL.to_owned() },
            Unusable::Version(found) => RecoverError::Version { stage, found },
            Unusable::Damaged(why) => RecoverError::Damaged { stage, why },
        })?;
        Ok(Some(Recovery { root: root.to_path_buf(), disk, progress, steps }))
    }

    pub(super) fn resume(mut self) -> Result<Recovered, RecoverError> {
        self.take_up(true).map_err(|failure| recover_error(&self.root, failure))
    }

    pub(super) fn undo(mut self) -> Result<Recovered, RecoverError> {
        self.take_up(false).map_err(|failure| recover_error(&self.root, failure))
    }

    fn take_up(&mut self, onward: bool) -> Result<Recovered, Failure> {
        let recovered = self.take_up_steps(onward)?;
        if recovered == Recovered::After && !self.disk.is_waste() {
            apply::finish(&mut self.disk)?;
        }
        apply::clean_up(&mut self.disk)?;
        apply::settle_top(&self.disk, &self.steps, recovered == Recovered::After)?;
        Ok(recovered)
    }

    fn take_up_steps(&self, onward: bool) -> Result<Recovered, Failure> {
        let run = Run { disk: &self.disk, steps: &self.steps, still: &|_, _, _| true, again: true };
        Ok(match self.progress {
            Progress::Staging => Recovered::Before,
            Progress::Done => Recovered::After,
            Progress::Begun { moved, undo } => {
                run.fits(moved)?;
                if onward && !undo {
                    run.forward(moved)?;
                    Recovered::After
                } else {
                    run.backward(moved)?;
                    Recovered::Before
                }
            }
        })
    }
}

fn recover_error(root: &Path, failure: Failure) -> RecoverError {
    match failure {
        Failure::Changed(path) => RecoverError::Changed { path: host_path(root, path.as_bytes()) },
        Failure::Os { what, path, errno } => {
            RecoverError::Disk { what, path: host_path(root, &path), source: errno.into() }
        }
    }
}

pub(super) fn host_path(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_path_buf() } else { root.join(crate::materialize::os_str(path)) }
}

/// The kind is that of the cause where the system refused something,
/// [`io::ErrorKind::ResourceBusy`] for a commit that is under way,
/// [`io::ErrorKind::StaleNetworkFileHandle`] for a tree that has changed, and
/// [`io::ErrorKind::InvalidData`] for a journal that cannot be used.
impl From<RecoverError> for io::Error {
    fn from(error: RecoverError) -> io::Error {
        let kind = match &error {
            RecoverError::Open { source, .. } | RecoverError::Disk { source, .. } => source.kind(),
            RecoverError::Busy { .. } => io::ErrorKind::ResourceBusy,
            RecoverError::Changed { .. } => io::ErrorKind::StaleNetworkFileHandle,
            RecoverError::Foreign { .. }
            | RecoverError::Version { .. }
            | RecoverError::Damaged { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
