//! `testbench completions`: a script for a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs};
use crate::failure::Failure;
use crate::output::print;

/// Prints the script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    // Into memory first: `generate` panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "testbench", &mut script);
    print("completions", script)
}
