//! Clock functions are safe in a signal handler, and stay so when they are interposed.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use testbench_clock::audit::Source;
use testbench_clock::{Lifetime, MockClock, install_for};
use testbench_interpose as _;

static HANDLED: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicBool = AtomicBool::new(false);

extern "C" fn read_the_clock(_signal: libc::c_int) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is there to be written, and the function may be called in a signal handler.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// The handler interrupts this thread while it allocates, counts, walks its stack and names what was
/// counted. If it took a lock or memory in there, this would hang or crash.
#[test]
fn a_handler_that_reads_the_clock_may_interrupt_anything() {
    let handler: extern "C" fn(libc::c_int) = read_the_clock;
    // SAFETY: the handler does only what a handler may do.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    // SAFETY: it has no preconditions.
    let this_thread = unsafe { libc::pthread_self() };
    let session = Lifetime::new("signals");
    let installed = install_for(MockClock::builder().build(), &session);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !DONE.load(Ordering::Relaxed) {
                // SAFETY: that thread lives, since it waits for this one.
                unsafe { libc::pthread_kill(this_thread, libc::SIGUSR1) };
                std::thread::yield_now();
            }
        });
        let mut reads = 0;
        while HANDLED.load(Ordering::Relaxed) < 3_000 {
            leaky::read_instant();
            reads += 1;
            black_box(vec![reads; 100]);
            if reads % 100 == 0 {
                black_box(session.audit().leaks());
            }
        }
        DONE.store(true, Ordering::Relaxed);
        let leaks = session.audit().leaks();
        let count = |source| -> u64 {
            leaks.iter().filter(|leak| leak.source == source).map(|leak| leak.count).sum()
        };
        assert_eq!(count(Source::InstantNow), reads);
        let handled = HANDLED.load(Ordering::Relaxed);
        let seen = count(Source::SystemTimeNow);
        // Those that came while a stack was being walked are passed on uncounted.
        assert!(seen > 0 && seen <= handled, "{seen} of {handled}");
    });
    drop(installed);
}
