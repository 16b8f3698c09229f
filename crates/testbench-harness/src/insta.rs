//! Snapshots of what a session changed and of what a command did, on insta's own macros.
//!
//! Review, inline snapshots, filters and settings are insta's. What differs from run to run is
//! replaced before insta sees it: the overlay's root becomes `[root]`, the directory of temporary
//! files `[temp]`, and the path of the running test `[exe]`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use testbench_clock::Lookup;
use testbench_overlay::Diff;
use testbench_overlay::diff::Redactions;

use crate::tape::Tape;
use crate::{Report, Run, Session, bench};

/// Asserts that a session changed what the snapshot says.
///
/// Takes a `Session`, a `Report` or a `Diff`, and the arguments of [`insta::assert_snapshot!`] around
/// it: a name before it, or an inline snapshot after it.
///
/// ```
/// use testbench_harness::{Command, Testbench, Toolchain, assert_overlay_snapshot};
///
/// let dir = tempfile::tempdir()?;
/// let session =
///     Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin()).build()?.enter();
/// Command::new("mkdir").args(["-p", "cache/v1"]).output()?;
/// assert_overlay_snapshot!(session, @r"
/// A cache/
/// A cache/v1/
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// When the snapshot differs, as insta does, and when a session's diff cannot be told.
///
/// [`insta::assert_snapshot!`]: https://docs.rs/insta/latest/insta/macro.assert_snapshot.html
#[macro_export]
macro_rules! assert_overlay_snapshot {
    ($changed:expr, @$snapshot:literal $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::overlay(&$changed), @$snapshot)
    };
    ($name:expr, $changed:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($name, $crate::insta::overlay(&$changed))
    };
    ($changed:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::overlay(&$changed))
    };
}

/// Runs a `Command` and asserts how it ended and what it printed.
///
/// ```
/// use testbench_harness::{Command, Testbench, Toolchain, assert_run_snapshot};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// assert_run_snapshot!(Command::new("sort").stdin("b\na\n"), @r"
/// exit: 0
/// ----- stdout -----
/// a
/// b
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Output that is not UTF-8 is shown by its size and SHA-256, an error at the start by its text.
///
/// # Panics
///
/// When the snapshot differs, as insta does.
#[macro_export]
macro_rules! assert_run_snapshot {
    ($command:expr, @$snapshot:literal $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::run($command.run()), @$snapshot)
    };
    ($name:expr, $command:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($name, $crate::insta::run($command.run()))
    };
    ($command:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::run($command.run()))
    };
}

/// Asserts that the tape of a session says what the snapshot says.
///
/// Takes a `Session`, a `Report` or a `Tape`. How long native programs took differs from run to run
/// and is left out.
///
/// ```
/// use testbench_harness::tape::TapeMode;
/// use testbench_harness::{Command, Testbench, Toolchain, assert_tape_snapshot};
///
/// let dir = tempfile::tempdir()?;
/// let session = Testbench::builder()
///     .toolchain(Toolchain::builtin())
///     .tape(dir.path().join("t"), TapeMode::Record)
///     .build()?
///     .enter();
/// Command::new("sleep").arg("90").output()?;
/// assert_tape_snapshot!(session, @r"
/// 1 $ sleep 90
///   guest, exit 0, 90s
///   env TZ=UTC
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// When the snapshot differs, as insta does, and when there is no tape.
#[macro_export]
macro_rules! assert_tape_snapshot {
    ($taped:expr, @$snapshot:literal $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::tape(&$taped), @$snapshot)
    };
    ($name:expr, $taped:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($name, $crate::insta::tape(&$taped))
    };
    ($taped:expr $(,)?) => {
        $crate::__insta::assert_snapshot!($crate::insta::tape(&$taped))
    };
}

/// What [`assert_tape_snapshot!`] takes.
pub trait Recorded {
    /// The tape, if there is one.
    fn recorded(&self) -> Option<Tape>;
}

impl Recorded for Session {
    fn recorded(&self) -> Option<Tape> {
        self.tape()
    }
}

impl Recorded for Report {
    fn recorded(&self) -> Option<Tape> {
        self.tape.clone()
    }
}

impl Recorded for Tape {
    fn recorded(&self) -> Option<Tape> {
        Some(self.clone())
    }
}

/// The text of [`assert_tape_snapshot!`].
#[track_caller]
pub fn tape(taped: &impl Recorded) -> String {
    let Some(tape) = taped.recorded() else {
        panic!("the session has no tape; give it one with `.tape(path, mode)`")
    };
    let text = tape.without_real_time().to_string();
    Hidden::new(Vec::new()).hide(&text)
}

/// What a diff is called that has nothing in it.
const NO_CHANGES: &str =
    "(no changes; code that calls std::fs directly bypasses the overlay: see capture)";

/// What [`assert_overlay_snapshot!`] takes.
pub trait OverlayChanges {
    /// The diff, and the host's names for the root that it is relative to.
    ///
    /// # Panics
    ///
    /// When the diff cannot be told.
    fn changes(&self) -> (Diff, Vec<PathBuf>);
}

