//! The journal: everything that a commit is about to do, on the disk before any of it is done.
//!
//! The stage, a directory `.testbench-commit` at the top of the root, holds
//!
//! | name | |
//! | --- | --- |
//! | `format` | says that the directory is ours; the first file made |
//! | `n0`, `n1`, … | files to be put in place, and files that have left their place |
//! | `journal` | the steps; once it is there, the tree may have been changed |
//! | `moved` | the journal's name once everything that leaves its place has left it |
//!
//! Each appears and disappears in one instant. When all steps are made, the stage is renamed to
//! `.testbench-commit-done`. The journal is two lines: the format with its version and the BLAKE3
//! hash of the rest, and the steps as JSON.
//!
//! Steps are made in this order: `outs`, `ins`, `metas`. Each step sees on the disk whether it is
//! done, so that all of them can be made again after an interruption. There is no way back.

use serde::{Deserialize, Serialize};
use testbench_clock::WallTime;

use super::disk::{At, Disk};
use super::error::{RecoverError, Result};
use crate::lower::observe::Stamp;
use crate::places::{Line, PathId, Paths};
use crate::{FileKind, GuestPath, SetTime, SetTimes, Stat};

const FORMAT: &str = "format";
const JOURNAL: &str = "journal";
const MOVED: &str = "moved";
/// The journal while it is written.
const JOURNAL_NEW: &str = "journal.new";
/// All of them, in the order in which they are removed.
pub(super) const OURS: [&str; 4] = [JOURNAL_NEW, FORMAT, JOURNAL, MOVED];

const TITLE: &str = "testbench-overlay commit journal";
const VERSION: &str = "2";

/// Above this, a journal is not one of ours: a million changes with long names take less.
const JOURNAL_BYTES_MAX: u64 = 4 << 30;

/// All steps of one commit, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Steps {
    /// Directories whose owner may not work in them yet.
    pub(super) opens: Vec<PathId>,
    /// Everything that leaves its place, deepest first, under the paths before the commit.
    pub(super) outs: Vec<Out>,
    /// Everything that comes to a place, from the top down, under the paths after it.
    pub(super) ins: Vec<In>,
    /// Permission bits and times, under the paths after it; made from the last to the first.
    pub(super) metas: Vec<MetaStep>,
}

/// Takes something from its place to the stage, or removes an empty directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Out {
    pub(super) path: PathId,
    /// A slot that no [`In`] uses holds a deleted file.
    pub(super) slot: Option<u64>,
    pub(super) was: Mark,
}

/// Puts something in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct In {
    pub(super) path: PathId,
    pub(super) what: Incoming,
    /// The file that is there before, and the slot that keeps it until all is in place.
    pub(super) over: Option<(u64, Mark)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Incoming {
    /// A new directory.
    Dir,
    /// Something on the stage.
    Slot(u64),
    /// One more name of the file at a path, made by way of the slot.
    Link(PathId, u64),
}

/// Sets permission bits and times of something that is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetaStep {
    pub(super) path: PathId,
    pub(super) kind: FileKind,
    pub(super) mode: u32,
    pub(super) times: Times,
}

/// Times of access and of change, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times(i128, i128);

impl Times {
    pub(super) fn new(atime: WallTime, mtime: WallTime) -> Times {
        Times(atime.unix_nanos(), mtime.unix_nanos())
    }

    pub(super) fn set(self) -> SetTimes {
        // Beyond the range of every file system, the nearest will do.
        let range = i128::from(i64::MAX) * 1_000_000_000;
        let time = |nanos: i128| WallTime::from_unix_nanos(nanos.clamp(-range, range));
        let [atime, mtime] = [self.0, self.1].map(|nanos| Some(SetTime::At(time(nanos))));
        SetTimes { atime, mtime }
    }
}

/// The number of a name on the stage; `None` for any other name.
pub(super) fn slot(name: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(name.strip_prefix(b"n")?).ok()?.parse().ok()?;
    // Neither `+1` nor `01`.
    (format!("n{number}").as_bytes() == name).then_some(number)
}

/// Tells whether a file still is the one that a step is about, also after it was moved, by another
/// process, and on a copy of the disk. Of a directory, only that it is a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    kind: FileKind,
    size: u64,
    /// In nanoseconds since 1970.
    mtime: i128,
    /// All that was seen of it, while it lies in its place and the process lives.
    #[serde(skip)]
    stamp: Option<Stamp>,
}

impl Mark {
    pub(super) fn of(stat: &Stat) -> Mark {
        let mtime = stat.mtime.unix_nanos();
        Mark { kind: stat.kind, size: stat.size, mtime, stamp: Some(Stamp::of(stat)) }
    }

