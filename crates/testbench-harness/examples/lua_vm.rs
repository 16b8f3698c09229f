#![allow(clippy::print_stdout, reason = "an example shows what it did")]
//! A program with a Lua state inside, tested without starting a single process. The script uses
//! nothing but Lua's own functions.
//!
//! ```sh
//! cargo run -p testbench-harness --example lua_vm --features lua
//! ```

use testbench_harness::vm::lua::LuaPlugin;
use testbench_harness::vm::{Handle, VmPlugin};
use testbench_harness::{Testbench, Toolchain};

/// A user's script: it thinks that it is waiting, sorting and writing.
const NIGHTLY: &str = r#"
    os.execute("sleep 6h")
    local report = assert(io.open("report.txt", "w"))
    report:write("names at ", os.date("%H:%M"), ":\n")
    for name in io.popen("sort -u names.txt"):lines() do report:write("- ", name, "\n") end
    report:close()
    assert(os.remove("names.txt"))
"#;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("names.txt"), "mia\nada\nmia\n")?;

    let session =
        Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin()).build()?.enter();

    let mut lua = mlua::Lua::new();
    LuaPlugin.install(&mut lua, &Handle::capture())?;
    lua.load(NIGHTLY).set_name("@nightly.lua").exec()?;

    let report = session.finish()?;
    println!("{:?} of virtual time, and these changes:\n{}", report.virtual_time, report.diff);
    assert!(dir.path().join("names.txt").exists(), "the real directory is as it was");
    Ok(())
}
