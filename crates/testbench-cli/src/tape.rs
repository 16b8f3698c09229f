//! `testbench tape`: looks at tapes, compares them, checks them, and cleans up behind them.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use testbench_harness::tape::{
    CompareMode, Divergence, Header, Record, Tape, VerifyOptions, VerifyReport, compare,
    stale_payloads, verify,
};
use testbench_harness::{Toolchain, ToolchainSource};

use crate::args::{
    TapeCommand, TapeDiffArgs, TapePruneArgs, TapeShowArgs, TapeVerifyArgs, ToolchainChoice,
};
use crate::failure::Failure;

/// Exit status: there is a difference.
const DIFFERS: u8 = 1;

/// Does what the subcommand says.
pub(crate) fn tape(command: &TapeCommand) -> Result<ExitCode, Failure> {
    match command {
        TapeCommand::Show(args) => show(args),
        TapeCommand::Diff(args) => diff(args),
        TapeCommand::Verify(args) => check(args),
        TapeCommand::Prune(args) => prune(args),
    }
}

#[derive(Serialize)]
struct Shown<'t> {
    schema: &'static str,
    header: &'t Header,
    spawns: &'t [Record],
}

fn show(args: &TapeShowArgs) -> Result<ExitCode, Failure> {
    let tape = load("tape show", &args.tape)?;
    if args.json {
        let (header, spawns) = (tape.header(), tape.records());
        return print_json(&Shown { schema: "testbench-tape-show/1", header, spawns });
    }
    let header = tape.header();
    let reproducible = if header.reproducible { "" } else { ", with native programs" };
    let count = header.spawns;
    let plural = if count == 1 { "" } else { "s" };
    print(format_args!(
        "{count} spawn{plural} by {}, seed {}, from {}{reproducible}\n\n{tape}\n",
        header.engine,
        header.seed,
        header.start(),
    ))
}

#[derive(Serialize)]
struct Compared {
    schema: &'static str,
    mode: CompareMode,
    equal: bool,
    divergences: Vec<Divergence>,
}

fn diff(args: &TapeDiffArgs) -> Result<ExitCode, Failure> {
    let (a, b) = (load("tape diff", &args.a)?, load("tape diff", &args.b)?);
    let mode = args.mode.into();
    let divergences = compare(&a, &b, mode);
    let equal = divergences.is_empty();
    if args.json {
        print_json(&Compared { schema: "testbench-tape-diff/1", mode, equal, divergences })?;
    } else {
        let lines: String =
            divergences.iter().map(|divergence| format!("{divergence}\n")).collect();
        print(lines)?;
    }
    Ok(status(equal))
}

#[derive(Serialize)]
struct Verified<'r> {
    schema: &'static str,
    agrees: bool,
    spawns: usize,
    #[serde(flatten)]
    report: Option<&'r VerifyReport>,
}

fn check(args: &TapeVerifyArgs) -> Result<ExitCode, Failure> {
    let schema = "testbench-tape-verify/1";
    // Reading it checks every line and every payload.
    let tape = load("tape verify", &args.tape)?;
    let spawns = tape.records().len();
    let Some(toolchain) = &args.against_toolchain else {
        if args.json {
            return print_json(&Verified { schema, agrees: true, spawns, report: None });
        }
        let payloads = tape.payloads().len();
        return print(format_args!("sound: spawns {spawns}, payloads {payloads}\n"));
    };
    let toolchain = match toolchain {
        ToolchainChoice::Builtin => ToolchainSource::from(Toolchain::builtin()),
        ToolchainChoice::Dir(dir) => dir.into(),
    };
    let mut options = VerifyOptions::against(toolchain).stderr(!args.ignore_stderr);
    if let Some(dir) = &args.overlay {
        options = options.overlay(dir);
    }
    let report = verify(&tape, options).map_err(|e| Failure::own("tape verify", e))?;
    let agrees = report.agrees();
    if args.json {
        print_json(&Verified { schema, agrees, spawns, report: Some(&report) })?;
    } else {
        print(&report)?;
    }
    Ok(status(agrees))
}

#[derive(Serialize)]
struct Pruned {
    schema: &'static str,
    dry_run: bool,
    /// The numbers of the spawns that were taken off.
    spawns: Vec<u32>,
    payloads: Vec<PathBuf>,
}

fn prune(args: &TapePruneArgs) -> Result<ExitCode, Failure> {
    let tape = load("tape prune", &args.tape)?;
    let goes = |record: &Record| {
        args.spawns.contains(&record.sequence)
            || args.programs.iter().any(|program| *program == record.call.program.to_string())
    };
    let spawns: Vec<u32> =
        tape.records().iter().filter(|record| goes(record)).map(|record| record.sequence).collect();
    if let Some(none) = args.spawns.iter().find(|number| !spawns.contains(number)) {
        return Err(Failure::new(
            crate::failure::OWN,
            format_args!("tape prune: the tape has no spawn {none} (`tape show` lists them)"),
        ));
    }
    let kept = tape.retain(|record| !goes(record));
    let needed: BTreeSet<String> = kept.payloads().into_keys().collect();
    let payloads = stale_payloads(&args.tape, &needed)
        .map_err(|e| Failure::own(format_args!("tape prune {}", args.tape.display()), e))?;
    if !args.dry_run {
        kept.save(&args.tape).map_err(|e| Failure::own("tape prune", e))?;
    }
    let pruned =
        Pruned { schema: "testbench-tape-prune/1", dry_run: args.dry_run, spawns, payloads };
    if args.json {
        return print_json(&pruned);
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    let mut lines = String::new();
    for number in &pruned.spawns {
        lines += &format!("{verb} spawn {number}\n");
    }
    for file in &pruned.payloads {
        lines += &format!("{verb} {}\n", file.display());
    }
    print(lines)
}

fn load(attempt: &str, path: &Path) -> Result<Tape, Failure> {
    Tape::load(path).map_err(|e| Failure::own(attempt, e))
}

fn status(equal: bool) -> ExitCode {
    if equal { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) }
}

fn print_json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|e| Failure::own("tape", e))?;
    print(json + "\n")
}

fn print(text: impl Display) -> Result<ExitCode, Failure> {
    match write!(io::stdout(), "{text}") {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::own("tape", e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
