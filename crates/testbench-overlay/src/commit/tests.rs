//! Commits that are cut off after the nth changing system call, for every n: by the death of the
//! process, by a disk that goes away, by a disk that is full. Whatever is done then, the tree is
//! the one before or the one after.

#![allow(
    clippy::disallowed_methods,
    reason = "a child of the tests is told what to do by variables"
)]
#![allow(clippy::print_stderr, reason = "counts are for people")]

mod top;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use testbench_clock::{MockClock, WallTime};

use super::gate::{Call, Gate, Open};
use super::recover::recover;
use super::{CommitError, CommitOptions, Recovered};
use crate::install;
use crate::{Errno, LowerTimes, Overlay, fs as under};

/// Counts the calls, and makes one of them the last.
struct Limited {
    count: AtomicU64,
    limit: u64,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    /// Nothing: calls are counted.
    Count,
    /// The process dies when the call has been made, before the next one.
    Abort,
    /// Nothing more is done on the disk: as if the process had died.
    Dead,
    /// The one call that follows fails.
    FailOnce(Errno),
    /// There is no more space.
    Full,
}

impl Limited {
    fn new(limit: u64, then: Then) -> Limited {
        Limited { count: AtomicU64::new(0), limit, then }
    }

    fn count() -> Limited {
        Limited::new(0, Then::Count)
    }

