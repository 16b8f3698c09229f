//! The standard streams of one start: what was asked for, made definite.
//!
//! Whoever runs the child (a guest, a native program, a replay) takes a [`Streams`]; whoever
//! started it keeps the [`Ends`]. Nobody else has an end of the new pipes, so that the end of a
//! file comes when it should.

use std::io;
use std::sync::Arc;

use testbench_wasi::{PipeReader, PipeWriter};

use crate::child::Ends;
use crate::command::Collect;
use crate::stdio::{Kind, Stdio};
use crate::tape::Tap;
use crate::{Command, SpawnError};

/// Where a child's stdin comes from.
pub(crate) enum Source {
    Empty,
    Inherit,
    Bytes(Arc<[u8]>),
    /// A descriptor of this process.
    Real(std::fs::File),
    File(testbench_overlay::fs::File),
    Pipe(PipeReader),
}

/// Where a child's output goes.
pub(crate) enum Sink {
    Null,
    Inherit,
    /// Into [`Ended`](crate::process::Ended).
    Capture,
    /// A descriptor of this process.
    Real(std::fs::File),
    File(testbench_overlay::fs::File),
    Pipe(PipeWriter),
}

/// What the child gets.
pub(crate) struct Streams {
    pub(crate) stdin: Source,
    pub(crate) stdout: Sink,
    pub(crate) stderr: Sink,
}

/// Makes the streams of one start of `command` in a session, and takes out of it the ends of
/// pipes that it was given.
pub(crate) fn take(command: &mut Command, collect: Collect) -> Result<(Streams, Ends), SpawnError> {
    let program = command.program.clone();
    let failed = |stream: &'static str| {
        let program = program.clone();
        move |source: io::Error| SpawnError::Stream { program, stream, source }
    };
    let mut ends = Ends::default();
    let stdin = source(command.stdin.as_mut(), collect, &mut ends.stdin);
    let stdin = stdin.map_err(failed("stdin"))?;
    let stdout = sink(command.stdout.as_mut(), "stdout", collect, &mut ends.stdout);
    let stdout = stdout.map_err(failed("stdout"))?;
    let stderr = sink(command.stderr.as_mut(), "stderr", collect, &mut ends.stderr);
    let stderr = stderr.map_err(failed("stderr"))?;
    Ok((Streams { stdin, stdout, stderr }, ends))
}

fn source(
    from: Option<&mut Stdio>,
    collect: Collect,
    end: &mut Option<PipeWriter>,
) -> io::Result<Source> {
    let Some(from) = from else { return Ok(Source::Empty) };
    Ok(match from.take("stdin")?.kind {
        Kind::Inherit => Source::Inherit,
        Kind::Piped if collect == Collect::Spawn => {
            let (reader, writer) = testbench_wasi::pipe();
            *end = Some(writer);
            Source::Pipe(reader)
        }
        // The call waits for the child, so nobody could write.
        Kind::Null | Kind::Piped => Source::Empty,
        Kind::Bytes(bytes) => Source::Bytes(bytes),
        Kind::Real(file) => Source::Real(file),
        Kind::File(file) => Source::File(file),
        Kind::Read(pipe) => pipe.map_or(Source::Empty, Source::Pipe),
        // Reading from it fails, as it does from a descriptor that is open for writing alone.
        Kind::Write(_) => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
    })
}

fn sink(
    to: Option<&mut Stdio>,
    stream: &'static str,
    collect: Collect,
    end: &mut Option<PipeReader>,
) -> io::Result<Sink> {
    let Some(to) = to else {
        return Ok(match collect {
            Collect::Output => Sink::Capture,
            Collect::Status | Collect::Spawn => Sink::Inherit,
        });
    };
    Ok(match to.take(stream)?.kind {
        Kind::Inherit => Sink::Inherit,
        Kind::Piped => match collect {
            Collect::Spawn => {
                let (reader, writer) = testbench_wasi::pipe();
                *end = Some(reader);
                Sink::Pipe(writer)
            }
            Collect::Output => Sink::Capture,
            // A pipe that nobody reads from swallows what is written.
            Collect::Status => Sink::Null,
        },
        // Bytes were refused before.
        Kind::Null | Kind::Bytes(_) => Sink::Null,
        Kind::Real(file) => Sink::Real(file),
        Kind::File(file) => Sink::File(file),
        Kind::Write(pipe) => pipe.map_or(Sink::Null, Sink::Pipe),
        Kind::Read(_) => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
    })
}

impl Source {
    /// As a guest gets it, with what hears it.
    pub(crate) fn for_guest(self, tap: Option<Tap>) -> testbench_wasi::Stdin {
        use testbench_wasi::Stdin;
        if let (Source::Empty, Some(tap)) = (&self, &tap) {
            // There is nothing to be heard, whether the guest looks or not.
            tap.ended();
        }
        let stdin = match self {
            Source::Empty => Stdin::Empty,
            Source::Inherit => Stdin::Inherit,
            Source::Bytes(bytes) => Stdin::Bytes(bytes),
            Source::Real(file) => Stdin::reader(file),
            Source::File(file) => Stdin::reader(file),
            Source::Pipe(pipe) => Stdin::Pipe(pipe),
        };
        match tap {
            Some(tap) => stdin.observed(tap.of_input()),
            None => stdin,
        }
    }
}

impl Sink {
    /// As a guest gets it, with what hears it.
    pub(crate) fn for_guest(self, tap: Option<Tap>) -> testbench_wasi::Stdout {
        use testbench_wasi::Stdout;
        let stdout = match self {
            Sink::Null => Stdout::Null,
            Sink::Inherit => Stdout::Inherit,
            Sink::Capture => Stdout::Capture,
            Sink::Real(file) => Stdout::writer(file),
            Sink::File(file) => Stdout::writer(file),
            Sink::Pipe(pipe) => Stdout::Pipe(pipe),
        };
        match tap {
            Some(tap) => stdout.observed(tap.of_output()),
            None => stdout,
        }
    }
}
