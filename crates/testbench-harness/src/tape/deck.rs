//! [`Deck`]: the tape of a running session, the one that is played and the one that is recorded.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use testbench_clock::{Seed, WallTime};

use super::calls::{Miss, command_line};
use super::error::{TapeError, TapeMismatch};
use super::format::{Header, Record, TapedCall, Way};
use super::record::Recording;
use super::replay::Entry;
use super::scrub::{Marks, Scrubber};
use super::{Mark, Tape, TapeOptions, Taped};
use crate::spec::SpawnSpec;
use crate::sys;

/// A spawn before its route is decided.
pub(crate) struct Call<'a> {
    pub(crate) spec: &'a SpawnSpec,
    /// The working directory, as a guest names it.
    pub(crate) cwd: Vec<u8>,
    /// The same from the root of the overlay; `None` outside of it.
    pub(crate) cwd_in_overlay: Option<Vec<u8>>,
}

impl Call<'_> {
    /// The variables that the command sets.
    fn set_env(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.spec.envs().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The tape of a session: the one that is played and the one that is recorded.
pub(crate) struct Deck {
    path: PathBuf,
    options: TapeOptions,
    is_recording: bool,
    /// The tape that is played; empty when recording.
    taped: Tape,
    /// The header of the tape that is recorded.
    header: Header,
    /// The wall time at which the session's clock starts.
    start: WallTime,
    /// The root's names, the preferred one first.
    roots: Vec<Vec<u8>>,
    scrubber: Scrubber,
    /// The variables of the session that count as part of a call.
    session_env: BTreeMap<OsString, OsString>,
    /// The values of marks that do not depend on the command.
    marks: Marks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The entries that a call has taken.
    used: Vec<bool>,
    /// A spawn was recorded that was missed on the tape.
    has_grown: bool,
    misses: Vec<Miss>,
    /// The spawns that have ended, by their number.
    records: BTreeMap<u32, Record>,
    /// Why a spawn could not be recorded, the first reason.
    failed: Option<TapeError>,
}

impl Deck {
    /// Reads the tape if it is to be played. `roots` are the root's names on the host, none without an
    /// overlay; `env` is the session's environment, and `start` the start of its clock.
    pub(crate) fn open(
        path: PathBuf,
        options: TapeOptions,
        roots: Vec<PathBuf>,
        env: &BTreeMap<OsString, OsString>,
        seed: Seed,
        start: WallTime,
    ) -> Result<Deck, TapeError> {
        let mut scrubber = Scrubber::new(&options.secret_patterns, &options.secret_env)?;
        // A native child inherits this process's environment and may print any of it.
        #[allow(clippy::disallowed_methods, reason = "secrets can only be hidden if known")]
        let mut all: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        all.extend(env.clone());
        scrubber.add_env(all.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())));
        scrubber.add_roots(roots.iter().cloned());
        let roots: Vec<Vec<u8>> = roots.iter().map(|root| sys::guest_path(root)).collect();
        let is_recording = options.mode.is_record(&path);
        let header = Header::new(seed.number(), start);
        let taped = match is_recording {
            true => Tape::new(header.clone(), Vec::new()),
            false => Tape::load(&path)?,
        };
        let named = |name| Some((OsString::clone(name), env.get(name)?.clone()));
        let state = State { used: vec![false; taped.records().len()], ..State::default() };
        Ok(Deck {
            session_env: options.env.iter().filter_map(named).collect(),
            marks: Marks { root: roots.first().cloned(), secrets: all },
            path,
            options,
            is_recording,
            taped,
            header,
            start,
            roots,
            scrubber,
            state: Mutex::new(state),
        })
    }

    /// Whether everything is recorded and nothing is played.
    pub(crate) fn is_recording(&self) -> bool {
        self.is_recording
    }

    /// The records so far.
    pub(crate) fn tape(&self) -> Tape {
        Tape::new(self.header.clone(), self.state().records.values().cloned().collect())
    }

    /// The entry that a call would take. Consumes nothing.
    pub(crate) fn look(&self, call: &Call<'_>) -> Result<&Record, Box<Miss>> {
        let (_, call) = self.known_by(call);
        self.find(&self.state().used, &call).map(|at| &self.taped.records()[at])
    }

    /// Takes the entry for a call, to be played as the spawn of this number.
    ///
    /// A miss also fails the end of the session.
    pub(crate) fn take(&self, call: &Call<'_>, sequence: u32) -> Result<Entry, Box<Miss>> {
        let (scrubber, known) = self.known_by(call);
        let mut state = self.state();
        let found = self.find(&state.used, &known);
        let at = found.inspect_err(|miss| state.misses.push(Miss::clone(miss)))?;
        state.used[at] = true;
        let record = self.taped.records()[at].clone();
        state.records.insert(sequence, Record { sequence, ..record.clone() });
        Ok(Entry { record, start: self.start, marks: self.marks_of(call), scrubber })
    }

    /// Begins to record a spawn that goes this way. `is_kept` says that it goes onto the tape
    /// even in a session that plays one.
    pub(crate) fn begin(
        &self,
        call: &Call<'_>,
        way: Way,
        sequence: u32,
        is_kept: bool,
    ) -> Recording {
        let (scrubber, call) = self.known_by(call);
        if !self.is_recording {
            let mut state = self.state();
            // A spawn that does not come from the tape uses up the entry that it would have taken,
            // so that a guest of today may have been recorded natively.
            match self.options.matching.find(self.taped.records(), &state.used, &call) {
                Ok(at) => state.used[at] = true,
                Err(_) => state.has_grown |= is_kept,
            }
        }
        let (started, keeps_input) = (self.start, self.options.inputs);
        let (module, changes, taps) = Default::default();
        Recording { sequence, call, way, scrubber, started, keeps_input, module, changes, taps }
    }

    /// Notes a call that was refused because it has no entry: the end of the session fails with it.
    pub(crate) fn missed(&self, miss: &Miss) {
        self.state().misses.push(miss.clone());
    }

    /// Adds the record of a spawn that has ended, or why there is none, with which the end of the
    /// session fails.
    pub(crate) fn add(&self, recorded: Result<Record, TapeError>) {
        let mut state = self.state();
        match recorded {
            Ok(record) => _ = state.records.insert(record.sequence, record),
            Err(error) => _ = state.failed.get_or_insert(error),
        }
    }

    /// Closes the tape. It is written if a new one is wanted and all went well. Returns what was
    /// recorded, and the entries that no call took.
    pub(crate) fn finish(&self) -> Result<(Tape, Vec<Record>), TapeError> {
        let tape = self.tape();
        let mut state = self.state();
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let entries = self.taped.records().iter().zip(&state.used);
        let unused: Vec<Record> =
            entries.filter(|(_, used)| !**used).map(|(record, _)| record.clone()).collect();
        let misses = std::mem::take(&mut state.misses);
        if !misses.is_empty() || (!unused.is_empty() && !self.options.unused) {
            let unused = unused.iter().map(|r| (r.sequence, command_line(&r.call))).collect();
            return Err(TapeMismatch { tape: self.path.clone(), unused, misses }.into());
        }
        if self.is_recording || state.has_grown {
            tape.save(&self.path)?;
        }
        Ok((tape, unused))
    }

    /// The index of the entry for a call, or how the nearest one differs.
    fn find(&self, used: &[bool], call: &TapedCall) -> Result<usize, Box<Miss>> {
        let (records, matching) = (self.taped.records(), self.options.matching);
        matching.find(records, used, call).map_err(|nearest| {
            let nearest = nearest.map(|at| (&records[at], used[at]));
            Box::new(Miss {
                tape: self.path.clone(),
                matching,
                call: call.clone(),
                used: nearest.is_some_and(|(record, used)| used && record.call == *call),
                nearest: nearest.map(|(record, _)| (record.sequence, record.call.clone())),
            })
        })
    }

    /// The call as it stands on the tape. The scrubber finds secrets in what the call reads and writes,
    /// its own variables among them.
    fn known_by(&self, call: &Call<'_>) -> (Scrubber, TapedCall) {
        let mut scrubber = self.scrubber.clone();
        scrubber.add_env(call.set_env());
        let tape = |text: &OsStr| scrubber.tape(&sys::guest_bytes(text));
        let spec = call.spec;
        let session = self.session_env.iter().filter(|_| !spec.env_clear);
        let session = session.map(|(name, value)| (name.as_os_str(), Some(value.as_os_str())));
        let mut env: BTreeMap<&OsStr, Option<&OsStr>> = session.chain(spec.envs()).collect();
        env.retain(|name, _| !self.options.ignored_env.iter().any(|ignored| ignored == name));
        let pair = |(name, value): (&OsStr, Option<&OsStr>)| {
            (tape(name), value.map(|value| scrubber.tape_value(name, value)))
        };
        let known = TapedCall {
            program: tape(&spec.program),
            argv: [spec.arg0()].into_iter().chain(args(spec)).map(tape).collect(),
            cwd: self.place(call, &scrubber),
            env: env.into_iter().map(pair).collect(),
        };
        (scrubber, known)
    }

    /// The working directory, relative to the root if it lies inside.
    fn place(&self, call: &Call<'_>, scrubber: &Scrubber) -> Taped {
        let beneath = |root: &Vec<u8>| sys::beneath(&call.cwd, root);
        let inside = call.cwd_in_overlay.as_deref();
        match inside.or_else(|| self.roots.iter().find_map(beneath)) {
            Some(b"") => Taped::from("."),
            Some(rest) => scrubber.tape(rest),
            None => scrubber.tape(&call.cwd),
        }
    }

    /// The values of marks for this call. Its own variables, and the matches of patterns in its
    /// arguments, take precedence.
    fn marks_of(&self, call: &Call<'_>) -> Marks {
        let mut secrets = BTreeMap::new();
        for text in args(call.spec).chain(call.set_env().map(|(_, value)| value)) {
            let text = sys::guest_bytes(text);
            for (range, mark) in self.scrubber.find_patterns(&text) {
                if let Mark::Secret(name) = mark {
                    secrets.entry(name.into()).or_insert_with(|| sys::os_string(&text[range]));
                }
            }
        }
        secrets.extend(call.set_env().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut marks = self.marks.clone();
        marks.secrets.extend(secrets);
        marks
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Lists and counters, whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn args(spec: &SpawnSpec) -> impl Iterator<Item = &OsStr> {
    spec.args.iter().map(OsString::as_os_str)
}

impl fmt::Debug for Deck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deck").field("path", &self.path).finish_non_exhaustive()
    }
}
