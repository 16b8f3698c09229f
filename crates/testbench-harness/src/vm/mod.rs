//! The test bench inside of a scripting language.
//!
//! A script starts programs, reads the clock and touches files through functions of its virtual
//! machine. A [`VmPlugin`] replaces them by functions that use the session of the calling thread. A
//! script under test needs no change: its tools run as WebAssembly, its sleeps move virtual time,
//! and its files are the overlay's.
//!
//! | feature | virtual machine | plugin |
//! | --- | --- | --- |
//! | `rhai` | [Rhai](https://rhai.rs) | `vm::rhai::RhaiPlugin` |
//! | `lua` | Lua 5.4, by [`mlua`](https://docs.rs/mlua) | `vm::lua::LuaPlugin` |
//! | `scripts` | runs files of either as tests | `vm::scripts` |
//!
//! [`VmPlugin::uncovered`] lists the functions of the language that still reach the real world. A
//! plugin for another virtual machine is a few dozen lines; the guide `docs/guides/vm-plugins.md`
//! writes one.
//!
//! `shell/` runs the command lines of `os.execute` and similar functions.

use testbench_clock::Context;

#[cfg(feature = "lua")]
pub mod lua;
#[cfg(any(feature = "rhai", feature = "scripts"))]
mod options;
#[cfg(feature = "rhai")]
pub mod rhai;
#[cfg(feature = "scripts")]
pub mod scripts;
mod shell;

pub use shell::{CommandLine, CommandLineError};

/// Puts the test bench into a virtual machine of the type `Vm`.
pub trait VmPlugin<Vm> {
    /// Why it cannot be installed.
    type Error: std::error::Error;

    /// Replaces the functions by which the machine's scripts reach the world. `handle` holds the
    /// session of threads that have none of their own.
    ///
    /// # Errors
    ///
    /// Fails if the machine does not accept the functions.
    fn install(&self, vm: &mut Vm, handle: &Handle) -> Result<(), Self::Error>;

    /// The functions by which scripts still reach the real world after the installation.
    fn uncovered(&self) -> &[Uncovered];
}

/// A function that a plugin does not replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uncovered {
    /// The language's name for it.
    pub what: &'static str,
    /// Why it is not replaced, and what to use instead.
    pub why: &'static str,
}

impl Uncovered {
    /// For plugins of your own.
    pub const fn new(what: &'static str, why: &'static str) -> Uncovered {
        Uncovered { what, why }
    }
}

/// The session of a virtual machine's calls.
///
/// A call belongs to the session of its thread. On a thread without one it belongs to the session in
/// which the plugin was installed.
#[derive(Clone, Debug)]
pub struct Handle {
    context: Context,
}

impl Handle {
    /// A handle on the session of this thread, if there is one.
    pub fn capture() -> Handle {
        Handle { context: Context::capture() }
    }

    /// Runs `f` in the session to which a call on this thread belongs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_harness::{Command, Testbench, Toolchain, vm::Handle};
    ///
    /// let session = Testbench::builder().toolchain(Toolchain::builtin()).build()?.enter();
    /// let handle = Handle::capture();
    /// let said = testbench_clock::external("a thread of the machine", || {
    ///     let call = || handle.within(|| Command::new("echo").arg("hi").output());
    ///     std::thread::scope(|scope| scope.spawn(call).join())
    /// });
    /// assert_eq!(said.unwrap()?.stdout, b"hi\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        let nothing_here = Context::capture().is_empty();
        let _entered = nothing_here.then(|| self.context.enter());
        f()
    }
}
