//! The C library's own functions, behind those of `hooks.rs`.
//!
//! They are looked up before `main`, since the look-up may allocate. A call that comes even earlier,
//! from another library's constructor, goes to the kernel directly.

use libc::{c_char, c_int, c_long, c_uint, clockid_t, time_t, timespec, timeval, useconds_t};
use std::ffi::CStr;
use std::mem::transmute;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function that is looked up by name.
struct Next {
    name: &'static CStr,
    address: AtomicPtr<libc::c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Self {
        Next { name, address: AtomicPtr::new(ptr::null_mut()) }
    }

    fn find(&self) {
        let name: *const c_char = self.name.as_ptr();
        // SAFETY: the name ends with a zero byte, and `RTLD_NEXT` is a valid handle.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name) };
        self.address.store(address, Ordering::Relaxed);
    }

    fn get(&self) -> *mut libc::c_void {
        self.address.load(Ordering::Relaxed)
    }
}

static CLOCK_GETTIME: Next = Next::new(c"clock_gettime");
static GETTIMEOFDAY: Next = Next::new(c"gettimeofday");
static TIME: Next = Next::new(c"time");
static TIMESPEC_GET: Next = Next::new(c"timespec_get");
static THRD_SLEEP: Next = Next::new(c"thrd_sleep");
static NANOSLEEP: Next = Next::new(c"nanosleep");
static CLOCK_NANOSLEEP: Next = Next::new(c"clock_nanosleep");
static USLEEP: Next = Next::new(c"usleep");
static SLEEP: Next = Next::new(c"sleep");

pub(crate) fn find_all() {
    let readings = [&CLOCK_GETTIME, &GETTIMEOFDAY, &TIME, &TIMESPEC_GET];
    let sleeps = [&NANOSLEEP, &CLOCK_NANOSLEEP, &USLEEP, &SLEEP, &THRD_SLEEP];
    readings.into_iter().chain(sleeps).for_each(Next::find);
}

