//! [`LuaPlugin`]: Lua's own `os` and `io`, on the session.
//!
//! Scripts change nothing. Replaced are
//!
//! | | by |
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
//! Results, errors and their order are those of the [Lua 5.4 manual]. Messages of failed calls
//! carry the system's text, and its number as third result.
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

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::{Handle, Uncovered, VmPlugin};

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
    Uncovered::new("debug", "whoever has it can undo every replacement"),
];

impl VmPlugin<Lua> for LuaPlugin {
    type Error = mlua::Error;

    fn install(&self, lua: &mut Lua, handle: &Handle) -> Result<(), mlua::Error> {
        let native = lua.create_table()?;
        os::register(lua, &native, handle)?;
        file::register(lua, &native, handle)?;
        lua.load(include_str!("prelude.lua")).set_name("=testbench").call::<()>(native)
    }

    fn uncovered(&self) -> &[Uncovered] {
        UNCOVERED
    }
}

/// What Lua's functions answer when something failed that may fail: `nil`, a text and a number.
fn failed(lua: &Lua, about: Option<&str>, error: &std::io::Error) -> mlua::Result<MultiValue> {
    let number = error.raw_os_error();
    let text = error.to_string();
    // The number is an answer of its own here.
    let text = number
        .and_then(|number| text.strip_suffix(&format!(" (os error {number})")))
        .unwrap_or(&text);
    let text = match about {
        Some(about) => format!("{about}: {text}"),
        None => text.to_owned(),
    };
    (Value::Nil, text, number.unwrap_or(0)).into_lua_multi(lua)
}

/// Adds a function that runs within the session that its call belongs to.
fn add<A, R>(
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
    to.set(name, lua.create_function(move |lua, args: A| on.within(|| f(lua, args)))?)
}
