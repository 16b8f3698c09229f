//! [`DiffOptions`]: the properties that a diff compares.

/// The properties that [`Overlay::diff_with`](crate::Overlay::diff_with) compares.
///
/// Kinds, permission bits and contents always count. Owners and extended attributes never do: an
/// overlay has none.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::MockClock;
/// use testbench_overlay::diff::DiffOptions;
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a"), "text")?;
/// let clock = MockClock::builder().build();
/// let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build()?;
/// let _installed = install(overlay.clone());
/// clock.advance(Duration::from_millis(1500))?;
/// fs::write(dir.path().join("a"), "text")?; // the same again, later
///
/// assert!(overlay.diff()?.is_empty());
/// let with_times = overlay.diff_with(&DiffOptions::new().times(true))?;
/// assert_eq!(with_times.summary(), "M a (mtime 0 -> 1500000000 ns)\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiffOptions {
    pub(crate) times: bool,
}

impl DiffOptions {
    /// Returns the defaults.
    pub const fn new() -> DiffOptions {
        DiffOptions { times: false }
    }

    /// Whether the time of the last change of a content counts: `mtime`, in nanoseconds since the
    /// overlay was made, by its clock. Off by default.
    ///
    /// A directory changes when something in it comes or goes, and then is in the diff, too. The
    /// bytes are the same in every run if the clock is a mock clock and lower files show
    /// [the time at which the overlay was made](crate::LowerTimes::Start), as they do by default;
    /// with [`LowerTimes::Real`](crate::LowerTimes::Real) they hold the times of the disk.
    pub const fn times(self, times: bool) -> DiffOptions {
        DiffOptions { times }
    }
}
