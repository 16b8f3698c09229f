//! [`verify`]: runs native records on WebAssembly, to see whether a tool may be swapped.
//!
//! The toolchain runs each native record in the state that the recording had: over the recording's
//! directory, with the recorded changes of all spawns before it. The guest's own changes are
//! compared and then dropped, so a tool that differs does not make the tools after it differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use testbench_overlay::diff::{Change, Diff};
use testbench_overlay::{ApplyError, Overlay, OverlayError};
use testbench_wasi::Finished;

use super::calls::command_line;
use super::compare::{Divergence, content_text};
use super::format::{Record, TapedStatus, Way};
use super::scrub::Marks;
use super::{Tape, Taped, files};
use crate::{BuildError, Command, Refusal, Route, Session, Testbench, ToolchainSource, sys};

/// The toolchain and the directory of [`verify`].
#[derive(Clone, Debug)]
#[must_use = "give it to `verify`"]
pub struct VerifyOptions {
    toolchain: ToolchainSource,
    overlay: Option<PathBuf>,
    stderr: bool,
}

impl VerifyOptions {
    /// Runs the programs of `toolchain`, over an empty directory.
    pub fn against(toolchain: impl Into<ToolchainSource>) -> VerifyOptions {
        VerifyOptions { toolchain: toolchain.into(), overlay: None, stderr: true }
    }

    /// The directory with the files that the recording started from. It is not written to.
    pub fn overlay(mut self, dir: impl AsRef<Path>) -> Self {
        self.overlay = Some(dir.as_ref().to_owned());
        self
    }

    /// Whether standard error is compared. By default it is.
    pub fn stderr(mut self, compared: bool) -> Self {
        self.stderr = compared;
        self
    }
}

/// The result of [`verify`], by program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Each program that was recorded natively.
    pub tools: BTreeMap<String, ToolReport>,
}

/// The result for one program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ToolReport {
    /// The number of its spawns that did the same.
    pub agree: usize,
    /// The spawns that differ.
    pub drifts: Vec<VerifiedSpawn>,
    /// The spawns that were not run. Each has one difference, which says why.
    pub skipped: Vec<VerifiedSpawn>,
}

/// A spawn that does not do the same on WebAssembly, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifiedSpawn {
    /// Its number on the tape.
    pub sequence: u32,
    /// Its command line.
    pub call: String,
    /// The differences of the guest from the taped child: in `start`, `status`, `stdout`, `stderr` or
    /// `files`.
    pub differences: Vec<Divergence>,
}

/// Why a tape cannot be verified at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The toolchain or the directory cannot be used.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An empty directory to run in cannot be made.
    #[error("cannot make an empty directory to run in: {0}")]
    TempDir(#[source] io::Error),
    /// The recorded changes do not fit the directory.
    #[error(
        "spawn {sequence} does not fit the directory: {source}; give the one that the tape was \
         recorded over"
    )]
    Files {
        /// The spawn whose changes could not be made.
        sequence: u32,
        /// The first one that could not.
        source: ApplyError,
    },
    /// The overlay cannot go back to an earlier state.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

impl VerifyReport {
    /// Whether nothing differs, and something was compared.
    pub fn agrees(&self) -> bool {
        self.tools.values().all(|tool| tool.drifts.is_empty())
            && self.tools.values().any(|tool| tool.agree > 0)
    }
}

impl ToolReport {
    /// Whether every spawn was run and did the same.
    pub fn may_be_swapped(&self) -> bool {
        self.agree > 0 && self.drifts.is_empty() && self.skipped.is_empty()
    }
}

/// A line for each program, and below it what differs.
impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tools.is_empty() {
            return f.write_str("nothing to verify: no spawn was recorded natively\n");
        }
        for (program, tool) in &self.tools {
            let ToolReport { agree, drifts, skipped } = tool;
            let run = agree + drifts.len();
            let verdict = match (run, drifts.len(), skipped.len()) {
                (0, ..) => "not checked".to_owned(),
                (_, 0, 0) => format!("agrees ({run} of {run})"),
                (_, 0, _) => format!("agrees as far as checked ({run} of {})", run + skipped.len()),
                (_, n, _) => format!("differs ({n} of {run})"),
            };
            writeln!(f, "{program}: {verdict}")?;
            for VerifiedSpawn { sequence, call, differences } in drifts.iter().chain(skipped) {
                writeln!(f, "  {sequence} $ {call}")?;
                for difference in differences {
                    let shown = difference.to_string().replace('\n', "\n    ");
                    writeln!(f, "    {shown}")?;
                }
            }
        }
        Ok(())
    }
}

