//! The only caller of [`std::process`]: commands without a session, and programs that a policy
//! lets run natively.

use std::io::{self, Write};
use std::process::{Child, Output, Stdio as StdStdio};
use std::thread;
use std::time::Duration;

use testbench_clock::{Clock, SystemClock, Wait};

use crate::bench::Bench;
use crate::command::{Collect, Run, Stdio, StdioKind};
use crate::{Command, SpawnError, spawn};

/// Runs a command as the standard library would.
pub(crate) fn run(command: &Command, collect: Collect) -> io::Result<Run> {
    spawn::check(command)?;
    let output = start(command, std_command(command), command.stdin.as_ref(), collect)?;
    Ok(Run { output, exit: None, virtual_time: Duration::ZERO })
}

/// Runs a command natively for a session without an overlay: with empty input if none is set, in
/// the environment of this process with the session's variables in it, and with the timeline held
/// still until it ends.
///
/// The real time that it took, in milliseconds begun, then passes on the session's clock.
pub(crate) fn run_in(
    bench: &Bench,
    clock: &dyn Clock,
    command: &Command,
    collect: Collect,
) -> Result<Run, SpawnError> {
    let program = || command.program.clone();
    let mut native = std_command(command);
    if !command.env_clear {
        // Below what the command itself says.
        for (key, value) in bench.env.iter().filter(|(key, _)| !command.env.contains_key(*key)) {
            native.env(key, value);
        }
    }
    let stdin = command.stdin.clone().unwrap_or_else(Stdio::null);
    let real = SystemClock::new("native");
    let began = real.mono();
    let outside = clock.external(&format_args!("the native program `{}`", program().display()));
    let result = start(command, native, Some(&stdin), collect);
    let took = whole_millis(real.mono().duration_since(began));
    drop(outside);
    let output = result.map_err(|source| SpawnError::Native { program: program(), source })?;
    let mut virtual_time = Duration::ZERO;
    if clock.is_mocked() {
        let what = format_args!("the time that `{}` took", program().display()).to_string();
        clock
            .wait(Wait { deadline: clock.mono().checked_add(took), on: &[], what: &what })
            .map_err(|source| SpawnError::Clock { program: program(), source })?;
        virtual_time = took;
    }
    Ok(Run { output, exit: None, virtual_time })
}

/// The standard library's command of the same meaning, with its standard streams not set.
pub(crate) fn std_command(command: &Command) -> std::process::Command {
    let mut native = std::process::Command::new(&command.program);
    native.args(&command.args);
    #[cfg(unix)]
    if let Some(arg0) = &command.arg0 {
        std::os::unix::process::CommandExt::arg0(&mut native, arg0);
    }
    if command.env_clear {
        native.env_clear();
    }
    for (key, value) in &command.env {
        match value {
            Some(value) => native.env(key, value),
            None => native.env_remove(key),
        };
    }
    if let Some(dir) = &command.current_dir {
        native.current_dir(dir);
    }
    native
}

/// Sets the streams and runs to the end.
fn start(
    command: &Command,
    mut native: std::process::Command,
    stdin: Option<&Stdio>,
    collect: Collect,
) -> io::Result<Output> {
    if let Some(stdout) = &command.stdout {
        native.stdout(std_stdio(stdout));
    }
    if let Some(stderr) = &command.stderr {
        native.stderr(std_stdio(stderr));
    }
    if let Some(stdin) = stdin {
        native.stdin(std_stdio(stdin));
    }
    if let Some(StdioKind::Bytes(bytes)) = stdin.map(|stdin| &stdin.kind) {
        if collect == Collect::Output {
            // The defaults of `output`, which `spawn` does not have.
            if command.stdout.is_none() {
                native.stdout(StdStdio::piped());
            }
            if command.stderr.is_none() {
                native.stderr(StdStdio::piped());
            }
        }
        return feed(native.spawn()?, bytes);
    }
    match collect {
        Collect::Output => native.output(),
        Collect::Status => {
            let status = native.status()?;
            Ok(Output { status, stdout: Vec::new(), stderr: Vec::new() })
        }
    }
}

fn std_stdio(stdio: &Stdio) -> StdStdio {
    match stdio.kind {
        StdioKind::Inherit => StdStdio::inherit(),
        StdioKind::Null => StdStdio::null(),
        StdioKind::Piped | StdioKind::Bytes(_) => StdStdio::piped(),
    }
}

/// Writes its input to a child while collecting what it writes.
fn feed(mut child: Child, input: &[u8]) -> io::Result<Output> {
    let stdin = child.stdin.take();
    // Side by side, since a child that echoes stops reading when its output is not taken.
    thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.map_or(Ok(()), |mut pipe| pipe.write_all(input)));
        let output = child.wait_with_output()?;
        match writer.join().unwrap_or(Ok(())) {
            // A child need not read all of its input.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(output),
        }
    })
}

fn whole_millis(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
