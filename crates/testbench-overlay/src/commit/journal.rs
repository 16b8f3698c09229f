//! The journal: what a commit is about to do, on the disk before it is done.
//!
//! The stage, a directory `.testbench-commit` at the top of the root, holds
//!
//! | name | |
//! | --- | --- |
//! | `format` | says that the directory is ours; the first file made, the last one removed |
//! | `n0`, `n1`, … | what is to be put in place, complete with permission bits and times |
//! | `journal` | the steps; once it is there, the tree may have been changed |
//! | `o0`, `o1`, … | what was taken from its place |
//! | `moved` | all that leaves its place has left it |
//! | `undo` | the way back has been taken |
//!
//! Each appears and disappears in one instant. When the commit is made, the stage is renamed to
//! `.testbench-commit-done`: what lies there then is waste. The journal is two lines, the format with its
//! version and the BLAKE3 hash of the rest, and the steps as JSON.

use super::disk::{At, Disk};
use super::gate::Gate;
use super::step::{Slot, Steps};
use crate::Errno;

pub(super) const FORMAT: &str = "format";
pub(super) const JOURNAL: &str = "journal";
/// The journal while it is written.
pub(super) const JOURNAL_NEW: &str = "journal.new";
pub(super) const MOVED: &str = "moved";
pub(super) const UNDO: &str = "undo";

const TITLE: &str = "testbench-overlay commit journal";
const VERSION: u32 = 1;

/// Above this, a journal is not one of ours: a million changes with long names take less.
const JOURNAL_BYTES_MAX: u64 = 4 << 30;

/// Why a journal cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It is something else.
    Foreign,
    /// It is of a version that this program does not know.
    Version(String),
    /// It is ours, and not what was written.
    Damaged(String),
}

/// The text of the journal.
pub(super) fn write(steps: &Steps) -> String {
    let json = serde_json::to_string(steps).expect("steps are strings and numbers");
    format!("{}{json}\n", head(json.as_bytes()))
}

/// The steps in the text of a journal.
pub(super) fn read(text: &[u8]) -> Result<Steps, Unusable> {
    let lines: Vec<&[u8]> = text.splitn(2, |byte| *byte == b'\n').collect();
    let first = String::from_utf8_lossy(lines[0]);
    let rest = first.strip_prefix(TITLE).ok_or(Unusable::Foreign)?;
    let mut words = rest.split(' ').skip(1);
    match words.next() {
        Some(version) if version == VERSION.to_string() => {}
        Some(version) => return Err(Unusable::Version(version.to_owned())),
        None => return Err(Unusable::Foreign),
    }
    let json = lines.get(1).and_then(|rest| rest.strip_suffix(b"\n"));
    let json = json.ok_or_else(|| Unusable::Damaged("it ends too early".to_owned()))?;
    if head(json).as_bytes() != [lines[0], b"\n"].concat() {
        return Err(Unusable::Damaged("its checksum is wrong".to_owned()));
    }
    serde_json::from_slice(json).map_err(|error| Unusable::Damaged(error.to_string()))
}

fn head(json: &[u8]) -> String {
    format!("{TITLE} {VERSION} {}\n", blake3::hash(json).to_hex())
}

/// The content of `format`.
fn format() -> String {
    format!("{TITLE} {VERSION}\n")
}

/// What the stage says about how far a commit got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing in the tree has been changed.
    Staging,
    /// Some steps have been made.
    Begun { moved: bool, undo: bool },
    /// All steps have been made.
    Done,
}

/// Looks at the stage. `Err(Ok(name))`: something on it is none of ours.
pub(super) fn progress<G: Gate>(disk: &Disk<'_, G>) -> Result<Progress, Result<String, Errno>> {
    const OURS: [&str; 5] = [FORMAT, JOURNAL, JOURNAL_NEW, MOVED, UNDO];

    let names = disk.list_stage().map_err(Err)?;
    let has = |wanted: &str| names.iter().any(|entry| *entry.name == *wanted.as_bytes());
    let ours = |name: &[u8]| {
        Slot::parse(name).is_some() || OURS.iter().any(|ours| ours.as_bytes() == name)
    };
    if let Some(entry) = names.iter().find(|entry| !ours(&entry.name)) {
        return Err(Ok(crate::GuestPath::new(&*entry.name).to_string()));
    }
    if !names.is_empty() && !disk.is_waste() {
        // Cut short, it was being written when nothing else was there.
        let text = disk.read(At::Stage(FORMAT)).map_err(|errno| match errno {
            Errno::Noent => Ok(names[0].name.escape_ascii().to_string()),
            errno => Err(errno),
        })?;
        let whole = format();
        if whole.as_bytes() != text && !(names.len() == 1 && whole.as_bytes().starts_with(&text)) {
            return Err(Ok(FORMAT.to_owned()));
        }
    }
    Ok(match has(JOURNAL) {
        _ if disk.is_waste() => Progress::Done,
        true => Progress::Begun { moved: has(MOVED), undo: has(UNDO) },
        false => Progress::Staging,
    })
}

/// Marks the stage as ours.
pub(super) fn claim<G: Gate>(disk: &Disk<'_, G>) -> Result<(), Errno> {
    let file = disk.make_file(At::Stage(FORMAT))?;
    disk.write(&file, format().as_bytes(), 0)
}

/// Puts the journal on the stage.
pub(super) fn store<G: Gate>(disk: &Disk<'_, G>, steps: &Steps) -> Result<(), Errno> {
    let file = disk.make_file(At::Stage(JOURNAL_NEW))?;
    disk.write(&file, write(steps).as_bytes(), 0)?;
    disk.sync_opened(&file)?;
    disk.rename_new(At::Stage(JOURNAL_NEW), At::Stage(JOURNAL))?;
    disk.sync_stage()
}

/// Reads the journal on the stage.
pub(super) fn load<G: Gate>(disk: &Disk<'_, G>) -> Result<Result<Steps, Unusable>, Errno> {
    let size = disk.look(At::Stage(JOURNAL))?.ok_or(Errno::Noent)?.size;
    if size > JOURNAL_BYTES_MAX {
        return Ok(Err(Unusable::Foreign));
    }
    Ok(read(&disk.read(At::Stage(JOURNAL))?))
}

/// Makes one of the empty files that say how far a commit got.
pub(super) fn mark<G: Gate>(disk: &Disk<'_, G>, name: &str) -> Result<(), Errno> {
    match disk.make_file(At::Stage(name)) {
        Ok(_) | Err(Errno::Exist) => disk.sync_stage(),
        Err(errno) => Err(errno),
    }
}

/// Takes it away.
pub(super) fn unmark<G: Gate>(disk: &Disk<'_, G>, name: &str) -> Result<(), Errno> {
    match disk.unlink(At::Stage(name)) {
        Ok(()) | Err(Errno::Noent) => disk.sync_stage(),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::In;
    use super::*;
    use crate::vfs::name::RelPath;

    fn steps() -> Steps {
        let path = RelPath::TOP.child(b"a\xff");
        Steps { ins: vec![In::Dir { path }], ..Steps::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(write(&steps()).as_bytes()).unwrap(), steps());
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let whole = write(&steps()).into_bytes();
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
            let mut other = whole.clone();
            other[at] ^= 1;
            assert!(read(&other).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_newer_version_is_called_that() {
        let text = write(&steps()).replace("journal 1 ", "journal 2 ");
        assert!(matches!(read(text.as_bytes()), Err(Unusable::Version(v)) if v == "2"));
        assert!(matches!(read(b"[]"), Err(Unusable::Foreign)));
        assert!(matches!(read(b""), Err(Unusable::Foreign)));
    }
}
