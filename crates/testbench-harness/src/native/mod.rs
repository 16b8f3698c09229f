//! Native programs: the only caller of [`std::process`].
//!
//! Without a session a command is the standard library's ([`spawn`], [`run`]).
//! In a session ([`start`]) a native child is one more process of the session (`child.rs`):
//!
//! - its pipes are the session's, with threads that copy between them and the system's (`pump.rs`);
//! - virtual time stands still while it works (`hold.rs`, which asks `idle.rs` whether it does);
//! - it sees the session's files as a copy on the real disk (`copy.rs`);
//! - when it has ended, the time that it took passes on the session's clock.
#![allow(clippy::disallowed_methods, reason = "native programs are of the real world")]

mod child;
mod copy;
mod hold;
mod idle;
mod pump;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command as StdCommand, Output, Stdio as StdStdio};
use std::thread;

pub(crate) use child::start;
pub(crate) use hold::Hold;

use crate::child::Child;
use crate::error::InputError;
use crate::spec::SpawnSpec;
use crate::stdio::{Stdio, StdioKind};
use crate::streams::Collect;

/// Starts a command as the standard library would.
pub(crate) fn spawn(spec: &SpawnSpec) -> io::Result<Child> {
    start_std(spec, Collect::Spawn, |mut native| native.spawn()).map(Child::of_std)
}

/// Runs a command as the standard library would.
pub(crate) fn run(spec: &SpawnSpec, collect: Collect) -> io::Result<Output> {
    let mut child = start_std(spec, collect, |mut native| native.spawn())?;
    match collect {
        Collect::Status => {
            Ok(Output { status: child.wait()?, stdout: Vec::new(), stderr: Vec::new() })
        }
        _ => child.wait_with_output(),
    }
}

/// The standard library's command of the same meaning, with its standard streams not set.
pub(crate) fn std_command(spec: &SpawnSpec) -> StdCommand {
    command_with(spec, Vec::new(), spec.current_dir.as_deref(), OsStr::to_owned)
}

/// The command in this directory, with `env` below its own variables, every text translated.
fn command_with(
    spec: &SpawnSpec,
    env: Vec<(OsString, OsString)>,
    dir: Option<&Path>,
    translate: impl Fn(&OsStr) -> OsString,
) -> StdCommand {
    let mut native = StdCommand::new(translate(&spec.program));
    native.args(spec.args.iter().map(|arg| translate(arg)));
    #[cfg(unix)]
    if let Some(arg0) = &spec.arg0 {
        std::os::unix::process::CommandExt::arg0(&mut native, arg0);
    }
    if spec.env_clear {
        native.env_clear();
    }
    native.envs(env);
    for (key, value) in &spec.env {
        match value {
            Some(value) => native.env(key, translate(value)),
            None => native.env_remove(key),
        };
    }
    if let Some(dir) = dir {
        native.current_dir(dir);
    }
    native
}

/// Starts the standard library's command by `start`. A thread writes its input, if that is bytes.
pub(crate) fn start_std<C>(
    spec: &SpawnSpec,
    collect: Collect,
    start: impl FnOnce(StdCommand) -> io::Result<C>,
) -> io::Result<C> {
    spec.check()?;
    let mut native = std_command(spec);
    let collects = collect == Collect::Output;
    let given = |stdio: &Option<Stdio>, stream| {
        stdio.as_ref().map(|stdio| std_stdio(stdio, stream)).transpose()
    };
    let mut input = None;
    if let Some(StdioKind::Bytes(bytes)) = spec.stdin.as_ref().and_then(Stdio::stream) {
        let (reader, writer) = io::pipe()?;
        native.stdin(reader);
        input = Some((bytes.clone(), writer));
    } else if let Some(stdin) = given(&spec.stdin, "stdin")?.or(collects.then(StdStdio::null)) {
        native.stdin(stdin);
    }
    if let Some(stdout) = given(&spec.stdout, "stdout")?.or(collects.then(StdStdio::piped)) {
        native.stdout(stdout);
    }
    if let Some(stderr) = given(&spec.stderr, "stderr")?.or(collects.then(StdStdio::piped)) {
        native.stderr(stderr);
    }
    // It drops the command, which holds the child's end of the pipe.
    let child = start(native)?;
    if let Some((bytes, mut to)) = input {
        // Beside the parent. A child need not read all of it, so an error means nothing.
        thread::Builder::new().spawn(move || _ = to.write_all(&bytes))?;
    }
    Ok(child)
}

fn std_stdio(stdio: &Stdio, stream: &'static str) -> io::Result<StdStdio> {
    Ok(match stdio.stream() {
        Some(StdioKind::Inherit) => StdStdio::inherit(),
        Some(StdioKind::Null) => StdStdio::null(),
        Some(StdioKind::Piped | StdioKind::Bytes(_)) => StdStdio::piped(),
        Some(StdioKind::Real(file)) => file.try_clone()?.into(),
        Some(StdioKind::File(file)) => match file.try_clone()?.into_real() {
            Ok(file) => file.into(),
            Err(_) => return Err(foreign(stream)),
        },
        Some(StdioKind::Reader(_) | StdioKind::Writer(_)) | None => return Err(foreign(stream)),
    })
}

fn foreign(stream: &'static str) -> io::Error {
    InputError::ForeignPipe { stream }.into()
}
