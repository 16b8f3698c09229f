//! `testbench demo`: a small build by built-in tools, on an overlay, under a paused clock.
//!
//! The project that is built, and each command line, are data: [`FILES`] and [`STEPS`]. `--json`
//! prints both with their results, so that the steps can be run one by one and compared.
#![allow(clippy::disallowed_methods, reason = "the demo makes a project on the disk")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use testbench_clock::{Clock, SystemClock, WallTime};
use testbench_harness::{Command, Route, SpawnRecord, Testbench, Toolchain};
use testbench_wasi::{ContentHash, ModuleError};

use crate::args::DemoArgs;
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
pub(crate) fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let shown = run().map_err(|e| Failure::own("demo", &*e))?;
    args.format.print("demo", "testbench-demo/1", &shown, || as_text(&shown))
}

/// The object that `--json` prints.
#[derive(Serialize)]
struct Demo {
    /// How far the clock of the build moved, in nanoseconds.
    virtual_ns: u64,
    /// The real time of the whole build, in nanoseconds.
    wall_ns: u64,
    guests: Vec<Guest>,
    files: Vec<File>,
    commands: Vec<Step>,
    diff: serde_json::Value,
    #[serde(skip)]
    diff_text: String,
    #[serde(skip)]
    is_untouched: bool,
}

/// A module that was run.
#[derive(Serialize)]
struct Guest {
    program: String,
    /// BLAKE3 of the `.wasm` file, in hexadecimal.
    blake3: String,
}

/// A file of the directory.
#[derive(Serialize, PartialEq)]
struct File {
    path: String,
    content: String,
}

/// One command line and its result.
#[derive(Serialize)]
struct Step {
    program: String,
    args: Vec<String>,
    /// The guest's wall clock at its start, in RFC 3339.
    started_at: String,
    status: Option<i32>,
    stdout: String,
    stderr: String,
    virtual_ns: u64,
}

fn run() -> Result<Demo, Box<dyn Error>> {
    let real = SystemClock::new("testbench demo");
    let begin = real.mono();
    let dir = tempfile::tempdir()?;
    write_files(dir.path())?;

    let session =
        Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin()).build()?.enter();
    let commands = STEPS
        .iter()
        .map(|line| run_step(line, session.clock().as_ref(), dir.path()))
        .collect::<io::Result<Vec<Step>>>()?;
    let report = session.finish()?;

    Ok(Demo {
        virtual_ns: nanos(report.virtual_time),
        wall_ns: nanos(real.mono().duration_since(begin)),
        guests: guests(&report.spawns)?,
        files: files(),
        commands,
        diff: serde_json::to_value(&report.diff)?,
        diff_text: report.diff.to_string(),
        is_untouched: read_files(dir.path())? == files(),
    })
}

fn run_step(line: &[&str], clock: &dyn Clock, dir: &Path) -> io::Result<Step> {
    let (program, args) = line.split_first().expect("no step is empty");
    let (wall, mono): (WallTime, _) = (clock.wall(), clock.mono());
    let output = Command::new(program).args(args).current_dir(dir).output()?;
    Ok(Step {
        program: (*program).to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        started_at: wall.to_string(),
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        virtual_ns: nanos(clock.mono().duration_since(mono)),
    })
}

/// Each module that was run, once, in the order of names.
fn guests(spawns: &[SpawnRecord]) -> Result<Vec<Guest>, ModuleError> {
    let mut guests = BTreeMap::new();
    for spawn in spawns {
        if let Route::Guest(tool) = &spawn.route {
            guests.insert(tool.name().to_string_lossy().into_owned(), tool.module()?.hash());
        }
    }
    let shown = |(program, hash): (_, ContentHash)| Guest { program, blake3: hash.to_string() };
    Ok(guests.into_iter().map(shown).collect())
}

fn files() -> Vec<File> {
    let owned = |(path, content): &(&str, &str)| File {
        path: (*path).to_owned(),
        content: (*content).to_owned(),
    };
    FILES.iter().map(owned).collect()
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

/// The files of the real directory now, in the order of paths.
fn read_files(dir: &Path) -> Result<Vec<File>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(dir)?.to_string_lossy().into_owned();
            files.push(File { path, content: std::fs::read_to_string(entry.path())? });
        }
    }
    Ok(files)
}

fn nanos(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

fn as_text(demo: &Demo) -> String {
    let mut text = String::from("A build, each tool a WebAssembly guest in this process:\n\n");
    for step in &demo.commands {
        text += "  $ ";
        text += &step.program;
        for arg in &step.args {
            text.push(' ');
            text += arg;
        }
        text.push('\n');
        for line in step.stdout.lines().chain(step.stderr.lines()) {
            text += "  ";
            text += line;
            text.push('\n');
        }
        if let Some(status) = step.status.filter(|status| *status != 0) {
            let _ = writeln!(text, "  (status {status})");
        }
    }
    let virtual_time = std::time::Duration::from_nanos(demo.virtual_ns);
    let wall = std::time::Duration::from_nanos(demo.wall_ns);
    let _ = writeln!(text, "\nVirtual time passed: {virtual_time:?}. Real time: {wall:.3?}.");
    let untouched = if demo.is_untouched { "untouched" } else { "CHANGED" };
    let _ = writeln!(text, "The real directory is {untouched}. In the overlay:\n");
    text += &demo.diff_text;
    text
}
