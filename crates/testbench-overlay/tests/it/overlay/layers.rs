//! Overlays of overlays, saved states, other trees beneath, several threads.

use std::io::Write as _;

use testbench_clock::Context;
use testbench_overlay::{
    Create, Errno, Fs as _, GuestPath, MemoryDir, OpenHow, Overlay, ReadOnly, fs,
};

use crate::common::{Under, tree};
use crate::overlay::bench;

#[test]
fn overlays_stack() {
    let b = bench(&[("a", "0"), ("d/b", "0")]);
    fs::write(b.at("a"), "1").unwrap();
    fs::rename(b.at("d"), b.at("e")).unwrap();
    let upper = Overlay::over(b.overlay.clone()).build().unwrap();
    let top = upper.root().unwrap();
    let how = OpenHow { write: true, truncate: true, ..OpenHow::READ };
    let file = upper.open_at(&*top, GuestPath::new("e/b"), &how).unwrap();
    file.write_at(b"2", 0).unwrap();
    upper.remove_file_at(&*top, GuestPath::new("a")).unwrap();
    assert_eq!(upper.diff().unwrap().summary(), "D a\nM e/b\n");
    assert_eq!(b.summary(), "M a\nR d/ -> e/\n");
    assert_eq!(b.read("e/b"), "0");
}

#[test]
fn a_checkpoint_is_a_value() {
    let b = bench(&[("a", "0")]);
    let start = b.overlay.checkpoint();
    fs::write(b.at("a"), "1").unwrap();
    let mut held = fs::File::create_new(b.at("new")).unwrap();
    held.write_all(b"open").unwrap();
    let one = b.overlay.checkpoint();
    let fork = b.overlay.fork();
    fs::write(b.at("a"), "2").unwrap();
    assert_eq!(b.read("a"), "2");

    b.overlay.rollback(&one).unwrap();
    assert_eq!(b.read("a"), "1");
    held.write_all(b"ed").unwrap();
    assert_eq!(b.read("new"), "opened");

    b.overlay.rollback(&start).unwrap();
    assert!(b.overlay.diff().unwrap().is_empty());
    assert_eq!(Errno::from(held.write_all(b"x").unwrap_err()), Errno::Stale);
    fs::write(b.at("again"), "fresh").unwrap();
    assert!(held.write_all(b"x").is_err(), "a number is not given twice");

    assert_eq!(fork.diff().unwrap().summary(), "M a\nA new\n");
    let other = Overlay::new(b.dir.path()).unwrap();
    assert!(other.rollback(&one).is_err());
    assert_eq!(fork.fork_at(&start).unwrap().diff().unwrap().summary(), "");
}

#[test]
fn behind_a_rollback_the_way_to_a_file_is_looked_for_anew() {
    let b = bench(&[("a/b/c", "lower")]);
    let start = b.overlay.checkpoint();
    for _ in 0..2 {
        // Nothing is changed: the state that is gone back to is one in which less was looked at.
        assert_eq!(b.read("a/b/c"), "lower");
        assert!(!fs::exists(b.at("a/b/x")).unwrap());
        b.overlay.rollback(&start).unwrap();
    }
    fs::write(b.at("a/b/x"), "").unwrap();
    assert_eq!(b.names("a/b"), ["c", "x"]);
}

#[test]
fn a_rollback_leaves_no_file_without_a_name_behind() {
    let b = bench(&[]);
    let file = fs::File::create_new(b.at("a")).unwrap();
    fs::remove_file(b.at("a")).unwrap();
    let unlinked = b.overlay.checkpoint();
    drop(file);
    b.overlay.rollback(&unlinked).unwrap();
    assert!(format!("{:?}", b.overlay.checkpoint()).contains("inodes: 1"), "only the top is left");
}

#[test]
fn trees_in_memory_and_read_only_trees() {
    let tree = MemoryDir::builder().file("d/a", "text").symlink("l", "d/a").executable("x", "");
    let tree = ReadOnly::new(tree.build().unwrap());
    let top = tree.root().unwrap();
    let open = |path: &str, how: &OpenHow| tree.open_at(&*top, GuestPath::new(path), how);
    let file = open("l", &OpenHow::READ).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(file.read_at(&mut bytes, 1), Ok(3));
    assert_eq!(file.write_at(b"x", 0), Err(Errno::Badf));
    assert_eq!(file.set_mode(0), Err(Errno::Rofs));
    let write = OpenHow { write: true, ..OpenHow::READ };
    assert_eq!(open("d/a", &write).map(drop), Err(Errno::Rofs));
    let create = OpenHow { create: Create::IfMissing, ..OpenHow::READ };
    assert_eq!(open("d/a", &create).map(drop), Ok(()));
    assert_eq!(open("d/b", &create).map(drop), Err(Errno::Rofs));
    let error = MemoryDir::builder().file("a", "").file("a/b", "").build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make `a/b` in a tree in memory: not a directory (ENOTDIR)"
    );
}

#[test]
fn many_threads_share_an_overlay() {
    let b = bench(&[("a", "0")]);
    let context = Context::capture();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (context, b) = (&context, &b.dir);
            scope.spawn(move || {
                let _entered = context.enter();
                for i in 0..200 {
                    let path = b.path().join(format!("t{thread}-{i}"));
                    fs::write(&path, "x").unwrap();
                    fs::rename(&path, b.path().join(format!("d{thread}"))).unwrap();
                    let mut log =
                        fs::OpenOptions::new().append(true).create(true).open(b.path().join("log"));
                    log.as_mut().unwrap().write_all(b"line\n").unwrap();
                }
            });
        }
    });
    assert_eq!(b.names(""), ["a", "d0", "d1", "d2", "d3", "log"]);
    assert_eq!(b.read("log").lines().count(), 800);
    assert_eq!(tree::<Under>(b.dir.path()).len(), 6);
}
