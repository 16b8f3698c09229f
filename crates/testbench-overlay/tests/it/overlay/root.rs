//! Where the root is, and what lies outside of it.

use std::path::Path;

use testbench_clock::{Context, Lifetime};
use testbench_overlay::{Overlay, fs, install, install_for};

use crate::overlay::bench;

#[test]
fn after_the_session_nothing_reaches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late");
    let session = Lifetime::new("docs");
    let guard = install_for(Overlay::new(dir.path()).unwrap(), &session);
    let context = Context::capture();
    drop(guard);
    session.end();
    let (late, kept) = (path.clone(), context);
    std::thread::spawn(move || {
        let _entered = kept.enter();
        let error = fs::write(&late, "x").unwrap_err();
        assert!(error.to_string().contains("session `docs` ended at"), "{error}");
        assert!(fs::read_dir(late.parent().unwrap()).is_err());
    })
    .join()
    .unwrap();
    assert!(!path.exists());
    // Without a context the real disk is meant.
    std::thread::spawn(move || fs::write(&path, "x").unwrap()).join().unwrap();
    assert!(dir.path().join("late").exists());
}

#[test]
fn relative_paths_start_from_the_top_unless_the_current_directory_is_inside() {
    let b = bench(&[]);
    fs::write("made.txt", "here").unwrap();
    assert_eq!(b.read("made.txt"), "here");
    assert!(!Path::new("made.txt").exists());
}

#[test]
fn a_root_may_be_named_through_a_symlink_outside_of_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("real/sub")).unwrap();
    std::fs::write(dir.path().join("real/sub/a"), "x").unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("alias")).unwrap();
    let by_alias = Overlay::new(dir.path().join("alias/sub")).unwrap();
    for (overlay, name) in
        [(by_alias, "real/sub/a"), (Overlay::new(dir.path().join("real")).unwrap(), "alias/sub/a")]
    {
        let _installed = install(overlay);
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "x", "{name}");
        let canonical = fs::canonicalize(dir.path().join(name)).unwrap();
        assert_eq!(canonical, dir.path().canonicalize().unwrap().join("real/sub/a"));
    }
}

#[test]
fn a_missing_root_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Overlay::new(dir.path().join("no")).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot make an overlay of ") && error.contains("No such file"),
        "{error}"
    );
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(Overlay::new(dir.path().join("file")).is_err());
    let error = Overlay::builder(dir.path()).mounted_at("relative").build().unwrap_err();
    assert!(error.to_string().contains("must be absolute"), "{error}");
}
