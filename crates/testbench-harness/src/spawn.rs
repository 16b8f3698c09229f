//! One spawn, from the decision to the record of its end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::Clock;
use testbench_overlay::{Fs, HostDir, Overlay};
use testbench_wasi::{Exit, Finished, GuestSpec, Mount, StartError};

use crate::bench::{Bench, Running, Ticket};
use crate::child::Child;
use crate::error::SpawnError;
use crate::pipe::Waiter;
use crate::process::Process;
use crate::refusal::Refusal;
use crate::route::{self, Route};
use crate::spec::SpawnSpec;
use crate::streams::{self, Collect, Streams};
use crate::tape::{Recording, Stream, Tap, Way};
use crate::toolchain::Tool;
use crate::{native, replayed, sys};

/// Runs a command in a session to its end.
pub(crate) fn run(
    bench: &Arc<Bench>,
    clock: &Arc<dyn Clock>,
    spec: &mut SpawnSpec,
    collect: Collect,
) -> Result<Finished, SpawnError> {
    spec.check()?;
    let route = route::resolve(bench, spec);
    run_by(bench, clock, spec, route, collect)
}

/// Runs a command in a session to its end by a route that is decided already.
pub(crate) fn run_by(
    bench: &Arc<Bench>,
    clock: &Arc<dyn Clock>,
    spec: &mut SpawnSpec,
    route: Route,
    collect: Collect,
) -> Result<Finished, SpawnError> {
    let mut start = Start::new(bench, clock, spec, route)?;
    let (streams, _) = start.streams(spec, collect)?;
    // On this thread: another one would cost more than a small guest does.
    if let Route::Guest(tool) = start.route.clone() {
        let guest = start.guest(spec, &tool, streams)?;
        let finished = testbench_wasi::run(guest).map_err(|e| start_error(spec, e))?;
        start.record(&finished, None);
        return Ok(finished);
    }
    let finished = start.beside(spec, streams)?.wait(&**clock).cloned();
    let what = "was started, but it cannot be waited for";
    finished.map_err(|source| SpawnError::failed(&spec.program, what, source))
}

