//! Flat functions for virtual machines that were written against an earlier interface of this
//! kind: one guard for each part, and free functions that read the installed parts.
//!
//! New code is simpler with [`Testbench`](crate::Testbench) and [`Command`]. Both may be mixed: in a
//! session, these functions act on the session.
//!
//! | to | |
//! | --- | --- |
//! | install | [`install_wasi_toolchain`], [`install_overlay`], [`install_override`] (a clock) |
//! | look | [`active_wasi_toolchain`], [`wasi_module_for`], [`active_overlay`], [`is_mocked`] |
//! | run | [`intercept_spawn`], [`run_wasm_module`] |
//! | the time | [`now_ms`], [`instant_now`], [`advance`] |
//!
//! ```
//! use std::time::Duration;
//! use testbench_clock::MockClock;
//! use testbench_harness::compat::{
//!     install_overlay, install_override, install_wasi_toolchain, intercept_spawn, now_ms,
//! };
//! use testbench_overlay::Overlay;
//!
//! # let tools = tempfile::tempdir()?;
//! # let sleeps = format!("{}/guests/sleep.wasm", env!("CARGO_MANIFEST_DIR"));
//! # std::fs::copy(sleeps, tools.path().join("sleep.wasm"))?;
//! # let tools = tools.path();
//! # let project = tempfile::tempdir()?;
//! let _clock = install_override(MockClock::at_wall_ms(0));
//! let _files = install_overlay(Overlay::new(project.path())?);
//! let _tools = install_wasi_toolchain(tools); // has sleep.wasm
//!
//! let output = intercept_spawn("sleep", ["90"], None).expect("the toolchain has it")?;
//! assert!(output.status.success());
//! assert_eq!(now_ms(), 90_000);
//! assert!(intercept_spawn("make", ["all"], None).is_none()); // ours to run
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use testbench_clock::{Clock, Guard, Lifetime, Lookup, Scope, Seed};
use testbench_overlay::Overlay;

use crate::bench::{self, Bench};
use crate::command::{Command, session_here};
use crate::config::SessionConfig;
use crate::error::SpawnError;
use crate::files::{self, Files};
use crate::names::tool_name;
use crate::refusal::Refusal;
use crate::route::{self, Route};
use crate::streams::Collect;
use crate::toolchain::{Tool, Toolchain};
use crate::{spawn, strict, sys};

/// The reading of this thread's wall clock in milliseconds since 1970; as
/// [`testbench_clock::now_ms`].
#[doc(inline)]
pub use testbench_clock::now_ms;

/// The reading of this thread's monotonic clock; as [`testbench_clock::instant_now`].
#[doc(inline)]
pub use testbench_clock::instant_now;

/// Moves this thread's mock clock; as [`testbench_clock::advance`].
#[doc(inline)]
pub use testbench_clock::advance;

/// Whether this thread's clock is a mock; as [`testbench_clock::is_mocked`].
#[doc(inline)]
pub use testbench_clock::is_mocked;

/// Makes spawns of `<program>` run `<dir>/<program>.wasm`, on this thread, until the guard drops.
///
/// It counts for [`intercept_spawn`], [`wasi_module_for`] and [`active_wasi_toolchain`] where there
/// is no session, and for [`testbench_wasi::active_programs`]. A session has the toolchain of its
/// builder.
///
/// # Panics
///
/// If `dir` is not a directory that can be listed, or its `testbench.toml` is wrong: without its
/// tools a test would start the host's programs.
#[track_caller]
pub fn install_wasi_toolchain(dir: impl AsRef<Path>) -> WasiToolchainGuard {
    let toolchain = Toolchain::open(dir).unwrap_or_else(|error| panic!("{error}"));
    let lifetime = Lifetime::new("toolchain");
    let below = testbench_wasi::install_programs_for(toolchain.first(), &lifetime);
    let flat = Arc::new(Flat { toolchain, spawns: AtomicU64::new(0) });
    let guard = FLAT.install(flat, &lifetime).owning(lifetime);
    WasiToolchainGuard { _guards: [guard, below] }
}

/// Keeps a toolchain installed on its thread; see [`install_wasi_toolchain`].
#[derive(Debug)]
#[must_use = "the toolchain is gone again as soon as the guard is dropped"]
pub struct WasiToolchainGuard {
    _guards: [Guard; 2],
}