    /// Whether something in its place is unchanged.
    pub(super) fn matches(&self, stat: &Stat) -> bool {
        // A step about one of several names changes the ctime of all.
        let is_still = |was: &Stamp| {
            let is = Stamp::of(stat);
            let is = if stat.nlink > 1 { Stamp { ctime: was.ctime, ..is } } else { is };
            was.matches(&is)
        };
        self.holds(stat) && self.stamp.as_ref().is_none_or(is_still)
    }

    /// Whether something on the stage is unchanged.
    pub(super) fn holds(&self, stat: &Stat) -> bool {
        let same = (self.size, self.mtime) == (stat.size, stat.mtime.unix_nanos());
        self.kind == stat.kind && (same || stat.kind != FileKind::File)
    }
}

impl In {
    /// The slot by way of which it comes.
    pub(super) fn slot(&self) -> Option<u64> {
        match self.what {
            Incoming::Dir => None,
            Incoming::Slot(slot) | Incoming::Link(_, slot) => Some(slot),
        }
    }
}

impl Steps {
    pub(super) fn is_empty(&self) -> bool {
        self.outs.is_empty() && self.ins.is_empty() && self.metas.is_empty()
    }

    fn paths(&self) -> impl Iterator<Item = PathId> {
        let ins = self.ins.iter().flat_map(|step| match step.what {
            Incoming::Link(of, _) => [step.path, of],
            Incoming::Dir | Incoming::Slot(_) => [step.path; 2],
        });
        let outs = self.outs.iter().map(|out| out.path);
        let metas = self.metas.iter().map(|meta| meta.path);
        self.opens.iter().copied().chain(outs).chain(ins).chain(metas)
    }
}

/// The journal's second line.
#[derive(Serialize, Deserialize)]
struct Journal {
    paths: Vec<Line>,
    steps: Steps,
}

/// Why a journal cannot be used.
#[derive(Debug)]
enum Unusable {
    Foreign,
    /// Of a version that this program does not know.
    Version(String),
    /// Ours, and not complete.
    Damaged(String),
}

fn write(paths: &Paths, steps: &Steps) -> String {
    let journal = Journal { paths: paths.to_lines(steps.paths()), steps: steps.clone() };
    let json = serde_json::to_string(&journal).expect("steps are strings and numbers");
    format!("{}{json}\n", head(json.as_bytes()))
}

fn read(text: &[u8]) -> Result<(Paths, Steps), Unusable> {
    let damaged = |why: &str| Unusable::Damaged(why.to_owned());
    let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
    let (first, json) = text.split_at(end);
    let first = String::from_utf8_lossy(first);
    let rest = first.trim_end().strip_prefix(TITLE).ok_or(Unusable::Foreign)?;
    match rest.split(' ').nth(1) {
        Some(VERSION) => {}
        Some(version) => return Err(Unusable::Version(version.to_owned())),
        None => return Err(Unusable::Foreign),
    }
    let json = json.strip_suffix(b"\n").ok_or_else(|| damaged("it ends too early"))?;
    if head(json) != first {
        return Err(damaged("its checksum is wrong"));
    }
    let journal: Journal = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
    let paths = Paths::from_lines(journal.paths).map_err(Unusable::Damaged)?;
    let is_whole = journal.steps.paths().all(|id| paths.has(id));
    if is_whole { Ok((paths, journal.steps)) } else { Err(damaged("it lacks a path")) }
}

fn head(json: &[u8]) -> String {
    format!("{TITLE} {VERSION} {}\n", blake3::hash(json).to_hex())
}

/// The content of `format`.
fn format() -> String {
    format!("{TITLE} {VERSION}\n")
}

/// How far a commit got, as the stage says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing in the tree has been changed.
    Staging,
    /// Steps have been made; all `outs`, if it has `moved`.
    Begun { moved: bool },
    /// All steps have been made.
    Done,
}

