//! One thing that goes wrong.

use std::io;
use std::time::Duration;

use super::operation::Operation;
use super::pattern::PatternError;
use crate::Errno;

/// One thing that goes wrong: what, with which operations, on which paths, and at which of them.
///
/// ```
/// use std::io::ErrorKind;
/// use testbench_overlay::pipeline::{Fault, Operation};
/// use testbench_overlay::{Errno, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let second_write = Fault::error(Errno::Io).on(Operation::Write).at("*.log").nth(2);
/// let overlay = Overlay::builder(dir.path()).faults(second_write).build()?;
/// let _installed = install(overlay.clone());
///
/// fs::write(dir.path().join("a.txt"), "not a log")?;
/// fs::write(dir.path().join("a.log"), "the first")?;
/// assert!(fs::write(dir.path().join("b.log"), "the second").is_err());
/// fs::write(dir.path().join("b.log"), "the third")?;
/// assert_eq!(overlay.faults()[0].fired, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Without [`Fault::on`] it concerns every operation that it can concern, without [`Fault::at`] every
/// path, and without [`Fault::nth`] or one of its kin every time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(super) effect: Effect,
    pub(super) operations: Vec<Operation>,
    pub(super) pattern: Option<String>,
    pub(super) when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Error(Errno),
    Short(usize),
    Latency(Duration),
    FullAfter(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Nth(u64),
    FromNth(u64),
    Every(u64),
    OneIn(u64),
}