/// The toolchain of this thread: its session's, else the one that was
/// [installed](install_wasi_toolchain) last. `None` if there is none.
pub fn active_wasi_toolchain() -> Option<Toolchain> {
    let toolchain = match bench::current() {
        Lookup::Open(bench) | Lookup::Closed(bench, _) => bench.toolchain.clone(),
        Lookup::Absent => match FLAT.get() {
            Lookup::Open(flat) | Lookup::Closed(flat, _) => flat.toolchain.clone(),
            Lookup::Absent => return None,
        },
    };
    (!toolchain.is_empty()).then_some(toolchain)
}

/// The file of the module that stands in for `program`, by the [active
/// toolchain](active_wasi_toolchain); policies are not asked. `None` if that does not have the
/// program, or has it in memory ([`Toolchain::builtin`], which [`intercept_spawn`] runs as well).
///
/// ```
/// use testbench_harness::compat::{install_wasi_toolchain, wasi_module_for};
///
/// let tools = tempfile::tempdir()?;
/// std::fs::write(tools.path().join("jq.wasm"), b"")?;
/// let _tools = install_wasi_toolchain(tools.path());
/// assert_eq!(wasi_module_for("jq"), Some(tools.path().join("jq.wasm")));
/// assert_eq!(wasi_module_for("/usr/bin/jq"), wasi_module_for("jq"));
/// assert_eq!(wasi_module_for("git"), None);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wasi_module_for(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let toolchain = active_wasi_toolchain()?;
    let name = tool_name(program.as_ref(), |dir| toolchain.claims(dir))?;
    toolchain.find(name)?.path()
}

/// The result of [`run_wasm_module`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WasiOutput {
    /// The bytes written to standard output.
    pub stdout: Vec<u8>,
    /// The bytes written to standard error.
    pub stderr: Vec<u8>,
    /// Its exit code, 0 to 255; for a guest that was ended by force what a shell would show: 134
    /// for a trap, 137 for a limit.
    pub exit_code: i32,
    /// The whole milliseconds that passed on this thread's clock.
    pub virtual_duration_ms: u64,
}

/// Runs the module in the file `path` to its end, whatever the toolchain has: on this thread's
/// clock, with the overlay as its files, an empty standard input, and `env` and `PWD` as its whole
/// environment. `argv[0]` is the file's name without `.wasm`.
///
/// In a session it is one of the session's spawns: on its tape, in its report, within its limits.
///
/// ```
/// use testbench_harness::compat::{install_override, run_wasm_module};
///
/// # let path = format!("{}/guests/env.wasm", env!("CARGO_MANIFEST_DIR"));
/// let _clock = install_override(testbench_clock::MockClock::builder().build());
/// let output = run_wasm_module(path, [""; 0], [("GREETING", "hello")])?;
/// assert_eq!((output.exit_code, output.virtual_duration_ms), (0, 0));
/// assert!(output.stdout.starts_with(b"GREETING=hello\n"));
/// # Ok::<(), testbench_harness::SpawnError>(())
/// ```
///
/// # Errors
///
/// When the file is not a module that can be run, an argument or a variable cannot be passed, or the
/// session has ended.
pub fn run_wasm_module<A, E, K, V>(
    path: impl AsRef<Path>,
    args: A,
    env: E,
) -> Result<WasiOutput, SpawnError>
where
    A: IntoIterator,
    A::Item: AsRef<OsStr>,
    E: IntoIterator<Item = (K, V)>,
    K: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let path = path.as_ref();
    let mut command = Command::new(path.file_stem().unwrap_or(path.as_os_str()));
    command.args(args).env_clear().envs(env);
    let bench = bench_here(&command.spec.program)?;
    command.spec.check()?;
    let route = Route::Guest(Tool::of_file(path));
    let clock = testbench_clock::current();
    let finished = spawn::run_by(&bench, &clock, &mut command.spec, route, Collect::Output)?;
    let ms = finished.virtual_time.as_millis();
    Ok(WasiOutput {
        exit_code: sys::shell_status(finished.exit.status()),
        stdout: finished.stdout,
        stderr: finished.stderr,
        virtual_duration_ms: u64::try_from(ms).unwrap_or(u64::MAX),
    })
}

/// Gives this thread's files to `overlay` until the guard drops, for guests and for
/// [`testbench_overlay::fs`]; as [`testbench_overlay::install()`].
#[track_caller]
pub fn install_overlay(overlay: Arc<Overlay>) -> Guard {
    testbench_overlay::install(overlay)
}

/// The overlay of this thread. It is also returned when its session has ended, so that a caller never
/// takes that for the real disk.
pub fn active_overlay() -> Option<Arc<Overlay>> {
    match testbench_overlay::active() {
        Lookup::Open(overlay) | Lookup::Closed(overlay, _) => Some(overlay),
        Lookup::Absent => None,
    }
}

