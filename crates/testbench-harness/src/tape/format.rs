//! The content of a tape, format version 1: a [`Header`], then one [`Record`] for each spawn.
//!
//! Every type here is one object of the JSON, its fields in the order in which they are written;
//! `docs/TAPE_FORMAT.md` is the specification. How lines become a file is in `store.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};
use testbench_clock::WallTime;
use testbench_overlay::FileKind;
use testbench_overlay::diff::{Op, octal_mode};
use testbench_wasi::Exit;

use super::Taped;

/// The value of `format`.
pub(crate) const FORMAT: &str = "testbench-tape";
/// The value of `version`.
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
    /// The program that ran the guests, such as `testbench 0.1.0`.
    pub engine: String,
    /// The modules that ran, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<ModuleUsed>,
    /// The session's seed.
    pub seed: u64,
    /// The wall time of the session's clock at its start, in nanoseconds since 1970.
    pub start_unix_ns: i64,
    /// Whether another run gives the same tape, which holds if no native child took part.
    pub reproducible: bool,
    /// The number of records that follow. It shows whether the file was cut off.
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
    /// The call: program, arguments, environment, directory.
    pub call: TapedCall,
    /// The input that it read.
    #[serde(default, skip_serializing_if = "Input::is_empty")]
    pub stdin: Input,
    /// Whether a module or the host's program ran.
    pub route: Way,
    /// BLAKE3 of the guest's module, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// How it ended.
    pub status: TapedStatus,
    /// The bytes that it wrote to standard output.
    #[serde(default, skip_serializing_if = "Taped::is_empty")]
    pub stdout: Taped,
    /// The bytes that it wrote to standard error.
    #[serde(default, skip_serializing_if = "Taped::is_empty")]
    pub stderr: Taped,
    /// The time that passed on the session's clock from its start to its end.
    pub duration_ns: u64,
    /// The files that it changed, in the order of the paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileChange>,
}

/// The part of a spawn by which a replay finds its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TapedCall {
    /// The program, as it was called.
    pub program: Taped,
    /// The arguments, beginning with the name that the program sees as its own.
    pub argv: Vec<Taped>,
    /// The working directory, relative to the root if it lies inside; `.` is the root itself.
    pub cwd: Taped,
    /// The variables that count, ordered by name; `None` for a variable that was removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(Taped, Option<Taped>)>,
}

/// The input that a child read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Input {
    /// The number of bytes that it read, without those for which marks stand.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// The [`digest`](Input::digest) of the bytes; `None` if they were not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// The child did not read to the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The bytes were not seen: they came from this process's own input or from a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
    /// The bytes, unless the tape was made without inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Taped>,
}

impl Input {
    /// Whether the child had an empty input, or none.
    pub fn is_empty(&self) -> bool {
        self.size_bytes == 0 && !self.cut && !self.unseen
    }

    /// The digest of an input, which does not depend on the root's path or on secrets. It is the
    /// BLAKE3, in hexadecimal, of the bytes with the byte `0xff` and the mark's text in the place of
    /// each mark.
    pub fn digest(content: &Taped) -> String {
        // `0xff` is in no UTF-8 text, so text is not taken for a mark.
        let marked = content.expand(|mark| [&b"\xff"[..], mark.to_string().as_bytes()].concat());
        blake3::hash(&marked).to_hex().to_string()
    }
}

/// The kind of program that ran.
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
        f.write_str(if *self == Way::Guest { "guest" } else { "native" })
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
        /// The reason for which a guest was ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Taped>,
    },
    /// It did not start.
    NotStarted {
        /// The name of the [`std::io::ErrorKind`].
        kind: String,
        /// The host's message.
        message: Taped,
    },
}

impl TapedStatus {
    /// The status for `exit`; `tape` makes taped text of the reason.
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

    /// The child's exit, as far as the tape has it; `None` if the child did not start.
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

/// The change of a child at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileChange {
    /// From the root, which is `.`.
    pub path: Taped,
    /// The kind of change. A move is an addition or a change with [`from`](FileChange::from), one
    /// more name is an addition with [`link`](FileChange::link).
    pub op: Op,
    /// The kind of the file that is there now, or of the one that was removed.
    pub kind: FileKind,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "octal_mode")]
    pub mode: Option<u32>,
    /// The whole content of a file, unless it did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Taped>,
    /// The target of a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Taped>,
    /// The path that the same file had before.
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

impl Record {
    /// Every [`Taped`] in it.
    pub(crate) fn texts_mut(&mut self) -> Vec<&mut Taped> {
        let call = &mut self.call;
        let mut texts = vec![&mut call.program, &mut call.cwd, &mut self.stdout, &mut self.stderr];
        texts.extend(&mut call.argv);
        for (name, value) in &mut call.env {
            texts.push(name);
            texts.extend(value);
        }
        texts.extend(&mut self.stdin.content);
        match &mut self.status {
            TapedStatus::Code(_) => {}
            TapedStatus::Signal { why, .. } => texts.extend(why),
            TapedStatus::NotStarted { message, .. } => texts.push(message),
        }
        for file in &mut self.files {
            texts.push(&mut file.path);
            let FileChange { content, target, from, link, .. } = file;
            texts.extend([content, target, from, link].into_iter().flatten());
        }
        texts
    }
}
