//! The kernel: all that a guest can touch, as plain values.
//!
//! A [`Process`] has descriptors ([`fd`]), which refer to open files ([`open`]): files and
//! directories of some [`Fs`](testbench_overlay::Fs), [pipes](mod@pipe), and the sources and sinks of
//! standard streams ([`stdio`]). Everything that blocks does so in one wait on the process's clock
//! ([`Process::wait`]), in which a guest can also be ended from outside ([`Stopper`](fail::Stopper)).
//!
//! The faces of the kernel (`p1`, and those to come) decode a guest's call, call the kernel, and
//! encode the result; guest addresses do not come here. An operation returns a value or a [`Fail`]:
//! an errno for the guest, or the exit with which the guest ends.
//!
//! No lock is held across a wait: descriptors are looked up under the process's lock, and the open
//! file is used after it is released. Only captured output is kept under it, which is a copy in
//! memory.
//!
//! Begin reading at [`process`].

mod fail;
mod fd;
mod loan;
mod open;
mod pipe;
mod poll;
mod process;
mod random;
mod real_stdin;
mod rights;
mod spec;
mod stdio;
mod thread;

pub(crate) use self::fail::{Fail, Result};
pub(crate) use self::fd::Entry;
pub use self::open::OpenFile;
pub(crate) use self::open::{CallOn, Directory, Kind, Open, Whence};
pub(crate) use self::pipe::Ready;
pub use self::pipe::{ReadEnd, WriteEnd, pipe};
pub(crate) use self::poll::{Happened, Interest, When, poll, sleep};
pub use self::process::Captured;
pub(crate) use self::process::{Process, Sink};
pub use self::random::Random;
pub(crate) use self::rights::{FdFlags, Rights, names};
pub use self::spec::Mount;
pub(crate) use self::spec::ProcessSpec;
pub use self::stdio::{Observer, Stdin, Stdout};
pub(crate) use self::thread::Thread;
