//! A child that is played from the tape: one more process of the session, as a guest is.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

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
use crate::tape::Entry;

/// The most that is read from a pipe at a time, as much as it holds.
const STEP_BYTES: usize = 64 * 1024;

/// Takes the entry for a command from the session's tape, and plays it on a thread of its own.
pub(crate) fn start(
    start: Start,
    spec: &SpawnSpec,
    streams: Streams,
) -> Result<Arc<Process>, SpawnError> {
    let program = || spec.program.clone();
    let failed = |source| SpawnError::Native { program: program(), source };
    let session = || start.bench.name().to_owned();
    let no_tape = || Refusal::NoTape { program: program(), session: session() };
    let deck = start.bench.tape.as_ref().ok_or_else(no_tape)?;
    // Another spawn may have taken it since this was decided.
    let call = route::call(&start.bench, spec);
    let entry = deck.take(&call, start.ticket.sequence).map_err(Refusal::NotOnTape)?;
    if let Some(source) = entry.not_started() {
        return Err(failed(source));
    }
    let name = program().display().to_string();
    // A participant from here on: time does not move before the child waits.
    let clock = start.clock.join(&name, Role::Guest);
    let process = Process::new(start.ticket.id, name);
    let killed = clock.clone();
    process.killed_by(move |why| killed.participant().cancel(why));
    start.bench.add(&process);
    let captured = [Vec::new(), Vec::new()];
    let (program, timeout) = (program(), spec.timeout);
    let life =
        Life { program, timeout, process: process.clone(), start, entry, clock, streams, captured };
    let thread = thread::Builder::new().name(format!("replayed {}", process.name));
    thread.spawn(move || life.run()).map_err(failed)?;
    Ok(process)
}

/// A child that is played, and all that its end needs.
struct Life {
    program: OsString,
    timeout: Option<Duration>,
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
        let begun = self.clock.participant().begin().map_err(io::Error::from);
        let played = begun.and_then(|()| self.play());
        // Their readers find end-of-file before the child is seen to have ended.
        drop(self.streams);
        let (exit, lost) = match played {
            Ok(exit) => (exit, None),
            Err(source) => match stuck(&source) {
                Some(Stuck::Cancelled(why)) => (Exit::Killed(why.clone()), None),
                _ => {
                    let lost = SpawnError::failed(&self.program, "could not be replayed", source);
                    (Exit::Signal(sys::SIGKILL), Some(lost))
                }
            },
        };
        let mut finished = Finished::new(exit);
        finished.virtual_time = self.clock.mono().duration_since(began);
        [finished.stdout, finished.stderr] = self.captured;
        self.start.end(&self.process, finished, None, lost);
        self.clock.participant().leave();
    }

    /// Does the child's work: reads its input, waits for the time that it took, changes its files,
    /// writes its output.
    fn play(&mut self) -> io::Result<Exit> {
        let (clock, entry) = (&*self.clock, &self.entry);
        let began = clock.mono();
        if let Some(after) = self.timeout.filter(|after| *after < entry.duration()) {
            let deadline = began.checked_add(after);
            clock.wait(Wait { deadline, on: &[], what: &"the timeout of a replayed child" })?;
            return Ok(Exit::Limit(Limit::VirtualDeadline { after }));
        }
        let read = read(&mut self.streams.stdin, clock, entry.input_bytes_max());
        entry.check_input(&read.map_err(|error| of_stream("stdin", error))?)?;
        self.streams.stdin = StdioKind::Null;
        if clock.is_mocked() {
            let deadline = Some(began.saturating_add(entry.duration()));
            let what = format!("the time that `{}` took", entry.record.call.program);
            clock.wait(Wait { deadline, on: &[], what: &what })?;
        }
        if let Some(overlay) = self.start.bench.files.overlay() {
            entry.change_files(overlay)?;
        }
        let Streams { stdout, stderr, .. } = &mut self.streams;
        let sinks = [("stdout", stdout), ("stderr", stderr)].into_iter().zip(&mut self.captured);
        for (((name, sink), captured), bytes) in sinks.zip(entry.outputs()) {
            match write(name, sink, captured, clock, &bytes) {
                // The child has met this, too: the tape's status is the one that followed.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                done => done.map_err(|error| of_stream(name, error))?,
            }
        }
        Ok(entry.record.status.exit().unwrap_or(Exit::Signal(sys::SIGKILL)))
    }
}

/// The end of a wait on the timeline, if it is the cause of an error.
fn stuck(error: &io::Error) -> Option<&Stuck> {
    error.get_ref()?.downcast_ref()
}

/// An error that names the stream, unless a wait on the timeline caused it.
fn of_stream(name: &str, error: io::Error) -> io::Error {
    match stuck(&error) {
        Some(_) => error,
        None => io::Error::new(error.kind(), format!("its {name} failed: {error}")),
    }
}

/// Reads to the end of the input, or as much as `bytes_max`.
fn read(from: &mut StdioKind, clock: &dyn Clock, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let from: &mut dyn Read = match from {
        StdioKind::Reader(pipe) => {
            let mut buf = vec![0; STEP_BYTES];
            while (read.len() as u64) < bytes_max {
                let step = (bytes_max - read.len() as u64).min(STEP_BYTES as u64);
                match pipe.read(clock, &mut buf[..step as usize])? {
                    0 => break,
                    n => read.extend_from_slice(&buf[..n]),
                }
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
    from.take(bytes_max).read_to_end(&mut read)?;
    Ok(read)
}

/// Writes all of it; a piped stream is captured.
fn write(
    name: &str,
    to: &mut StdioKind,
    captured: &mut Vec<u8>,
    clock: &dyn Clock,
    bytes: &[u8],
) -> io::Result<()> {
    let to: &mut dyn Write = match to {
        StdioKind::Writer(pipe) => return pipe.write_all(clock, bytes),
        StdioKind::Piped => captured,
        StdioKind::Inherit if name == "stderr" => &mut io::stderr(),
        StdioKind::Inherit => &mut io::stdout(),
        StdioKind::Real(file) => file,
        StdioKind::File(file) => file,
        StdioKind::Null | StdioKind::Bytes(_) | StdioKind::Reader(_) => &mut io::sink(),
    };
    let _outside = clock.participant().external(&"a replayed child writes to outside");
    to.write_all(bytes)
}