/// Calls the function that was found, or says that there is none.
///
/// It is an unsafe call: the caller passes on arguments that the C function accepts, and the type is
/// that of the function in the C library's headers.
macro_rules! call {
    ($next:expr, fn($($arg:ident: $type:ty),*) -> $result:ty) => {{
        let address = $next.get();
        if address.is_null() {
            None
        } else {
            // SAFETY: `dlsym` found a function of this name, which has this type by its header; the
            // arguments are the caller's, who promises what that function asks for.
            Some(unsafe {
                let function: unsafe extern "C" fn($($type),*) -> $result = transmute(address);
                function($($arg),*)
            })
        }
    }};
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    call!(CLOCK_GETTIME, fn(clock: clockid_t, time: *mut timespec) -> c_int).unwrap_or_else(|| {
        // SAFETY: the system call takes the same arguments, which the caller vouches for.
        result(unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) })
    })
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn gettimeofday(time: *mut timeval, zone: *mut libc::c_void) -> c_int {
    call!(GETTIMEOFDAY, fn(time: *mut timeval, zone: *mut libc::c_void) -> c_int).unwrap_or_else(
        // SAFETY: the system call takes the same arguments, which the caller vouches for.
        || result(unsafe { libc::syscall(libc::SYS_gettimeofday, time, zone) }),
    )
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn time(time: *mut time_t) -> time_t {
    call!(TIME, fn(time: *mut time_t) -> time_t).unwrap_or_else(|| {
        let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is there to be written; `time` is null or the caller vouches for it.
        unsafe {
            libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut now);
            if !time.is_null() {
                time.write(now.tv_sec);
            }
        }
        now.tv_sec
    })
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn timespec_get(time: *mut timespec, base: c_int) -> c_int {
    call!(TIMESPEC_GET, fn(time: *mut timespec, base: c_int) -> c_int).unwrap_or_else(|| {
        // The one base that a C library must have; zero says that it is another.
        const TIME_UTC: c_int = 1;
        // SAFETY: the caller vouches for `time`.
        let known = base == TIME_UTC && unsafe { clock_gettime(libc::CLOCK_REALTIME, time) } == 0;
        if known { base } else { 0 }
    })
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn thrd_sleep(time: *const timespec, left: *mut timespec) -> c_int {
    // It gives -1 if a signal comes, as the other does, and any negative value for errors.
    call!(THRD_SLEEP, fn(time: *const timespec, left: *mut timespec) -> c_int)
        // SAFETY: the functions take the same arguments, which the caller vouches for.
        .unwrap_or_else(|| unsafe { nanosleep(time, left) })
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    call!(NANOSLEEP, fn(time: *const timespec, left: *mut timespec) -> c_int).unwrap_or_else(|| {
        // SAFETY: the system call takes the same arguments, which the caller vouches for.
        result(unsafe { libc::syscall(libc::SYS_nanosleep, time, left) })
    })
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    call!(
        CLOCK_NANOSLEEP,
        fn(clock: clockid_t, flags: c_int, time: *const timespec, left: *mut timespec) -> c_int
    )
    .unwrap_or_else(|| {
        // SAFETY: the system call takes the same arguments, which the caller vouches for. Unlike
        // the other functions, this one returns its error.
        unsafe {
            match libc::syscall(libc::SYS_clock_nanosleep, clock, flags, time, left) {
                -1 => *libc::__errno_location(),
                done => result(done),
            }
        }
    })
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn usleep(micros: useconds_t) -> c_int {
    call!(USLEEP, fn(micros: useconds_t) -> c_int).unwrap_or_else(|| {
        let micros = c_long::from(micros);
        let time = timespec { tv_sec: micros / 1_000_000, tv_nsec: micros % 1_000_000 * 1000 };
        // SAFETY: `time` is there to be read, and null is accepted for what is left.
        unsafe { nanosleep(&time, ptr::null_mut()) }
    })
}

/// # Safety
///
/// As the C function.
pub(crate) unsafe fn sleep(secs: c_uint) -> c_uint {
    call!(SLEEP, fn(secs: c_uint) -> c_uint).unwrap_or_else(|| {
        let mut time = timespec { tv_sec: time_t::from(secs), tv_nsec: 0 };
        // SAFETY: `time` is there to be read, and to be written with what is left.
        match unsafe { nanosleep(&time, &raw mut time) } {
            0 => 0,
            _ => c_uint::try_from(time.tv_sec).unwrap_or(secs),
        }
    })
}

fn result(of_system_call: c_long) -> c_int {
    c_int::try_from(of_system_call).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call before the functions are looked up: it goes to the kernel.
    #[test]
    fn without_a_next_function_the_kernel_answers() {
        let nothing = Next::new(c"no_function_has_this_name");
        nothing.find();
        assert!(nothing.get().is_null());
        assert_eq!(call!(nothing, fn() -> c_int), None);
    }

    #[test]
    fn all_functions_are_found_and_answer() {
        find_all();
        let (mut by_clock, mut by_day) =
            (timespec { tv_sec: 0, tv_nsec: 0 }, timeval { tv_sec: 0, tv_usec: 0 });
        let (mut by_time, mut by_base) = (0, timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: each pointer is to a value that is there to be written, or null where allowed.
        unsafe {
            assert_eq!(clock_gettime(libc::CLOCK_REALTIME, &raw mut by_clock), 0);
            assert_eq!(gettimeofday(&raw mut by_day, ptr::null_mut()), 0);
            assert_eq!(time(&raw mut by_time), by_time);
            let nothing = timespec { tv_sec: 0, tv_nsec: 1 };
            assert_eq!(nanosleep(&nothing, ptr::null_mut()), 0);
            assert_eq!(clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &nothing, ptr::null_mut()), 0);
            assert_eq!((usleep(1), sleep(0)), (0, 0));
            assert_eq!(thrd_sleep(&nothing, ptr::null_mut()), 0);
            assert_eq!(timespec_get(&raw mut by_base, 1), 1);
            assert_eq!(timespec_get(&raw mut by_base, -1), 0, "an unknown base");
            assert_eq!(clock_gettime(-1, &raw mut by_clock), -1, "errors are passed on");
            let backwards = timespec { tv_sec: -1, tv_nsec: 0 };
            let error = clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &backwards, ptr::null_mut());
            assert_eq!(error, libc::EINVAL);
        }
        assert!((0..=2).contains(&(by_time - by_clock.tv_sec)), "{by_time} {by_clock:?}");
        assert!((0..=2).contains(&(by_time - by_day.tv_sec)));
        assert!((0..=2).contains(&(by_base.tv_sec - by_time)));
    }
}
