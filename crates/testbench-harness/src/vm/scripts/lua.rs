//! Lua scripts as tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mlua::{Lua, Table, UserData, UserDataMethods, Value};

use super::bench::{ScriptBench, Spawned};
use super::options::Setting;
use super::{ScriptFailure, snapshot};
use crate::vm::lua::LuaPlugin;
use crate::vm::{Handle, VmPlugin};
use crate::{Command, sys};

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

impl UserData for Bench {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("root", |_, bench, ()| Ok(bench.lock().root()));
        methods.add_method("diff", |_, bench, ()| bench.lock().diff().map_err(external));
        methods.add_method("virtual_time", |_, bench, ()| {
            bench.lock().virtual_time().map(|passed| passed.as_secs_f64()).map_err(external)
        });
        methods.add_method("spawns", |lua, bench, ()| {
            let spawns = bench.lock().spawns().map_err(external)?;
            let tables = spawns.into_iter().map(|spawn| spawn_table(lua, spawn));
            tables.collect::<mlua::Result<Vec<Table>>>()
        });
        methods.add_method("finish", |_, bench, ()| bench.lock().finish().map_err(external));
    }
}

pub(super) fn run(path: &Path) -> Result<(), ScriptFailure> {
    let source = std::fs::read(path).map_err(|error| ScriptFailure::new(path, None, error))?;
    // Lua shortens long names, so that their places could not be found again.
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let entered = Entered::default();
    let ran = execute(path, &name, &source, &entered).map_err(|error| failure(path, &name, &error));
    // The innermost session ends first. What the script itself got wrong counts more than what
    // the end of its sessions says.
    let mut ended = Ok(());
    while let Some(bench) = entered.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        ended = ended.and(bench.lock().close());
    }
    ran.and(ended.map_err(|error| ScriptFailure::new(path, None, error)))
}

fn execute(path: &Path, name: &str, source: &[u8], entered: &Entered) -> mlua::Result<()> {
    let mut lua = Lua::new();
    LuaPlugin.install(&mut lua, &Handle::capture())?;
    let native = lua.create_table()?;
    let (script, entered) = (path.to_owned(), entered.clone());
    native.set(
        "testbench",
        lua.create_function(move |_, options: Option<Table>| {
            let mut settings = BTreeMap::new();
            if let Some(options) = options {
                for pair in options.pairs::<String, Value>() {
                    let (name, value) = pair?;
                    settings.insert(name, setting(value)?);
                }
            }
            let bench = ScriptBench::enter(&script, settings).map_err(external)?;
            let bench = Bench(Arc::new(Mutex::new(bench)));
            entered.lock().unwrap_or_else(PoisonError::into_inner).push(bench.clone());
            Ok(bench)
        })?,
    )?;
    let script = path.to_owned();
    native.set(
        "snapshot",
        lua.create_function(move |_, (name, text): (String, String)| {
            Ok(snapshot::check(&script, &name, &text).err().map(|error| error.to_string()))
        })?,
    )?;
    native.set("run", lua.create_function(spawn)?)?;
    native.set(
        "sleep",
        lua.create_function(|_, seconds: f64| {
            let duration = Duration::try_from_secs_f64(seconds).map_err(external)?;
            testbench_clock::try_sleep(duration).map_err(external)
        })?,
    )?;
    native.set(
        "now",
        lua.create_function(|_, ()| Ok(testbench_clock::now().unix_nanos() as f64 / 1e9))?,
    )?;
    lua.load(include_str!("prelude.lua")).set_name("=testbench").call::<()>(native)?;
    lua.load(source).set_name(format!("@{name}")).exec()
}

/// `run(program, args, options)`.
fn spawn(
    lua: &Lua,
    (program, args, options): (mlua::LuaString, Option<Vec<mlua::LuaString>>, Option<Table>),
) -> mlua::Result<Table> {
    let mut command = Command::new(os_string(&program));
    command.args(args.unwrap_or_default().iter().map(os_string));
    for pair in options.iter().flat_map(|options| options.pairs::<String, Value>()) {
        let (name, value) = pair?;
        match (name.as_str(), value) {
            ("stdin", Value::String(text)) => {
                command.stdin_bytes(text.as_bytes());
            }
            ("env", Value::Table(env)) => {
                for pair in env.pairs::<String, String>() {
                    let (key, value) = pair?;
                    command.env(key, value);
                }
            }
            ("cwd", Value::String(dir)) => {
                command.current_dir(os_string(&dir));
            }
            ("arg0", Value::String(name)) => {
                command.arg0(os_string(&name));
            }
            ("stdin" | "env" | "cwd" | "arg0", value) => {
                let kind = value.type_name();
                return Err(mlua::Error::runtime(format!("the option `{name}` is not a {kind}")));
            }
            (other, _) => {
                return Err(mlua::Error::runtime(format!(
                    "`run` has no option `{other}`; there are stdin, env, cwd and arg0"
                )));
            }
        }
    }
    let finished = command.run().map_err(external)?;
    let virtual_time = finished.virtual_time;
    let output = std::process::Output::from(finished);
    let answer = lua.create_table()?;
    answer.set("status", sys::shell_status(output.status))?;
    answer.set("success", output.status.success())?;
    answer.set("stdout", lua.create_string(output.stdout)?)?;
    answer.set("stderr", lua.create_string(output.stderr)?)?;
    answer.set("virtual_time", virtual_time.as_secs_f64())?;
    Ok(answer)
}

fn os_string(text: &mlua::LuaString) -> std::ffi::OsString {
    sys::os_string(text.as_bytes().to_vec())
}

fn spawn_table(lua: &Lua, spawn: Spawned) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("program", spawn.program)?;
    table.set("args", spawn.args)?;
    table.set("status", spawn.status)?;
    Ok(table)
}

fn setting(value: Value) -> mlua::Result<Setting> {
    Ok(match value {
        Value::String(text) => Setting::Text(text.as_bytes().to_vec()),
        Value::Integer(integer) => Setting::Integer(integer),
        Value::Table(table) if table.raw_len() > 0 || table.is_empty() => {
            let values = table.sequence_values::<Value>();
            Setting::List(values.map(|value| setting(value?)).collect::<mlua::Result<_>>()?)
        }
        Value::Table(table) => {
            let pairs = table.pairs::<String, Value>();
            let entries = pairs.map(|pair| pair.and_then(|(k, v)| Ok((k, setting(v)?))));
            Setting::Map(entries.collect::<mlua::Result<_>>()?)
        }
        other => Setting::Other(other.type_name().to_owned()),
    })
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> mlua::Error {
    mlua::Error::external(error)
}

/// Where it happened, and what. An error that Lua raised begins with its place; one of ours has it
/// in the traceback that mlua adds.
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
