//! [`Deck`]: the tape of a running session, the one that is played and the one that is recorded.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Seed, WallTime};

use super::calls::{Entries, Miss, command_line};
use super::format::{Header, Record, TapedCall, Way};
use super::record::{Recorder, Recording};
use super::replay::Entry;
use super::scrub::{Marks, Scrubber};
use super::{Call, Tape, TapeError, TapeOptions, Taped};
use crate::sys;

/// The tape of a session: the one that is played and the one that is recorded.
pub(crate) struct Deck {
    path: PathBuf,
    options: TapeOptions,
    is_recording: bool,
    /// The tape that is played; empty when recording.
    taped: Tape,
    recorder: Arc<Recorder>,
    /// The root's names, the preferred one first.
    roots: Vec<Vec<u8>>,
    scrubber: Scrubber,
    /// The variables of the session that count as part of a call.
    session_env: BTreeMap<OsString, OsString>,
    /// The values of marks that do not depend on the command.
    marks: Marks,
    state: Mutex<State>,
}

struct State {
    entries: Entries,
    /// A spawn was recorded that was missed on the tape.
    has_grown: bool,
    misses: Vec<Miss>,
}

/// The values of the session that a deck needs.
pub(crate) struct DeckSpec<'a> {
    pub(crate) path: PathBuf,
    pub(crate) options: TapeOptions,
    /// The root's names on the host; none without an overlay.
    pub(crate) roots: Vec<PathBuf>,
    /// The session's environment.
    pub(crate) env: &'a BTreeMap<OsString, OsString>,
    pub(crate) seed: Seed,
    pub(crate) start: WallTime,
}

