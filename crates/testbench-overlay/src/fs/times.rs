//! New times for a file, as in `std::fs`.

use std::time::SystemTime;

use testbench_clock::WallTime;

use crate::{SetTime, SetTimes};

/// New times for a file; a time that is not set stays. Mirrors [`std::fs::FileTimes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTimes {
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

impl FileTimes {
    /// Returns an empty set: both times stay.
    pub fn new() -> FileTimes {
        FileTimes::default()
    }

    /// Sets the time of last access.
    pub fn set_accessed(mut self, t: SystemTime) -> FileTimes {
        self.accessed = Some(t);
        self
    }

    /// Sets the time of last change of the content.
    pub fn set_modified(mut self, t: SystemTime) -> FileTimes {
        self.modified = Some(t);
        self
    }

    pub(super) fn to_tree(self) -> SetTimes {
        let at = |t: SystemTime| SetTime::At(WallTime::from(t));
        SetTimes { atime: self.accessed.map(at), mtime: self.modified.map(at) }
    }
}
