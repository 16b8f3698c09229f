//! Conflicts, and the ways to commit all the same.

use std::fs as disk;
use std::os::unix::fs::PermissionsExt as _;

use testbench_overlay::{CommitError, CommitOptions, OurChange, TheirChange, fs, install};

use crate::commit::{lower, overlay};
use crate::common::{Host, Under, tree};

fn only<const N: usize>(paths: [&str; N]) -> CommitOptions {
    CommitOptions::new().only(paths)
}

#[test]
fn a_file_that_was_only_looked_at_is_a_conflict_too() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::read(dir.path().join("d/b")).unwrap();
    fs::write(dir.path().join("a"), "ours").unwrap();
    disk::write(dir.path().join("d/b"), "theirs").unwrap();
    let error = overlay.commit().unwrap_err();
    let [conflict] = error.conflicts() else { panic!("{error}") };
    assert_eq!((conflict.path(), conflict.ours()), (&b"d/b"[..], &OurChange::Looked));
    assert_eq!(conflict.theirs(), TheirChange::Modified);
    overlay.commit_with(&only(["a"])).unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "ours");
    assert_eq!(fs::read_to_string(dir.path().join("d/b")).unwrap(), "theirs");
}

#[test]
fn force_writes_ours_and_leaves_what_we_have_not_touched() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "ours").unwrap();
    fs::remove_file(dir.path().join("d/b")).unwrap();
    fs::remove_dir(dir.path().join("d")).unwrap();
    disk::write(dir.path().join("a"), "theirs").unwrap();
    disk::set_permissions(dir.path().join("a"), disk::Permissions::from_mode(0o600)).unwrap();
    disk::write(dir.path().join("d/unseen"), "theirs").unwrap();
    assert_eq!(overlay.commit().unwrap_err().conflicts().len(), 2);
    let committed = overlay.commit_with(&CommitOptions::new().force()).unwrap();
    assert_eq!((committed.files_written, committed.removed), (1, 1));
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "ours");
    let mode = disk::metadata(dir.path().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "theirs");
    assert!(!dir.path().join("d").exists());
    assert!(overlay.diff().unwrap().is_empty());
}

#[test]
fn the_changes_that_were_not_named_stay_and_can_be_committed_later() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    disk::hard_link(at("a"), at("e/a2")).unwrap();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    assert_eq!(fs::read(at("a")).unwrap(), fs::read(at("e/a2")).unwrap());
    fs::write(at("a"), "a after").unwrap();
    fs::remove_file(at("d/b")).unwrap();
    fs::write(at("d/c"), "c").unwrap();
    fs::create_dir_all(at("new/dir")).unwrap();
    fs::write(at("new/dir/in"), "in").unwrap();
    fs::write(at("new/out"), "out").unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o700)).unwrap();
    let open = fs::File::open(at("new/out")).unwrap();
    let wanted = tree::<Under>(dir.path());

    let summary = || overlay.diff().unwrap().summary();
    assert_eq!(overlay.commit_with(&only(["new/dir", "d/b"])).unwrap().files_written, 1);
    assert_eq!(disk::read_to_string(at("new/dir/in")).unwrap(), "in");
    assert!(!at("new/out").exists() && !at("d/b").exists() && !at("d/c").exists());
    assert_eq!(summary(), "M a\nA d/c\nM e/a2\nA new/out\n");
    assert_eq!(tree::<Under>(dir.path()), wanted);
    assert_eq!(open.metadata().unwrap().len(), 3);

    // The changes still rest on what was seen for them.
    disk::write(at("d/c"), "theirs").unwrap();
    let error = overlay.commit().unwrap_err();
    let paths: Vec<&[u8]> = error.conflicts().iter().map(|conflict| conflict.path()).collect();
    assert_eq!(paths, [&b"d"[..], b"d/c"], "{error}");
    disk::remove_file(at("d/c")).unwrap();

    let root = dir.path().canonicalize().unwrap();
    overlay.commit_with(&CommitOptions::new().only([root.join("a"), at("e")])).unwrap();
    assert_eq!(disk::read_to_string(at("e/a2")).unwrap(), "a after");
    assert_eq!(summary(), "A d/c\nA new/out\n");
    overlay.commit().unwrap();
    assert_eq!(summary(), "");
    assert_eq!(tree::<Host>(dir.path()), wanted);
}

#[test]
fn a_rename_and_the_names_of_one_file_are_committed_together() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::rename(at("d"), at("moved")).unwrap();
    fs::write(at("moved/new"), "").unwrap();
    fs::hard_link(at("a"), at("e/a2")).unwrap();
    fs::write(at("a"), "after").unwrap();
    let before = tree::<Host>(dir.path());
    let apart = |paths: &[&str]| {
        let error = overlay.commit_with(&CommitOptions::new().only(paths)).unwrap_err();
        let CommitError::Apart { path, other } = &error else { panic!("{paths:?}: {error}") };
        [path, other].map(|path| String::from_utf8_lossy(path).into_owned())
    };
    assert_eq!(apart(&["moved"]), ["moved", "d"]);
    assert_eq!(apart(&["d"]), ["d", "moved"]);
    assert_eq!(apart(&["d", "moved/new"]), ["d", "moved"]);
    assert_eq!(apart(&["moved/new"]), ["moved", "d"]);
    assert_eq!(apart(&["a"]), ["a", "e/a2"]);
    assert_eq!(tree::<Host>(dir.path()), before);
    overlay.commit_with(&only(["moved", "d"])).unwrap();
    assert!(at("moved/b").exists() && at("moved/new").exists() && !at("d").exists());
    overlay.commit_with(&only(["."])).unwrap();
    assert!(overlay.diff().unwrap().is_empty());
}

#[test]
fn paths_at_which_nothing_has_changed_are_refused() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "ours").unwrap();
    for path in ["d", "b", "/etc", "../a", "a/b"] {
        let error = overlay.commit_with(&only(["a", path])).unwrap_err();
        assert!(matches!(&error, CommitError::Unchanged { path: is } if is == path), "{error}");
    }
    assert_eq!(overlay.commit_with(&only([])).unwrap(), Default::default(), "nothing was named");
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "a before");
    assert_eq!(overlay.diff().unwrap().summary(), "M a\n");
}
