//! What a commit does, step by step, as it stands in the journal.
//!
//! There are two layouts of the tree: *before*, and *after*. First everything that leaves its
//! place is taken out, in the layout before, what lies deeper first. Then everything that is new
//! in its place is put in, in the layout after, directories before what is in them. Last come
//! permission bits and times. Each step can be told done from undone by looking at the disk, and
//! has an exact opposite.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use testbench_clock::WallTime;

use crate::vfs::name::RelPath;
use crate::{FileKind, Stat};

/// Which tree a path is meant in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Before,
    After,
}

/// All steps of one commit, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Steps {
    pub(super) outs: Vec<Out>,
    pub(super) ins: Vec<In>,
    pub(super) metas: Vec<Meta>,
}

/// Takes something from its place to the stage, where it waits to be put elsewhere or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Out {
    #[serde(with = "path")]
    pub(super) from: RelPath,
    pub(super) slot: Slot,
    pub(super) was: Mark,
}

/// Puts something in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum In {
    /// From the stage, to where nothing is.
    Move {
        slot: Slot,
        #[serde(with = "path")]
        to: RelPath,
        is: Mark,
    },
    /// A new directory.
    Dir {
        #[serde(with = "path")]
        path: RelPath,
    },
    /// From the stage, in one instant over what was there, which is kept on the stage.
    Replace {
        new: Slot,
        old: Slot,
        #[serde(with = "path")]
        path: RelPath,
        is: Mark,
        was: Mark,
    },
}

/// Permission bits and times of something that is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    pub(super) kind: Kind,
    /// Where it was, and how, if it was.
    pub(super) before: Option<Placed>,
    /// Where it will be, and how, if it will be.
    pub(super) after: Option<Placed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Placed {
    #[serde(with = "path")]
    pub(super) path: RelPath,
    pub(super) mode: u32,
    pub(super) times: Times,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Times {
    pub(super) atime: Time,
    pub(super) mtime: Time,
}

impl Times {
    pub(super) fn of(stat: &Stat) -> Times {
        Times { atime: stat.atime.into(), mtime: stat.mtime.into() }
    }
}

/// Seconds since 1970, and nanoseconds beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Time(i64, u32);

impl From<WallTime> for Time {
    fn from(time: WallTime) -> Time {
        let secs = time.unix_nanos().div_euclid(1_000_000_000);
        let nanos = time.unix_nanos().rem_euclid(1_000_000_000) as u32;
        // Beyond what any file system holds, the nearest will do.
        let limit = if secs < 0 { i64::MIN } else { i64::MAX };
        Time(i64::try_from(secs).unwrap_or(limit), nanos)
    }
}

impl From<Time> for WallTime {
    fn from(Time(secs, nanos): Time) -> WallTime {
        WallTime::from_unix_nanos(i128::from(secs) * 1_000_000_000 + i128::from(nanos))
    }
}

/// A name on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) enum Slot {
    /// Something that is to be put in place.
    New(u64),
    /// Something that was taken from its place.
    Old(u64),
    /// Something that nobody needs any more.
    Waste(u64),
}

impl Slot {
    /// The slot of a name; `None` if it is none of ours.
    pub(super) fn parse(name: &[u8]) -> Option<Slot> {
        let number = std::str::from_utf8(name.get(1..)?).ok()?.parse().ok()?;
        let slot = match name[0] {
            b'n' => Slot::New(number),
            b'o' => Slot::Old(number),
            b'w' => Slot::Waste(number),
            _ => return None,
        };
        // Neither `+1` nor `01`.
        (String::from(slot).as_bytes() == name).then_some(slot)
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> String {
        match slot {
            Slot::New(n) => format!("n{n}"),
            Slot::Old(n) => format!("o{n}"),
            Slot::Waste(n) => format!("w{n}"),
        }
    }
}

impl TryFrom<String> for Slot {
    type Error = String;

    fn try_from(name: String) -> Result<Slot, String> {
        Slot::parse(name.as_bytes()).ok_or_else(|| format!("`{name}` is no name of the stage"))
    }
}

/// What tells whether something is still what a step is about, also after it was moved, by another
/// process, and on a copy of the disk. Of a directory only that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    kind: Kind,
    size: u64,
    mtime: Time,
}

impl Mark {
    pub(super) fn of(stat: &Stat) -> Mark {
        Mark { kind: stat.kind.into(), size: stat.size, mtime: stat.mtime.into() }
    }

    /// Of something that is not on the stage yet; see [`Steps::fill`].
    pub(super) fn unknown(kind: FileKind) -> Mark {
        Mark { kind: kind.into(), size: 0, mtime: Time(0, 0) }
    }

