//! Two tapes side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use testbench_overlay::FileKind;

use super::calls::command_line;
use super::format::{FileChange, FileOp, Record, TapedCall};
use super::{Tape, Taped};

/// What two tapes must have in common to count as equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CompareMode {
    /// Everything.
    #[default]
    ByteIdentical,
    /// Everything but sequence numbers, and so the order of the spawns, and durations with the times
    /// that follow from them.
    Semantic,
    /// The files as they are at the end, and how each spawn ended.
    Outcome,
}

/// One thing in which two tapes differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Divergence {
    /// The headers differ.
    Header {
        /// In this field.
        field: &'static str,
        /// What the first tape says.
        a: String,
        /// What the second tape says.
        b: String,
    },
    /// A spawn is on one tape only.
    Spawn {
        /// Which one.
        only_on: Side,
        /// Its number there.
        sequence: u32,
        /// Its command line.
        call: String,
    },
    /// A spawn that is on both differs.
    Field {
        /// Its number on the first tape.
        sequence_a: u32,
        /// Its number on the second tape.
        sequence_b: u32,
        /// Its command line on the first tape.
        call: String,
        /// In this field.
        field: &'static str,
        /// What the first tape says.
        a: String,
        /// What the second tape says.
        b: String,
    },
    /// A file is not the same in the end.
    File {
        /// Where.
        path: String,
        /// What the first tape leaves there.
        a: String,
        /// What the second tape leaves there.
        b: String,
    },
}

/// One of two tapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Side::A { "first" } else { "second" })
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Divergence::Header { field, a, b } => write!(f, "header: {}", sides(field, a, b)),
            Divergence::Spawn { only_on, sequence, call } => {
                write!(f, "spawn {sequence} `{call}`: on the {only_on} tape only")
            }
            Divergence::Field { sequence_a, sequence_b, call, field, a, b } => {
                let number = match sequence_a == sequence_b {
                    true => sequence_a.to_string(),
                    false => format!("{sequence_a}/{sequence_b}"),
                };
                write!(f, "spawn {number} `{call}`: {}", sides(field, a, b))
            }
            Divergence::File { path, a, b } => write!(f, "file {}", sides(path, a, b)),
        }
    }
}

fn sides(what: &str, a: &str, b: &str) -> String {
    if a.contains('\n') || b.contains('\n') {
        let indent = |text: &str| text.replace('\n', "\n    ");
        return format!("{what}\n  - {}\n  + {}", indent(a), indent(b));
    }
    format!("{what}: {a} -> {b}")
}

/// All in which `a` and `b` differ, as far as the mode looks at it; empty if they are equal.
///
/// ```no_run
/// use testbench_harness::tape::{CompareMode, Tape, compare};
///
/// let (old, new) = (Tape::load("build.tape")?, Tape::load("new/build.tape")?);
/// for divergence in compare(&old, &new, CompareMode::Semantic) {
///     eprintln!("{divergence}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(a: &Tape, b: &Tape, mode: CompareMode) -> Vec<Divergence> {
    let mut found = Vec::new();
    if mode != CompareMode::Outcome {
        headers(a, b, mode, &mut found);
    }
    for pair in pairs(a.records(), b.records(), mode) {
        match pair {
            (Some(a), Some(b)) => fields(a, b, mode, &mut found),
            (Some(a), None) => found.push(lone(Side::A, a)),
            (None, Some(b)) => found.push(lone(Side::B, b)),
            (None, None) => {}
        }
    }
    if mode == CompareMode::Outcome {
        outcome(a, b, &mut found);
    }
    found
}

fn lone(only_on: Side, record: &Record) -> Divergence {
    Divergence::Spawn { only_on, sequence: record.sequence, call: command_line(&record.call) }
}

fn headers(a: &Tape, b: &Tape, mode: CompareMode, found: &mut Vec<Divergence>) {
    let (a, b) = (a.header(), b.header());
    let modules = |header: &super::Header| {
        let each = header.modules.iter().map(|m| format!("{} {}", m.name, m.blake3));
        each.collect::<Vec<_>>().join("\n")
    };
    let mut field = |field, a: String, b: String| {
        if a != b {
            found.push(Divergence::Header { field, a, b });
        }
    };
    field("engine", a.engine.clone(), b.engine.clone());
    field("modules", modules(a), modules(b));
    field("seed", a.seed.to_string(), b.seed.to_string());
    field("start_unix_ns", a.start_unix_ns.to_string(), b.start_unix_ns.to_string());
    if mode == CompareMode::ByteIdentical {
        field("reproducible", a.reproducible.to_string(), b.reproducible.to_string());
    }
}

