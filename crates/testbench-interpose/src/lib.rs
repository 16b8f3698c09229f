//! Finds code that reads the real clock, or sleeps in real time, while testbench-clock mocks it.
//!
//! A dependency that calls `Instant::now` does not know of the mock, and makes a test depend on the
//! machine. Linked into a test program, this crate takes the place of the C library's clock
//! functions, through which std goes as well; it passes every call on, and counts those made while a
//! mock clock is installed, by place and session:
//!
//! ```
//! use testbench_clock::{Lifetime, MockClock, install_for};
//! use testbench_interpose as _; // this is all: it works once it is linked
//!
//! let session = Lifetime::new("checkout");
//! let installed = install_for(MockClock::builder().build(), &session);
//! # #[expect(clippy::disallowed_methods)]
//! let _ = std::time::Instant::now();
//! drop(installed);
//! if testbench_interpose::is_active() {
//!     let leaks = session.audit().leaks();
//!     assert_eq!((leaks.len(), leaks[0].count), (1, 1));
//!     assert!(leaks[0].to_string().starts_with("Instant::now at "), "{leaks:?}");
//! }
//! ```
//!
//! Code that may use real time says so with a reason, by `testbench_clock::audit::real` at the call, or
//! by [`Audit::allow`](testbench_clock::audit::Audit::allow) for a crate or file. The clock's own
//! use of real time, such as that of its watchdog, does not count.
//!
//! It is a crate of its own, and not a feature, so that no build gets it by feature unification: it is
//! in the programs that name it, and in no others. Make it a dev-dependency.
//!
//! # Functions that it sees
//!
//! `clock_gettime`, `timespec_get`, `gettimeofday` and `time`, by which std and others read the wall and
//! the monotonic clocks; `nanosleep`, `clock_nanosleep`, `thrd_sleep`, `usleep` and `sleep`. Not: clocks of
//! CPU time, which no mock stands for; `times`, `ftime` and `clock`; waits with a limit (`recv_timeout`,
//! `select`, `poll`, `epoll_wait`, `pthread_cond_timedwait`), of which it sees only the reading of the clock
//! that std makes for them; timers that signal (`alarm`, `timer_create`, `timerfd_create`); the time stamp
//! counter; system calls made directly.
//!
//! The place is that of the caller on the stack. In an optimised build a function whose last act is the
//! call may leave the stack before it (a tail call); the place is then that of its own caller.
//!
//! # How it works
//!
//! Symbols of the program come before those of the C library, so the functions in `hooks.rs` are
//! found in place of its own. They pass on to the next definition, found before `main` begins. To
//! tell who called, they walk the stack, which takes no lock and no memory, and add to counters that
//! exist already: both also in a signal handler. Names are put to the addresses when an audit is
//! asked for its leaks.
//!
//! Only on Linux with the GNU C library. Elsewhere the crate is there and does nothing;
//! [`is_active`] tells.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod hooks;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod names;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod next;

/// Whether the clock functions of this program are interposed.
///
/// ```
/// assert_eq!(
///     testbench_interpose::is_active(),
///     cfg!(all(target_os = "linux", target_env = "gnu")),
/// );
/// ```
pub fn is_active() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return hooks::are_called();
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}
