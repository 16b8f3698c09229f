//! Every kind of change in the overlay, against everything that may happen to the same thing in the
//! lower directory meanwhile. The table that comes of it is a snapshot; what each cell stands for
//! is checked on the way.

#![allow(clippy::print_stderr, reason = "the table is for people")]

use crate::common;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{Host, Subject, Tree, Under, tree};
use testbench_overlay::{CommitError, CommitOptions, Conflict, LowerModes, Overlay, install};

/// Something that the overlay does, and the path that it is about.
struct Change {
    name: &'static str,
    at: &'static str,
    host: fn(&Path),
    under: fn(&Path),
}

/// Writes a change once, for `std::fs` and for the overlay.
macro_rules! changes {
    ($($name:literal at $at:literal: |$fs:ident, $p:ident| $body:block)*) => {
        /// All of them.
        const CHANGES: &[Change] = &[$({
            fn change<$fs: Subject>(root: &Path) {
                let $p = |name: &str| root.join("p").join(name);
                $body
            }
            Change { name: $name, at: $at, host: change::<Host>, under: change::<Under> }
        }),*];
    };
}

changes! {
    "look at a file" at "f": |S, p| { S::read(&p("f")).unwrap(); }
    "list a directory" at "d": |S, p| { S::list(&p("d")).unwrap(); }
    "add a file" at "new": |S, p| { S::write(&p("new"), b"ours").unwrap() }
    "add a directory" at "new": |S, p| { S::create_dir(&p("new")).unwrap() }
    "add a symlink" at "new": |S, p| { S::symlink(Path::new("f"), &p("new")).unwrap() }
    "write a file" at "f": |S, p| { S::write(&p("f"), b"ours, and longer").unwrap() }
    "write a part of a file" at "f": |S, p| { S::write_at(&p("f"), 2, b"X").unwrap() }
    "chmod a file" at "f": |S, p| { S::chmod(&p("f"), 0o600).unwrap() }
    "chmod a directory" at "d": |S, p| { S::chmod(&p("d"), 0o700).unwrap() }
    "delete a file" at "f": |S, p| { S::remove_file(&p("f")).unwrap() }
    "delete a symlink" at "l": |S, p| { S::remove_file(&p("l")).unwrap() }
    "delete an empty directory" at "e": |S, p| { S::remove_dir(&p("e")).unwrap() }
    "delete a tree" at "d": |S, p| { S::remove_dir_all(&p("d")).unwrap() }
    "delete a tree" at "d/x": |S, p| { S::remove_dir_all(&p("d")).unwrap() }
    "rename a file" at "f": |S, p| { S::rename(&p("f"), &p("moved")).unwrap() }
    "rename a file to" at "moved": |S, p| { S::rename(&p("f"), &p("moved")).unwrap() }
    "rename a file over" at "g": |S, p| { S::rename(&p("f"), &p("g")).unwrap() }
    "rename and write" at "f": |S, p| {
        S::rename(&p("f"), &p("moved")).unwrap();
        S::append(&p("moved"), b"ours").unwrap();
    }
    "rename a symlink" at "l": |S, p| { S::rename(&p("l"), &p("moved")).unwrap() }
    "rename a directory" at "d": |S, p| { S::rename(&p("d"), &p("moved")).unwrap() }
    "write in a renamed directory" at "d/x": |S, p| {
        S::rename(&p("d"), &p("moved")).unwrap();
        S::append(&p("moved/x"), b"ours").unwrap();
    }
    "rename out of a deleted tree" at "d/x": |S, p| {
        S::rename(&p("d/x"), &p("moved")).unwrap();
        S::remove_dir_all(&p("d")).unwrap();
    }
    "swap two files" at "f": |S, p| {
        S::rename(&p("f"), &p("tmp")).unwrap();
        S::rename(&p("g"), &p("f")).unwrap();
        S::rename(&p("tmp"), &p("g")).unwrap();
    }
    "write in a directory" at "d": |S, p| { S::write(&p("d/x"), b"ours").unwrap() }
    "add in a directory" at "d": |S, p| { S::write(&p("d/new"), b"ours").unwrap() }
    "file to directory" at "f": |S, p| {
        S::remove_file(&p("f")).unwrap();
        S::create_dir(&p("f")).unwrap();
    }
    "directory to file" at "d": |S, p| {
        S::remove_dir_all(&p("d")).unwrap();
        S::write(&p("d"), b"ours").unwrap();
    }
    "file to symlink" at "f": |S, p| {
        S::remove_file(&p("f")).unwrap();
        S::symlink(Path::new("g"), &p("f")).unwrap();
    }
    "empty a directory anew" at "d": |S, p| {
        S::remove_dir_all(&p("d")).unwrap();
        S::create_dir(&p("d")).unwrap();
        S::write(&p("d/ours"), b"ours").unwrap();
    }
    "link a file" at "f": |S, p| { S::hard_link(&p("f"), &p("linked")).unwrap() }
    "write a linked file" at "h2": |S, p| { S::write(&p("h1"), b"ours").unwrap() }
    "unlink one of two names" at "h1": |S, p| { S::remove_file(&p("h1")).unwrap() }
}

