//! `testbench run`: runs one module with the given directories, environment and clock.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Clock, MockClock, Seed, SystemClock};
use testbench_overlay::{HostDir, Overlay};
use testbench_wasi::{
    Exit, GuestSpec, Limits, Module, ModuleError, Mount, StartError, Stdin, Stdout,
};

use crate::args::{ClockChoice, Mapping, RunArgs};
use crate::failure::{ABORTED, Failure, KILLED, NOT_FOUND, OWN, REFUSED};

/// Runs the module to its end. Returns its exit status.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let Some((module, guest_args)) = args.module_and_args.split_first() else {
        return Err(Failure::new(OWN, "no module is given"));
    };
    // Arguments after the module may start with a dash, so the parser accepts such a module too.
    if module.as_encoded_bytes().starts_with(b"-") {
        let flag = module.display();
        return Err(Failure::new(
            OWN,
            format_args!(
                "`{flag}` is not a flag of `testbench run` (`--help` lists them); a module of that \
                 name is written `./{flag}`"
            ),
        ));
    }
    if args.diff_out.is_some() && args.overlays.len() > 1 {
        return Err(Failure::new(
            OWN,
            "--diff-out takes the diff of one overlay, but several are given; mount one directory \
             that holds them all",
        ));
    }
    let module =
        Module::from_file(Path::new(module)).map_err(StartError::Module).map_err(refused)?;
    let clock = clock(args.clock, args.tick)?;
    let mut mounts = args.dirs.iter().map(host_dir).collect::<Result<Vec<Mount>, Failure>>()?;
    let overlays = args.overlays.iter().map(|mapping| overlay(mapping, &clock));
    let overlays = overlays.collect::<Result<Vec<_>, Failure>>()?;
    mounts.extend(overlays.iter().map(|o| Mount::new(o.clone(), o.guest_root())));

    let limits = Limits { watchdog: None, fuel: args.fuel, ..Limits::default() };
    let mut spec = GuestSpec::new(module)
        .args(guest_args.iter().map(into_bytes))
        .stdin(Stdin::Inherit)
        .stdout(Stdout::Inherit)
        .stderr(Stdout::Inherit)
        .clock(clock)
        .random(Seed::new(args.seed).stream("guest"))
        .limits(limits);
    if let Some(name) = &args.argv0 {
        spec = spec.arg0(into_bytes(name));
    }
    for variable in &args.env {
        if let Some((key, value)) = variable_of(variable) {
            spec = spec.env(key, value);
        }
    }
    for mount in mounts {
        spec = spec.mount(mount);
    }

    let real = SystemClock::new("testbench run");
    let begin = real.mono();
    let finished = testbench_wasi::run(spec).map_err(refused)?;
    if let (Some(file), [overlay]) = (&args.diff_out, overlays.as_slice()) {
        write_diff(file, overlay)?;
    }
    if finished.exit.code().is_none() {
        tell(format_args!("testbench: {}", finished.exit));
    }
    if args.summary {
        let real = real.mono().duration_since(begin);
        let (status, virtual_time) = (status_of(&finished.exit), finished.virtual_time);
        tell(format_args!("testbench: status {status}, {virtual_time:?} virtual, {real:.3?} real"));
    }
    Ok(ExitCode::from(status_of(&finished.exit)))
}

/// The status that a shell shows for the same end of a process.
fn status_of(exit: &Exit) -> u8 {
    match exit {
        Exit::Code(code) => (code & 0xff) as u8,
        Exit::Trap(_) => ABORTED,
        _ => KILLED,
    }
}

fn refused(error: StartError) -> Failure {
    let status = match &error {
        StartError::Module(ModuleError::Missing { .. }) => NOT_FOUND,
        StartError::Module(_) => REFUSED,
        _ => OWN,
    };
    Failure::new(status, error)
}

fn clock(choice: ClockChoice, tick: Option<Duration>) -> Result<Arc<dyn Clock>, Failure> {
    match (choice, tick) {
        (ClockChoice::Real, None) => Ok(Arc::new(SystemClock::new("testbench run"))),
        (ClockChoice::Real, Some(_)) => {
            Err(Failure::new(OWN, "--tick moves a paused clock, but --clock is real; give one"))
        }
        (ClockChoice::PausedAt(start), tick) => {
            let clock = MockClock::builder().start(start).tick_per_read(tick.unwrap_or_default());
            let clock = clock.try_build().map_err(|e| Failure::own("--tick", e))?;
            Ok(clock)
        }
    }
}

fn host_dir(mapping: &Mapping) -> Result<Mount, Failure> {
    let dir = HostDir::open(&mapping.host)
        .map_err(|e| Failure::own(format_args!("--dir {}", mapping.host.display()), e))?;
    let dir = if mapping.read_only { dir.read_only() } else { dir };
    Ok(Mount::new(Arc::new(dir), mapping.guest.as_str()))
}

fn overlay(mapping: &Mapping, clock: &Arc<dyn Clock>) -> Result<Arc<Overlay>, Failure> {
    let overlay = Overlay::builder(&mapping.host)
        .clock(clock.clone())
        .mounted_at(mapping.guest.as_str())
        .build();
    overlay.map_err(|e| Failure::own(format_args!("--overlay {}", mapping.host.display()), e))
}

/// `NAME=VALUE` as it is; `NAME` with the value in this process, `None` if it has none.
fn variable_of(text: &OsString) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = into_bytes(text);
    if let Some(at) = bytes.iter().position(|b| *b == b'=') {
        return Some((bytes[..at].to_vec(), bytes[at + 1..].to_vec()));
    }
    #[expect(clippy::disallowed_methods, reason = "the user asks for this variable by its name")]
    let value = std::env::var_os(text)?;
    Some((bytes, into_bytes(&value)))
}

/// As the guest gets it: raw bytes on Unix, UTF-8 elsewhere.
fn into_bytes(text: &OsString) -> Vec<u8> {
    text.as_encoded_bytes().to_vec()
}

fn write_diff(file: &Path, overlay: &Overlay) -> Result<(), Failure> {
    let attempt = format!("--diff-out {}", file.display());
    let diff = overlay.diff().map_err(|e| Failure::own(&attempt, e))?;
    let bytes = match file.extension().and_then(|e| e.to_str()) {
        Some("json") => diff.to_json().into_bytes(),
        Some("patch") => diff.patch(),
        _ => diff.to_string().into_bytes(),
    };
    let written = if file == Path::new("-") {
        std::io::stderr().write_all(&bytes)
    } else {
        #[expect(clippy::disallowed_methods, reason = "the user names the file")]
        std::fs::write(file, bytes)
    };
    written.map_err(|e| Failure::own(&attempt, e))
}

/// Prints text for people. Failing to print it is no failure.
fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
