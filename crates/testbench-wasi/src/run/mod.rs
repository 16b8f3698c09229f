//! From a spec to its result: the life of one guest.

mod instance;
mod running;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use testbench_clock::{Armed, Clock, Role, Watchdog};

pub(crate) use self::instance::{Live, instantiate};
pub use self::running::Running;

use self::running::RunResult;
use crate::backtrace::Frame;
use crate::cache::Compiled;
use crate::error::StartError;
use crate::exit::{Exit, Finished, exit_of};
use crate::kernel::Process;
use crate::limits::Limit;
use crate::spec::GuestSpec;
use crate::stopping::{Cancel, Held, Interrupter};
use crate::threads;

/// Runs a guest to its end, on this thread.
///
/// The guest takes this thread's place on the clock's timeline. It needs 768 KiB of stack; where
/// less is left, it runs on another thread while this one waits.
///
/// # Errors
///
/// When the guest was not started. [`Finished::exit`] reports everything that happens afterwards.
///
/// # Panics
///
/// When a filesystem, clock or closure in the spec panics while the guest uses it.
pub fn run(spec: GuestSpec) -> Result<Finished, StartError> {
    let guest = Guest::prepare(spec, |clock, name| clock.lend(name))?;
    let name = guest.process.name.clone();
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
/// When the guest was not started. [`Finished::exit`] reports everything that happens afterwards.
pub fn start(spec: GuestSpec) -> Result<Running, StartError> {
    start_with(spec, |_| {})
}

/// As [`start`], and calls `at_end` on the guest's thread when the guest has ended and everything
/// that it held is closed, before [`Running::wait`] returns. It gets `None` if a filesystem, clock or
/// closure in the spec has panicked.
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
    let name = guest.process.name.clone();
    let result = Arc::new(RunResult::default());
    let interrupter = guest.interrupter.clone();
    let running = Running { id, name: name.clone(), interrupter, result: Arc::clone(&result) };
    let job = move || {
        let clock = Arc::clone(&guest.process.clock);
        let finished = catch_unwind(AssertUnwindSafe(|| {
            let finished = catch_unwind(AssertUnwindSafe(|| guest.begin_and_run()));
            at_end(finished.as_ref().ok());
            finished.unwrap_or_else(|panic| resume_unwind(panic))
        }));
        // In this order: a participant that waits for the guest can run before time moves.
        result.set(finished);
        clock.participant().leave();
    };
    threads::spawn(job).map_err(|source| StartError::Thread { guest: name, source })?;
    Ok(running)
}

/// A guest that can be run: everything that can be refused has been checked.
struct Guest {
    compiled: Arc<Compiled>,
    /// The functions to call once it is instantiated.
    starts: Vec<String>,
    process: Arc<Process>,
    cancel: Cancel,
    interrupter: Arc<Interrupter>,
    /// Disarms the watchdog when the guest has ended.
    _watchdog: Option<Armed>,
}

impl Guest {
    fn prepare(
        spec: GuestSpec,
        participant: impl FnOnce(&dyn Clock, &str) -> Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let GuestSpec { module, start_functions, cancel, mut process, .. } = spec;
        process.check()?;
        let starts = match start_functions {
            None => module.check_command().map(|()| vec!["_start".to_owned()])?,
            Some(names) => module.starters(&names)?,
        };
        let watchdog = process.limits.watchdog;
        let compiled = module.compiled(process.limits.fuel.is_some())?;
        process.clock = participant(&*process.clock, &process.name);
        let process = Process::new(process)?;
        let interrupter = Interrupter::new(&process, &compiled.engines, || true);
        let armed = watchdog.map(|after| {
            let interrupter = interrupter.clone();
            let exit = Exit::Limit(Limit::Watchdog { after });
            Watchdog::arm(after, move || interrupter.interrupt(exit))
        });
        let _watchdog = armed
            .transpose()
            .map_err(|source| StartError::Thread { guest: process.name.clone(), source })?;
        Ok(Guest { compiled, starts, process, cancel, interrupter, _watchdog })
    }

    fn begin_and_run(self) -> Finished {
        if let Err(stuck) = self.process.clock.participant().begin() {
            self.process.stopper.stop(Exit::from(stuck));
        }
        self.run()
    }

    fn run(self) -> Finished {
        let Guest { process, .. } = &self;
        let span = tracing::debug_span!("guest", name = process.name);
        let _entered = span.enter();
        let started = process.clock.mono();
        let held = Held::new(self.interrupter.clone(), &self.cancel);
        // File operations of the guest may take time (latency faults). That is the guest's time, so
        // it must pass for the participant that the guest is.
        let installed = testbench_clock::install_participant(Arc::clone(&process.clock));
        let (exit, backtrace) = self.exit();
        drop(installed);
        drop(held);

        let virtual_time = process.clock.mono().duration_since(started);
        if let Some(limit) = exit.limit() {
            process.limit_hit(limit);
        }
        let captured = process.take_captured();
        tracing::debug!(%exit, ?virtual_time, "ended");
        Finished {
            exit,
            stdout: captured.stdout,
            stderr: captured.stderr,
            virtual_time,
            limits_hit: captured.limits_hit,
            backtrace,
        }
    }

    /// Runs the guest; why it ended, and where it was.
    fn exit(&self) -> (Exit, Arc<[Frame]>) {
        let ran = instantiate(&self.compiled, &self.process)
            .and_then(|mut live| self.starts.iter().try_for_each(|name| live.start(name)));
        match ran {
            Ok(()) => (Exit::Code(0), Arc::default()),
            Err(error) => exit_of(&error, self.process.stopper.stopped(), &self.process.limits),
        }
    }
}

/// Above the largest process id of Linux, so that a guest's id sent to `kill` hits no process.
fn next_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(4_194_305);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
