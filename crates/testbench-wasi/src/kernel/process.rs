//! A process: everything that its threads share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread;

use testbench_clock::{Clock, External, Listener, MonoTime, Stuck, Wait, Woke};
use testbench_overlay::{Errno, File, GuestPath, OpenHow};

use super::fail::{Result, Stopper};
use super::fd::{Entry, FdTable};
use super::loan::Loan;
use super::open::{Kind, Open};
use super::random::Random;
use super::rights::Rights;
use super::spec::{Mount, ProcessSpec};
use super::stdio::Output;
use crate::error::StartError;
use crate::exit::Exit;
use crate::limits::{Limit, Limits};

/// The state that the threads of one guest share.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) env: Vec<(Vec<u8>, Vec<u8>)>,
    /// For readings. The process waits through its own methods.
    pub(crate) clock: Arc<dyn Clock>,
    /// Of a process that has no place of its own on the timeline.
    loan: Option<Loan>,
    pub(crate) limits: Limits,
    /// The monotonic reading at which the process was made.
    pub(crate) started: MonoTime,
    /// From when the virtual deadline counts, in nanoseconds: the start, or that of a call.
    deadline_from_ns: AtomicU64,
    pub(crate) stopper: Stopper,
    state: Mutex<ProcessState>,
    random: Mutex<Random>,
}

struct ProcessState {
    fds: FdTable,
    captured: Captured,
}

/// The captured output of a guest and the limits that it has reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// The bytes written to stdout, if that is [`Stdout::Capture`](crate::Stdout::Capture).
    pub stdout: Vec<u8>,
    /// The bytes written to stderr, if that is [`Stdout::Capture`](crate::Stdout::Capture).
    pub stderr: Vec<u8>,
    /// Every limit that it reached, in order, each once; also those that it survived.
    pub limits_hit: Vec<Limit>,
}

/// Where a write goes.
pub(crate) enum Sink<'a> {
    /// Into memory, which the process's lock guards.
    Captured(CapturedSink<'a>),
    /// Elsewhere; the lock is released.
    Open(Arc<Open>),
}

pub(crate) struct CapturedSink<'a> {
    state: MutexGuard<'a, ProcessState>,
    output: Output,
    bytes_max: u64,
}

impl CapturedSink<'_> {
    /// Keeps `bytes`. Beyond the limit it keeps as many as fit, and fails: the guest ends.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Exit> {
        let captured = &mut self.state.captured;
        let kept = match self.output {
            Output::Stdout => &mut captured.stdout,
            Output::Stderr => &mut captured.stderr,
        };
        let room = self.bytes_max.saturating_sub(kept.len() as u64);
        if bytes.len() as u64 <= room {
            kept.extend_from_slice(bytes);
            return Ok(());
        }
        kept.extend_from_slice(&bytes[..room as usize]);
        Err(Exit::Limit(Limit::Output { bytes_max: self.bytes_max }))
    }
}

impl Process {
    /// A process that has not run yet: its descriptors are the standard streams and the mounts,
    /// in order, and then the working directory if there is one.
    ///
    /// # Errors
    ///
    /// When a mount or the working directory cannot be opened.
    pub(crate) fn new(spec: ProcessSpec) -> Result<Arc<Process>, StartError> {
        let ProcessSpec { name, args, mut env, cwd, mounts, clock, random, limits, .. } = spec;
        let mut entries = vec![
            Entry::new(spec.stdin.open()),
            Entry::new(spec.stdout.open(Output::Stdout)),
            Entry::new(spec.stderr.open(Output::Stderr)),
        ];
        let mut roots = Vec::with_capacity(mounts.len());
        for Mount { fs, dir, guest_path } in mounts {
            let failed = |errno| StartError::Mount { guest_path: guest_path.clone(), errno };
            let file = dir.map_or_else(|| fs.root(), Ok).map_err(failed)?;
            let open = Open::dir(Arc::clone(&fs), Arc::clone(&file));
            entries.push(Entry::preopen(open, &guest_path));
            roots.push(Mount { fs, dir: Some(file), guest_path });
        }
        if let Some(cwd) = cwd {
            let failed = |errno| StartError::Cwd { guest_path: cwd.clone(), errno };
            let open = open_cwd(&roots, &cwd).map_err(failed)?;
            entries.push(Entry::preopen(open, b"."));
            if !env.iter().any(|(key, _)| key == b"PWD") {
                env.push((b"PWD".to_vec(), cwd));
            }
        }
        let started = clock.mono();
        let state = ProcessState { fds: FdTable::new(entries), captured: Captured::default() };
        Ok(Arc::new(Process {
            loan: spec.borrows_place.then(|| Loan::new(&name)),
            name,
            args,
            env,
            started,
            deadline_from_ns: AtomicU64::new(started.nanos()),
            clock,
            limits,
            stopper: Stopper::default(),
            state: Mutex::new(state),
            random: Mutex::new(random),
        }))
    }

