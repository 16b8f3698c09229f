//! What a session is made of, as one value that every thread of the session shares.
//!
//! [`Session`](crate::Session) is the guard that installs it; this is what is installed. All that
//! lies below the edge of a public call gets it as an argument.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use testbench_clock::{
    Clock, Ended as SessionEnded, Event, Lifetime, Lookup, RandomStream, Scope, Seed,
};
use testbench_wasi::{Cancel, Limits};

use crate::files::Files;
use crate::native::Hold;
use crate::process::{Ended, Process};
use crate::report::SpawnRecord;
use crate::tape::Deck;
use crate::toolchain::Toolchain;
use crate::{Command, Policy, Route};

/// The key under which the session of a thread is found.
pub(crate) static SESSION: Scope<Bench> = Scope::new("session");

/// The session of this thread.
pub(crate) fn current() -> Lookup<Bench> {
    SESSION.get()
}

/// Everything a spawn needs to know.
pub(crate) struct Bench {
    pub(crate) name: String,
    pub(crate) seed: Seed,
    pub(crate) toolchain: Toolchain,
    pub(crate) files: Files,
    pub(crate) policies: BTreeMap<OsString, Policy>,
    pub(crate) unmatched: Policy,
    /// What every guest finds in its environment, ordered by key.
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) limits: Limits,
    /// Native children see a copy of the overlay; else there are none over one.
    pub(crate) copies_files_for_natives: bool,
    /// What is recorded and replayed.
    pub(crate) tape: Option<Arc<Deck>>,
    /// Nothing is started on threads without a session.
    pub(crate) strict_threads: bool,
    pub(crate) lifetime: Lifetime,
    /// Ends every guest of the session.
    pub(crate) cancel: Cancel,
    /// Tells that the session is about to end.
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
    /// What holds the clock for native children.
    holds: Vec<Weak<Hold>>,
    started: u32,
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
    #[expect(clippy::too_many_arguments, reason = "all of it is plain configuration")]
    pub(crate) fn new(
        name: String,
        seed: Seed,
        toolchain: Toolchain,
        files: Files,
        (policies, unmatched): (BTreeMap<OsString, Policy>, Policy),
        env: BTreeMap<OsString, OsString>,
        limits: Limits,
        (copies_files_for_natives, strict_threads): (bool, bool),
        tape: Option<Arc<Deck>>,
        lifetime: Lifetime,
    ) -> Bench {
        Bench {
            name,
            seed,
            toolchain,
            files,
            policies,
            unmatched,
            env,
            limits,
            copies_files_for_natives,
            tape,
            strict_threads,
            lifetime,
            cancel: Cancel::new(),
            ending: Event::new(),
            state: Mutex::default(),
            idle: Condvar::new(),
        }
    }

    /// Counts a spawn and writes it down as begun.
    pub(crate) fn begin(&self, command: &Command, route: &Route) -> Ticket {
        let mut state = self.state();
        state.started += 1;
        let sequence = state.started;
        let starts = state.starts.entry(command.program.clone()).or_default();
        *starts += 1;
        let occurrence = *starts;
        state.spawns.push(SpawnRecord {
            sequence,
            program: command.program.clone(),
            args: command.args.clone(),
            route: route.clone(),
            status: None,
            exit: None,
            virtual_time: Duration::ZERO,
            real_time: None,
        });
        Ticket { sequence, id: NATIVE_PID_MAX.saturating_add(sequence), occurrence }
    }

    /// Writes down how a spawn ended.
    pub(crate) fn end(&self, ticket: &Ticket, ended: &Ended) {
        let mut state = self.state();
        let found = state.spawns.binary_search_by_key(&ticket.sequence, |spawn| spawn.sequence);
        if let Some(record) = found.ok().and_then(|at| state.spawns.get_mut(at)) {
            record.status = Some(ended.status);
            record.exit = ended.exit.clone();
            record.virtual_time = ended.virtual_time;
            record.real_time = ended.real_time;
        }
    }

    /// Remembers a child that runs beside its parent, to end it with the session.
    pub(crate) fn add(&self, process: &Arc<Process>) {
        let mut state = self.state();
        // Those that have ended are forgotten when there are twice as many as were left last time.
        if state.processes.len() >= state.processes_swept_at.max(16) {
            state.processes.retain(|process| {
                process.upgrade().is_some_and(|process| process.ended().is_none())
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
    /// before, so that a spawn of something else in between changes nobody's bytes.
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
    pub(crate) fn run(self: &Arc<Self>) -> Result<Running, SessionEnded> {
        let mut state = self.state();
        // Looked at under the lock: whoever ends the lifetime takes the lock afterwards, and so
        // either sees this spawn or is seen here.
        if let Some(ended) = self.lifetime.ended() {
            return Err(ended);
        }
        state.running += 1;
        Ok(Running { bench: self.clone() })
    }

    /// Ends every guest that runs on other threads, and waits until they, and native children, are
    /// gone. Call it after the lifetime has ended.
    pub(crate) fn stop_running(&self, clock: &dyn Clock) {
        let why = format!("its session `{}` has ended", self.name);
        // Also the plugins, which nobody counts.
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
        let _outside = clock.external(&"waiting for the guests of an ended session");
        let mut state = self.state();
        while state.running > 0 {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was spawned so far, in the order of the starts.
    pub(crate) fn spawns(&self) -> Vec<SpawnRecord> {
        self.state().spawns.clone()
    }

    /// The state is a log and some counters: whole after every statement, so whatever panicked
    /// while holding the lock left it usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("name", &self.name).finish_non_exhaustive()
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
