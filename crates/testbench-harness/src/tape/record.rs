//! Recording: a [`Recorder`] for a session, and a [`Recording`] for each spawn.
//!
//! The spawn layer gives a [`Recording`] the bytes that pass and the child's exit. All of it goes
//! through the scrubber before it is kept.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use testbench_clock::WallTime;
use testbench_overlay::{Fs, Overlay};
use testbench_wasi::{ContentHash, Exit, Observer};

use super::error::{SpawnProblem, TapeError};
use super::files;
use super::format::{Header, Input, Record, TapedCall, TapedStatus, Way};
use super::scrub::Scrubber;
use super::{Tape, Taped};
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
    is_too_long: bool,
}

impl Tap {
    /// These bytes were read or written.
    pub(crate) fn saw(&self, bytes: &[u8]) {
        let mut heard = self.lock();
        heard.is_tapped = true;
        if heard.bytes.len() + bytes.len() > STREAM_BYTES_MAX {
            heard.is_too_long = true;
        } else {
            heard.bytes.extend_from_slice(bytes);
        }
    }

    /// The child found the end of its input.
    pub(crate) fn ended(&self) {
        let mut heard = self.lock();
        heard.is_tapped = true;
        heard.has_ended = true;
    }

    /// The tap as the observer of a guest's input.
    pub(crate) fn of_input(self) -> Observer {
        self.lock().is_tapped = true;
        Arc::new(move |bytes| if bytes.is_empty() { self.ended() } else { self.saw(bytes) })
    }

