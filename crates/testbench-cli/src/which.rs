//! `testbench which`: the module or program that a spawn would run, and why. Starts nothing.

use std::process::ExitCode;

use serde_json::{Value, json};
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
    let route = &explanation.route;
    let status = match route {
        Route::Refuse(refusal) => SpawnError::from(refusal.clone()).shell_status(),
        _ => 0,
    };
    let status = u8::try_from(status).unwrap_or(OWN);
    if let (Route::Refuse(refusal), false, false) = (route, args.format.json, args.explain) {
        return Err(Failure::new(status, refusal));
    }
    args.format.print("which", "testbench-which/1", &as_json(&explanation, status), || {
        if args.explain { format!("{explanation}\n") } else { format!("{route}\n") }
    })?;
    Ok(ExitCode::from(status))
}

fn builder(args: &WhichArgs) -> TestbenchBuilder {
    let builder = Testbench::builder().name("which").unmatched(args.unmatched);
    let builder = args.toolchains.iter().cloned().fold(builder, TestbenchBuilder::toolchain);
    let policies = args.policies.iter();
    let mut builder =
        policies.fold(builder, |builder, (name, policy)| builder.policy(name, *policy));
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
    builder
}

/// The decision; `status` is the exit status of this program.
fn as_json(explanation: &Explanation, status: u8) -> Value {
    let route = match &explanation.route {
        Route::Guest(tool) => json!({
            "kind": "guest",
            "module": tool.name().to_string_lossy(),
            "match": format!("{:?}", tool.matched()).to_lowercase(),
            // Not there for a built-in tool.
            "path": tool.path().map(|path| path.to_string_lossy().into_owned()),
        }),
        Route::Native { .. } => json!({ "kind": "native" }),
        Route::Replay(record) => json!({
            "kind": "replay",
            "spawn": record.sequence,
            "recorded": record.route.to_string(),
        }),
        Route::Refuse(refusal) => json!({
            "kind": "refused",
            "reason": reason(refusal),
            "message": refusal.to_string(),
        }),
        other => json!({ "kind": "other", "message": other.to_string() }),
    };
    let steps = explanation.steps.iter();
    let steps = steps.map(|step| json!({ "what": step.what, "found": step.found }));
    json!({
        "program": explanation.program.to_string_lossy(),
        "route": route,
        "status": status,
        "steps": steps.collect::<Vec<Value>>(),
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
