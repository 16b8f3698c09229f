//! [`Recording`]: one spawn on its way to a record.
//!
//! The spawn layer gives it the bytes that pass and the child's exit. All of it goes through the
//! scrubber before it is kept.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use testbench_clock::WallTime;
use testbench_overlay::{Fs, Overlay};
use testbench_wasi::{ContentHash, Exit, Observer};

use super::error::TapeError;
use super::files;
use super::format::{Input, Record, TapedCall, TapedStatus, Way};
use super::scrub::Scrubber;
use crate::traced::Traced;

/// The most that is kept of one stream: far more than a test's tool writes, and few enough bytes
/// that a tool which never ends is noticed before the memory is full.
const STREAM_BYTES_MAX: usize = 256 << 20;

/// One of a child's standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Stdin => "stdin",
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Hears what passes through one stream of a child. Clones hear the same stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap {
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    /// The stream passes by this tap.
    is_tapped: bool,
    /// The child has seen the end of its input.
    has_ended: bool,
}

impl Tap {
    /// These bytes were read or written.
    fn saw(&self, bytes: &[u8]) {
        let mut heard = self.lock();
        // A stream that is too long is found at its end.
        if heard.bytes.len() <= STREAM_BYTES_MAX {
            heard.bytes.extend_from_slice(bytes);
        }
    }

    /// The child found the end of its input.
    pub(crate) fn ended(&self) {
        let mut heard = self.lock();
        heard.is_tapped = true;
        heard.has_ended = true;
    }

    /// The tap as the observer of a guest's stream, which hears an empty slice at the end of an input.
    pub(crate) fn observer(self) -> Observer {
        self.lock().is_tapped = true;
        Arc::new(move |bytes| if bytes.is_empty() { self.ended() } else { self.saw(bytes) })
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A real stream whose passing bytes are heard.
#[derive(Debug)]
pub(crate) struct Tapped<S> {
    stream: S,
    tap: Option<Tap>,
}

impl<S> Tapped<S> {
    pub(crate) fn new(stream: S, tap: Option<Tap>) -> Tapped<S> {
        if let Some(tap) = &tap {
            tap.lock().is_tapped = true;
        }
        Tapped { stream, tap }
    }

    /// The whole input was written.
    pub(crate) fn ended(&self) {
        self.tap.iter().for_each(Tap::ended);
    }

    fn passed(&self, bytes: &[u8]) {
        self.tap.iter().for_each(|tap| tap.saw(bytes));
    }
}

impl<S: Read> Read for Tapped<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buf)?;
        self.passed(&buf[..n]);
        Ok(n)
    }
}

impl<S: Write> Write for Tapped<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.stream.write(buf)?;
        self.passed(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A spawn between its start and its end.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(super) sequence: u32,
    pub(super) call: TapedCall,
    pub(super) way: Way,
    pub(super) scrubber: Scrubber,
    /// The wall time at which the session's clock starts.
    pub(super) started: WallTime,
    pub(super) keeps_input: bool,
    pub(super) module: OnceLock<ContentHash>,
    pub(super) changes: OnceLock<Traced>,
    /// Of each [`Stream`].
    pub(super) taps: [Tap; 3],
}

impl Recording {
    /// It runs as a guest of this module.
    pub(crate) fn ran(&self, module: ContentHash) {
        // A guest has one module.
        let _ = self.module.set(module);
    }

    /// The tap on a stream of the child.
    pub(crate) fn tap(&self, stream: Stream) -> Tap {
        self.taps[stream as usize].clone()
    }

    /// The tree that a guest gets instead of the overlay.
    pub(crate) fn tree(&self, overlay: &Arc<Overlay>) -> Arc<dyn Fs> {
        Arc::new(self.changes.get_or_init(|| Traced::new(overlay.clone())).clone())
    }

    /// Counts paths as the child's that were changed in another way than through its tree.
    pub(crate) fn changed(&self, traced: Traced) {
        // A native child is absorbed once, and has no tree.
        let _ = self.changes.set(traced);
    }

    /// Hides another name of the root, such as the directory in which a native child sees it.
    pub(crate) fn add_root(&mut self, root: &Path) {
        self.scrubber.add_roots([root.to_owned()]);
    }

    /// The record of a child that has ended like this, at `ended` of the session's clock, or of a
    /// program that did not start.
    pub(crate) fn finish(
        self,
        result: Result<&Exit, &io::Error>,
        duration: Duration,
        ended: WallTime,
    ) -> Result<Record, TapeError> {
        let tape = |text: &str| self.scrubber.tape(text.as_bytes());
        let status = match result {
            Ok(exit) => TapedStatus::of(exit, tape),
            Err(error) => {
                // There was no child to read an input.
                self.tap(Stream::Stdin).ended();
                let (kind, message) = (format!("{:?}", error.kind()), tape(&error.to_string()));
                TapedStatus::NotStarted { kind, message }
            }
        };
        let failed = |source| {
            let program = self.call.program.to_string();
            TapeError::Spawn { sequence: self.sequence, program, source }
        };
        let heard = |stream| self.heard(stream).map_err(failed);
        let files = match self.changes.get() {
            Some(traced) => files::changes(traced, &self.scrubber, (self.started, ended)),
            None => Ok(Vec::new()),
        };
        Ok(Record {
            sequence: self.sequence,
            call: self.call.clone(),
            stdin: self.input(&heard(Stream::Stdin)?),
            route: self.way,
            module: self.module.get().map(ToString::to_string),
            status,
            stdout: self.scrubber.tape(&heard(Stream::Stdout)?.bytes),
            stderr: self.scrubber.tape(&heard(Stream::Stderr)?.bytes),
            duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            files: files.map_err(failed)?,
        })
    }

    fn input(&self, heard: &Heard) -> Input {
        if !heard.is_tapped {
            return Input { unseen: true, ..Input::default() };
        }
        let content = self.scrubber.tape(&heard.bytes);
        let is_empty = content.is_empty();
        Input {
            size_bytes: content.bytes().len() as u64,
            cut: !heard.has_ended,
            unseen: false,
            blake3: (!is_empty).then(|| Input::digest(&content)),
            content: Some(content).filter(|_| !is_empty && self.keeps_input),
        }
    }

    fn heard(&self, stream: Stream) -> io::Result<Heard> {
        let heard = std::mem::take(&mut *self.taps[stream as usize].lock());
        if heard.bytes.len() > STREAM_BYTES_MAX {
            let text = format!("its {} has more than {STREAM_BYTES_MAX} bytes", stream.name());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(heard)
    }
}