    /// The tap as the observer of a guest's output.
    pub(crate) fn of_output(self) -> Observer {
        Arc::new(move |bytes| self.saw(bytes))
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

/// The records of a session, until its tape is written.
#[derive(Debug)]
pub(crate) struct Recorder {
    header: Header,
    start: WallTime,
    keeps_inputs: bool,
    state: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    /// By the number of the spawn.
    records: BTreeMap<u32, Record>,
    /// Why a spawn could not be recorded, the first reason.
    failed: Option<TapeError>,
}

impl Recorder {
    /// `start` is the wall time at which the session's clock starts.
    pub(crate) fn new(header: Header, start: WallTime, keeps_inputs: bool) -> Arc<Recorder> {
        Arc::new(Recorder { header, start, keeps_inputs, state: Mutex::default() })
    }

    pub(crate) fn start(&self) -> WallTime {
        self.start
    }

    pub(crate) fn add(&self, recorded: Result<Record, TapeError>) {
        let mut state = self.lock();
        match recorded {
            Ok(record) => _ = state.records.insert(record.sequence, record),
            Err(error) => _ = state.failed.get_or_insert(error),
        }
    }

    /// The tape so far.
    pub(crate) fn tape(&self) -> Tape {
        Tape::new(self.header.clone(), self.lock().records.values().cloned().collect())
    }

    /// The whole tape.
    ///
    /// # Errors
    ///
    /// Fails if a spawn could not be recorded.
    pub(crate) fn finish(&self) -> Result<Tape, TapeError> {
        let Recorded { records, failed } = std::mem::take(&mut *self.lock());
        match failed {
            Some(error) => Err(error),
            None => Ok(Tape::new(self.header.clone(), records.into_values().collect())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        // A map and an error, whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A spawn between its start and its end. Dropped before its end, it leaves no record.
#[derive(Debug)]
pub(crate) struct Recording {
    recorder: Arc<Recorder>,
    sequence: u32,
    call: TapedCall,
    way: Way,
    module: OnceLock<String>,
    scrubber: Scrubber,
    traced: Mutex<Option<Arc<Traced>>>,
    /// Of each [`Stream`].
    taps: [Tap; 3],
}

impl Recording {
    pub(crate) fn new(
        recorder: Arc<Recorder>,
        sequence: u32,
        call: TapedCall,
        way: Way,
        scrubber: Scrubber,
    ) -> Recording {
        let (module, traced, taps) = Default::default();
        Recording { recorder, sequence, call, way, module, scrubber, traced, taps }
    }

    /// It runs as a guest of this module.
    pub(crate) fn ran(&self, module: ContentHash) {
        // A guest has one module.
        let _ = self.module.set(module.to_string());
    }

    /// The tap on a stream of the child.
    pub(crate) fn tap(&self, stream: Stream) -> Tap {
        self.taps[stream as usize].clone()
    }

    /// The tree that the child gets instead of the overlay, always the same one.
    pub(crate) fn tree(&self, overlay: &Arc<Overlay>) -> Arc<dyn Fs> {
        self.traced(overlay)
    }

    /// Counts paths as the child's that were changed in another way, such as by absorbing them;
    /// `before` shows the tree as it was.
    pub(crate) fn changed(&self, overlay: &Arc<Overlay>, before: &Overlay, paths: Vec<Vec<u8>>) {
        self.traced(overlay).touched(before, paths);
    }

    /// Hides another name of the root, such as the directory in which a native child sees it.
    pub(crate) fn add_root(&mut self, root: &Path) {
        self.scrubber.add_roots([root.to_owned()]);
    }

    /// Records that the child has ended like this, at `ended` of the session's clock.
    pub(crate) fn finish(self, exit: &Exit, duration: Duration, ended: WallTime) {
        let status = TapedStatus::of(exit, |why| self.scrubber.tape(why.as_bytes()));
        self.record(status, duration, ended);
    }

    /// Records that the program did not start.
    pub(crate) fn not_started(self, error: &io::Error) {
        let message = self.scrubber.tape(error.to_string().as_bytes());
        let status = TapedStatus::NotStarted { kind: format!("{:?}", error.kind()), message };
        // There was no child to read an input.
        self.taps[Stream::Stdin as usize].ended();
        let start = self.recorder.start();
        self.record(status, Duration::ZERO, start);
    }

    fn record(self, status: TapedStatus, duration: Duration, ended: WallTime) {
        let recorder = self.recorder.clone();
        let sequence = self.sequence;
        let program = self.call.program.to_string();
        let record = self.complete(status, duration, ended);
        recorder.add(record.map_err(|why| TapeError::Spawn { sequence, program, why }));
    }

    fn complete(
        self,
        status: TapedStatus,
        duration: Duration,
        ended: WallTime,
    ) -> Result<Record, SpawnProblem> {
        let stdout = self.output(Stream::Stdout)?;
        let stderr = self.output(Stream::Stderr)?;
        let stdin = self.input()?;
        let traced = self.traced.lock().unwrap_or_else(PoisonError::into_inner).take();
        let files = traced.map_or(Ok(Vec::new()), |traced| {
            let times = (self.recorder.start(), ended);
            files::changes(traced.overlay(), &traced.take(), &self.scrubber, times)
                .map_err(|(path, errno)| SpawnProblem::File { path, errno })
        })?;
        Ok(Record {
            sequence: self.sequence,
            call: self.call,
            stdin,
            route: self.way,
            module: self.module.into_inner(),
            status,
            stdout,
            stderr,
            duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            files,
        })
    }

    fn output(&self, stream: Stream) -> Result<Taped, SpawnProblem> {
        self.heard(stream).map(|heard| self.scrubber.tape(&heard.bytes))
    }

    fn input(&self) -> Result<Input, SpawnProblem> {
        let heard = self.heard(Stream::Stdin)?;
        if !heard.is_tapped {
            return Ok(Input { unseen: true, ..Input::default() });
        }
        let content = self.scrubber.tape(&heard.bytes);
        let mut input = Input {
            size_bytes: content.bytes().len() as u64,
            cut: !heard.has_ended,
            ..Input::default()
        };
        if !content.is_empty() {
            input.blake3 = Some(Input::digest(&content));
            input.content = Some(content).filter(|_| self.recorder.keeps_inputs);
        }
        Ok(input)
    }

    fn heard(&self, stream: Stream) -> Result<Heard, SpawnProblem> {
        let heard = std::mem::take(&mut *self.taps[stream as usize].lock());
        if heard.is_too_long {
            let stream = stream.name();
            return Err(SpawnProblem::TooLong { stream, bytes_max: STREAM_BYTES_MAX });
        }
        Ok(heard)
    }

    fn traced(&self, overlay: &Arc<Overlay>) -> Arc<Traced> {
        let mut traced = self.traced.lock().unwrap_or_else(PoisonError::into_inner);
        traced.get_or_insert_with(|| Arc::new(Traced::new(overlay.clone()))).clone()
    }
}