/// Starts a command in a session, beside the caller.
pub(crate) fn spawn(
    bench: &Arc<Bench>,
    clock: &Arc<dyn Clock>,
    spec: &mut SpawnSpec,
) -> Result<Child, SpawnError> {
    spec.check()?;
    let route = route::resolve(bench, spec);
    let start = Start::new(bench, clock, spec, route)?;
    let (streams, ends) = start.streams(spec, Collect::Spawn)?;
    let process = start.beside(spec, streams)?;
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
    /// Numbers a spawn that goes this way, and begins its record.
    fn new(
        bench: &Arc<Bench>,
        clock: &Arc<dyn Clock>,
        spec: &SpawnSpec,
        route: Route,
    ) -> Result<Start, SpawnError> {
        let running = match &route {
            Route::Guest(_) | Route::Native { .. } | Route::Replay(_) => {
                Some(bench.run().map_err(Refusal::Ended)?)
            }
            Route::Refuse(_) => None,
        };
        let ticket = bench.begin(spec, &route);
        let recording = bench.tape.as_ref().and_then(|deck| {
            let begin = |way, is_kept| {
                Some(deck.begin(&route::call(bench, spec), way, ticket.sequence, is_kept))
            };
            match &route {
                Route::Guest(_) => begin(Way::Guest, false),
                Route::Native { record } => begin(Way::Native, *record),
                Route::Refuse(Refusal::NotOnTape(miss)) => {
                    deck.missed(miss);
                    None
                }
                // A replay is recorded when it takes its entry.
                Route::Replay(_) | Route::Refuse(_) => None,
            }
        });
        let (bench, clock) = (bench.clone(), clock.clone());
        Ok(Start { bench, clock, route, ticket, recording, _running: running })
    }

    /// The streams of this start. A refused one leaves the command as it is.
    fn streams(
        &self,
        spec: &mut SpawnSpec,
        collect: Collect,
    ) -> Result<(Streams, streams::Ends), SpawnError> {
        match &self.route {
            Route::Refuse(refusal) => Err(refusal.clone().into()),
            _ => streams::take(spec, collect),
        }
    }

    /// Writes down how `process` ended, announces it, and lets the session end. `lost` is the error
    /// if a part of its result could not be kept.
    pub(crate) fn end(
        mut self,
        process: &Process,
        finished: Finished,
        real_time: Option<Duration>,
        lost: Option<SpawnError>,
    ) {
        self.record(&finished, real_time);
        process.finish(finished, lost);
    }

    /// Writes down how the child ended.
    fn record(&mut self, finished: &Finished, real_time: Option<Duration>) {
        if let (Some(recording), Some(deck)) = (self.recording.take(), &self.bench.tape) {
            let ended = self.clock.wall();
            deck.add(recording.finish(Ok(&finished.exit), finished.virtual_time, ended));
        }
        self.bench.end(&self.ticket, finished, real_time);
    }

    /// Starts the child on threads of its own.
    fn beside(self, spec: &SpawnSpec, streams: Streams) -> Result<Arc<Process>, SpawnError> {
        match self.route.clone() {
            Route::Guest(tool) => self.guest_beside(spec, &tool, streams),
            Route::Native { .. } => native::start(self, spec, streams),
            Route::Replay(_) => replayed::start(self, spec, streams),
            Route::Refuse(refusal) => Err(refusal.into()),
        }
    }

    /// A guest on a thread of its own.
    fn guest_beside(
        self,
        spec: &SpawnSpec,
        tool: &Tool,
        streams: Streams,
    ) -> Result<Arc<Process>, SpawnError> {
        let guest = self.guest(spec, tool, streams)?;
        let process = Process::new(self.ticket.id, spec.program.display().to_string());
        let bench = self.bench.clone();
        bench.add(&process);
        let at_end = {
            let process = process.clone();
            move |finished: Option<&Finished>| {
                // Without a result the host broke while the guest used it; the panic hook has told.
                let aborted = || Finished::new(Exit::Signal(sys::SIGABRT));
                self.end(&process, finished.cloned().unwrap_or_else(aborted), None, None);
            }
        };
        let running = testbench_wasi::start_with(guest, at_end);
        let running = running.map_err(|e| start_error(spec, e))?;
        process.killed_by(move |why| running.kill(why));
        Ok(process)
    }

    /// Makes the specification of a guest.
    fn guest(
        &self,
        spec: &SpawnSpec,
        tool: &Tool,
        streams: Streams,
    ) -> Result<GuestSpec, SpawnError> {
        let (bench, program) = (&self.bench, || spec.program.clone());
        #[expect(clippy::disallowed_methods, reason = "a spawn starts in it, as in std")]
        let process_dir = std::env::current_dir().ok();
        let cwd = bench
            .files
            .cwd(spec.current_dir.as_deref(), process_dir.as_deref())
            .map_err(|source| SpawnError::CurrentDir { program: program(), source })?;
        let module =
            tool.module().map_err(|source| SpawnError::Module { program: program(), source })?;
        if let Some(recording) = &self.recording {
            recording.ran(module.hash());
        }
        let mut limits = spec.limits.clone().unwrap_or_else(|| bench.limits.clone());
        if let Some(timeout) = spec.timeout {
            limits.virtual_deadline =
                Some(limits.virtual_deadline.map_or(timeout, |limit| limit.min(timeout)));
        }
        let mut guest = GuestSpec::new(module)
            .name(spec.program.display().to_string())
            .id(self.ticket.id)
            .arg0(sys::guest_bytes(spec.arg0.as_deref().or(tool.argv0()).unwrap_or(&spec.program)))
            .args(spec.args.iter().map(|arg| sys::guest_bytes(arg)))
            .envs(env(bench, spec, tool, cwd.as_deref().unwrap_or(b"/")))
            .stdin(streams::guest_stdin(streams.stdin, self.tap(Stream::Stdin)))
            .stdout(streams::guest_output(streams.stdout, self.tap(Stream::Stdout)))
            .stderr(streams::guest_output(streams.stderr, self.tap(Stream::Stderr)))
            .clock(self.clock.clone())
            .random(bench.random(&spec.program, &self.ticket))
            .limits(limits)
            .cancel(bench.cancel.clone());
        if let Some(cwd) = cwd {
            guest = guest.cwd(cwd);
        }
        let tree = |overlay: &Arc<Overlay>| match &self.recording {
            Some(recording) => recording.tree(overlay),
            None => overlay.clone() as Arc<dyn Fs>,
        };
        for mount in bench.files.mounts(tree) {
            guest = guest.mount(mount);
        }
        for (dir, guest_path) in tool.mounts() {
            let opened = HostDir::open(dir).map_err(|source| {
                let what = format!("was not started: testbench.toml mounts `{}`", dir.display());
                SpawnError::failed(&spec.program, what, source)
            })?;
            guest = guest.mount(Mount::new(Arc::new(opened.read_only()), guest_path));
        }
        Ok(guest)
    }

    /// Returns what hears a stream of the child, if it is recorded.
    pub(crate) fn tap(&self, stream: Stream) -> Option<Tap> {
        self.recording.as_ref().map(|recording| recording.tap(stream))
    }
}

fn start_error(spec: &SpawnSpec, error: StartError) -> SpawnError {
    let kind = match error {
        StartError::Module(source) => {
            return SpawnError::Module { program: spec.program.clone(), source };
        }
        StartError::NulInArgument { .. } | StartError::Environment { .. } => {
            io::ErrorKind::InvalidInput
        }
        _ => io::ErrorKind::Other,
    };
    SpawnError::failed(&spec.program, "could not be started", io::Error::new(kind, error))
}

/// The guest's environment, ordered by key: the tool's, the session's, changed as the command says,
/// and `PWD`.
fn env(bench: &Bench, spec: &SpawnSpec, tool: &Tool, cwd: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let tools = tool.envs().map(|(key, value)| (OsStr::new(key), OsStr::new(value)));
    let mut vars: BTreeMap<&OsStr, &OsStr> = tools.collect();
    if !spec.env_clear {
        vars.extend(bench.env.iter().map(|(key, value)| (key.as_os_str(), value.as_os_str())));
    }
    for (key, value) in spec.envs() {
        match value {
            Some(value) => vars.insert(key, value),
            None => vars.remove(key),
        };
    }
    let said = |key: &str| spec.env.contains_key(OsStr::new(key));
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
