//! From the paths that a child touched to the changes on a tape, and back to the overlay.

use std::collections::BTreeMap;
use std::io;

use testbench_clock::WallTime;
use testbench_overlay::diff::{Content, Op, Side};
use testbench_overlay::{FileKind, GuestPath, Overlay, PathState, Put};

use super::Taped;
use super::format::FileChange;
use super::scrub::Scrubber;
use crate::traced::Traced;

/// The state of each changed path at which there is a file.
type States<'p> = BTreeMap<&'p [u8], PathState>;

/// The net changes of a child, in the order of the paths. `started` and `ended` are those of the
/// session's clock and of the child.
pub(crate) fn changes(
    traced: &Traced,
    scrubber: &Scrubber,
    (started, ended): (WallTime, WallTime),
) -> io::Result<Vec<FileChange>> {
    let paths = traced.paths();
    let look = |tree: &Overlay| {
        let mut states = States::new();
        for path in &paths {
            let state = tree.look(path).map_err(|errno| {
                let path = GuestPath::new(path);
                let text = format!("`{path}`, which it changed, cannot be read: {errno}");
                io::Error::new(io::Error::from(errno).kind(), text)
            })?;
            states.extend(state.map(|state| (path.as_slice(), state)));
        }
        io::Result::Ok(states)
    };
    let (before, now) = (look(&traced.before)?, look(&traced.overlay)?);
    let moves = moves(&before, &now);
    let mut changes = Vec::new();
    for path in paths.iter().map(Vec::as_slice) {
        let (was, state) = (before.get(path), now.get(path));
        let Some(mut change) = net(path, was, state, scrubber) else { continue };
        if let Some(state) = state {
            let is_same_file = was.is_some_and(|was| was.ino == state.ino);
            change.from = moved_from(path, &moves).map(|from| scrubber.tape(from));
            if !is_same_file && state.side.kind != FileKind::Dir {
                // Another name of the same file that a replay finds when it makes this path: the
                // name was there before, or it comes first.
                let is_old = |name: &[u8]| match before.get(name) {
                    Some(was) => was.ino == state.ino,
                    None => !paths.contains(name),
                };
                let others = || state.names.iter().map(Vec::as_slice).filter(|name| *name != path);
                let link = others().find(|name| is_old(name));
                let link = link.or_else(|| others().find(|name| *name < path));
                change.link = link.map(|link| scrubber.tape(link));
            }
            change.fresh = !is_same_file
                && was.is_some_and(|was| was.side.kind == FileKind::File && was.names.len() > 1);
            change.mtime_ns = (state.mtime != ended).then(|| nanos_since(state.mtime, started));
        }
        changes.push(change);
    }
    Ok(changes)
}

/// The change of the overlay that a taped change describes. `expand` gives the bytes of taped
/// contents. The content of a file that kept it is not read.
pub(crate) fn put(
    change: &FileChange,
    started: WallTime,
    expand: impl Fn(&Taped) -> Vec<u8>,
) -> Put {
    let mode = change.mode.unwrap_or(0o644);
    let side = match (change.kind, &change.content, &change.target) {
        (FileKind::Dir, ..) => Side::dir(mode),
        (FileKind::Symlink, _, Some(target)) => Side::symlink(expand(target)),
        (FileKind::Symlink, _, None) => Side::unread_symlink(),
        (FileKind::Special, ..) => Side::special(mode),
        (FileKind::File, Some(content), _) => Side::file(mode, expand(content)),
        (FileKind::File, None, _) => Side::unread_file(mode),
    };
    let path = Some(expand(&change.path)).filter(|path| path != b".").unwrap_or_default();
    let time = |ns| WallTime::from_unix_nanos(started.unix_nanos() + i128::from(ns));
    Put {
        moved_from: change.from.as_ref().map(&expand),
        link_to: change.link.as_ref().map(&expand),
        fresh: change.fresh,
        mtime: change.mtime_ns.map(time),
        ..Put::new(path, (change.op != Op::Delete).then_some(side))
    }
}

/// The change at one path; `None` if there is no difference.
fn net(
    path: &[u8],
    was: Option<&PathState>,
    state: Option<&PathState>,
    scrubber: &Scrubber,
) -> Option<FileChange> {
    let kind = state.or(was)?.side.kind;
    let op = match (was, state) {
        (None, _) => Op::Add,
        (Some(_), None) => Op::Delete,
        (Some(was), Some(is)) if was.side.kind != is.side.kind => Op::Retype,
        (Some(was), Some(is)) if was.side.content != is.side.content => Op::Modify,
        (Some(was), Some(is)) if (was.side.mode, was.mtime) != (is.side.mode, is.mtime) => Op::Meta,
        _ => return None,
    };
    let side = state.map(|state| &state.side);
    let bytes = match side.map(|side| &side.content) {
        Some(Content::Bytes(bytes)) if op != Op::Meta => Some(scrubber.tape(bytes)),
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

/// The earlier path of each moved file, by its path now.
fn moves<'p>(before: &States<'p>, now: &States<'p>) -> BTreeMap<&'p [u8], &'p [u8]> {
    let is_same =
        |path: &[u8]| before.get(path).map(|was| was.ino) == now.get(path).map(|state| state.ino);
    // The paths that something has left.
    let mut left: BTreeMap<u64, &[u8]> = BTreeMap::new();
    for (path, was) in before.iter().filter(|(path, _)| !is_same(path)) {
        left.entry(was.ino).or_insert(path);
    }
    let new = now.iter().filter(|(path, _)| !is_same(path));
    new.filter_map(|(path, state)| Some((*path, left.remove(&state.ino)?))).collect()
}

/// The earlier path, unless the file moved with its directory.
fn moved_from<'p>(path: &[u8], moves: &BTreeMap<&[u8], &'p [u8]>) -> Option<&'p [u8]> {
    let from = *moves.get(path)?;
    let ((dir, name), (from_dir, from_name)) = (split(path), split(from));
    let came_along = name == from_name && moves.get(dir) == Some(&from_dir);
    (!came_along).then_some(from)
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
