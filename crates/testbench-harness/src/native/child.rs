//! A native child of a session, from its start to its end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::process::{Child as StdChild, Command as StdCommand, ExitStatus, Stdio as StdStdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use testbench_clock::{Armed, Clock, Event, MonoTime, Role, SystemClock, Wait, Watchdog};
use testbench_wasi::{Exit, Finished, Limit};

use super::copy::Copy;
use super::hold::{Hold, Phase};
use super::idle::{self, Look};
use super::pump::{self, Collector};
use crate::bench::Bench;
use crate::error::SpawnError;
use crate::process::Process;
use crate::spawn::Start;
use crate::spec::SpawnSpec;
use crate::stdio::StdioKind;
use crate::streams::Streams;
use crate::sys;
use crate::tape::{Recording, Stream, Tap, Tapped};

/// Starts a program of the host's as a child of a session.
pub(crate) fn start(
    mut start: Start,
    spec: &SpawnSpec,
    streams: Streams,
) -> Result<Arc<Process>, SpawnError> {
    let failed = |source| SpawnError::Native { program: spec.program.clone(), source };
    let name = spec.program.display().to_string();
    let copy = Copy::of(&start.bench, spec)?;
    let native = command_in(&start.bench, spec, copy.as_ref())?;
    if let (Some(recording), Some(copy)) = (&mut start.recording, &copy) {
        recording.add_root(copy.dir());
    }

    let hold = Hold::new(&start.clock, format!("the native program `{name}`"));
    let real = SystemClock::new("native");
    let (began, virtual_began) = (real.mono(), start.clock.mono());
    let (child, collectors) = match start_copying(native, streams, start.recording.as_ref(), &hold)
    {
        Ok(started) => started,
        Err(error) => {
            if let (Some(recording), Some(deck)) = (start.recording, &start.bench.tape) {
                let ended = start.clock.wall();
                deck.add(recording.finish(Err(&error), Duration::ZERO, ended));
            }
            return Err(failed(error));
        }
    };

    let process = Process::new(start.ticket.id, name);
    let child = Arc::new(NativeChild {
        pid: child.id(),
        child: Mutex::new(child),
        hold: hold.clone(),
        ended_by: OnceLock::new(),
    });
    start.bench.add_hold(&hold);
    let killed = child.clone();
    process.killed_by(move |why| killed.kill(Exit::Killed(why.into())));
    start.bench.add(&process);
    let limits = spec.limits.as_ref().unwrap_or(&start.bench.limits);
    let armed = child.arm(spec.timeout, limits.watchdog).map_err(failed)?;
    if start.clock.is_mocked() {
        watch(&child, &hold).map_err(failed)?;
    }
    let life = Life {
        program: spec.program.clone(),
        start,
        process: process.clone(),
        child,
        collectors,
        copy,
        armed,
        began: virtual_began,
    };
    let took = move || real.mono().duration_since(began);
    let thread = thread::Builder::new().name(format!("native {}", process.name));
    thread.spawn(move || life.run(took)).map_err(failed)?;
    Ok(process)
}

/// The standard library's command for a child of a session: the environment of this process, then
/// the session's variables, then the command's own, and the session's files.
fn command_in(
    bench: &Bench,
    spec: &SpawnSpec,
    copy: Option<&Copy>,
) -> Result<StdCommand, SpawnError> {
    let translate = |text: &OsStr| match copy {
        Some(copy) => copy.translate(text),
        None => text.to_owned(),
    };
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    if !spec.env_clear {
        env.extend(bench.env.iter().map(|(key, value)| (key.clone(), translate(value))));
    }
    let cwd = match copy {
        Some(copy) => Some(copy.current_dir(bench, spec)?),
        None => spec.current_dir.clone(),
    };
    if let (Some(_), Some(cwd)) = (copy, &cwd) {
        // As guests have it. The process's own names a real directory.
        env.push(("PWD".into(), cwd.into()));
    }
    Ok(super::command_with(spec, env, cwd.as_deref(), translate))
}

/// A pipe of the system's, and the stream that is copied into it or out of it.
type Copied = (StdioKind, Tapped<File>);

/// The collectors of stdout and stderr. The child has ended for its parent when they have.
type Collectors = [Option<Collector>; 2];

