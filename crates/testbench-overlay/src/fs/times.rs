//! New times for a file, as in `std::fs`.

use std::time::SystemTime;

use testbench_clock::WallTime;

use crate::{SetTime, SetTimes};

/// New times for a file; what is not set stays. Mirrors [`std::fs::FileTimes`].
///
/// ```
/// use testbench_overlay::fs;
/// # let dir = tempfile::tempdir()?;
/// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
/// # let at = |name: &str| dir.path().join(name);
/// use std::time::SystemTime;
///
/// let file = fs::File::create(at("a"))?;
/// let then = SystemTime::UNIX_EPOCH;
/// file.set_times(fs::FileTimes::new().set_accessed(then).set_modified(then))?;
/// assert_eq!(fs::metadata(at("a"))?.accessed()?, then);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTimes {
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

impl FileTimes {
    /// No times: what is not set stays.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// let file = fs::File::create(at("a"))?;
    /// let before = file.metadata()?.modified()?;
    /// file.set_times(fs::FileTimes::new())?;
    /// assert_eq!(file.metadata()?.modified()?, before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> FileTimes {
        FileTimes::default()
    }

    /// Sets the time of last access.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::time::{Duration, SystemTime};
    ///
    /// let file = fs::File::create(at("a"))?;
    /// let day_two = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    /// file.set_times(fs::FileTimes::new().set_accessed(day_two))?;
    /// assert_eq!(file.metadata()?.accessed()?, day_two);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_accessed(mut self, t: SystemTime) -> FileTimes {
        self.accessed = Some(t);
        self
    }

    /// Sets the time of last change of the content.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// use std::time::{Duration, SystemTime};
    ///
    /// let file = fs::File::create(at("a"))?;
    /// let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    /// file.set_times(fs::FileTimes::new().set_modified(before_1970))?;
    /// assert_eq!(file.metadata()?.modified()?, before_1970);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_modified(mut self, t: SystemTime) -> FileTimes {
        self.modified = Some(t);
        self
    }

    pub(super) fn to_tree(self) -> SetTimes {
        let at = |t: SystemTime| SetTime::At(WallTime::from(t));
        SetTimes { atime: self.accessed.map(at), mtime: self.modified.map(at) }
    }

    pub(super) fn to_std(self) -> std::fs::FileTimes {
        let mut times = std::fs::FileTimes::new();
        if let Some(t) = self.accessed {
            times = times.set_accessed(t);
        }
        if let Some(t) = self.modified {
            times = times.set_modified(t);
        }
        times
    }
}