/// Runs the tape's native records on WebAssembly and reports the differences. Nothing runs natively,
/// and no real file is changed.
///
/// ```no_run
/// use testbench_harness::Toolchain;
/// use testbench_harness::tape::{Tape, VerifyOptions, verify};
///
/// let tape = Tape::load("tests/build.tape")?;
/// let report = verify(&tape, VerifyOptions::against(Toolchain::builtin()).overlay("tests/project"))?;
/// assert!(report.agrees(), "{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`VerifyError`] when the programs cannot be run at all.
pub fn verify(tape: &Tape, options: VerifyOptions) -> Result<VerifyReport, VerifyError> {
    let empty = tempfile::tempdir().map_err(VerifyError::TempDir)?;
    let root = options.overlay.as_deref().unwrap_or(empty.path());
    let session = Testbench::builder()
        .name("verify")
        .clock(tape.header().start())
        .seed(tape.header().seed)
        .overlay(root)
        .toolchain(options.toolchain.clone())
        .build()?
        .enter();
    let overlay = session.overlay().expect("it was built with one").clone();
    #[allow(clippy::disallowed_methods, reason = "the tape names variables that were secrets")]
    let secrets = std::env::vars_os().collect();
    let marks = Marks { root: Some(sys::guest_path(root)), secrets };
    let verifier = Verifier { session, overlay, root, marks, stderr: options.stderr };
    let mut report = VerifyReport::default();
    for record in tape.records() {
        let run = verifier.step(record, tape)?;
        if record.route != Way::Native {
            continue;
        }
        let tool = report.tools.entry(record.call.program.to_string()).or_default();
        let (sequence, call) = (record.sequence, command_line(&record.call));
        match run {
            Ok(differences) if differences.is_empty() => tool.agree += 1,
            Ok(differences) => tool.drifts.push(VerifiedSpawn { sequence, call, differences }),
            Err(shown) => {
                let differences = vec![Divergence { what: "not run".to_owned(), shown }];
                tool.skipped.push(VerifiedSpawn { sequence, call, differences });
            }
        }
    }
    Ok(report)
}

struct Verifier<'a> {
    session: Session,
    overlay: Arc<Overlay>,
    root: &'a Path,
    marks: Marks,
    stderr: bool,
}