type Pair<'t> = (Option<&'t Record>, Option<&'t Record>);

/// The records that stand for the same spawn, in the order of the first tape and then of the second.
fn pairs<'t>(a: &'t [Record], b: &'t [Record], mode: CompareMode) -> Vec<Pair<'t>> {
    if mode == CompareMode::ByteIdentical {
        let longer = a.len().max(b.len());
        return (0..longer).map(|at| (a.get(at), b.get(at))).collect();
    }
    let mut of_b = vec![None; b.len()];
    // Equal records first, so that a difference is not passed on from one spawn to the next.
    let same: [fn(&Record, &Record) -> bool; 3] = [
        |a, b| a.call == b.call && result(a) == result(b),
        |a, b| a.call == b.call,
        |a, b| a.call.program == b.call.program,
    ];
    let mut of_a = vec![None; a.len()];
    for same in same {
        for (at, record) in a.iter().enumerate().filter(|(_, r)| !r.call.program.is_empty()) {
            if of_a[at].is_some() {
                continue;
            }
            let other =
                (0..b.len()).find(|other| of_b[*other].is_none() && same(record, &b[*other]));
            if let Some(other) = other {
                of_a[at] = Some(other);
                of_b[other] = Some(at);
            }
        }
    }
    let firsts = a.iter().zip(&of_a).map(|(record, other)| (Some(record), other.map(|at| &b[at])));
    let lone = b.iter().zip(&of_b).filter(|(_, other)| other.is_none());
    firsts.chain(lone.map(|(record, _)| (None, Some(record)))).collect()
}

/// What came of a spawn, without what depends on when it ran.
fn result(record: &Record) -> (String, &Taped, &Taped, Vec<FileChange>) {
    let files = record.files.iter().map(timeless).collect();
    (record.status.to_string(), &record.stdout, &record.stderr, files)
}

fn timeless(file: &FileChange) -> FileChange {
    FileChange { mtime_ns: None, ..file.clone() }
}

fn fields(a: &Record, b: &Record, mode: CompareMode, found: &mut Vec<Divergence>) {
    let call = command_line(&a.call);
    let mut field = |field: &'static str, a_text: String, b_text: String| {
        if a_text != b_text {
            found.push(Divergence::Field {
                sequence_a: a.sequence,
                sequence_b: b.sequence,
                call: call.clone(),
                field,
                a: a_text,
                b: b_text,
            });
        }
    };
    if a.call != b.call {
        field("call", described(&a.call), described(&b.call));
    }
    field("status", a.status.to_string(), b.status.to_string());
    if mode == CompareMode::Outcome {
        return;
    }
    let all = mode == CompareMode::ByteIdentical;
    if all {
        field("sequence", a.sequence.to_string(), b.sequence.to_string());
        field("duration_ns", a.duration_ns.to_string(), b.duration_ns.to_string());
    }
    field("stdin", input(a), input(b));
    field("route", a.route.to_string(), b.route.to_string());
    field("module", a.module.clone().unwrap_or_default(), b.module.clone().unwrap_or_default());
    if a.stdout != b.stdout {
        let (a, b) = two(&a.stdout, &b.stdout);
        field("stdout", a, b);
    }
    if a.stderr != b.stderr {
        let (a, b) = two(&a.stderr, &b.stderr);
        field("stderr", a, b);
    }
    let files = |record: &Record| -> Vec<FileChange> {
        record.files.iter().map(|f| if all { f.clone() } else { timeless(f) }).collect()
    };
    let (files_a, files_b) = (files(a), files(b));
    if files_a != files_b {
        let list = |own: &[FileChange], other: &[FileChange]| {
            let different = own.iter().filter(|file| !other.contains(file)).map(file_line);
            different.collect::<Vec<_>>().join("\n")
        };
        field("files", list(&files_a, &files_b), list(&files_b, &files_a));
    }
}

