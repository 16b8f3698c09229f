//! Lower files that change while they are in use.

use std::io::{ErrorKind, Read as _, Write as _};

use testbench_overlay::pipeline::Quota;
use testbench_overlay::{Overlay, fs, install};

#[test]
fn a_file_that_changes_underneath_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, "first").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    std::fs::write(&path, "second").unwrap();
    let error = fs::read_to_string(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle);
    assert!(error.to_string().contains("lower file \"a\" was changed"), "{error}");
    assert_eq!(overlay.lower_changes().len(), 1);
    assert_eq!(overlay.lower_changes()[0].path(), b"a");

    assert!(!fs::exists(dir.path().join("absent")).unwrap());
    std::fs::write(dir.path().join("absent"), "").unwrap();
    let error = fs::exists(dir.path().join("absent")).unwrap_err();
    assert!(error.to_string().contains("has appeared"), "{error}");
    assert!(fs::read_dir(dir.path()).is_ok());
    std::fs::remove_file(&path).unwrap();
    let error = fs::read_dir(dir.path()).unwrap_err();
    assert!(error.to_string().contains("gained or lost entries"), "{error}");
}

#[test]
fn a_change_while_a_file_is_open_is_noticed_by_the_next_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, vec![b'1'; 1000]).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.read_exact(&mut [0; 10]).unwrap();
    std::fs::write(&path, vec![b'2'; 1000]).unwrap();
    assert!(file.read_exact(&mut [0; 10]).is_err());
    assert!(file.write_all(b"x").is_err());
    assert!(overlay.diff().unwrap().is_empty(), "a failed write changes nothing");
}

#[test]
fn a_changed_file_that_was_changed_here_too_cannot_be_compared() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(name), "first").unwrap();
    }
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "ours").unwrap();
    fs::remove_file(dir.path().join("b")).unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "M a\nD b\n");
    std::fs::write(dir.path().join("b"), "theirs").unwrap();
    let error = overlay.diff().unwrap_err().to_string();
    assert!(error.contains("lower file \"b\" was changed"), "{error}");
}

/// Each name that is missing is remembered, so that a commit can tell whether it is missing still.
#[test]
fn looking_for_names_without_end_ends_at_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("d")).unwrap();
    let quota = Quota::new().observations(100);
    let overlay = Overlay::builder(dir.path()).quota(quota).build().unwrap();
    let _installed = install(overlay.clone());
    let look = |n: u64| fs::metadata(dir.path().join(format!("{n}"))).unwrap_err().kind();
    let found = (0..1_000).filter(|n| look(*n) == ErrorKind::NotFound).count();
    assert_eq!((found, look(999)), (100, ErrorKind::OutOfMemory));
    assert_eq!(overlay.usage().observations, 100);
    assert_eq!(fs::read_dir(dir.path().join("d")).unwrap_err().kind(), ErrorKind::OutOfMemory);
    // What is known already, and what is not missing, goes on.
    assert_eq!(look(7), ErrorKind::NotFound);
    assert!(fs::metadata(dir.path().join("d")).unwrap().is_dir());
    assert!(overlay.diff().unwrap().is_empty());
}