/// Looks at the stage, and reads the journal if one is in force.
pub(super) fn load(disk: &mut Disk<'_>) -> Result<(Progress, Steps), RecoverError> {
    let stage = disk.host_path(At::STAGE);
    let names: Vec<_> = disk.list(At::STAGE)?.into_iter().map(|entry| entry.name).collect();
    let has = |wanted: &&str| names.iter().any(|name| **name == *wanted.as_bytes());
    let foreign = |name: &[u8]| {
        Err(RecoverError::Foreign { stage: stage.clone(), name: GuestPath::new(name).to_string() })
    };
    let is_ours = |name: &[u8]| OURS.iter().any(|our| our.as_bytes() == name);
    if let Some(name) = names.iter().find(|name| slot(name).is_none() && !is_ours(name)) {
        return foreign(name);
    }
    let in_force = [MOVED, JOURNAL].into_iter().find(has);
    let progress = match in_force {
        _ if disk.is_waste() => Progress::Done,
        Some(name) => Progress::Begun { moved: name == MOVED },
        None => Progress::Staging,
    };
    if let Some(first) = names.first().filter(|_| progress != Progress::Done) {
        if !has(&FORMAT) {
            return foreign(first);
        }
        // Cut short, it was being written when nothing else was there. That of another version
        // says the same, and its journal says which.
        let text = disk.read(At::Stage(FORMAT))?;
        let cut_short = names.len() == 1 && format().as_bytes().starts_with(&text);
        if !text.starts_with(TITLE.as_bytes()) && !cut_short {
            return foreign(FORMAT.as_bytes());
        }
    }
    let Some(name) = in_force else { return Ok((progress, Steps::default())) };
    if disk.look(At::Stage(name))?.is_some_and(|stat| stat.size > JOURNAL_BYTES_MAX) {
        return foreign(name.as_bytes());
    }
    match read(&disk.read(At::Stage(name))?) {
        Ok((paths, steps)) => {
            disk.paths = paths;
            Ok((progress, steps))
        }
        // Nothing depends on it any more.
        Err(_) if progress == Progress::Done => Ok((progress, Steps::default())),
        Err(Unusable::Foreign) => foreign(name.as_bytes()),
        Err(Unusable::Version(found)) => Err(RecoverError::Version { stage, found }),
        Err(Unusable::Damaged(why)) => Err(RecoverError::Damaged { stage, why }),
    }
}

/// Marks the stage as ours.
pub(super) fn claim(disk: &mut Disk<'_>) -> Result<()> {
    let at = At::Stage(FORMAT);
    let file = disk.make_file(at)?;
    disk.write(at, &file, format().as_bytes(), 0)
}

/// Writes the journal, which is not in force yet.
pub(super) fn prepare(disk: &mut Disk<'_>, steps: &Steps) -> Result<()> {
    let at = At::Stage(JOURNAL_NEW);
    let file = disk.make_file(at)?;
    disk.write(at, &file, write(&disk.paths, steps).as_bytes(), 0)?;
    disk.sync(at, &file)?;
    disk.sync_stage()
}

/// Puts the journal in force, in one instant.
pub(super) fn store(disk: &mut Disk<'_>) -> Result<()> {
    disk.rename_new(At::Stage(JOURNAL_NEW), At::Stage(JOURNAL))?;
    disk.sync_stage()
}

/// Makes sure that no journal is in force.
pub(super) fn withdraw(disk: &mut Disk<'_>) -> Result<()> {
    if disk.look(At::Stage(JOURNAL))?.is_some() {
        disk.unlink(At::Stage(JOURNAL))?;
        disk.sync_stage()?;
    }
    Ok(())
}

/// Notes that everything that leaves its place has left it.
pub(super) fn mark_moved(disk: &mut Disk<'_>) -> Result<()> {
    disk.rename_new(At::Stage(JOURNAL), At::Stage(MOVED))?;
    disk.sync_stage()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let mut paths = Paths::new();
        let path = paths.child(PathId::TOP, b"a\xff");
        let ins = vec![In { path, what: Incoming::Dir, over: None }];
        write(&paths, &Steps { ins, ..Steps::default() })
    }

    #[test]
    fn a_written_journal_is_read_again() {
        let (paths, steps) = read(text().as_bytes()).unwrap();
        assert_eq!(write(&paths, &steps), text());
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let whole = text().into_bytes();
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
            let mut other = whole.clone();
            other[at] ^= 1;
            assert!(read(&other).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn another_version_is_called_that() {
        let text = text().replace("journal 2 ", "journal 3 ");
        assert!(matches!(read(text.as_bytes()), Err(Unusable::Version(v)) if v == "3"));
        assert!(matches!(read(b"[]"), Err(Unusable::Foreign)));
        assert!(matches!(read(b""), Err(Unusable::Foreign)));
    }

    #[test]
    fn only_our_own_names_are_slots() {
        for name in ["n0", "n17"] {
            assert_eq!(format!("n{}", slot(name.as_bytes()).unwrap()), name);
        }
        for name in ["", "n", "x1", "n+1", "n01", "n-1", "n1x", "journal", "n99999999999999999999"]
        {
            assert_eq!(slot(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn times_before_1970_survive() {
        for nanos in [-1, 0, 1, -1_000_000_001, 1_700_000_000_123_456_789] {
            let time = WallTime::from_unix_nanos(nanos);
            assert_eq!(Times::new(time, time).set().mtime, Some(SetTime::At(time)));
        }
    }
}