fn described(call: &TapedCall) -> String {
    let mut text = format!("{} (in {})", command_line(call), call.cwd);
    for (name, value) in &call.env {
        match value {
            Some(value) => text += &format!(" {name}={value}"),
            None => text += &format!(" -{name}"),
        }
    }
    text
}

fn input(record: &Record) -> String {
    let input = &record.stdin;
    let mut text = format!("{} bytes", input.size_bytes);
    if let Some(digest) = &input.blake3 {
        text += &format!(" of BLAKE3 {digest}");
    }
    if input.cut {
        text += ", not to the end";
    }
    if input.unseen {
        text += ", unseen";
    }
    text
}

/// Two texts so that they differ also when shown.
fn two(a: &Taped, b: &Taped) -> (String, String) {
    (content_text(a), content_text(b))
}

/// Text as it is, if it is short; else size and digest.
pub(crate) fn content_text(content: &Taped) -> String {
    const SHOWN_BYTES_MAX: usize = 2000;
    let is_text = std::str::from_utf8(content.bytes()).is_ok();
    if is_text && content.bytes().len() <= SHOWN_BYTES_MAX {
        return format!("{:?}", content.to_string()).replace("\\n", "\\n\n").trim_end().to_owned();
    }
    let digest = blake3::hash(content.bytes()).to_hex();
    format!("{} bytes of BLAKE3 {digest}", content.bytes().len())
}

/// One line about a change.
pub(crate) fn file_line(file: &FileChange) -> String {
    let mut line = format!("{} {}", file.op.letter(), file.path);
    if file.kind == FileKind::Dir {
        line.push('/');
    }
    if let Some(from) = &file.from {
        line += &format!(" (was {from})");
    }
    if let Some(link) = &file.link {
        line += &format!(" (also {link})");
    }
    if let Some(target) = &file.target {
        line += &format!(" -> {target}");
    }
    if let Some(mode) = file.mode {
        line += &format!(" {mode:04o}");
    }
    if let Some(content) = &file.content {
        line += &format!(" {} bytes", content.bytes().len());
        line += &format!(" {:.12}", blake3::hash(content.bytes()).to_hex());
    }
    if let Some(mtime) = file.mtime_ns {
        line += &format!(" at {mtime} ns");
    }
    line
}

/// What all changes together leave.
fn outcome(a: &Tape, b: &Tape, found: &mut Vec<Divergence>) {
    let (a, b) = (last_states(a), last_states(b));
    let paths: BTreeSet<&Taped> = a.keys().chain(b.keys()).copied().collect();
    for path in paths {
        let (a, b) = (a.get(path), b.get(path));
        if a != b {
            let text = |left: Option<&Option<Left<'_>>>| match left {
                None => "as it was".to_owned(),
                Some(None) => "nothing".to_owned(),
                Some(Some(left)) => left.to_string(),
            };
            found.push(Divergence::File { path: path.to_string(), a: text(a), b: text(b) });
        }
    }
}

/// What is at a path in the end.
#[derive(Clone, PartialEq, Eq)]
struct Left<'t> {
    kind: FileKind,
    mode: Option<u32>,
    /// `None` for what was there before.
    content: Option<&'t Taped>,
    target: Option<&'t Taped>,
}

impl fmt::Display for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FileKind::File => "file",
            FileKind::Dir => "directory",
            FileKind::Symlink => "symlink",
            FileKind::Special => "special file",
        })?;
        if let Some(mode) = self.mode {
            write!(f, " {mode:04o}")?;
        }
        if let Some(target) = self.target {
            write!(f, " -> {target}")?;
        }
        match self.content {
            Some(content) => write!(f, " {}", content_text(content)),
            None => Ok(()),
        }
    }
}

fn last_states(tape: &Tape) -> BTreeMap<&Taped, Option<Left<'_>>> {
    let mut states: BTreeMap<&Taped, Option<Left<'_>>> = BTreeMap::new();
    for file in tape.records().iter().flat_map(|record| &record.files) {
        let before = states.get(&file.path).and_then(Option::as_ref);
        let left = (file.op != FileOp::Delete).then(|| Left {
            kind: file.kind,
            mode: file.mode,
            // Metadata alone leaves what an earlier spawn wrote.
            content: file.content.as_ref().or_else(|| before.and_then(|before| before.content)),
            target: file.target.as_ref().or_else(|| before.and_then(|before| before.target)),
        });
        states.insert(&file.path, left);
    }
    states
}
