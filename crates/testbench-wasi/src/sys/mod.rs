//! What differs by platform: a directory that only its owner can write, and how to see that a
//! file has changed.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

use std::time::SystemTime;

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
