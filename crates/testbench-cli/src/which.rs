//! `testbench which`: the module or program that a spawn would run, and why. Starts nothing.

use std::process::ExitCode;

use serde::Serialize;
use testbench_harness::tape::{TapeMode, TapeOptions};
use testbench_harness::{
    Command, Explanation, NativeFiles, Refusal, Route, SpawnError, Testbench, TestbenchBuilder,
};

use crate::args::WhichArgs;
use crate::failure::{Failure, OWN};

/// Prints which way the program would go. The exit status is that of a shell: 127 for a program
/// that would not be found, 126 for one that would be refused.
pub(crate) fn which(args: &WhichArgs) -> Result<ExitCode, Failure> {
    let _session = builder(args).build().map_err(|e| Failure::own("which", e))?.enter();
    let mut command = Command::new(&args.program);
    command.args(&args.args);
    if let Some(path) = &args.path {
        command.env("PATH", path);
    }
    if let Some(policy) = args.via {
        command.via(policy);
    }
    let explanation = command.explain();
    let status = status_of(&explanation.route);
    match &explanation.route {
        Route::Refuse(refusal) if !args.format.json && !args.explain => {
            return Err(Failure::new(status, refusal));
        }
        route => {
            let explained = explained(&explanation, status)?;
            args.format.print("which", "testbench-which/1", &explained, || {
                if args.explain { format!("{explanation}\n") } else { format!("{route}\n") }
            })?;
        }
    }
    Ok(ExitCode::from(status))
}

fn builder(args: &WhichArgs) -> TestbenchBuilder {
    let mut builder = Testbench::builder().name("which").unmatched(args.unmatched);
    for toolchain in &args.toolchains {
        builder = builder.toolchain(toolchain.clone());
    }
    if let Some(dir) = &args.overlay {
        builder = builder.overlay(dir);
    }
    if args.copy_files {
        builder = builder.native_files(NativeFiles::Copy);
    }
    if let Some(tape) = &args.tape {
        // It is looked at, not played: entries are left over.
        builder = builder.tape(tape, TapeOptions::from(TapeMode::Replay).allow_unused(true));
    }
    for (program, policy) in &args.policies {
        builder = builder.policy(program, *policy);
    }
    builder
}

/// The status with which a shell reports a start that goes this way.
fn status_of(route: &Route) -> u8 {
    match route {
        Route::Refuse(refusal) => {
            let status = SpawnError::from(refusal.clone()).shell_status();
            u8::try_from(status).unwrap_or(OWN)
        }
        _ => 0,
    }
}

#[derive(Serialize)]
struct Explained<'e> {
    program: String,
    route: Decided<'e>,
    /// The exit status of this program.
    status: u8,
    steps: Vec<Step<'e>>,
}

#[derive(Serialize)]
struct Step<'e> {
    what: &'e str,
    found: &'e str,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Decided<'e> {
    Guest {
        /// The module's name, without `.wasm`.
        module: String,
        #[serde(rename = "match")]
        matched: String,
        /// The module's file; not there for one of our own.
        path: Option<String>,
    },
    Native,
    Replay {
        /// The number of the spawn on the tape.
        spawn: u32,
        /// How it ran when it was recorded.
        recorded: String,
    },
    Refused {
        reason: &'e str,
        message: String,
    },
}

fn explained(explanation: &Explanation, status: u8) -> Result<Explained<'_>, Failure> {
    let route = match &explanation.route {
        Route::Guest(tool) => Decided::Guest {
            module: tool.name().to_string_lossy().into_owned(),
            matched: format!("{:?}", tool.matched()).to_lowercase(),
            path: tool.path().map(|path| path.to_string_lossy().into_owned()),
        },
        Route::Native { .. } => Decided::Native,
        Route::Replay(record) => {
            Decided::Replay { spawn: record.sequence, recorded: record.route.to_string() }
        }
        Route::Refuse(refusal) => {
            Decided::Refused { reason: reason(refusal), message: refusal.to_string() }
        }
        other => {
            return Err(Failure::new(OWN, format_args!("which: cannot be told as JSON: {other}")));
        }
    };
    let steps = explanation.steps.iter().map(|step| Step { what: &step.what, found: &step.found });
    Ok(Explained {
        program: explanation.program.to_string_lossy().into_owned(),
        route,
        status,
        steps: steps.collect(),
    })
}

fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotFound(_) => "not-found",
        Refusal::Denied { .. } => "denied",
        Refusal::NativeOverOverlay { .. } => "native-over-overlay",
        Refusal::NoTape { .. } => "no-tape",
        Refusal::NotOnTape(_) => "not-on-tape",
        _ => "other",
    }
}
