//! The audit: what was asked of a tree, and what came of it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::WallTime;

use super::operation::{Operation, Request};
use crate::vfs::Result;
use crate::{Errno, GuestPath};

/// How many events an [`Audit`] holds unless told otherwise: minutes of a busy compiler, in some
/// 100 MB.
const EVENTS_MAX: usize = 1 << 20;

/// A log of everything that was asked of an overlay. Clones are the same log.
///
/// ```
/// use testbench_overlay::pipeline::Audit;
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("config"), "colour = on")?;
/// let audit = Audit::new();
/// let _installed = install(Overlay::builder(dir.path()).audit(&audit).build()?);
///
/// let _ = fs::read(dir.path().join("config.local"));
/// fs::read(dir.path().join("config"))?;
/// assert_eq!(audit.misses(), [b"config.local".to_vec()]);
/// assert_eq!(audit.reads(), [b"config".to_vec()]);
/// assert_eq!(audit.to_string().lines().next(), Some("open config.local: ENOENT"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It shows what a program depends on: the files whose content it read, those that it looked for and
/// did not find, and the directories that it listed. Handles that were opened before an operation
/// failed, and the overlay's own work ([`Overlay::diff`](crate::Overlay::diff),
/// [`Overlay::materialize`](crate::Overlay::materialize)), are not in it.
#[derive(Clone, Debug)]
pub struct Audit {
    log: Arc<Mutex<Log>>,
}

#[derive(Debug)]
struct Log {
    events: VecDeque<AuditLine>,
    events_max: usize,
    dropped: u64,
}

/// One operation and what came of it.
///
/// ```
/// use testbench_overlay::pipeline::{Audit, Operation};
/// use testbench_overlay::{Errno, Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let audit = Audit::holding(100);
/// let _installed = install(Overlay::builder(dir.path()).audit(&audit).build()?);
/// let _ = fs::read(dir.path().join("missing"));
/// let events = audit.take();
/// let last = events.last().unwrap();
/// assert_eq!((last.operation, &*last.path), (Operation::Open, &b"missing"[..]));
/// assert_eq!(last.result, Err(Errno::Noent));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditLine {
    /// The operation.
    pub operation: Operation,
    /// To what, from the top, in raw bytes; without symlinks unless the way there failed. Bytes are
    /// read and written at the path under which the file was opened.
    pub path: Box<[u8]>,
    /// The new path of a rename or link.
    pub to: Option<Box<[u8]>>,
    /// When it ended, by the overlay's clock.
    pub at: WallTime,
    /// The number of bytes that were read or written and 0 for all else, or why it failed.
    pub result: Result<u64>,
}

impl Default for Audit {
    fn default() -> Self {
        Audit::new()
    }
}

impl Audit {
    /// An empty log that holds up to 1,048,576 events.
    pub fn new() -> Audit {
        Audit::holding(EVENTS_MAX)
    }

