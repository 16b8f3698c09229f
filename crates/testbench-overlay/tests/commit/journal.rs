//! Journals that were left, or are not what they should be.

use std::fs as disk;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use testbench_overlay::{CommitError, Overlay, OverlayError, RecoverError, Recovered, fs, install};

use crate::common::{Host, tree};
use crate::lower;

#[test]
fn the_name_of_the_journal_is_taken() {
    let dir = lower();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::create_dir(dir.path().join(".testbench-commit")).unwrap();
    assert!(matches!(overlay.commit(), Err(CommitError::Reserved)));
    fs::remove_dir(dir.path().join(".testbench-commit")).unwrap();
    fs::create_dir(dir.path().join("made")).unwrap();
    overlay.commit().unwrap();
    assert!(dir.path().join("made").is_dir());
}

/// As an interrupted commit leaves it, made by hand.
fn stage(root: &Path, files: &[(&str, &str)]) {
    disk::create_dir(root.join(".testbench-commit")).unwrap();
    for (name, text) in files {
        disk::write(root.join(".testbench-commit").join(name), text).unwrap();
    }
}

const FORMAT: (&str, &str) = ("format", "testbench-overlay commit journal 1\n");

#[test]
fn a_journal_that_is_not_ours_or_damaged_loses_nothing() {
    let damaged = "testbench-overlay commit journal 1 00\n{}\n";
    let newer = "testbench-overlay commit journal 7 00\n{}\n";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("precious", "data")], "foreign"),
        (&[FORMAT, ("precious", "data")], "foreign"),
        (&[("format", "something else\n")], "foreign"),
        (&[FORMAT, ("journal", "a diary")], "foreign"),
        (&[("n0", "not begun by us")], "foreign"),
        (&[FORMAT, ("journal", damaged), ("o1", "precious")], "damaged"),
        (&[FORMAT, ("journal", ""), ("o1", "precious")], "foreign"),
        (&[FORMAT, ("journal", newer), ("o1", "precious")], "version"),
    ];
    for (files, wanted) in cases {
        let dir = lower();
        stage(dir.path(), files);
        let before = tree::<Host>(dir.path());
        let error = Overlay::recover(dir.path()).unwrap_err();
        let is = match &error {
            RecoverError::Foreign { .. } => "foreign",
            RecoverError::Damaged { .. } => "damaged",
            RecoverError::Version { found, .. } if found == "7" => "version",
            other => panic!("{files:?}: {other}"),
        };
        assert_eq!(is, *wanted, "{files:?}");
        assert!(error.to_string().contains("nothing was changed"), "{error}");
        assert_eq!(tree::<Host>(dir.path()), before, "{files:?}");
        assert!(matches!(Overlay::new(dir.path()), Err(OverlayError::Unfinished { .. })));
    }
}

#[test]
fn what_was_being_prepared_is_thrown_away() {
    for files in [&[][..], &[("format", "testbench-ov")], &[FORMAT, ("n0", "x"), ("n1", "y")]] {
        let dir = lower();
        let before = tree::<Host>(dir.path());
        stage(dir.path(), files);
        let found = Overlay::recover(dir.path()).unwrap().unwrap();
        assert!(found.to_string().ends_with("was interrupted before it changed anything"));
        assert_eq!(found.resume().unwrap(), Recovered::Before);
        assert_eq!(tree::<Host>(dir.path()), before);
    }
    assert!(Overlay::recover(lower().path()).unwrap().is_none());
    assert!(matches!(Overlay::recover("/nonexistent"), Err(RecoverError::Open { .. })));
}

/// A journal with these steps, as a commit writes it.
fn journal(steps: &str) -> String {
    format!(
        "testbench-overlay commit journal 1 {}\n{steps}\n",
        blake3::hash(steps.as_bytes()).to_hex()
    )
}

#[test]
fn a_journal_of_another_tree_changes_nothing() {
    let step = |from: &str| {
        let was = r#"{"kind":"file","size":3,"mtime":[1,0]}"#;
        journal(&format!(
            r#"{{"outs":[{{"from":"{from}","slot":"o1","was":{was}}}],"ins":[],"metas":[]}}"#
        ))
    };
    // Something else is there, nothing is there, and a path that leads out.
    for (from, damaged) in [("a", false), ("gone", false), ("../a", true)] {
        let dir = lower();
        stage(dir.path(), &[FORMAT, ("journal", &step(from))]);
        let before = tree::<Host>(dir.path());
        for resume in [true, false] {
            let error = match Overlay::recover(dir.path()) {
                Ok(found) if resume => found.unwrap().resume().unwrap_err(),
                Ok(found) => found.unwrap().undo().unwrap_err(),
                Err(error) => error,
            };
            let is_damaged = matches!(error, RecoverError::Damaged { .. });
            assert!(is_damaged == damaged, "{error}");
            assert!(damaged || matches!(error, RecoverError::Changed { .. }), "{error}");
            assert_eq!(tree::<Host>(dir.path()), before, "{from}");
        }
    }
}

#[test]
fn what_was_changed_since_the_interruption_is_not_lost() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    // One step is done: `a` lies on the stage, and somebody has made a new `a`.
    let meta = disk::metadata(at("a")).unwrap();
    let mark = format!(
        r#"{{"kind":"file","size":{},"mtime":[{},{}]}}"#,
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    let steps =
        format!(r#"{{"outs":[{{"from":"a","slot":"o1","was":{mark}}}],"ins":[],"metas":[]}}"#);
    stage(dir.path(), &[FORMAT, ("journal", &journal(&steps))]);
    disk::rename(at("a"), at(".testbench-commit/o1")).unwrap();
    disk::write(at("a"), "new since").unwrap();
    let error = Overlay::recover(dir.path()).unwrap().unwrap().undo().unwrap_err();
    assert!(matches!(&error, RecoverError::Changed { path } if *path == at("a")), "{error}");
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "new since");
    assert_eq!(disk::read_to_string(at(".testbench-commit/o1")).unwrap(), "a before");
    // Put right, it goes on.
    disk::rename(at("a"), at("saved")).unwrap();
    assert_eq!(Overlay::recover(dir.path()).unwrap().unwrap().undo().unwrap(), Recovered::Before);
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "a before");
    assert!(!at(".testbench-commit").exists());
}

#[test]
fn one_commit_or_recovery_at_a_time() {
    let dir = lower();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "after").unwrap();
    stage(dir.path(), &[FORMAT]);
    let held = Overlay::recover(dir.path()).unwrap().unwrap();
    assert!(matches!(Overlay::recover(dir.path()), Err(RecoverError::Busy { .. })));
    let error = overlay.commit().unwrap_err();
    assert!(matches!(error, CommitError::Unfinished { .. }), "{error}");
    drop(held);
    Overlay::recover(dir.path()).unwrap().unwrap().undo().unwrap();
    overlay.commit().unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "after");
}