impl Fault {
    /// A fault by which the operation fails and does nothing.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let cross_device = Fault::error(Errno::Xdev).on(Operation::Rename);
    /// let _installed = install(Overlay::builder(dir.path()).faults(cross_device).build()?);
    /// fs::write(dir.path().join("a"), "")?;
    /// let error = fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::CrossesDevices);
    /// assert!(fs::exists(dir.path().join("a"))?, "nothing happened");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn error(errno: Errno) -> Fault {
        Fault::new(Effect::Error(errno))
    }

    /// A fault by which a read or write is cut to at most `len_max` bytes, as POSIX allows at any
    /// time. Code that loops until all is done never notices.
    ///
    /// ```
    /// use testbench_overlay::pipeline::Fault;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let at = |name: &str| dir.path().join(name);
    /// let fault = Fault::short(1);
    /// let _installed = install(Overlay::builder(dir.path()).faults(fault).build()?);
    /// fs::write(at("a"), "text")?; // loops until all is written
    /// assert_eq!(fs::read_to_string(at("a"))?, "text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn short(len_max: usize) -> Fault {
        Fault::new(Effect::Short(len_max))
    }

    /// A fault by which the operation takes this long in virtual time, then happens. Other
    /// participants of the timeline go on meanwhile.
    ///
    /// It belongs to the overlay that is used, not to one that lies beneath it: what asks beneath
    /// holds the upper one, so a second participant that uses that one would wait outside of the
    /// timeline, and both would get the [stall report](testbench_clock::Stuck::Stalled).
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::MockClock;
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let _clock = testbench_clock::install(MockClock::builder().build());
    /// let dir = tempfile::tempdir()?;
    /// let slow = Fault::latency(Duration::from_secs(60)).on(Operation::Create);
    /// let _installed = install(Overlay::builder(dir.path()).faults(slow).build()?);
    /// let began = testbench_clock::instant_now();
    /// fs::write(dir.path().join("a"), "")?; // at once, in real time
    /// assert_eq!(testbench_clock::instant_now().duration_since(began).as_secs(), 60);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn latency(duration: Duration) -> Fault {
        Fault::new(Effect::Latency(duration))
    }

    /// A fault by which the disk is full after this many bytes have been written: the write that
    /// goes beyond is cut to what still fits, and from then on every write is [`Errno::Nospc`].
    ///
    /// It counts the bytes of matching writes; bytes written over others count again.
    ///
    /// ```
    /// use testbench_overlay::pipeline::Fault;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let at = |name: &str| dir.path().join(name);
    /// let fault = Fault::full_after(3);
    /// let _installed = install(Overlay::builder(dir.path()).faults(fault).build()?);
    /// assert!(fs::write(at("a"), "text").is_err());
    /// assert_eq!(fs::read_to_string(at("a"))?, "tex");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn full_after(bytes: u64) -> Fault {
        Fault::new(Effect::FullAfter(bytes))
    }

    fn new(effect: Effect) -> Fault {
        Fault { effect, operations: Vec::new(), pattern: None, when: When::Always }
    }

    /// Concerns this operation only. May be called several times, for one of several.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let keep = Fault::error(Errno::Perm).on(Operation::RemoveFile).on(Operation::RemoveDir);
    /// let _installed = install(Overlay::builder(dir.path()).faults(keep).build()?);
    /// fs::create_dir(dir.path().join("d"))?;
    /// fs::write(dir.path().join("d/a"), "")?;
    /// assert!(fs::remove_file(dir.path().join("d/a")).is_err());
    /// assert!(fs::remove_dir_all(dir.path().join("d")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on(mut self, operation: Operation) -> Fault {
        self.operations.push(operation);
        self
    }

    /// Concerns only paths that match this [pattern](super#patterns); of a rename or a link either
    /// path. Bytes are read and written at the path under which the file was opened.
    ///
    /// ```
    /// use testbench_overlay::pipeline::Fault;
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let broken = Fault::error(Errno::Io).at("data/**/*.db");
    /// let _installed = install(Overlay::builder(dir.path()).faults(broken).build()?);
    /// fs::create_dir(dir.path().join("data"))?;
    /// assert!(fs::write(dir.path().join("data/x.db"), "").is_err());
    /// assert!(fs::write(dir.path().join("x.db"), "").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at(mut self, pattern: impl Into<String>) -> Fault {
        self.pattern = Some(pattern.into());
        self
    }

    /// Happens at the `n`th operation that it concerns only, the first being 1.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let second = Fault::error(Errno::Intr).on(Operation::CreateDir).nth(2);
    /// let _installed = install(Overlay::builder(dir.path()).faults(second).build()?);
    /// let made = ["a", "b", "c"].map(|name| fs::create_dir(dir.path().join(name)).is_ok());
    /// assert_eq!(made, [true, false, true]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nth(mut self, n: u64) -> Fault {
        self.when = When::Nth(n);
        self
    }

    /// Happens at the `n`th operation that it concerns, and at all after it.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let at = |name: &str| dir.path().join(name);
    /// let fault = Fault::error(testbench_overlay::Errno::Io).on(Operation::Stat).from_nth(2);
    /// let _installed = install(Overlay::builder(dir.path()).faults(fault).build()?);
    /// fs::write(at("a"), "")?;
    /// assert!(fs::metadata(at("a")).is_ok());
    /// assert!(fs::metadata(at("a")).is_err() && fs::metadata(at("a")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_nth(mut self, n: u64) -> Fault {
        self.when = When::FromNth(n);
        self
    }

    /// Happens at the `n`th operation that it concerns, the `2n`th, and so on.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let at = |name: &str| dir.path().join(name);
    /// let fault = Fault::error(testbench_overlay::Errno::Io).on(Operation::Stat).every(2);
    /// let _installed = install(Overlay::builder(dir.path()).faults(fault).build()?);
    /// fs::write(at("a"), "")?;
    /// assert!(fs::metadata(at("a")).is_ok() && fs::metadata(at("a")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn every(mut self, n: u64) -> Fault {
        self.when = When::Every(n);
        self
    }

    /// Happens at one in `n` on average, drawn from the plan's [seed](crate::pipeline::FaultPlan::seed). Whether one
    /// operation is hit depends on the seed, the path, and how often this operation was asked of
    /// that path; so a seed gives the same faults however the threads of a program interleave.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Fault, Operation};
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let at = |name: &str| dir.path().join(name);
    /// let fault = Fault::error(testbench_overlay::Errno::Io).on(Operation::Stat).one_in(3);
    /// let _installed = install(Overlay::builder(dir.path()).faults(fault).build()?);
    /// fs::write(at("a"), "")?;
    /// let failed = (0..300).filter(|_| fs::metadata(at("a")).is_err()).count();
    /// assert!((50..150).contains(&failed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn one_in(mut self, n: u64) -> Fault {
        self.when = When::OneIn(n);
        self
    }

    pub(super) fn concerns(&self, operation: Operation) -> bool {
        match self.effect {
            Effect::Short(_) if !matches!(operation, Operation::Read | Operation::Write) => false,
            Effect::FullAfter(_) if operation != Operation::Write => false,
            _ => self.operations.is_empty() || self.operations.contains(&operation),
        }
    }

    pub(super) fn check(&self) -> Result<(), FaultError> {
        let n = match self.when {
            When::Always => 1,
            When::Nth(n) | When::FromNth(n) | When::Every(n) | When::OneIn(n) => n,
        };
        match self.effect {
            _ if n == 0 => Err(FaultError::Zeroth),
            Effect::Short(0) => Err(FaultError::ShortOfNothing),
            _ if !Operation::ALL.iter().any(|operation| self.concerns(*operation)) => {
                Err(FaultError::NoOperation)
            }
            _ => Ok(()),
        }
    }
}

/// A [`Fault`] that makes no sense.
///
/// ```
/// use testbench_overlay::pipeline::{Fault, FaultError};
/// use testbench_overlay::{Errno, Overlay, OverlayError};
///
/// let dir = tempfile::tempdir()?;
/// let zeroth = Overlay::builder(dir.path()).faults(Fault::error(Errno::Io).nth(0)).build();
/// assert!(matches!(zeroth, Err(OverlayError::Fault { source: FaultError::Zeroth })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// Its pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The zeroth operation, or one in zero.
    #[error("a fault counts operations from 1, so `0` means none; use 1 for the first or for each")]
    Zeroth,
    /// A read of nothing would look like the end of the file.
    #[error("a short read or write moves at least one byte; use `Fault::short(1)`")]
    ShortOfNothing,
    /// It could never happen.
    #[error(
        "the fault concerns none of the operations it is set on: only reads and writes can be \
         short, and only writes can fill the disk"
    )]
    NoOperation,
}

/// The kind is [`io::ErrorKind::InvalidInput`].
impl From<FaultError> for io::Error {
    fn from(error: FaultError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}
