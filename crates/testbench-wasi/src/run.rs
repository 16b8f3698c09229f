//! From a spec to its end: the life of one guest.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testbench_clock::{Armed, Clock, Role, Watchdog};

use crate::compiled::Compiled;
use crate::error::StartError;
use crate::exit::{Exit, Finished, Frame, exit_of};
use crate::instance::{NoInstance, instantiate};
use crate::kernel::{Process, Stop};
use crate::limits::{Limit, Limits};
use crate::running::{Outcome, Running};
use crate::spec::GuestSpec;
use crate::stopping::{Cancel, Interrupter};
use crate::threads;

/// Runs a guest to its end, on this thread.
///
/// The guest takes this thread's place on the clock's timeline. It needs 768 KiB of stack; where
/// less is left, it runs on another thread while this one waits.
///
/// # Errors
///
/// When the guest was not started. Whatever happens afterwards is in [`Finished::exit`].
///
/// # Panics
///
/// When a filesystem, clock or closure in the spec panics while the guest uses it.
pub fn run(spec: GuestSpec) -> Result<Finished, StartError> {
    let guest = Guest::prepare(spec, |clock, name| clock.lend(name))?;
    let name = guest.name.clone();
    let finished = threads::with_enough_stack(|| guest.run());
    finished.map_err(|source| StartError::Thread { guest: name, source })
}

/// Runs a guest beside the caller, on a thread of its own and as a participant of its own on the
/// clock's timeline.
///
/// The guest is on the timeline when this returns: time does not move before it waits.
///
/// # Errors
///
/// When the guest was not started. Whatever happens afterwards is in [`Finished::exit`].
pub fn start(spec: GuestSpec) -> Result<Running, StartError> {
    start_with(spec, |_| {})
}

/// As [`start`], and calls `at_end` on the guest's thread when the guest has ended and everything
/// that it held is closed, before whoever waits for it hears of that. It gets `None` if a
/// filesystem, clock or closure in the spec has panicked.
///
/// # Errors
///
/// As [`start`]; `at_end` is dropped then without being called.
pub fn start_with(
    spec: GuestSpec,
    at_end: impl FnOnce(Option<&Finished>) + Send + 'static,
) -> Result<Running, StartError> {
    let id = spec.id.unwrap_or_else(next_id);
    let guest = Guest::prepare(spec, |clock, name| clock.join(name, Role::Guest))?;
    let outcome = Outcome::new();
    let running = Running::new(id, guest.name.clone(), guest.interrupter.clone(), outcome.clone());
    let name = guest.name.clone();
    let job = move || {
        let clock = guest.clock.clone();
        let finished = catch_unwind(AssertUnwindSafe(|| {
            let finished = catch_unwind(AssertUnwindSafe(|| guest.begin_and_run()));
            at_end(finished.as_ref().ok());
            finished.unwrap_or_else(|panic| resume_unwind(panic))
        }));
        // In this order: whoever waits for the guest can run before time moves.
        outcome.set(finished);
        clock.leave();
    };
    threads::spawn(job).map_err(|source| StartError::Thread { guest: name, source })?;
    Ok(running)
}

/// A guest that can be run: everything that can be refused has been checked.
struct Guest {
    name: String,
    compiled: Arc<Compiled>,
    /// What is called once it is instantiated.
    starts: Vec<String>,
    process: Arc<Process>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    cancel: Cancel,
    interrupter: Interrupter,
    /// Calls the watchdog off when the guest has ended.
    _watchdog: Option<Armed>,
}

/// How a guest ended, and where it was.
type End = (Exit, Arc<[Frame]>);

impl Guest {
    fn prepare(
        spec: GuestSpec,
        participant: impl FnOnce(&dyn Clock, &str) -> Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let GuestSpec { module, start_functions, cancel, process: mut parts, .. } = spec;
        parts.check()?;
        let starts = match start_functions {
            None => module.check_command().map(|()| vec!["_start".to_owned()])?,
            Some(names) => module.starters(&names)?,
        };
        let limits = parts.limits.clone();
        let compiled = module.compiled(limits.fuel.is_some())?;
        let name = parts.name.clone();
        parts.clock = participant(&*parts.clock, &name);
        let clock = parts.clock.clone();
        let process = Process::new(parts)?;
        let engines = Arc::clone(compiled.engines());
        let interrupter = Interrupter::new(process.stopper(), clock.clone(), engines, || true);
        let armed = limits.watchdog.map(|after| arm(after, interrupter.clone())).transpose();
        let _watchdog =
            armed.map_err(|source| StartError::Thread { guest: name.clone(), source })?;
        Ok(Guest { name, compiled, starts, process, clock, limits, cancel, interrupter, _watchdog })
    }

    fn begin_and_run(self) -> Finished {
        if let Err(stuck) = self.clock.begin() {
            self.process.stopper().stop(Stop::from(stuck));
        }
        self.run()
    }

    fn run(self) -> Finished {
        let span = tracing::debug_span!("guest", name = self.name);
        let _entered = span.enter();
        let started = self.clock.mono();
        let ending = Ending { guest: &self };
        self.cancel.attach(&self.interrupter);
        // What the guest asks of files may take time (latency faults): that is the guest's time, so
        // it must pass for the participant that the guest is.
        let installed = testbench_clock::install_participant(self.clock.clone());
        let (exit, backtrace) = self.end();
        drop(installed);
        drop(ending);

        let virtual_time = self.clock.mono().duration_since(started);
        let captured = self.process.finish();
        let mut limits_hit = captured.limits_hit;
        let fatal = exit.limit();
        limits_hit.extend(fatal.filter(|limit| !limits_hit.contains(limit)));
        tracing::debug!(%exit, ?virtual_time, "ended");
        let (stdout, stderr) = (captured.stdout, captured.stderr);
        Finished { exit, stdout, stderr, virtual_time, limits_hit, backtrace }
    }

    fn end(&self) -> End {
        let error = match instantiate(&self.compiled, &self.process) {
            Ok(mut live) => match live.start(&self.starts) {
                Ok(()) => return (Exit::Code(0), Arc::default()),
                Err(error) => error,
            },
            Err(NoInstance::Limit(limit)) => return (Exit::Limit(limit), Arc::default()),
            Err(NoInstance::Error(error)) => error,
        };
        exit_of(&error, self.process.stopper().stopped(), &self.limits)
    }
}

/// Lets go of everything that a guest held, also when its host functions panic.
struct Ending<'a> {
    guest: &'a Guest,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.guest.interrupter.guest_ended();
        self.guest.cancel.detach(&self.guest.interrupter);
        self.guest.process.close();
    }
}

/// Makes the watchdog end a guest after `after` of real time.
fn arm(after: Duration, interrupter: Interrupter) -> io::Result<Armed> {
    Watchdog::arm(after, move || interrupter.interrupt(Stop::Limit(Limit::Watchdog { after })))
}

/// Above the largest process id of Linux, so that a guest's id sent to `kill` hits no process.
fn next_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(4_194_305);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
