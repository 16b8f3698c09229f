//! Journals that were left, or are not what they should be.

use std::fs as disk;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use testbench_overlay::{CommitError, Overlay, OverlayError, RecoverError, Recovered, fs, install};

use crate::commit::lower;
use crate::common::{Host, tree};

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

const FORMAT: (&str, &str) = ("format", "testbench-overlay commit journal 2\n");

#[test]
fn a_journal_that_is_not_ours_or_damaged_loses_nothing() {
    let damaged = "testbench-overlay commit journal 2 00\n{}\n";
    let newer = "testbench-overlay commit journal 7 00\n{}\n";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("precious", "data")], "foreign"),
        (&[FORMAT, ("precious", "data")], "foreign"),
        (&[("format", "something else\n")], "foreign"),
        (&[FORMAT, ("journal", "a diary")], "foreign"),
        (&[("n0", "not begun by us")], "foreign"),
        (&[FORMAT, ("journal", damaged), ("n1", "precious")], "damaged"),
        (&[FORMAT, ("journal", ""), ("n1", "precious")], "foreign"),
        (&[FORMAT, ("journal", newer), ("n1", "precious")], "version"),
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
        assert_eq!(Overlay::recover(dir.path()).unwrap(), Some(Recovered::Before));
        assert_eq!(tree::<Host>(dir.path()), before);
    }
    assert!(Overlay::recover(lower().path()).unwrap().is_none());
    assert!(matches!(Overlay::recover("/nonexistent"), Err(RecoverError::Open { .. })));
}

/// A journal that takes a file at the top to the stage, as a commit writes it.
fn journal(name: &str, size: u64, mtime: (i64, i64)) -> String {
    let mtime = i128::from(mtime.0) * 1_000_000_000 + i128::from(mtime.1);
    let mark = format!(r#"{{"kind":"file","size":{size},"mtime":{mtime}}}"#);
    let out = format!(r#"{{"path":1,"slot":1,"was":{mark}}}"#);
    let steps = format!(r#"{{"opens":[],"outs":[{out}],"ins":[],"metas":[]}}"#);
    let json = format!(r#"{{"paths":[[1,0,"{name}"]],"steps":{steps}}}"#);
    let hash = blake3::hash(json.as_bytes()).to_hex();
    format!("testbench-overlay commit journal 2 {hash}\n{json}\n")
}

#[test]
fn a_journal_of_another_tree_changes_nothing() {
    // Something else is there, nothing is there, and a path that leads out.
    for (name, damaged) in [("a", false), ("gone", false), ("../a", true)] {
        let dir = lower();
        let before = tree::<Host>(dir.path());
        stage(dir.path(), &[FORMAT, ("journal", &journal(name, 3, (1, 0)))]);
        let with_stage = tree::<Host>(dir.path());
        match Overlay::recover(dir.path()) {
            Err(error @ RecoverError::Damaged { .. }) if damaged => {
                assert!(error.to_string().contains("not relative to the root"), "{error}");
                assert_eq!(tree::<Host>(dir.path()), with_stage, "{name}");
            }
            Ok(Some(Recovered::After { passed_over })) if !damaged => {
                let passed: Vec<&[u8]> = passed_over.iter().map(|passed| &*passed.path).collect();
                assert_eq!(passed, if name == "a" { vec![&b"a"[..]] } else { vec![] });
                assert_eq!(tree::<Host>(dir.path()), before, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_was_changed_since_the_interruption_is_not_lost() {
    let meta = |path: &Path| {
        let meta = disk::metadata(path).unwrap();
        (meta.size(), (meta.mtime(), meta.mtime_nsec()))
    };
    // The step is done: `a` lies on the stage, and another process has made a new `a`, or written to the old
    // one through an open handle, or both.
    for (made, written) in [(true, false), (false, true), (true, true)] {
        let dir = lower();
        let at = |name: &str| dir.path().join(name);
        let (size, mtime) = meta(&at("a"));
        stage(dir.path(), &[FORMAT, ("journal", &journal("a", size, mtime))]);
        disk::rename(at("a"), at(".testbench-commit/n1")).unwrap();
        if written {
            disk::write(at(".testbench-commit/n1"), "written since").unwrap();
        }
        if made {
            disk::write(at("a"), "made since").unwrap();
        }
        let recovered = Overlay::recover(dir.path()).unwrap().unwrap();
        let Recovered::After { passed_over } = recovered else { panic!("{recovered:?}") };
        assert_eq!(passed_over.len(), usize::from(written));
        let wanted = if made { "made since" } else { "written since" };
        assert_eq!(disk::read_to_string(at("a")).unwrap(), wanted);
        if made && written {
            let kept = passed_over[0].kept_at.as_ref().unwrap();
            assert_eq!(*kept, at(".testbench-kept/1-a"));
            assert_eq!(disk::read_to_string(kept).unwrap(), "written since");
        }
        assert!(!at(".testbench-commit").exists());
    }
}

/// A journal of the version before, which could go back, is left to a program of that version.
#[test]
fn a_journal_of_the_version_before_is_not_guessed_at() {
    let dir = lower();
    let old = "testbench-overlay commit journal 1";
    stage(
        dir.path(),
        &[("format", &format!("{old}\n")), ("journal", &format!("{old} 00\n{{}}\n"))],
    );
    let error = Overlay::recover(dir.path()).unwrap_err();
    assert!(matches!(&error, RecoverError::Version { found, .. } if found == "1"), "{error}");
}

#[test]
fn one_commit_or_recovery_at_a_time() {
    let dir = lower();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "after").unwrap();
    stage(dir.path(), &[FORMAT]);
    // As another process holds it that commits or recovers.
    let held = disk::File::open(dir.path().join(".testbench-commit")).unwrap();
    held.lock().unwrap();
    assert!(matches!(Overlay::recover(dir.path()), Err(RecoverError::Busy { .. })));
    let error = overlay.commit().unwrap_err();
    assert!(matches!(error, CommitError::Unfinished { .. }), "{error}");
    drop(held);
    assert_eq!(Overlay::recover(dir.path()).unwrap(), Some(Recovered::Before));
    overlay.commit().unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "after");
}