/// Something that happens in the lower directory. Answers false where it does not apply.
type Happens = fn(&Path, &Path) -> bool;

const MEANWHILE: &[(&str, Happens)] = &[
    ("nothing", |_, _| true),
    ("written", |at, _| is_file(at) && done(fs::write(at, "theirs, longer still"))),
    ("same size", |at, _| is_file(at) && same_size(at)),
    ("touched", |at, _| exists(at) && !is_link(at) && touch(at)),
    ("chmod", |at, _| exists(at) && !is_link(at) && chmod(at)),
    ("removed", |at, _| exists(at) && remove(at)),
    ("moved away", |at, _| exists(at) && done(fs::rename(at, at.with_file_name("away")))),
    ("other file", |at, _| is_file(at) && other_file(at)),
    ("now a dir", |at, _| exists(at) && !at.is_dir() && remove(at) && filled_dir(at)),
    ("now a file", |at, _| exists(at) && !is_file(at) && remove(at) && done(fs::write(at, "t"))),
    ("now a link", |at, out| exists(at) && !is_link(at) && remove(at) && link(&out.join("f"), at)),
    ("entry added", |at, _| is_dir(at) && done(fs::write(at.join("theirs"), "theirs"))),
    ("entry gone", |at, _| is_file(&at.join("y")) && remove(&at.join("y"))),
    ("file appears", |at, _| !exists(at) && done(fs::write(at, "theirs"))),
    ("dir appears", |at, _| !exists(at) && filled_dir(at)),
    ("link appears", |at, out| !exists(at) && link(&out.join("f"), at)),
    ("parent gone", |at, _| remove(parent(at))),
    ("parent away", |at, _| done(fs::rename(parent(at), parent(at).with_file_name("away")))),
    ("parent a link", |at, out| remove(parent(at)) && link(out, parent(at))),
];

fn exists(at: &Path) -> bool {
    at.symlink_metadata().is_ok()
}

fn is_file(at: &Path) -> bool {
    at.symlink_metadata().is_ok_and(|meta| meta.is_file())
}

fn is_dir(at: &Path) -> bool {
    at.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

fn is_link(at: &Path) -> bool {
    at.symlink_metadata().is_ok_and(|meta| meta.is_symlink())
}

#[track_caller]
fn done(result: std::io::Result<()>) -> bool {
    result.unwrap();
    true
}

/// Other bytes, the same length, and the same times but for ctime, which cannot be set. What was not
/// read is known by that alone, so it must have gone on since.
fn same_size(at: &Path) -> bool {
    wait_for_ctime(at);
    let times = fs::metadata(at).unwrap().modified().unwrap();
    let bytes: Vec<u8> = fs::read(at).unwrap().iter().map(|byte| byte ^ 1).collect();
    fs::write(at, bytes).unwrap();
    done(fs::File::options().write(true).open(at).unwrap().set_modified(times))
}

/// Until a change of the file would have another ctime than the last one.
fn wait_for_ctime(at: &Path) {
    let ctime = |meta: fs::Metadata| (meta.ctime(), meta.ctime_nsec());
    let last = ctime(fs::metadata(at).unwrap());
    let probe =
        tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new());
    let probe = probe.unwrap();
    while ctime(probe.as_file().metadata().unwrap()) <= last {
        probe.as_file().set_len(0).unwrap();
    }
}

