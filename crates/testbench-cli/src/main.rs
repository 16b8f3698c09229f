//! The program `testbench`: runs tools as WebAssembly, under a mock clock, on an overlay of a real
//! directory.
//!
//! `args.rs` has the arguments, and one file per subcommand runs it. Results go to stdout
//! (`output.rs`), other text for people to stderr. The exit status is the guest's; [`failure`] lists
//! those of this program.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod args;
mod compile;
mod completions;
mod demo;
mod failure;
mod output;
mod run;
mod tape;
mod toolchain;
mod which;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse_from_env().command {
        Command::Run(args) => run::run(&args),
        Command::Demo(format) => demo::demo(format),
        Command::Tape(command) => tape::tape(&command),
        Command::Which(args) => which::which(&args),
        Command::Compile(args) => compile::compile(&args),
        Command::Toolchain(command) => toolchain::toolchain(&command),
        Command::Completions { shell } => completions::completions(shell),
    };
    result.unwrap_or_else(|failure| failure.report())
}

impl Cli {
    /// The arguments of this process. A wrong one ends it with status 125: 2, which is usual,
    /// could be a guest's.
    fn parse_from_env() -> Cli {
        Cli::try_parse().unwrap_or_else(|error| {
            let is_help = !error.use_stderr();
            // Nothing is left to do if the text cannot be printed.
            let _ = error.print();
            std::process::exit(if is_help { 0 } else { i32::from(failure::OWN) });
        })
    }
}
