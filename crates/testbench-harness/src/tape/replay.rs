//! One spawn that is played: what the child of the tape did, done again in the same order.

use std::io;
use std::time::Duration;

use testbench_clock::{Clock, Stuck, Wait, WallTime};
use testbench_overlay::{Overlay, Put};

use super::error::PlayError;
use super::format::{Input, Record, TapedStatus};
use super::record::Stream;
use super::scrub::{Marks, Scrubber};
use super::{Taped, files};

/// How much is read or written at a time, as much as a pipe holds.
const STEP_BYTES: usize = 64 * 1024;

/// An entry of the tape that was taken to be played.
#[derive(Debug)]
pub(crate) struct Entry {
    record: Record,
    /// The start of the session's clock.
    start: WallTime,
    marks: Marks,
    scrubber: Scrubber,
}

/// The streams of a child that is played.
pub(crate) trait Streams {
    /// Reads from standard input, waiting on the timeline; 0 is its end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Lets go of standard input.
    fn close_stdin(&mut self);

    /// Writes all of it, waiting on the timeline while there is no room.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()>;
}

impl Entry {
    pub(crate) fn new(record: Record, start: WallTime, marks: Marks, scrubber: Scrubber) -> Entry {
        Entry { record, start, marks, scrubber }
    }

    /// What is on the tape.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// How long the child took.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.record.duration_ns)
    }

    /// Why there is no child to play.
    pub(crate) fn not_started(&self) -> Option<io::Error> {
        let TapedStatus::NotStarted { kind, message } = &self.record.status else { return None };
        Some(io::Error::new(kind_of(kind), message.to_string()))
    }

    /// Does what the child did: reads its input, waits until as much time has passed as then,
    /// changes its files, writes its output.
    ///
    /// # Errors
    ///
    /// [`PlayError`]. Of a child that is killed meanwhile, [`PlayError::Stuck`].
    pub(crate) fn play(
        &self,
        clock: &dyn Clock,
        streams: &mut dyn Streams,
        overlay: Option<&Overlay>,
    ) -> Result<(), PlayError> {
        let began = clock.mono();
        let expand = |taped: &Taped| self.marks.expand(taped);
        self.read_input(streams)?;
        streams.close_stdin();
        let deadline = began.saturating_add(self.duration());
        if clock.is_mocked() {
            let what = format!("the time that `{}` took", self.record.call.program);
            clock.wait(Wait { deadline: Some(deadline), on: &[], what: &what })?;
        }
        if let Some(overlay) = overlay {
            let puts: Vec<Put> =
                self.record.files.iter().map(|file| files::put(file, self.start, expand)).collect();
            let sequence = self.record.sequence;
            overlay.apply(&puts).map_err(|source| PlayError::Files { sequence, source })?;
        }
        for (stream, taped) in
            [(Stream::Stdout, &self.record.stdout), (Stream::Stderr, &self.record.stderr)]
        {
            write(streams, stream, &expand(taped))?;
        }
        Ok(())
    }

    fn read_input(&self, streams: &mut dyn Streams) -> Result<(), PlayError> {
        let taped = &self.record.stdin;
        if taped.unseen {
            return Ok(());
        }
        // What it did not read stays with whoever writes it.
        let bytes_max = match (taped.cut, &taped.content) {
            (false, _) => usize::MAX,
            (true, Some(content)) => self.marks.expand(content).len(),
            (true, None) => usize::try_from(taped.size_bytes).unwrap_or(usize::MAX),
        };
        let mut read = Vec::new();
        let mut buf = vec![0; STEP_BYTES];
        while read.len() < bytes_max {
            let step = buf.len().min(bytes_max - read.len());
            match streams.read(&mut buf[..step]) {
                Ok(0) => break,
                Ok(n) => read.extend_from_slice(&buf[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted && !is_stuck(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let actual = self.scrubber.tape(&read);
        let empty = || Input::digest(&Taped::default());
        let taped_digest = taped.blake3.clone().unwrap_or_else(empty);
        let actual_digest = Input::digest(&actual);
        if taped_digest == actual_digest {
            return Ok(());
        }
        Err(PlayError::Stdin {
            sequence: self.record.sequence,
            taped: taped_digest,
            taped_bytes: taped.size_bytes,
            actual: actual_digest,
            actual_bytes: actual.bytes().len() as u64,
        })
    }
}

fn write(streams: &mut dyn Streams, stream: Stream, bytes: &[u8]) -> Result<(), PlayError> {
    for step in bytes.chunks(STEP_BYTES) {
        match streams.write(stream, step) {
            // It has happened, so the tape's status says what came of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            done => done.map_err(failed)?,
        }
    }
    Ok(())
}

/// The kind of this name; those that a start can fail with.
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

fn is_stuck(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Stuck>())
}

fn failed(error: io::Error) -> PlayError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Stuck>()) {
        Some(stuck) => PlayError::Stuck(stuck.clone()),
        None => PlayError::Stream(error),
    }
}
