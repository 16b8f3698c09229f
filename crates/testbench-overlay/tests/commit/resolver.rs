//! Conflicts, and who decides on them.

use std::fs as disk;
use std::sync::Arc;

use testbench_overlay::{CommitError, OurChange, Overlay, Resolution, TheirChange, fs, install};

use crate::common::{Host, tree};
use crate::{lower, overlay};

/// A conflict about `a`, for a resolver.
fn with_conflict() -> (tempfile::TempDir, Arc<Overlay>) {
    let dir = lower();
    let overlay = overlay(dir.path());
    let installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "ours").unwrap();
    disk::write(dir.path().join("a"), "theirs, longer").unwrap();
    drop(installed);
    (dir, overlay)
}

#[test]
fn a_resolver_may_read_through_the_overlay() {
    let (dir, overlay) = with_conflict();
    let _installed = install(overlay.clone());
    let committed = overlay.commit_with(|_, _| {
        assert_eq!(fs::read(dir.path().join("d/b")).unwrap(), b"b before");
        Resolution::Content(fs::read(dir.path().join("a")).unwrap())
    });
    assert_eq!(committed.unwrap().files_written, 1);
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "ours");
}

#[test]
fn nothing_is_committed_that_a_resolver_changes_meanwhile() {
    let (dir, overlay) = with_conflict();
    let _installed = install(overlay.clone());
    let refused = overlay.commit_with(|_, _| {
        fs::write(dir.path().join("new"), "").unwrap();
        Resolution::Ours
    });
    assert!(matches!(refused, Err(CommitError::Changed)), "{refused:?}");
    let refused = overlay.commit_with(|_, _| {
        overlay.commit_with(|_, _| Resolution::Ours).unwrap();
        Resolution::Ours
    });
    assert!(matches!(refused, Err(CommitError::Changed)), "{refused:?}");
    assert!(dir.path().join("new").exists(), "by the inner commit");
}

#[test]
fn what_somebody_else_does_beneath_while_a_resolver_is_asked_is_not_lost() {
    type Act = fn(&dyn Fn(&str) -> std::path::PathBuf);
    let removes: Act = |at| disk::remove_file(at("d/b")).unwrap();
    let writes: Act = |at| disk::write(at("d/b"), "late").unwrap();
    let makes: Act = |at| disk::write(at("new"), "late").unwrap();
    let writes_again: Act = |at| disk::write(at("a"), "late").unwrap();
    let makes_in_removed: Act = |at| disk::write(at("e/late"), "late").unwrap();
    for act in [removes, writes, makes, writes_again, makes_in_removed] {
        let (dir, overlay) = with_conflict();
        let at = |name: &str| dir.path().join(name);
        let _installed = install(overlay.clone());
        fs::write(at("d/b"), "ours").unwrap();
        fs::write(at("new"), "ours").unwrap();
        fs::remove_dir_all(at("e")).unwrap();
        let mut before = None;
        let refused = overlay.commit_with(|_, _| {
            act(&at);
            before = Some(tree::<Host>(dir.path()));
            Resolution::Ours
        });
        assert!(matches!(refused, Err(CommitError::Changed)), "{refused:?}");
        assert_eq!(before, Some(tree::<Host>(dir.path())), "nothing was written");
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "ours", "and nothing given up");
    }
}

#[test]
fn a_resolver_may_see_a_file_for_the_first_time() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    disk::hard_link(at("d/b"), at("linked")).unwrap();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::read(at("d/b")).unwrap();
    fs::write(at("a"), "ours").unwrap();
    fs::write(at("unlinked"), "").unwrap();
    let unlinked = fs::File::open(at("unlinked")).unwrap();
    fs::remove_file(at("unlinked")).unwrap();
    disk::write(at("a"), "theirs, longer").unwrap();
    let mut unlinked = Some(unlinked);
    let committed = overlay.commit_with(|_, _| {
        assert_eq!(fs::read(at("linked")).unwrap(), b"b before");
        unlinked.take();
        Resolution::Ours
    });
    assert_eq!(committed.unwrap().files_written, 1);
}

#[test]
fn one_file_cannot_be_given_two_contents() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    disk::hard_link(at("a"), at("linked")).unwrap();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    assert_eq!(fs::read(at("a")).unwrap(), fs::read(at("linked")).unwrap());
    fs::write(at("a"), "ours").unwrap();
    disk::write(at("a"), "theirs, longer").unwrap();
    let refused = overlay.commit_with(|conflict, _| Resolution::Content(conflict.path().into()));
    let error = refused.unwrap_err().to_string();
    assert!(error.starts_with("linked: ") && error.contains("another content"), "{error}");
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "theirs, longer");
    overlay.commit_with(|_, _| Resolution::Content(b"both".into())).unwrap();
    assert_eq!(disk::read_to_string(at("linked")).unwrap(), "both");
}

#[test]
fn a_file_that_was_only_looked_at_may_not_change_either() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::read(dir.path().join("d/b")).unwrap();
    fs::write(dir.path().join("a"), "ours").unwrap();
    disk::write(dir.path().join("d/b"), "theirs").unwrap();
    let error = overlay.commit().unwrap_err();
    let [conflict] = error.conflicts() else { panic!("{error}") };
    assert_eq!((conflict.path(), conflict.ours()), (&b"d/b"[..], &OurChange::Looked));
    overlay.commit_with(|_, _| Resolution::Theirs).unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "ours");
    assert_eq!(fs::read_to_string(dir.path().join("d/b")).unwrap(), "theirs");

    fs::write(dir.path().join("d/b"), "ours").unwrap();
    disk::write(dir.path().join("d/b"), "theirs again").unwrap();
    let error = overlay.commit().unwrap_err();
    assert_eq!(error.conflicts()[0].theirs(), TheirChange::Modified);
}

#[test]
fn a_resolver_gets_all_versions_that_are_known() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::rename(dir.path().join("a"), dir.path().join("e/a")).unwrap();
    fs::write(dir.path().join("e/a"), "ours").unwrap();
    disk::write(dir.path().join("a"), "theirs").unwrap();
    let mut seen = Vec::new();
    let aborted = overlay.commit_with(|conflict, versions| {
        let text = |side: &Option<testbench_overlay::diff::Side>| {
            let bytes = side.as_ref().and_then(|side| side.bytes());
            bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        seen.push(format!("{conflict}"));
        seen.extend(
            [&versions.base, &versions.ours, &versions.theirs].into_iter().filter_map(text),
        );
        Resolution::Abort
    });
    assert_eq!(aborted.unwrap_err().conflicts().len(), 1);
    let wanted = "a: renamed to e/a in the overlay, modified beneath it";
    assert_eq!(seen, [wanted, "ours", "theirs"]);
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "theirs");
    // It was aborted, not given up.
    overlay.commit_with(|_, _| Resolution::Content(b"all".to_vec())).unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("e/a")).unwrap(), "all");
    assert!(!dir.path().join("a").exists());
}
