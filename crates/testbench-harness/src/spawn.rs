//! One spawn, from the decision to the record of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::Clock;
use testbench_wasi::{Exit, GuestSpec, StartError, Stdin, Stdout};

use crate::bench::{Bench, Ticket};
use crate::command::{Collect, Run, Stdio, StdioKind};
use crate::error::InputError;
use crate::report::SpawnRecord;
use crate::sys::{self, Status};
use crate::{Command, Refusal, Route, SpawnError, Tool, native, route};

/// Decides which way `command` goes, goes it, and records that it went.
pub(crate) fn spawn(
    bench: &Bench,
    clock: &Arc<dyn Clock>,
    command: &Command,
    collect: Collect,
) -> Result<Run, SpawnError> {
    check(command)?;
    let route = route::resolve(bench, command);
    // Until the spawn is recorded, so that the report of a session that ends meanwhile has it.
    let _running = match &route {
        Route::Guest(_) | Route::Native => Some(bench.run().map_err(Refusal::Ended)?),
        Route::Refuse(_) => None,
    };
    let ticket = bench.ticket(&command.program);
    let result = match &route {
        Route::Guest(tool) => guest(bench, clock, command, collect, tool, &ticket),
        Route::Native => native::run_in(bench, &**clock, command, collect),
        Route::Refuse(refusal) => Err(refusal.clone().into()),
    };
    let run = result.as_ref().ok();
    bench.record(SpawnRecord {
        sequence: ticket.sequence,
        program: command.program.clone(),
        args: command.args.clone(),
        route,
        status: run.map(|run| run.output.status),
        exit: run.and_then(|run| run.exit.clone()),
        virtual_time: run.map_or(Duration::ZERO, |run| run.virtual_time),
    });
    result
}

fn guest(
    bench: &Bench,
    clock: &Arc<dyn Clock>,
    command: &Command,
    collect: Collect,
    tool: &Tool,
    ticket: &Ticket,
) -> Result<Run, SpawnError> {
    let program = || command.program.clone();
    let process_dir = std::env::current_dir().ok();
    let cwd = bench
        .files
        .cwd(command.current_dir.as_deref(), process_dir.as_deref())
        .map_err(|source| SpawnError::CurrentDir { program: program(), source })?;
    let module =
        tool.module().map_err(|source| SpawnError::Module { program: program(), source })?;
    let mut spec = GuestSpec::new(module)
        .name(command.program.display().to_string())
        .id(ticket.id)
        .arg0(sys::guest_bytes(command.get_arg0()))
        .args(command.args.iter().map(|arg| sys::guest_bytes(arg)))
        .envs(env(bench, command, cwd.as_deref().unwrap_or(b"/")))
        .stdin(stdin(command.stdin.as_ref()))
        .stdout(stdout(command.stdout.as_ref(), collect))
        .stderr(stdout(command.stderr.as_ref(), collect))
        .clock(clock.clone())
        .random(bench.random(&command.program, ticket))
        .limits(command.limits.clone().unwrap_or_else(|| bench.limits.clone()))
        .cancel(bench.cancel.clone());
    if let Some(cwd) = cwd {
        spec = spec.cwd(cwd);
    }
    for mount in bench.files.mounts() {
        spec = spec.mount(mount);
    }
    let finished = testbench_wasi::run(spec).map_err(|source| match source {
        StartError::Module(source) => SpawnError::Module { program: program(), source },
        source => SpawnError::Start { program: program(), source },
    })?;
    Ok(Run {
        output: Output {
            status: sys::exit_status(status_of(&finished.exit)),
            // A pipe that nobody reads from swallows what is written.
            stdout: collected(finished.stdout, collect),
            stderr: collected(finished.stderr, collect),
        },
        exit: Some(finished.exit),
        virtual_time: finished.virtual_time,
    })
}

/// What the parent of a process would see.
fn status_of(exit: &Exit) -> Status {
    match exit {
        Exit::Code(code) => Status::Code(*code),
        Exit::Trap(_) => Status::Aborted,
        _ => Status::Killed,
    }
}

fn collected(bytes: Vec<u8>, collect: Collect) -> Vec<u8> {
    match collect {
        Collect::Output => bytes,
        Collect::Status => Vec::new(),
    }
}

/// The guest's environment, ordered by key: the session's, changed as the command says, and `PWD`.
fn env(bench: &Bench, command: &Command, cwd: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut vars: BTreeMap<&OsStr, &OsStr> = BTreeMap::new();
    if !command.env_clear {
        vars.extend(bench.env.iter().map(|(key, value)| (key.as_os_str(), value.as_os_str())));
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => vars.insert(key, value),
            None => vars.remove(key),
        };
    }
    let said = |key: &str| command.env.contains_key(OsStr::new(key));
    let mut vars: Vec<_> = vars
        .into_iter()
        .map(|(key, value)| (sys::guest_bytes(key), sys::guest_bytes(value)))
        .collect();
    if !said("PWD") {
        // Some runtimes know their working directory from here alone.
        vars.retain(|(key, _)| key != b"PWD");
        let at = vars.partition_point(|(key, _)| key.as_slice() < b"PWD");
        vars.insert(at, (b"PWD".to_vec(), cwd.to_vec()));
    }
    vars
}

fn stdin(from: Option<&Stdio>) -> Stdin {
    match from.map(|stdio| &stdio.kind) {
        Some(StdioKind::Inherit) => Stdin::Inherit,
        Some(StdioKind::Bytes(bytes)) => Stdin::Bytes(bytes.clone()),
        Some(StdioKind::Null | StdioKind::Piped) | None => Stdin::Empty,
    }
}

fn stdout(to: Option<&Stdio>, collect: Collect) -> Stdout {
    match (to.map(|stdio| &stdio.kind), collect) {
        (Some(StdioKind::Inherit), _) | (None, Collect::Status) => Stdout::Inherit,
        (Some(StdioKind::Piped), _) | (None, Collect::Output) => Stdout::Capture,
        (Some(StdioKind::Null | StdioKind::Bytes(_)), _) => Stdout::Null,
    }
}

/// What no program can be given, whichever way it goes.
pub(crate) fn check(command: &Command) -> Result<(), SpawnError> {
    let has_nul = |text: &OsStr| text.as_encoded_bytes().contains(&0);
    let is_bytes = |stdio: &Option<Stdio>| {
        stdio.as_ref().is_some_and(|stdio| matches!(stdio.kind, StdioKind::Bytes(_)))
    };
    let source = if has_nul(&command.program) {
        InputError::NulInProgram
    } else if let Some(dir) = command.current_dir.as_ref().filter(|dir| has_nul(dir.as_os_str())) {
        InputError::NulInCurrentDir { dir: dir.clone() }
    } else if is_bytes(&command.stdout) {
        InputError::BytesAsOutput { stream: "stdout" }
    } else if is_bytes(&command.stderr) {
        InputError::BytesAsOutput { stream: "stderr" }
    } else {
        return Ok(());
    };
    Err(SpawnError::Input { program: command.program.clone(), source })
}
