//! [`Report`]: the result of a session.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use testbench_clock::Lifetime;
use testbench_overlay::Diff;
use testbench_wasi::Exit;

use crate::Route;
use crate::tape::{Record, Tape};

/// The result of a [`Session`](crate::Session), from [`finish`](crate::Session::finish).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The session's name.
    pub name: String,
    /// The changes in the overlay; empty for a session without one.
    pub diff: Diff,
    /// Every spawn, in the order of the starts, refused ones included.
    pub spawns: Vec<SpawnRecord>,
    /// The calls that bypassed the session.
    pub leaks: Leaks,
    /// How far the clock moved in the session.
    pub virtual_time: Duration,
    /// The tape that was recorded; `None` without a tape. A session that only replays records one,
    /// too, but does not write it.
    pub tape: Option<Tape>,
    /// The records of the tape that no spawn replayed. Unless
    /// [allowed](crate::tape::TapeOptions::allow_unused), they make
    /// [`finish`](crate::Session::finish) fail.
    pub unused: Vec<Record>,
    #[cfg_attr(not(feature = "insta"), expect(dead_code, reason = "snapshots redact them"))]
    pub(crate) hidden_paths: Vec<PathBuf>,
    /// Whether the clock was virtual.
    pub(crate) mocked: bool,
}

impl Report {
    /// Whether another run with the same seed and inputs gives the same bytes: no program ran
    /// natively, and the clock was virtual.
    pub fn is_reproducible(&self) -> bool {
        self.mocked && self.spawns.iter().all(|spawn| !matches!(spawn.route, Route::Native { .. }))
    }
}

/// One spawn of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnRecord {
    /// The spawn's place in the order of the starts, from 1.
    pub sequence: u32,
    /// The program, as it was called.
    pub program: OsString,
    /// The arguments, without the program's own name.
    pub args: Vec<OsString>,
    /// The spawn's route.
    pub route: Route,
    /// The program's exit status; `None` if it did not start.
    pub status: Option<ExitStatus>,
    /// Why the program ended; `None` if it did not start.
    pub exit: Option<Exit>,
    /// How far the session's clock moved while the program ran.
    pub virtual_time: Duration,
    /// The real time that a native child took, rounded up to a millisecond; `None` for a guest. When
    /// the child ends, this much time has passed on the session's clock.
    pub real_time: Option<Duration>,
}

/// The calls that bypassed a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaks {
    /// The number of spawns by [`Command`](crate::Command) in this process, during this session, on
    /// threads without a session. They may belong to another test, or to a thread that was started
    /// without [`Context::capture`](testbench_clock::Context::capture).
    pub unattributed_spawns: u64,
    pub(crate) lifetime: Lifetime,
}

impl Leaks {
    /// Returns how often the session's clock has been used since the session's end.
    pub fn late_clock_uses(&self) -> u64 {
        self.lifetime.late_uses()
    }
}
