//! `run` and `sh`.

use std::process::Output;
use std::time::Duration;

use ::rhai::{Array, Dynamic, Engine, FLOAT, INT, Map};

use super::{ScriptResult, script_error, text_or_blob};
use crate::sys;
use crate::vm::setting::{Setting, Settings, command};
use crate::vm::{CommandLine, Handle};

pub(super) fn register(engine: &mut Engine, handle: &Handle) {
    let on = handle.clone();
    engine.register_fn("run", move |program: &str, args: Array| {
        on.within(|| run(program, args, Map::new()))
    });
    let on = handle.clone();
    engine.register_fn("run", move |program: &str, args: Array, options: Map| {
        on.within(|| run(program, args, options))
    });
    let on = handle.clone();
    engine.register_fn("sh", move |line: &str| on.within(|| sh(line)));
}

fn run(program: &str, args: Array, options: Map) -> ScriptResult<Map> {
    let args = args.into_iter().map(|arg| arg.to_string().into()).collect();
    let mut command = command(program.into(), args, settings(options)).map_err(script_error)?;
    let finished = command.run().map_err(script_error)?;
    let virtual_time = finished.virtual_time;
    Ok(answer(Output::from(finished), virtual_time))
}

fn sh(line: &str) -> ScriptResult<Map> {
    let line = CommandLine::parse(line).map_err(script_error)?;
    let began = testbench_clock::instant_now();
    let output = line.output().map_err(script_error)?;
    Ok(answer(output, testbench_clock::instant_now().duration_since(began)))
}

fn answer(output: Output, virtual_time: Duration) -> Map {
    let status = INT::from(sys::shell_status(output.status));
    [
        ("status", Dynamic::from_int(status)),
        ("success", output.status.success().into()),
        ("stdout", text_or_blob(output.stdout)),
        ("stderr", text_or_blob(output.stderr)),
        ("virtual_time", Dynamic::from_float(virtual_time.as_secs_f64() as FLOAT)),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value))
    .collect()
}

pub(in crate::vm) fn settings(options: Map) -> Settings {
    options.into_iter().map(|(name, value)| (name.into(), setting(value))).collect()
}

fn setting(value: Dynamic) -> Setting {
    let kind = value.type_name().to_owned();
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
    let is_simple = value.is_float() || value.is_bool() || value.is_char();
    let text = is_simple.then(|| value.to_string());
    match value.try_cast::<Map>() {
        Some(map) => Setting::Map(settings(map)),
        None => Setting::Other { kind, text },
    }
}
