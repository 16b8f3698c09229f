//! The parts that differ by platform: a directory that only its owner can write, and how to see that a
//! file has changed.

// Compiled for the tests everywhere, so that it is known to work.
#[cfg(any(not(unix), test))]
mod portable;
#[cfg(unix)]
mod unix;

use std::time::{Duration, SystemTime};

#[cfg(not(unix))]
pub(crate) use portable::{Identity, PrivateDir};
#[cfg(unix)]
pub(crate) use unix::{Identity, PrivateDir};

/// A file in a [`PrivateDir`].
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// When it was last written or [touched](PrivateDir::touch), for comparing with others.
    pub(crate) modified: SystemTime,
}

/// How long after its last change a file is not yet told from its next version by its times: file
/// systems note these in steps, the coarsest of which (FAT) is two seconds.
const SETTLES_AFTER: Duration = Duration::from_secs(2);
