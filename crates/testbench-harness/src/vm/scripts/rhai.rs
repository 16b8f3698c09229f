//! Rhai scripts as tests.

use std::fmt;
use std::path::Path;

use ::rhai::{Array, Dynamic, Engine, EvalAltResult, FLOAT, INT, Map, NativeCallContext, Scope};

use super::bench::{Benches, ScriptBench};
use super::{ScriptFailure, snapshot};
use crate::vm::options::Options;
use crate::vm::rhai::tools::json_map;
use crate::vm::rhai::{RhaiPlugin, script_error};
use crate::vm::{Handle, VmPlugin};

pub(super) fn run(path: &Path) -> Result<(), ScriptFailure> {
    let failed = |error: Box<EvalAltResult>| failure(path, error);
    let source =
        std::fs::read_to_string(path).map_err(|error| ScriptFailure::new(path, None, error))?;
    let benches = Benches::new(path);
    let mut engine = Engine::new();
    let Ok(()) = RhaiPlugin.install(&mut engine, &Handle::capture());
    register(&mut engine, &benches);
    assertions(&mut engine, path);
    let ast = engine.compile(source).map_err(|error| failed(error.into()))?;
    let ran = engine.run_ast(&ast).map_err(failed);
    benches.end(ran)
}

fn register(engine: &mut Engine, benches: &Benches) {
    engine.register_type_with_name::<ScriptBench>("testbench");
    let benches = benches.clone();
    engine.register_fn("testbench", move |options: Map| {
        let options = Options::new("testbench", json_map(options)?);
        benches.enter(options).map_err(script_error)
    });
    engine.register_fn("root", |bench: &mut ScriptBench| bench.root());
    engine.register_fn("diff", |bench: &mut ScriptBench| bench.diff().map_err(script_error));
    engine.register_fn("virtual_time", |bench: &mut ScriptBench| {
        bench.virtual_time().map(|seconds| seconds as FLOAT).map_err(script_error)
    });
    engine.register_fn("spawns", |bench: &mut ScriptBench| {
        let spawns = bench.spawns(|program, args, status| {
            let args: Array = args.into_iter().map(Dynamic::from).collect();
            let status = INT::from(status);
            let map: [(&str, Dynamic); 3] =
                [("program", program.into()), ("args", args.into()), ("status", status.into())];
            Dynamic::from(
                map.map(|(name, value)| (name.into(), value)).into_iter().collect::<Map>(),
            )
        });
        spawns.map_err(script_error)
    });
    engine.register_fn("finish", |bench: &mut ScriptBench| bench.finish().map_err(script_error));
}

fn assertions(engine: &mut Engine, path: &Path) {
    engine.register_fn("assert", |holds: bool| check(holds, || "assertion failed"));
    engine.register_fn("assert", |holds: bool, message: &str| check(holds, || message.to_owned()));
    engine.register_fn(
        "assert_eq",
        |context: NativeCallContext<'_>, actual: Dynamic, expected: Dynamic| {
            let mut scope = Scope::new();
            scope.push_dynamic("actual", actual.clone());
            scope.push_dynamic("expected", expected.clone());
            let engine = context.engine();
            let equal = engine.eval_expression_with_scope(&mut scope, "actual == expected")?;
            check(equal, || {
                format!("assert_eq failed\nexpected: {expected:?}\n  actual: {actual:?}")
            })
        },
    );
    let script = path.to_owned();
    engine.register_fn("assert_snapshot", move |name: &str, text: &str| {
        snapshot::check(&script, name, text).map_err(script_error)
    });
}

fn check<T: fmt::Display>(holds: bool, why: impl FnOnce() -> T) -> Result<(), Box<EvalAltResult>> {
    if holds { Ok(()) } else { Err(script_error(why())) }
}

/// The place and the text of an error: those of the innermost call, which is the one that failed.
fn failure(path: &Path, mut error: Box<EvalAltResult>) -> ScriptFailure {
    let mut line = error.position().line();
    loop {
        match *error {
            EvalAltResult::ErrorInFunctionCall(_, _, inner, _)
            | EvalAltResult::ErrorInModule(_, inner, _) => error = inner,
            other => {
                error = other.into();
                break;
            }
        }
        line = error.position().line().or(line);
    }
    // So that its text has no place in it.
    let _ = error.take_position();
    let text = error.to_string();
    ScriptFailure::new(path, line, text.strip_prefix("Runtime error: ").unwrap_or(&text))
}
