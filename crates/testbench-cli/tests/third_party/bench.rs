//! A directory to work in, and `testbench run` on it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use tempfile::TempDir;

/// A fetched program, or `None` after saying on standard error that it is not there.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let why = match std::env::var_os("THIRD_PARTY_GUESTS") {
        None => {
            "THIRD_PARTY_GUESTS names no directory; tests/third_party/fetch.sh fills one".to_owned()
        }
        Some(directory) => {
            // Absolute, because tests do not run where the variable was set.
            let module = Path::new(&directory).join(name).with_extension("wasm");
            assert!(module.is_absolute(), "THIRD_PARTY_GUESTS must be an absolute path");
            if module.exists() {
                return Some(module);
            }
            format!("there is no {}", module.display())
        }
    };
    // Written past the test runner's capture: a test that ran nothing must be seen.
    let notice = format!("SKIPPED: {name} was not run: {why}\n");
    std::io::stderr().write_all(notice.as_bytes()).expect("standard error");
    None
}

/// A path below `crates/` of this repository.
pub(crate) fn sources(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// What came of one run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The overlay's diff as text; empty without an overlay.
    pub(crate) changes: String,
}

/// Runs `testbench run FLAGS MODULE ARGUMENTS` with `input` piped in.
pub(crate) fn run(module: &Path, flags: &[&str], arguments: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_testbench"))
        .arg("run")
        .args(flags)
        .arg(module)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("testbench starts");
    // A guest may end without reading its input, which then cannot be written.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("testbench ends");
    Ran {
        status: output.status.code().expect("an exit status"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        changes: String::new(),
    }
}

/// Two directories that begin equal: one is given to guests as it is, the other under an overlay.
pub(crate) struct Bench {
    real: TempDir,
    lower: TempDir,
}

impl Bench {
    pub(crate) fn new(files: &[(&str, &str)]) -> Bench {
        let directory = || tempfile::tempdir().expect("a temporary directory");
        let bench = Bench { real: directory(), lower: directory() };
        for (path, text) in files {
            bench.write(path, text.as_bytes());
        }
        bench
    }

    /// Adds a script of `scripts/`.
    pub(crate) fn script(self, name: &str) -> Bench {
        let source = sources("testbench-cli/tests/third_party/scripts").join(name);
        self.write(name, &fs::read(source).expect("a script"));
        self
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        for directory in [&self.real, &self.lower] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, bytes).expect("a file");
        }
    }

    /// A path in the directory that guests change.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.real.path().join(path)
    }

    /// Runs a guest that may change the real directory, mounted at `/`.
    pub(crate) fn on_dir(&self, module: &Path, flags: &[&str], args: &[&str], input: &str) -> Ran {
        let mount = format!("--dir={}::/", self.real.path().display());
        run(module, &[&[mount.as_str()], flags].concat(), args, input)
    }

    /// Runs a guest on an overlay mounted at `/`, and checks that the directory below is as before.
    pub(crate) fn on_overlay(
        &self,
        module: &Path,
        flags: &[&str],
        arguments: &[&str],
        input: &str,
    ) -> Ran {
        let before = contents(self.lower.path());
        let out = tempfile::tempdir().expect("a temporary directory");
        let diff = out.path().join("diff.txt");
        let overlay = format!("--overlay={}", self.lower.path().display());
        let diff_out = format!("--diff-out={}", diff.display());
        let flags = [&[overlay.as_str(), diff_out.as_str()], flags].concat();
        let mut ran = run(module, &flags, arguments, input);
        assert_eq!(before, contents(self.lower.path()), "the lower directory was changed");
        ran.changes = fs::read_to_string(&diff)
            .unwrap_or_else(|error| panic!("no diff: {error}; {}", ran.stderr));
        ran
    }

    /// Runs the same command on both: twice on the overlay, with the same outcome, then on the real
    /// directory, with the same output again, after which the real directory differs from the
    /// lower one exactly where the diff says so.
    pub(crate) fn check(&self, module: &Path, flags: &[&str], args: &[&str], input: &str) -> Ran {
        copy_new_files(self.real.path(), self.lower.path());
        let first = self.on_overlay(module, flags, args, input);
        let second = self.on_overlay(module, flags, args, input);
        assert_eq!(first, second, "two runs differ");
        let real = self.on_dir(module, flags, args, input);
        let outcome = |ran: &Ran| (ran.status, ran.stdout.clone(), ran.stderr.clone());
        assert_eq!(
            outcome(&first),
            outcome(&real),
            "on the overlay (left), on a directory (right)"
        );
        assert_eq!(
            changed_paths(&first.changes),
            differing_paths(self.lower.path(), self.real.path()),
            "paths in the diff (left), paths that differ on the disk (right)\n{}",
            first.changes
        );
        first
    }
}

/// Kind, bytes and time of modification of everything in a tree.
type Contents = BTreeMap<PathBuf, (char, Vec<u8>, SystemTime)>;

fn contents(root: &Path) -> Contents {
    walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| {
            let entry = entry.expect("a readable tree");
            let kind = entry.file_type();
            let (kind, bytes) = if kind.is_dir() {
                ('d', Vec::new())
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a symlink");
                ('l', target.into_os_string().into_encoded_bytes())
            } else {
                ('f', fs::read(entry.path()).expect("a file"))
            };
            let path = entry.path().strip_prefix(root).expect("inside").to_owned();
            let modified = entry.metadata().expect("metadata").modified().expect("a time");
            (path, (kind, bytes, modified))
        })
        .collect()
}

fn differing_paths(left: &Path, right: &Path) -> Vec<String> {
    let strip = |root| -> BTreeMap<PathBuf, (char, Vec<u8>)> {
        contents(root).into_iter().map(|(path, (kind, bytes, _))| (path, (kind, bytes))).collect()
    };
    let (left, right) = (strip(left), strip(right));
    let mut paths: Vec<String> = left
        .keys()
        .chain(right.keys())
        .filter(|path| left.get(*path) != right.get(*path))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// The paths of a diff's summary, which are the lines up to the first empty one: `A dir/`, `R a -> b`,
/// `A link (symlink)`.
fn changed_paths(changes: &str) -> Vec<String> {
    let mut paths: Vec<String> = changes
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.trim_end_matches(" (symlink)").split_once(' '))
        .flat_map(|(_, paths)| paths.split(" -> "))
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect();
    paths.sort();
    paths
}

/// Files that a guest has put into the real directory before a check are given to the lower one too.
fn copy_new_files(real: &Path, lower: &Path) {
    for (path, (kind, bytes, _)) in contents(real) {
        let copy = lower.join(path);
        match kind {
            'd' => fs::create_dir_all(copy).expect("a directory"),
            'f' => fs::write(copy, bytes).expect("a file"),
            _ => panic!("a symlink before the check"),
        }
    }
}
