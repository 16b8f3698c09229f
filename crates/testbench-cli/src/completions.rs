//! `testbench completions`: a script for a shell.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs};
use crate::failure::Failure;

/// Prints the script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    // Into memory first: it panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "testbench", &mut script);
    match io::stdout().write_all(&script) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::own("completions", e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
