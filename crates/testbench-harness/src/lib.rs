//! A test bench for code that starts other programs.
//!
//! Inside a [`Session`] a spawn of `<program>` runs `<toolchain>/<program>.wasm` in this process, on
//! a clock that stands still until all participants wait, and on a copy-on-write overlay of a real
//! directory. At its end the session returns a diff, and the directory is unchanged.
//!
//! | | |
//! | --- | --- |
//! | [`Testbench`] | builds a session of a clock, files, a toolchain and policies |
//! | [`Session`] | keeps it installed on this thread, until [`finish`](Session::finish) |
//! | [`Command`] | starts programs, as `std::process::Command` does |
//! | [`Toolchain`] | the programs: a directory of `.wasm` files, or the built-in ones |
//! | [`Policy`] | the treatment of programs that the toolchain does not have |
//! | [`Report`] | the result: diff, spawns, tape, virtual time |
//!
//! ```
//! use std::time::Duration;
//! use testbench_harness::{Command, Testbench, Toolchain, assert_overlay_snapshot};
//!
//! let dir = tempfile::tempdir()?;
//! std::fs::write(dir.path().join("in.txt"), "pear\napple\n")?;
//!
//! let session = Testbench::builder()
//!     .overlay(dir.path()) // written to in memory only
//!     .toolchain(Toolchain::builtin()) // or a directory of your own .wasm files
//!     .build()?
//!     .enter();
//!
//! // `Command` is std's, but these two run as WebAssembly, in this process.
//! assert!(Command::new("sort").args(["-o", "out.txt", "in.txt"]).status()?.success());
//! assert!(Command::new("sleep").arg("1h").status()?.success());
//!
//! assert_overlay_snapshot!(session, @r"
//! A out.txt
//!
//! diff --git a/out.txt b/out.txt
//! new file mode 100644
//! --- /dev/null
//! +++ b/out.txt
//! @@ -0,0 +1,2 @@
//! +apple
//! +pear
//! ");
//! let report = session.finish()?;
//! assert_eq!(report.virtual_time, Duration::from_secs(3600)); // and no time has passed
//! assert!(!dir.path().join("out.txt").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! [`Command`] reads the session of its thread from the surroundings, and nothing else.
//! [`Command::route`] decides and starts nothing; one `match` acts on the [`Route`]. A guest gets the
//! session's clock, files, seed and limits, and nothing else. The [`Report`] lists the spawns and how
//! they ended.
//!
//! On a thread without a session, [`Command`] is [`std::process::Command`], so tests with and
//! without one run side by side. Nothing global to the process is changed.
//!
//! # Defaults
//!
//! | | inside a session | without a session on this thread |
//! | --- | --- | --- |
//! | clock | paused at 2000-01-01T00:00:00Z ([`real_clock`] opts out) | real |
//! | seed | 0 | - |
//! | environment of a guest | empty plus [`pass_env`], [`env`] and what the command sets, `TZ=UTC` | as std |
//! | stdin | empty for `output`, `spawn` and `status` alike | as std |
//! | network | refused | as std |
//! | program not in the toolchain | [`NotFound`] (127) | as std |
//! | watchdog | 60 s of real time for each guest | none |
//!
//! A thread that was started without the session's [`Context`] has no
//! session. Its spawns are counted in [`Leaks`]; [`strict_threads`] makes them errors, in a process
//! that belongs to one session.
//!
//! [`strict_threads`]: TestbenchBuilder::strict_threads
//! [`real_clock`]: TestbenchBuilder::real_clock
//! [`pass_env`]: TestbenchBuilder::pass_env
//! [`env`]: TestbenchBuilder::env
//! [`NotFound`]: std::io::ErrorKind::NotFound
//!
//! # Where to begin reading
//!
//! `command.rs` is the edge, `spec.rs` one spawn as plain data, `config.rs` the session as plain data,
//! `route.rs` the decision about both, and `spawn.rs` the one `match` on it.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]
#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "a start that fails has cost far more than moving its error does"
)]

mod bench;
#[cfg(feature = "guests")]
mod builtin;
mod child;
mod command;
pub mod compat;
mod config;
mod error;
mod files;
#[cfg(feature = "insta")]
#[doc(hidden)]
pub mod insta;
mod manifest;
mod names;
mod native;
mod pipe;
mod plugin;
mod policy;
mod process;
mod refusal;
mod replayed;
mod report;
mod route;
mod session;
mod spawn;
mod spec;
mod stdio;
mod streams;
mod strict;
mod sys;
pub mod tape;
mod testbench;
#[cfg(feature = "tokio")]
pub mod tokio;
mod toolchain;
mod traced;
#[cfg(feature = "vm")]
pub mod vm;

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout};
pub use command::Command;
pub use compat::intercept_spawn;
pub use config::NativeFiles;
pub use error::{InputError, SpawnError};
pub use files::CurrentDirError;
pub use manifest::ManifestError;
pub use pipe::{PipeEnd, PipeReader, PipeWriter, pipe};
pub use policy::{OnMiss, Policy, UnknownPolicy};
pub use refusal::{Refusal, Unmatched};
pub use report::{Leaks, Report, SpawnRecord};
pub use route::{Explanation, Route, Step};
pub use session::{FinishError, Session};
pub use stdio::Stdio;
pub use testbench::{BuildError, SessionClock, Testbench, TestbenchBuilder};
pub use toolchain::{Match, Tool, Toolchain, ToolchainError, ToolchainSource};

// Types of the signatures above and of the guides, so that a test needs no other crate of ours.
pub use testbench_clock::{Clock, Context, MockClock, MonoTime, SystemClock, WallTime};
pub use testbench_overlay::{Diff, Errno, Fs, Overlay, OverlayBuilder, OverlayError};
pub use testbench_wasi::{
    CompilationCache, Engine, EngineConfig, Exit, Finished, GuestSpec, Limit, Limits, Module,
    ModuleError, Plugin, PluginError,
};

/// A `clippy.toml` to copy into a workspace whose code runs in a test bench: `disallowed-methods`
/// for everything in std that starts programs, touches files, or reads the environment or real time,
/// with what to use instead.
///
/// ```
/// assert!(testbench_harness::CLIPPY_TOML.contains("std::process::Command::new"));
/// ```
pub const CLIPPY_TOML: &str = include_str!("../assets/clippy.toml");

#[cfg(feature = "insta")]
#[doc(hidden)]
pub use ::insta as __insta;
#[cfg(feature = "insta")]
pub use testbench_overlay::assert_overlay_snapshot;
