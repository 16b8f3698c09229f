//! One spawn, from the decision to the record of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::Clock;
use testbench_overlay::{Fs, HostDir, Overlay};
use testbench_wasi::{Exit, Finished, GuestSpec, Mount, StartError};

use crate::bench::{Bench, Running, Ticket};
use crate::child::{Child, Ends};
use crate::command::{Collect, Run};
use crate::error::InputError;
use crate::pipe::Waiter;
use crate::process::{Ended, Process};
use crate::stdio::Stdio;
use crate::streams::{self, Streams};
use crate::sys::{self, Status};
use crate::tape::{Recording, Stream, Tap, Way};
use crate::{Command, Refusal, Route, SpawnError, Tool, native, replayed, route};

/// Runs a command in a session to its end.
pub(crate) fn run(
    bench: &Arc<Bench>,
    clock: &Arc<dyn Clock>,
    command: &mut Command,
    collect: Collect,
) -> Result<Run, SpawnError> {
    let start = Start::decide(bench, clock, command)?;
    run_decided(start, clock, command, collect)
}

/// Runs a command in a session to its end by a tool that the caller has chosen.
pub(crate) fn run_tool(
    bench: &Arc<Bench>,
    clock: &Arc<dyn Clock>,
    command: &mut Command,
    tool: Tool,
    collect: Collect,
) -> Result<Run, SpawnError> {
    check(command)?;
    let start = Start::of_route(bench, clock, command, Route::Guest(tool))?;
    run_decided(start, clock, command, collect)
}

fn run_decided(
    mut start: Start,
    clock: &Arc<dyn Clock>,
    command: &mut Command,
    collect: Collect,
) -> Result<Run, SpawnError> {
    let streams = start.streams(command, collect)?.0;
    let ended = match start.route.clone() {
        // On this thread: another one would cost more than a small guest does.
        Route::Guest(tool) => {
            let spec = start.guest(command, &tool, streams)?;
            let finished = testbench_wasi::run(spec).map_err(|e| start_error(command, e))?;
            let ended = ended(finished);
            start.record(&ended);
            ended
        }
        route @ (Route::Native | Route::Replay(_)) => {
            let process = match route {
                Route::Native => native::start(start, command, streams)?,
                _ => replayed::start(start, command, streams)?,
            };
            let ended = process.wait(&**clock);
            let ended = ended
                .map_err(|source| SpawnError::Wait { program: command.program.clone(), source });
            ended?.clone()
        }
        Route::Refuse(refusal) => return Err(refusal.into()),
    };
    Ok(Run {
        output: Output { status: ended.status, stdout: ended.stdout, stderr: ended.stderr },
        exit: ended.exit,
        virtual_time: ended.virtual_time,
    })
}

/// Starts a command in a session, beside the caller.
pub(crate) fn spawn(
    bench: &Arc<Bench>,
    clock: &Arc<dyn Clock>,
    command: &mut Command,
) -> Result<Child, SpawnError> {
    let mut start = Start::decide(bench, clock, command)?;
    let (streams, ends): (Streams, Ends) = start.streams(command, Collect::Spawn)?;
    let process = match start.route.clone() {
        Route::Guest(tool) => start.guest_beside(command, &tool, streams)?,
        Route::Native => native::start(start, command, streams)?,
        Route::Replay(_) => replayed::start(start, command, streams)?,
        Route::Refuse(refusal) => return Err(refusal.into()),
    };
    Ok(Child::of_session(process, Waiter::new(bench, clock), ends))
}

/// A spawn that is under way: decided, numbered, and written down as begun.
pub(crate) struct Start {
    pub(crate) bench: Arc<Bench>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) route: Route,
    pub(crate) ticket: Ticket,
    /// If the session has a tape and this goes onto it.
    pub(crate) recording: Option<Recording>,
    /// Until the spawn has ended, so that the end of the session waits for it.
    _running: Option<Running>,
}

impl Start {
    /// Decides which way `command` goes.
    fn decide(
        bench: &Arc<Bench>,
        clock: &Arc<dyn Clock>,
        command: &Command,
    ) -> Result<Start, SpawnError> {
        check(command)?;
        Start::of_route(bench, clock, command, route::resolve(bench, command))
    }

