//! Trees deeper than the stack.

use std::sync::Arc;

use testbench_overlay::{Errno, Fs as _, GuestPath, MemoryDir, OpenHow, Overlay, fs, install};

/// A guest can nest directories without limit by relative paths; a walk that recurses would end
/// the process.
#[test]
fn a_tree_may_be_deeper_than_the_stack_of_a_thread() {
    const DEPTH: usize = 10_000;
    let overlay = Overlay::over(Arc::new(MemoryDir::builder().build().unwrap())).build().unwrap();
    let how = OpenHow { directory: true, ..OpenHow::READ };
    let mut dir = overlay.root().unwrap();
    for _ in 0..DEPTH {
        overlay.create_dir_at(&*dir, GuestPath::new("d"), 0o755).unwrap();
        dir = overlay.open_at(&*dir, GuestPath::new("d"), &how).unwrap();
    }
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let diff = small.spawn(move || overlay.diff().unwrap()).unwrap().join().unwrap();
    assert_eq!(diff.entries().len(), DEPTH);
}

/// So can a test by paths, up to the length that a path may have; and the removal takes any depth.
#[test]
fn whole_trees_are_made_and_removed_without_a_stack() {
    const DEPTH: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let how = OpenHow { directory: true, ..OpenHow::READ };
    let mut at = overlay.root().unwrap();
    for _ in 0..DEPTH {
        overlay.create_dir_at(&*at, GuestPath::new("d"), 0o755).unwrap();
        at = overlay.open_at(&*at, GuestPath::new("d"), &how).unwrap();
    }
    drop(at);
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let remove = move || {
        let _installed = install(overlay.clone());
        fs::remove_dir_all(dir.path().join("d")).unwrap();
        assert!(overlay.diff().unwrap().is_empty());
        let long = dir.path().join("e/".repeat(1_900));
        fs::create_dir_all(&long).unwrap();
        assert!(fs::metadata(&long).unwrap().is_dir());
        let error = fs::create_dir_all(dir.path().join("f/".repeat(DEPTH))).unwrap_err();
        assert_eq!(Errno::from(error), Errno::Nametoolong);
        fs::remove_dir_all(dir.path().join("e")).unwrap();
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    };
    small.spawn(remove).unwrap().join().unwrap();
}

/// A tree on the disk that is deeper than any path is long, removed above it.
#[test]
fn a_deep_lower_tree_is_removed_and_compared() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    const DEPTH: usize = 2_100;
    let dir = tempfile::tempdir().unwrap();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    let overlay = Overlay::new(dir.path()).unwrap();
    let top = dir.path().to_path_buf();
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let remove = move || {
        let _installed = install(overlay.clone());
        fs::remove_dir_all(top.join("d")).unwrap();
        assert_eq!(overlay.diff().unwrap().entries().len(), DEPTH);
    };
    small.spawn(remove).unwrap().join().unwrap();
    std::fs::remove_dir_all(dir.path().join("d")).unwrap();
}
