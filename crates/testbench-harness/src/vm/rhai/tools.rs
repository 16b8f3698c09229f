//! `run` and `sh`.

use std::process::Output;
use std::time::Duration;

use ::rhai::{Array, Dynamic, Engine, FLOAT, INT, Map};

use super::{ScriptResult, bytes_of, script_error, text_or_blob};
use crate::vm::{CommandLine, Handle};
use crate::{Command, sys};

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
    let mut command = Command::new(program);
    for arg in args {
        command.arg(arg.to_string());
    }
    for (name, value) in options {
        match name.as_str() {
            "stdin" => {
                command.stdin_bytes(bytes_of(value)?);
            }
            "env" => {
                for (key, value) in map_of(&name, value)? {
                    command.env(key.as_str(), value.to_string());
                }
            }
            "cwd" => {
                command.current_dir(value.into_string()?);
            }
            "arg0" => {
                command.arg0(value.into_string()?);
            }
            other => {
                return Err(script_error(format_args!(
                    "`run` has no option `{other}`; there are stdin, env, cwd and arg0"
                )));
            }
        }
    }
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

pub(in crate::vm) fn map_of(name: &str, value: Dynamic) -> ScriptResult<Map> {
    let kind = value.type_name();
    value.try_cast().ok_or_else(|| script_error(format_args!("`{name}` is a map, not {kind}")))
}
