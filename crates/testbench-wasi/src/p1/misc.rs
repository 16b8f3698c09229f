//! The process itself, randomness, and sockets, of which there are none.

use testbench_overlay::Errno;

use super::call::Call;
use super::types::{Buf, Iovs, RiFlags, SdFlags};
use crate::exit::Exit;
use crate::kernel::{Fail, FdFlags, Result};
use crate::limits::Limit;

/// Ends the process; the whole code is kept.
pub(super) fn proc_exit(code: u32) -> Result<()> {
    Err(Fail::Exit(Exit::Code(code)))
}

/// The names of `signal`, from number 1.
const SIGNALS: [&str; 30] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "POLL", "PWR", "SYS",
];

/// Does the signal's default action: nothing, or the end of the process. A stopped process could
/// never continue, so it is not stopped.
pub(super) fn proc_raise(_: &mut Call<'_>, signal: u32) -> Result<()> {
    let Some(index) = signal.checked_sub(1) else { return Ok(()) };
    let name = SIGNALS.get(index as usize).ok_or(Errno::Inval)?;
    match *name {
        "CHLD" | "CONT" | "URG" | "WINCH" => Ok(()),
        "STOP" | "TSTP" | "TTIN" | "TTOU" => Err(Errno::Notsup.into()),
        fatal => Err(Fail::Exit(Exit::Killed(format!("raised SIG{fatal}").into()))),
    }
}

pub(super) fn sched_yield(cx: &mut Call<'_>) -> Result<()> {
    Ok(cx.process.yield_now()?)
}

pub(super) fn random_get(cx: &mut Call<'_>, buf: Buf) -> Result<()> {
    let process = cx.process;
    let bytes_max = process.limits.random_bytes_max;
    if buf.len > bytes_max {
        process.limit_hit(Limit::Random { bytes_max });
        return Err(Errno::Inval.into());
    }
    cx.charge_bytes(buf.len as usize)?;
    Ok(process.random(cx.mem.lend_mut(buf.at, buf.len)?)?)
}

pub(super) fn sock_accept(cx: &mut Call<'_>, fd: u32, _: FdFlags) -> Result<u32> {
    no_socket(cx, fd)
}

pub(super) fn sock_recv(cx: &mut Call<'_>, fd: u32, _: Iovs, _: RiFlags) -> Result<(u32, u16)> {
    no_socket(cx, fd)
}

pub(super) fn sock_send(cx: &mut Call<'_>, fd: u32, _: Iovs, _flags: u32) -> Result<u32> {
    no_socket(cx, fd)
}

pub(super) fn sock_shutdown(cx: &mut Call<'_>, fd: u32, _: SdFlags) -> Result<()> {
    no_socket(cx, fd)
}

/// No descriptor is a socket, as on a machine without a network.
fn no_socket<T>(cx: &Call<'_>, fd: u32) -> Result<T> {
    cx.process.entry(fd)?;
    Err(Errno::Notsock.into())
}
