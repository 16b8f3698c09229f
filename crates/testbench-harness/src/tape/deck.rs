//! The tape of a running session: what is played from it, and what is put onto the next one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbench_clock::{Seed, WallTime};

use super::calls::{Entries, command_line};
use super::format::{Call, Header, Record, Way};
use super::record::Recording;
use super::replay::Entry;
use super::scrub::Scrubber;
use super::{Mark, Miss, Tape, TapeError, TapeOptions, Taped};
use crate::bench::Bench;
use crate::{Command, Refusal, Route, files, route, sys};

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

    /// What a command is known by.
    pub(crate) fn call_of(&self, bench: &Bench, command: &Command) -> Call {
        let scrubber = self.scrubber(command.get_envs());
        let tape = |text: &OsStr| scrubber.tape(&sys::guest_bytes(text));
        let mut env: BTreeMap<&OsStr, Option<&OsStr>> = BTreeMap::new();
        for name in &self.options.env {
            let value = bench.env.get(name).filter(|_| !command.env_clear);
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
            cwd: self.cwd_of(bench, command, &scrubber),
            env: env.into_iter().map(value).collect(),
        }
    }

    /// The working directory, relative to the root if it lies inside.
    fn cwd_of(&self, bench: &Bench, command: &Command, scrubber: &Scrubber) -> Taped {
        #[expect(clippy::disallowed_methods, reason = "a spawn starts in it, as in std")]
        let process_dir = std::env::current_dir().ok();
        let (said, process_dir) = (command.current_dir.as_deref(), process_dir.as_deref());
        let cwd = match bench.files.cwd(said, process_dir) {
            Ok(Some(cwd)) => cwd,
            // One that cannot be entered makes the start fail; without files it is the host's.
            Ok(None) | Err(_) => {
                let dir = match (said, process_dir) {
                    (Some(said), Some(base)) => base.join(said),
                    (Some(dir), None) | (None, Some(dir)) => dir.to_owned(),
                    (None, None) => PathBuf::from("."),
                };
                sys::guest_path(&dir)
            }
        };
        let inside = bench.files.in_overlay(&cwd).or_else(|| {
            let mut roots = self.roots.iter();
            roots.find_map(|root| files::beneath(&cwd, root)).map(<[u8]>::to_vec)
        });
        match inside.as_deref() {
            Some(b"") => Taped::from("."),
            Some(rest) => scrubber.tape(rest),
            None => scrubber.tape(&cwd),
        }
    }

    /// What is recorded so far.
    pub(crate) fn tape(&self) -> Tape {
        let records = self.state().recorded.values().cloned().collect();
        Tape::new(self.header.clone(), records)
    }

    /// Begins to record a spawn that goes this way, if it is to be recorded as it runs.
    pub(crate) fn begin(
        self: &Arc<Self>,
        bench: &Bench,
        command: &Command,
        route: &Route,
        sequence: u32,
    ) -> Option<Recording> {
        let way = match route {
            Route::Guest(_) => Way::Guest,
            Route::Native => Way::Native,
            // That is written down when it has been played.
            Route::Replay(_) => return None,
            Route::Refuse(Refusal::NotOnTape(miss)) => {
                self.state().misses.push(Miss::clone(miss));
                return None;
            }
            Route::Refuse(_) => return None,
        };
        let call = self.call_of(bench, command);
        if !self.is_recording {
            let mut state = self.state();
            // One that does not come from the tape uses up the entry that it would have taken, so
            // that what runs as a guest today may have been recorded natively.
            match state.entries.find(self.taped.records(), &call) {
                Ok(at) => state.entries.used(at),
                Err(_) => {
                    state.has_grown |= way == Way::Native && route::is_recorded(bench, command);
                }
            }
        }
        let scrubber = self.scrubber(command.get_envs());
        Some(Recording::new(self.clone(), sequence, call, way, scrubber))
    }

    /// The entry that a call would take. Consumes nothing.
    pub(crate) fn look(&self, call: &Call) -> Result<&Record, Box<Miss>> {
        let state = self.state();
        match state.entries.find(self.taped.records(), call) {
            Ok(at) => Ok(&self.taped.records()[at]),
            Err(nearest) => Err(Box::new(self.miss(&state, call, nearest))),
        }
    }

    /// Takes the entry for a command, to be played.
    pub(crate) fn take(
        self: &Arc<Self>,
        bench: &Bench,
        command: &Command,
    ) -> Result<Entry, Box<Miss>> {
        let call = &self.call_of(bench, command);
        let mut state = self.state();
        match state.entries.find(self.taped.records(), call) {
            Ok(at) => {
                state.entries.used(at);
                let record = self.taped.records()[at].clone();
                let (secrets, scrubber) =
                    (self.secrets_of(command), self.scrubber(command.get_envs()));
                Ok(Entry::new(self.clone(), record, secrets, scrubber))
            }
            Err(nearest) => Err(Box::new(self.miss(&state, call, nearest))),
        }
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

    pub(crate) fn recorded(&self, recorded: Result<Record, TapeError>) {
        let mut state = self.state();
        match recorded {
            Ok(record) => _ = state.recorded.insert(record.sequence, record),
            Err(error) => _ = state.failed.get_or_insert(error),
        }
    }

    /// The values of secrets that this command brings along: what its arguments and variables have
    /// where patterns find something.
    pub(crate) fn secrets_of(&self, command: &Command) -> BTreeMap<OsString, Vec<u8>> {
        let mut secrets = BTreeMap::new();
        let values = command.get_envs().filter_map(|(_, value)| value);
        for text in command.get_args().chain(values) {
            for (name, value) in self.scrubber.found(&sys::guest_bytes(text)) {
                secrets.entry(OsString::from(name)).or_insert_with(|| value.to_vec());
            }
        }
        for (name, value) in command.get_envs() {
            let value = value.map(|value| (name.to_owned(), sys::guest_bytes(value)));
            secrets.extend(value);
        }
        secrets
    }

    /// What stands for the marks in what is played to a command that brings these secrets along.
    pub(crate) fn expand(&self, taped: &Taped, secrets: &BTreeMap<OsString, Vec<u8>>) -> Vec<u8> {
        taped.expand(|mark| match mark {
            Mark::Root => self.roots.first().cloned().unwrap_or_else(|| mark.to_string().into()),
            Mark::Secret(name) => {
                let name = OsStr::new(name);
                let own = || self.env.get(name).map(|value| sys::guest_bytes(value));
                secrets.get(name).cloned().or_else(own).unwrap_or_else(|| mark.to_string().into())
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
