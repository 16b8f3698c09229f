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
    /// How far the session's clock moved from its start to its end.
    pub virtual_time: Duration,
    /// The tape that was recorded, also in a session that only plays one and does not write it;
    /// `None` without a tape.
    pub tape: Option<Tape>,
    /// The entries of the tape that no spawn took. Unless
    /// [allowed](crate::tape::TapeOptions::allow_unused), they make
    /// [`finish`](crate::Session::finish) fail.
    pub unused: Vec<Record>,
    #[cfg_attr(not(feature = "insta"), expect(dead_code, reason = "snapshots redact them"))]
    pub(crate) hidden_paths: Vec<PathBuf>,
    /// The clock was virtual.
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
    /// Its place in the order of the starts, from 1.
    pub sequence: u32,
    /// The program, as it was called.
    pub program: OsString,
    /// Its arguments, without its own name.
    pub args: Vec<OsString>,
    /// Its route.
    pub route: Route,
    /// How it ended; `None` if it did not start.
    pub status: Option<ExitStatus>,
    /// Why exactly it ended; `None` if it did not start.
    pub exit: Option<Exit>,
    /// How far its clock moved.
    pub virtual_time: Duration,
    /// How long a native child took in real time, rounded up to a millisecond; `None` for a guest.
    /// So much time has passed on the session's clock at its end.
    pub real_time: Option<Duration>,
}

/// The calls that bypassed a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaks {
    /// Spawns by [`Command`](crate::Command) in this process, during this session, on threads that
    /// had no session. They may belong to another test, or to a thread that was started without
    /// [`Context::capture`](testbench_clock::Context::capture).
    pub unattributed_spawns: u64,
    pub(crate) lifetime: Lifetime,
}

impl Leaks {
    /// How often the session's clock was used after the session's end, until now.
    pub fn late_clock_uses(&self) -> u64 {
        self.lifetime.late_uses()
    }
}
