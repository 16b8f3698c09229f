//! [`compare`]: the differences between two tapes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use testbench_overlay::FileKind;
use testbench_overlay::diff::{Change, Diff, Op, Side};

use super::calls::command_line;
use super::format::{FileChange, Header, Record, TapedCall};
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

/// A difference between two tapes, or between a tape and a guest.
///
/// Its `Display` is for people: `WHAT: OLD -> NEW`, or the changed lines below `WHAT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Divergence {
    /// The thing that differs, such as `header: seed` or `` spawn 3 `cat a`: stdout ``.
    pub what: String,
    /// Both values, for people.
    pub shown: String,
}

impl Divergence {
    /// The difference of two texts; `None` if they are equal.
    pub(crate) fn of(what: impl fmt::Display, a: &str, b: &str) -> Option<Divergence> {
        let lines = || {
            let change =
                Change::changed("x", Side::file(0, a.as_bytes()), Side::file(0, b.as_bytes()));
            let diff = Diff::from_changes([change]).to_string();
            diff.find("\n@@ ").map(|at| diff[at + 1..].trim_end().to_owned())
        };
        let hunks = if a.contains('\n') || b.contains('\n') { lines() } else { None };
        let shown = || hunks.unwrap_or_else(|| format!("{a} -> {b}"));
        (a != b).then(|| Divergence { what: what.to_string(), shown: shown() })
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown.contains('\n') {
            true => write!(f, "{}\n  {}", self.what, self.shown.replace('\n', "\n  ")),
            false => write!(f, "{}: {}", self.what, self.shown),
        }
    }
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
    let mut found: Vec<_> =
        differences("header", &HEADER_FIELDS, a.header(), b.header(), mode).collect();
    for pair in pairs(a.records(), b.records(), mode) {
        let name = |number: &str, record: &Record| {
            format!("spawn {number} `{}`", command_line(&record.call))
        };
        match pair {
            (Some(a), Some(b)) => {
                let number = match (a.sequence, b.sequence) {
                    (a, b) if a == b => a.to_string(),
                    (a, b) => format!("{a}/{b}"),
                };
                found.extend(differences(&name(&number, a), &FIELDS, a, b, mode));
            }
            (Some(record), None) | (None, Some(record)) => {
                let what = name(&record.sequence.to_string(), record);
                let side = if pair.0.is_some() { "first" } else { "second" };
                found.push(Divergence { what, shown: format!("on the {side} tape only") });
            }
            (None, None) => {}
        }
    }
    if mode == CompareMode::Outcome {
        let (a, b) = (last_states(a), last_states(b));
        let paths: BTreeSet<&Taped> = a.keys().chain(b.keys()).copied().collect();
        found.extend(paths.into_iter().filter_map(|path| {
            let [a, b] = [&a, &b].map(|states| states.get(path).map_or("as it was", |s| s));
            Divergence::of(format_args!("file {path}"), a, b)
        }));
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

/// The fields of a record.
const FIELDS: [Field<Record>; 11] = [
    ("call", CompareMode::Outcome, |record| described(&record.call)),
    ("status", CompareMode::Outcome, |record| record.status.to_string()),
    ("sequence", CompareMode::ByteIdentical, |record| record.sequence.to_string()),
    ("duration_ns", CompareMode::ByteIdentical, |record| record.duration_ns.to_string()),
    ("stdin", CompareMode::Semantic, input),
    ("route", CompareMode::Semantic, |record| record.route.to_string()),
    ("module", CompareMode::Semantic, |record| record.module.clone().unwrap_or_default()),
    ("stdout", CompareMode::Semantic, |record| content_text(&record.stdout.shown())),
    ("stderr", CompareMode::Semantic, |record| content_text(&record.stderr.shown())),
    ("files", CompareMode::Semantic, |record| {
        let timeless = |file: &FileChange| FileChange { mtime_ns: None, ..file.clone() };
        joined(record.files.iter().map(|file| file_line(&timeless(file))))
    }),
    ("file times", CompareMode::ByteIdentical, |record| {
        let times = record.files.iter().filter_map(|file| Some((&file.path, file.mtime_ns?)));
        joined(times.map(|(path, ns)| format!("{path} at {ns} ns")))
    }),
];

fn differences<'t, T>(
    what: &'t str,
    fields: &'t [Field<T>],
    a: &'t T,
    b: &'t T,
    mode: CompareMode,
) -> impl Iterator<Item = Divergence> + 't {
    let compared = fields.iter().filter(move |(_, lenient, _)| mode as u8 <= *lenient as u8);
    compared.filter_map(move |(field, _, text)| {
        Divergence::of(format_args!("{what}: {field}"), &text(a), &text(b))
    })
}

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

type Pair<'t> = (Option<&'t Record>, Option<&'t Record>);

/// Pairs the records of the same spawn, in the order of the first tape and then of the second. If the
/// order counts, spawns are the same that have the same place in it.
fn pairs<'t>(a: &'t [Record], b: &'t [Record], mode: CompareMode) -> Vec<Pair<'t>> {
    let same: &[fn(&Record, &Record) -> bool] = match mode {
        CompareMode::ByteIdentical => &[|_, _| true],
        // Equal records first, so that a difference is not passed on from one spawn to the next.
        _ => &[
            |a, b| {
                let mut differences = differences("", &FIELDS, a, b, CompareMode::Semantic);
                a.call == b.call && differences.next().is_none()
            },
            |a, b| a.call == b.call,
            |a, b| a.call.program == b.call.program,
        ],
    };
    let mut pairs: Vec<Pair<'_>> = a.iter().map(|record| (Some(record), None)).collect();
    let mut left: Vec<&Record> = b.iter().collect();
    for same in same {
        for (record, other) in pairs.iter_mut().filter(|(_, other)| other.is_none()) {
            let at = left.iter().position(|other| record.is_some_and(|record| same(record, other)));
            *other = at.map(|at| left.remove(at));
        }
    }
    pairs.extend(left.into_iter().map(|record| (None, Some(record))));
    pairs
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

/// Text as it is; other bytes by size and digest.
pub(crate) fn content_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        _ => digest_text(bytes),
    }
}

/// Bytes that cannot be shown, by size and digest.
pub(crate) fn digest_text(bytes: &[u8]) -> String {
    format!("{} bytes of BLAKE3 {}", bytes.len(), blake3::hash(bytes).to_hex())
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

/// The last state of each path that a spawn changed, as text.
fn last_states(tape: &Tape) -> BTreeMap<&Taped, String> {
    let mut last: BTreeMap<&Taped, FileChange> = BTreeMap::new();
    for file in tape.records().iter().flat_map(|record| &record.files) {
        let mut now = file.clone();
        if let Some(before) = last.remove(&file.path).filter(|_| now.op != Op::Delete) {
            // Metadata alone leaves the content that an earlier spawn wrote.
            now.target = now.target.or(before.target);
            now.content = now.content.or(before.content);
        }
        last.insert(&file.path, now);
    }
    let text = |file: FileChange| match file.op {
        Op::Delete => "nothing".to_owned(),
        _ => {
            let mode = file.mode.map(|mode| format!(" {mode:04o}"));
            let target = file.target.map(|target| format!(" -> {target}"));
            let content =
                file.content.map(|content| format!("\n{}", content_text(&content.shown())));
            let kind = format!("{:?}", file.kind).to_lowercase();
            [Some(kind), mode, target, content].into_iter().flatten().collect()
        }
    };
    last.into_iter().map(|(path, file)| (path, text(file))).collect()
}