/// Makes `clock` this thread's clock until the guard drops; as [`testbench_clock::install`].
#[track_caller]
pub fn install_override(clock: Arc<dyn Clock>) -> Guard {
    testbench_clock::install(clock)
}

/// Runs a program the way this thread's session would, or leaves it to the caller.
///
/// Call it from the one place where a virtual machine starts programs. Standard input is empty, the
/// environment is the session's, and `cwd` is as for [`Command::current_dir`].
///
/// * `None`: the program is the caller's to start. This thread has no session, or the session's
///   policy runs the program natively; or there is a [toolchain](install_wasi_toolchain) without a
///   session, and it lacks the program.
/// * `Some(Ok(_))`: it ran as a guest.
/// * `Some(Err(_))`: it was refused, or could not be started; see
///   [`SpawnError`]. So is everything on a thread without a session, while one
///   with [`strict_threads`](crate::TestbenchBuilder::strict_threads) is there.
///
/// ```
/// use testbench_harness::{Testbench, Toolchain, intercept_spawn};
///
/// assert!(intercept_spawn("wc", ["-l"], None).is_none());
///
/// let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
/// let output = intercept_spawn("wc", ["-l"], None).unwrap()?;
/// assert!(output.status.success());
/// assert!(intercept_spawn("no-such-program", [""; 0], None).unwrap().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn intercept_spawn<I>(
    program: impl AsRef<OsStr>,
    args: I,
    cwd: Option<&Path>,
) -> Option<io::Result<Output>>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(args);
    if let Some(dir) = cwd {
        command.current_dir(dir);
    }
    if matches!(bench::current(), Lookup::Absent)
        && strict::refusal(&command.spec.program).is_none()
    {
        return run_flat(&mut command);
    }
    match command.route() {
        Route::Native { .. } => None,
        Route::Guest(_) | Route::Replay(_) | Route::Refuse(_) => Some(command.output()),
    }
}

/// A toolchain without a session.
#[derive(Debug)]
struct Flat {
    toolchain: Toolchain,
    /// How many guests it has started: each gets randomness of its own.
    spawns: AtomicU64,
}

static FLAT: Scope<Flat> = Scope::new("flat toolchain");

/// [`intercept_spawn`] by an installed toolchain, without a session.
fn run_flat(command: &mut Command) -> Option<io::Result<Output>> {
    if matches!(FLAT.get(), Lookup::Absent) {
        return None;
    }
    let bench = match bench_here(&command.spec.program) {
        Ok(bench) => bench,
        Err(error) => return Some(Err(error.into())),
    };
    let route @ Route::Guest(_) = route::resolve(&bench, &command.spec) else { return None };
    let clock = testbench_clock::current();
    let run = || {
        command.spec.check()?;
        spawn::run_by(&bench, &clock, &mut command.spec, route, Collect::Output)
    };
    Some(run().map(Output::from).map_err(io::Error::from))
}

/// The session of this thread; without one, a session made of the installed parts.
fn bench_here(program: &OsStr) -> Result<Arc<Bench>, SpawnError> {
    if let Some(bench) = session_here(program)? {
        return Ok(bench);
    }
    let (toolchain, seed) = match FLAT.get() {
        Lookup::Absent => (Toolchain::default(), 0),
        Lookup::Open(flat) => (flat.toolchain.clone(), flat.spawns.fetch_add(1, Ordering::Relaxed)),
        Lookup::Closed(_, ended) => return Err(Refusal::Ended(ended).into()),
    };
    Ok(Arc::new(Bench::new(SessionConfig {
        name: Some("no session".to_owned()),
        seed: Seed::new(seed),
        toolchain,
        files: files_here()?,
        env: BTreeMap::from([("TZ".into(), "UTC".into())]),
        ..SessionConfig::default()
    })))
}

fn files_here() -> Result<Files, SpawnError> {
    let mut files = Files::default();
    match testbench_overlay::active() {
        Lookup::Absent => {}
        Lookup::Closed(_, ended) => return Err(Refusal::Ended(ended).into()),
        Lookup::Open(overlay) => {
            // A root that has gone has one name still.
            let names = overlay.host_root().map_or(Vec::new(), |root| {
                files::host_names(root).unwrap_or_else(|_| vec![root.to_owned()])
            });
            let guest_root = overlay.guest_root().to_vec();
            let own = names.iter().any(|name| sys::guest_path(name) == guest_root);
            files.set_overlay(overlay, names, (!own).then_some(guest_root));
        }
    }
    Ok(files)
}
