//! A native child of a session, from its start to its end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child as StdChild, Command as StdCommand, ExitStatus, Stdio as StdStdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use testbench_clock::{Armed, Clock, Event, MonoTime, Role, SystemClock, Wait, Watchdog};
use testbench_wasi::{Exit, Limit};

use super::copy::Copy;
use super::hold::{Hold, Pump};
use super::idle::{self, Look};
use super::pump::{self, Collector};
use crate::bench::Bench;
use crate::process::{Ended, Process};
use crate::spawn::Start;
use crate::streams::{Sink, Source, Streams};
use crate::sys::{self, Status};
use crate::tape::{Recording, Stream, Tap, Tapped};
use crate::{Command, SpawnError};

/// Starts a program of the host's as a child of a session.
pub(crate) fn start(
    mut start: Start,
    command: &Command,
    streams: Streams,
) -> Result<Arc<Process>, SpawnError> {
    let failed = |source| SpawnError::Native { program: command.program.clone(), source };
    let name = command.program.display().to_string();
    let copy = Copy::of(&start.bench, command)?;
    let native = command_in(&start.bench, command, copy.as_ref())?;
    if let (Some(recording), Some(copy)) = (&mut start.recording, &copy) {
        recording.add_root(copy.dir());
    }

    let hold = Hold::new(&start.clock, format!("the native program `{name}`"));
    let real = SystemClock::new("native");
    let (began, virtual_began) = (real.mono(), start.clock.mono());
    let taps = start.recording.as_ref().map(Taps::of);
    let (child, collectors) = match start_copying(native, streams, taps.as_ref(), &hold) {
        Ok(started) => started,
        Err(error) => {
            if let Some(recording) = start.recording {
                recording.not_started(&error);
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
    let limits = command.limits.as_ref().unwrap_or(&start.bench.limits);
    let armed = child.arm(command.timeout, limits.watchdog).map_err(failed)?;
    if start.clock.is_mocked() {
        watch(&child, &hold).map_err(failed)?;
    }
    let life = Life {
        program: command.program.clone(),
        start,
        process: process.clone(),
        child,
        hold,
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

/// The standard library's command for a child of a session: the environment of this process with
/// the session's variables in it, below what the command itself says, and the session's files.
fn command_in(
    bench: &Bench,
    command: &Command,
    copy: Option<&Copy>,
) -> Result<StdCommand, SpawnError> {
    let translate = |text: &OsStr| match copy {
        Some(copy) => copy.translate(text),
        None => text.to_owned(),
    };
    let mut native = StdCommand::new(translate(&command.program));
    native.args(command.args.iter().map(|arg| translate(arg)));
    #[cfg(unix)]
    if let Some(arg0) = &command.arg0 {
        std::os::unix::process::CommandExt::arg0(&mut native, arg0);
    }
    if command.env_clear {
        native.env_clear();
    } else {
        native.envs(bench.env.iter().map(|(key, value)| (key, translate(value))));
    }
    let cwd = match copy {
        Some(copy) => Some(copy.current_dir(bench, command)?),
        None => command.current_dir.clone(),
    };
    if copy.is_some() {
        // As guests have it. The process's own names a real directory.
        native.env("PWD", cwd.as_deref().unwrap_or(Path::new("/")));
    }
    if let Some(cwd) = cwd {
        native.current_dir(cwd);
    }
    for (key, value) in &command.env {
        match value {
            Some(value) => native.env(key, translate(value)),
            None => native.env_remove(key),
        };
    }
    Ok(native)
}

/// What hears the streams of a child that is recorded.
struct Taps {
    stdin: Tap,
    stdout: Tap,
    stderr: Tap,
}

impl Taps {
    fn of(recording: &Recording) -> Taps {
        let tap = |stream| recording.tap(stream);
        Taps { stdin: tap(Stream::Stdin), stdout: tap(Stream::Stdout), stderr: tap(Stream::Stderr) }
    }
}

/// What is to be copied out of a pipe of the system's, and where to.
type Drain = (Sink, Tapped<File>);

/// Starts the program and the threads that copy for it.
fn start_copying(
    mut native: StdCommand,
    streams: Streams,
    taps: Option<&Taps>,
    hold: &Arc<Hold>,
) -> io::Result<(StdChild, Collectors)> {
    let mut feed = None;
    native.stdin(match streams.stdin {
        Source::Empty => {
            // There is nothing to be heard, whether the child looks or not.
            taps.inspect(|taps| taps.stdin.ended());
            StdStdio::null()
        }
        Source::Inherit => StdStdio::inherit(),
        Source::Real(file) => file.into(),
        source => {
            let (reader, writer) = io::pipe()?;
            let tap = taps.map(|taps| taps.stdin.clone());
            feed = Some((source, Tapped::new(sys::file_of(writer), tap)));
            reader.into()
        }
    });
    let [out_tap, err_tap] =
        [taps.map(|taps| taps.stdout.clone()), taps.map(|taps| taps.stderr.clone())];
    let (out, drain_out, drain_err);
    let err = match (streams.stdout, streams.stderr) {
        // What goes into one pipe must keep its order.
        (Sink::Pipe(to), Sink::Pipe(same)) if to.is_same_pipe(&same) => {
            let (reader, writer) = io::pipe()?;
            let reader = Tapped::new(sys::file_of(reader), out_tap);
            (drain_out, drain_err) = (Some((Sink::Pipe(to), reader)), None);
            out = StdStdio::from(writer.try_clone()?);
            writer.into()
        }
        (stdout, stderr) => {
            let err;
            (out, drain_out) = output(stdout, out_tap)?;
            (err, drain_err) = output(stderr, err_tap)?;
            err
        }
    };
    native.stdout(out).stderr(err);
    let mut child = spawn_when_not_busy(&mut native)?;
    // It holds the child's ends of the pipes.
    drop(native);
    match copy(hold, feed, drain_out, drain_err) {
        Ok(collectors) => Ok((child, collectors)),
        Err(error) => {
            // Without its streams it cannot do what was asked for.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Starts a program that may just have been written.
///
/// A program that anybody has open for writing cannot be started, and a process that another
/// thread of ours forks has all that we have open until it starts its own program.
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

/// A moment of real time.
fn pause() {
    let real = SystemClock::new("native");
    let deadline = real.mono().checked_add(POLL_PAUSE);
    // Nobody else has this clock, so nothing can cancel it.
    let _ = real.wait(Wait { deadline, on: &[], what: &"a native program" });
}

fn output(sink: Sink, tap: Option<Tap>) -> io::Result<(StdStdio, Option<Drain>)> {
    Ok(match (sink, &tap) {
        // What is heard must pass by here.
        (Sink::Null, None) => (StdStdio::null(), None),
        (Sink::Inherit, None) => (StdStdio::inherit(), None),
        (Sink::Real(file), None) => (file.into(), None),
        (sink, _) => {
            let (reader, writer) = io::pipe()?;
            (writer.into(), Some((sink, Tapped::new(sys::file_of(reader), tap))))
        }
    })
}

fn copy(
    hold: &Arc<Hold>,
    feed: Option<(Source, Tapped<File>)>,
    stdout: Option<Drain>,
    stderr: Option<Drain>,
) -> io::Result<Collectors> {
    match feed {
        Some((Source::Pipe(from), to)) => pump::feed_from_pipe(hold, from, to)?,
        Some((Source::File(from), to)) => pump::feed(hold, from, to)?,
        Some((Source::Bytes(bytes), to)) => pump::feed(hold, io::Cursor::new(bytes), to)?,
        _ => {}
    }
    Ok(Collectors {
        stdout: collect(hold, Pump::Stdout, stdout)?,
        stderr: collect(hold, Pump::Stderr, stderr)?,
    })
}

fn collect(hold: &Arc<Hold>, pump: Pump, drain: Option<Drain>) -> io::Result<Option<Collector>> {
    Ok(match drain {
        Some((Sink::Pipe(to), from)) => {
            pump::drain_into_pipe(hold, pump, from, to)?;
            None
        }
        Some((Sink::File(to), from)) => Some(Collector::into(hold, pump, from, to)?),
        Some((Sink::Real(to), from)) => Some(Collector::into(hold, pump, from, to)?),
        Some((Sink::Null, from)) => Some(Collector::into(hold, pump, from, io::sink())?),
        Some((Sink::Inherit, from)) if pump == Pump::Stdout => {
            Some(Collector::into(hold, pump, from, io::stdout())?)
        }
        Some((Sink::Inherit, from)) => Some(Collector::into(hold, pump, from, io::stderr())?),
        Some((_, from)) => Some(Collector::keeping(hold, pump, from)?),
        None => None,
    })
}

/// What has to be waited for before the child has ended for its parent.
struct Collectors {
    stdout: Option<Collector>,
    stderr: Option<Collector>,
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
    /// Ends it by force. Its id is not given to another process before [`NativeChild::wait`] has
    /// reaped it, which takes the same lock.
    fn kill(&self, why: Exit) {
        // The first reason stays.
        let _ = self.ended_by.set(why);
        self.hold.killed();
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

    /// Arms what ends it after so much real time.
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

/// All that is to be done when a child ends.
struct Life {
    program: OsString,
    start: Start,
    process: Arc<Process>,
    child: Arc<NativeChild>,
    hold: Arc<Hold>,
    collectors: Collectors,
    copy: Option<Copy>,
    armed: Vec<Armed>,
    began: MonoTime,
}

impl Life {
    /// Waits for the end, and lets as much virtual time pass as it took.
    fn run(mut self, took: impl FnOnce() -> Duration) {
        // It fails for a child that somebody else has reaped; its status is lost.
        let status = self.child.wait().unwrap_or_else(|_| sys::exit_status(Status::Killed));
        let took = whole_millis(took());
        self.hold.reaped();
        self.armed.clear();
        let Collectors { stdout, stderr } = self.collectors;
        let [stdout, stderr] = [stdout, stderr].map(|c| c.map_or(Vec::new(), Collector::finish));

        // A participant from here on, so that time does not move before it waits.
        let clock = self.start.clock.join(&self.process.name, Role::Guest);
        self.hold.exited();
        let goes_on = self.start.bench.lifetime.ended().is_none();
        if goes_on && clock.is_mocked() && clock.begin().is_ok() {
            let what = format!("the time that `{}` took", self.process.name);
            let_time_pass(&self.start.bench, &self.hold, &*clock, took, &what);
        }
        let recording = self.start.recording.as_ref();
        let absorbed = self.copy.take().map_or(Ok(()), |copy| copy.absorb(recording));
        let lost = absorbed.err().map(|source| {
            let program = self.program.clone();
            Arc::new(SpawnError::AbsorbFiles { program, source })
        });
        // What has not passed on the clock yet passes with other children's.
        let passed = clock.mono().duration_since(self.began);
        // If it ended by itself before it could be ended, no reason counts.
        let by_force = sys::is_killed(status);
        let ended = Ended {
            status,
            exit: self.child.ended_by.get().filter(|_| by_force).cloned(),
            virtual_time: if goes_on && clock.is_mocked() { passed.max(took) } else { passed },
            real_time: Some(took),
            stdout,
            stderr,
            lost,
        };
        drop(self.hold.over());
        self.start.end(ended, &self.process);
        clock.leave();
    }
}

/// Lets the time pass that a child took. While another native child works, the clock stands still,
/// perhaps for long; then nobody has to wait for that to hear of this one's end. The time is not
/// lost: it passes with the other one's, which has run beside this one.
fn let_time_pass(bench: &Bench, hold: &Arc<Hold>, clock: &dyn Clock, took: Duration, what: &str) {
    let Some(deadline) = clock.mono().checked_add(took) else { return };
    let nudge = Event::new();
    loop {
        // A session that ends stands still, so its end is listened for before it is looked for.
        let on = [bench.ending.listen(), nudge.listen()];
        if bench.lifetime.ended().is_some() {
            return;
        }
        let notify = nudge.clone();
        // It fails where no thread can be had, and then there is no hurry.
        let _armed = Watchdog::arm(OTHERS_GRACE, move || notify.notify());
        let waited = clock.wait(Wait { deadline: Some(deadline), on: &on, what: &what });
        // If it cannot pass, the session is over.
        let over = waited.is_err() || on[0].is_notified() || clock.mono() >= deadline;
        // Its output goes onto the tape when this returns, so all of it must have been heard.
        if over || (hold.is_over() && bench.is_held_by_others(hold)) {
            return;
        }
    }
}

/// How long the end of a child is kept back for its time to pass while others hold the clock, in
/// real time. Nobody needs so long who goes on at once.
const OTHERS_GRACE: Duration = Duration::from_millis(20);

/// How often is looked whether a child has ended or can be started, where there is no other way.
const POLL_PAUSE: Duration = Duration::from_millis(1);

/// How often is looked whether a child is idle, at first; a look takes some 100 microseconds.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// Where the system does not tell: nothing has moved for so long.
const GRACE: Duration = Duration::from_millis(100);

/// Lets the timeline go while the child waits for it.
fn watch(child: &Arc<NativeChild>, hold: &Arc<Hold>) -> io::Result<()> {
    let (child, hold) = (child.clone(), hold.clone());
    let thread = thread::Builder::new().name("native watch".to_owned());
    let watch = move || {
        let mut pause = FIRST_PAUSE;
        while let Some(sight) = hold.wait_for_a_sight() {
            if hold.is_moving() {
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
