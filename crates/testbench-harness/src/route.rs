//! Which way a spawn goes: decided here, purely, and acted upon in `spawn.rs`.
//!
//! The order, from what was said about this very command to what was said about all:
//!
//! 1. [`Command::via`] with `Native` or `Deny`;
//! 2. the session's policy for the program, if it is `Deny`;
//! 3. the toolchain, by exact name;
//! 4. what is to happen when nothing matches: the command's policy, else the session's for the
//!    program, else the session's for all ([`TestbenchBuilder::unmatched`]), else
//!    [`Policy::NotFound`].
//!
//! [`TestbenchBuilder::unmatched`]: crate::TestbenchBuilder::unmatched

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use testbench_clock::Ended;

use crate::bench::Bench;
use crate::{Command, Tool, sys};

/// What to do about a program that the toolchain does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// It does not exist, whatever the host's `PATH` holds: [`io::ErrorKind::NotFound`].
    #[default]
    NotFound,
    /// It may not be started: [`io::ErrorKind::PermissionDenied`], even if the toolchain has it.
    Deny,
    /// The host's own program runs, on the real clock.
    Native,
}

/// The way that one spawn goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Route {
    /// This module runs as a guest.
    Guest(Tool),
    /// The standard library starts the host's own program.
    Native,
    /// Nothing is started, and this is why.
    Refuse(Refusal),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Guest(tool) => write!(f, "guest {tool}"),
            Route::Native => f.write_str("native"),
            Route::Refuse(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

/// Why nothing is started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The toolchain does not have the program.
    #[error(transparent)]
    NotFound(Box<Unmatched>),
    /// A policy says so.
    #[error(
        "`{}`: denied by {by} of the session `{session}`", program.display()
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
         changes would go to the real directory. Put a `{}.wasm` into the toolchain, or run it in \
         a session without an overlay", program.display(), root.display(), base_name(program).display()
    )]
    NativeOverOverlay {
        /// The program, as it was called.
        program: OsString,
        /// The overlay's root on the host.
        root: PathBuf,
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
            Refusal::Denied { .. } => io::ErrorKind::PermissionDenied,
            Refusal::NativeOverOverlay { .. } => io::ErrorKind::Unsupported,
            Refusal::Ended(_) => io::ErrorKind::Other,
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
}

/// More names than this are counted instead of listed.
const LISTED_MAX: usize = 12;

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.display();
        if self.program.is_empty() {
            return f.write_str("``: an empty name names no program");
        }
        match (tool_name(&self.program), &self.toolchain) {
            (_, None) => write!(
                f,
                "`{program}`: the session has no toolchain (set one with `.toolchain(dir)`, or \
                 `.toolchain(Toolchain::builtin())` for the tools that come with testbench)."
            )?,
            (Some(name), Some(toolchain)) => {
                write!(f, "`{program}`: no `{}.wasm` in {toolchain}", name.display())?;
                self.fmt_has(f)?;
            }
            (None, Some(_)) => write!(
                f,
                "`{program}`: a path is not looked up in the toolchain, other than one directly \
                 under `/bin` or `/usr/bin`."
            )?,
        }
        write!(
            f,
            " This session starts no native programs; allow it with `.policy({:?}, Policy::Native)`.",
            self.policy_key()
        )
    }
}

impl std::error::Error for Unmatched {}

impl Unmatched {
    /// ` (has: cat, grep; nearest: grep).`
    fn fmt_has(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has.is_empty() {
            return f.write_str(" (it has no programs).");
        }
        f.write_str(" (has: ")?;
        for (i, name) in self.has.iter().take(LISTED_MAX).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}", name.display())?;
        }
        if self.has.len() > LISTED_MAX {
            write!(f, " and {} more", self.has.len() - LISTED_MAX)?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; nearest: {}", nearest.display())?;
        }
        f.write_str(").")
    }

    fn policy_key(&self) -> &OsStr {
        tool_name(&self.program).unwrap_or(&self.program)
    }
}

/// Decides, and starts nothing.
pub(crate) fn resolve(bench: &Bench, command: &Command) -> Route {
    let program = command.program.as_os_str();
    let name = tool_name(program);
    let said = bench.policies.get(name.unwrap_or(program)).copied();
    match (command.via, said) {
        (Some(Policy::Deny), _) => return denied(bench, program, "`.via(Policy::Deny)`".into()),
        (Some(Policy::Native), _) => return native(bench, program),
        (_, Some(Policy::Deny)) => {
            let by = format!("`.policy({:?}, Policy::Deny)`", name.unwrap_or(program));
            return denied(bench, program, by);
        }
        _ => {}
    }
    if let Some(tool) = name.and_then(|name| bench.toolchain.find(name)) {
        return Route::Guest(tool);
    }
    match command.via.or(said).unwrap_or(bench.unmatched) {
        Policy::NotFound => Route::Refuse(Refusal::NotFound(Box::new(unmatched(bench, program)))),
        Policy::Native => native(bench, program),
        Policy::Deny => denied(bench, program, "`.unmatched(Policy::Deny)`".into()),
    }
}

fn denied(bench: &Bench, program: &OsStr, by: String) -> Route {
    let (program, session) = (program.to_owned(), bench.name.clone());
    Route::Refuse(Refusal::Denied { program, by, session })
}

fn native(bench: &Bench, program: &OsStr) -> Route {
    match bench.files.overlay_root() {
        None => Route::Native,
        Some(root) => {
            let (program, root) = (program.to_owned(), root.to_owned());
            Route::Refuse(Refusal::NativeOverOverlay { program, root })
        }
    }
}

fn unmatched(bench: &Bench, program: &OsStr) -> Unmatched {
    Unmatched {
        program: program.to_owned(),
        toolchain: bench.toolchain.describe(),
        has: bench.toolchain.names(),
        nearest: tool_name(program).and_then(|name| bench.toolchain.nearest(name)),
    }
}

/// The name under which a toolchain may know `program`: a bare name itself, or the last component
/// of an absolute path directly under a directory for which the toolchain stands in.
fn tool_name(program: &OsStr) -> Option<&OsStr> {
    if !sys::has_separator(program) {
        return (!program.is_empty()).then_some(program);
    }
    let path = Path::new(program);
    let claimed = path.parent().is_some_and(|dir| CLAIMED.iter().any(|c| dir == Path::new(c)));
    // A trailing slash asks for a directory, which no program is.
    let name = path.file_name().filter(|_| claimed)?;
    program.as_encoded_bytes().ends_with(name.as_encoded_bytes()).then_some(name)
}

/// Where programs are expected to be: a path directly under one of these means the toolchain's.
const CLAIMED: [&str; 2] = ["/bin", "/usr/bin"];

fn base_name(program: &OsStr) -> &OsStr {
    Path::new(program).file_name().unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(program: &str) -> Option<&str> {
        tool_name(OsStr::new(program)).map(|name| name.to_str().unwrap())
    }

    #[test]
    fn only_bare_names_and_claimed_directories_name_a_tool() {
        assert_eq!(name_of("cat"), Some("cat"));
        assert_eq!(name_of("/bin/cat"), Some("cat"));
        assert_eq!(name_of("/usr/bin//cat"), Some("cat"));
        for path in [
            "",
            "./cat",
            "../cat",
            "bin/cat",
            "/cat",
            "/usr/cat",
            "/usr/bin/x/cat",
            "/usr/bin/",
            "/usr/bin/cat/",
            "/usr/bin/..",
            "/opt/bin/cat",
            "/usr/bin/../../etc/passwd",
        ] {
            assert_eq!(name_of(path), None, "{path}");
        }
    }
}
