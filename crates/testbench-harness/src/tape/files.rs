//! From the paths that a child touched to the changes on a tape, and back to the overlay.

use std::collections::{BTreeMap, BTreeSet};

use testbench_clock::WallTime;
use testbench_overlay::diff::Content;
use testbench_overlay::{Errno, FileKind, Overlay, PathState, Put};

use super::Taped;
use super::format::{FileChange, FileOp};
use super::scrub::Scrubber;
use crate::traced::{Touched, Was};

/// The net changes at the touched paths, in the order of the paths. `started` and `ended` are those
/// of the session's clock and of the child.
pub(crate) fn changes(
    overlay: &Overlay,
    touched: &Touched,
    scrubber: &Scrubber,
    (started, ended): (WallTime, WallTime),
) -> Result<Vec<FileChange>, (Vec<u8>, Errno)> {
    if let Some(failed) = &touched.failed {
        return Err(failed.clone());
    }
    let mut now = BTreeMap::new();
    for path in touched.paths.keys() {
        let state = overlay.look(path).map_err(|errno| (path.clone(), errno))?;
        now.extend(state.map(|state| (path.as_slice(), state)));
    }
    let moves = Moves::new(touched, &now);
    let mut changes = Vec::new();
    for (path, was) in &touched.paths {
        let state = now.get(path.as_slice());
        let Some(mut change) = net(path, was.as_ref(), state, scrubber) else { continue };
        if let Some(state) = state {
            let is_same_file = was.as_ref().is_some_and(|was| was.ino == state.ino);
            change.from = moves.reason(path).map(|from| scrubber.tape(from));
            if !is_same_file && state.side.kind != FileKind::Dir {
                change.link = other_name(path, state, touched).map(|link| scrubber.tape(link));
            }
            change.fresh = !is_same_file
                && was.as_ref().is_some_and(|was| was.kind == FileKind::File && was.names > 1);
            change.mtime_ns = (state.mtime != ended).then(|| nanos_since(state.mtime, started));
        }
        changes.push(change);
    }
    Ok(changes)
}

/// The change of the overlay that a taped change describes.
pub(crate) fn put(
    change: &FileChange,
    started: WallTime,
    expand: impl Fn(&Taped) -> Vec<u8>,
) -> Put {
    let path = match expand(&change.path) {
        path if path == b"." => Vec::new(),
        path => path,
    };
    let mut put = Put::new(path, change.side(&expand));
    put.moved_from = change.from.as_ref().map(&expand);
    put.link_to = change.link.as_ref().map(&expand);
    put.fresh = change.fresh;
    put.mtime =
        change.mtime_ns.map(|ns| WallTime::from_unix_nanos(started.unix_nanos() + i128::from(ns)));
    put
}

/// The change at one path; `None` if there is no difference.
fn net(
    path: &[u8],
    was: Option<&Was>,
    state: Option<&PathState>,
    scrubber: &Scrubber,
) -> Option<FileChange> {
    let kind = state.map(|state| state.side.kind).or(was.map(|was| was.kind))?;
    let op = match (was, state) {
        (None, _) => FileOp::Add,
        (Some(_), None) => FileOp::Delete,
        (Some(was), Some(state)) => {
            let is = Was::of(state);
            if was.kind != is.kind {
                FileOp::Retype
            } else if was.digest != is.digest {
                FileOp::Modify
            } else if was.mode != is.mode || was.mtime != is.mtime {
                FileOp::Meta
            } else {
                return None;
            }
        }
    };
    let side = state.map(|state| &state.side);
    let bytes = match side.map(|side| &side.content) {
        Some(Content::Bytes(bytes)) if op != FileOp::Meta => Some(scrubber.tape(bytes)),
        _ => None,
    };
    let path = scrubber.tape(if path.is_empty() { b"." } else { path });
    Some(FileChange {
        path,
        op,
        kind,
        mode: side.filter(|side| side.kind != FileKind::Symlink).map(|side| side.mode),
        content: bytes.clone().filter(|_| kind == FileKind::File),
        target: bytes.filter(|_| kind == FileKind::Symlink),
        from: None,
        link: None,
        fresh: false,
        mtime_ns: None,
    })
}

/// Another name of the same file that a replay finds when it makes this path: the name was there
/// before, or it comes first.
fn other_name<'s>(path: &[u8], state: &'s PathState, touched: &Touched) -> Option<&'s [u8]> {
    let is_old = |name: &[u8]| match touched.paths.get(name) {
        None => true,
        Some(was) => was.as_ref().is_some_and(|was| was.ino == state.ino),
    };
    let others = || state.names.iter().map(Vec::as_slice).filter(|name| *name != path);
    others().find(|name| is_old(name)).or_else(|| others().find(|name| *name < path))
}

/// The earlier path of each moved file.
struct Moves<'t> {
    from: BTreeMap<&'t [u8], &'t [u8]>,
}

impl<'t> Moves<'t> {
    fn new(touched: &'t Touched, now: &BTreeMap<&'t [u8], PathState>) -> Moves<'t> {
        let ino_now = |path: &[u8]| now.get(path).map(|state| state.ino);
        // The paths that something has left.
        let mut left: BTreeMap<u64, &[u8]> = BTreeMap::new();
        for (path, was) in &touched.paths {
            if let Some(was) = was.as_ref().filter(|was| ino_now(path) != Some(was.ino)) {
                left.entry(was.ino).or_insert(path);
            }
        }
        let mut taken = BTreeSet::new();
        let mut from = BTreeMap::new();
        for (path, state) in now {
            let was = touched.paths.get(*path).and_then(Option::as_ref);
            let is_new = was.is_none_or(|was| was.ino != state.ino);
            if let Some(source) = left.get(&state.ino).filter(|_| is_new)
                && taken.insert(state.ino)
            {
                from.insert(*path, *source);
            }
        }
        Moves { from }
    }

    /// The earlier path, unless the file moved with its directory.
    fn reason(&self, path: &[u8]) -> Option<&'t [u8]> {
        let from = *self.from.get(path)?;
        let (dir, name) = split(path);
        let (from_dir, from_name) = split(from);
        let came_along = name == from_name && self.from.get(dir) == Some(&from_dir);
        (!came_along).then_some(from)
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

fn nanos_since(time: WallTime, start: WallTime) -> i64 {
    let ns = time.unix_nanos() - start.unix_nanos();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}
