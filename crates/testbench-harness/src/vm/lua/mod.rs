//! [`LuaPlugin`]: Lua's own `os` and `io`, on the session.
//!
//! Scripts do not change. The plugin replaces
//!
//! | functions | by |
//! | --- | --- |
//! | `os.execute`, `io.popen` | a [`CommandLine`](super::CommandLine) |
//! | `os.time`, `os.date` | the session's wall clock, in UTC |
//! | `os.clock` | its monotonic clock, in seconds |
//! | `io.open`, `io.lines`, `io.input`, `io.output`, `io.read`, `io.write`, `io.close`, `io.type`, `io.tmpfile` | files of `testbench_overlay::fs` |
//! | `os.remove`, `os.rename`, `os.tmpname`, `loadfile`, `dofile` | the same |
//! | `os.getenv` | the session's environment |
//! | `os.exit` | an error: it would end every test of the process |
//! | `math.randomseed()` | the session's seed, which is also set at the installation |
//!
//! Results, errors and their order are those of the [Lua 5.4 manual]. A failed call returns `nil`,
//! the system's text and its number. An error that is raised is a string with its position. Names
//! of files are bytes; command lines are UTF-8.
//!
//! ```
//! use testbench_harness::{Testbench, Toolchain};
//! use testbench_harness::vm::{Handle, VmPlugin, lua::LuaPlugin};
//!
//! let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
//! let mut lua = mlua::Lua::new();
//! LuaPlugin.install(&mut lua, &Handle::capture())?;
//! let seen: String = lua.load(r#"
//!     os.execute("sleep 3600") -- takes no time
//!     return io.popen("seq 3 | sort -r"):read("l") .. os.date(" %H:%M")
//! "#).eval()?;
//! assert_eq!(seen, "3 01:00");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [Lua 5.4 manual]: https://www.lua.org/manual/5.4/manual.html#6.8

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use super::{Handle, Uncovered, VmPlugin};
use crate::sys;

mod file;
mod os;

/// Puts the functions of this [module](self) into a Lua state.
#[derive(Clone, Copy, Debug, Default)]
pub struct LuaPlugin;

const UNCOVERED: &[Uncovered] = &[
    Uncovered::new(
        "require, package.loadlib",
        "they search the real disk; give modules to the state with `package.preload`",
    ),
    Uncovered::new("io.stdin, io.stdout, io.stderr, print", "they are the process's own streams"),
    Uncovered::new(
        "pairs",
        "Lua orders string keys by a hash that differs from process to process; sort keys \
         before they are shown",
    ),
    Uncovered::new("os.setlocale", "it changes the locale of the whole process"),
    Uncovered::new("debug", "its functions can undo every replacement"),
];

impl VmPlugin<Lua> for LuaPlugin {
    type Error = mlua::Error;

    fn install(&self, lua: &mut Lua, handle: &Handle) -> Result<(), mlua::Error> {
        let native = lua.create_table()?;
        os::register(lua, &native, handle)?;
        file::register(lua, &native, handle)?;
        raise_errors(lua, &native)?;
        lua.load(include_str!("prelude.lua")).set_name("=testbench").call::<()>(native)
    }

    fn uncovered(&self) -> &[Uncovered] {
        UNCOVERED
    }
}

/// A failure that a function returns as `nil`, a text and a number.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
struct Failure {
    /// The path that the text names.
    path: Option<OsString>,
    source: io::Error,
}

impl Failure {
    fn results(&self, lua: &Lua) -> mlua::Result<MultiValue> {
        let number = self.source.raw_os_error().unwrap_or(0);
        let mut text = self.path.as_deref().map(sys::guest_bytes).unwrap_or_default();
        if !text.is_empty() {
            text.extend(b": ");
        }
        // The number is a result of its own.
        let shown = self.source.to_string();
        let suffix = format!(" (os error {number})");
        text.extend(shown.strip_suffix(&suffix).unwrap_or(&shown).as_bytes());
        (true, Value::Nil, lua.create_string(text)?, number).into_lua_multi(lua)
    }
}

/// Makes the error of a function that [was added](add) and fails as a function of C does.
fn failed(path: Option<&OsStr>) -> impl FnOnce(io::Error) -> mlua::Error {
    let path = path.map(OsStr::to_owned);
    |source| external(Failure { path, source })
}

/// Bytes of Lua as a string of the host.
pub(in crate::vm) fn os_string(text: &LuaString) -> OsString {
    sys::os_string(text.as_bytes().to_vec())
}

pub(in crate::vm) fn external(error: impl Into<Box<dyn Error + Send + Sync>>) -> mlua::Error {
    let error: Arc<dyn Error + Send + Sync> = Arc::from(error.into());
    mlua::Error::ExternalError(error)
}

/// Adds a function that runs within the session that its call belongs to.
///
/// It returns `true` and its results, which are those of a [`Failure`] if it fails with that, or
/// `false` and the text of another error: [`raise_errors`] makes an error of Lua from that, which is
/// a string, while one from here would be userdata.
pub(in crate::vm) fn add<A, R>(
    lua: &Lua,
    to: &Table,
    handle: &Handle,
    name: &str,
    f: impl Fn(&Lua, A) -> mlua::Result<R> + mlua::MaybeSend + 'static,
) -> mlua::Result<()>
where
    A: mlua::FromLuaMulti,
    R: IntoLuaMulti,
{
    let on = handle.clone();
    let function = lua.create_function(move |lua, args: MultiValue| {
        let result = A::from_lua_multi(args, lua).and_then(|args| on.within(|| f(lua, args)));
        match result {
            Ok(results) => {
                let mut results = results.into_lua_multi(lua)?;
                results.push_front(Value::Boolean(true));
                Ok(results)
            }
            Err(mlua::Error::RuntimeError(text)) => (false, text).into_lua_multi(lua),
            Err(error) => match error.downcast_ref::<Failure>() {
                Some(failure) => failure.results(lua),
                None => (false, error.to_string()).into_lua_multi(lua),
            },
        }
    })?;
    to.set(name, function)
}

/// Makes functions that were [added](add) to `table` raise their errors.
pub(in crate::vm) fn raise_errors(lua: &Lua, table: &Table) -> mlua::Result<()> {
    let wrap = lua.load(include_str!("raise.lua"));
    wrap.set_name("=testbench").call::<()>(table)
}