impl Verifier<'_> {
    /// Runs one record if it was native, and leaves the state as the recording did. Returns the
    /// differences, or why it was not run.
    fn step(
        &self,
        record: &Record,
        tape: &Tape,
    ) -> Result<Result<Vec<Divergence>, String>, VerifyError> {
        let overlay = &self.overlay;
        let before = overlay.checkpoint();
        let run = match record.route {
            Way::Native => self.run(record),
            Way::Guest => Err(String::new()),
        };
        let after = overlay.fork();
        overlay.rollback(&before)?;
        let expand = |taped: &Taped| self.marks.expand(taped);
        let put = |file| files::put(file, tape.header().start(), expand);
        let puts: Vec<_> = record.files.iter().map(put).collect();
        let sequence = record.sequence;
        overlay.apply(&puts).map_err(|source| VerifyError::Files { sequence, source })?;
        let clock = self.session.clock();
        if let Some(mock) = clock.as_mock() {
            // Only tools that print the time see a failure of this, and they differ anyway.
            let _ = mock.advance(std::time::Duration::from_nanos(record.duration_ns));
        }
        Ok(match run {
            Err(why) => Err(why),
            Ok(Err(error)) => {
                let actual = format!("not started: {error}");
                let start = Divergence::of("start", &record.status.to_string(), &actual);
                Ok(start.into_iter().collect())
            }
            Ok(Ok(output)) => Ok(self.differences(record, &output, &after)?),
        })
    }

    /// The result of the call on WebAssembly, or why it is not made.
    fn run(&self, record: &Record) -> Result<io::Result<Finished>, String> {
        if let TapedStatus::NotStarted { .. } = record.status {
            return Err("it did not start when it was recorded".to_owned());
        }
        let input = &record.stdin;
        let stdin = match &input.content {
            _ if input.unseen => return Err("its input was not seen".to_owned()),
            Some(content) => Some(self.marks.expand(content)),
            None if input.size_bytes > 0 => {
                return Err("its input is not on the tape (`TapeOptions::inputs`)".to_owned());
            }
            None => None,
        };
        let call = &record.call;
        let text = |taped: &Taped| sys::os_string(self.marks.expand(taped));
        let mut command = Command::new(text(&call.program));
        if call.argv.first().is_some_and(|arg0| *arg0 != call.program) {
            command.arg0(text(&call.argv[0]));
        }
        command.args(call.argv.iter().skip(1).map(text));
        command.current_dir(self.root.join(text(&call.cwd)));
        for (name, value) in &call.env {
            match value {
                Some(value) => command.env(text(name), text(value)),
                None => command.env_remove(text(name)),
            };
        }
        command.stdin_bytes(stdin.unwrap_or_default());
        match self.session.resolve(&command) {
            Route::Guest(_) => Ok(command.run()),
            Route::Refuse(Refusal::NotFound(_)) => {
                Err(format!("the toolchain has no `{}`", call.program))
            }
            other => Err(other.to_string()),
        }
    }

    fn differences(
        &self,
        record: &Record,
        output: &Finished,
        after: &Overlay,
    ) -> Result<Vec<Divergence>, VerifyError> {
        let actual = status_of(&TapedStatus::of(&output.exit, |why| why.into()));
        let status = Divergence::of("status", &status_of(&record.status), &actual);
        let mut found: Vec<Divergence> = status.into_iter().collect();
        let streams = [
            ("stdout", &record.stdout, &output.stdout, true),
            ("stderr", &record.stderr, &output.stderr, self.stderr),
        ];
        for (what, taped, actual, is_compared) in streams {
            // Any bytes may stand where a secret stood that is not known in this process.
            let pieces = taped.split(|mark| self.marks.value(mark));
            if is_compared && !matches_around(&pieces, actual) {
                let [taped, actual] = [&self.marks.expand(taped), actual].map(|b| content_text(b));
                found.extend(Divergence::of(what, &taped, &actual));
            }
        }
        let mut changes = Vec::new();
        for path in self.different_paths(after)? {
            let side = |tree: &Overlay| Some(tree.look(&path).ok()??.side);
            match (side(&self.overlay), side(after)) {
                (Some(taped), Some(actual)) if taped != actual => {
                    changes.push(Change::changed(&path, taped, actual));
                }
                (Some(taped), None) => changes.push(Change::removed(&path, taped)),
                (None, Some(actual)) => changes.push(Change::added(&path, actual)),
                _ => {}
            }
        }
        if !changes.is_empty() {
            let shown = Diff::from_changes(changes).to_string().trim_end().to_owned();
            found.push(Divergence { what: "files".to_owned(), shown });
        }
        Ok(found)
    }

    /// Every path whose change differs between the tape's state and the guest's.
    fn different_paths(&self, after: &Overlay) -> Result<BTreeSet<Vec<u8>>, VerifyError> {
        let (taped, actual) = (self.overlay.diff()?, after.diff()?);
        let by_path = |diff: &'_ Diff| -> BTreeMap<_, _> {
            diff.entries().iter().map(|entry| (entry.path().to_vec(), entry.clone())).collect()
        };
        let (taped, actual) = (by_path(&taped), by_path(&actual));
        let all = taped.iter().chain(&actual);
        let different = all.filter(|(path, _)| taped.get(*path) != actual.get(*path));
        let paths = different.flat_map(|(path, entry)| {
            [Some(path.as_slice()), entry.moved_from()].into_iter().flatten()
        });
        Ok(paths.map(<[u8]>::to_vec).collect())
    }
}

/// Whether `bytes` are these pieces with any bytes between them.
fn matches_around(pieces: &[Vec<u8>], bytes: &[u8]) -> bool {
    let [first, middle @ .., last] = pieces else {
        return pieces.first().is_none_or(|only| only == bytes);
    };
    let Some(mut rest) = bytes.strip_prefix(first.as_slice()) else { return false };
    for piece in middle {
        let Some(at) = memchr::memmem::find(rest, piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// The status as a parent sees it.
fn status_of(ending: &TapedStatus) -> String {
    match ending {
        TapedStatus::Code(code) => format!("exit {}", code & 0xff),
        TapedStatus::Signal { number, .. } => format!("signal {number}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_may_stand_where_a_secret_stood() {
        let matches = |pieces: &[&str], text: &str| {
            let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
            matches_around(&pieces, text.as_bytes())
        };
        assert!(matches(&["a"], "a") && !matches(&["a"], "ab") && matches(&[], ""));
        assert!(matches(&["a=", ";"], "a=x;") && matches(&["a=", ";"], "a=;"));
        assert!(!matches(&["a=", ";"], "a=x") && !matches(&["a=", ";"], "b=x;"));
        assert!(matches(&["", "b", ""], "xby") && !matches(&["", "b", ""], "xy"));
        assert!(matches(&["a", "", "c"], "abc") && !matches(&["ab", "bc"], "abc"));
    }
}
