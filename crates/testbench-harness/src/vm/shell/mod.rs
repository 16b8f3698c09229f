//! Command lines, for virtual machines whose scripts hand a whole line to a shell.
//!
//! `os.execute("sort in.txt > out.txt")` in Lua, `sh(…)` in Rhai and `system` in most languages
//! mean `/bin/sh -c LINE`. A session has no shell to start, since a WASI guest cannot start programs
//! of its own. So the line is parsed here, and each command in it is a [`Command`](crate::Command)
//! like any other: routed to the toolchain, on the session's clock and files.
//!
//! These parts of the [POSIX shell language] are understood: words and both kinds of quotes, `$NAME` and
//! `$(…)`, assignments before and without a command, pipelines and `!`, `&&`, `||`, `;`, groups in
//! `( )`, one redirection a command (`<`, `>`, `>>`, `2>`, `&>`, `2>&1`), and the built-in commands
//! `cd`, `export`, `unset`, `exit`, `true`, `false` and `:`. Every other construct (patterns such
//! as `*.txt`, `&`, `for` and `if`, functions) is refused by name before any command runs.
//!
//! The parser is that of the crate `deno_task_shell`; `expand.rs` makes words, `run.rs` runs.
//!
//! [POSIX shell language]: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html

use std::io;
use std::process::Output;

use deno_task_shell::parser::{self, SequentialList};
use testbench_clock::Lookup;

use crate::{Command, Route, bench};

mod check;
mod expand;
mod run;

/// A command line that was understood and can be run, any number of times.
///
/// ```
/// use testbench_harness::{Testbench, Toolchain, vm::CommandLine};
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// let line = CommandLine::parse("seq 3 | sort -r && echo done")?;
/// let output = line.output()?;
/// assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n2\n1\ndone\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CommandLine {
    text: String,
    list: SequentialList,
}

impl CommandLine {
    /// Parses `line`.
    ///
    /// # Errors
    ///
    /// Fails with [`CommandLineError`] if the line is malformed, or uses an unsupported construct.
    pub fn parse(line: &str) -> Result<CommandLine, CommandLineError> {
        let failed = |problem| CommandLineError { line: line.to_owned(), problem };
        let list = parser::parse(line).map_err(|error| failed(error.message.into_owned()))?;
        check::understood(&list).map_err(|construct| {
            failed(format!(
                "{construct} not understood here; start the programs one by one, or run it by a \
                 real shell with `.policy(\"sh\", Policy::Native)`"
            ))
        })?;
        Ok(CommandLine { text: line.to_owned(), list })
    }

    /// Runs the line and returns its status, and the output of its commands in their order.
    ///
    /// As in a shell, a command that cannot be started has the status 127 (not found) or 126, with
    /// the reason on standard error. A child that a signal ended has 128 plus the signal's number.
    ///
    /// Without a session on this thread, or if the session runs `sh` natively, the host's
    /// `sh -c LINE` runs.
    ///
    /// # Errors
    ///
    /// Fails if the session has ended, if a file of a redirection cannot be written, or if the
    /// host's shell cannot be started.
    pub fn output(&self) -> io::Result<Output> {
        self.output_with(Vec::new())
    }

    /// As [`output`](CommandLine::output); `stdin` is the standard input of the first command that
    /// has no other.
    ///
    /// # Errors
    ///
    /// As [`output`](CommandLine::output).
    pub fn output_with(&self, stdin: Vec<u8>) -> io::Result<Output> {
        let mut sh = Command::new("sh");
        sh.arg("-c").arg(&self.text).stdin_bytes(&stdin);
        match bench::current() {
            Lookup::Open(bench) if !matches!(sh.route(), Route::Native { .. }) => {
                run::Shell::new(&bench, stdin).output(&self.list)
            }
            // If the session has ended, this fails with the reason.
            _ => sh.output(),
        }
    }

    /// The line as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Why a command line cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot run `{line}`: {problem}")]
pub struct CommandLineError {
    /// The whole line.
    line: String,
    problem: String,
}

impl From<CommandLineError> for io::Error {
    fn from(error: CommandLineError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}
