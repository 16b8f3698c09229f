//! What stands on a tape, format version 1: a [`Header`], then one [`Record`] for each spawn.
//!
//! Every type here is one object of the JSON, its fields in the order in which they are written;
//! `docs/TAPE_FORMAT.md` is the specification. How lines become a file is in `store.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};
use testbench_clock::WallTime;
use testbench_overlay::FileKind;
use testbench_overlay::diff::Side;
use testbench_wasi::Exit;

use super::Taped;

/// What stands in `format`.
pub(crate) const FORMAT: &str = "testbench-tape";
/// What stands in `version`.
pub(crate) const VERSION: u64 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Header {
    /// Always `testbench-tape`.
    pub(crate) format: String,
    /// The version of the format.
    pub(crate) version: u64,
    /// What ran the guests, such as `testbench 0.1.0`.
    pub engine: String,
    /// The modules that ran, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<ModuleUsed>,
    /// The session's seed.
    pub seed: u64,
    /// The wall time of the session's clock at its start, in nanoseconds since 1970.
    pub start_unix_ns: i64,
    /// Whether another run gives the same tape: no native child took part.
    pub reproducible: bool,
    /// How many records follow, by which a tape that was cut off is known.
    pub spawns: usize,
}

impl Header {
    /// Of a session that ran here.
    pub(crate) fn new(seed: u64, start: WallTime) -> Header {
        Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            engine: concat!("testbench ", env!("CARGO_PKG_VERSION")).to_owned(),
            modules: Vec::new(),
            seed,
            start_unix_ns: i64::try_from(start.unix_nanos()).unwrap_or(i64::MAX),
            reproducible: true,
            spawns: 0,
        }
    }

    /// The wall time of the session's clock at its start.
    pub fn start(&self) -> WallTime {
        WallTime::from_unix_nanos(self.start_unix_ns.into())
    }
}

/// A module that ran.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModuleUsed {
    /// The program's name in the toolchain.
    pub name: String,
    /// BLAKE3 of the `.wasm` file, in hexadecimal.
    pub blake3: String,
}

/// One spawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record {
    /// Its place in the order of the session's spawns. Those that were refused have a number but no
    /// record.
    pub sequence: u32,
    /// What was called.
    pub call: TapedCall,
    /// What it read.
    #[serde(default, skip_serializing_if = "Input::is_empty")]
    pub stdin: Input,
    /// Which way it went.
    pub route: Way,
    /// BLAKE3 of the guest's module, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// How it ended.
    pub status: TapedStatus,
    /// What it wrote to standard output.
    #[serde(default, skip_serializing_if = "Taped::is_empty")]
    pub stdout: Taped,
    /// What it wrote to standard error.
    #[serde(default, skip_serializing_if = "Taped::is_empty")]
    pub stderr: Taped,
    /// How far the session's clock moved from its start to its end.
    pub duration_ns: u64,
    /// What it changed, in the order of the paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileChange>,
}

/// What a spawn is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TapedCall {
    /// The program, as it was called.
    pub program: Taped,
    /// The arguments, the name that it sees as its own first.
    pub argv: Vec<Taped>,
    /// The working directory: relative to the root if inside of it, `.` being the root itself.
    pub cwd: Taped,
    /// The variables that count, ordered by name; `None` for one that was taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(Taped, Option<Taped>)>,
}

/// What a child read from its standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Input {
    /// How many bytes it read, without those for which marks stand.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// The [`digest`](Input::digest) of what it read; none if nobody saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// It did not read to the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Nobody saw what it read: it was the input of this process, or a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
    /// What it read, unless the tape was made without inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Taped>,
}

impl Input {
    /// Whether there was none: it read to the end of nothing.
    pub fn is_empty(&self) -> bool {
        self.size_bytes == 0 && !self.cut && !self.unseen
    }

    /// The digest of what was read, on which neither the root's path nor a secret has any influence:
    /// BLAKE3, in hexadecimal, of the bytes with the byte `0xff` and the text of the mark in the
    /// place of each mark.
    pub fn digest(content: &Taped) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut from = 0;
        for (at, mark) in content.marks() {
            hasher.update(&content.bytes()[from..at]);
            // A byte that no UTF-8 text has, so that text is not taken for a mark.
            hasher.update(&[0xff]);
            hasher.update(mark.to_string().as_bytes());
            from = at;
        }
        hasher.update(&content.bytes()[from..]);
        hasher.finalize().to_hex().to_string()
    }
}

/// Which way a spawn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Way {
    /// A module ran.
    Guest,
    /// The host's program ran.
    Native,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Guest => "guest",
            Way::Native => "native",
        })
    }
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TapedStatus {
    /// By itself, with this code: the whole of it, of which a parent sees eight bits.
    Code(u32),
    /// By this signal.
    Signal {
        /// Its number on Linux.
        number: i32,
        /// What a guest did to be ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Taped>,
    },
    /// It did not start.
    NotStarted {
        /// The name of the [`std::io::ErrorKind`].
        kind: String,
        /// What the host said.
        message: Taped,
    },
}

impl TapedStatus {
    /// The end of a child that ended like this; `tape` makes text of the reason.
    pub(crate) fn of(exit: &Exit, tape: impl FnOnce(&str) -> Taped) -> TapedStatus {
        match exit {
            Exit::Code(code) => TapedStatus::Code(*code),
            Exit::Signal(number) => TapedStatus::Signal { number: *number, why: None },
            // The first line: below it is the backtrace, which a change of the tool changes.
            other => {
                let text = other.to_string();
                let why = Some(tape(text.lines().next().unwrap_or_default()));
                TapedStatus::Signal { number: other.signal().unwrap_or_default(), why }
            }
        }
    }

