//! Tests that are written in a scripting language.
//!
//! Every `.rhai` and `.lua` file under a directory is a test of its own, listed and run as those of
//! `cargo test` are, by `cargo test` itself or by `cargo nextest`. In `Cargo.toml`:
//!
//! ```toml
//! [[test]]
//! name = "scripts"
//! harness = false
//! ```
//!
//! and `tests/scripts.rs` is
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     testbench_harness::vm::scripts::main("tests/scripts")
//! }
//! ```
//!
//! A script has the functions of [`RhaiPlugin`](super::rhai::RhaiPlugin) or
//! [`LuaPlugin`](super::lua::LuaPlugin), and those of tests:
//!
//! | Rhai | Lua | |
//! | --- | --- | --- |
//! | `testbench(#{…})` | `testbench{…}` | enters a session that lasts to the end of the script |
//! | `b.diff()`, `b.virtual_time()`, `b.spawns()`, `b.root()` | `b:diff()`, … | the session's results so far |
//! | `b.finish()` | `b:finish()` | ends the session early, so that an outer one is seen again |
//! | `assert_eq(actual, expected)` | the same | |
//! | `assert(condition, message)` | Lua's own | |
//! | `assert_snapshot(name, text)` | the same | compares with `snapshots/` beside the script |
//! | `run`, `sleep`, `now` | the same | as in [`rhai`](super::rhai) |
//!
//! The options of `testbench`:
//!
//! | option | value | default |
//! | --- | --- | --- |
//! | `files` | a map of paths and contents: the overlay's directory, made for this test | |
//! | `overlay` | a directory, relative to the script's, used instead of `files` | no overlay |
//! | `toolchain` | `"builtin"`, or directories of `.wasm` files, relative to the script's | `"builtin"` |
//! | `clock` | an instant such as `"2024-02-29T12:00:00Z"` | 2000-01-01T00:00:00Z |
//! | `seed` | an integer, not negative | 0 |
//! | `env` | a map | empty |
//! | `policy` | a map of programs to `"deny"`, `"native"` or `"not found"` | `"not found"` |
//! | `name` | the session's name | the script's |
//!
//! Snapshots are insta's: `INSTA_UPDATE=always` writes them, and `cargo insta review` shows new
//! ones.
#![allow(clippy::disallowed_methods, reason = "scripts are files of the real disk")]

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use libtest_mimic;
use libtest_mimic::{Arguments, Failed, Trial};

mod bench;
#[cfg(feature = "lua")]
mod lua;
mod options;
#[cfg(feature = "rhai")]
mod rhai;
mod snapshot;

/// Runs the scripts under `dir` as tests, as the command line says. It is the whole of a `main`
/// function.
///
/// Fails if there is no script.
pub fn main(dir: impl AsRef<Path>) -> ExitCode {
    // The process ends inside when the arguments are wrong, with an explanation.
    let arguments = Arguments::from_args();
    match tests(dir) {
        Ok(tests) => libtest_mimic::run(&arguments, tests).exit_code(),
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The scripts under `dir` as tests, in the order of their paths, to run together with other tests.
///
/// # Errors
///
/// Fails if the directory cannot be read, or with [`io::ErrorKind::NotFound`] if it holds no script.
pub fn tests(dir: impl AsRef<Path>) -> io::Result<Vec<Trial>> {
    let dir = dir.as_ref();
    let mut tests = Vec::new();
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name();
    for entry in entries {
        let entry = entry.map_err(|source| {
            let source = io::Error::from(source);
            let problem = format!("the scripts in `{}` cannot be listed: {source}", dir.display());
            io::Error::new(source.kind(), problem)
        })?;
        let Some(run) = runner(entry.path()) else { continue };
        if !entry.file_type().is_file() {
            continue;
        }
        let name = entry.path().strip_prefix(dir).unwrap_or(entry.path());
        let name = name.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        let path = entry.into_path();
        tests.push(Trial::test(name, move || run(&path).map_err(Failed::from)));
    }
    if tests.is_empty() {
        let problem = format!(
            "no scripts in `{}`: a test is a file whose name ends in .rhai or .lua",
            dir.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, problem));
    }
    Ok(tests)
}

/// Runs one script to its end, on this thread.
///
/// # Errors
///
/// Fails with [`ScriptFailure`] if an assertion does not hold, an error is not caught, the script is
/// malformed, or the file is no script.
pub fn run_file(path: impl AsRef<Path>) -> Result<(), ScriptFailure> {
    let path = path.as_ref();
    let run = runner(path).ok_or("its name ends neither in .rhai nor in .lua");
    run.map_err(|problem| ScriptFailure::new(path, None, problem))?(path)
}

/// The failure of a script, with its place.
///
/// Shown as `PATH:LINE: TEXT`, so that an editor can follow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{} {text}", path.display(), line.map(|line| format!("{line}:")).unwrap_or_default())]
pub struct ScriptFailure {
    path: PathBuf,
    /// From 1.
    line: Option<usize>,
    /// Without the place.
    text: String,
}

impl ScriptFailure {
    fn new(path: &Path, line: Option<usize>, text: impl fmt::Display) -> ScriptFailure {
        ScriptFailure { path: path.to_owned(), line, text: text.to_string() }
    }
}

/// An error that a script sees as a text.
type ScriptError = Box<dyn std::error::Error + Send + Sync>;

fn file_name(script: &Path) -> String {
    script.file_name().unwrap_or(script.as_os_str()).to_string_lossy().into_owned()
}

type Runner = fn(&Path) -> Result<(), ScriptFailure>;

/// The function that runs a script of this name; `None` for any other file.
fn runner(path: &Path) -> Option<Runner> {
    match path.extension()?.to_str()? {
        #[cfg(feature = "rhai")]
        "rhai" => Some(rhai::run),
        #[cfg(feature = "lua")]
        "lua" => Some(lua::run),
        #[allow(unreachable_patterns, reason = "unless a feature is off")]
        "rhai" | "lua" => Some(|path| {
            let text = "this build of testbench-harness does not have the feature for it";
            Err(ScriptFailure::new(path, None, text))
        }),
        _ => None,
    }
}
