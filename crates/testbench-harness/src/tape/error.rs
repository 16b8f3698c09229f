//! The errors of tapes.

use std::io;
use std::path::PathBuf;

use testbench_clock::Stuck;
use testbench_overlay::{ApplyError, Errno, GuestPath};

use super::format::VERSION;

/// Why a tape cannot be read or written.
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
    /// A line is damaged.
    #[error("the tape `{}` is damaged at line {line}: {problem}", path.display())]
    Line {
        /// The tape.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The problem.
        problem: LineProblem,
    },
    /// The number of lines is wrong.
    #[error(
        "the tape `{}` is damaged: line 1 announces {announced} spawns, but {found} follow \
         (until line {line})", path.display()
    )]
    Count {
        /// The tape.
        path: PathBuf,
        /// The last line.
        line: usize,
        /// The number in the header.
        announced: usize,
        /// The number of lines.
        found: usize,
    },
    /// A spawn cannot be recorded.
    #[error("spawn {sequence} (`{program}`) cannot be put onto the tape: {why}")]
    Spawn {
        /// Its number.
        sequence: u32,
        /// Its program.
        program: String,
        /// The reason.
        why: SpawnProblem,
    },
    /// The pattern of a secret is no regular expression.
    #[error("the secret `{name}` has a pattern that is no regular expression: {source}")]
    Pattern {
        /// Its name.
        name: String,
        /// The problem.
        source: regex::Error,
    },
}

/// The problem of a damaged line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// The file ends in the middle of the line.
    #[error("it is cut off (no line feed at its end)")]
    CutOff,
    /// The line is not the JSON of a record.
    #[error("column {column}: {message}")]
    Json {
        /// From 1, in bytes.
        column: usize,
        /// The found and the expected value.
        message: String,
    },
    /// The records are not in order.
    #[error("spawn {sequence} comes after spawn {previous}")]
    Order {
        /// The number in this line.
        sequence: u32,
        /// The number in the line before.
        previous: u32,
    },
    /// A payload file is not there.
    #[error("its payload is missing: {source} (`{}`)", file.display(), source = not_found(*kind))]
    PayloadMissing {
        /// The file.
        file: PathBuf,
        /// The host's error.
        kind: io::ErrorKind,
    },
    /// A payload file has another content than its name says.
    #[error(
        "its payload `{}` has the wrong digest: it holds {found_bytes} bytes of BLAKE3 {found}, \
         not the {expected_bytes} bytes that its name says", file.display()
    )]
    PayloadDigest {
        /// The file, whose name is the digest.
        file: PathBuf,
        /// The length that the line names.
        expected_bytes: u64,
        /// The file's length.
        found_bytes: u64,
        /// The digest of its content.
        found: String,
    },
    /// A mark stands behind the end of its payload.
    #[error("a mark lies behind the end of the payload `{}`", file.display())]
    PayloadMarks {
        /// The file.
        file: PathBuf,
    },
}

/// Why a spawn cannot be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnProblem {
    /// A stream has more bytes than a tape holds.
    #[error("its {stream} has more than {bytes_max} bytes")]
    TooLong {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The most bytes that a tape holds of a stream.
        bytes_max: usize,
    },
    /// A file that it changed cannot be read.
    #[error("`{}`, which it changed, cannot be read: {errno}", GuestPath::new(path))]
    File {
        /// From the root.
        path: Vec<u8>,
        /// The overlay's error.
        errno: Errno,
    },
}

fn not_found(kind: io::ErrorKind) -> String {
    io::Error::from(kind).to_string()
}

impl LineProblem {
    /// Of a line whose JSON starts at its first column.
    pub(crate) fn json(error: &serde_json::Error) -> LineProblem {
        let text = error.to_string();
        // serde counts lines within this one.
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        LineProblem::Json { column: error.column().max(1), message: message.to_owned() }
    }
}

/// Why a replayed child did not get to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// Its input is not the recorded one.
    #[error(
        "its standard input is not that of the tape (entry {sequence}): taped {taped_bytes} bytes of \
         BLAKE3 {taped}, actual {actual_bytes} bytes of BLAKE3 {actual}. Give it the same input, or \
         record the tape again with `TapeMode::Record`"
    )]
    Stdin {
        /// The entry's number.
        sequence: u32,
        /// The digest on the tape.
        taped: String,
        /// The number of bytes on the tape.
        taped_bytes: u64,
        /// The digest of the actual bytes.
        actual: String,
        /// The number of actual bytes.
        actual_bytes: u64,
    },
    /// Its changes do not fit the overlay's files.
    #[error("its file changes do not fit (entry {sequence}): {source}")]
    Files {
        /// The entry's number.
        sequence: u32,
        /// The first change that does not fit.
        source: ApplyError,
    },
    /// A wait on the timeline ended without its event.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// A stream failed.
    #[error("one of its streams failed: {0}")]
    Stream(#[source] io::Error),
}

impl PlayError {
    /// The kind of the [`io::Error`] that carries this one.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            PlayError::Stdin { .. } => io::ErrorKind::InvalidData,
            PlayError::Files { source, .. } => io::Error::from(source.errno).kind(),
            PlayError::Stuck(_) => io::ErrorKind::Deadlock,
            PlayError::Stream(source) => source.kind(),
        }
    }
}