    /// A process that replaces this one, which has ended: of the same kind, with these descriptors.
    /// The captured output and the rest of the randomness move to it.
    pub(crate) fn successor(&self, entries: Vec<Entry>) -> Arc<Process> {
        let started = self.clock.mono();
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (fds, captured) = (FdTable::new(entries), self.take_captured());
        Arc::new(Process {
            name: self.name.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            clock: Arc::clone(&self.clock),
            loan: self.loan.as_ref().map(|_| Loan::new(&self.name)),
            limits: self.limits.clone(),
            started,
            deadline_from_ns: AtomicU64::new(started.nanos()),
            stopper: Stopper::default(),
            state: Mutex::new(ProcessState { fds, captured }),
            random: Mutex::new(random),
        })
    }

    /// Lets the virtual deadline count from now.
    pub(crate) fn begin_call(&self) {
        if self.limits.virtual_deadline.is_some() {
            self.deadline_from_ns.store(self.clock.mono().nanos(), Ordering::Relaxed);
        }
    }

    /// Notes that a limit was reached, once each.
    pub(crate) fn limit_hit(&self, limit: Limit) {
        let hit = &mut self.lock().captured.limits_hit;
        if !hit.contains(&limit) {
            hit.push(limit);
        }
    }

    /// Closes every descriptor.
    pub(crate) fn close(&self) {
        let closed = self.lock().fds.clear();
        drop(closed);
    }

    /// Takes the captured output and the limits that were hit.
    pub(crate) fn take_captured(&self) -> Captured {
        std::mem::take(&mut self.lock().captured)
    }

