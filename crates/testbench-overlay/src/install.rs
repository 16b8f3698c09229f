//! Which overlay this thread uses.

use std::sync::Arc;

use testbench_clock::{Guard, Lifetime, Lookup, Scope};

use crate::Overlay;

static OVERLAY: Scope<Overlay> = Scope::new("overlay");

/// Makes [`crate::fs`] on this thread go to `overlay` until the guard drops.
///
/// Several can be installed at once; the one installed last is used. A [`Context`] captured
/// meanwhile carries it to other threads and tasks.
///
/// [`Context`]: testbench_clock::Context
///
/// ```
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("out.txt");
/// {
///     let _installed = install(Overlay::new(dir.path())?);
///     fs::write(&file, "in memory")?;
///     assert!(fs::exists(&file)?);
/// }
/// assert!(!fs::exists(&file)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn install(overlay: Arc<Overlay>) -> Guard {
    let lifetime = Lifetime::new("overlay");
    OVERLAY.install(overlay, &lifetime).owning(lifetime)
}

/// As [`install`], as a part of a session: once `lifetime` has ended, what still holds a captured
/// context gets an error that names the session, and nothing goes to the disk.
#[track_caller]
pub fn install_with(overlay: Arc<Overlay>, lifetime: &Lifetime) -> Guard {
    OVERLAY.install(overlay, lifetime)
}

/// The overlay that is installed on this thread.
pub fn active() -> Lookup<Overlay> {
    OVERLAY.get()
}
