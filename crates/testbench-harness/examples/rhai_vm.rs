#![allow(clippy::print_stdout, reason = "an example shows what it did")]
//! A program with a Rhai machine inside, tested without starting a single process.
//!
//! ```sh
//! cargo run -p testbench-harness --example rhai_vm --features rhai
//! ```

use testbench_harness::vm::rhai::RhaiPlugin;
use testbench_harness::vm::{Handle, VmPlugin};
use testbench_harness::{Testbench, Toolchain};

/// A user's script: it thinks that it is waiting, sorting and writing.
const NIGHTLY: &str = r#"
    sleep(6 * 3600);
    let names = run("sort", ["-u", "names.txt"]);
    if !names.success { throw names.stderr; }
    fs::write("report.txt", "names:\n" + names.stdout);
    print(`done at ${now()} s`);
"#;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("names.txt"), "mia\nada\nmia\n")?;

    let session =
        Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin()).build()?.enter();

    let mut engine = rhai::Engine::new();
    RhaiPlugin.install(&mut engine, &Handle::capture())?;
    engine.run(NIGHTLY)?;

    let report = session.finish()?;
    println!("{:?} of virtual time, and these changes:\n{}", report.virtual_time, report.diff);
    assert!(!dir.path().join("report.txt").exists(), "the real directory is as it was");
    Ok(())
}
