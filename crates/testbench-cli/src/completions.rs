//! `testbench completions`: a script for a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::print;

/// Prints the script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    // Into memory first: `generate` panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "testbench", &mut script);
    print("completions", script)
}
