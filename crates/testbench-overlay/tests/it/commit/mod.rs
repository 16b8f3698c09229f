//! Commits: what goes on across them, what they keep, what they refuse, and journals that are not
//! what they should be.

#![allow(clippy::print_stderr, reason = "what is skipped is said")]

mod afterwards;
mod depth;
mod files;
mod journal;
mod options;
mod refused;

use std::fs as disk;
use std::path::Path;
use std::sync::Arc;

use testbench_overlay::{LowerModes, Overlay};

/// A directory with a file `a`, a file `d/b` and an empty directory `e`.
fn lower() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    disk::create_dir(dir.path().join("d")).unwrap();
    disk::create_dir(dir.path().join("e")).unwrap();
    disk::write(dir.path().join("a"), "a before").unwrap();
    disk::write(dir.path().join("d/b"), "b before").unwrap();
    dir
}

fn overlay(root: &Path) -> Arc<Overlay> {
    Overlay::builder(root).lower_modes(LowerModes::Real).build().unwrap()
}