    fn of_route(
        bench: &Arc<Bench>,
        clock: &Arc<dyn Clock>,
        command: &Command,
        route: Route,
    ) -> Result<Start, SpawnError> {
        let running = match &route {
            Route::Guest(_) | Route::Native | Route::Replay(_) => {
                Some(bench.run().map_err(Refusal::Ended)?)
            }
            Route::Refuse(_) => None,
        };
        let ticket = bench.begin(command, &route);
        let recording = begin_recording(bench, command, &route, ticket.sequence);
        let (bench, clock) = (bench.clone(), clock.clone());
        Ok(Start { bench, clock, route, ticket, recording, _running: running })
    }

    /// The streams of this start. A refused one leaves the command as it is.
    fn streams(
        &mut self,
        command: &mut Command,
        collect: Collect,
    ) -> Result<(Streams, Ends), SpawnError> {
        match &self.route {
            Route::Refuse(refusal) => Err(refusal.clone().into()),
            _ => streams::take(command, collect),
        }
    }

    /// Writes down how `process` ended, tells whoever waits for it, and lets the session end.
    pub(crate) fn end(mut self, ended: Ended, process: &Process) {
        self.record(&ended);
        process.finish(ended);
    }

    /// Writes down how the child ended.
    fn record(&mut self, ended: &Ended) {
        if let Some(recording) = self.recording.take() {
            let (exit, now) = (ended.exit.as_ref(), self.clock.wall());
            recording.finish(ended.status, exit, ended.virtual_time, now);
        }
        self.bench.end(&self.ticket, ended);
    }

    /// A guest on a thread of its own.
    fn guest_beside(
        self,
        command: &Command,
        tool: &Tool,
        streams: Streams,
    ) -> Result<Arc<Process>, SpawnError> {
        let spec = self.guest(command, tool, streams)?;
        let process = Process::new(self.ticket.id, command.program.display().to_string());
        let bench = self.bench.clone();
        bench.add(&process);
        let at_end = {
            let process = process.clone();
            move |finished: Option<&Finished>| {
                let ended = finished.map_or_else(panicked, |finished| ended(finished.clone()));
                self.end(ended, &process);
            }
        };
        let running = testbench_wasi::start_with(spec, at_end);
        let running = running.map_err(|e| start_error(command, e))?;
        process.killed_by(move |why| running.kill(why));
        Ok(process)
    }

    /// What a guest is made of.
    fn guest(
        &self,
        command: &Command,
        tool: &Tool,
        streams: Streams,
    ) -> Result<GuestSpec, SpawnError> {
        let (bench, program) = (&self.bench, || command.program.clone());
        #[expect(clippy::disallowed_methods, reason = "a spawn starts in it, as in std")]
        let process_dir = std::env::current_dir().ok();
        let cwd = bench
            .files
            .cwd(command.current_dir.as_deref(), process_dir.as_deref())
            .map_err(|source| SpawnError::CurrentDir { program: program(), source })?;
        let module =
            tool.module().map_err(|source| SpawnError::Module { program: program(), source })?;
        if let Some(recording) = &self.recording {
            recording.ran(module.hash());
        }
        let mut limits = command.limits.clone().unwrap_or_else(|| bench.limits.clone());
        if let Some(timeout) = command.timeout {
            limits.virtual_deadline =
                Some(limits.virtual_deadline.map_or(timeout, |limit| limit.min(timeout)));
        }
        let mut spec = GuestSpec::new(module)
            .name(command.program.display().to_string())
            .id(self.ticket.id)
            .arg0(sys::guest_bytes(
                command.arg0.as_deref().or(tool.argv0()).unwrap_or(&command.program),
            ))
            .args(command.args.iter().map(|arg| sys::guest_bytes(arg)))
            .envs(env(bench, command, tool, cwd.as_deref().unwrap_or(b"/")))
            .stdin(streams.stdin.for_guest(self.tap(Stream::Stdin)))
            .stdout(streams.stdout.for_guest(self.tap(Stream::Stdout)))
            .stderr(streams.stderr.for_guest(self.tap(Stream::Stderr)))
            .clock(self.clock.clone())
            .random(bench.random(&command.program, &self.ticket))
            .limits(limits)
            .cancel(bench.cancel.clone());
        if let Some(cwd) = cwd {
            spec = spec.cwd(cwd);
        }
        let tree = |overlay: &Arc<Overlay>| match &self.recording {
            Some(recording) => recording.tree(overlay),
            None => overlay.clone() as Arc<dyn Fs>,
        };
        for mount in bench.files.mounts(tree) {
            spec = spec.mount(mount);
        }
        for (dir, guest_path) in tool.mounts() {
            let opened = HostDir::open(dir).map_err(|source| SpawnError::Mount {
                program: program(),
                dir: dir.to_owned(),
                source,
            })?;
            spec = spec.mount(Mount::new(Arc::new(opened.read_only()), guest_path));
        }
        Ok(spec)
    }
}

