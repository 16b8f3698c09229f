//! The public conformance suite for WASI, <https://github.com/WebAssembly/wasi-testsuite>.
//!
//! `WASI_TESTSUITE` names a checkout of its branch `prod/testsuite-base`, which has the modules
//! built. Every `wasm32-wasip1` module runs as its JSON says, twice: with its files in the lower
//! directory of an overlay, which must stay untouched, and in a confined real directory.
//!
//! `wasi_testsuite.expected` lists what is known to fail, as `mode suite/name`. It may only
//! shrink: what is listed and passes is an error too.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a table for people")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use testbench_overlay::{Fs, HostDir, Overlay};
use testbench_wasi::{GuestSpec, Module, Mount, run};

/// How many modules the suite had when it was last looked at; it has not lost any since.
const MODULES_MIN: usize = 72;

const EXPECTED: &str = include_str!("wasi_testsuite.expected");

/// How many failures are expected. It may only go down.
const EXPECTED_MAX: usize = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Overlay,
    HostDir,
}

impl Mode {
    const ALL: [Mode; 2] = [Mode::Overlay, Mode::HostDir];

    fn name(self) -> &'static str {
        match self {
            Mode::Overlay => "overlay",
            Mode::HostDir => "host-dir",
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the suite's place is given by the environment")]
fn every_module_passes_in_both_modes() {
    let Some(suite) = std::env::var_os("WASI_TESTSUITE").map(PathBuf::from) else {
        // Written past the test runner's capture: a suite that was not run must be seen.
        let notice = "SKIPPED: set WASI_TESTSUITE to a checkout of wasi-testsuite \
                      (prod/testsuite-base)\n";
        let _ = std::io::stderr().write_all(notice.as_bytes());
        return;
    };
    let cases = cases(&suite);
    assert!(
        cases.len() >= MODULES_MIN,
        "{}: {} wasm32-wasip1 modules found, at least {MODULES_MIN} expected",
        suite.display(),
        cases.len(),
    );
    let expected: BTreeSet<&str> = EXPECTED.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        expected.len(),
        EXPECTED_MAX,
        "what is expected may only shrink, and the number with it"
    );
    let mut passed = BTreeMap::from(Mode::ALL.map(|mode| (mode, 0)));
    let mut surprises = Vec::new();
    for case in &cases {
        let mut row = format!("{:<60}", case.name);
        for mode in Mode::ALL {
            let known = expected.contains(format!("{} {}", mode.name(), case.name).as_str());
            match (case.run(mode), known) {
                (Ok(()), false) => {
                    *passed.entry(mode).or_insert(0) += 1;
                    row.push_str("  pass    ");
                }
                (Err(_), true) => row.push_str("  (fail)  "),
                (Ok(()), true) => {
                    row.push_str("  PASS    ");
                    surprises.push(format!(
                        "{} {}: passes now; take it out of wasi_testsuite.expected",
                        mode.name(),
                        case.name
                    ));
                }
                (Err(why), false) => {
                    row.push_str("  FAIL    ");
                    surprises.push(format!("{} {}: {why}", mode.name(), case.name));
                }
            }
        }
        println!("{row}");
    }
    for (mode, passed) in passed {
        // Written past the test runner's capture: how many there were is the result.
        let count = format!("{}: {passed} of {}\n", mode.name(), cases.len());
        let _ = std::io::stderr().write_all(count.as_bytes());
    }
    assert!(surprises.is_empty(), "\n{}", surprises.join("\n"));
}

/// One module of the suite, and what its JSON says.
struct Case {
    name: String,
    wasm: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    root: Option<PathBuf>,
    exit_code: u32,
    stdout: Option<String>,
    stderr: Option<String>,
}

fn cases(suite: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for language in sorted(&suite.join("tests")) {
        let dir = language.join("testsuite/wasm32-wasip1");
        if !dir.is_dir() {
            continue;
        }
        let language = language.file_name().expect("listed").to_string_lossy().into_owned();
        for wasm in sorted(&dir).into_iter().filter(|p| p.extension().is_some_and(|e| e == "wasm"))
        {
            cases.push(Case::read(&language, wasm));
        }
    }
    cases
}

impl Case {
    fn read(language: &str, wasm: PathBuf) -> Case {
        let stem = wasm.file_stem().expect("listed").to_string_lossy();
        let name = format!("{language}/{stem}");
        let json = wasm.with_extension("json");
        let spec: Value = match fs::read(&json) {
            Ok(text) => serde_json::from_slice(&text).expect("the suite's JSON is in order"),
            Err(_) => Value::Object(serde_json::Map::new()),
        };
        const KNOWN: [&str; 6] = ["args", "env", "root", "exit_code", "stdout", "stderr"];
        for key in spec.as_object().expect("an object").keys() {
            assert!(KNOWN.contains(&key.as_str()), "{}: `{key}` is not known here", json.display());
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Case {
            args: spec["args"].as_array().into_iter().flatten().filter_map(text).collect(),
            env: spec["env"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
                .collect(),
            root: text(&spec["root"]).map(|root| wasm.with_file_name(root)),
            exit_code: spec["exit_code"].as_u64().map_or(0, |code| code as u32),
            stdout: text(&spec["stdout"]),
            stderr: text(&spec["stderr"]),
            name,
            wasm,
        }
    }

    fn run(&self, mode: Mode) -> Result<(), String> {
        let module = Module::from_file(&self.wasm).map_err(|e| e.to_string())?;
        let mut spec =
            GuestSpec::new(module).args(self.args.iter().cloned()).envs(self.env.iter().cloned());
        let dir = tempfile::tempdir().expect("a temporary directory");
        if let Some(root) = &self.root {
            copy_dir(root, dir.path());
            let files: Arc<dyn Fs> = match mode {
                Mode::Overlay => Overlay::new(dir.path()).map_err(|e| e.to_string())?,
                Mode::HostDir => Arc::new(HostDir::open(dir.path()).map_err(|e| e.to_string())?),
            };
            spec = spec.mount(Mount::new(files, "/"));
        }
        let before = tree(dir.path());
        let finished = run(spec).map_err(|e| e.to_string())?;
        let stdout = String::from_utf8_lossy(&finished.stdout);
        let stderr = String::from_utf8_lossy(&finished.stderr);
        if finished.exit.code() != Some(self.exit_code) {
            return Err(format!(
                "{}; wanted code {}\n{stdout}{stderr}",
                finished.exit, self.exit_code
            ));
        }
        for (name, wanted, got) in
            [("stdout", &self.stdout, stdout), ("stderr", &self.stderr, stderr)]
        {
            if wanted.as_ref().is_some_and(|wanted| *wanted != got) {
                return Err(format!("{name} is {got:?}; wanted {wanted:?}"));
            }
        }
        if mode == Mode::Overlay && tree(dir.path()) != before {
            return Err("the overlay's lower directory was changed".to_owned());
        }
        Ok(())
    }
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Copies a tree of the suite, but for what an interrupted test of another runner left there.
fn copy_dir(from: &Path, to: &Path) {
    for path in sorted(from) {
        let to = to.join(path.file_name().expect("listed"));
        if path.is_dir() {
            fs::create_dir(&to).expect("an empty directory to copy into");
            copy_dir(&path, &to);
        } else if path.extension().is_none_or(|e| e != "cleanup") {
            fs::copy(&path, &to).expect("a file to copy");
        }
    }
}

/// Every path with its content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for path in sorted(dir) {
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, None);
        } else {
            let content = fs::read(&path).expect("a readable file");
            found.insert(path, Some(content));
        }
    }
    found
}
