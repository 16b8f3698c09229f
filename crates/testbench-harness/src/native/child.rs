//! A native child of a session, from its start to its end.

use std::fs::File;
use std::io;
use std::process::{Child as StdChild, Command as StdCommand, ExitStatus, Stdio as StdStdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use testbench_clock::{Armed, Clock, MonoTime, Role, SystemClock, Wait, Watchdog};

use super::hold::{Hold, Pump};
use super::idle::{self, Look};
use super::pump::{self, Collector};
use super::std_command;
use crate::process::{Ended, Process};
use crate::spawn::Start;
use crate::streams::{Sink, Source, Streams};
use crate::{Command, SpawnError, sys};

/// Starts a program of the host's as a child of a session.
pub(crate) fn start(
    start: Start,
    command: &Command,
    streams: Streams,
) -> Result<Arc<Process>, SpawnError> {
    let failed = |source| SpawnError::Native { program: command.program.clone(), source };
    let name = command.program.display().to_string();
    let mut native = std_command(command);
    if !command.env_clear {
        // Below what the command itself says.
        let said = |key: &std::ffi::OsString| command.env.contains_key(key);
        for (key, value) in start.bench.env.iter().filter(|(key, _)| !said(key)) {
            native.env(key, value);
        }
    }
    let hold = Hold::new(&start.clock, format!("the native program `{name}`"));
    let real = SystemClock::new("native");
    let (began, virtual_began) = (real.mono(), start.clock.mono());
    let (child, collectors) = start_copying(native, streams, &hold).map_err(failed)?;

    let process = Process::new(start.ticket.id, name);
    let child = Arc::new(NativeChild { pid: child.id(), child: Mutex::new(child) });
    let killed = child.clone();
    process.killed_by(move |_| killed.kill());
    start.bench.add(&process);
    let timeout = command.timeout.map(|after| child.clone().kill_after(after));
    let timeout = timeout.transpose().map_err(failed)?;
    if start.clock.is_mocked() {
        watch(&child, &hold).map_err(failed)?;
    }
    let life = Life {
        start,
        process: process.clone(),
        child,
        hold,
        collectors,
        timeout,
        began: virtual_began,
    };
    let took = move || real.mono().duration_since(began);
    let thread = thread::Builder::new().name(format!("native {}", process.name));
    thread.spawn(move || life.run(took)).map_err(failed)?;
    Ok(process)
}

/// What is to be copied out of a pipe of the system's, and where to.
type Drain = (Sink, File);

/// Starts the program and the threads that copy for it.
fn start_copying(
    mut native: StdCommand,
    streams: Streams,
    hold: &Arc<Hold>,
) -> io::Result<(StdChild, Collectors)> {
    let mut feed = None;
    native.stdin(match streams.stdin {
        Source::Empty => StdStdio::null(),
        Source::Inherit => StdStdio::inherit(),
        Source::Real(file) => file.into(),
        source => {
            let (reader, writer) = io::pipe()?;
            feed = Some((source, sys::file_of(writer)));
            reader.into()
        }
    });
    let (out, drain_out, drain_err);
    let err = match (streams.stdout, streams.stderr) {
        // What goes into one pipe must keep its order.
        (Sink::Pipe(to), Sink::Pipe(same)) if to.is_same_pipe(&same) => {
            let (reader, writer) = io::pipe()?;
            (drain_out, drain_err) = (Some((Sink::Pipe(to), sys::file_of(reader))), None);
            out = StdStdio::from(writer.try_clone()?);
            writer.into()
        }
        (stdout, stderr) => {
            let err;
            (out, drain_out) = output(stdout)?;
            (err, drain_err) = output(stderr)?;
            err
        }
    };
    native.stdout(out).stderr(err);
    let mut child = native.spawn()?;
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

fn output(sink: Sink) -> io::Result<(StdStdio, Option<Drain>)> {
    Ok(match sink {
        Sink::Null => (StdStdio::null(), None),
        Sink::Inherit => (StdStdio::inherit(), None),
        Sink::Real(file) => (file.into(), None),
        sink => {
            let (reader, writer) = io::pipe()?;
            (writer.into(), Some((sink, sys::file_of(reader))))
        }
    })
}

fn copy(
    hold: &Arc<Hold>,
    feed: Option<(Source, File)>,
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
}

impl NativeChild {
    /// Ends it by force. Its id is not given to another process before [`NativeChild::wait`] has
    /// reaped it, which takes the same lock.
    fn kill(&self) {
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
            let real = SystemClock::new("native");
            let deadline = real.mono().checked_add(POLL_PAUSE);
            let _ = real.wait(Wait { deadline, on: &[], what: &"the end of a native child" });
        }
    }

    fn kill_after(self: Arc<Self>, after: Duration) -> io::Result<Armed> {
        Watchdog::arm(after, move || self.kill())
    }

    fn lock(&self) -> MutexGuard<'_, StdChild> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that is to be done when a child ends.
struct Life {
    start: Start,
    process: Arc<Process>,
    child: Arc<NativeChild>,
    hold: Arc<Hold>,
    collectors: Collectors,
    timeout: Option<Armed>,
    began: MonoTime,
}

impl Life {
    /// Waits for the end, and lets as much virtual time pass as it took.
    fn run(mut self, took: impl FnOnce() -> Duration) {
        let status = self.child.wait();
        let took = whole_millis(took());
        drop(self.timeout.take());
        let Collectors { stdout, stderr } = self.collectors;
        let [stdout, stderr] = [stdout, stderr].map(|c| c.map_or(Vec::new(), Collector::finish));

        // A participant from here on, so that time does not move before it waits.
        let clock = self.start.clock.join(&self.process.name, Role::Guest);
        self.hold.exited();
        if clock.is_mocked() && clock.begin().is_ok() {
            let what = format!("the time that `{}` took", self.process.name);
            let deadline = clock.mono().checked_add(took);
            // If it cannot pass, the session is over.
            let _ = clock.wait(Wait { deadline, on: &[], what: &what });
        }
        let ended = Ended {
            // The wait fails for a child that somebody else has reaped; its status is lost.
            status: status.unwrap_or_else(|_| sys::exit_status(sys::Status::Killed)),
            exit: None,
            virtual_time: clock.mono().duration_since(self.began),
            real_time: Some(took),
            stdout,
            stderr,
        };
        drop(self.hold.over());
        self.start.end(ended, &self.process);
        clock.leave();
    }
}

/// How often is looked whether a child has ended, where there is no other way.
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
