//! `testbench tape`: shows, compares, checks and prunes tapes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use testbench_harness::tape::{
    CompareMode, Header, Record, Tape, VerifyOptions, VerifyReport, compare, stale_payloads, verify,
};

use crate::args::{Format, TapeCommand, TapePruneArgs, TapeVerifyArgs};
use crate::failure::{Failure, OWN};

/// Exit status: there is a difference.
const DIFFERS: u8 = 1;

/// Runs the subcommand.
pub(crate) fn tape(command: &TapeCommand) -> Result<ExitCode, Failure> {
    match command {
        TapeCommand::Show { tape, format } => show(tape, *format),
        TapeCommand::Diff { a, b, mode, format } => diff(a, b, *mode, *format),
        TapeCommand::Verify(args) => check(args),
        TapeCommand::Prune(args) => prune(args),
    }
}

fn show(tape: &Path, format: Format) -> Result<ExitCode, Failure> {
    let tape = load("tape show", tape)?;
    let shown = json!({ "header": tape.header(), "spawns": tape.records() });
    format.print("tape", "testbench-tape-show/1", &shown, || {
        let Header { engine, seed, spawns: count, reproducible, .. } = tape.header();
        let plural = if *count == 1 { "" } else { "s" };
        let natives = if *reproducible { "" } else { ", with native programs" };
        let start = tape.header().start();
        format!("{count} spawn{plural} by {engine}, seed {seed}, from {start}{natives}\n\n{tape}\n")
    })
}

fn diff(a: &Path, b: &Path, mode: CompareMode, format: Format) -> Result<ExitCode, Failure> {
    let (a, b) = (load("tape diff", a)?, load("tape diff", b)?);
    let divergences = compare(&a, &b, mode);
    let equal = divergences.is_empty();
    let compared = json!({ "mode": mode, "equal": equal, "divergences": divergences });
    format.print("tape", "testbench-tape-diff/1", &compared, || {
        divergences.iter().map(|divergence| format!("{divergence}\n")).collect()
    })?;
    Ok(status(equal))
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
    let pruned = json!({ "dry_run": args.dry_run, "spawns": spawns, "payloads": payloads });
    args.format.print("tape", "testbench-tape-prune/1", &pruned, || {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        let spawns = spawns.iter().map(|number| format!("{verb} spawn {number}\n"));
        let files = payloads.iter().map(|file| format!("{verb} {}\n", file.display()));
        spawns.chain(files).collect()
    })
}

fn load(attempt: &str, path: &Path) -> Result<Tape, Failure> {
    Tape::load(path).map_err(|e| Failure::own(attempt, e))
}

fn status(equal: bool) -> ExitCode {
    if equal { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) }
}
