//! A child that is played from the tape: one more process of the session, as a guest is.

use std::io::{self, Read as _, Write as _};
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
use crate::tape::{self, Entry, PlayError, Stream};

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
        streams: Playing { clock, streams, stdin_read: 0, stdout: Vec::new(), stderr: Vec::new() },
        process: process.clone(),
        start,
        entry,
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

/// All that is needed to play a child and to end it.
struct Life {
    program: std::ffi::OsString,
    timeout: Option<std::time::Duration>,
    streams: Playing,
    process: Arc<Process>,
    start: Start,
    entry: Entry,
}

impl Life {
    fn run(mut self) {
        let clock = self.streams.clock.clone();
        let began = clock.mono();
        let played = match clock.participant().begin() {
            Ok(()) => self.play(),
            Err(stuck) => Err(PlayError::Stuck(stuck)),
        };
        let Playing { streams, stdout, stderr, .. } = self.streams;
        // Their readers find end-of-file before the child is seen to have ended.
        drop(streams);
        let (exit, lost) = match played {
            Ok(exit) => (exit, None),
            Err(PlayError::Stuck(Stuck::Cancelled(why))) => (Exit::Killed(why), None),
            Err(source) => (
                Exit::Signal(sys::SIGKILL),
                Some(SpawnError::Replay { program: self.program, source }),
            ),
        };
        let mut finished = Finished::new(exit);
        finished.virtual_time = clock.mono().duration_since(began);
        (finished.stdout, finished.stderr) = (stdout, stderr);
        self.start.end(&self.process, finished, None, lost);
        clock.participant().leave();
    }

    fn play(&mut self) -> Result<Exit, PlayError> {
        let record = self.entry.record();
        if let Some(after) = self.timeout.filter(|after| *after < self.entry.duration()) {
            let clock = &self.streams.clock;
            let deadline = clock.mono().checked_add(after);
            clock.wait(Wait { deadline, on: &[], what: &"the timeout of a replayed child" })?;
            return Ok(Exit::Limit(Limit::VirtualDeadline { after }));
        }
        let clock = self.streams.clock.clone();
        let overlay = self.start.bench.files.overlay().map(|overlay| &**overlay);
        self.entry.play(&*clock, &mut self.streams, overlay)?;
        Ok(record.status.exit().unwrap_or(Exit::Signal(sys::SIGKILL)))
    }
}

/// The streams of a child that is played.
struct Playing {
    clock: Arc<dyn Clock>,
    streams: Streams,
    /// The number of bytes read of a stdin of bytes.
    stdin_read: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl tape::Streams for Playing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let outside = || self.clock.participant().external(&"a replayed child reads from outside");
        match &mut self.streams.stdin {
            StdioKind::Bytes(bytes) => {
                let rest = &bytes[self.stdin_read..];
                let n = rest.len().min(buf.len());
                buf[..n].copy_from_slice(&rest[..n]);
                self.stdin_read += n;
                Ok(n)
            }
            StdioKind::Inherit => {
                let _outside = outside();
                io::stdin().read(buf)
            }
            StdioKind::Real(file) => {
                let _outside = outside();
                file.read(buf)
            }
            StdioKind::File(file) => file.read(buf),
            StdioKind::Reader(pipe) => pipe.read(&*self.clock, buf),
            StdioKind::Null | StdioKind::Piped | StdioKind::Writer(_) => Ok(0),
        }
    }

    fn close_stdin(&mut self) {
        self.streams.stdin = StdioKind::Null;
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let (sink, captured) = match stream {
            Stream::Stderr => (&mut self.streams.stderr, &mut self.stderr),
            Stream::Stdin | Stream::Stdout => (&mut self.streams.stdout, &mut self.stdout),
        };
        let outside = || self.clock.participant().external(&"a replayed child writes to outside");
        match sink {
            StdioKind::Null | StdioKind::Bytes(_) | StdioKind::Reader(_) => Ok(()),
            StdioKind::Inherit => {
                let _outside = outside();
                match stream {
                    Stream::Stderr => io::stderr().write_all(bytes),
                    _ => io::stdout().write_all(bytes),
                }
            }
            StdioKind::Piped => {
                captured.extend_from_slice(bytes);
                Ok(())
            }
            StdioKind::Real(file) => {
                let _outside = outside();
                file.write_all(bytes)
            }
            StdioKind::File(file) => file.write_all(bytes),
            StdioKind::Writer(pipe) => pipe.write_all(&*self.clock, bytes),
        }
    }
}
