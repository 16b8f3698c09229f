//! A scene is a directory and a few command lines; the snapshot is what came of them.

use std::fs;

use insta::Settings;
use tempfile::TempDir;
use testbench_harness::{Command, Session, Testbench, Toolchain};

/// A directory, and a session over it with the built-in tools.
pub(crate) struct Scene {
    /// The session; its clock starts at 2000-01-01T00:00:00Z.
    pub(crate) session: Session,
    /// The real directory under the overlay.
    dir: TempDir,
}

impl Scene {
    /// A scene with these files, each given as path and content.
    pub(crate) fn new(files: &[(&str, &str)]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let bench = Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin());
        let session = bench.build().unwrap().enter();
        Scene { session, dir }
    }

    /// Runs command lines, one after the other, with their words split at blanks, and gives a
    /// transcript: each line with its status if that is not success, and what it printed.
    pub(crate) fn run(&self, lines: &[&str]) -> String {
        let mut transcript = String::new();
        for line in lines {
            let mut words = line.split_whitespace();
            let mut command = Command::new(words.next().unwrap());
            let output = command.args(words).output().unwrap_or_else(|e| panic!("{line}: {e}"));
            let status = match output.status.code() {
                Some(0) => String::new(),
                _ => format!("  [{}]", output.status),
            };
            transcript += &format!("$ {line}{status}\n");
            transcript += &String::from_utf8_lossy(&output.stdout);
            transcript += &String::from_utf8_lossy(&output.stderr);
        }
        transcript.replace(&self.dir.path().display().to_string(), "[root]")
    }
}

/// Runs `assert` with the snapshots of `crate_name`, the crate whose promise they show.
pub(crate) fn snapshots_of(crate_name: &str, assert: impl FnOnce()) {
    let mut settings = Settings::clone_current();
    // Relative to the test's file.
    settings.set_snapshot_path(format!("../snapshots/{crate_name}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(assert);
}
