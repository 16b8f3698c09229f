//! The standard streams of one start.
//!
//! The child (a guest, a native program, a replay) takes the [`Streams`]; its parent keeps the
//! [`Ends`]. No other copy of the new pipes' ends exists, so that readers find end-of-file when the
//! last writer has gone.

use std::io;

use testbench_wasi::{ReadEnd, Stdin, Stdout, WriteEnd};

use crate::SpawnError;
use crate::spec::SpawnSpec;
use crate::stdio::{Stdio, StdioKind};
use crate::tape::Tap;

/// The call of std that is running: they differ in the defaults of the standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collect {
    Output,
    Status,
    Spawn,
}

/// The child's streams. `stdin` is never `Writer`, the others are never `Reader` or `Bytes`, and
/// `Piped` means that the output is captured.
pub(crate) struct Streams {
    pub(crate) stdin: StdioKind,
    pub(crate) stdout: StdioKind,
    pub(crate) stderr: StdioKind,
}

/// This process's ends of a child's pipes.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<WriteEnd>,
    pub(crate) stdout: Option<ReadEnd>,
    pub(crate) stderr: Option<ReadEnd>,
}

/// Makes the streams of one start, and takes the ends of pipes out of the command.
pub(crate) fn take(spec: &mut SpawnSpec, collect: Collect) -> Result<(Streams, Ends), SpawnError> {
    let SpawnSpec { program, stdin, stdout, stderr, .. } = spec;
    let failed = |stream: &'static str| {
        let program = &*program;
        move |source: io::Error| {
            let what = format!("was not started: its {stream} cannot be used");
            SpawnError::failed(program, what, source)
        }
    };
    let mut ends = Ends::default();
    let stdin = input(stdin.as_mut(), collect, &mut ends.stdin).map_err(failed("stdin"))?;
    let stdout = output("stdout", stdout.as_mut(), collect, &mut ends.stdout);
    let stdout = stdout.map_err(failed("stdout"))?;
    let stderr = output("stderr", stderr.as_mut(), collect, &mut ends.stderr);
    let stderr = stderr.map_err(failed("stderr"))?;
    Ok((Streams { stdin, stdout, stderr }, ends))
}

fn input(
    from: Option<&mut Stdio>,
    collect: Collect,
    end: &mut Option<WriteEnd>,
) -> io::Result<StdioKind> {
    let Some(from) = from else { return Ok(StdioKind::Null) };
    match from.take("stdin")? {
        StdioKind::Piped if collect == Collect::Spawn => {
            let (reader, writer) = testbench_wasi::pipe();
            *end = Some(writer);
            Ok(StdioKind::Reader(reader))
        }
        // The call waits for the child, so nothing could be written.
        StdioKind::Piped => Ok(StdioKind::Null),
        // Reading from it fails, as it does from a descriptor that is open for writing alone.
        StdioKind::Writer(_) => Err(io::ErrorKind::InvalidInput.into()),
        stream => Ok(stream),
    }
}

fn output(
    name: &'static str,
    to: Option<&mut Stdio>,
    collect: Collect,
    end: &mut Option<ReadEnd>,
) -> io::Result<StdioKind> {
    let stream = match to {
        Some(to) => to.take(name)?,
        None if collect == Collect::Output => StdioKind::Piped,
        None => StdioKind::Inherit,
    };
    match (stream, collect) {
        (StdioKind::Piped, Collect::Spawn) => {
            let (reader, writer) = testbench_wasi::pipe();
            *end = Some(reader);
            Ok(StdioKind::Writer(writer))
        }
        // A pipe without a reader swallows what is written.
        (StdioKind::Piped, Collect::Status) => Ok(StdioKind::Null),
        (StdioKind::Reader(_) | StdioKind::Bytes(_), _) => Err(io::ErrorKind::InvalidInput.into()),
        (stream, _) => Ok(stream),
    }
}

/// The stdin of a guest, and what hears it.
pub(crate) fn guest_stdin(stream: StdioKind, tap: Option<Tap>) -> Stdin {
    if let (StdioKind::Null, Some(tap)) = (&stream, &tap) {
        // There is nothing to be heard, whether the guest looks or not.
        tap.ended();
    }
    let stdin = match stream {
        StdioKind::Inherit => Stdin::Inherit,
        StdioKind::Bytes(bytes) => Stdin::Bytes(bytes),
        StdioKind::Real(file) => Stdin::reader(file),
        StdioKind::File(file) => Stdin::reader(file),
        StdioKind::Reader(pipe) => Stdin::Pipe(pipe),
        StdioKind::Null | StdioKind::Piped | StdioKind::Writer(_) => Stdin::Empty,
    };
    match tap {
        Some(tap) => stdin.observed(tap.observer()),
        None => stdin,
    }
}

/// The stdout or stderr of a guest, and what hears it.
pub(crate) fn guest_output(stream: StdioKind, tap: Option<Tap>) -> Stdout {
    let stdout = match stream {
        StdioKind::Inherit => Stdout::Inherit,
        StdioKind::Piped => Stdout::Capture,
        StdioKind::Real(file) => Stdout::writer(file),
        StdioKind::File(file) => Stdout::writer(file),
        StdioKind::Writer(pipe) => Stdout::Pipe(pipe),
        StdioKind::Null | StdioKind::Reader(_) | StdioKind::Bytes(_) => Stdout::Null,
    };
    match tap {
        Some(tap) => stdout.observed(tap.observer()),
        None => stdout,
    }
}
