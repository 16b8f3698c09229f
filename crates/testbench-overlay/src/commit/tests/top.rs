//! Commits that take from the committer the right to change names in the root itself. That binds
//! all users but root, so these tests run as `nobody`.

use std::os::unix::process::CommandExt as _;

use super::*;
use crate::RecoverError;

/// Without `w`, without `x`, without both, with nothing.
const CLOSED: [u32; 4] = [0o2500, 0o655, 0o444, 0];

/// Runs a test of this program as the user `nobody`; false if that user runs already.
fn as_nobody(test: &str) -> bool {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The program may lie where no other user can reach it. Copied by another process: a file that
    // is open for writing cannot be run.
    let program = dir.path().join("test");
    let copied =
        Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap();
    assert!(copied.success());
    let output = Command::new(&program)
        .args(["--exact", &format!("commit::tests::top::{test}"), "--nocapture"])
        .env("TMPDIR", dir.path())
        .current_dir(dir.path())
        .gid(NOBODY)
        .uid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    eprint!("{errors}");
    true
}

fn seed_few(root: &Path) {
    for file in ["modified", "renamed", "deleted"] {
        fs::write(root.join(file), format!("{file} before\n")).unwrap();
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o750)).unwrap();
    set_times(root);
}

/// Changes a little, and the top's mode.
fn closing(root: &Path, mode: u32) -> Arc<Overlay> {
    let clock = MockClock::builder().start(WallTime::from_unix_secs(2 * START)).build();
    let builder = Overlay::builder(root).clock(clock).lower_times(LowerTimes::Real);
    let overlay = builder.lower_modes(crate::LowerModes::Real).build().unwrap();
    let _installed = install(overlay.clone());
    under::write(root.join("modified"), "after\n").unwrap();
    under::rename(root.join("renamed"), root.join("moved")).unwrap();
    under::remove_file(root.join("deleted")).unwrap();
    under::set_permissions(root, under::Permissions::from_mode(mode)).unwrap();
    overlay
}

/// The mode of the top, and the tree, for which the top is opened.
fn look_inside(root: &Path) -> (u32, Tree) {
    let mode = fs::metadata(root).unwrap().mode() & 0o7777;
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
    let mut tree = look(root);
    tree.remove("");
    (mode, tree)
}

/// The trees before and after, and the number of calls between them.
fn ends(mode: u32) -> ((u32, Tree), (u32, Tree), u64) {
    let dir = tempdir();
    seed_few(dir.path());
    let before = look_inside(dir.path());
    let gate = Limited::count();
    closing(dir.path(), mode).commit_through(&gate, &CommitOptions::new()).unwrap();
    (before, look_inside(dir.path()), gate.calls())
}

#[test]
fn a_commit_may_close_the_top_to_the_committer() {
    if as_nobody("a_commit_may_close_the_top_to_the_committer") {
        return;
    }
    for mode in CLOSED {
        let dir = tempdir();
        seed_few(dir.path());
        let overlay = closing(dir.path(), mode);
        overlay.commit().unwrap_or_else(|error| panic!("{mode:o}: {error}"));
        assert!(overlay.diff().unwrap().is_empty(), "{mode:o}");
        overlay.commit().unwrap_or_else(|error| panic!("{mode:o}, nothing more: {error}"));
        {
            let _installed = install(overlay.clone());
            under::set_permissions(dir.path(), under::Permissions::from_mode(0o755)).unwrap();
        }
        // That would take names in a directory in which we may not make any.
        let error = overlay.commit().unwrap_err();
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
        let (is, tree) = look_inside(dir.path());
        assert_eq!(is, mode);
        let names: Vec<&str> = tree.keys().map(String::as_str).collect();
        assert_eq!(names, ["modified", "moved"]);
        assert_eq!(fs::read_to_string(dir.path().join("modified")).unwrap(), "after\n");
    }
}

/// As [`recover`], and `None` where the top is closed already: then all is done.
fn recover_open(root: &Path, gate: &dyn Gate) -> Result<Option<Recovered>, RecoverError> {
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    match recover(root, gate) {
        Err(RecoverError::Open { source, .. }) if denied(&source) => Ok(None),
        recovered => recovered,
    }
}

