//! The JSON, version 1: writing, reading, and checking what is read.

use std::io;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::document::{Document, Record};
use super::model::{Diff, Op};
use super::text::Hunk;
use crate::{FileKind, GuestPath};

const FORMAT: &str = "testbench-overlay-diff";
const VERSION: u64 = 1;

/// Why a text is not the JSON of a [`Diff`].
///
/// ```
/// use testbench_overlay::diff::{Document, JsonError};
///
/// let error = Document::from_json(r#"{"format":"something else","version":1}"#).unwrap_err();
/// assert!(matches!(error, JsonError::Format { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is no JSON, or lacks something, or has something that version 1 does not know.
    #[error("the JSON of a diff is damaged: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is JSON of another kind.
    #[error(
        "this is not the JSON of a diff: `format` is {}, not `{FORMAT}`",
        .found.as_ref().map_or("missing".to_owned(), |found| format!("`{found}`"))
    )]
    Format {
        /// The value of `format`, if it is a string.
        found: Option<String>,
    },
    /// It is of a version that this program does not know.
    #[error(
        "the JSON of a diff is of version {found}, this program reads version {VERSION}: use the one that wrote it, or a newer one"
    )]
    Version {
        /// The value of `version`.
        found: u64,
    },
    /// An entry contradicts itself.
    #[error("the JSON of a diff is damaged: entry {index} (`{}`): {problem}", GuestPath::new(path))]
    Entry {
        /// Which one, from 0.
        index: usize,
        /// Its path.
        path: Box<[u8]>,
        /// The contradiction.
        problem: EntryProblem,
    },
}

/// The kind is [`io::ErrorKind::InvalidData`].
impl From<JsonError> for io::Error {
    fn from(error: JsonError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// How an entry of the JSON contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// A path is not relative to the root.
    #[error(
        "a path is empty, absolute, ends with a slash, or has a component that is empty, `.` or `..`"
    )]
    Path,
    /// The operation and the sides or paths that are there do not go together.
    #[error("the operation does not go with the fields that are there")]
    Fields,
    /// A hash is not one.
    #[error("`sha256` is not 64 lower-case hexadecimal digits")]
    Hash,
    /// A hunk does not have the lines that it announces, or they are marked otherwise.
    #[error("a hunk does not have the lines that it announces")]
    Hunk,
    /// The entries are not in the order of their paths.
    #[error("it stands behind an entry that it belongs before")]
    Order,
}

impl Document {
    /// Reads JSON that [`Diff::to_json`] or the `Serialize` of [`Diff`] wrote.
    ///
    /// # Errors
    ///
    /// See [`JsonError`]: damaged JSON, JSON of something else, JSON of a newer version.
    pub fn from_json(json: &str) -> Result<Document, JsonError> {
        let head: Head = serde_json::from_str(json)?;
        head.check()?;
        let body: Body = serde_json::from_str(json)?;
        check(body.entries)
    }

    /// Returns the JSON of version 1, with one entry on each line. It ends with a line feed.
    pub fn to_json(&self) -> String {
        let mut out = format!("{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"entries\":[");
        for (n, record) in self.records.iter().enumerate() {
            out.push_str(if n == 0 { "\n" } else { ",\n" });
            out += &serde_json::to_string(record).expect("a record is strings and numbers");
        }
        out.push_str("]}\n");
        out
    }
}

impl Diff {
    /// Returns the JSON, with one entry on each line. It ends with a line feed, also for an empty diff.
    /// [`Document::from_json`] reads it back.
    pub fn to_json(&self) -> String {
        self.document().to_json()
    }
}

/// The fields that tell the format; all others are ignored.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(default)]
    format: serde_json::Value,
    #[serde(default)]
    version: serde_json::Value,
}