fn touch(at: &Path) -> bool {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(12_345);
    done(fs::File::open(at).unwrap().set_modified(time))
}

fn chmod(at: &Path) -> bool {
    done(fs::set_permissions(at, fs::Permissions::from_mode(0o751)))
}

fn remove(at: &Path) -> bool {
    done(if is_dir(at) { fs::remove_dir_all(at) } else { fs::remove_file(at) })
}

/// The same bytes in another file, as an editor saves them.
fn other_file(at: &Path) -> bool {
    let beside = at.with_file_name("beside");
    fs::copy(at, &beside).unwrap();
    done(fs::rename(beside, at))
}

fn filled_dir(at: &Path) -> bool {
    fs::create_dir(at).unwrap();
    done(fs::write(at.join("theirs"), "theirs"))
}

fn link(target: &Path, at: &Path) -> bool {
    done(symlink(target, at))
}

fn parent(at: &Path) -> &Path {
    at.parent().unwrap()
}

/// A lower directory, and one beside it that must stay as it is.
struct Case {
    _dir: tempfile::TempDir,
    lower: PathBuf,
    outside: PathBuf,
}

impl Case {
    fn new() -> Case {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (lower, outside) = (dir.path().join("lower"), dir.path().join("outside"));
        fs::create_dir(&lower).unwrap();
        for top in [lower.join("p"), outside.clone()] {
            fs::create_dir_all(top.join("d")).unwrap();
            fs::create_dir(top.join("e")).unwrap();
            for file in ["f", "g", "d/x", "d/y", "h1"] {
                fs::write(top.join(file), format!("{file} before")).unwrap();
            }
            fs::hard_link(top.join("h1"), top.join("h2")).unwrap();
            symlink("f", top.join("l")).unwrap();
        }
        Case { _dir: dir, lower, outside }
    }

    fn happens(&self, at: &str, happens: Happens) -> bool {
        if at.starts_with('h') {
            // Of the other name it changes the ctime only.
            wait_for_ctime(&self.lower.join("p").join(at));
        }
        happens(&self.lower.join("p").join(at), &self.outside)
    }

    /// An overlay in which the change has been made.
    fn overlay(&self, change: &Change) -> Arc<Overlay> {
        let builder = Overlay::builder(&self.lower).lower_modes(LowerModes::Real);
        let overlay = builder.as_root(common::is_root()).build().unwrap();
        let _installed = install(overlay.clone());
        (change.under)(&self.lower);
        overlay
    }

    fn tree(&self) -> Tree {
        let top = self.lower.parent().unwrap().display().to_string();
        let tree = tree::<Host>(&self.lower);
        tree.into_iter().map(|(path, is)| (path, is.replace(&top, "…"))).collect()
    }
}

/// What comes of a commit.
#[derive(Debug)]
enum Outcome {
    Committed,
    Conflicts(Vec<Conflict>),
    /// The content of a file that is gone beneath cannot be read.
    Refused,
}

/// Commits, and checks what must hold whatever comes of it.
fn commit(case: &Case, overlay: &Overlay, options: &CommitOptions, what: &str) -> Outcome {
    let (before, outside) = (case.tree(), tree::<Host>(&case.outside));
    let outcome = overlay.commit_with(options);
    assert_eq!(tree::<Host>(&case.outside), outside, "{what}: outside of the root");
    assert!(Overlay::recover(&case.lower).unwrap().is_none(), "{what}: something is left");
    let outcome = match outcome {
        Ok(committed) => {
            assert!(committed.passed_over.is_empty(), "{what}: {committed:?}");
            Outcome::Committed
        }
        Err(CommitError::Conflicts { conflicts }) => Outcome::Conflicts(conflicts),
        Err(CommitError::Read { .. }) => Outcome::Refused,
        Err(error) => panic!("{what}: {error}"),
    };
    if !matches!(outcome, Outcome::Committed) {
        assert_eq!(case.tree(), before, "{what}: {outcome:?}, yet something was written");
        return outcome;
    }
    assert_eq!(overlay.diff().unwrap().to_string(), "", "{what}");
    let fresh = Overlay::builder(&case.lower).lower_modes(LowerModes::Real).build().unwrap();
    let _installed = install(fresh);
    assert_eq!(tree::<Under>(&case.lower), tree::<Host>(&case.lower), "{what}");
    outcome
}