impl Deck {
    /// Reads the tape if it is to be played.
    pub(crate) fn open(spec: DeckSpec<'_>) -> Result<Deck, TapeError> {
        let DeckSpec { path, options, roots, env, seed, start } = spec;
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
        let state = State {
            entries: Entries::new(options.matching, taped.records().len()),
            has_grown: false,
            misses: Vec::new(),
        };
        Ok(Deck {
            recorder: Recorder::new(header, start, options.inputs),
            session_env: options.env.iter().filter_map(named).collect(),
            marks: Marks::new(roots.first().cloned(), all),
            path,
            options,
            is_recording,
            taped,
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
        self.recorder.tape()
    }

    /// The entry that a call would take. Consumes nothing.
    pub(crate) fn look(&self, call: &Call) -> Result<&Record, Box<Miss>> {
        let (state, call) = (self.state(), self.known_by(call, &self.scrubber(call)));
        self.find(&state, &call).map(|at| &self.taped.records()[at])
    }

    /// Takes the entry for a call, to be played as the spawn of this number.
    ///
    /// A miss also fails the end of the session.
    pub(crate) fn take(&self, call: &Call, sequence: u32) -> Result<Entry, Box<Miss>> {
        let scrubber = self.scrubber(call);
        let (mut state, known) = (self.state(), self.known_by(call, &scrubber));
        let found = self.find(&state, &known).inspect_err(|miss| {
            state.misses.push(Miss::clone(miss));
        });
        let at = found?;
        state.entries.used(at);
        let record = Record { sequence, ..self.taped.records()[at].clone() };
        self.recorder.add(Ok(record));
        let record = self.taped.records()[at].clone();
        Ok(Entry::new(record, self.recorder.start(), self.marks_of(call), scrubber))
    }

    /// Begins to record a spawn that goes this way. `is_kept` says that it goes onto the tape
    /// even in a session that plays one.
    pub(crate) fn begin(&self, call: &Call, way: Way, sequence: u32, is_kept: bool) -> Recording {
        let scrubber = self.scrubber(call);
        let call = self.known_by(call, &scrubber);
        if !self.is_recording {
            let mut state = self.state();
            // A spawn that does not come from the tape uses up the entry that it would have taken,
            // so that a guest of today may have been recorded natively.
            match state.entries.find(self.taped.records(), &call) {
                Ok(at) => state.entries.used(at),
                Err(_) => state.has_grown |= is_kept,
            }
        }
        Recording::new(self.recorder.clone(), sequence, call, way, scrubber)
    }

    /// Notes a call that was refused because it has no entry: the end of the session fails with it.
    pub(crate) fn missed(&self, miss: &Miss) {
        self.state().misses.push(miss.clone());
    }

    /// Closes the tape. It is written if a new one is wanted and all went well. Returns what was
    /// recorded, and the entries that no call took.
    pub(crate) fn finish(&self) -> Result<(Tape, Vec<Record>), DeckError> {
        let tape = self.recorder.finish()?;
        let mut state = self.state();
        let entries = self.taped.records().iter().enumerate();
        let unused: Vec<Record> = entries
            .filter(|(at, _)| !state.entries.is_used(*at))
            .map(|(_, record)| record.clone())
            .collect();
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
    fn find(&self, state: &State, call: &TapedCall) -> Result<usize, Box<Miss>> {
        state.entries.find(self.taped.records(), call).map_err(|nearest| {
            let record = nearest.map(|at| &self.taped.records()[at]);
            Box::new(Miss {
                tape: self.path.clone(),
                matching: self.options.matching,
                call: call.clone(),
                used: nearest.is_some_and(|at| state.entries.is_used(at))
                    && record.is_some_and(|record| record.call == *call),
                nearest: record.map(|record| (record.sequence, record.call.clone())),
            })
        })
    }

    /// Finds secrets in what a call reads and writes, its own variables among them.
    fn scrubber(&self, call: &Call) -> Scrubber {
        let mut scrubber = self.scrubber.clone();
        scrubber.add_env(call.set_env());
        scrubber
    }

    /// The call as it stands on the tape.
    fn known_by(&self, call: &Call, scrubber: &Scrubber) -> TapedCall {
        let tape = |text: &OsStr| scrubber.tape(&sys::guest_bytes(text));
        let mut env: BTreeMap<&OsStr, Option<&OsStr>> = BTreeMap::new();
        if !call.env_clear {
            env.extend(
                self.session_env.iter().map(|(name, v)| (name.as_os_str(), Some(v.as_os_str()))),
            );
        }
        env.extend(call.env.iter().map(|(name, value)| (name.as_os_str(), value.as_deref())));
        env.retain(|name, _| !self.options.ignored_env.iter().any(|ignored| ignored == name));
        let pair = |(name, value): (&OsStr, Option<&OsStr>)| {
            (tape(name), value.map(|value| scrubber.tape_value(name, value)))
        };
        TapedCall {
            program: tape(&call.program),
            argv: call.argv.iter().map(|arg| tape(arg)).collect(),
            cwd: self.place(call, scrubber),
            env: env.into_iter().map(pair).collect(),
        }
    }

    /// The working directory, relative to the root if it lies inside.
    fn place(&self, call: &Call, scrubber: &Scrubber) -> Taped {
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
    fn marks_of(&self, call: &Call) -> Marks {
        let mut secrets = BTreeMap::new();
        for text in call.args().chain(call.set_env().map(|(_, value)| value)) {
            for (name, value) in self.scrubber.found(&sys::guest_bytes(text)) {
                secrets.entry(OsString::from(name)).or_insert_with(|| sys::os_string(value));
            }
        }
        secrets.extend(call.set_env().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self.marks.with(secrets)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Lists and counters, whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Deck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deck").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a session's tape cannot be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeckError {
    #[error(transparent)]
    Mismatch(#[from] TapeMismatch),
    #[error(transparent)]
    File(#[from] TapeError),
}

/// The spawns of a session are not those of the tape that it played.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapeMismatch {
    /// The file of the tape.
    pub tape: PathBuf,
    /// The entries that no call took: their numbers and command lines.
    pub unused: Vec<(u32, String)>,
    /// The calls that had no entry.
    pub misses: Vec<Miss>,
}

impl std::error::Error for TapeMismatch {}

/// More entries than this are counted instead of listed.
const LISTED_MAX: usize = 10;

impl fmt::Display for TapeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TapeMismatch { tape, unused, misses } = self;
        write!(f, "the spawns are not those of the tape {}:", tape.display())?;
        for miss in misses {
            write!(f, "\n{miss}")?;
        }
        if unused.is_empty() {
            return Ok(());
        }
        let entries = if unused.len() == 1 { "entry was" } else { "entries were" };
        write!(f, "\n{} {entries} not used:", unused.len())?;
        for (sequence, call) in unused.iter().take(LISTED_MAX) {
            write!(f, "\n  {sequence} {call}")?;
        }
        if unused.len() > LISTED_MAX {
            write!(f, "\n  and {} more", unused.len() - LISTED_MAX)?;
        }
        f.write_str("\nRecord the tape again, or allow it with `TapeOptions::allow_unused(true)`.")
    }
}