/// Starts the program and the threads that copy for it.
fn start_copying(
    mut native: StdCommand,
    streams: Streams,
    recording: Option<&Recording>,
    hold: &Arc<Hold>,
) -> io::Result<(StdChild, Collectors)> {
    let tap = |stream| recording.map(|recording| recording.tap(stream));
    let (stdin, feed) = connect(Stream::Stdin, streams.stdin, tap(Stream::Stdin))?;
    native.stdin(stdin);
    let (drain_out, drain_err);
    match (streams.stdout, streams.stderr) {
        // Bytes that share a pipe must keep their order.
        (StdioKind::Writer(to), StdioKind::Writer(same)) if to.is_same_pipe(&same) => {
            let (reader, writer) = io::pipe()?;
            let reader = Tapped::new(sys::file_of(reader), tap(Stream::Stdout));
            (drain_out, drain_err) = (Some((StdioKind::Writer(to), reader)), None);
            native.stdout(writer.try_clone()?).stderr(writer);
        }
        (stdout, stderr) => {
            let (out, err);
            (out, drain_out) = connect(Stream::Stdout, stdout, tap(Stream::Stdout))?;
            (err, drain_err) = connect(Stream::Stderr, stderr, tap(Stream::Stderr))?;
            native.stdout(out).stderr(err);
        }
    };
    let mut child = spawn_when_not_busy(&mut native)?;
    // It holds the child's ends of the pipes.
    drop(native);
    let drain = |stream, drain: Option<Copied>| {
        drain.map_or(Ok(None), |(to, from)| pump::drain(hold, stream, from, to))
    };
    let copy = || {
        feed.map_or(Ok(()), |(from, to)| pump::feed(hold, from, to))?;
        Ok([drain(Stream::Stdout, drain_out)?, drain(Stream::Stderr, drain_err)?])
    };
    match copy() {
        Ok(collectors) => Ok((child, collectors)),
        Err(error) => {
            // Without its streams the child cannot do its work.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// The system's end of a stream for the child, and what is copied between it and the session.
fn connect(
    stream: Stream,
    kind: StdioKind,
    tap: Option<Tap>,
) -> io::Result<(StdStdio, Option<Copied>)> {
    let is_input = stream == Stream::Stdin;
    // Recorded output must pass by here.
    let is_direct = is_input || tap.is_none();
    Ok(match kind {
        StdioKind::Null if is_direct => {
            // There is nothing to be heard, whether the child looks or not.
            tap.inspect(Tap::ended);
            (StdStdio::null(), None)
        }
        StdioKind::Inherit if is_direct => (StdStdio::inherit(), None),
        StdioKind::Real(file) if is_direct => (file.into(), None),
        kind => {
            let (reader, writer) = io::pipe()?;
            let (theirs, ours) = match is_input {
                true => (reader.into(), sys::file_of(writer)),
                false => (writer.into(), sys::file_of(reader)),
            };
            (theirs, Some((kind, Tapped::new(ours, tap))))
        }
    })
}

/// Starts a program that may just have been written.
///
/// A program that is open for writing cannot be started. A process that another thread forks has
/// all open files of this process until it starts its own program.
fn spawn_when_not_busy(native: &mut StdCommand) -> io::Result<StdChild> {
    // About as many milliseconds: far more than it takes, even on a busy machine.
    const TRIES: u32 = 300;
    for _ in 1..TRIES {
        match native.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => pause(),
            done => return done,
        }
    }
    native.spawn()
}

/// Blocks for a moment of real time.
fn pause() {
    let real = SystemClock::new("native");
    let deadline = real.mono().checked_add(POLL_PAUSE);
    // This clock is not shared, so nothing can cancel it.
    let _ = real.wait(Wait { deadline, on: &[], what: &"a native program" });
}

/// The operating system's side of a child.
struct NativeChild {
    pid: u32,
    /// Locked for moments only: the wait for its end is made without it.
    child: Mutex<StdChild>,
    hold: Arc<Hold>,
    /// Why it was ended by force, if it was.
    ended_by: OnceLock<Exit>,
}

impl NativeChild {
    /// Ends it by force. Its id belongs to no other process before [`NativeChild::wait`] has
    /// reaped it, which takes the same lock.
    fn kill(&self, why: Exit) {
        // The first reason stays.
        let _ = self.ended_by.set(why);
        self.hold.reach(Phase::Killed);
        // The only error is that it has ended.
        let _ = self.lock().kill();
    }

    /// Blocks until it has ended.
    fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            sys::wait_for_end(self.pid);
            if let Some(status) = self.lock().try_wait()? {
                return Ok(status);
            }
            // Where the platform has no such wait.
            pause();
        }
    }

    /// Arms the watchdogs that end it after so much real time.
    fn arm(
        self: &Arc<Self>,
        timeout: Option<Duration>,
        watchdog: Option<Duration>,
    ) -> io::Result<Vec<Armed>> {
        let timeout = timeout.map(|after| (after, Limit::VirtualDeadline { after }));
        let watchdog = watchdog.map(|after| (after, Limit::Watchdog { after }));
        let arm = |(after, limit)| {
            let child = self.clone();
            Watchdog::arm(after, move || child.kill(Exit::Limit(limit)))
        };
        [timeout, watchdog].into_iter().flatten().map(arm).collect()
    }

    fn lock(&self) -> MutexGuard<'_, StdChild> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running child, and all that its end needs.
struct Life {
    program: OsString,
    start: Start,
    process: Arc<Process>,
    child: Arc<NativeChild>,
    collectors: Collectors,
    copy: Option<Copy>,
    armed: Vec<Armed>,
    began: MonoTime,
}

impl Life {
    /// Waits for the end, then lets the child's real time pass on the clock.
    fn run(mut self, took: impl FnOnce() -> Duration) {
        // It fails for a child that other code has reaped; its status is lost.
        let status = self.child.wait().unwrap_or_else(|_| Exit::Signal(sys::SIGKILL).status());
        let took = whole_millis(took());
        let hold = self.child.hold.clone();
        hold.reach(Phase::Reaped);
        self.armed.clear();
        let [stdout, stderr] = self.collectors.map(|thread| {
            // The thread does not panic.
            thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
        });

        // A participant from here on, so that time does not move before it waits.
        let clock = self.start.clock.join(&self.process.name, Role::Guest);
        hold.reach(Phase::Exited);
        let goes_on = self.start.bench.lifetime.ended().is_none();
        if goes_on && clock.is_mocked() && clock.participant().begin().is_ok() {
            let what = format!("the time that `{}` took", self.process.name);
            let_time_pass(&self.start.bench, &hold, &*clock, took, &what);
        }
        let recording = self.start.recording.as_ref();
        let absorbed = self.copy.take().map_or(Ok(()), |copy| copy.absorb(recording));
        let lost = absorbed.err().map(|source| {
            let what = "has ended, but the session's files do not have its changes";
            SpawnError::failed(&self.program, what, source)
        });
        // Time that has not passed on the clock yet passes with that of other children.
        let passed = clock.mono().duration_since(self.began);
        // If it ended by itself before it could be ended, no reason counts.
        let by_force = self.child.ended_by.get().filter(|_| sys::is_killed(status));
        let mut finished = Finished::new(by_force.cloned().unwrap_or(Exit::of_status(status)));
        finished.virtual_time =
            if goes_on && clock.is_mocked() { passed.max(took) } else { passed };
        (finished.stdout, finished.stderr) = (stdout, stderr);
        drop(hold.over());
        self.start.end(&self.process, finished, Some(took), lost);
        clock.participant().leave();
    }
}

/// Lets the time pass that a child took.
///
/// While another native child works, the clock stands still, perhaps for long. Then the end of this
/// child does not wait: its time passes with that of the other one, which has run beside it.
fn let_time_pass(bench: &Bench, hold: &Arc<Hold>, clock: &dyn Clock, took: Duration, what: &str) {
    let Some(deadline) = clock.mono().checked_add(took) else { return };
    let nudge = Event::new();
    loop {
        // The clock of an ended session stands still, so listen before looking for the end.
        let on = [bench.ending.listen(), nudge.listen()];
        if bench.lifetime.ended().is_some() {
            return;
        }
        let notify = nudge.clone();
        // It fails if no thread can be started, and then there is no hurry.
        let _armed = Watchdog::arm(OTHERS_GRACE, move || notify.notify());
        let waited = clock.wait(Wait { deadline: Some(deadline), on: &on, what: &what });
        // If it cannot pass, the session is over.
        let over = waited.is_err() || on[0].is_notified() || clock.mono() >= deadline;
        // Its output goes onto the tape when this returns, so all of it must have passed.
        if over || (hold.is_over() && bench.is_held_by_others(hold)) {
            return;
        }
    }
}

/// How long the end of a child is kept back for its time to pass while others hold the clock, in
/// real time: far more than a participant needs that goes on at once.
const OTHERS_GRACE: Duration = Duration::from_millis(20);

/// The pause between two looks whether a child has ended or can be started, where nothing tells.
const POLL_PAUSE: Duration = Duration::from_millis(1);

/// The first pause between two looks whether a child is idle; a look takes some 100 microseconds.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// Where the system does not tell: a child is idle if nothing has moved for so long.
const GRACE: Duration = Duration::from_millis(100);

/// Lets the timeline go while the child waits for it.
fn watch(child: &Arc<NativeChild>, hold: &Arc<Hold>) -> io::Result<()> {
    let (child, hold) = (child.clone(), hold.clone());
    let thread = thread::Builder::new().name("native watch".to_owned());
    let watch = move || {
        let mut pause = FIRST_PAUSE;
        while let Some(sight) = hold.wait_for_a_sight() {
            if sight.moving {
                hold.nothing_moves_for(&sight, LONGEST_PAUSE);
                continue;
            }
            let idle = match idle::look(child.pid, &sight) {
                Look::Idle => true,
                Look::Busy => false,
                Look::Unknown => hold.nothing_moves_for(&sight, GRACE),
            };
            if idle {
                hold.let_go(&sight);
                pause = FIRST_PAUSE;
            } else if hold.nothing_moves_for(&sight, pause) {
                pause = (2 * pause).min(LONGEST_PAUSE);
            } else {
                pause = FIRST_PAUSE;
            }
        }
    };
    thread.spawn(watch).map(drop)
}

fn whole_millis(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
