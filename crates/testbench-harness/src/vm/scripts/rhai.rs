//! Rhai scripts as tests.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::rhai::{Array, Dynamic, Engine, EvalAltResult, FLOAT, INT, Map, NativeCallContext, Scope};

use super::bench::{ScriptBench, Spawned};
use super::options::Setting;
use super::{ScriptFailure, snapshot};
use crate::vm::rhai::{RhaiPlugin, script_error};
use crate::vm::{Handle, VmPlugin};

/// The value that `testbench` answers. The list of all of them is kept until the script has ended,
/// whatever the script does with its own.
#[derive(Clone)]
struct Bench(Arc<Mutex<ScriptBench>>);

type Entered = Arc<Mutex<Vec<Bench>>>;

impl Bench {
    fn lock(&self) -> MutexGuard<'_, ScriptBench> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn run(path: &Path) -> Result<(), ScriptFailure> {
    let failed = |error: Box<EvalAltResult>| failure(path, error);
    let source =
        std::fs::read_to_string(path).map_err(|error| ScriptFailure::new(path, None, error))?;
    let entered = Entered::default();
    let mut engine = Engine::new();
    let Ok(()) = RhaiPlugin.install(&mut engine, &Handle::capture());
    benches(&mut engine, path, &entered);
    assertions(&mut engine, path);
    let ast = engine.compile(source).map_err(|error| failed(error.into()))?;
    let ran = engine.run_ast(&ast).map_err(failed);
    // The innermost session ends first. What the script itself got wrong counts more than what
    // the end of its sessions says.
    let mut ended = Ok(());
    while let Some(bench) = entered.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        ended = ended.and(bench.lock().close());
    }
    ran.and(ended.map_err(|error| ScriptFailure::new(path, None, error)))
}

fn benches(engine: &mut Engine, path: &Path, entered: &Entered) {
    engine.register_type_with_name::<Bench>("testbench");
    let script = path.to_owned();
    let entered = entered.clone();
    engine.register_fn("testbench", move |options: Map| {
        let options = options.into_iter().map(|(name, value)| (name.into(), setting(value)));
        let bench = ScriptBench::enter(&script, options.collect()).map_err(script_error)?;
        let bench = Bench(Arc::new(Mutex::new(bench)));
        entered.lock().unwrap_or_else(PoisonError::into_inner).push(bench.clone());
        Ok::<_, Box<EvalAltResult>>(bench)
    });
    engine.register_fn("root", |bench: &mut Bench| bench.lock().root());
    engine.register_fn("diff", |bench: &mut Bench| bench.lock().diff().map_err(script_error));
    engine.register_fn("virtual_time", |bench: &mut Bench| {
        let passed = bench.lock().virtual_time().map_err(script_error)?;
        Ok::<_, Box<EvalAltResult>>(passed.as_secs_f64() as FLOAT)
    });
    engine.register_fn("spawns", |bench: &mut Bench| {
        let spawns = bench.lock().spawns().map_err(script_error)?;
        Ok::<Array, Box<EvalAltResult>>(spawns.into_iter().map(spawn_map).collect())
    });
    engine.register_fn("finish", |bench: &mut Bench| bench.lock().finish().map_err(script_error));
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

fn spawn_map(spawn: Spawned) -> Dynamic {
    let args: Array = spawn.args.into_iter().map(Dynamic::from).collect();
    let mut map = Map::new();
    map.insert("program".into(), spawn.program.into());
    map.insert("args".into(), args.into());
    map.insert("status".into(), Dynamic::from_int(INT::from(spawn.status)));
    map.into()
}

fn setting(value: Dynamic) -> Setting {
    let kind = value.type_name();
    if value.is_string() {
        return Setting::Text(value.to_string().into_bytes());
    }
    if value.is_blob() {
        return Setting::Text(value.into_blob().unwrap_or_default());
    }
    if let Ok(integer) = value.as_int() {
        return Setting::Integer(integer);
    }
    if value.is_array() {
        let values = value.into_array().unwrap_or_default();
        return Setting::List(values.into_iter().map(setting).collect());
    }
    match value.try_cast::<Map>() {
        Some(map) => {
            let entries = map.into_iter().map(|(name, value)| (name.into(), setting(value)));
            Setting::Map(entries.collect::<BTreeMap<String, Setting>>())
        }
        None => Setting::Other(kind.to_owned()),
    }
}

/// Where it happened, and what: of the innermost call, which is the one that failed.
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
    // The text is to have no place in it.
    let _ = error.take_position();
    let text = error.to_string();
    ScriptFailure::new(path, line, text.strip_prefix("Runtime error: ").unwrap_or(&text))
}
