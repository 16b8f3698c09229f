//! Snapshots of a session's changes and of a command's result, on insta's own macros.
//!
//! Review, inline snapshots, filters and settings are insta's. Paths that differ from run to run are
//! replaced before insta sees them: the overlay's root becomes `[root]`, the directory of temporary
//! files `[temp]`, and the path of the running test `[exe]`.
//!
//! [`assert_overlay_snapshot!`](crate::assert_overlay_snapshot) is that of testbench-overlay, which
//! takes a `Session` or a `Report` here:
//!
//! ```
//! use testbench_harness::{Command, Testbench, Toolchain, assert_overlay_snapshot};
//!
//! let dir = tempfile::tempdir()?;
//! let session =
//!     Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin()).build()?.enter();
//! Command::new("mkdir").args(["-p", "cache/v1"]).output()?;
//! assert_overlay_snapshot!(session, @r"
//! A cache/
//! A cache/v1/
//! ");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use testbench_clock::Lookup;
use testbench_overlay::Diff;
pub use testbench_overlay::insta::{HiddenPaths, OverlayChanges, overlay};

use testbench_wasi::Finished;

use crate::bench;
use crate::report::Report;
use crate::session::Session;
use crate::tape::Tape;

/// Runs a `Command` and asserts its exit and its output.
///
/// ```
/// use testbench_harness::{Command, Testbench, Toolchain, assert_run_snapshot};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// assert_run_snapshot!(Command::new("sort").stdin_bytes("b\na\n"), @r"
/// exit: 0
/// ----- stdout -----
/// a
/// b
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Output that is not UTF-8 is shown by its size and SHA-256, an error at the start by its text.
///
/// # Panics
///
/// When the snapshot differs, as insta does.
#[macro_export]
macro_rules! assert_run_snapshot {
    ($command:expr, @$snapshot:literal $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::run($command.run()), @$snapshot)
    };
    ($name:expr, $command:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($name, $crate::insta::run($command.run()))
    };
    ($command:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::run($command.run()))
    };
}

/// Asserts that the tape of a session is as in the snapshot.
///
/// Takes a `Session`, a `Report` or a `Tape`. The durations of native programs
/// differ from run to run and are left out.
///
/// ```
/// use testbench_harness::tape::TapeMode;
/// use testbench_harness::{Command, Testbench, Toolchain, assert_tape_snapshot};
///
/// let dir = tempfile::tempdir()?;
/// let session = Testbench::builder()
///     .toolchain(Toolchain::builtin())
///     .tape(dir.path().join("t"), TapeMode::Record)
///     .build()?
///     .enter();
/// Command::new("sleep").arg("90").output()?;
/// assert_tape_snapshot!(session, @r"
/// 1 $ sleep 90
///   guest, exit 0, 90s
///   env TZ=UTC
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// When the snapshot differs, as insta does, and when there is no tape.
#[macro_export]
macro_rules! assert_tape_snapshot {
    ($taped:expr, @$snapshot:literal $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::tape(&$taped), @$snapshot)
    };
    ($name:expr, $taped:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($name, $crate::insta::tape(&$taped))
    };
    ($taped:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::tape(&$taped))
    };
}

/// A value that [`assert_tape_snapshot!`] takes.
pub trait Recorded {
    /// The tape, if there is one.
    fn recorded(&self) -> Option<Tape>;
}

impl Recorded for Session {
    fn recorded(&self) -> Option<Tape> {
        self.tape()
    }
}

impl Recorded for Report {
    fn recorded(&self) -> Option<Tape> {
        self.tape.clone()
    }
}

impl Recorded for Tape {
    fn recorded(&self) -> Option<Tape> {
        Some(self.clone())
    }
}

/// The text of [`assert_tape_snapshot!`].
#[track_caller]
pub fn tape(taped: &impl Recorded) -> String {
    let Some(tape) = taped.recorded() else {
        panic!("the session has no tape; give it one with `.tape(path, mode)`")
    };
    let text = tape.without_real_time().to_string();
    HiddenPaths::new(Vec::new()).hide(&text)
}

impl OverlayChanges for Session {
    #[track_caller]
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        let diff =
            self.diff().unwrap_or_else(|error| panic!("`{}` has no diff: {error}", self.name()));
        (diff, self.hidden_paths().map(Path::to_owned).collect())
    }
}

impl OverlayChanges for Report {
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        (self.diff.clone(), self.hidden_paths.clone())
    }
}

/// The text of [`assert_run_snapshot!`].
pub fn run(result: io::Result<Finished>) -> String {
    let roots = match bench::current() {
        Lookup::Absent => Vec::new(),
        Lookup::Open(bench) | Lookup::Closed(bench, _) => {
            bench.files.host_names().map(Path::to_owned).collect()
        }
    };
    let text = match result {
        Err(error) => format!("not started ({:?}): {error}", error.kind()),
        Ok(finished) => finished_text(&finished),
    };
    HiddenPaths::new(roots).hide(&text)
}

fn finished_text(finished: &Finished) -> String {
    let mut text = match finished.exit.code() {
        Some(code) => format!("exit: {code}"),
        None => format!("exit: {}", finished.exit),
    };
    if !finished.virtual_time.is_zero() {
        let _ = write!(text, "\nvirtual time: {:?}", finished.virtual_time);
    }
    for (name, bytes) in [("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
        if bytes.is_empty() {
            continue;
        }
        let _ = write!(text, "\n----- {name} -----\n");
        match std::str::from_utf8(bytes) {
            Ok(output) => text.push_str(output.trim_end_matches('\n')),
            Err(_) => {
                let digest = Sha256::digest(bytes);
                let _ = write!(text, "({} bytes, sha256 ", bytes.len());
                digest.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
                text.push(')');
            }
        }
    }
    text
}
