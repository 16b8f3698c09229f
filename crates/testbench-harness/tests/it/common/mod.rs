//! What several tests need.
#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use testbench_harness::{Testbench, TestbenchBuilder, Toolchain};

/// A bench over `dir` with the built-in tools.
pub(crate) fn bench(dir: impl AsRef<Path>) -> TestbenchBuilder {
    Testbench::builder().overlay(dir).toolchain(Toolchain::builtin())
}

/// A directory with these files in it; a name that ends with a slash is an empty directory.
pub(crate) fn dir_with(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    dir
}

/// A toolchain directory with these modules, each given as text.
pub(crate) fn tools_with(modules: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in modules {
        fs::write(dir.path().join(name), wat::parse_str(text).unwrap()).unwrap();
    }
    dir
}

/// All that a directory holds, for a comparison of before and after: kind and mode, content or
/// target, and the time of the last change.
pub(crate) fn tree(dir: &Path) -> BTreeMap<PathBuf, (String, Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let kind = format!("{:?} {:?}", meta.file_type(), meta.permissions());
        found.insert(path, (kind, content, meta.modified().unwrap()));
    }
    found
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Ends the whole process when a test takes much longer than it can: one that waits for something
/// that never comes would hang, and say nothing.
pub(crate) struct Guard {
    _alive: mpsc::Sender<()>,
}

impl Guard {
    /// Guards what the calling test does until this drops.
    pub(crate) fn new(what: &str) -> Guard {
        let (alive, ended) = mpsc::channel::<()>();
        let name = format!("{what}, {}", thread::current().name().unwrap_or("a thread"));
        thread::spawn(move || {
            if ended.recv_timeout(GUARD) == Err(mpsc::RecvTimeoutError::Timeout) {
                let notice = format!("HANGS: {name} has not ended in {GUARD:?}\n");
                std::io::stderr().write_all(notice.as_bytes()).unwrap();
                std::process::abort();
            }
        });
        Guard { _alive: alive }
    }
}

/// Many times what the slowest test of ours takes on a busy machine.
const GUARD: Duration = Duration::from_secs(120);
