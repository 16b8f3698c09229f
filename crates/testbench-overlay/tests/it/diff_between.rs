//! Two real directories.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use insta::assert_snapshot;
use testbench_overlay::diff::Diff;

fn tree(build: impl FnOnce(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    dir
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_kind_of_difference() {
    let before = tree(|dir| {
        write(&dir.join("same"), b"same\n", 0o644);
        write(&dir.join("text"), b"a\nb\n", 0o644);
        write(&dir.join("mode"), b"a\n", 0o644);
        write(&dir.join("dir/deep/gone"), b"gone\n", 0o644);
        write(&dir.join("becomes/dir"), b"", 0o644);
        write(&dir.join("moved"), b"moved\n", 0o644);
        symlink("same", dir.join("link")).unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
    });
    let after = tree(|dir| {
        write(&dir.join("same"), b"same\n", 0o644);
        write(&dir.join("text"), b"a\nc\n", 0o644);
        write(&dir.join("mode"), b"a\n", 0o600);
        write(&dir.join("dir/new"), b"new\n", 0o644);
        write(&dir.join("becomes"), b"file\n", 0o644);
        write(&dir.join("to/moved"), b"moved\n", 0o644);
        // A cycle: followed, it would never end.
        symlink("..", dir.join("link")).unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
    });
    for dir in ["dir", "empty", "to"] {
        for root in [&before, &after] {
            let path = root.path().join(dir);
            if path.exists() {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
    let diff = Diff::between(before.path(), after.path()).unwrap();
    assert_snapshot!(diff.summary(), @"
    T becomes (dir -> file)
    D becomes/dir
    D dir/deep/
    D dir/deep/gone
    A dir/new
    M link
    M mode (mode 0644 -> 0600)
    D moved
    M text
    A to/
    A to/moved
    ");
    assert_snapshot!(diff.renames_by_content().summary().replace("M mode (mode 0644 -> 0600)\n", ""), @"
    T becomes (dir -> file)
    D becomes/dir
    D dir/deep/
    D dir/deep/gone
    A dir/new
    M link
    M text
    A to/
    R moved -> to/moved
    ");
    assert!(Diff::between(after.path(), after.path()).unwrap().is_empty());
}

#[test]
fn deep_trees_do_not_exhaust_the_stack() {
    let before = tempfile::tempdir().unwrap();
    let after = tree(|dir| {
        // As deep as a path may be long.
        let mut path = dir.to_path_buf();
        for _ in 0..1500 {
            path.push("d");
        }
        fs::create_dir_all(&path).unwrap();
    });
    let diff = Diff::between(before.path(), after.path()).unwrap();
    assert_eq!(diff.entries().len(), 1500);
}

#[test]
fn errors_name_the_path() {
    let there = tree(|dir| write(&dir.join("file"), b"", 0o644));
    let missing = there.path().join("missing");
    let error = Diff::between(&missing, there.path()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing"), "{error}");
    let error = Diff::between(there.path(), &there.path().join("file")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotADirectory);
    assert!(error.to_string().contains("cannot list"), "{error}");
}
