//! The functions that take the place of the C library's.
//!
//! Each counts its caller and passes the call on. A signal handler may call any of them at any
//! moment, so nothing here locks or allocates; a thread that is already counting, because the walk
//! of its stack was interrupted by a signal, only passes on.

use crate::{names, next};
use libc::{c_int, c_uint, clockid_t, time_t, timespec, timeval, useconds_t};
use std::cell::Cell;
use testbench_clock::audit::Source;
use testbench_clock::audit::interpose::{FRAMES_MAX, count, enable, is_wanted};

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    match clock {
        libc::CLOCK_REALTIME
        | libc::CLOCK_REALTIME_COARSE
        | libc::CLOCK_REALTIME_ALARM
        | libc::CLOCK_TAI => note(Source::SystemTimeNow),
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME
        | libc::CLOCK_BOOTTIME_ALARM => note(Source::InstantNow),
        PROBE => return 0,
        // CPU time and the clocks of devices: no mock stands for them.
        _ => {}
    }
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::clock_gettime(clock, time) }
}

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gettimeofday(time: *mut timeval, zone: *mut libc::c_void) -> c_int {
    note(Source::SystemTimeNow);
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::gettimeofday(time, zone) }
}

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    note(Source::SystemTimeNow);
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::time(time) }
}

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn timespec_get(time: *mut timespec, base: c_int) -> c_int {
    match base {
        TIME_UTC => note(Source::SystemTimeNow),
        TIME_MONOTONIC => note(Source::InstantNow),
        // CPU time, or what the C library does not know.
        _ => {}
    }
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::timespec_get(time, base) }
}

/// The base that every C library has (C11).
const TIME_UTC: c_int = 1;
/// Newer ones have this, too (C23); the value is that of the GNU C library.
const TIME_MONOTONIC: c_int = 2;

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    note(Source::ThreadSleep);
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::nanosleep(time, left) }
}

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    note(Source::ThreadSleep);
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::clock_nanosleep(clock, flags, time, left) }
}

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn usleep(micros: useconds_t) -> c_int {
    note(Source::ThreadSleep);
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::usleep(micros) }
}

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sleep(secs: c_uint) -> c_uint {
    note(Source::ThreadSleep);
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::sleep(secs) }
}

/// # Safety
///
/// As the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn thrd_sleep(time: *const timespec, left: *mut timespec) -> c_int {
    note(Source::ThreadSleep);
    // SAFETY: the caller promises what the C function asks for.
    unsafe { next::thrd_sleep(time, left) }
}

/// No clock of any system; a call with it asks whether it arrives here.
const PROBE: clockid_t = clockid_t::MIN + 0x7e57;

/// Whether calls of this program come here, found out by one.
pub(crate) fn are_called() -> bool {
    let mut unused = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is a value to be written; the C library answers an unknown clock by an error.
    unsafe { libc::clock_gettime(PROBE, &raw mut unused) == 0 }
}

/// Runs before `main`: no thread can read a clock unnoticed.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    next::find_all();
    enable(names::site);
}

thread_local! {
    /// Without a destructor, so that a signal handler may touch it.
    static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Counts a call of the innermost caller on the stack, if that is wanted.
fn note(source: Source) {
    if !is_wanted() || IS_COUNTING.replace(true) {
        return;
    }
    let (mut frames, mut len) = ([0; FRAMES_MAX], 0);
    // SAFETY: "unsynchronized" is about the resolution of symbols, which walking does not do; what
    // it uses is the unwinder, as a panic does, which is there for all threads.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            frames[len] = frame.ip().addr();
            len += 1;
            len < FRAMES_MAX
        });
    }
    count(source, &frames[..len]);
    IS_COUNTING.set(false);
}
