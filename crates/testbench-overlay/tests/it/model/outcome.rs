//! What a sequence comes to: the diff as git and another reader of patches take it, and the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use diffy::patch_set::{FileMode, FileOperation, ParseOptions, PatchKind, PatchSet};
use testbench_overlay::{Diff, Overlay};

use crate::common::{self, Host};
use crate::model::op::Plain;
use crate::model::table::Table;
use crate::model::tree::{self, difference};
use crate::model::world::{Check, Checked};

/// Everything that could tell that a tree was written, a line for each path.
pub(crate) fn fingerprint(root: &Path) -> Vec<String> {
    let mut lines: Vec<String> = tree::of::<Plain>(root)
        .into_iter()
        .map(|(path, node)| {
            let m = root.join(&path).symlink_metadata().unwrap();
            let times = [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()];
            format!("{path}: {node:?} {} {} {times:?}", m.ino(), m.size())
        })
        .collect();
    lines.sort();
    lines
}

/// Diff, patch and commit, against the plain tree.
pub(crate) fn check(
    overlay: &Arc<Overlay>,
    lower: &Path,
    plain: &Path,
    table: &mut Table,
) -> Checked {
    let before = fingerprint(lower);
    let (lower_tree, plain_tree) = (tree::of::<Plain>(lower), tree::of::<Plain>(plain));
    let diff = overlay.diff().map_err(|error| (Check::Diff, error.to_string()))?;
    // Times are not in the diff, so that equal trees only say something if they are equal in them.
    if plain_tree == lower_tree && !diff.is_empty() {
        return Err((Check::Diff, format!("equal trees, yet\n{diff}")));
    }
    // What an unprivileged user has closed to itself is to be compared too.
    common::open_up(plain);
    let after = common::tree::<Host>(plain);
    let applied =
        common::check_patch(lower, &diff, &after).map_err(|text| (Check::GitApply, text))?;
    check_diffy(&diff, lower, plain).map_err(|text| (Check::Diffy, text))?;
    table.event(match applied {
        true => "patches applied by git and diffy, forth and back",
        false => UNFIT_FOR_GIT,
    });
    if fingerprint(lower) != before {
        return Err((Check::Lower, "the lower directory was written before the commit".into()));
    }
    check_commit(overlay, lower, plain).map_err(|text| (Check::Commit, text))?;
    table.event("commits");
    Ok(())
}

/// `commit()` gives the merged tree, and the overlay shows it without a difference.
fn check_commit(overlay: &Overlay, lower: &Path, plain: &Path) -> Result<(), String> {
    overlay.commit().map_err(|error| error.to_string())?;
    let diff = overlay.diff().map_err(|error| error.to_string())?;
    if !diff.is_empty() {
        return Err(format!("a difference is left:\n{diff}"));
    }
    common::open_up(lower);
    let (wanted, committed) = (tree::of::<Plain>(plain), tree::of::<Plain>(lower));
    match committed == wanted {
        true => Ok(()),
        false => Err(difference(&wanted, &committed)),
    }
}

/// Git looks through a symlink that the patch removes; diffy has applied these both ways.
pub(crate) const UNFIT_FOR_GIT: &str = "patches over which git stumbled, and diffy did not";

/// What git keeps: files and symlinks, the one with an executable bit.
type InGit = BTreeMap<String, (FileMode, Vec<u8>)>;

/// Another reader of patches makes the same of it as git, forth and back.
fn check_diffy(diff: &Diff, lower: &Path, plain: &Path) -> Result<(), String> {
    let (old, new) = (in_git(lower), in_git(plain));
    let patch = diff.patch();
    let remark = |line: &&[u8]| !line.starts_with(b"# ");
    let for_git: Vec<u8> =
        patch.split_inclusive(|byte| *byte == b'\n').filter(remark).flatten().copied().collect();
    let (mut removed, mut made) = (BTreeSet::new(), InGit::new());
    // Like git, diffy takes a patch without any block for a mistake.
    let blocks =
        (!for_git.is_empty()).then(|| PatchSet::parse_bytes(&for_git, ParseOptions::gitdiff()));
    for file in blocks.into_iter().flatten() {
        let file = file.map_err(|error| error.to_string())?;
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).map_err(|e| e.to_string());
        let (from, to) = match file.operation().clone() {
            FileOperation::Create(to) => (None, Some(text(&to[2..])?)),
            FileOperation::Delete(from) => (Some(text(&from[2..])?), None),
            FileOperation::Modify { original, modified } => {
                (Some(text(&original[2..])?), Some(text(&modified[2..])?))
            }
            FileOperation::Rename { from, to } => (Some(text(&from)?), Some(text(&to)?)),
            FileOperation::Copy { .. } => return Err("a copy".to_owned()),
        };
        let empty = (FileMode::Regular, Vec::new());
        let (mode, bytes) = match &from {
            Some(from) => old.get(from).ok_or_else(|| format!("{from} was not there"))?,
            None => &empty,
        };
        let bytes = apply(bytes, file.patch())?;
        removed.extend(from);
        if let Some(to) = to {
            made.insert(to, (*file.new_mode().unwrap_or(mode), bytes));
        }
    }
    let kept = old.into_iter().filter(|(path, _)| !removed.contains(path));
    made.extend(kept.filter(|(path, _)| !removed.contains(path)).collect::<Vec<_>>());
    let differs = |path: &&String| made.get(*path) != new.get(*path);
    let different: Vec<&String> = made.keys().chain(new.keys()).filter(differs).collect();
    match different.is_empty() {
        true => Ok(()),
        false => Err(format!("{different:?}\n{}", String::from_utf8_lossy(&for_git))),
    }
}

/// Applies one block, and checks that it leads back.
fn apply(old: &[u8], patch: &PatchKind<'_, [u8]>) -> Result<Vec<u8>, String> {
    let (new, back) = match patch {
        PatchKind::Text(text) => {
            let new = diffy::apply_bytes(old, text).map_err(|error| error.to_string())?;
            let back = diffy::apply_bytes(&new, &text.reverse()).map_err(|e| e.to_string())?;
            (new, back)
        }
        PatchKind::Binary(binary) => {
            let new = binary.apply(old).map_err(|error| error.to_string())?;
            let back = binary.apply_reverse(&new).map_err(|error| error.to_string())?;
            (new, back)
        }
    };
    if back == old { Ok(new) } else { Err("the reverse does not lead back".to_owned()) }
}

fn in_git(root: &Path) -> InGit {
    let mut found = InGit::new();
    for (path, node) in tree::of::<Plain>(root) {
        let at = root.join(&path);
        match node.kind {
            tree::Kind::File => {
                let executable = node.mode & 0o100 != 0;
                let mode = if executable { FileMode::Executable } else { FileMode::Regular };
                found.insert(path, (mode, std::fs::read(at).unwrap()));
            }
            tree::Kind::Link => {
                let target = std::fs::read_link(at).unwrap();
                let target = target.into_os_string().into_encoded_bytes();
                found.insert(path, (FileMode::Symlink, target));
            }
            tree::Kind::Dir | tree::Kind::Closed => {}
        }
    }
    found
}