    fn calls(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Gate for Limited {
    /// Small enough that a journal takes several.
    fn write_bytes_max(&self) -> usize {
        2048
    }

    fn pass(&self, call: Call) -> Result<(), Errno> {
        let takes_space = matches!(
            call,
            Call::MakeDir
                | Call::MakeFile
                | Call::Write
                | Call::Symlink
                | Call::Link
                | Call::SetXattr
        );
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        match self.then {
            Then::Abort if before >= self.limit => std::process::abort(),
            Then::Dead if before >= self.limit => Err(Errno::Io),
            Then::FailOnce(errno) if before == self.limit => Err(errno),
            Then::Full if before >= self.limit && takes_space => Err(Errno::Nospc),
            _ => Ok(()),
        }
    }
}

/// Memory, if the machine has such a file system: these tests sync a lot, and none of them cuts
/// the power.
fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

const START: i64 = 1_000_000_000;

/// The tree before: one entry of each kind.
fn seed(root: &Path) {
    let at = |name: &str| root.join(name);
    for dir in ["d/deep/er", "gone/with/all", "swap1", "swap2", "shut", "emptied", "kept/in"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    let files = [
        "modified",
        "deleted",
        "renamed",
        "over",
        "overwritten",
        "chmod",
        "touched",
        "retyped",
        "linked",
        "d/a",
        "d/deep/b",
        "d/deep/er/c",
        "gone/a",
        "gone/with/b",
        "gone/with/all/rescued",
        "swap1/one",
        "swap2/two",
        "shut/in",
        "emptied/x",
        "kept/in/side",
        "name1",
    ];
    for file in files {
        fs::write(at(file), format!("{file} before\n")).unwrap();
    }
    fs::hard_link(at("name1"), at("d/name2")).unwrap();
    fs::hard_link(at("name1"), at("kept/name3")).unwrap();
    symlink("modified", at("symlink")).unwrap();
    symlink("nowhere", at("symlink-gone")).unwrap();
    fs::set_permissions(at("shut"), fs::Permissions::from_mode(0o555)).unwrap();
    set_times(root);
}

/// Fixed times, so that trees made at different times are equal.
fn set_times(root: &Path) {
    let found: Vec<PathBuf> =
        walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap().into_path()).collect();
    for (n, path) in found.iter().enumerate() {
        let at = rustix::fs::Timespec { tv_sec: START - n as i64, tv_nsec: 5 };
        let times = rustix::fs::Timestamps { last_access: at, last_modification: at };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
    }
}

/// An overlay that has changed each of these things in another way.
fn changed(root: &Path) -> Arc<Overlay> {
    let clock = MockClock::builder().start(WallTime::from_unix_secs(2 * START)).build();
    let builder = Overlay::builder(root).clock(clock).lower_times(LowerTimes::Real);
    let overlay = builder.lower_modes(crate::LowerModes::Real).build().unwrap();
    let _installed = install(overlay.clone());
    let at = |name: &str| root.join(name);
    under::write(at("modified"), "modified after\n").unwrap();
    under::write(at("d/deep/er/new"), vec![7; 5000]).unwrap();
    under::remove_file(at("deleted")).unwrap();
    under::rename(at("renamed"), at("kept/moved")).unwrap();
    under::rename(at("over"), at("overwritten")).unwrap();
    under::set_permissions(at("chmod"), under::Permissions::from_mode(0o4711)).unwrap();
    under::set_permissions(at("kept/in/side"), under::Permissions::from_mode(0o600)).unwrap();
    let touched = under::OpenOptions::new().write(true).open(at("touched")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(77, 7)).unwrap();
    under::remove_file(at("retyped")).unwrap();
    under::create_dir_all(at("retyped/now/deep")).unwrap();
    under::write(at("retyped/now/deep/f"), "f").unwrap();
    under::remove_dir_all(at("d/deep")).unwrap_or_else(|e| panic!("{e}"));
    under::write(at("d/deep"), "a directory before\n").unwrap();
    under::hard_link(at("linked"), at("kept/linked too")).unwrap();
    under::rename(at("gone/with/all/rescued"), at("rescued")).unwrap();
    under::remove_dir_all(at("gone")).unwrap();
    under::rename(at("swap1"), at("swap")).unwrap();
    under::rename(at("swap2"), at("swap1")).unwrap();
    under::rename(at("swap"), at("swap2")).unwrap();
    under::write(at("swap1/two"), "changed in a directory that moved\n").unwrap();
    under::set_permissions(at("shut"), under::Permissions::from_mode(0o755)).unwrap();
    under::rename(at("shut/in"), at("shut/out")).unwrap();
    under::write(at("shut/new"), "").unwrap();
    under::set_permissions(at("shut"), under::Permissions::from_mode(0o511)).unwrap();
    under::remove_file(at("emptied/x")).unwrap();
    under::set_permissions(at("emptied"), under::Permissions::from_mode(0o300)).unwrap();
    under::write(at("d/name2"), "for all three names\n").unwrap();
    under::remove_file(at("symlink")).unwrap();
    under::symlink("elsewhere", at("symlink")).unwrap();
    under::remove_file(at("symlink-gone")).unwrap();
    under::symlink("/etc/passwd", at("kept/in/out")).unwrap();
    under::create_dir(at("empty")).unwrap();
    under::set_permissions(at("empty"), under::Permissions::from_mode(0o1777)).unwrap();
    overlay
}

/// Everything that can be seen of a tree: kinds, bits, times, contents, and which names are one
/// file. Not the times of the top, which are not promised.
fn look(root: &Path) -> BTreeMap<String, String> {
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let mut tree = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let meta = fs::symlink_metadata(path).unwrap();
        let content = match meta.file_type() {
            t if t.is_dir() => "dir".to_owned(),
            t if t.is_symlink() => format!("-> {}", fs::read_link(path).unwrap().display()),
            _ => format!("file {}", blake3::hash(&fs::read(path).unwrap()).to_hex()),
        };
        let one = first.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        let time = if name.is_empty() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        let text = format!("{:o} {time:?} {content}, the file {one}", meta.mode());
        tree.insert(name, text);
    }
    tree
}

type Tree = BTreeMap<String, String>;

/// The tree before and after, and how many calls lead from one to the other. It may be one more or
/// less the next time, since access times make journals longer or shorter.
fn before_and_after() -> (Tree, Tree, u64) {
    let dir = tempdir();
    seed(dir.path());
    let before = look(dir.path());
    let gate = Limited::count();
    changed(dir.path()).commit_through(&gate, &CommitOptions::new()).unwrap();
    let after = look(dir.path());
    assert_ne!(before, after);
    (before, after, gate.calls())
}

/// The tree must be one of the two: the one that the recovery names.
#[track_caller]
fn check(root: &Path, recovered: Option<&Recovered>, before: &Tree, after: &Tree, what: &str) {
    let is = look(root);
    let wanted = match recovered {
        Some(Recovered::Before) => before,
        Some(Recovered::After { passed_over }) => {
            assert!(passed_over.is_empty(), "{what}: {passed_over:?}");
            after
        }
        None if is == *before => before,
        None => after,
    };
    if is != *wanted {
        let names = is.keys().chain(wanted.keys()).collect::<std::collections::BTreeSet<_>>();
        let differ = names.into_iter().filter(|name| is.get(*name) != wanted.get(*name));
        let differ: Vec<_> = differ
            .map(|n| format!("{n}: is {:?}, wanted {:?}", is.get(n), wanted.get(n)))
            .collect();
        panic!("{what}, {recovered:?}: the tree is neither nor:\n{}", differ.join("\n"));
    }
}

#[test]
fn a_commit_on_the_usual_disk_leads_to_the_merged_tree() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    seed(dir.path());
    let overlay = changed(dir.path());
    overlay.materialize(out.path()).unwrap();
    overlay.commit().unwrap();
    assert_eq!(look(dir.path()), look(out.path()));
    assert!(overlay.diff().unwrap().is_empty());
}

