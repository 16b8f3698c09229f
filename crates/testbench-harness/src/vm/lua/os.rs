//! The functions of `os`: command lines, time, the environment, names of files.

use std::io::{self, Write as _};
use std::process::Output;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};
use testbench_clock::Lookup;
use testbench_overlay::fs;

use super::{add, external, failed, os_string};
use crate::bench;
use crate::sys;
use crate::vm::{CommandLine, Handle};

pub(super) fn register(lua: &Lua, native: &Table, handle: &Handle) -> mlua::Result<()> {
    add(lua, native, handle, "execute", execute)?;
    add(lua, native, handle, "getenv", getenv)?;
    add(lua, native, handle, "time", |_, ()| {
        i64::try_from(testbench_clock::now().unix_nanos().div_euclid(1_000_000_000))
            .map_err(external)
    })?;
    add(lua, native, handle, "clock", |_, ()| {
        Ok(testbench_clock::instant_now().since_origin().as_secs_f64())
    })?;
    add(lua, native, handle, "utc", utc)?;
    add(lua, native, handle, "random", |_, ()| Ok(random()))?;
    add(lua, native, handle, "remove", |_, path: LuaString| {
        // As `remove` of C: a file, or an empty directory.
        let path = os_string(&path);
        let removed = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        removed.map(|()| true).map_err(failed(Some(&path)))
    })?;
    add(lua, native, handle, "rename", |_, (from, to): (LuaString, LuaString)| {
        let from = os_string(&from);
        fs::rename(&from, os_string(&to)).map(|()| true).map_err(failed(Some(&from)))
    })
}

/// `os.execute`: runs a line, whose output goes to that of this process.
fn execute(lua: &Lua, line: Option<String>) -> mlua::Result<MultiValue> {
    match line {
        None => true.into_lua_multi(lua),
        Some(line) => ended(lua, &run_shown(&parse(&line)?, Vec::new())?),
    }
}

/// A line that cannot be understood is an error of the script.
pub(super) fn parse(line: &str) -> mlua::Result<CommandLine> {
    CommandLine::parse(line).map_err(external)
}

/// Runs a line, whose messages go to standard error.
pub(super) fn run(line: &CommandLine, stdin: Vec<u8>) -> mlua::Result<Output> {
    let output = line.output_with(stdin).map_err(external)?;
    io::stderr().write_all(&output.stderr)?;
    Ok(output)
}

/// Runs a line, whose output goes to that of this process.
pub(super) fn run_shown(line: &CommandLine, stdin: Vec<u8>) -> mlua::Result<Output> {
    let output = run(line, stdin)?;
    io::stdout().write_all(&output.stdout)?;
    Ok(output)
}

/// The end of a command line, as `os.execute` and the `close` of `io.popen` return it.
pub(super) fn ended(lua: &Lua, output: &Output) -> mlua::Result<MultiValue> {
    let success = if output.status.success() { Value::Boolean(true) } else { Value::Nil };
    (success, "exit", sys::shell_status(output.status)).into_lua_multi(lua)
}

#[expect(
    clippy::disallowed_methods,
    reason = "without a session, the script's `os.getenv` is the real one"
)]
fn getenv(lua: &Lua, name: LuaString) -> mlua::Result<Value> {
    let name = os_string(&name);
    let value = match bench::current() {
        Lookup::Open(bench) => bench.env.get(&name).cloned(),
        Lookup::Absent => std::env::var_os(&name),
        Lookup::Closed(_, ended) => return Err(external(ended)),
    };
    match value {
        Some(value) => Ok(Value::String(lua.create_string(value.as_encoded_bytes())?)),
        None => Ok(Value::Nil),
    }
}

/// The seconds since 1970 of a date in UTC, whose parts need not be in their ranges.
fn utc(
    _: &Lua,
    (year, month, day, hour, minute, second): (i64, i64, i64, i64, i64, i64),
) -> mlua::Result<i64> {
    let out_of_range = || mlua::Error::runtime("the date is out of the range of the calendar");
    let months = year
        .checked_mul(12)
        .and_then(|months| months.checked_add(month)?.checked_sub(1))
        .ok_or_else(out_of_range)?;
    let year = i16::try_from(months.div_euclid(12)).map_err(|_| out_of_range())?;
    let month = months.rem_euclid(12) as i8 + 1;
    let first = Date::new(year, month, 1).map_err(external)?;
    let first = first.to_zoned(TimeZone::UTC).map_err(external)?;
    let parts = [(day - 1, 86_400), (hour, 3600), (minute, 60), (second, 1)];
    parts
        .into_iter()
        .try_fold(first.timestamp().as_second(), |sum, (count, seconds)| {
            sum.checked_add(count.checked_mul(seconds)?)
        })
        .ok_or_else(out_of_range)
}

/// The next number of the session's random stream for Lua; without a session, one of the host's.
fn random() -> i64 {
    let mut bytes = [0; 8];
    match bench::current() {
        Lookup::Open(bench) | Lookup::Closed(bench, _) => {
            bench.vm_random("lua").fill(&mut bytes);
        }
        Lookup::Absent => return testbench_clock::now().unix_nanos() as i64,
    }
    i64::from_le_bytes(bytes)
}