impl OverlayChanges for Session {
    #[track_caller]
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        let diff =
            self.diff().unwrap_or_else(|error| panic!("`{}` has no diff: {error}", self.name()));
        (diff, self.hidden_paths().map(Path::to_owned).collect())
    }
}

impl OverlayChanges for Report {
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        (self.diff.clone(), self.hidden_paths.clone())
    }
}

impl OverlayChanges for Diff {
    fn changes(&self) -> (Diff, Vec<PathBuf>) {
        (self.clone(), Vec::new())
    }
}

/// The text of [`assert_overlay_snapshot!`].
#[track_caller]
pub fn overlay(changed: &impl OverlayChanges) -> String {
    let (diff, roots) = changed.changes();
    let hidden = Hidden::new(roots);
    let redactions = Redactions::new().content(move |_, content| Some(hidden.hide_bytes(content)));
    let diff = diff.redact(&redactions);
    if diff.is_empty() { NO_CHANGES.to_owned() } else { diff.to_string() }
}

/// The text of [`assert_run_snapshot!`].
pub fn run(result: io::Result<Run>) -> String {
    let roots = match bench::current() {
        Lookup::Absent => Vec::new(),
        Lookup::Open(bench) | Lookup::Closed(bench, _) => {
            bench.files.host_names().map(Path::to_owned).collect()
        }
    };
    let text = match result {
        Err(error) => format!("not started ({:?}): {error}", error.kind()),
        Ok(run) => run_text(&run),
    };
    Hidden::new(roots).hide(&text)
}

fn run_text(run: &Run) -> String {
    let mut text = match &run.exit {
        Some(exit) => match exit.code() {
            Some(code) => format!("exit: {code}"),
            None => format!("exit: {exit}"),
        },
        None => run.output.status.to_string(),
    };
    if !run.virtual_time.is_zero() {
        let _ = write!(text, "\nvirtual time: {:?}", run.virtual_time);
    }
    for (name, bytes) in [("stdout", &run.output.stdout), ("stderr", &run.output.stderr)] {
        if bytes.is_empty() {
            continue;
        }
        let _ = write!(text, "\n----- {name} -----\n");
        match std::str::from_utf8(bytes) {
            Ok(output) => text.push_str(output.trim_end_matches('\n')),
            Err(_) => {
                let digest = Sha256::digest(bytes);
                let _ = write!(text, "({} bytes, sha256 ", bytes.len());
                digest.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
                text.push(')');
            }
        }
    }
    text
}

/// The paths that differ from run to run, each with what stands for it.
struct Hidden {
    paths: Vec<(Vec<u8>, &'static str)>,
}

impl Hidden {
    fn new(roots: Vec<PathBuf>) -> Hidden {
        let mut paths: Vec<_> = roots.into_iter().map(|root| (root, "[root]")).collect();
        paths.extend(std::env::current_exe().map(|exe| (exe, "[exe]")));
        let temp = std::env::temp_dir();
        paths.extend(temp.canonicalize().map(|canonical| (canonical, "[temp]")));
        paths.push((temp, "[temp]"));
        let mut paths: Vec<_> = paths
            .into_iter()
            .map(|(path, name)| (crate::sys::guest_path(&path), name))
            .map(|(mut path, name)| {
                while path.last() == Some(&b'/') {
                    path.pop();
                }
                (path, name)
            })
            // The root directory is in every path, so it tells nothing.
            .filter(|(path, _)| !path.is_empty())
            .collect();
        // What lies inside of another is looked for first.
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        paths.dedup_by(|a, b| a.0 == b.0);
        Hidden { paths }
    }

    fn hide(&self, text: &str) -> String {
        // What is replaced and what replaces it are whole: UTF-8 stays UTF-8.
        String::from_utf8_lossy(&self.hide_bytes(text.as_bytes())).into_owned()
    }

    fn hide_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut hidden = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let found = self.paths.iter().find(|(path, _)| is_path_at(bytes, at, path));
            match found {
                Some((path, name)) => {
                    hidden.extend_from_slice(name.as_bytes());
                    at += path.len();
                }
                None => {
                    hidden.push(bytes[at]);
                    at += 1;
                }
            }
        }
        hidden
    }
}

/// Whether `path` stands at `at`, and not as a part of a longer name.
fn is_path_at(bytes: &[u8], at: usize, path: &[u8]) -> bool {
    let in_name =
        |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b"_-".contains(b));
    bytes[at..].starts_with(path)
        && !in_name(bytes.get(at + path.len()))
        && !(at > 0 && in_name(bytes.get(at - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_hidden_where_they_are_whole_names() {
        let hidden =
            Hidden { paths: vec![(b"/t/x".to_vec(), "[root]"), (b"/t".to_vec(), "[temp]")] };
        assert_eq!(
            hidden.hide("/t/x/a /t/x: /t/xy /t a/t /t/x"),
            "[root]/a [root]: [temp]/xy [temp] a/t [root]"
        );
    }
}
