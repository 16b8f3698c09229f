//! `testbench tape`: shows, compares, checks and prunes tapes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use testbench_harness::tape::{
    CompareMode, Divergence, Header, Record, Tape, VerifyOptions, VerifyReport, compare,
    stale_payloads, verify,
};

use crate::args::{TapeCommand, TapeDiffArgs, TapePruneArgs, TapeShowArgs, TapeVerifyArgs};
use crate::failure::{Failure, OWN};

/// Exit status: there is a difference.
const DIFFERS: u8 = 1;

/// Runs the subcommand.
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
    header: &'t Header,
    spawns: &'t [Record],
}

fn show(args: &TapeShowArgs) -> Result<ExitCode, Failure> {
    let tape = load("tape show", &args.tape)?;
    let shown = Shown { header: tape.header(), spawns: tape.records() };
    args.format.print("tape", "testbench-tape-show/1", &shown, || {
        let Header { engine, seed, spawns: count, reproducible, .. } = tape.header();
        let plural = if *count == 1 { "" } else { "s" };
        let natives = if *reproducible { "" } else { ", with native programs" };
        let start = tape.header().start();
        format!("{count} spawn{plural} by {engine}, seed {seed}, from {start}{natives}\n\n{tape}\n")
    })
}

#[derive(Serialize)]
struct Compared {
    mode: CompareMode,
    equal: bool,
    divergences: Vec<Divergence>,
}

fn diff(args: &TapeDiffArgs) -> Result<ExitCode, Failure> {
    let (a, b) = (load("tape diff", &args.a)?, load("tape diff", &args.b)?);
    let mode = args.mode.into();
    let divergences = compare(&a, &b, mode);
    let compared = Compared { mode, equal: divergences.is_empty(), divergences };
    args.format.print("tape", "testbench-tape-diff/1", &compared, || {
        compared.divergences.iter().map(|divergence| format!("{divergence}\n")).collect()
    })?;
    Ok(status(compared.equal))
}

#[derive(Serialize)]
struct Verified {
    agrees: bool,
    spawns: usize,
    #[serde(flatten)]
    report: Option<VerifyReport>,
}

fn check(args: &TapeVerifyArgs) -> Result<ExitCode, Failure> {
    // Reading the tape checks every line and every payload.
    let tape = load("tape verify", &args.tape)?;
    let report = match &args.against_toolchain {
        None => None,
        Some(toolchain) => {
            let options = VerifyOptions::against(toolchain.clone()).stderr(!args.ignore_stderr);
            let options = args.overlay.iter().fold(options, VerifyOptions::overlay);
            Some(verify(&tape, options).map_err(|e| Failure::own("tape verify", e))?)
        }
    };
    let agrees = report.as_ref().is_none_or(VerifyReport::agrees);
    let verified = Verified { agrees, spawns: tape.records().len(), report };
    args.format.print("tape", "testbench-tape-verify/1", &verified, || match &verified.report {
        Some(report) => report.to_string(),
        None => {
            format!("sound: spawns {}, payloads {}\n", verified.spawns, tape.payloads().len())
        }
    })?;
    Ok(status(agrees))
}

#[derive(Serialize)]
struct Pruned {
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
            OWN,
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
    let pruned = Pruned { dry_run: args.dry_run, spawns, payloads };
    args.format.print("tape", "testbench-tape-prune/1", &pruned, || {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        let spawns = pruned.spawns.iter().map(|number| format!("{verb} spawn {number}\n"));
        let files = pruned.payloads.iter().map(|file| format!("{verb} {}\n", file.display()));
        spawns.chain(files).collect()
    })
}

fn load(attempt: &str, path: &Path) -> Result<Tape, Failure> {
    Tape::load(path).map_err(|e| Failure::own(attempt, e))
}

fn status(equal: bool) -> ExitCode {
    if equal { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) }
}
