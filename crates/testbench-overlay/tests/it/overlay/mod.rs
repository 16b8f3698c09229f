//! What an overlay keeps, hides and reports, one behaviour a test.

mod content;
mod depth;
mod layers;
mod lower;
mod names;
mod root;
mod view;

use crate::common;
use std::path::PathBuf;
use std::sync::Arc;

use testbench_overlay::{Overlay, fs, install};

use crate::common::{Host, tree};

/// A directory with a few files, an overlay of it that is installed, and a check at the end that
/// the directory was not touched.
struct Bench {
    dir: tempfile::TempDir,
    overlay: Arc<Overlay>,
    before: common::Tree,
    _installed: testbench_clock::Guard,
}

fn bench(files: &[(&str, &str)]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let before = tree::<Host>(dir.path());
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    Bench { dir, overlay, before, _installed }
}

impl Bench {
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn summary(&self) -> String {
        self.overlay.diff().unwrap().summary()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(tree::<Host>(self.dir.path()), self.before, "the directory was written");
        }
    }
}