/// A change and what happens meanwhile, with the commit over a conflict.
fn cell(change: &Change, happens: Happens, what: &str) -> Option<String> {
    let case = Case::new();
    let overlay = case.overlay(change);
    if !case.happens(change.at, happens) {
        return None;
    }
    let theirs = case.tree();
    match commit(&case, &overlay, &CommitOptions::new(), what) {
        Outcome::Committed => {
            assert_eq!(Some(case.tree()), in_sequence(change, happens), "{what}: {theirs:?}");
            Some("committed".to_owned())
        }
        Outcome::Conflicts(conflicts) => {
            assert!(!conflicts.is_empty(), "{what}");
            let forced = forced(change, happens, what);
            let list: Vec<String> =
                conflicts.iter().map(|c| c.to_string().replace(" in the overlay", "")).collect();
            Some(format!("{} [{forced}]", list.join("; ")))
        }
        refused => panic!("{what}: {refused:?}"),
    }
}

/// The change after what happened, on the disk alone; `None` if it cannot be made then.
fn in_sequence(change: &Change, happens: Happens) -> Option<Tree> {
    let case = Case::new();
    assert!(case.happens(change.at, happens));
    let lower = case.lower.clone();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let made = std::panic::catch_unwind(|| (change.host)(&lower));
    std::panic::set_hook(quiet);
    made.ok().map(|()| case.tree())
}

/// Ours wins: the changed paths are as the overlay shows them.
fn forced(change: &Change, happens: Happens, what: &str) -> &'static str {
    let case = Case::new();
    let overlay = case.overlay(change);
    case.happens(change.at, happens);
    match commit(&case, &overlay, &CommitOptions::new().force(), what) {
        Outcome::Committed => {
            let after = case.tree();
            for (path, wanted) in &ours_alone(change) {
                // Of a file whose content we have changed the mode may be theirs.
                let content = |is: &String| is.split(' ').skip(2).collect::<Vec<_>>().join(" ");
                let is = after.get(path).map(content);
                assert_eq!(is, wanted.as_ref().map(content), "{what}, forced: {path}");
            }
            "forced"
        }
        Outcome::Refused => "refused",
        Outcome::Conflicts(conflicts) => panic!("{what}: {conflicts:?}"),
    }
}

/// The paths that the change adds, removes or gives another content, with what is there then.
fn ours_alone(change: &Change) -> BTreeMap<String, Option<String>> {
    let case = Case::new();
    let before = case.tree();
    (change.host)(&case.lower);
    let after = case.tree();
    let names = before.keys().chain(after.keys());
    let changed = names.filter(|name| before.get(*name) != after.get(*name));
    let moved = |text: &String| before.values().any(|was| was == text);
    changed
        // A directory is only made, a file that moved may have other bytes now.
        .filter(|name| after.get(*name).is_none_or(|is| is.starts_with("file") && !moved(is)))
        .filter(|_| !change.name.starts_with("chmod") && !change.name.contains("part"))
        // A further name that was never looked at, and has changed beneath, keeps what it has.
        .filter(|name| !change.name.contains("link") || name.as_str() != "p/h2")
        .map(|name| (name.clone(), after.get(name).cloned()))
        .collect()
}

#[test]
fn every_change_against_everything_that_may_happen_meanwhile() {
    common::fix_umask();
    let mut table = String::new();
    let mut cells = 0;
    for change in CHANGES {
        let _ = writeln!(table, "{} (p/{})", change.name, change.at);
        for (name, happens) in MEANWHILE {
            let what = format!("{} at {}, {name}", change.name, change.at);
            if let Some(cell) = cell(change, *happens, &what) {
                let _ = writeln!(table, "  {name:>13}: {cell}");
                cells += 1;
            }
        }
    }
    eprintln!("{table}\n{cells} pairs");
    assert!(cells > 250, "only {cells} pairs");
    insta::assert_snapshot!(table);
}
