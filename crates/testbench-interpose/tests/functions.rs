//! Each function of the C library that is interposed, called as C code does.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::ptr;
use testbench_clock::audit::Source;
use testbench_clock::{Lifetime, MockClock, install_for};
use testbench_interpose as _;

const MOMENT: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1000 };

// The libc crate does not have these.
unsafe extern "C" {
    fn timespec_get(time: *mut libc::timespec, base: libc::c_int) -> libc::c_int;
    fn thrd_sleep(time: *const libc::timespec, left: *mut libc::timespec) -> libc::c_int;
}

/// What `f` used, and how often.
fn used(f: impl FnOnce()) -> Vec<(Source, u64)> {
    let session = Lifetime::new("c");
    let installed = install_for(MockClock::builder().build(), &session);
    f();
    drop(installed);
    session.audit().leaks().iter().map(|leak| (leak.source, leak.count)).collect()
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is there to be written.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut now) }, 0);
    now.tv_sec
}

#[test]
fn readings_are_counted_and_right() {
    let mut seen = Vec::new();
    let used = used(|| {
        let mut day = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let mut utc = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `day` and `utc` are there to be written; null is accepted for the others.
        unsafe {
            assert_eq!(timespec_get(&raw mut utc, 1), 1);
            assert_eq!(libc::gettimeofday(&raw mut day, ptr::null_mut()), 0);
            seen.push(libc::time(ptr::null_mut()));
        }
        seen.extend([day.tv_sec, utc.tv_sec]);
        seen.push(read(libc::CLOCK_REALTIME));
        read(libc::CLOCK_MONOTONIC);
        for clock in [libc::CLOCK_REALTIME_ALARM, libc::CLOCK_BOOTTIME_ALARM] {
            // SAFETY: `utc` is there to be written. A machine that cannot be woken by a clock gives an error.
            unsafe { libc::clock_gettime(clock, &raw mut utc) };
        }
    });
    assert!(seen.iter().max().unwrap() - seen.iter().min().unwrap() <= 1, "{seen:?}");
    assert!(seen[0] > 1_700_000_000, "this century: {seen:?}");
    let total = |source| used.iter().filter(|u| u.0 == source).map(|u| u.1).sum::<u64>();
    assert_eq!((total(Source::SystemTimeNow), total(Source::InstantNow)), (5, 2), "{used:?}");
}

#[test]
fn clocks_of_cpu_time_are_not_counted() {
    let used = used(|| {
        read(libc::CLOCK_THREAD_CPUTIME_ID);
        read(libc::CLOCK_PROCESS_CPUTIME_ID);
    });
    assert_eq!(used, []);
}

#[test]
fn sleeps_are_counted() {
    let used = used(|| {
        // SAFETY: the span is there to be read, and null is accepted for what is left.
        unsafe {
            assert_eq!(libc::nanosleep(&MOMENT, ptr::null_mut()), 0);
            let clock = libc::CLOCK_MONOTONIC;
            assert_eq!(libc::clock_nanosleep(clock, 0, &MOMENT, ptr::null_mut()), 0);
            assert_eq!(libc::usleep(1), 0);
            assert_eq!(libc::sleep(0), 0);
            assert_eq!(thrd_sleep(&MOMENT, ptr::null_mut()), 0);
        }
    });
    assert!(used.iter().all(|(source, _)| *source == Source::ThreadSleep), "{used:?}");
    assert_eq!(used.iter().map(|(_, count)| count).sum::<u64>(), 5, "{used:?}");
}

#[test]
fn without_a_session_calls_pass_on() {
    let before = read(libc::CLOCK_REALTIME);
    assert!(before > 1_700_000_000);
    // SAFETY: the span is there to be read, and null is accepted for what is left.
    assert_eq!(unsafe { libc::nanosleep(&MOMENT, ptr::null_mut()) }, 0);
}