const ROOT: &str = "TESTBENCH_COMMIT_ROOT";
const CALLS: &str = "TESTBENCH_COMMIT_CALLS";

/// Not a test: what the child does.
#[test]
fn child() {
    let (Some(root), Some(calls)) = (std::env::var_os(ROOT), std::env::var_os(CALLS)) else {
        return;
    };
    let gate = Limited::new(calls.to_str().unwrap().parse().unwrap(), Then::Abort);
    let overlay = changed(Path::new(&root));
    overlay.commit_through(&gate, &CommitOptions::new()).unwrap();
    eprintln!("the commit came to its end");
}

#[test]
fn a_process_that_dies_after_the_nth_call_leaves_what_can_be_recovered() {
    let (before, after, calls) = before_and_after();
    assert!(calls > 100, "only {calls} calls");
    let next = AtomicU64::new(1);
    let outcomes = std::sync::Mutex::new(BTreeMap::<&str, u32>::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n > calls {
                        return;
                    }
                    let outcome = die_and_recover(n, calls, &before, &after);
                    *outcomes.lock().unwrap().entry(outcome).or_default() += 1;
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    eprintln!("killed after each of {calls} calls: {outcomes:?}");
    for wanted in ["Before", "After"] {
        assert!(outcomes.contains_key(wanted), "never {wanted}");
    }
}

fn die_and_recover(n: u64, calls: u64, before: &Tree, after: &Tree) -> &'static str {
    let dir = tempdir();
    seed(dir.path());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "commit::tests::child", "--nocapture"])
        .env(ROOT, dir.path())
        .env(CALLS, n.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stderr);
    if child.status.success() {
        assert!(n + 2 > calls && text.contains("came to its end"), "{n}: {text}");
    }
    // After the very last calls there is nothing to recover any more.
    if dir.path().join(".testbench-commit").exists() {
        assert!(matches!(Overlay::new(dir.path()), Err(crate::OverlayError::Unfinished { .. })));
    }
    let recovered = Overlay::recover(dir.path());
    let recovered = recovered.unwrap_or_else(|error| panic!("after {n} calls: {error}"));
    check(dir.path(), recovered.as_ref(), before, after, &format!("after {n} calls"));
    Overlay::new(dir.path()).unwrap();
    match recovered {
        Some(Recovered::Before) => "Before",
        Some(Recovered::After { .. }) => "After",
        None => "nothing left",
    }
}

/// Cuts off a commit, then its recovery, then recovers.
fn cut_off_twice(commits: impl Iterator<Item = u64>, step: usize) {
    let (before, after, calls) = before_and_after();
    let mut cases = 0;
    for n in commits.take_while(|n| *n <= calls) {
        for m in (0..).step_by(step) {
            let dir = tempdir();
            seed(dir.path());
            let dead = Limited::new(n, Then::Dead);
            let error = changed(dir.path()).commit_through(&dead, &CommitOptions::new());
            // Only the last call, which sets the times of the top, may fail without a word. How
            // many there are depends on how long the journal's numbers are this time.
            assert!(error.is_err() || dead.calls() <= n + 1, "{n} of {}", dead.calls());
            let cut = recover(dir.path(), &Limited::new(m, Then::Dead));
            let done = cut.is_ok();
            let last = recover(dir.path(), &Open).unwrap_or_else(|e| panic!("{n} {m}: {e}"));
            let recovered = last.or(cut.ok().flatten());
            check(dir.path(), recovered.as_ref(), &before, &after, &format!("{n} {m}"));
            cases += 1;
            if done {
                break;
            }
        }
    }
    eprintln!("{cases} commits and their recoveries cut off");
}