impl Start {
    /// What hears a stream of the child, if it is recorded.
    pub(crate) fn tap(&self, stream: Stream) -> Option<Tap> {
        self.recording.as_ref().map(|recording| recording.tap(stream))
    }
}

/// Begins to record a spawn that goes this way, if the session has a tape and it belongs there.
fn begin_recording(
    bench: &Bench,
    command: &Command,
    route: &Route,
    sequence: u32,
) -> Option<Recording> {
    let deck = bench.tape.as_ref()?;
    let begin =
        |way, is_kept| Some(deck.begin(&route::call(bench, command), way, sequence, is_kept));
    match route {
        Route::Guest(_) => begin(Way::Guest, false),
        Route::Native => begin(Way::Native, route::is_recorded(bench, command)),
        Route::Refuse(Refusal::NotOnTape(miss)) => {
            deck.missed(miss);
            None
        }
        // A replay is recorded when it takes its entry.
        Route::Replay(_) | Route::Refuse(_) => None,
    }
}

fn start_error(command: &Command, error: StartError) -> SpawnError {
    let program = command.program.clone();
    match error {
        StartError::Module(source) => SpawnError::Module { program, source },
        source => SpawnError::Start { program, source },
    }
}

fn ended(finished: Finished) -> Ended {
    Ended {
        status: sys::exit_status(status_of(&finished.exit)),
        exit: Some(finished.exit),
        virtual_time: finished.virtual_time,
        real_time: None,
        stdout: finished.stdout,
        stderr: finished.stderr,
        lost: None,
    }
}

/// Something of the host's broke while the guest used it; the panic hook has told what.
fn panicked() -> Ended {
    Ended {
        status: sys::exit_status(Status::Aborted),
        exit: None,
        virtual_time: Duration::ZERO,
        real_time: None,
        stdout: Vec::new(),
        stderr: Vec::new(),
        lost: None,
    }
}

/// What the parent of a process would see.
fn status_of(exit: &Exit) -> Status {
    match exit {
        Exit::Code(code) => Status::Code(*code),
        Exit::Trap(_) => Status::Aborted,
        _ => Status::Killed,
    }
}

/// The guest's environment, ordered by key: the tool's, the session's, changed as the command says,
/// and `PWD`.
fn env(bench: &Bench, command: &Command, tool: &Tool, cwd: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let tools = tool.envs().map(|(key, value)| (OsStr::new(key), OsStr::new(value)));
    let mut vars: BTreeMap<&OsStr, &OsStr> = tools.collect();
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
        let at = vars.partition_point(|(key, _)| key.as_slice() < &b"PWD"[..]);
        vars.insert(at, (b"PWD".to_vec(), cwd.to_vec()));
    }
    vars
}

/// What no program can be given, whichever way it goes.
pub(crate) fn check(command: &Command) -> Result<(), SpawnError> {
    let has_nul = |text: &OsStr| text.as_encoded_bytes().contains(&0);
    let is_bytes = |stdio: &Option<Stdio>| stdio.as_ref().is_some_and(Stdio::is_bytes);
    let source = if has_nul(&command.program) {
        InputError::NulInProgram
    } else if let Some(index) = command.args.iter().position(|arg| has_nul(arg)) {
        InputError::NulInArgument { index: index + 1 }
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
