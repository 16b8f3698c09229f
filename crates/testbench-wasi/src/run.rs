//! From a spec to its end: the life of one guest.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testbench_clock::{Armed, Clock, Role, Watchdog};
use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline};

use crate::compiled::Compiled;
use crate::engine::Place;
use crate::error::StartError;
use crate::exit::{Exit, Finished, Frame, TrapKind, exit_of};
use crate::kernel::{Process, Stop, Thread};
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
        let GuestSpec { module, cancel, process: mut parts, .. } = spec;
        parts.check()?;
        module.check_command()?;
        let limits = parts.limits.clone();
        let compiled = module.compiled(limits.fuel.is_some())?;
        let name = parts.name.clone();
        parts.clock = participant(&*parts.clock, &name);
        let clock = parts.clock.clone();
        let process = Process::new(parts)?;
        let interrupter =
            Interrupter::new(process.stopper(), clock.clone(), Arc::clone(compiled.engines()));
        let armed = limits.watchdog.map(|after| arm(after, interrupter.clone())).transpose();
        let _watchdog =
            armed.map_err(|source| StartError::Thread { guest: name.clone(), source })?;
        Ok(Guest { name, compiled, process, clock, limits, cancel, interrupter, _watchdog })
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
        let (exit, backtrace) = self.end();
        drop(ending);

        let virtual_time = self.clock.mono().duration_since(started);
        let captured = self.process.finish();
        let mut limits_hit = captured.limits_hit;
        let fatal = match &exit {
            Exit::Limit(limit) => Some(limit.clone()),
            Exit::Trap(trap) if trap.kind == TrapKind::StackOverflow => Some(Limit::Stack),
            _ => None,
        };
        limits_hit.extend(fatal.filter(|limit| !limits_hit.contains(limit)));
        tracing::debug!(%exit, ?virtual_time, "ended");
        let (stdout, stderr) = (captured.stdout, captured.stderr);
        Finished { exit, stdout, stderr, virtual_time, limits_hit, backtrace }
    }

    /// Runs the guest where there is room for it.
    fn end(&self) -> End {
        if let Some(limit) = self.exceeded_from_the_start() {
            return (Exit::Limit(limit), Arc::default());
        }
        let mut place = self.compiled.best_place();
        if self.outgrows_the_pool() {
            place = Place::OnDemand;
        }
        match self.end_at(place) {
            Ok(end) => end,
            Err(PoolIsFull) => match self.end_at(Place::OnDemand) {
                Ok(end) => end,
                Err(PoolIsFull) => unreachable!("there is no pool to be full"),
            },
        }
    }

    /// Runs the guest at `place`, unless there is no room; nothing of it has run then.
    fn end_at(&self, place: Place) -> Result<End, PoolIsFull> {
        let error = match self.call(place) {
            Ok(()) => return Ok((Exit::Code(0), Arc::default())),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => return Err(PoolIsFull),
            Err(error) => error,
        };
        Ok(exit_of(&error, self.process.stopper().stopped(), &self.limits))
    }

    fn call(&self, place: Place) -> wasmtime::Result<()> {
        let linked = self.compiled.linked(place)?;
        let mut store = Store::new(linked.module().engine(), Thread::new(self.process.clone()));
        store.limiter(|thread| thread);
        if let Some(units) = self.limits.fuel {
            store.set_fuel(units)?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            match store.data().process().stopper().stopped() {
                // With a backtrace, which tells where it was when it was ended.
                Some(stop) => Err(wasmtime::Error::from(stop)),
                None => Ok(UpdateDeadline::Continue(1)),
            }
        });
        // After the deadline was set: a stop before it was not noticed by the check.
        if let Some(stop) = self.process.stopper().stopped() {
            return Err(stop.into());
        }
        let instance = linked.instantiate(&mut store)?;
        let memory = instance.get_memory(&mut store, "memory");
        store.data_mut().set_memory(memory);
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
    }

    /// The limit, if any, that the module exceeds before it has run.
    fn exceeded_from_the_start(&self) -> Option<Limit> {
        /// Other page sizes are a proposal that is off.
        const PAGE_BYTES: u64 = 65_536;
        let limits = &self.limits;
        let wants = self.compiled.any().resources_required();
        let memory_bytes = wants.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES);
        let table_elements = wants.max_initial_table_size.unwrap_or(0);
        if memory_bytes > limits.memory_bytes_max {
            Some(Limit::Memory { bytes_max: limits.memory_bytes_max })
        } else if table_elements > limits.table_elements_max {
            Some(Limit::Table { elements_max: limits.table_elements_max })
        } else if wants.num_memories > limits.memories_max {
            Some(Limit::Memories { max: limits.memories_max })
        } else if wants.num_tables > limits.tables_max {
            Some(Limit::Tables { max: limits.tables_max })
        } else if limits.instances_max == 0 {
            Some(Limit::Instances { max: 0 })
        } else {
            None
        }
    }

    /// Whether the guest may grow further than a slot of the pool lets it.
    fn outgrows_the_pool(&self) -> bool {
        /// A slot's memory has all that 32-bit addresses reach.
        const SLOT_MEMORY_BYTES: u64 = 4 << 30;
        self.limits.table_elements_max > Limits::TABLE_ELEMENTS_MAX
            || self.limits.memory_bytes_max > SLOT_MEMORY_BYTES
    }
}

/// There is no free slot.
struct PoolIsFull;

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
