//! The tape: a record of the spawns of a session, which can be read, compared, and played back without
//! the programs.
//!
//! ```
//! use testbench_harness::tape::{Tape, TapeMode};
//! use testbench_harness::{Command, Testbench, Toolchain};
//!
//! let dir = tempfile::tempdir()?;
//! let file = dir.path().join("hello.tape");
//! let bench = || Testbench::builder().toolchain(Toolchain::builtin());
//!
//! let session = bench().tape(&file, TapeMode::Record).build()?.enter();
//! Command::new("echo").arg("hello").output()?;
//! session.finish()?; // writes the tape
//!
//! let tape = Tape::load(&file)?;
//! assert_eq!(tape.records()[0].stdout.bytes(), b"hello\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! A [`Tape`] is a [`Header`] and one [`Record`] for each spawn that was started (`format.rs`); as a
//! file it is a line of JSON for each, with a folder of long contents beside it (`store.rs`,
//! `docs/TAPE_FORMAT.md`). All bytes on it are [`Taped`]: they went through the `Scrubber`
//! (`scrub.rs`), which puts [`Mark`]s in the place of secrets and of the root's path.
//!
//! A session that has a tape holds a `Deck` (`deck.rs`), which owns all that is known of the tape.
//! Each spawn gets a `Recording` from it (`record.rs`): taps on the streams pass on the bytes, and the
//! tree that the child gets (`traced.rs`) remembers the changed paths, from which
//! `files.rs` makes the changes. At its end the recording gives its record to the deck. For a spawn
//! that is replayed, the deck finds the entry (`calls.rs`, `replay.rs`), which `replayed.rs` plays as
//! a participant of the timeline.
//!
//! [`compare`] returns the differences between two tapes. [`verify`] runs native records on
//! WebAssembly. Neither starts a native program.

mod calls;
mod compare;
mod deck;
mod error;
mod files;
mod format;
mod options;
mod record;
mod replay;
mod scrub;
mod store;
mod taped;
mod verify;

use std::collections::BTreeSet;
use std::fmt;

pub use calls::{Matching, Miss};
pub use compare::{CompareMode, Divergence, compare};
pub use error::{TapeError, TapeMismatch};
pub use format::{FileChange, Header, Input, ModuleUsed, Record, TapedCall, TapedStatus, Way};
pub use options::{TapeMode, TapeOptions};
pub use scrub::looks_secret;
pub use store::{payload_dir, stale_payloads};
pub use taped::{INLINE_BYTES_MAX, Mark, Taped};
pub use verify::{ToolReport, VerifiedSpawn, VerifyError, VerifyOptions, VerifyReport, verify};

pub use crate::policy::OnMiss;
pub(crate) use deck::{Call, Deck};
pub(crate) use record::{Recording, Stream, Tap, Tapped};
pub(crate) use replay::Entry;

/// The spawns of a session: their calls, inputs and results.
///
/// Its `Display` is for people and for
/// [`assert_tape_snapshot!`](crate::assert_tape_snapshot).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tape {
    header: Header,
    records: Vec<Record>,
}

impl Tape {
    /// A tape of these records. The fields of the header that follow from them are set.
    pub(crate) fn new(header: Header, records: Vec<Record>) -> Tape {
        let module = |record: &Record| {
            let name = record.call.program.to_string();
            Some(ModuleUsed { name, blake3: record.module.clone()? })
        };
        let modules: BTreeSet<ModuleUsed> = records.iter().filter_map(module).collect();
        let header = Header {
            modules: modules.into_iter().collect(),
            reproducible: records.iter().all(|record| record.route == Way::Guest),
            spawns: records.len(),
            ..header
        };
        Tape { header, records }
    }

    /// The engine, the seed and the start of the session.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The spawns, in their order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The tape without the times that differ between two runs of a native program.
    #[cfg(feature = "insta")]
    pub(crate) fn without_real_time(mut self) -> Tape {
        for record in self.records.iter_mut().filter(|record| record.route == Way::Native) {
            record.duration_ns = 0;
        }
        self
    }

    /// The tape with those records for which `keep` returns true.
    pub fn retain(self, keep: impl FnMut(&Record) -> bool) -> Tape {
        let Tape { header, mut records } = self;
        records.retain(keep);
        Tape::new(header, records)
    }
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, record) in self.records.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n\n" };
            write!(f, "{newline}{record}")?;
        }
        Ok(())
    }
}

/// The call, then its result, each on lines of its own.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = &self.call;
        write!(f, "{} $ {}", self.sequence, calls::command_line(call))?;
        write!(f, "\n  {}, {}", self.route, self.status)?;
        if self.duration_ns > 0 {
            write!(f, ", {:?}", std::time::Duration::from_nanos(self.duration_ns))?;
        }
        if call.cwd.bytes() != b"." {
            write!(f, ", in {}", call.cwd)?;
        }
        for (name, value) in &call.env {
            match value {
                Some(value) => write!(f, "\n  env {name}={value}")?,
                None => write!(f, "\n  env without {name}")?,
            }
        }
        if self.stdin.unseen {
            f.write_str("\n  stdin: unseen")?;
        } else if !self.stdin.is_empty() {
            let cut = if self.stdin.cut { ", not to the end" } else { "" };
            write!(f, "\n  stdin: {} bytes{cut}", self.stdin.size_bytes)?;
        }
        for (name, content) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            show_stream(f, name, content)?;
        }
        for file in &self.files {
            write!(f, "\n  {}", compare::file_line(file))?;
        }
        Ok(())
    }
}

fn show_stream(f: &mut fmt::Formatter<'_>, name: &str, content: &Taped) -> fmt::Result {
    if content.is_empty() {
        return Ok(());
    }
    if content.bytes().len() > INLINE_BYTES_MAX || std::str::from_utf8(content.bytes()).is_err() {
        return write!(f, "\n  {name}: {}", compare::digest_text(content.bytes()));
    }
    write!(f, "\n  {name}:")?;
    for line in content.to_string().lines() {
        write!(f, "\n    | {line}")?;
    }
    if !content.bytes().ends_with(b"\n") {
        f.write_str("\n    (no line feed at the end)")?;
    }
    Ok(())
}
