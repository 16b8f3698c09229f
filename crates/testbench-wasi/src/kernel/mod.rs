//! The kernel: all that a guest can touch, as plain values.
//!
//! A [`Process`] has descriptors ([`fd`]), which refer to open files ([`open`]): files and
//! directories of some [`Fs`](testbench_overlay::Fs), [pipes](mod@pipe), and the sources and sinks of
//! standard streams ([`stdio`]). Whatever blocks ends in one wait on the process's clock
//! ([`Process::wait`]), in which a guest can also be ended from outside ([`Stopper`]).
//!
//! The faces of the kernel (`p1`, and those to come) decode a guest's call, call the kernel, and
//! encode the answer; guest addresses do not come here. An operation answers a value, or a
//! [`Fail`]: an errno for the guest, or the reason why there is no guest to answer any more.
//!
//! No lock is held across a wait: descriptors are looked up under the process's lock, and the open
//! file is used after it is released. The one thing done under it is to keep captured output,
//! which is a copy in memory.
//!
//! Begin reading at [`process`].

mod fd;
mod open;
mod pipe;
mod poll;
mod process;
mod random;
mod real_stdin;
mod rights;
mod stdio;
mod stop;

pub(crate) use self::fd::Entry;
pub use self::open::OpenFile;
pub(crate) use self::open::{CallOn, Directory, Kind, Listed, Open, Whence};
pub use self::pipe::{PipeReader, PipeWriter, pipe};
pub(crate) use self::poll::{Happened, Interest, When, poll, sleep};
pub(crate) use self::process::{Process, Sink, Thread};
pub use self::random::Random;
pub(crate) use self::rights::{FdFlags, Rights, flags};
pub use self::stdio::{Observer, Stdin, Stdout};
pub(crate) use self::stop::{Fail, Result, Stop, Stopper};
