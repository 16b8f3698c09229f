//! Trees of great depth.

use std::fs as disk;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testbench_overlay::{Fs as _, GuestPath, LowerModes, OpenHow, Overlay};

const DIRS: usize = 10_000;

/// Makes trees of directories in one another, with a symlink in the last one of each.
fn make(overlay: &Overlay, trees: usize) {
    let how = OpenHow { directory: true, ..OpenHow::READ };
    for tree in 0..trees {
        let mut at = overlay.root().unwrap();
        let mut name = format!("t{tree}");
        for _ in 0..DIRS / trees {
            overlay.create_dir_at(&*at, GuestPath::new(&name), 0o755).unwrap();
            at = overlay.open_at(&*at, GuestPath::new(&name), &how).unwrap();
            "d".clone_into(&mut name);
        }
        overlay.symlink_at(b"target", &*at, GuestPath::new("last")).unwrap();
    }
}

/// Memory, if the machine has such a file system: the time of a disk says nothing.
fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn new(root: &Path) -> Arc<Overlay> {
    Overlay::builder(root).lower_modes(LowerModes::Real).build().unwrap()
}

fn commit_time(trees: usize) -> Duration {
    let dir = tempdir();
    let overlay = new(dir.path());
    make(&overlay, trees);
    let began = Instant::now();
    overlay.commit().unwrap();
    let took = began.elapsed();
    assert_eq!(disk::read_dir(dir.path()).unwrap().count(), trees);
    assert_eq!(walkdir::WalkDir::new(dir.path()).max_depth(50).into_iter().count(), 1 + 50 * trees);
    disk::remove_dir_all(dir.path()).unwrap();
    took
}

fn materialize_time(trees: usize) -> Duration {
    let (dir, out) = (tempdir(), tempdir());
    let overlay = new(dir.path());
    make(&overlay, trees);
    let began = Instant::now();
    let written = overlay.materialize(out.path()).unwrap();
    let took = began.elapsed();
    let made = walkdir::WalkDir::new(written.path()).max_depth(50).into_iter().count();
    assert_eq!(made, 1 + 50 * trees);
    disk::remove_dir_all(out.path()).unwrap();
    took
}

fn absorb_time(trees: usize) -> Duration {
    let (dir, out) = (tempdir(), tempdir());
    let (made, overlay) = (new(dir.path()), new(dir.path()));
    make(&made, trees);
    let mut written = overlay.materialize(out.path()).unwrap();
    made.commit().unwrap();
    for tree in 0..trees {
        let name = format!("t{tree}");
        disk::rename(dir.path().join(&name), out.path().join(&name)).unwrap();
    }
    let began = Instant::now();
    assert_eq!(written.absorb().unwrap().len(), DIRS + trees);
    let took = began.elapsed();
    disk::remove_dir_all(out.path()).unwrap();
    took
}

/// A figure of time: by the length of paths it would be ten times as much and more.
#[test]
fn one_deep_tree_is_committed_in_the_time_of_many_flat_ones() {
    let best = |trees| (0..3).map(|_| commit_time(trees)).min().unwrap();
    let (flat, deep) = (best(10), best(1));
    assert!(deep < flat * 2, "{deep:?} for one tree, {flat:?} for ten");
}

#[test]
fn one_deep_tree_is_materialized_in_the_time_of_many_flat_ones() {
    let best = |trees| (0..3).map(|_| materialize_time(trees)).min().unwrap();
    let (flat, deep) = (best(10), best(1));
    assert!(deep < flat * 2, "{deep:?} for one tree, {flat:?} for ten");
}

/// Each path is returned in full, so more bytes are copied for a deep tree, and no more looked up.
#[test]
fn one_deep_tree_is_absorbed_in_nearly_the_time_of_many_flat_ones() {
    let best = |trees| (0..3).map(|_| absorb_time(trees)).min().unwrap();
    let (flat, deep) = (best(10), best(1));
    assert!(deep < flat * 8, "{deep:?} for one tree, {flat:?} for ten");
}
