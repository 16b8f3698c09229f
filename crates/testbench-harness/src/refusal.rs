//! Why a spawn is refused, as a text that says what to do.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use testbench_clock::Ended;

use crate::names::tool_name;
use crate::tape::Miss;

/// Why nothing is started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The toolchain does not have the program.
    #[error(transparent)]
    NotFound(Box<Unmatched>),
    /// A policy says so.
    #[error(
        "`{}`: denied by {by}, in the session `{session}`", program.display()
    )]
    Denied {
        /// The program, as it was called.
        program: OsString,
        /// The policy, as it was written.
        by: String,
        /// The session's name.
        session: String,
    },
    /// A native program was asked for, but it could not see the session's files.
    #[error(
        "`{}` would run natively, but a native process cannot see the overlay over `{}`: its \
         changes would go to the real directory. Let the session write its files out for it with \
         `.native_files(NativeFiles::Copy)`, put a `{}.wasm` into the toolchain, or run it in a \
         session without an overlay", program.display(), root.display(), base_name(program).display()
    )]
    NativeOverOverlay {
        /// The program, as it was called.
        program: OsString,
        /// The overlay's root on the host.
        root: PathBuf,
    },
    /// It is to be recorded or replayed, and the session has no tape.
    #[error(
        "`{}` is to be recorded or replayed, but the session `{session}` has no tape; give it one \
         with `.tape(path, mode)`", program.display()
    )]
    NoTape {
        /// The program, as it was called.
        program: OsString,
        /// The session's name.
        session: String,
    },
    /// It is to be replayed, and the tape does not have it.
    #[error(transparent)]
    NotOnTape(Box<Miss>),
    /// This thread has no session, and the process belongs to one.
    #[error(
        "`{}`: this thread has no session, and the process belongs to the session `{session}`, \
         which has strict threads; enter the session's `Context` on this thread",
        program.display()
    )]
    UnboundThread {
        /// The program, as it was called.
        program: OsString,
        /// The session's name.
        session: String,
    },
    /// The session whose context this thread entered is over.
    #[error(transparent)]
    Ended(Ended),
}

impl Refusal {
    /// The kind of the [`io::Error`] that carries it.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Refusal::NotFound(_) => io::ErrorKind::NotFound,
            Refusal::Denied { .. } | Refusal::UnboundThread { .. } => {
                io::ErrorKind::PermissionDenied
            }
            Refusal::NativeOverOverlay { .. } | Refusal::NoTape { .. } => {
                io::ErrorKind::Unsupported
            }
            // Not `NotFound`, which code may take for a program that is not installed.
            Refusal::NotOnTape(_) | Refusal::Ended(_) => io::ErrorKind::Other,
        }
    }
}

/// A program that the toolchain does not have; says what it has, and how to allow the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unmatched {
    /// The program, as it was called.
    pub program: OsString,
    /// Where was looked, such as `tools/`; `None` if the session has no toolchain.
    pub toolchain: Option<String>,
    /// All that the toolchain has, in order.
    pub has: Vec<OsString>,
    /// The one of them whose name is most like the program's, if any is.
    pub nearest: Option<OsString>,
    /// The program whose module it is to run, if a manifest says so.
    pub alias: Option<String>,
    /// The directories for which the toolchain stands in.
    pub claims: Vec<PathBuf>,
    /// The child's `PATH`, if it is why the toolchain was not asked.
    pub path: Option<OsString>,
}

/// More names than this are counted instead of listed.
const LISTED_MAX: usize = 12;

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.program.is_empty() {
            return f.write_str("``: an empty name names no program");
        }
        let why = match (self.name(), &self.toolchain, &self.path, &self.alias) {
            (_, None, ..) => "the session has no toolchain (set one with `.toolchain(dir)`, or \
                 `.toolchain(Toolchain::builtin())` for the tools that come with testbench)"
                .to_owned(),
            (None, ..) => format!(
                "a path is not looked up in the toolchain, other than one directly under {}",
                self.claims_text(),
            ),
            (_, _, Some(path), _) => format!(
                "the child's PATH is `{}`, with none of the directories for which the toolchain \
                 stands in ({})",
                path.display(),
                self.claims_text(),
            ),
            (_, Some(toolchain), _, Some(alias)) => format!(
                "testbench.toml makes it an alias of `{alias}`, but there is no `{alias}.wasm` in \
                 {toolchain} ({})",
                self.has_text(),
            ),
            (Some(name), Some(toolchain), ..) => {
                format!("no `{}.wasm` in {toolchain} ({})", name.display(), self.has_text())
            }
        };
        let (program, key) = (self.program.display(), self.name().unwrap_or(&self.program));
        write!(
            f,
            "`{program}`: {why}. This session starts no native programs; allow it with \
             `.policy({key:?}, Policy::Native)`.",
        )
    }
}

impl std::error::Error for Unmatched {}

impl Unmatched {
    /// `has: cat, grep; nearest: grep`
    fn has_text(&self) -> String {
        if self.has.is_empty() {
            return "it has no programs".to_owned();
        }
        let listed = self.has.iter().take(LISTED_MAX).map(|name| name.display().to_string());
        let mut text = format!("has: {}", listed.collect::<Vec<_>>().join(", "));
        if self.has.len() > LISTED_MAX {
            text += &format!(" and {} more", self.has.len() - LISTED_MAX);
        }
        if let Some(nearest) = &self.nearest {
            text += &format!("; nearest: {}", nearest.display());
        }
        text
    }

    /// `/bin or /usr/bin`, each in backquotes.
    fn claims_text(&self) -> String {
        let claims = self.claims.iter().map(|dir| format!("`{}`", dir.display()));
        claims.collect::<Vec<_>>().join(" or ")
    }

    fn name(&self) -> Option<&OsStr> {
        tool_name(&self.program, |dir| self.claims.iter().any(|claim| claim == dir))
    }
}

fn base_name(program: &OsStr) -> &OsStr {
    Path::new(program).file_name().unwrap_or(program)
}
