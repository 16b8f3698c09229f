//! [`RhaiPlugin`]: tools, time and files for Rhai scripts.
//!
//! | in a script | is |
//! | --- | --- |
//! | `run(program, args)`, `run(program, args, options)` | a spawn; see below |
//! | `sh(line)` | a [`CommandLine`](super::CommandLine) |
//! | `now()`, `now_ns()` | the wall clock: seconds (a float) or nanoseconds since 1970 |
//! | `timestamp()` | the monotonic clock, with `.elapsed` and `-` in seconds, as in plain Rhai |
//! | `sleep(seconds)` | a sleep on the session's clock |
//! | `fs::read(path)`, `fs::write(path, text)`, … | `testbench_overlay::fs`, by the names of `std::fs` |
//!
//! `run` and `sh` return `#{ status, success, stdout, stderr, virtual_time }`: the exit code (128
//! and the signal's number if a signal ended it), strings (blobs where the output is not UTF-8),
//! and the seconds that passed on the clock. The options are `stdin` (a string or a blob), `env` (a
//! map), `cwd` and `arg0`. A program that cannot be started is an error of the script, with its
//! position.
//!
//! ```
//! use testbench_harness::{Testbench, Toolchain};
//! use testbench_harness::vm::{Handle, VmPlugin, rhai::RhaiPlugin};
//!
//! let _session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
//! let mut engine = rhai::Engine::new();
//! RhaiPlugin.install(&mut engine, &Handle::capture())?;
//! let sorted: String = engine.eval(r#"
//!     sleep(3600.0); // takes no time
//!     run("sort", [], #{ stdin: "pear\napple\n" }).stdout
//! "#)?;
//! assert_eq!(sorted, "apple\npear\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::convert::Infallible;
use std::fmt;

use ::rhai::{Dynamic, Engine, EvalAltResult};

use super::{Handle, Uncovered, VmPlugin};

mod files;
mod time;
pub(in crate::vm) mod tools;

/// Puts the functions of this [module](self) into a Rhai engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RhaiPlugin;

const UNCOVERED: &[Uncovered] = &[
    Uncovered::new(
        "import",
        "the default module resolver reads scripts from the real disk; set a resolver of \
         your own with `Engine::set_module_resolver`",
    ),
    Uncovered::new(
        "print, debug",
        "they go to this process's standard output; see `Engine::on_print`",
    ),
    Uncovered::new(
        "functions that the program registers itself",
        "only what they do through testbench_clock, testbench_overlay::fs and \
         testbench_harness::Command is the session's",
    ),
];

impl VmPlugin<Engine> for RhaiPlugin {
    type Error = Infallible;

    fn install(&self, engine: &mut Engine, handle: &Handle) -> Result<(), Infallible> {
        tools::register(engine, handle);
        time::register(engine, handle);
        files::register(engine, handle);
        Ok(())
    }

    fn uncovered(&self) -> &[Uncovered] {
        UNCOVERED
    }
}

type ScriptResult<T> = Result<T, Box<EvalAltResult>>;

/// An error of the script; Rhai adds the position of the call.
pub(super) fn script_error(error: impl fmt::Display) -> Box<EvalAltResult> {
    error.to_string().into()
}

/// A string if the bytes are UTF-8, else a blob.
fn text_or_blob(bytes: Vec<u8>) -> Dynamic {
    match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => Dynamic::from_blob(error.into_bytes()),
    }
}