#[test]
fn a_recovery_that_dies_too_can_be_recovered() {
    cut_off_twice((3..).step_by(13), 9);
}

/// Every pair; `cargo test --lib -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn a_recovery_that_dies_anywhere_can_be_recovered() {
    cut_off_twice(0.., 1);
}

/// Every call fails once with each of some errors: either the commit does without it, or the tree
/// is as before, or the commit can be completed.
#[test]
fn a_call_that_fails_loses_nothing() {
    let (before, after, calls) = before_and_after();
    let mut outcomes = BTreeMap::<&str, u32>::new();
    for errno in [Errno::Nospc, Errno::Io, Errno::Perm] {
        for n in 0..calls {
            let dir = tempdir();
            seed(dir.path());
            let overlay = changed(dir.path());
            let merged = {
                let _installed = install(overlay.clone());
                under::read_to_string(dir.path().join("modified")).unwrap()
            };
            let failing = Limited::new(n, Then::FailOnce(errno));
            let outcome = overlay.commit_through(&failing, &CommitOptions::new());
            let name = match outcome {
                Ok(_) => "went on",
                Err(CommitError::Leftover { .. }) => "left waste",
                Err(CommitError::Disk { .. }) => "nothing changed",
                Err(CommitError::Interrupted { .. }) => "interrupted",
                Err(error) => panic!("{n} {errno}: {error}"),
            };
            let what = format!("{n} {errno}: {name}");
            let recovered = Overlay::recover(dir.path()).unwrap();
            if name == "nothing changed" || name == "went on" {
                assert_eq!(recovered, None, "{what}");
            }
            // If setting some attribute is not allowed, the commit does without it.
            if errno != Errno::Perm || name != "went on" {
                let wanted = match (&recovered, name) {
                    (None, "nothing changed") => Recovered::Before,
                    (None, _) => Recovered::After { passed_over: vec![] },
                    (Some(recovered), _) => recovered.clone(),
                };
                check(dir.path(), Some(&wanted), &before, &after, &what);
            }
            // The overlay still holds everything, and commits it when the cause is gone.
            let _installed = install(overlay.clone());
            assert_eq!(under::read_to_string(dir.path().join("modified")).unwrap(), merged);
            if name == "nothing changed" {
                overlay.commit().unwrap_or_else(|error| panic!("{n} {errno}, again: {error}"));
                let wanted = Recovered::After { passed_over: vec![] };
                check(dir.path(), Some(&wanted), &before, &after, "again");
            }
            *outcomes.entry(name).or_default() += 1;
        }
    }
    eprintln!("{outcomes:?}");
}

#[test]
fn a_disk_that_is_full_from_the_nth_call_on_loses_nothing() {
    let (before, after, calls) = before_and_after();
    for n in 0..calls {
        let dir = tempdir();
        seed(dir.path());
        let full = Limited::new(n, Then::Full);
        let recovered = match changed(dir.path()).commit_through(&full, &CommitOptions::new()) {
            Ok(_) => Recovered::After { passed_over: vec![] },
            Err(CommitError::Interrupted { source, .. }) => {
                assert!(source.to_string().contains("No space left"), "{source}");
                // Somebody makes room.
                Overlay::recover(dir.path()).unwrap().unwrap()
            }
            Err(error) => {
                assert!(error.to_string().contains("No space left"), "{error}");
                assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::StorageFull);
                Recovered::Before
            }
        };
        check(dir.path(), Some(&recovered), &before, &after, &format!("full after {n}"));
        assert!(Overlay::recover(dir.path()).unwrap().is_none());
    }
}

/// Counts the calls that sync a whole file system.
#[derive(Default)]
struct Syncs(AtomicU64);

