//! New times for a file, as in `std::fs`.

use std::time::SystemTime;

use testbench_clock::WallTime;

use crate::{SetTime, SetTimes};

/// New times for a file; a time that is not set stays. Mirrors [`std::fs::FileTimes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTimes {
    times: SetTimes,
}

impl FileTimes {
    /// Returns an empty set: both times stay.
    pub fn new() -> FileTimes {
        FileTimes::default()
    }

    /// Sets the time of last access.
    pub fn set_accessed(mut self, t: SystemTime) -> FileTimes {
        self.times.atime = Some(SetTime::At(WallTime::from(t)));
        self
    }

    /// Sets the time of last change of the content.
    pub fn set_modified(mut self, t: SystemTime) -> FileTimes {
        self.times.mtime = Some(SetTime::At(WallTime::from(t)));
        self
    }

    pub(super) fn to_tree(self) -> SetTimes {
        self.times
    }
}
