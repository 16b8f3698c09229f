//! `run` and `sh`.

use std::process::Output;
use std::time::Duration;

use ::rhai::{Array, Dynamic, Engine, FLOAT, INT, Map};
use serde_json::Value;

use super::{ScriptResult, script_error, text_or_blob};
use crate::sys;
use crate::vm::options::{Options, command};
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
    let options = Options::new("run", json_map(options)?);
    let mut command = command(program.into(), args, options).map_err(script_error)?;
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

pub(in crate::vm) fn json_map(map: Map) -> ScriptResult<serde_json::Map<String, Value>> {
    map.into_iter().map(|(name, value)| Ok((name.into(), json(value)?))).collect()
}

fn json(value: Dynamic) -> ScriptResult<Value> {
    if let Ok(holds) = value.as_bool() {
        return Ok(holds.into());
    }
    if let Ok(integer) = value.as_int() {
        return Ok(integer.into());
    }
    if let Ok(float) = value.as_float() {
        return Ok(float.into());
    }
    if value.is_string() || value.is_char() {
        return Ok(value.to_string().into());
    }
    if value.is_blob() {
        return Ok(value.into_blob()?.into());
    }
    if value.is_array() {
        return value.into_array()?.into_iter().map(json).collect();
    }
    let kind = value.type_name();
    match value.try_cast::<Map>() {
        Some(map) => Ok(json_map(map)?.into()),
        None => Err(script_error(format_args!("a value of type {kind} cannot be in an option"))),
    }
}
