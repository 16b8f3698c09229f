//! The errors of tapes.

use std::io;
use std::path::PathBuf;

use super::calls::Miss;
use super::format::VERSION;

/// Why a tape cannot be read, written or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapeError {
    /// The file cannot be read.
    #[error(
        "cannot read the tape `{}`: {source}{}", path.display(),
        if source.kind() == io::ErrorKind::NotFound { " (record it first, with `TapeMode::Record`)" } else { "" }
    )]
    Read {
        /// The tape.
        path: PathBuf,
        /// The host's error.
        source: io::Error,
    },
    /// The file, its folder of payloads, or a payload cannot be written. An earlier tape is
    /// unchanged.
    #[error("cannot write the tape `{}`: {source} (`{}`)", path.display(), file.display())]
    Write {
        /// The tape.
        path: PathBuf,
        /// The file that could not be written.
        file: PathBuf,
        /// The host's error.
        source: io::Error,
    },
    /// The file is no tape.
    #[error(
        "`{}` is no tape: its first line is not the header of one (`\"format\":\"testbench-tape\"`)",
        path.display()
    )]
    NotATape {
        /// The file.
        path: PathBuf,
    },
    /// The tape has a version that this program does not know.
    #[error(
        "the tape `{}` is of format version {found}, this program reads version {VERSION}: use the \
         testbench that wrote it, or a newer one, or record it again", path.display()
    )]
    Version {
        /// The tape.
        path: PathBuf,
        /// The value of `version`.
        found: u64,
    },
    /// A line, or a payload that it names, is damaged, or lines are missing.
    #[error("the tape `{}` is damaged at line {line}: {problem}", path.display())]
    Damaged {
        /// The tape.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The problem, for people.
        problem: String,
    },
    /// A spawn cannot be recorded: a stream is too long, or a file that it changed cannot be read.
    #[error("spawn {sequence} (`{program}`) cannot be put onto the tape: {source}")]
    Spawn {
        /// Its number.
        sequence: u32,
        /// Its program.
        program: String,
        /// The reason.
        source: io::Error,
    },
    /// The pattern of a secret is no regular expression.
    #[error("the secret `{name}` has a pattern that is no regular expression: {source}")]
    Pattern {
        /// Its name.
        name: String,
        /// The problem.
        source: regex::Error,
    },
    /// The spawns of the session are not those of the tape that it played.
    #[error(transparent)]
    Mismatch(#[from] TapeMismatch),
}

/// The spawns of a session are not those of the tape that it played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the spawns are not those of the tape {}:{}{}", tape.display(),
    misses.iter().map(|miss| format!("\n{miss}")).collect::<String>(), unused_text(unused)
)]
#[non_exhaustive]
pub struct TapeMismatch {
    /// The file of the tape.
    pub tape: PathBuf,
    /// The entries that no call took: their numbers and command lines.
    pub unused: Vec<(u32, String)>,
    /// The calls that had no entry.
    pub misses: Vec<Miss>,
}

/// More entries than this are counted instead of listed.
const LISTED_MAX: usize = 10;

fn unused_text(unused: &[(u32, String)]) -> String {
    if unused.is_empty() {
        return String::new();
    }
    let entries = if unused.len() == 1 { "entry was" } else { "entries were" };
    let mut text = format!("\n{} {entries} not used:", unused.len());
    text.extend(
        unused.iter().take(LISTED_MAX).map(|(number, call)| format!("\n  {number} {call}")),
    );
    if unused.len() > LISTED_MAX {
        text += &format!("\n  and {} more", unused.len() - LISTED_MAX);
    }
    text + "\nRecord the tape again, or allow it with `TapeOptions::allow_unused(true)`."
}