    /// An empty log that holds up to `events_max` events. Older ones make room for newer ones, see
    /// [`Audit::dropped`].
    ///
    /// ```
    /// use testbench_overlay::pipeline::Audit;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let (dir, audit) = (tempfile::tempdir()?, Audit::holding(1));
    /// let _installed = install(Overlay::builder(dir.path()).audit(&audit).build()?);
    /// for name in ["a", "b", "c"] {
    ///     fs::create_dir(dir.path().join(name))?;
    /// }
    /// assert_eq!(audit.to_string(), "create_dir c\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn holding(events_max: usize) -> Audit {
        let log = Log { events: VecDeque::new(), events_max: events_max.max(1), dropped: 0 };
        Audit { log: Arc::new(Mutex::new(log)) }
    }

    /// Everything, in the order in which it ended.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Audit, Operation};
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let (dir, audit) = (tempfile::tempdir()?, Audit::new());
    /// let _installed = install(Overlay::builder(dir.path()).audit(&audit).build()?);
    /// fs::write(dir.path().join("a"), "text")?;
    /// fs::rename(dir.path().join("a"), dir.path().join("b"))?;
    /// let written = audit.events().into_iter().find(|event| event.operation == Operation::Write);
    /// assert_eq!(written.unwrap().result, Ok(4));
    /// assert_eq!(audit.events().last().unwrap().to.as_deref(), Some(&b"b"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn events(&self) -> Vec<AuditLine> {
        self.log().events.iter().cloned().collect()
    }

    /// As [`Audit::events`], after which the log is empty.
    pub fn take(&self) -> Vec<AuditLine> {
        let mut log = self.log();
        log.dropped = 0;
        std::mem::take(&mut log.events).into()
    }

    /// How many events were dropped because the log was full, since it was last
    /// [taken](Audit::take).
    pub fn dropped(&self) -> u64 {
        self.log().dropped
    }

    /// The files from which bytes were read (or would have been, had there been any), ordered by
    /// path.
    pub fn reads(&self) -> Vec<Vec<u8>> {
        self.paths(|event| event.operation == Operation::Read && event.result.is_ok())
    }

    /// The paths at which something was looked for and not found, ordered.
    pub fn misses(&self) -> Vec<Vec<u8>> {
        self.paths(|event| event.result == Err(Errno::Noent))
    }

    /// The directories that were listed, ordered by path. The top is the empty path.
    pub fn listings(&self) -> Vec<Vec<u8>> {
        self.paths(|event| event.operation == Operation::ReadDir && event.result.is_ok())
    }

    /// The paths of the events that are wanted, each once, ordered.
    ///
    /// ```
    /// use testbench_overlay::pipeline::{Audit, Operation};
    /// use testbench_overlay::{Errno, Overlay, fs, install};
    ///
    /// let (dir, audit) = (tempfile::tempdir()?, Audit::new());
    /// let overlay = Overlay::builder(dir.path()).read_only_at("vendor").audit(&audit).build()?;
    /// let _installed = install(overlay);
    /// let _ = fs::create_dir(dir.path().join("vendor"));
    /// assert_eq!(audit.paths(|event| event.result == Err(Errno::Rofs)), [b"vendor"]);
    /// assert!(audit.paths(|event| event.operation == Operation::Write).is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn paths(&self, wanted: impl Fn(&AuditLine) -> bool) -> Vec<Vec<u8>> {
        let log = self.log();
        let wanted = log.events.iter().filter(|event| wanted(event));
        let paths: BTreeSet<&[u8]> = wanted.map(|event| &*event.path).collect();
        paths.into_iter().map(<[u8]>::to_vec).collect()
    }

    pub(super) fn note(&self, request: &Request, at: WallTime, result: Result<u64>) {
        let event = AuditLine {
            operation: request.operation,
            path: request.path.as_bytes().into(),
            to: request.to.as_ref().map(|to| to.as_bytes().into()),
            at,
            result,
        };
        let mut log = self.log();
        if log.events.len() >= log.events_max {
            log.events.pop_front();
            log.dropped += 1;
        }
        log.events.push_back(event);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line for each event, without times, as [`AuditLine`] prints it.
impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.log().events {
            writeln!(f, "{event}")?;
        }
        Ok(())
    }
}

/// `read a: 5 bytes`, `rename a -> b`, or `open a: ENOENT`. The top is `.`.
impl fmt::Display for AuditLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn path(path: &[u8]) -> GuestPath<'_> {
            GuestPath::new(if path.is_empty() { &b"."[..] } else { path })
        }
        write!(f, "{} {}", self.operation, path(&self.path))?;
        if let Some(to) = &self.to {
            write!(f, " -> {}", path(to))?;
        }
        match self.result {
            Err(errno) => write!(f, ": {}", errno.name()),
            Ok(1) => write!(f, ": 1 byte"),
            Ok(n) if matches!(self.operation, Operation::Read | Operation::Write) => {
                write!(f, ": {n} bytes")
            }
            Ok(_) => Ok(()),
        }
    }
}
