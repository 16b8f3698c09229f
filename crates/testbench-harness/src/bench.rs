//! [`Bench`]: a session while it runs, as one value that all of its threads share.
//!
//! [`Session`](crate::Session) is the guard that installs it. Everything below the edge of a public
//! call gets it as an argument.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use testbench_clock::{Clock, Ended, Event, Lifetime, Lookup, RandomStream, Scope};
use testbench_wasi::{Cancel, Finished};

use crate::config::SessionConfig;
use crate::native::Hold;
use crate::process::Process;
use crate::report::SpawnRecord;
use crate::route::Route;
use crate::spec::SpawnSpec;

/// The key under which the session of a thread is found.
pub(crate) static SESSION: Scope<Bench> = Scope::new("session");

/// The session of this thread.
pub(crate) fn current() -> Lookup<Bench> {
    SESSION.get()
}

/// Everything a spawn needs to know, and what the session's spawns left so far.
pub(crate) struct Bench {
    config: SessionConfig,
    pub(crate) lifetime: Lifetime,
    /// Ends every guest of the session.
    pub(crate) cancel: Cancel,
    /// Announces that the session is about to end.
    pub(crate) ending: Event,
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    spawns: Vec<SpawnRecord>,
    /// How often each program was started, which is part of the name of its random stream.
    starts: BTreeMap<OsString, u64>,
    /// How many spawns run now.
    running: usize,
    /// Children that run beside their parents, to be ended with the session.
    processes: Vec<Weak<Process>>,
    processes_swept_at: usize,
    /// The holds of the clock for native children.
    holds: Vec<Weak<Hold>>,
}

/// One spawn between its start and its end.
pub(crate) struct Ticket {
    /// Its place in the order of spawns, from 1.
    pub(crate) sequence: u32,
    /// Its process id.
    pub(crate) id: u32,
    /// How often the program had been started before, in this session.
    occurrence: u64,
}

/// The largest process id of Linux. Ids of guests are larger, so that a stray `kill(id)` hits no
/// process.
const NATIVE_PID_MAX: u32 = 4_194_304;

impl Bench {
    pub(crate) fn new(config: SessionConfig) -> Bench {
        Bench {
            lifetime: Lifetime::new(config.name()),
            config,
            cancel: Cancel::new(),
            ending: Event::new(),
            state: Mutex::default(),
            idle: Condvar::new(),
        }
    }

    /// Counts a spawn and writes it down as begun.
    pub(crate) fn begin(&self, spec: &SpawnSpec, route: &Route) -> Ticket {
        let mut state = self.state();
        let sequence = u32::try_from(state.spawns.len() + 1).unwrap_or(u32::MAX);
        let starts = state.starts.entry(spec.program.clone()).or_default();
        *starts += 1;
        let occurrence = *starts;
        state.spawns.push(SpawnRecord {
            sequence,
            program: spec.program.clone(),
            args: spec.args.clone(),
            route: route.clone(),
            status: None,
            exit: None,
            virtual_time: Duration::ZERO,
            real_time: None,
        });
        Ticket { sequence, id: NATIVE_PID_MAX.saturating_add(sequence), occurrence }
    }

    /// Writes down how a spawn ended.
    pub(crate) fn end(&self, ticket: &Ticket, ended: &Finished, real_time: Option<Duration>) {
        let mut state = self.state();
        if let Some(record) = state.spawns.get_mut(ticket.sequence as usize - 1) {
            record.status = Some(ended.exit.status());
            record.exit = Some(ended.exit.clone());
            record.virtual_time = ended.virtual_time;
            record.real_time = real_time;
        }
    }

    /// Remembers a child that runs beside its parent, to end it with the session.
    pub(crate) fn add(&self, process: &Arc<Process>) {
        let mut state = self.state();
        // Those that have ended are forgotten when there are twice as many as were left last time.
        if state.processes.len() >= state.processes_swept_at.max(16) {
            state.processes.retain(|process| {
                process.upgrade().is_some_and(|process| process.finished().is_none())
            });
            state.processes_swept_at = 2 * state.processes.len();
        }
        state.processes.push(Arc::downgrade(process));
    }