impl Gate for Syncs {
    fn pass(&self, call: Call) -> Result<(), Errno> {
        if call == Call::SyncAll {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// That would wait for all that other processes have written there.
#[test]
fn thousands_of_removals_in_a_few_directories_do_not_sync_the_whole_file_system() {
    let dir = tempdir();
    let names: Vec<PathBuf> = (0..2_000).map(|n| dir.path().join(format!("f{n}"))).collect();
    names.iter().for_each(|name| fs::write(name, "").unwrap());
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    names.iter().for_each(|name| under::remove_file(name).unwrap());
    let syncs = Syncs::default();
    assert_eq!(overlay.commit_through(&syncs, &CommitOptions::new()).unwrap().removed, 2_000);
    assert_eq!(syncs.0.into_inner(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Does something before the nth call.
struct Meddling<F> {
    calls: AtomicU64,
    at: u64,
    meddle: F,
}

impl<F: Fn()> Gate for Meddling<F> {
    fn pass(&self, _: Call) -> Result<(), Errno> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.at {
            (self.meddle)();
        }
        Ok(())
    }
}

/// The content of another process is there afterwards, whether the commit noticed it in time or not.
/// Our version is there too, or kept.
#[test]
fn what_somebody_else_writes_at_any_moment_of_a_commit_is_not_overwritten() {
    const THEIRS: &str = "theirs, from the middle of it";
    let mut outcomes = BTreeMap::<(&str, &str), u32>::new();
    for victim in ["changed", "removed", "made", "moved", "there"] {
        for at in 0.. {
            let dir = tempdir();
            let path = |name: &str| dir.path().join(name);
            for name in ["changed", "removed", "moved", "other"] {
                fs::write(path(name), format!("{name} before")).unwrap();
            }
            let overlay = Overlay::new(dir.path()).unwrap();
            let installed = install(overlay.clone());
            under::write(path("changed"), "changed, ours").unwrap();
            under::write(path("other"), "ours").unwrap();
            under::write(path("made"), "made, ours").unwrap();
            under::remove_file(path("removed")).unwrap();
            under::rename(path("moved"), path("there")).unwrap();
            drop(installed);

            let meddle = || fs::write(path(victim), THEIRS).unwrap();
            let gate = Meddling { calls: AtomicU64::new(0), at, meddle };
            let done = overlay.commit_through(&gate, &CommitOptions::new());
            if gate.calls.into_inner() <= at {
                assert!(at > 20, "it was there at each call");
                break;
            }
            let what = format!("{victim} at call {at}: {done:?}");
            // What is moved after it was written to is found at either end.
            let found = [victim, "there"].map(|name| fs::read_to_string(path(name)).ok());
            let is_there = |found: &Option<String>| found.as_deref() == Some(THEIRS);
            let moves = victim == "moved";
            assert!(is_there(&found[0]) || (moves && is_there(&found[1])), "{what}");
            let other = fs::read_to_string(path("other")).unwrap();
            let outcome = match done {
                Ok(committed) => {
                    assert_eq!(other, "ours", "{what}");
                    for passed in &committed.passed_over {
                        let is_source = moves && *passed.path == *b"there";
                        assert!(*passed.path == *victim.as_bytes() || is_source, "{what}");
                        let Some(kept) = &passed.kept_at else { continue };
                        let wanted = match victim {
                            "changed" => "changed, ours",
                            "made" => "made, ours",
                            _ => "moved before",
                        };
                        assert_eq!(fs::read_to_string(kept).unwrap(), wanted, "{what}");
                    }
                    if committed.passed_over.is_empty() { "committed" } else { "passed over" }
                }
                Err(CommitError::Conflicts { .. }) => {
                    assert_eq!(other, "other before", "{what}");
                    "conflict"
                }
                Err(error) => panic!("{what}: {error}"),
            };
            assert!(Overlay::recover(dir.path()).unwrap().is_none(), "{what}");
            *outcomes.entry((victim, outcome)).or_default() += 1;
        }
    }
    eprintln!("{outcomes:?}");
    for victim in ["changed", "removed", "made", "moved", "there"] {
        assert!(outcomes.contains_key(&(victim, "conflict")), "{victim}: {outcomes:?}");
        assert!(outcomes.contains_key(&(victim, "passed over")), "{victim}: {outcomes:?}");
    }
}
