//! [`Entry`]: one spawn of the tape that is played instead of running.

use std::io;
use std::time::Duration;

use testbench_clock::{Stuck, WallTime};
use testbench_overlay::{Overlay, Put};

use super::error::PlayError;
use super::format::{Input, Record, TapedStatus};
use super::record::Stream;
use super::scrub::{Marks, Scrubber};
use super::{Taped, files};

/// An entry of the tape that was taken to be played.
#[derive(Debug)]
pub(crate) struct Entry {
    record: Record,
    /// The start of the session's clock.
    start: WallTime,
    marks: Marks,
    scrubber: Scrubber,
}

impl Entry {
    pub(crate) fn new(record: Record, start: WallTime, marks: Marks, scrubber: Scrubber) -> Entry {
        Entry { record, start, marks, scrubber }
    }

    /// The record on the tape.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// The time that the child took.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.record.duration_ns)
    }

    /// The error of a child that did not start; `None` if there is a child to play.
    pub(crate) fn not_started(&self) -> Option<io::Error> {
        let TapedStatus::NotStarted { kind, message } = &self.record.status else { return None };
        Some(io::Error::new(kind_of(kind), message.to_string()))
    }

    /// The most bytes that the child reads. The rest of its input stays where it is.
    pub(crate) fn input_bytes_max(&self) -> usize {
        let taped = &self.record.stdin;
        match &taped.content {
            _ if taped.unseen => 0,
            _ if !taped.cut => usize::MAX,
            Some(content) => self.marks.expand(content).len(),
            None => usize::try_from(taped.size_bytes).unwrap_or(usize::MAX),
        }
    }

    /// Checks that the child has read the same bytes as when it was recorded.
    pub(crate) fn check_input(&self, read: &[u8]) -> Result<(), PlayError> {
        let input = &self.record.stdin;
        let content = self.scrubber.tape(read);
        let actual = Input::digest(&content);
        let taped = input.blake3.clone().unwrap_or_else(|| Input::digest(&Taped::default()));
        if input.unseen || taped == actual {
            return Ok(());
        }
        Err(PlayError::Stdin {
            sequence: self.record.sequence,
            taped,
            taped_bytes: input.size_bytes,
            actual,
            actual_bytes: content.bytes().len() as u64,
        })
    }

    /// Makes the child's changes in the overlay.
    pub(crate) fn change_files(&self, overlay: &Overlay) -> Result<(), PlayError> {
        let put = |file| files::put(file, self.start, |taped| self.marks.expand(taped));
        let puts: Vec<Put> = self.record.files.iter().map(put).collect();
        let sequence = self.record.sequence;
        overlay.apply(&puts).map_err(|source| PlayError::Files { sequence, source })
    }

    /// The child's output to this stream.
    pub(crate) fn output(&self, stream: Stream) -> Vec<u8> {
        self.marks.expand(match stream {
            Stream::Stderr => &self.record.stderr,
            Stream::Stdin | Stream::Stdout => &self.record.stdout,
        })
    }
}

impl PlayError {
    /// The failure of a stream, or the [`Stuck`] in it.
    pub(crate) fn of_stream(error: io::Error) -> PlayError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Stuck>()) {
            Some(stuck) => PlayError::Stuck(stuck.clone()),
            None => PlayError::Stream(error),
        }
    }
}

/// The kind of this name, of those that a start can fail with.
fn kind_of(name: &str) -> io::ErrorKind {
    use io::ErrorKind::*;
    let kinds = [
        NotFound,
        PermissionDenied,
        InvalidInput,
        ArgumentListTooLong,
        ExecutableFileBusy,
        IsADirectory,
        NotADirectory,
        OutOfMemory,
        ResourceBusy,
        WouldBlock,
        Unsupported,
        InvalidFilename,
    ];
    kinds.into_iter().find(|kind| format!("{kind:?}") == name).unwrap_or(Other)
}
