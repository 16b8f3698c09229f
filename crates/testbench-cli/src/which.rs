//! `testbench which`: what a spawn of a program would run, and why. Starts nothing.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;
use testbench_harness::tape::{TapeMode, TapeOptions};
use testbench_harness::{
    Command, Explanation, NativeFiles, Refusal, Route, SpawnError, Testbench, TestbenchBuilder,
    Toolchain,
};

use crate::args::{ToolchainChoice, WhichArgs};
use crate::failure::{Failure, OWN};

/// Says which way the program would go; the exit status is that of a shell: 127 when it would not
/// be found, 126 when it would be refused.
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
    if args.json {
        print(&(json(&explanation, status)? + "\n"))?;
    } else if args.explain {
        print(&format!("{explanation}\n"))?;
    } else if let Route::Refuse(refusal) = &explanation.route {
        return Err(Failure::new(status, refusal));
    } else {
        print(&format!("{}\n", explanation.route))?;
    }
    Ok(ExitCode::from(status))
}

fn builder(args: &WhichArgs) -> TestbenchBuilder {
    let mut builder = Testbench::builder().name("which").unmatched(args.unmatched);
    for toolchain in &args.toolchains {
        builder = match toolchain {
            ToolchainChoice::Builtin => builder.toolchain(Toolchain::builtin()),
            ToolchainChoice::Dir(dir) => builder.toolchain(dir),
        };
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

/// As a shell reports what comes of a start that goes this way.
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
    schema: &'static str,
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

fn json(explanation: &Explanation, status: u8) -> Result<String, Failure> {
    let route = match &explanation.route {
        Route::Guest(tool) => Decided::Guest {
            module: tool.name().to_string_lossy().into_owned(),
            matched: format!("{:?}", tool.matched()).to_lowercase(),
            path: tool.path().map(|path| path.to_string_lossy().into_owned()),
        },
        Route::Native => Decided::Native,
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
    let explained = Explained {
        schema: "testbench-which/1",
        program: explanation.program.to_string_lossy().into_owned(),
        route,
        status,
        steps: explanation
            .steps
            .iter()
            .map(|step| Step { what: &step.what, found: &step.found })
            .collect(),
    };
    serde_json::to_string_pretty(&explained).map_err(|e| Failure::own("which", e))
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

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::own("which", e)),
        _ => Ok(()),
    }
}
