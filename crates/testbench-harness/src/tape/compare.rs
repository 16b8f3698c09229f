//! [`compare`]: the differences between two tapes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use testbench_overlay::FileKind;

use super::calls::command_line;
use super::format::{FileChange, FileOp, Header, Record, TapedCall};
use super::{Tape, Taped};

/// The parts of two tapes that must be equal, the strictest mode first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CompareMode {
    /// Everything.
    #[default]
    ByteIdentical,
    /// Everything but the order of the spawns and their numbers, and their durations with the times
    /// that follow from them.
    Semantic,
    /// The files at the end, and the status of each spawn.
    Outcome,
}

/// A difference between two tapes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Divergence {
    /// The headers differ.
    Header {
        /// The field that differs.
        field: &'static str,
        /// The first tape's value.
        a: String,
        /// The second tape's value.
        b: String,
    },
    /// A spawn is on one tape only.
    Spawn {
        /// The tape that has it.
        only_on: Side,
        /// Its number there.
        sequence: u32,
        /// Its command line.
        call: String,
    },
    /// A spawn that is on both tapes differs.
    Field {
        /// Its number on the first tape.
        sequence_a: u32,
        /// Its number on the second tape.
        sequence_b: u32,
        /// Its command line on the first tape.
        call: String,
        /// The field that differs.
        field: &'static str,
        /// The first tape's value.
        a: String,
        /// The second tape's value.
        b: String,
    },
    /// A file is not the same in the end.
    File {
        /// Its path.
        path: String,
        /// Its state after the first tape.
        a: String,
        /// Its state after the second tape.
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

/// Returns the differences between `a` and `b` that the mode compares; none if they are equal.
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
    for (field, most_lenient, text) in HEADER_FIELDS {
        let (a, b) = (text(a.header()), text(b.header()));
        if mode as u8 <= most_lenient as u8 && a != b {
            found.push(Divergence::Header { field, a, b });
        }
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

/// A field: its name, the most lenient mode that compares it, and its text.
type Field<T> = (&'static str, CompareMode, fn(&T) -> String);

/// The fields of a header.
const HEADER_FIELDS: [Field<Header>; 5] = [
    ("engine", CompareMode::Semantic, |header| header.engine.clone()),
    ("modules", CompareMode::Semantic, |header| {
        let modules = header.modules.iter();
        joined(modules.map(|module| format!("{} {}", module.name, module.blake3)))
    }),
    ("seed", CompareMode::Semantic, |header| header.seed.to_string()),
    ("start_unix_ns", CompareMode::Semantic, |header| header.start_unix_ns.to_string()),
    ("reproducible", CompareMode::ByteIdentical, |header| header.reproducible.to_string()),
];

/// The fields of a record, but for its files.
const FIELDS: [Field<Record>; 9] = [
    ("call", CompareMode::Outcome, |record| described(&record.call)),
    ("status", CompareMode::Outcome, |record| record.status.to_string()),
    ("sequence", CompareMode::ByteIdentical, |record| record.sequence.to_string()),
    ("duration_ns", CompareMode::ByteIdentical, |record| record.duration_ns.to_string()),
    ("stdin", CompareMode::Semantic, input),
    ("route", CompareMode::Semantic, |record| record.route.to_string()),
    ("module", CompareMode::Semantic, |record| record.module.clone().unwrap_or_default()),
    ("stdout", CompareMode::Semantic, |record| content_text(&record.stdout)),
    ("stderr", CompareMode::Semantic, |record| content_text(&record.stderr)),
];

fn fields(a: &Record, b: &Record, mode: CompareMode, found: &mut Vec<Divergence>) {
    let compared = FIELDS.iter().filter(|(_, most_lenient, _)| mode as u8 <= *most_lenient as u8);
    let mut texts: Vec<_> = compared.map(|(field, _, text)| (*field, text(a), text(b))).collect();
    if mode != CompareMode::Outcome {
        texts.push(("files", own_files(a, b, mode), own_files(b, a, mode)));
    }
    for (field, text_a, text_b) in texts.into_iter().filter(|(_, a, b)| a != b) {
        found.push(Divergence::Field {
            sequence_a: a.sequence,
            sequence_b: b.sequence,
            call: command_line(&a.call),
            field,
            a: text_a,
            b: text_b,
        });
    }
}

/// The changes of a record that another one does not have.
fn own_files(own: &Record, other: &Record, mode: CompareMode) -> String {
    let compared = |record: &Record| match mode {
        CompareMode::ByteIdentical => record.files.clone(),
        _ => record.files.iter().map(timeless).collect(),
    };
    let other = compared(other);
    joined(compared(own).iter().filter(|file| !other.contains(file)).map(file_line))
}

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn lone(only_on: Side, record: &Record) -> Divergence {
    Divergence::Spawn { only_on, sequence: record.sequence, call: command_line(&record.call) }
}

type Pair<'t> = (Option<&'t Record>, Option<&'t Record>);

/// Pairs the records of the same spawn, in the order of the first tape and then of the second.
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

/// The result of a spawn, without the times.
fn result(record: &Record) -> (String, &Taped, &Taped, Vec<FileChange>) {
    let files = record.files.iter().map(timeless).collect();
    (record.status.to_string(), &record.stdout, &record.stderr, files)
}

fn timeless(file: &FileChange) -> FileChange {
    FileChange { mtime_ns: None, ..file.clone() }
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
    for (before, text, after) in
        [(" (was ", &file.from, ")"), (" (also ", &file.link, ")"), (" -> ", &file.target, "")]
    {
        if let Some(text) = text {
            line += &format!("{before}{text}{after}");
        }
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

/// Compares the files as all changes together leave them.
fn outcome(a: &Tape, b: &Tape, found: &mut Vec<Divergence>) {
    let (a, b) = (last_states(a), last_states(b));
    let paths: BTreeSet<&Taped> = a.keys().chain(b.keys()).copied().collect();
    for path in paths {
        let text = |states: &BTreeMap<&Taped, String>| {
            states.get(path).cloned().unwrap_or_else(|| "as it was".to_owned())
        };
        let (a, b) = (text(&a), text(&b));
        if a != b {
            found.push(Divergence::File { path: path.to_string(), a, b });
        }
    }
}

/// The last state of each path that a spawn changed, as text.
fn last_states(tape: &Tape) -> BTreeMap<&Taped, String> {
    let mut states = BTreeMap::new();
    // The target and the content of each path, where a spawn has set them.
    let mut contents: BTreeMap<&Taped, [Option<&Taped>; 2]> = BTreeMap::new();
    for file in tape.records().iter().flat_map(|record| &record.files) {
        if file.op == FileOp::Delete {
            contents.remove(&file.path);
            states.insert(&file.path, "nothing".to_owned());
            continue;
        }
        // Metadata alone leaves the content that an earlier spawn wrote.
        let [target, content] = contents.entry(&file.path).or_default();
        *target = file.target.as_ref().or(*target);
        *content = file.content.as_ref().or(*content);
        let mut state = match file.kind {
            FileKind::File => "file",
            FileKind::Dir => "directory",
            FileKind::Symlink => "symlink",
            FileKind::Special => "special file",
        }
        .to_owned();
        if let Some(mode) = file.mode {
            state += &format!(" {mode:04o}");
        }
        if let Some(target) = target {
            state += &format!(" -> {target}");
        }
        if let Some(content) = content {
            state += &format!(" {}", content_text(content));
        }
        states.insert(&file.path, state);
    }
    states
}