    /// The end of the child, as far as the tape has it; `None` if there was no child.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self {
            TapedStatus::Code(code) => Some(Exit::Code(*code)),
            TapedStatus::Signal { number, .. } => Some(Exit::Signal(*number)),
            TapedStatus::NotStarted { .. } => None,
        }
    }
}

impl fmt::Display for TapedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TapedStatus::Code(code) => write!(f, "exit {code}"),
            TapedStatus::Signal { number, why: None } => write!(f, "signal {number}"),
            TapedStatus::Signal { number, why: Some(why) } => write!(f, "signal {number} ({why})"),
            TapedStatus::NotStarted { kind, message } => {
                write!(f, "not started: {kind} ({message})")
            }
        }
    }
}

/// What a child left at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileChange {
    /// From the root, which is `.`.
    pub path: Taped,
    /// What happened there.
    pub op: FileOp,
    /// What is there now, or was if it is gone.
    #[serde(with = "Kind")]
    pub kind: FileKind,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "mode")]
    pub mode: Option<u32>,
    /// The whole content of a file, unless it did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Taped>,
    /// What a symlink holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Taped>,
    /// Where it was before: it is the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Taped>,
    /// The other path of the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Taped>,
    /// It is another file than the one of this path before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// The time of its last change, counted from the start of the session's clock, if that is not
    /// the end of the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<i64>,
}

/// What happened at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileOp {
    /// Something is there now.
    Add,
    /// The content changed.
    Modify,
    /// Permission bits or times changed, the content did not.
    Meta,
    /// Something of another kind is there.
    Retype,
    /// Nothing is there any more.
    Delete,
}

impl FileOp {
    /// As in a diff's summary.
    pub(crate) fn letter(self) -> char {
        match self {
            FileOp::Add => 'A',
            FileOp::Modify | FileOp::Meta => 'M',
            FileOp::Retype => 'T',
            FileOp::Delete => 'D',
        }
    }
}

impl FileChange {
    /// What is at the path afterwards, with `expand` giving the bytes of what is taped; `None` for
    /// nothing. The content of a file that kept it is not read.
    pub(crate) fn side(&self, expand: impl Fn(&Taped) -> Vec<u8>) -> Option<Side> {
        if self.op == FileOp::Delete {
            return None;
        }
        let mode = self.mode.unwrap_or(0o644);
        Some(match (self.kind, &self.content, &self.target) {
            (FileKind::Dir, ..) => Side::dir(mode),
            (FileKind::Symlink, _, Some(target)) => Side::symlink(expand(target)),
            (FileKind::Symlink, _, None) => Side::unread_symlink(),
            (FileKind::Special, ..) => Side::special(mode),
            (FileKind::File, Some(content), _) => Side::file(mode, expand(content)),
            (FileKind::File, None, _) => Side::unread_file(mode),
        })
    }
}

impl Record {
    /// Everything that may be large or hold secrets.
    pub(crate) fn texts(&self) -> Vec<&Taped> {
        let call = &self.call;
        let mut texts = vec![&call.program, &call.cwd, &self.stdout, &self.stderr];
        texts.extend(&call.argv);
        texts.extend(
            call.env.iter().flat_map(|(name, value)| [Some(name), value.as_ref()]).flatten(),
        );
        texts.extend(&self.stdin.content);
        texts.extend(self.status.text());
        for file in &self.files {
            texts.push(&file.path);
            texts.extend(
                [&file.content, &file.target, &file.from, &file.link].into_iter().flatten(),
            );
        }
        texts
    }

    /// The same, to be read from payloads.
    pub(crate) fn texts_mut(&mut self) -> Vec<&mut Taped> {
        let call = &mut self.call;
        let mut texts = vec![&mut call.program, &mut call.cwd, &mut self.stdout, &mut self.stderr];
        texts.extend(&mut call.argv);
        for (name, value) in &mut call.env {
            texts.push(name);
            texts.extend(value);
        }
        texts.extend(&mut self.stdin.content);
        texts.extend(self.status.text_mut());
        for file in &mut self.files {
            texts.push(&mut file.path);
            let FileChange { content, target, from, link, .. } = file;
            texts.extend([content, target, from, link].into_iter().flatten());
        }
        texts
    }
}

impl TapedStatus {
    fn text(&self) -> Option<&Taped> {
        match self {
            TapedStatus::Code(_) => None,
            TapedStatus::Signal { why, .. } => why.as_ref(),
            TapedStatus::NotStarted { message, .. } => Some(message),
        }
    }

    fn text_mut(&mut self) -> Option<&mut Taped> {
        match self {
            TapedStatus::Code(_) => None,
            TapedStatus::Signal { why, .. } => why.as_mut(),
            TapedStatus::NotStarted { message, .. } => Some(message),
        }
    }
}

/// `file`, `dir`, `symlink` or `special`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FileKind", rename_all = "lowercase")]
enum Kind {
    File,
    Dir,
    Symlink,
    Special,
}

/// Four octal digits in a string, as in the JSON of a diff.
mod mode {
    use serde::de::{Deserialize as _, Deserializer, Error as _, Unexpected};
    use serde::ser::{Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        mode: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        mode.map(|mode| format!("{mode:04o}")).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let is_octal = text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if is_octal => Ok(Some(mode)),
            _ => Err(D::Error::invalid_value(Unexpected::Str(&text), &"four octal digits")),
        }
    }
}