impl Head {
    fn check(&self) -> Result<(), JsonError> {
        match self.format.as_str() {
            Some(FORMAT) => {}
            other => return Err(JsonError::Format { found: other.map(str::to_owned) }),
        }
        match self.version.as_u64() {
            Some(VERSION) => Ok(()),
            Some(found) => Err(JsonError::Version { found }),
            None => Err(serde_json::Error::custom("`version` is not a number").into()),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "format")]
    _format: IgnoredAny,
    #[serde(rename = "version")]
    _version: IgnoredAny,
    entries: Vec<Record>,
}

fn check(records: Vec<Record>) -> Result<Document, JsonError> {
    let mut previous: Option<&Record> = None;
    for (index, record) in records.iter().enumerate() {
        let ordered = previous.is_none_or(|previous| place(previous) <= place(record));
        let problem = problem(record).or((!ordered).then_some(EntryProblem::Order));
        if let Some(problem) = problem {
            return Err(JsonError::Entry { index, path: record.path.clone(), problem });
        }
        previous = Some(record);
    }
    Ok(Document { records })
}

/// The root comes first.
fn place(record: &Record) -> &[u8] {
    if *record.path == *b"." { b"" } else { &record.path }
}

fn problem(record: &Record) -> Option<EntryProblem> {
    let mut paths = [Some(&record.path), record.from.as_ref(), record.to.as_ref()].into_iter();
    let mut sides = [&record.old, &record.new].into_iter().flatten();
    let mut hunks = record.text.iter().flat_map(|text| &text.hunks);
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(is_digit);
    let checks = [
        (paths.all(|path| path.is_none_or(|path| is_relative(path))), EntryProblem::Path),
        (fields_go_together(record), EntryProblem::Fields),
        (sides.all(|side| side.sha256.as_ref().is_none_or(is_hash)), EntryProblem::Hash),
        (hunks.all(is_consistent), EntryProblem::Hunk),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, problem)| problem)
}

fn is_relative(path: &[u8]) -> bool {
    let is_name = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    path == b"." || path.split(|byte| *byte == b'/').all(is_name)
}

fn fields_go_together(record: &Record) -> bool {
    let sides = (record.old.is_some(), record.new.is_some());
    let moved = record.from.is_some();
    let goes = match record.op {
        Op::Add => sides == (false, true) && !moved,
        Op::Delete => sides == (true, false) && !moved,
        Op::Retype => sides == (true, true) && !moved,
        Op::Modify | Op::Meta => sides == (true, true),
        Op::Rename => sides.0 == sides.1 && moved,
        Op::Link => !moved,
    };
    let text_sides = record.text.as_ref().is_none_or(|text| {
        (text.old_eol.is_some(), text.new_eol.is_some()) == sides && record.kind == FileKind::File
    });
    goes && text_sides && (record.to.is_some() == (record.op == Op::Link))
}

fn is_consistent(hunk: &Hunk) -> bool {
    let count =
        |marks: [char; 2]| hunk.lines.iter().filter(|line| line.starts_with(marks)).count() as u64;
    hunk.lines.iter().all(|line| line.starts_with([' ', '-', '+']))
        && count([' ', '-']) == hunk.old_lines
        && count([' ', '+']) == hunk.new_lines
}

/// As [`Diff::document`] does.
impl Serialize for Diff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document().serialize(serializer)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diff", 3)?;
        out.serialize_field("format", FORMAT)?;
        out.serialize_field("version", &VERSION)?;
        out.serialize_field("entries", &self.records)?;
        out.end()
    }
}

/// Checks like [`Document::from_json`]; the errors are those of the deserializer.
impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        // The version decides how the entries are read, so they wait until it is known.
        let whole = serde_json::Value::deserialize(deserializer)?;
        let head = Head::deserialize(&whole).map_err(D::Error::custom)?;
        head.check().map_err(D::Error::custom)?;
        let body = Body::deserialize(whole).map_err(D::Error::custom)?;
        check(body.entries).map_err(D::Error::custom)
    }
}
