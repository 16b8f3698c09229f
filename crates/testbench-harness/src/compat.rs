//! Flat functions for virtual machines that were written against an earlier interface of this
//! kind.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Output;

use testbench_clock::Lookup;

use crate::{Command, Route, bench, strict};

/// Runs a program the way this thread's session would, or leaves it to the caller.
///
/// For the one place of a virtual machine where it starts programs. Standard input is empty, the
/// environment is the session's, and `cwd` means what [`Command::current_dir`] does.
///
/// * `None`: there is no session on this thread, or its policy runs this program natively. It is
///   the caller's to start.
/// * `Some(Ok(_))`: it ran as a guest.
/// * `Some(Err(_))`: it was refused, or could not be started; see
///   [`SpawnError`](crate::SpawnError). So is everything on a thread without a session, while one
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
    if matches!(bench::current(), Lookup::Absent) && strict::session().is_none() {
        return None;
    }
    let mut command = Command::new(program);
    command.args(args);
    if let Some(dir) = cwd {
        command.current_dir(dir);
    }
    match command.route() {
        Route::Native => None,
        Route::Guest(_) | Route::Replay(_) | Route::Refuse(_) => Some(command.output()),
    }
}
