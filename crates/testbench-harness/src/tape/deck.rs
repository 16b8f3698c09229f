//! The tape of a running session: what is played from it, and what is put onto the next one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Seed, WallTime};

use super::calls::{Entries, command_line};
use super::format::{Call, Ending, Header, Input, Record, Way};
use super::record::Recording;
use super::replay::Entry;
use super::scrub::Scrubber;
use super::{Mark, Miss, Tape, TapeError, TapeOptions, Taped};
use crate::sys;

/// What a session's tape is made of.
pub(crate) struct Deck {
    path: PathBuf,
    options: TapeOptions,
    is_recording: bool,
    /// What is played; empty when recording.
    taped: Tape,
    header: Header,
    start: WallTime,
    /// The root's names, the one to write first.
    roots: Vec<Vec<u8>>,
    scrubber: Scrubber,
    /// Values for the marks of secrets.
    env: BTreeMap<OsString, OsString>,
    state: Mutex<State>,
}

struct State {
    entries: Entries,
    /// By the number of the spawn.
    recorded: BTreeMap<u32, Record>,
    /// Something was recorded that was missed on the tape.
    has_grown: bool,
    misses: Vec<Miss>,
    /// Why something could not be recorded.
    failed: Option<TapeError>,
}

/// What a deck needs to know of its session.
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

/// How a session ended for its tape.
pub(crate) struct Ended {
    pub(crate) tape: Tape,
    pub(crate) unused: Vec<Record>,
}

