//! A child that is played from the tape: one more process of the session, as a guest is.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;

use testbench_clock::{Clock, Role, Stuck, Wait};
use testbench_wasi::{Exit, Finished, Limit};

use crate::error::SpawnError;
use crate::process::Process;
use crate::refusal::Refusal;
use crate::route;
use crate::spawn::Start;
use crate::spec::SpawnSpec;
use crate::stdio::StdioKind;
use crate::streams::Streams;
use crate::sys;
use crate::tape::{Entry, PlayError, Stream};

/// The most that is read from a pipe at a time, as much as it holds.
const STEP_BYTES: usize = 64 * 1024;

/// Takes the entry for a command from the session's tape, and plays it on a thread of its own.
pub(crate) fn start(
    start: Start,
    spec: &SpawnSpec,
    streams: Streams,
) -> Result<Arc<Process>, SpawnError> {
    let entry = take(&start, spec)?;
    let program = || spec.program.clone();
    if let Some(source) = entry.not_started() {
        return Err(SpawnError::Native { program: program(), source });
    }
    let name = program().display().to_string();
    // A participant from here on: time does not move before the child waits.
    let clock = start.clock.join(&name, Role::Guest);
    let process = Process::new(start.ticket.id, name);
    let killed = clock.clone();
    process.killed_by(move |why| killed.participant().cancel(why));
    start.bench.add(&process);
    let life = Life {
        program: program(),
        timeout: spec.timeout,
        process: process.clone(),
        start,
        entry,
        clock,
        streams,
        captured: Default::default(),
    };
    let thread = thread::Builder::new().name(format!("replayed {}", process.name));
    let failed = |source| SpawnError::Native { program: program(), source };
    thread.spawn(move || life.run()).map_err(failed)?;
    Ok(process)
}

fn take(start: &Start, spec: &SpawnSpec) -> Result<Entry, SpawnError> {
    let no_tape = || Refusal::NoTape {
        program: spec.program.clone(),
        session: start.bench.name().to_owned(),
    };
    let deck = start.bench.tape.as_ref().ok_or_else(no_tape)?;
    // Another spawn may have taken it since this was decided.
    deck.take(&route::call(&start.bench, spec), start.ticket.sequence)
        .map_err(|miss| Refusal::NotOnTape(miss).into())
}

/// A child that is played, and all that its end needs.
struct Life {
    program: std::ffi::OsString,
    timeout: Option<std::time::Duration>,
    process: Arc<Process>,
    start: Start,
    entry: Entry,
    clock: Arc<dyn Clock>,
    streams: Streams,
    /// The piped part of stdout and stderr.
    captured: [Vec<u8>; 2],
}

impl Life {
    fn run(mut self) {
        let began = self.clock.mono();
        let played = match self.clock.participant().begin() {
            Ok(()) => self.play(),
            Err(stuck) => Err(PlayError::Stuck(stuck)),
        };
        // Their readers find end-of-file before the child is seen to have ended.
        drop(self.streams);
        let (exit, lost) = match played {
            Ok(exit) => (exit, None),
            Err(PlayError::Stuck(Stuck::Cancelled(why))) => (Exit::Killed(why), None),
            Err(source) => {
                let lost = SpawnError::Replay { program: self.program, source };
                (Exit::Signal(sys::SIGKILL), Some(lost))
            }
        };
        let mut finished = Finished::new(exit);
        finished.virtual_time = self.clock.mono().duration_since(began);
        [finished.stdout, finished.stderr] = self.captured;
        self.start.end(&self.process, finished, None, lost);
        self.clock.participant().leave();
    }

    /// Does the child's work: reads its input, waits for the time that it took, changes its files,
    /// writes its output.
    fn play(&mut self) -> Result<Exit, PlayError> {
        let (clock, entry) = (&*self.clock, &self.entry);
        let began = clock.mono();
        if let Some(after) = self.timeout.filter(|after| *after < entry.duration()) {
            let deadline = began.checked_add(after);
            clock.wait(Wait { deadline, on: &[], what: &"the timeout of a replayed child" })?;
            return Ok(Exit::Limit(Limit::VirtualDeadline { after }));
        }
        let read = read(&mut self.streams.stdin, clock, entry.input_bytes_max())?;
        entry.check_input(&read)?;
        self.streams.stdin = StdioKind::Null;
        if clock.is_mocked() {
            let deadline = Some(began.saturating_add(entry.duration()));
            let what = format!("the time that `{}` took", entry.record().call.program);
            clock.wait(Wait { deadline, on: &[], what: &what })?;
        }
        if let Some(overlay) = self.start.bench.files.overlay() {
            entry.change_files(overlay)?;
        }
        let [stdout, stderr] = &mut self.captured;
        for (stream, sink, captured) in [
            (Stream::Stdout, &mut self.streams.stdout, stdout),
            (Stream::Stderr, &mut self.streams.stderr, stderr),
        ] {
            match write(stream, sink, captured, clock, &entry.output(stream)) {
                // The child has met this, too: the tape's status is the one that followed.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                done => done.map_err(PlayError::of_stream)?,
            }
        }
        Ok(entry.record().status.exit().unwrap_or(Exit::Signal(sys::SIGKILL)))
    }
}

/// Reads to the end of the input, or as much as `bytes_max`.
fn read(from: &mut StdioKind, clock: &dyn Clock, bytes_max: usize) -> Result<Vec<u8>, PlayError> {
    let mut read = Vec::new();
    let from: &mut dyn Read = match from {
        StdioKind::Reader(pipe) => {
            let mut buf = vec![0; STEP_BYTES];
            while read.len() < bytes_max {
                let step = buf.len().min(bytes_max - read.len());
                let n = pipe.read(clock, &mut buf[..step]).map_err(PlayError::of_stream)?;
                if n == 0 {
                    break;
                }
                read.extend_from_slice(&buf[..n]);
            }
            return Ok(read);
        }
        StdioKind::Bytes(bytes) => &mut &bytes[..],
        StdioKind::Inherit => &mut io::stdin(),
        StdioKind::Real(file) => file,
        StdioKind::File(file) => file,
        StdioKind::Null | StdioKind::Piped | StdioKind::Writer(_) => &mut io::empty(),
    };
    // It may block outside of the timeline.
    let _outside = clock.participant().external(&"a replayed child reads from outside");
    from.take(bytes_max as u64).read_to_end(&mut read).map_err(PlayError::of_stream)?;
    Ok(read)
}

/// Writes all of it; a piped stream is captured.
fn write(
    stream: Stream,
    to: &mut StdioKind,
    captured: &mut Vec<u8>,
    clock: &dyn Clock,
    bytes: &[u8],
) -> io::Result<()> {
    let to: &mut dyn Write = match to {
        StdioKind::Writer(pipe) => return pipe.write_all(clock, bytes),
        StdioKind::Piped => captured,
        StdioKind::Inherit if stream == Stream::Stderr => &mut io::stderr(),
        StdioKind::Inherit => &mut io::stdout(),
        StdioKind::Real(file) => file,
        StdioKind::File(file) => file,
        StdioKind::Null | StdioKind::Bytes(_) | StdioKind::Reader(_) => &mut io::sink(),
    };
    let _outside = clock.participant().external(&"a replayed child writes to outside");
    to.write_all(bytes)
}
