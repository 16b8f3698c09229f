//! The overlay that this thread uses.

use std::sync::Arc;

use testbench_clock::{Ended, Guard, Lifetime, Lookup, Scope};

use crate::Overlay;

/// `None` is the installation of a session without an overlay: it hides the one of an outer session.
static OVERLAY: Scope<Option<Arc<Overlay>>> = Scope::new("overlay");

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
    install_for(overlay, &lifetime).owning(lifetime)
}

/// As [`install`], as a part of a session: once `lifetime` has ended, a thread that still holds a captured
/// context gets an error that names the session, and nothing goes to the disk.
#[track_caller]
pub fn install_for(overlay: Arc<Overlay>, lifetime: &Lifetime) -> Guard {
    OVERLAY.install(Arc::new(Some(overlay)), lifetime)
}

/// Hides the overlay of an outer session, as a part of a session without an overlay:
/// [`crate::fs`] goes to the disk until `lifetime` ends.
///
/// ```
/// use testbench_clock::Lifetime;
/// use testbench_overlay::{Overlay, fs, install, install_nothing};
///
/// let dir = tempfile::tempdir()?;
/// let _outer = install(Overlay::new(dir.path())?);
/// let session = Lifetime::new("inner");
/// let inner = install_nothing(&session);
/// fs::write(dir.path().join("real"), "on the disk")?;
/// drop(inner);
/// fs::write(dir.path().join("made"), "in memory")?;
/// let real: Vec<_> = std::fs::read_dir(dir.path())?.map(|e| e.unwrap().file_name()).collect();
/// assert_eq!(real, ["real"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn install_nothing(lifetime: &Lifetime) -> Guard {
    OVERLAY.install(Arc::new(None), lifetime)
}

/// The overlay that is installed on this thread.
pub fn active() -> Lookup<Overlay> {
    look_up().unwrap_or(Lookup::Absent)
}

/// As [`active`]; an error for a session without an overlay that has ended.
pub(crate) fn look_up() -> Result<Lookup<Overlay>, Ended> {
    Ok(match OVERLAY.get() {
        Lookup::Absent => Lookup::Absent,
        Lookup::Open(installed) => Option::clone(&installed).map_or(Lookup::Absent, Lookup::Open),
        Lookup::Closed(installed, ended) => match Option::clone(&installed) {
            Some(overlay) => Lookup::Closed(overlay, ended),
            None => return Err(ended),
        },
    })
}
