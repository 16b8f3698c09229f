//! One call of a guest: the values that it may use, and the trampoline around it.
//!
//! The trampoline decodes the arguments, calls the function, stores its results in the guest's
//! memory and encodes its error: an errno is the call's result, an address outside of memory
//! is a trap, and a [`Exit`](crate::kernel::Exit) ends the guest.

use std::cell::Cell;
use std::fmt;

use testbench_overlay::Errno;
use tracing::Level;
use wasmtime::{Caller, Trap};

use super::errno;
use crate::exit::{Exit, exit_error};
use crate::kernel::{Fail, Process, Result, Thread};
use crate::limits::Limit;
use crate::memory::{Fault, MemoryBytes};

/// Which of the two versions of the interface a module was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    /// `wasi_unstable`, preview 0: some structures are smaller, some numbers differ.
    Unstable,
    /// `wasi_snapshot_preview1`.
    Snapshot1,
}

/// One call of a guest, as a function of the interface sees it.
pub(super) struct Call<'a> {
    pub(super) mem: MemoryBytes<'a>,
    pub(super) process: &'a Process,
    pub(super) abi: Abi,
    /// The fuel that is left, if fuel is counted.
    fuel: Cell<Option<u64>>,
}

impl Call<'_> {
    /// Takes `units` of fuel for work that the call makes the host do: without this, one instruction
    /// could cost seconds. Fails, which ends the guest, when less is left.
    #[inline]
    pub(super) fn charge(&self, units: u64) -> Result<(), Exit> {
        let Some(left) = self.fuel.get() else { return Ok(()) };
        self.fuel.set(Some(left.saturating_sub(units)));
        if units <= left {
            return Ok(());
        }
        let units = self.process.limits.fuel.unwrap_or_default();
        Err(Exit::Limit(Limit::Fuel { units }))
    }

    /// As [`Call::charge`], for copying or making so many bytes.
    pub(super) fn charge_bytes(&self, bytes: usize) -> Result<(), Exit> {
        /// The host handles these in about the time of one instruction of the guest.
        const BYTES_PER_UNIT: usize = 16;
        self.charge(bytes.div_ceil(BYTES_PER_UNIT) as u64)
    }
}

/// An argument, from the number or the two numbers that wasm passes for it.
pub(super) trait Decode: Sized {
    type Number;
    /// An array of one or two of them.
    type Numbers;
    fn decode(cx: &Call<'_>, numbers: Self::Numbers) -> Result<Self>;
}

/// One result, into the memory at which the guest wants it.
pub(super) trait Store: fmt::Display {
    fn store_at(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault>;
}

/// All the results of a function: none, one or two.
pub(super) trait Results {
    /// The addresses at which the guest wants them.
    type At;
    fn store(&self, cx: &mut Call<'_>, at: Self::At) -> Result<(), Fault>;
    fn show(&self) -> String;
}

impl Results for () {
    type At = ();
    fn store(&self, _: &mut Call<'_>, (): ()) -> Result<(), Fault> {
        Ok(())
    }
    fn show(&self) -> String {
        "0".to_owned()
    }
}

impl<T: Store> Results for T {
    type At = u32;
    #[inline]
    fn store(&self, cx: &mut Call<'_>, at: u32) -> Result<(), Fault> {
        self.store_at(cx, at)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl<A: Store, B: Store> Results for (A, B) {
    type At = (u32, u32);
    fn store(&self, cx: &mut Call<'_>, (a, b): (u32, u32)) -> Result<(), Fault> {
        self.0.store_at(cx, a)?;
        self.1.store_at(cx, b)
    }
    fn show(&self) -> String {
        format!("{}, {}", self.0, self.1)
    }
}

/// Runs `body` as the host function `name` and encodes its outcome as wasm sees it.
#[inline]
pub(super) fn run(
    caller: &mut Caller<'_, Thread>,
    abi: Abi,
    name: &'static str,
    body: impl FnOnce(&mut Call<'_>) -> Result<()>,
) -> wasmtime::Result<u32> {
    // The common case by hand: it must not cost more than the call it serves.
    let outcome = match caller.data().uncounted_memory {
        Some(memory) => {
            let (bytes, thread) = memory.data_and_store_mut(&mut *caller);
            let mem = MemoryBytes(bytes);
            body(&mut Call { mem, process: &thread.process, abi, fuel: Cell::new(None) })
        }
        None => run_counted(caller, abi, body)?,
    };
    match outcome {
        Ok(()) => Ok(0),
        Err(fail) => encode(caller, name, fail),
    }
}

/// Runs `body` on the memory, if there is one, and takes the fuel that it charges.
#[cold]
fn run_counted(
    caller: &mut Caller<'_, Thread>,
    abi: Abi,
    body: impl FnOnce(&mut Call<'_>) -> Result<()>,
) -> wasmtime::Result<Result<()>> {
    let counts_fuel = caller.data().process.limits.fuel.is_some();
    let fuel = if counts_fuel { Some(caller.get_fuel()?) } else { None };
    let (bytes, thread) = match Thread::memory_of(caller) {
        Some(memory) => memory.data_and_store_mut(&mut *caller),
        None => (&mut [][..], caller.data_mut()),
    };
    let (mem, process) = (MemoryBytes(bytes), &*thread.process);
    let mut call = Call { mem, process, abi, fuel: Cell::new(fuel) };
    let outcome = body(&mut call);
    let left = call.fuel.get();
    if let Some(left) = left.filter(|_| left != fuel) {
        caller.set_fuel(left)?;
    }
    Ok(outcome)
}

#[cold]
fn encode(caller: &Caller<'_, Thread>, name: &'static str, fail: Fail) -> wasmtime::Result<u32> {
    match fail {
        Fail::Errno(errno) => {
            if matches!(errno, Errno::Nospc | Errno::Fbig | Errno::Dquot) {
                caller.data().process.limit_hit(Limit::Quota);
            }
            Ok(errno::number(errno).into())
        }
        end => Err(end_of(&caller.data().process, name, end)),
    }
}

#[cold]
pub(super) fn end_of(process: &Process, name: &'static str, end: Fail) -> wasmtime::Error {
    match end {
        Fail::Fault(fault) => wasmtime::Error::from(Trap::MemoryOutOfBounds)
            .context(format!("bad address in a call of {name}: {fault}")),
        Fail::Exit(exit) => {
            process.stopper.stop(exit.clone());
            exit_error(exit)
        }
        Fail::Errno(errno) => wasmtime::Error::from(errno),
    }
}

/// Whether calls are to be traced: `testbench_wasi::guest=trace`.
#[inline]
pub(super) fn is_traced() -> bool {
    tracing::enabled!(target: "testbench_wasi::guest", Level::TRACE)
}

/// One line for people: `path_open(fd=3, path="a.txt", oflags=CREAT) = 5`.
#[cold]
pub(super) fn trace<R: Results>(
    process: &Process,
    name: &'static str,
    args: &[(&'static str, String)],
    result: &Result<R>,
) {
    let args: Vec<String> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let args = args.join(", ");
    let result = match result {
        Ok(results) => results.show(),
        Err(Fail::Errno(errno)) => errno.name().to_owned(),
        Err(Fail::Fault(fault)) => format!("trap: {fault}"),
        Err(Fail::Exit(exit)) => format!("? ({exit})"),
    };
    let guest = &process.name;
    tracing::trace!(target: "testbench_wasi::guest", guest, "{name}({args}) = {result}");
}
