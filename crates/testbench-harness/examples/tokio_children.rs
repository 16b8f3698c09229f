//! Async code that starts programs: a build whose steps run side by side, with a deadline.
//!
//! The code under test is `build`. It would be the same with `tokio::process::Command`; only the
//! import differs. Here it runs as WebAssembly, on a clock that moves when all participants wait: steps of
//! minutes take no time, and how long the whole takes is exact.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;
use std::time::Duration;

use testbench_clock::task::timeout;
use testbench_harness::tokio::Command;
use testbench_harness::{Testbench, Toolchain};

/// Compiles two parts side by side, then links them.
async fn build() -> io::Result<()> {
    let compile = |part: &str, minutes: &str| {
        let sources = format!("{part}.c");
        Command::new("slowcp").args([minutes, &sources, &format!("{part}.o")]).output()
    };
    let (main, util) = tokio::try_join!(compile("main", "3m"), compile("util", "2m"))?;
    for step in [main, util] {
        if !step.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&step.stderr).into_owned()));
        }
    }
    let linked = Command::new("cat").args(["main.o", "util.o"]).output().await?;
    assert_eq!(linked.stdout, b"main\nutil\n");
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let project = tempfile::tempdir()?;
    for part in ["main", "util"] {
        std::fs::write(project.path().join(format!("{part}.c")), format!("{part}\n"))?;
    }
    let session = Testbench::builder()
        .overlay(project.path())
        .toolchain(Toolchain::builtin())
        .build()?
        .enter();

    let runtime = testbench_clock::tokio::runtime()?;
    let hour = Duration::from_secs(3600);
    runtime.block_on(timeout(hour, build()))???;

    let report = session.finish()?;
    println!(
        "{} steps in {:?}\n{}",
        report.spawns.len(),
        report.virtual_time,
        report.diff.summary()
    );
    assert_eq!(report.virtual_time, Duration::from_secs(180), "the longer of the two");
    assert_eq!(report.diff.summary(), "A main.o\nA util.o\n");
    Ok(())
}