    /// Fills `buf` from the process's source of randomness.
    pub(crate) fn random(&self, buf: &mut [u8]) -> Result<(), Errno> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill(buf)
    }

    /// Runs `f` on the descriptor table. Nothing may wait in it.
    pub(crate) fn with_fds<R>(&self, f: impl FnOnce(&mut FdTable) -> R) -> R {
        f(&mut self.lock().fds)
    }

    /// The table's entry for `fd`.
    pub(crate) fn entry(&self, fd: u32) -> Result<Entry, Errno> {
        self.lock().fds.get(fd).cloned()
    }

    /// The part of the open file of `fd` that `select` finds, if then all of `rights` is allowed.
    pub(crate) fn open_as<T>(
        &self,
        fd: u32,
        select: impl FnOnce(&Arc<Open>) -> Result<T, Errno>,
        rights: Rights,
    ) -> Result<T, Errno> {
        let state = self.lock();
        let entry = state.fds.get(fd)?;
        let found = select(&entry.open)?;
        entry.need(rights)?;
        Ok(found)
    }

    /// The open file that `fd` refers to, if `check` passes and then all of `rights` is allowed.
    pub(crate) fn open_file(
        &self,
        fd: u32,
        check: impl FnOnce(&Open) -> Result<(), Errno>,
        rights: Rights,
    ) -> Result<Arc<Open>, Errno> {
        self.open_as(fd, |open| check(open).map(|()| Arc::clone(open)), rights)
    }

    /// Where a write to `fd` goes.
    pub(crate) fn sink(&self, fd: u32) -> Result<Sink<'_>, Errno> {
        let state = self.lock();
        let entry = state.fds.get(fd)?;
        entry.open.check_writable()?;
        entry.need(Rights::FD_WRITE)?;
        if let Kind::Stream(stream) = &entry.open.kind
            && let Some(output) = stream.only_captured()
        {
            let bytes_max = self.limits.output_bytes_max;
            return Ok(Sink::Captured(CapturedSink { state, output, bytes_max }));
        }
        Ok(Sink::Open(Arc::clone(&entry.open)))
    }

    /// Keeps `bytes` of an output that is captured.
    pub(super) fn capture(&self, output: Output, bytes: &[u8]) -> Result<()> {
        let bytes_max = self.limits.output_bytes_max;
        Ok(CapturedSink { state: self.lock(), output, bytes_max }.push(bytes)?)
    }

    /// Whether one more descriptor can be had.
    pub(crate) fn check_room(&self) -> Result<(), Errno> {
        let max = self.limits.open_files_max;
        if self.lock().fds.has_room(max) {
            return Ok(());
        }
        self.limit_hit(Limit::OpenFiles { max });
        Err(Errno::Mfile)
    }

    /// Gives `entry` the lowest free number.
    pub(crate) fn push(&self, entry: Entry) -> Result<u32, Errno> {
        let max = self.limits.open_files_max;
        let pushed = self.lock().fds.push(entry, max);
        if pushed == Err(Errno::Mfile) {
            self.limit_hit(Limit::OpenFiles { max });
        }
        pushed
    }

    /// Runs `f` on the clock from whose place the process waits.
    #[inline(always)]
    fn at_place<R>(&self, f: impl FnOnce(&dyn Clock) -> R) -> R {
        let place;
        f(match &self.loan {
            None => &*self.clock,
            Some(loan) => {
                place = loan.place(&*self.clock);
                &*place
            }
        })
    }

    /// Borrows the caller's place until [`Process::give_place_back`]; does nothing to a process that has its own.
    pub(crate) fn borrow_place(&self) {
        self.at_place(|_| ());
    }

    /// Gives the caller's place back, if it is borrowed.
    pub(crate) fn give_place_back(&self) {
        if let Some(loan) = &self.loan {
            loan.give_back();
        }
    }

    /// Lets the other participants run first.
    pub(crate) fn yield_now(&self) -> Result<(), Stuck> {
        self.at_place(|clock| clock.yield_now())
    }

    /// Marks a wait outside of the timeline, until the result drops.
    pub(super) fn external(&self, what: &dyn fmt::Display) -> External {
        self.at_place(|clock| clock.participant().external(what))
    }

    /// Fails if the process's place on the timeline was given up.
    #[inline]
    pub(crate) fn check_place(&self) -> Result<(), Stuck> {
        match &self.loan {
            Some(loan) if loan.is_lent() => self.at_place(|clock| clock.participant().check()),
            _ => self.clock.participant().check(),
        }
    }

    /// Ends all waits of the process, which may also wait for its turn to begin.
    pub(crate) fn cancel_waits(&self, why: &str) {
        match &self.loan {
            None => self.clock.participant().cancel(why),
            Some(loan) => loan.cancel(why),
        }
    }

    /// Blocks until `deadline`, or until one of `on` is notified.
    ///
    /// Here a guest can be ended from outside (which cancels its clock's waits), by a deadlock, or by
    /// its virtual deadline.
    pub(crate) fn wait(
        &self,
        deadline: Option<MonoTime>,
        on: &[Listener],
        what: &dyn fmt::Display,
    ) -> Result<Woke, Exit> {
        self.stopper.check()?;
        let limit = self.limits.virtual_deadline;
        let from = MonoTime::from_nanos(self.deadline_from_ns.load(Ordering::Relaxed));
        let end = limit.map(|after| from.saturating_add(after));
        let until = match (deadline, end) {
            (Some(deadline), Some(end)) => Some(deadline.min(end)),
            (deadline, end) => deadline.or(end),
        };
        let woke = self.at_place(|clock| clock.wait(Wait { deadline: until, on, what }));
        self.stopper.check()?;
        let woke = woke?;
        if woke == Woke::Deadline
            && until != deadline
            && let Some(after) = limit
        {
            return Err(Exit::Limit(Limit::VirtualDeadline { after }));
        }
        Ok(woke)
    }

    /// As [`Process::wait`], for an event that is not on the timeline. On a mock clock, time stands
    /// still meanwhile, so the deadline does not come.
    pub(crate) fn wait_outside(
        &self,
        deadline: Option<MonoTime>,
        mut on: Vec<Listener>,
        what: &dyn fmt::Display,
    ) -> Result<(), Exit> {
        if !self.clock.is_mocked() {
            return self.wait(deadline, &on, what).map(drop);
        }
        on.push(self.stopper.listen());
        self.stopper.check()?;
        let outside = self.external(what);
        let unpark = Waker::from(Arc::new(Unpark(thread::current())));
        for listener in &on {
            listener.register(&unpark);
        }
        while !on.iter().any(Listener::is_notified) {
            thread::park();
        }
        drop(outside);
        self.stopper.check()
    }

    fn lock(&self) -> MutexGuard<'_, ProcessState> {
        // The operations under this lock leave the state whole, so a poisoned one is in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Opens the directory `cwd`, which lies in the mount whose path is the longest prefix of it.
fn open_cwd(mounts: &[Mount], cwd: &[u8]) -> Result<Open, Errno> {
    let below = |mount: &Mount| -> Option<(usize, Vec<u8>)> {
        let mut rest = GuestPath::new(cwd).components();
        let mut depth = 0;
        for component in GuestPath::new(&mount.guest_path).components() {
            if component == b"." {
                continue;
            }
            if rest.next()? != component {
                return None;
            }
            depth += 1;
        }
        let rest: Vec<&[u8]> = rest.collect();
        Some((depth, if rest.is_empty() { b".".to_vec() } else { rest.join(&b'/') }))
    };
    let candidates = mounts.iter().filter(|mount| GuestPath::new(&mount.guest_path).is_absolute());
    let (mount, (_, rest)) = candidates
        .filter_map(|mount| Some((mount, below(mount)?)))
        .max_by_key(|(_, (depth, _))| *depth)
        .ok_or(Errno::Noent)?;
    let root: Arc<dyn File> = mount.dir.clone().map_or_else(|| mount.fs.root(), Ok)?;
    let how = OpenHow { directory: true, ..OpenHow::READ };
    let file = mount.fs.open_at(&*root, GuestPath::new(&rest), &how)?;
    Ok(Open::dir(Arc::clone(&mount.fs), file))
}