impl Deck {
    /// Reads the tape that is to be played, if one is.
    pub(crate) fn open(spec: DeckSpec<'_>) -> Result<Deck, TapeError> {
        let DeckSpec { path, options, roots, env, seed, start } = spec;
        let mut scrubber = Scrubber::new(&options.secret_patterns, &options.secret_env)?;
        // A native child inherits this process's environment and may print any of it.
        #[allow(clippy::disallowed_methods, reason = "secrets can only be hidden if known")]
        let mut all: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        all.extend(env.iter().map(|(name, value)| (name.clone(), value.clone())));
        scrubber.add_env(all.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())));
        scrubber.add_roots(roots.iter().cloned());
        let is_recording = options.mode.is_record(&path);
        let header = Header::new(seed.number(), start);
        let taped = match is_recording {
            true => Tape::new(header.clone(), Vec::new()),
            false => Tape::load(&path)?,
        };
        let state = State {
            entries: Entries::new(options.matching, taped.records().len()),
            recorded: BTreeMap::new(),
            has_grown: false,
            misses: Vec::new(),
            failed: None,
        };
        Ok(Deck {
            path,
            options,
            is_recording,
            taped,
            header,
            start,
            roots: roots.iter().map(|root| sys::guest_path(root)).collect(),
            scrubber,
            env: all,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether everything is recorded and nothing is played.
    pub(crate) fn is_recording(&self) -> bool {
        self.is_recording
    }

    pub(crate) fn start(&self) -> WallTime {
        self.start
    }

    pub(crate) fn keeps_inputs(&self) -> bool {
        self.options.inputs
    }

    /// What finds secrets in what a command with these variables reads and writes.
    pub(crate) fn scrubber<'e>(
        &self,
        command_env: impl IntoIterator<Item = (&'e OsStr, Option<&'e OsStr>)>,
    ) -> Scrubber {
        let mut scrubber = self.scrubber.clone();
        let set = command_env.into_iter().filter_map(|(name, value)| Some((name, value?)));
        scrubber.add_env(set);
        scrubber
    }

    /// What a command is known by. `cwd` is the directory as the child will name it, `session_env`
    /// what the session adds to this command.
    pub(crate) fn call(
        &self,
        command: &crate::Command,
        cwd: Option<&[u8]>,
        session_env: &BTreeMap<OsString, OsString>,
    ) -> Call {
        let scrubber = self.scrubber(command.get_envs());
        let tape = |text: &OsStr| scrubber.tape(&sys::guest_bytes(text));
        let mut env: BTreeMap<&OsStr, Option<&OsStr>> = BTreeMap::new();
        for name in &self.options.env {
            let value = session_env.get(name);
            env.extend(value.map(|value| (name.as_os_str(), Some(value.as_os_str()))));
        }
        env.extend(command.get_envs());
        env.retain(|name, _| !self.options.ignored_env.iter().any(|ignored| ignored == name));
        let value = |(name, value): (&OsStr, Option<&OsStr>)| {
            (tape(name), value.map(|value| scrubber.tape_value(name, value)))
        };
        let mut argv = vec![tape(command.get_arg0())];
        argv.extend(command.get_args().map(tape));
        Call {
            program: tape(command.get_program()),
            argv,
            cwd: self.relative(cwd, &scrubber),
            env: env.into_iter().map(value).collect(),
        }
    }

    fn relative(&self, cwd: Option<&[u8]>, scrubber: &Scrubber) -> Taped {
        let Some(cwd) = cwd else { return Taped::from(".") };
        let inside = self.roots.iter().find_map(|root| crate::files::beneath(cwd, root));
        match inside {
            Some(b"") => Taped::from("."),
            Some(rest) => scrubber.tape(rest),
            None => scrubber.tape(cwd),
        }
    }

    /// The entry that a call would take. Consumes nothing.
    pub(crate) fn look(&self, call: &Call) -> Result<&Record, Box<Miss>> {
        let state = self.state();
        match state.entries.find(self.taped.records(), call) {
            Ok(at) => Ok(&self.taped.records()[at]),
            Err(nearest) => Err(Box::new(self.miss(&state, call, nearest))),
        }
    }

    /// Takes the entry for a call, to be played.
    pub(crate) fn take(self: &Arc<Self>, call: &Call) -> Result<Entry, Box<Miss>> {
        let mut state = self.state();
        match state.entries.find(self.taped.records(), call) {
            Ok(at) => {
                state.entries.used(at);
                Ok(Entry::new(self.clone(), self.taped.records()[at].clone()))
            }
            Err(nearest) => Err(Box::new(self.miss(&state, call, nearest))),
        }
    }

    /// What is recorded from now on is to be put onto the tape that is played.
    pub(crate) fn grow(&self) {
        self.state().has_grown = true;
    }

    /// A call that failed for want of an entry: the end of the session tells of it, too.
    pub(crate) fn missed(&self, miss: Miss) {
        self.state().misses.push(miss);
    }

    fn miss(&self, state: &State, call: &Call, nearest: Option<usize>) -> Miss {
        let record = nearest.map(|at| &self.taped.records()[at]);
        Miss {
            tape: self.path.clone(),
            matching: state.entries.matching(),
            call: call.clone(),
            used: nearest.is_some_and(|at| state.entries.is_used(at))
                && record.is_some_and(|record| record.call == *call),
            nearest: record.map(|record| (record.sequence, record.call.clone())),
        }
    }

    /// Begins to record a spawn. One that does not come from the tape uses up the entry that it
    /// would have taken, so that what runs as a guest today may have been recorded natively.
    pub(crate) fn recording(
        self: &Arc<Self>,
        sequence: u32,
        call: Call,
        (way, module): (Way, Option<String>),
        scrubber: Scrubber,
    ) -> Recording {
        if !self.is_recording {
            let mut state = self.state();
            match state.entries.find(self.taped.records(), &call) {
                Ok(at) => state.entries.used(at),
                // What is not on the tape may run as a guest all the same.
                Err(_) => {}
            }
        }
        Recording::new(self.clone(), sequence, call, (way, module), scrubber)
    }

    pub(crate) fn recorded(&self, recorded: Result<Record, TapeError>) {
        let mut state = self.state();
        match recorded {
            Ok(record) => _ = state.recorded.insert(record.sequence, record),
            Err(error) => _ = state.failed.get_or_insert(error),
        }
    }

    /// A record of a spawn that the host did not start.
    pub(crate) fn not_started(
        self: &Arc<Self>,
        sequence: u32,
        call: Call,
        error: &std::io::Error,
        scrubber: &Scrubber,
    ) {
        let message = scrubber.tape(error.to_string().as_bytes());
        let record = Record {
            sequence,
            call,
            stdin: Input { unseen: true, ..Input::default() },
            route: Way::Native,
            module: None,
            status: Ending::NotStarted { kind: format!("{:?}", error.kind()), message },
            stdout: Taped::default(),
            stderr: Taped::default(),
            duration_ns: 0,
            files: Vec::new(),
        };
        self.recorded(Ok(record));
    }

    /// What stands for the marks in what is played to a command with these variables.
    pub(crate) fn expand(
        &self,
        taped: &Taped,
        command_env: &BTreeMap<OsString, OsString>,
    ) -> Vec<u8> {
        taped.expand(|mark| match mark {
            Mark::Root => self.roots.first().cloned().unwrap_or_else(|| mark.to_string().into()),
            Mark::Secret(name) => {
                let name = OsStr::new(name);
                let value = command_env.get(name).or_else(|| self.env.get(name));
                value.map_or_else(|| mark.to_string().into(), |value| sys::guest_bytes(value))
            }
        })
    }

    /// Closes the tape: what was recorded is written where a new one is wanted and all went well.
    pub(crate) fn finish(&self) -> Result<Ended, DeckError> {
        let mut state = self.state();
        let records = std::mem::take(&mut state.recorded).into_values().collect();
        let tape = Tape::new(self.header.clone(), records);
        let unused: Vec<Record> = self
            .taped
            .records()
            .iter()
            .enumerate()
            .filter(|(at, _)| !state.entries.is_used(*at))
            .map(|(_, record)| record.clone())
            .collect();
        if let Some(error) = state.failed.take() {
            return Err(error.into());
        }
        let misses = std::mem::take(&mut state.misses);
        if !misses.is_empty() || (!unused.is_empty() && !self.options.unused) {
            let unused = unused.iter().map(|r| (r.sequence, command_line(&r.call))).collect();
            return Err(TapeMismatch { tape: self.path.clone(), unused, misses }.into());
        }
        if self.is_recording || state.has_grown {
            tape.save(&self.path)?;
        }
        Ok(Ended { tape, unused })
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

/// Why a session's tape has no good end.
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
