//! Saved states. All of the upper layer is one persistent value, so that saving it, starting a
//! second overlay from it and going back to it cost a few reference counts.

use std::fmt;
use std::sync::Arc;

use crate::ops::core::Family;
use crate::upper::inode::State;
use crate::{Overlay, OverlayError};

/// The state of an overlay at one moment.
///
/// ```
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::write(dir.path().join("kept"), "text")?;
///
/// let checkpoint = overlay.checkpoint();
/// fs::write(dir.path().join("lost"), "")?;
/// overlay.rollback(&checkpoint)?;
/// assert_eq!(overlay.diff()?.summary(), "A kept\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Checkpoint {
    state: State,
    family: Arc<Family>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("inodes", &self.state.inodes.size()).finish()
    }
}

impl Overlay {
    /// Saves the state. O(1), however much has changed.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// let mut states = vec![overlay.checkpoint()];
    /// for name in ["a", "b"] {
    ///     fs::write(dir.path().join(name), "")?;
    ///     states.push(overlay.checkpoint());
    /// }
    /// overlay.rollback(&states[1])?;
    /// assert_eq!(overlay.diff()?.summary(), "A a (empty)\n");
    /// overlay.rollback(&states[2])?; // and forward again
    /// assert_eq!(overlay.diff()?.stat().added, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn checkpoint(&self) -> Checkpoint {
        let live = &self.core.tx().live;
        Checkpoint { state: live.state.clone(), family: live.family.clone() }
    }

    /// Goes back to a saved state; everything changed since is gone. Not behind a
    /// [commit](Overlay::commit): it has changed what the state rests on.
    ///
    /// Open handles of files that exist in that state go on with what they hold there; all others
    /// answer [`Errno::Stale`](crate::Errno::Stale) from now on. Inode numbers given since then are
    /// not given again.
    ///
    /// ```
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("a"), "lower")?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// let start = overlay.checkpoint();
    /// fs::write(dir.path().join("a"), "changed")?;
    /// let lost = fs::File::create(dir.path().join("new"))?;
    ///
    /// overlay.rollback(&start)?;
    /// assert_eq!(fs::read_to_string(dir.path().join("a"))?, "lower");
    /// assert_eq!(Errno::from(lost.metadata().unwrap_err()), Errno::Stale);
    /// assert!(Overlay::new(dir.path())?.rollback(&start).is_err(), "a stranger");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OverlayError::Checkpoint`] if the state is that of an unrelated overlay, or from before a
    /// commit.
    pub fn rollback(&self, to: &Checkpoint) -> Result<(), OverlayError> {
        let mut tx = self.core.tx();
        if !Arc::ptr_eq(&to.family, &tx.live.family) {
            return Err(OverlayError::Checkpoint);
        }
        let created = tx.live.state.created;
        tx.live.state = to.state.clone();
        tx.live.state.created = created.max(to.state.created);
        tx.live.forget_closed();
        Ok(())
    }

    /// A second overlay that starts from the state of this one and goes its own way. O(1).
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let other = overlay.fork();
    /// let _installed = install(other.clone());
    /// fs::write(dir.path().join("a"), "")?;
    /// assert!(overlay.diff()?.is_empty() && !other.diff()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fork(&self) -> Arc<Overlay> {
        // Looked at once: between two looks a commit may make the state one of the past.
        self.fork_of(self.checkpoint())
    }

    /// A second overlay that starts from a saved state. O(1).
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let empty = overlay.checkpoint();
    /// let _installed = install(overlay.clone());
    /// fs::write(dir.path().join("a"), "")?;
    /// assert!(overlay.fork_at(&empty)?.diff()?.is_empty());
    /// assert!(!overlay.diff()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OverlayError::Checkpoint`] if the state is that of an unrelated overlay, or from before a
    /// commit.
    pub fn fork_at(&self, from: &Checkpoint) -> Result<Arc<Overlay>, OverlayError> {
        if !Arc::ptr_eq(&from.family, &self.core.tx().live.family) {
            return Err(OverlayError::Checkpoint);
        }
        Ok(self.fork_of(from.clone()))
    }

    fn fork_of(&self, own: Checkpoint) -> Arc<Overlay> {
        let core = Arc::new(self.core.fork(own.state, own.family));
        core.tx().live.forget_closed();
        let pipeline = self.pipeline.as_ref().map(|pipeline| pipeline.fork(&core));
        Overlay::of(core, pipeline)
    }
}