    pub(super) fn matches(&self, stat: &Stat) -> bool {
        match self.kind {
            Kind::File => *self == Mark::of(stat),
            kind => kind == Kind::from(stat.kind),
        }
    }
}

/// [`FileKind`] in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    File,
    Dir,
    Symlink,
    Special,
}

impl From<FileKind> for Kind {
    fn from(kind: FileKind) -> Kind {
        match kind {
            FileKind::File => Kind::File,
            FileKind::Dir => Kind::Dir,
            FileKind::Symlink => Kind::Symlink,
            FileKind::Special => Kind::Special,
        }
    }
}

impl From<Kind> for FileKind {
    fn from(kind: Kind) -> FileKind {
        match kind {
            Kind::File => FileKind::File,
            Kind::Dir => FileKind::Dir,
            Kind::Symlink => FileKind::Symlink,
            Kind::Special => FileKind::Special,
        }
    }
}

impl Steps {
    /// How many system calls are made in the tree, about; for choosing how to sync.
    pub(super) fn len(&self) -> usize {
        self.outs.len() + self.ins.len() + self.metas.len()
    }

    /// The directories from which something is taken, in the layout before.
    pub(super) fn parents_before(&self) -> impl Iterator<Item = RelPath> + '_ {
        self.outs.iter().filter_map(|out| Some(out.from.split()?.0))
    }

    /// The directories in which names change, in the layout after.
    pub(super) fn parents_after(&self) -> impl Iterator<Item = RelPath> + '_ {
        self.ins.iter().filter_map(|step| Some(step.path().split()?.0))
    }

    /// Notes what has been put on the stage.
    pub(super) fn fill(&mut self, marks: &BTreeMap<Slot, Mark>) {
        for step in &mut self.ins {
            if let In::Move { slot, is, .. } | In::Replace { new: slot, is, .. } = step
                && let Some(mark) = marks.get(slot)
            {
                *is = *mark;
            }
        }
    }
}

impl In {
    /// Where something is put.
    pub(super) fn path(&self) -> &RelPath {
        match self {
            In::Move { to: path, .. } | In::Dir { path } | In::Replace { path, .. } => path,
        }
    }
}

impl Meta {
    pub(super) fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// Where it will be, or was if it will not be.
    pub(super) fn path(&self) -> &RelPath {
        let placed = self.after.as_ref().or(self.before.as_ref());
        placed.map_or(&RelPath::TOP, |placed| &placed.path)
    }
}

/// Paths in the journal: as names in the diff's JSON. What is read is checked: a journal may be
/// anybody's.
mod path {
    use serde::de::{Deserializer, Error as _};
    use serde::ser::Serializer;

    use crate::diff::name;
    use crate::vfs::name::{NAME_BYTES_MAX, RelPath};

    pub(super) fn serialize<S: Serializer>(path: &RelPath, to: S) -> Result<S::Ok, S::Error> {
        name::serialize(path.as_bytes(), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RelPath, D::Error> {
        let bytes = name::deserialize(from)?;
        if bytes.is_empty() {
            return Ok(RelPath::TOP);
        }
        let mut path = RelPath::TOP;
        for part in bytes.split(|byte| *byte == b'/') {
            let bad = matches!(part, b"" | b"." | b"..")
                || part.contains(&0)
                || part.len() > NAME_BYTES_MAX;
            if bad {
                return Err(D::Error::custom("a path is not relative to the root"));
            }
            path = path.child(part);
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_slots() {
        for name in ["n0", "o17", "w3"] {
            assert_eq!(String::from(Slot::parse(name.as_bytes()).unwrap()), name);
        }
        for name in ["", "n", "x1", "n+1", "n01", "n-1", "n1x", "journal", "n99999999999999999999"]
        {
            assert_eq!(Slot::parse(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_path_of_the_journal_cannot_lead_out() {
        for path in ["/etc", "a/../b", "..", ".", "a//b", "a/", "a\\u0000"] {
            let json = format!(r#"{{"dir":{{"path":"{path}"}}}}"#);
            assert!(serde_json::from_str::<In>(&json).is_err(), "{path}");
        }
        let json = r#"{"dir":{"path":"a/b"}}"#;
        assert_eq!(
            serde_json::to_string(&serde_json::from_str::<In>(json).unwrap()).unwrap(),
            json
        );
    }

    #[test]
    fn times_before_1970_survive() {
        for nanos in [-1, 0, 1, -1_000_000_001, 1_700_000_000_123_456_789] {
            let time = WallTime::from_unix_nanos(nanos);
            assert_eq!(WallTime::from(Time::from(time)), time);
        }
    }
}