    /// Remembers what holds the clock for a native child.
    pub(crate) fn add_hold(&self, hold: &Arc<Hold>) {
        let mut state = self.state();
        // Few run at a time.
        state.holds.retain(|hold| hold.strong_count() > 0);
        state.holds.push(Arc::downgrade(hold));
    }

    /// Whether the clock stands still for a native child other than that of `own`.
    pub(crate) fn is_held_by_others(&self, own: &Arc<Hold>) -> bool {
        let holds: Vec<Arc<Hold>> = self.state().holds.iter().filter_map(Weak::upgrade).collect();
        holds.iter().any(|hold| !Arc::ptr_eq(hold, own) && hold.is_held())
    }

    /// The random stream of a spawn. It is named by the program and by how often that was started
    /// before, so that a spawn of another program in between changes no bytes.
    pub(crate) fn random(&self, program: &OsStr, ticket: &Ticket) -> RandomStream {
        let program = program.as_encoded_bytes().escape_ascii();
        self.seed.stream(&format!("{program}#{}", ticket.occurrence))
    }

    /// A random stream for a virtual machine in this session, another one at each call.
    #[cfg(feature = "lua")]
    pub(crate) fn vm_random(&self, vm: &str) -> RandomStream {
        self.numbered_random("vm", vm)
    }

    /// A random stream for something of this kind and name that is no spawn, another one at each call.
    pub(crate) fn numbered_random(&self, kind: &str, name: &str) -> RandomStream {
        let mut state = self.state();
        let path = format!("{kind}/{name}");
        let made = state.starts.entry(path.clone().into()).or_default();
        *made += 1;
        self.seed.stream(&format!("{path}/{made}"))
    }

    /// Counts a spawn as running until the returned value drops, so that the end of the session
    /// waits for its end.
    ///
    /// # Errors
    ///
    /// When the session has ended already.
    pub(crate) fn run(self: &Arc<Self>) -> Result<Running, Ended> {
        let mut state = self.state();
        // Read under the lock: the end of the lifetime takes the lock afterwards, so that either it
        // sees this spawn, or this sees the end.
        if let Some(ended) = self.lifetime.ended() {
            return Err(ended);
        }
        state.running += 1;
        Ok(Running { bench: self.clone() })
    }

    /// Ends every guest that runs on other threads, and waits until they, and native children, are
    /// gone. Call it after the lifetime has ended.
    pub(crate) fn stop_running(&self, clock: &dyn Clock) {
        let why = format!("its session `{}` has ended", self.name());
        // Also the plugins, which are not counted.
        self.cancel.cancel(why.clone());
        if self.state().running == 0 {
            return;
        }
        self.ending.notify();
        let processes = std::mem::take(&mut self.state().processes);
        for process in processes.iter().filter_map(Weak::upgrade) {
            process.kill(&why);
        }
        // Their threads may need the timeline's turn to notice.
        let _outside = clock.participant().external(&"waiting for the guests of an ended session");
        let mut state = self.state();
        while state.running > 0 {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The spawns so far, in the order of the starts.
    pub(crate) fn spawns(&self) -> Vec<SpawnRecord> {
        self.state().spawns.clone()
    }

    /// The state is a log and some counters, whole after every statement: a panic while the lock is
    /// held leaves it usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Bench {
    type Target = SessionConfig;

    fn deref(&self) -> &SessionConfig {
        &self.config
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// See [`Bench::run`].
pub(crate) struct Running {
    bench: Arc<Bench>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bench.state().running -= 1;
        self.bench.idle.notify_all();
    }
}

/// Spawns by [`Command`](crate::Command) on threads without a session, in the whole process.
static UNATTRIBUTED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn count_unattributed() {
    UNATTRIBUTED.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn unattributed() -> u64 {
    UNATTRIBUTED.load(Ordering::Relaxed)
}
