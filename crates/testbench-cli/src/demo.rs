//! `testbench demo`: a small build by built-in tools, on an overlay, under a paused clock.
//!
//! The project that is built, and each command line, are data: [`FILES`] and [`STEPS`]. `--json`
//! prints both with their results, so that the steps can be run one by one and compared.
#![allow(clippy::disallowed_methods, reason = "the demo makes a project on the disk")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use testbench_clock::{Clock, SystemClock};
use testbench_harness::{Command, Route, SpawnRecord, Testbench, Toolchain};
use testbench_wasi::ModuleError;

use crate::args::Format;
use crate::failure::Failure;

/// The files before the build. The sources have changed since the last one.
const FILES: &[(&str, &str)] = &[
    ("notes.txt", "milk\napples\nbread\napples\n"),
    ("out/app", "app: linked before\n"),
    ("out/gone.obj", "object of a source that is gone\n"),
    ("out/manifest.txt", "nothing yet\n"),
    ("src/config.h", "limit 10\n"),
    ("src/main.src", "#include \"config.h\"\nmain calls util\n"),
    ("src/net.src", "net waits\n"),
    ("src/util.src", "util counts\n"),
];

/// The command lines, run in order in the directory.
const STEPS: &[&[&str]] = &[
    &["date"],
    &["build", "src", "out"],
    &["date"],
    &["ls", "out"],
    &["sort", "-u", "-o", "list.txt", "notes.txt"],
    &["cat", "-n", "list.txt"],
    &["rm", "notes.txt"],
];

/// Runs the build and prints its steps, its times and its diff.
pub(crate) fn demo(format: Format) -> Result<ExitCode, Failure> {
    let (json, text) = run().map_err(|e| Failure::own("demo", &*e))?;
    format.print("demo", "testbench-demo/1", &json, || text)
}

/// Runs the build. Returns its result as JSON and as text.
fn run() -> Result<(Value, String), Box<dyn Error>> {
    let real = SystemClock::new("testbench demo");
    let begin = real.mono();
    let dir = tempfile::tempdir()?;
    write_files(dir.path())?;

    let session =
        Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin()).build()?.enter();
    let mut text = String::from("A build, each tool a WebAssembly guest in this process:\n\n");
    let mut commands = Vec::new();
    for line in STEPS {
        commands.push(run_step(line, session.clock().as_ref(), dir.path(), &mut text)?);
    }
    let report = session.finish()?;

    let (virtual_time, wall) = (report.virtual_time, real.mono().duration_since(begin));
    text += &format!("\nVirtual time passed: {virtual_time:?}. Real time: {wall:.3?}.\n");
    let untouched = if is_untouched(dir.path())? { "untouched" } else { "CHANGED" };
    text += &format!("The real directory is {untouched}. In the overlay:\n\n{}", report.diff);
    let files = FILES.iter().map(|(path, content)| json!({ "path": path, "content": content }));
    let json = json!({
        "virtual_ns": nanos(virtual_time),
        "wall_ns": nanos(wall),
        "guests": guests(&report.spawns)?,
        "files": files.collect::<Vec<Value>>(),
        "commands": commands,
        "diff": report.diff,
    });
    Ok((json, text))
}

/// Runs one command line and adds its output to `text`.
fn run_step(line: &[&str], clock: &dyn Clock, dir: &Path, text: &mut String) -> io::Result<Value> {
    let (program, args) = line.split_first().expect("no step is empty");
    let (wall, mono) = (clock.wall(), clock.mono());
    let output = Command::new(program).args(args).current_dir(dir).output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    *text += &format!("  $ {}\n", line.join(" "));
    for line in stdout.lines().chain(stderr.lines()) {
        *text += &format!("  {line}\n");
    }
    let status = output.status.code();
    if let Some(status) = status.filter(|status| *status != 0) {
        *text += &format!("  (status {status})\n");
    }
    Ok(json!({
        "program": program,
        "args": args,
        // The guest's wall clock at its start, in RFC 3339.
        "started_at": wall.to_string(),
        "status": status,
        "stdout": stdout,
        "stderr": stderr,
        "virtual_ns": nanos(clock.mono().duration_since(mono)),
    }))
}

/// Each module that was run, once, in the order of names, with the BLAKE3 hash of its file.
fn guests(spawns: &[SpawnRecord]) -> Result<Vec<Value>, ModuleError> {
    let mut guests = BTreeMap::new();
    for spawn in spawns {
        if let Route::Guest(tool) = &spawn.route {
            guests.insert(tool.name().to_string_lossy(), tool.module()?.hash().to_string());
        }
    }
    let guests = guests.into_iter();
    Ok(guests.map(|(program, hash)| json!({ "program": program, "blake3": hash })).collect())
}

fn write_files(dir: &Path) -> io::Result<()> {
    for (path, content) in FILES {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    Ok(())
}

/// Whether the real directory has the files of before the build, and no others.
fn is_untouched(dir: &Path) -> Result<bool, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let content = std::fs::read_to_string(entry.path())?;
            files.push((entry.path().strip_prefix(dir)?.to_owned(), content));
        }
    }
    let expected = FILES.iter().map(|(path, content)| (PathBuf::from(path), (*content).to_owned()));
    Ok(expected.eq(files))
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
