//! One spawn that is being recorded.
//!
//! The spawn layer tells a [`Recording`] what passes by, wherever it passes, and what the end was.
//! Nothing of it is kept before it has gone through the scrubber.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use testbench_clock::WallTime;
use testbench_overlay::{Fs, Overlay};
use testbench_wasi::{ContentHash, Observer};

use super::Taped;
use super::deck::Deck;
use super::error::{SpawnProblem, TapeError};
use super::files;
use super::format::{Call, Ending, Input, Record, Way};
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
    fn name(self) -> &'static str {
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
    /// Somebody listens at all.
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

    /// This as what a guest's input is observed by.
    pub(crate) fn of_input(self) -> Observer {
        self.lock().is_tapped = true;
        Arc::new(move |bytes| if bytes.is_empty() { self.ended() } else { self.saw(bytes) })
    }

    /// This as what a guest's output is observed by.
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

    /// All that there is was written.
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

/// See [`Recording::if_not_started`].
pub(crate) struct IfNotStarted {
    deck: Arc<Deck>,
    sequence: u32,
    call: Call,
    scrubber: Scrubber,
}

impl IfNotStarted {
    /// Puts onto the tape that it did not start.
    pub(crate) fn not_started(self, error: &io::Error) {
        let message = self.scrubber.tape(error.to_string().as_bytes());
        self.deck.recorded(Ok(Record {
            sequence: self.sequence,
            call: self.call,
            stdin: Input::default(),
            route: Way::Native,
            module: None,
            status: Ending::NotStarted { kind: format!("{:?}", error.kind()), message },
            stdout: Taped::default(),
            stderr: Taped::default(),
            duration_ns: 0,
            files: Vec::new(),
        }));
    }
}

/// A spawn between its start and its end. Dropped without [`finish`](Recording::finish), it leaves
/// no record.
#[derive(Debug)]
pub(crate) struct Recording {
    deck: Arc<Deck>,
    sequence: u32,
    call: Call,
    way: Way,
    module: OnceLock<String>,
    scrubber: Scrubber,
    traced: Mutex<Option<Arc<Traced>>>,
    stdin: Tap,
    stdout: Tap,
    stderr: Tap,
}

impl Recording {
    pub(crate) fn new(
        deck: Arc<Deck>,
        sequence: u32,
        call: Call,
        way: Way,
        scrubber: Scrubber,
    ) -> Recording {
        Recording {
            deck,
            sequence,
            call,
            way,
            module: OnceLock::new(),
            scrubber,
            traced: Mutex::default(),
            stdin: Tap::default(),
            stdout: Tap::default(),
            stderr: Tap::default(),
        }
    }

    /// It runs as a guest of this module.
    pub(crate) fn ran(&self, module: ContentHash) {
        // A guest has one module.
        let _ = self.module.set(module.to_string());
    }

    /// What is left of this if the host does not start the program.
    pub(crate) fn if_not_started(&self) -> IfNotStarted {
        IfNotStarted {
            deck: self.deck.clone(),
            sequence: self.sequence,
            call: self.call.clone(),
            scrubber: self.scrubber.clone(),
        }
    }

    /// What hears a stream.
    pub(crate) fn tap(&self, stream: Stream) -> Tap {
        match stream {
            Stream::Stdin => self.stdin.clone(),
            Stream::Stdout => self.stdout.clone(),
            Stream::Stderr => self.stderr.clone(),
        }
    }

    /// The tree that the child gets instead of the overlay, always the same one.
    pub(crate) fn tree(&self, overlay: &Arc<Overlay>) -> Arc<dyn Fs> {
        self.traced(overlay)
    }

    /// Counts as the child's what was changed in another way, such as by absorbing it; `before`
    /// shows the tree as it was.
    pub(crate) fn changed(&self, overlay: &Arc<Overlay>, before: &Overlay, paths: Vec<Vec<u8>>) {
        self.traced(overlay).touched(before, paths);
    }

    /// Hides another name of the root, such as the directory in which a native child sees it.
    pub(crate) fn add_root(&mut self, root: &Path) {
        self.scrubber.add_roots([root.to_owned()]);
    }

    /// The child has ended, at `ended` of the session's clock.
    pub(crate) fn finish(self, status: Ending, duration: Duration, ended: WallTime) {
        let deck = self.deck.clone();
        deck.recorded(self.record(status, duration, ended));
    }

    /// Text of the spawn layer, such as the reason of a kill.
    pub(crate) fn tape(&self, text: &str) -> Taped {
        self.scrubber.tape(text.as_bytes())
    }

    fn record(
        self,
        status: Ending,
        duration: Duration,
        ended: WallTime,
    ) -> Result<Record, TapeError> {
        let fails = |why| TapeError::Spawn {
            sequence: self.sequence,
            program: self.call.program.to_string(),
            why,
        };
        let stdout = self.output(Stream::Stdout).map_err(fails)?;
        let stderr = self.output(Stream::Stderr).map_err(fails)?;
        let stdin = self.input().map_err(fails)?;
        let traced = self.traced.lock().unwrap_or_else(PoisonError::into_inner).take();
        let files = match traced {
            None => Vec::new(),
            Some(traced) => {
                let times = (self.deck.start(), ended);
                files::changes(traced.overlay(), &traced.take(), &self.scrubber, times)
                    .map_err(|(path, errno)| fails(SpawnProblem::File { path, errno }))?
            }
        };
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
            input.content = Some(content).filter(|_| self.deck.keeps_inputs());
        }
        Ok(input)
    }

    fn heard(&self, stream: Stream) -> Result<Heard, SpawnProblem> {
        let heard = std::mem::take(&mut *self.tap(stream).lock());
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
