//! Runs WASI modules in-process, hermetically: virtual time, the files that you mount, seeded
//! randomness, no network.
//!
//! | name | use |
//! | --- | --- |
//! | [`Module`] | a compiled WebAssembly module |
//! | [`GuestSpec`] | everything that one guest may touch |
//! | [`run`], [`start`] | runs a guest on the caller's thread, or beside the caller |
//! | [`Finished`] | its whole result; [`Exit`] is why it ended |
//! | [`Programs`] | programs by name, from a directory of `<program>.wasm` files |
//! | [`Plugin`] | a module that is a library, called function by function |
//!
//! Exits, traps, limits and deadlocks are values of [`Exit`]. No guest can panic or hang its host.
//!
//! ```
//! use testbench_wasi::{GuestSpec, Module, run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wasm = wat::parse_str(r#"
//!     (module
//!       (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//!       (memory (export "memory") 1)
//!       (func (export "_start") (call $exit (i32.const 42))))
//! "#)?;
//! let finished = run(GuestSpec::new(Module::from_bytes("answer", wasm)?))?;
//! assert_eq!(finished.exit.code(), Some(42));
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! [`Module`] finds, recognises and compiles; a [`CompilationCache`] keeps the result. `engine/` holds
//! the wasmtime engines, and `run/` takes a guest from its spec to its result. The kernel (`kernel/`)
//! is all that a guest can touch (descriptors, pipes, clocks), and knows nothing of ABIs. The functions
//! that a preview 1 module imports (`p1/`) decode, call the kernel, and encode. All guest memory is read
//! and written in `memory.rs`.
//!
//! **Invariants.** Nothing here reads the real clock, real randomness or the real environment (except
//! for the default cache directory), or touches the real disk (except for modules and the cache). A guest sees nothing that is not in its spec. Guest input never panics the
//! host.
//!
//! Begin reading at [`run`].
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod backtrace;
mod cache;
mod custom_clock;
mod engine;
mod error;
mod exit;
mod kernel;
mod limits;
mod memory;
mod module;
mod p1;
mod plugin;
mod programs;
mod run;
mod spec;
mod stopping;
mod sys;
mod threads;

pub use backtrace::{BACKTRACE_FRAMES_MAX, Frame};
pub use cache::{CompilationCache, ContentHash};
pub use custom_clock::CustomClock;
pub use engine::{CoreFeatures, Engine, EngineConfig, EngineError};
pub use error::{ModuleError, NameList, StartError};
pub use exit::{Exit, Finished, TrapKind, TrapReport};
pub use kernel::{
    Captured, Mount, Observer, OpenFile, Random, ReadEnd, Stdin, Stdout, WriteEnd, pipe,
};
pub use limits::{Limit, Limits};
pub use module::{Bytes, CustomSection, Module, Signature};
pub use plugin::{AfterEnd, Export, Plugin, PluginError, PluginSpec, Values};
pub use programs::{
    Programs, ProgramsError, active_programs, install_programs, install_programs_for,
};
pub use run::{Running, run, start, start_with};
pub use spec::GuestSpec;
pub use stopping::Cancel;
