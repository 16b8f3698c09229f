//! The test bench inside of a scripting language.
//!
//! A script starts programs, reads the clock and touches files through functions of its virtual
//! machine. A [`VmPlugin`] puts functions in their place that do the same through the session of
//! the calling thread, so that a script under test needs no change: its tools run as WebAssembly,
//! its sleeps move virtual time, and its files are the overlay's.
//!
//! | feature | virtual machine | plugin |
//! | --- | --- | --- |
//! | `rhai` | [Rhai](https://rhai.rs) | `vm::rhai::RhaiPlugin` |
//! | `lua` | Lua 5.4, by [`mlua`](https://docs.rs/mlua) | `vm::lua::LuaPlugin` |
//! | `scripts` | runs files of either as tests | `vm::scripts` |
//!
//! Every plugin says with [`VmPlugin::uncovered`] what of its language still reaches the real
//! world. A plugin for another virtual machine is a few dozen lines: the guide
//! `docs/guides/vm-plugins.md` writes one.
//!
//! `shell/` runs the command lines that `os.execute` and its kind take.

use testbench_clock::Context;

#[cfg(feature = "lua")]
pub mod lua;
#[cfg(feature = "rhai")]
pub mod rhai;
#[cfg(feature = "scripts")]
pub mod scripts;
#[cfg(any(feature = "rhai", feature = "scripts"))]
mod setting;
mod shell;

pub use shell::{CommandLine, CommandLineError};

/// What puts the test bench into a virtual machine of the kind `Vm`.
pub trait VmPlugin<Vm> {
    /// Why it could not be put in.
    type Error: std::error::Error;

    /// Replaces what the machine's scripts reach the world by. `handle` knows the session to use
    /// on threads that have none of their own.
    ///
    /// # Errors
    ///
    /// When the machine does not take the functions.
    fn install(&self, vm: &mut Vm, handle: &Handle) -> Result<(), Self::Error>;

    /// What scripts can still reach the real world by, once this is installed.
    fn uncovered(&self) -> &[Uncovered];
}

/// Something that a plugin does not replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uncovered {
    /// The language's name for it.
    pub what: &'static str,
    /// Why it is not replaced, and what to do about it.
    pub why: &'static str,
}

impl Uncovered {
    /// For plugins of your own.
    pub const fn new(what: &'static str, why: &'static str) -> Uncovered {
        Uncovered { what, why }
    }
}

/// Where the calls of a virtual machine belong.
///
/// That is the session of the thread that calls. A machine whose scripts run on threads of its own
/// belongs to the session in which its plugin was installed.
#[derive(Clone, Debug)]
pub struct Handle {
    context: Context,
}

impl Handle {
    /// A handle on what is installed on this thread now, which may be nothing.
    pub fn capture() -> Handle {
        Handle { context: Context::capture() }
    }

    /// Runs `f` inside of the session that a call on this thread belongs to.
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
