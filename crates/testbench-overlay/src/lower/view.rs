//! How files of the lower tree are presented: by rules that do not depend on the machine.

use testbench_clock::WallTime;

use crate::{FileKind, Stat};

/// Which times the files of the lower directory show.
///
/// A fresh clone, a copy and a CI cache of one and the same tree differ in nothing but times, so by
/// default they are not let through: a run gives the same bytes wherever it happens.
///
/// ```
/// use testbench_overlay::{LowerTimes, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a"), "")?;
/// let _installed = install(Overlay::builder(dir.path()).lower_times(LowerTimes::Real).build()?);
/// let real = std::fs::metadata(dir.path().join("a"))?.modified()?;
/// assert_eq!(fs::metadata(dir.path().join("a"))?.modified()?, real);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerTimes {
    /// All of them the time at which the overlay was made, by its clock: never in the future, and
    /// no file newer than another until something is written.
    #[default]
    Start,
    /// Those of the lower files.
    Real,
}

/// Which permission bits the files of the lower directory show.
///
/// The bits for group and others depend on the umask with which the tree was made. Git stores one
/// bit of the nine for the same reason.
///
/// ```
/// use std::os::unix::fs::PermissionsExt;
/// use testbench_overlay::{LowerModes, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("a");
/// std::fs::write(&file, "")?;
/// std::fs::set_permissions(&file, PermissionsExt::from_mode(0o660))?;
/// for (modes, wanted) in [(LowerModes::Owner, 0o644), (LowerModes::Real, 0o660)] {
///     let _installed = install(Overlay::builder(dir.path()).lower_modes(modes).build()?);
///     assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, wanted);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerModes {
    /// The owner's bits are kept; group and others get what a umask of `022` leaves of them: the
    /// owner's read and execute bits. Set-id and sticky bits are not shown.
    #[default]
    Owner,
    /// Those of the lower files.
    Real,
}

/// How the lower tree is presented.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) times: LowerTimes,
    pub(crate) modes: LowerModes,
    pub(crate) start: WallTime,
}

impl View {
    pub(crate) fn meta(&self, stat: &Stat) -> Meta {
        let mode = match (stat.kind, self.modes) {
            (FileKind::Symlink, _) => 0o777,
            (_, LowerModes::Real) => stat.mode & 0o7777,
            (_, LowerModes::Owner) => {
                let owner = (stat.mode >> 6) & 0o7;
                owner << 6 | (owner & 0o5) << 3 | owner & 0o5
            }
        };
        match self.times {
            LowerTimes::Start => Meta::new(mode, self.start),
            LowerTimes::Real => {
                Meta { mode, atime: stat.atime, mtime: stat.mtime, ctime: stat.ctime }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) atime: WallTime,
    pub(crate) mtime: WallTime,
    pub(crate) ctime: WallTime,
}

impl Meta {
    /// Of something made now.
    pub(crate) fn new(mode: u32, now: WallTime) -> Meta {
        Meta { mode: mode & 0o7777, atime: now, mtime: now, ctime: now }
    }
}