/// For every mode and every pair: the commit dies after `n` calls, its recovery after `m`, and the
/// next one comes to its end. The tree is the one before or the one after; but for the calls
/// between the journal's end and the last one, when the top's owner still has all rights.
#[test]
fn a_commit_that_closes_the_top_can_be_cut_off_anywhere() {
    if as_nobody("a_commit_that_closes_the_top_can_be_cut_off_anywhere") {
        return;
    }
    let mut outcomes = BTreeMap::<&str, u32>::new();
    for mode in CLOSED {
        let (before, after, calls) = ends(mode);
        let almost = (after.0 | 0o700, after.1.clone());
        assert_eq!((before.0, after.0), (0o750, mode));
        for n in 0..=calls + 2 {
            for m in 0.. {
                let dir = tempdir();
                seed_few(dir.path());
                let dead = Limited::new(n, Then::Dead);
                let whole =
                    closing(dir.path(), mode).commit_through(&dead, &CommitOptions::new()).is_ok();
                assert!(!whole || n + 2 >= calls, "{mode:o} {n} of {calls}");
                if whole {
                    assert_eq!(look_inside(dir.path()), after, "{mode:o} {n}");
                    break;
                }
                let cut = recover_open(dir.path(), &Limited::new(m, Then::Dead));
                let was_cut = cut.is_err();
                let last = recover_open(dir.path(), &Open).unwrap();
                let recovered = last.or(cut.ok().flatten());
                let is = look_inside(dir.path());
                let what = format!("{mode:o}, commit cut off after {n} calls, recovery after {m}");
                let outcome = match &recovered {
                    Some(Recovered::Before) | None if is == before => "before",
                    Some(Recovered::After { .. }) | None if is == after => "after",
                    _ if is == almost && (n + 5 >= calls || was_cut) => {
                        "after, but the top not closed"
                    }
                    _ => panic!("{what}, {recovered:?}: {is:#?}"),
                };
                *outcomes.entry(outcome).or_default() += 1;
                if !was_cut {
                    break;
                }
            }
        }
    }
    eprintln!("{outcomes:?}");
    assert!(outcomes["before"] > 100 && outcomes["after"] > 100, "{outcomes:?}");
}

const MODE: &str = "TESTBENCH_COMMIT_TOP";

/// Not a test: what the child does.
#[test]
fn child() {
    let (Some(root), Some(calls)) = (std::env::var_os(ROOT), std::env::var_os(CALLS)) else {
        return;
    };
    let Some(mode) = std::env::var_os(MODE) else { return };
    let number = |text: std::ffi::OsString| text.to_str().unwrap().parse::<u64>().unwrap();
    let gate = Limited::new(number(calls), Then::Abort);
    closing(Path::new(&root), number(mode) as u32)
        .commit_through(&gate, &CommitOptions::new())
        .unwrap();
}

#[test]
fn a_process_that_dies_while_it_closes_the_top_can_be_recovered() {
    if as_nobody("a_process_that_dies_while_it_closes_the_top_can_be_recovered") {
        return;
    }
    for mode in [0o2500, 0] {
        let (before, after, calls) = ends(mode);
        let almost = (after.0 | 0o700, after.1.clone());
        let mut unsettled = 0;
        for n in 1..=calls {
            let dir = tempdir();
            seed_few(dir.path());
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "commit::tests::top::child"])
                .env(ROOT, dir.path())
                .env(CALLS, n.to_string())
                .env(MODE, mode.to_string())
                .output()
                .unwrap();
            assert!(!child.status.success() || n + 2 >= calls, "{n} of {calls}");
            let recovered = recover_open(dir.path(), &Open).unwrap();
            let is = look_inside(dir.path());
            match recovered {
                Some(Recovered::Before) => assert_eq!(is, before, "{mode:o} {n}"),
                None if is == almost => unsettled += 1,
                Some(Recovered::After { .. }) if is == almost => unsettled += 1,
                Some(Recovered::After { .. }) | None => assert_eq!(is, after, "{mode:o} {n}"),
            }
        }
        // The journal is gone; then the stage is, and the times are set.
        assert!(unsettled <= 3, "{mode:o}: {unsettled}");
    }
}
