//! Lua scripts as tests.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use mlua::{Lua, LuaString, Table, UserData, UserDataMethods, Value};
use serde_json::{Map, Value as Json};

use super::bench::{Benches, ScriptBench};
use super::{ScriptFailure, file_name, snapshot};
use crate::sys;
use crate::vm::lua::{LuaPlugin, add, external, os_string, raise_errors};
use crate::vm::options::{Options, command};
use crate::vm::{Handle, VmPlugin};

impl UserData for ScriptBench {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("root", |_, bench, ()| Ok(bench.root()));
        methods.add_method("diff", |_, bench, ()| bench.diff().map_err(external));
        methods.add_method("virtual_time", |_, bench, ()| bench.virtual_time().map_err(external));
        methods.add_method("spawns", |lua, bench, ()| {
            let tables = bench.spawns(|program, args, status| {
                let table = lua.create_table_from([("program", program)])?;
                table.set("args", args)?;
                table.set("status", status)?;
                Ok(table)
            });
            tables.map_err(external)?.into_iter().collect::<mlua::Result<Vec<Table>>>()
        });
        methods.add_method("finish", |_, bench, ()| bench.finish().map_err(external));
    }
}

pub(super) fn run(path: &Path) -> Result<(), ScriptFailure> {
    let source = std::fs::read(path).map_err(|error| ScriptFailure::new(path, None, error))?;
    // Lua shortens long names, so that their places could not be found again.
    let name = file_name(path);
    let benches = Benches::new(path);
    let ran = execute(path, &name, &source, &benches).map_err(|error| failure(path, &name, &error));
    benches.end(ran)
}

fn execute(path: &Path, name: &str, source: &[u8], benches: &Benches) -> mlua::Result<()> {
    let mut lua = Lua::new();
    let handle = Handle::capture();
    LuaPlugin.install(&mut lua, &handle)?;
    let native = lua.create_table()?;
    let benches = benches.clone();
    add(&lua, &native, &handle, "testbench", move |_, options: Option<Table>| {
        benches.enter(Options::new("testbench", map(options)?)).map_err(external)
    })?;
    let script = path.to_owned();
    add(&lua, &native, &handle, "snapshot", move |_, (name, text): (String, String)| {
        Ok(snapshot::check(&script, &name, &text).err().map(|error| error.to_string()))
    })?;
    add(&lua, &native, &handle, "sleep", |_, seconds: f64| {
        let duration = Duration::try_from_secs_f64(seconds).map_err(external)?;
        testbench_clock::try_sleep(duration).map_err(external)
    })?;
    add(&lua, &native, &handle, "now", |_, ()| {
        Ok(testbench_clock::now().unix_nanos() as f64 / 1e9)
    })?;
    raise_errors(&lua, &native)?;
    // Not wrapped in Lua: a call in tail position would lose its place.
    native.set("run", lua.create_function(spawn)?)?;
    lua.load(include_str!("prelude.lua")).set_name("=testbench").call::<()>(native)?;
    lua.load(source).set_name(format!("@{name}")).exec()
}

/// `run(program, args, options)`.
fn spawn(
    lua: &Lua,
    (program, args, options): (LuaString, Option<Vec<LuaString>>, Option<Table>),
) -> mlua::Result<Table> {
    let args = args.unwrap_or_default().iter().map(os_string).collect();
    let options = Options::new("run", map(options)?);
    let mut command = command(os_string(&program), args, options).map_err(external)?;
    let finished = command.run().map_err(external)?;
    let answer = lua.create_table()?;
    answer.set("virtual_time", finished.virtual_time.as_secs_f64())?;
    let output = Output::from(finished);
    answer.set("status", sys::shell_status(output.status))?;
    answer.set("success", output.status.success())?;
    answer.set("stdout", lua.create_string(output.stdout)?)?;
    answer.set("stderr", lua.create_string(output.stderr)?)?;
    Ok(answer)
}

fn map(table: Option<Table>) -> mlua::Result<Map<String, Json>> {
    let pairs = table.iter().flat_map(|table| table.pairs::<String, Value>());
    pairs.map(|pair| pair.and_then(|(name, value)| Ok((name, json(value)?)))).collect()
}

fn json(value: Value) -> mlua::Result<Json> {
    Ok(match value {
        Value::Boolean(holds) => holds.into(),
        Value::Integer(integer) => integer.into(),
        Value::Number(number) => number.into(),
        Value::String(text) => match text.to_str() {
            Ok(text) => (*text).into(),
            Err(_) => text.as_bytes().to_vec().into(),
        },
        Value::Table(table) if table.raw_len() > 0 => {
            table.sequence_values().map(|value| json(value?)).collect::<mlua::Result<_>>()?
        }
        Value::Table(table) => map(Some(table))?.into(),
        other => {
            let problem = format!("a {} cannot be in an option", other.type_name());
            return Err(mlua::Error::runtime(problem));
        }
    })
}

/// The place and the text of an error. An error that Lua raised begins with its place; that of a
/// session's method has it in the traceback that mlua adds.
fn failure(path: &Path, name: &str, error: &mlua::Error) -> ScriptFailure {
    match error {
        mlua::Error::CallbackError { traceback, cause } => {
            let inner = failure(path, name, cause);
            let line = inner.line.or_else(|| first_line(name, traceback));
            ScriptFailure::new(path, line, inner.text)
        }
        mlua::Error::RuntimeError(text) | mlua::Error::SyntaxError { message: text, .. } => {
            let text = text.split("\nstack traceback:").next().unwrap_or(text);
            match text.strip_prefix(&format!("{name}:")).and_then(|rest| rest.split_once(": ")) {
                Some((line, rest)) if line.parse::<usize>().is_ok() => {
                    ScriptFailure::new(path, line.parse().ok(), rest)
                }
                _ => ScriptFailure::new(path, first_line(name, text), text),
            }
        }
        other => ScriptFailure::new(path, None, other),
    }
}

/// The line of the first `NAME:LINE:` in a traceback, which is that of the innermost call.
fn first_line(name: &str, traceback: &str) -> Option<usize> {
    traceback.lines().find_map(|line| {
        let (line, _) = line.trim_start().strip_prefix(name)?.strip_prefix(':')?.split_once(':')?;
        line.parse().ok()
    })
}
