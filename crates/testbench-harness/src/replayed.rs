//! A child that is played from the tape: one more process of the session, as a guest is.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::thread;

use testbench_clock::{Clock, Role, Stuck, Wait};
use testbench_wasi::{Exit, Limit};

use crate::process::{Ended, Process};
use crate::spawn::Start;
use crate::streams::{Sink, Source, Streams};
use crate::sys::{self, Status};
use crate::tape::{self, Entry, PlayError, Stream, TapedStatus, Way};
use crate::{Command, Refusal, SpawnError, route};

/// Takes the entry for a command from the session's tape, and plays it on a thread of its own.
pub(crate) fn start(
    start: Start,
    command: &Command,
    streams: Streams,
) -> Result<Arc<Process>, SpawnError> {
    let entry = take(&start, command)?;
    let program = || command.program.clone();
    if let Some(source) = entry.not_started() {
        return Err(SpawnError::Native { program: program(), source });
    }
    let name = program().display().to_string();
    // A participant from here on: time does not move before the child waits.
    let clock = start.clock.join(&name, Role::Guest);
    let process = Process::new(start.ticket.id, name);
    let killed = clock.clone();
    process.killed_by(move |why| killed.cancel(why));
    start.bench.add(&process);
    let life = Life {
        program: program(),
        timeout: command.timeout,
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

fn take(start: &Start, command: &Command) -> Result<Entry, SpawnError> {
    let no_tape =
        || Refusal::NoTape { program: command.program.clone(), session: start.bench.name.clone() };
    let deck = start.bench.tape.as_ref().ok_or_else(no_tape)?;
    // Another spawn may have taken it since this was decided.
    deck.take(&route::call(&start.bench, command), start.ticket.sequence)
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
        let played = match clock.begin() {
            Ok(()) => self.play(),
            Err(stuck) => Err(PlayError::Stuck(stuck)),
        };
        let Playing { streams, stdout, stderr, .. } = self.streams;
        // Whoever reads them finds their end before the child is seen to have ended.
        drop(streams);
        let (status, exit, lost) = match played {
            Ok((status, exit)) => (status, exit, None),
            Err(PlayError::Stuck(Stuck::Cancelled(why))) => {
                (sys::exit_status(Status::Killed), Some(Exit::Killed(why)), None)
            }
            Err(source) => {
                let lost = SpawnError::Replay { program: self.program, source };
                (sys::exit_status(Status::Killed), None, Some(Arc::new(lost)))
            }
        };
        let virtual_time = clock.mono().duration_since(began);
        let ended = Ended { status, exit, virtual_time, real_time: None, stdout, stderr, lost };
        self.start.end(ended, &self.process);
        clock.leave();
    }

    fn play(&mut self) -> Result<(std::process::ExitStatus, Option<Exit>), PlayError> {
        let record = self.entry.record();
        if let Some(after) = self.timeout.filter(|after| *after < self.entry.duration()) {
            let clock = &self.streams.clock;
            let deadline = clock.mono().checked_add(after);
            clock.wait(Wait { deadline, on: &[], what: &"the timeout of a replayed child" })?;
            let exit = Exit::Limit(Limit::VirtualDeadline { after });
            return Ok((sys::exit_status(Status::Killed), Some(exit)));
        }
        let clock = self.streams.clock.clone();
        let overlay = self.start.bench.files.overlay().map(|overlay| &**overlay);
        self.entry.play(&*clock, &mut self.streams, overlay)?;
        let exit = match (record.route, &record.status) {
            (Way::Guest, TapedStatus::Code(code)) => Some(Exit::Code(*code)),
            _ => None,
        };
        let killed = || sys::exit_status(Status::Killed);
        Ok((record.status.status().unwrap_or_else(killed), exit))
    }
}

/// The streams of a child that is played.
struct Playing {
    clock: Arc<dyn Clock>,
    streams: Streams,
    /// How much of stdin was read, if that is bytes.
    stdin_read: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl tape::Streams for Playing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let outside = || self.clock.external(&"a replayed child reads from outside");
        match &mut self.streams.stdin {
            Source::Empty => Ok(0),
            Source::Bytes(bytes) => {
                let rest = &bytes[self.stdin_read..];
                let n = rest.len().min(buf.len());
                buf[..n].copy_from_slice(&rest[..n]);
                self.stdin_read += n;
                Ok(n)
            }
            Source::Inherit => {
                let _outside = outside();
                io::stdin().read(buf)
            }
            Source::Real(file) => {
                let _outside = outside();
                file.read(buf)
            }
            Source::File(file) => file.read(buf),
            Source::Pipe(pipe) => pipe.read(&*self.clock, buf),
        }
    }

    fn close_stdin(&mut self) {
        self.streams.stdin = Source::Empty;
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let (sink, captured) = match stream {
            Stream::Stderr => (&mut self.streams.stderr, &mut self.stderr),
            Stream::Stdin | Stream::Stdout => (&mut self.streams.stdout, &mut self.stdout),
        };
        let outside = || self.clock.external(&"a replayed child writes to outside");
        match sink {
            Sink::Null => Ok(()),
            Sink::Inherit => {
                let _outside = outside();
                match stream {
                    Stream::Stderr => io::stderr().write_all(bytes),
                    _ => io::stdout().write_all(bytes),
                }
            }
            Sink::Capture => {
                captured.extend_from_slice(bytes);
                Ok(())
            }
            Sink::Real(file) => {
                let _outside = outside();
                file.write_all(bytes)
            }
            Sink::File(file) => file.write_all(bytes),
            Sink::Pipe(pipe) => pipe.write_all(&*self.clock, bytes),
        }
    }
}
