//! Dependencies that use real time are reported, with count and place, to the session they ran in.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use testbench_clock::audit::{self, Audit, Leak, Source, real};
use testbench_clock::{
    Clock, Context, Lifetime, MockClock, SystemClock, Watchdog, install_for, instant_now, now,
    sleep, thread,
};
use testbench_interpose as _;

/// Runs `f` with a mock clock installed, and gives what leaked.
fn session(name: &'static str, f: impl FnOnce()) -> Lifetime {
    let session = Lifetime::new(name);
    let installed = install_for(MockClock::builder().build(), &session);
    f();
    drop(installed);
    session
}

/// Source, function and count of each leak.
fn short(audit: &Audit) -> Vec<(Source, String, u64)> {
    let short = |leak: &Leak| {
        let function = leak.site.split(" (").next().unwrap_or_default().to_owned();
        (leak.source, function, leak.count)
    };
    audit.leaks().iter().map(short).collect()
}

#[test]
fn the_functions_of_this_program_are_interposed() {
    assert!(testbench_interpose::is_active());
}

#[test]
fn a_leaky_dependency_is_reported_with_counts_and_places() {
    let session = session("leaky", || {
        for _ in 0..5 {
            leaky::read_instant();
        }
        for _ in 0..3 {
            leaky::read_wall();
        }
        leaky::nap();
        leaky::nap();
    });
    let leaks = session.audit().leaks();
    let found: Vec<_> = leaks.iter().map(|leak| (leak.source, leak.count)).collect();
    let expected = [(Source::InstantNow, 5), (Source::SystemTimeNow, 3), (Source::ThreadSleep, 2)];
    assert_eq!(found, expected, "{leaks:#?}");
    for (leak, function) in leaks.iter().zip(["read_instant", "read_wall", "nap"]) {
        let site = &leak.site;
        assert!(site.starts_with(&format!("leaky::{function} (")), "{site}");
        assert!(site.contains("tests/leaky/src/lib.rs:"), "{site}");
    }
    assert!(!session.audit().is_clean());
}

#[test]
fn calls_hidden_in_std_and_in_types_are_found() {
    let session = session("hidden", || {
        leaky::measure();
        let _ = (0..4).map(|_| leaky::Timer::default()).collect::<Vec<_>>();
    });
    let counts = short(session.audit());
    let total: u64 = counts.iter().map(|(.., count)| count).sum();
    assert_eq!(total, 6, "{counts:?}");
    for (source, function, _) in &counts {
        assert_eq!(*source, Source::InstantNow);
        assert!(function.starts_with("leaky::"), "{function}");
    }
}

#[test]
fn a_published_crate_is_found_out_as_well() {
    // It draws random names from a generator that takes its seed from the clock, once per thread.
    let session = session("tempfile", || drop(tempfile::tempdir().unwrap()));
    let leaks = short(session.audit());
    assert_eq!(leaks, [(Source::InstantNow, "fastrand::global_rng::random_seed".to_owned(), 1)]);
}

#[test]
fn nothing_is_reported_when_nothing_leaks() {
    let session = session("clean", || {
        let worker = thread::spawn(|| {
            sleep(Duration::from_secs(2));
            (now(), instant_now())
        });
        sleep(Duration::from_secs(1));
        worker.join().unwrap();
        let armed = Watchdog::arm(Duration::from_millis(1), || {}).unwrap();
        real::sleep(Duration::from_millis(3), "so that the watchdog wakes");
        drop(armed);
    });
    assert_eq!(short(session.audit()), []);
}

#[test]
fn the_stall_monitor_and_a_real_clock_beside_the_mock_are_no_leaks() {
    let session = session("own", || {
        let real = SystemClock::new("beside");
        real.wall();
        real.mono();
        let deadline = real.mono().checked_add(Duration::from_millis(1));
        real.wait(testbench_clock::Wait { deadline, on: &[], what: &"a moment" }).unwrap();
    });
    assert_eq!(short(session.audit()), []);
}

#[test]
fn real_time_for_a_reason_is_listed_as_that_and_only_once() {
    let session = session("reasons", || {
        real::now("file names");
        real::instant_now("a benchmark");
        real::sleep(Duration::from_millis(1), "hardware");
        leaky::read_wall();
    });
    session.audit().allow("leaky::", "the crate under test");
    assert_eq!(short(session.audit()), []);
    let allowed = session.audit().allowed();
    assert_eq!(allowed.iter().map(|leak| leak.count).sum::<u64>(), 4, "{allowed:#?}");
}

#[test]
fn a_real_clock_leaks_nothing() {
    let session = Lifetime::new("real");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new("host"));
    let installed = install_for(clock, &session);
    leaky::read_instant();
    drop(installed);
    assert_eq!(short(session.audit()), []);
}

#[test]
fn sessions_side_by_side_do_not_mix() {
    const SESSIONS: u64 = 8;
    let together = Arc::new(Barrier::new(SESSIONS as usize));
    let threads: Vec<_> = (1..=SESSIONS)
        .map(|n| {
            let together = Arc::clone(&together);
            std::thread::spawn(move || {
                session("one of many", || {
                    together.wait();
                    for _ in 0..n * 100 {
                        leaky::read_instant();
                    }
                    // Carried along to a thread of its own.
                    let helper = Context::capture().wrap(leaky::read_wall);
                    testbench_clock::external("join", || std::thread::spawn(helper).join())
                        .unwrap();
                })
            })
        })
        .collect();
    for (n, thread) in (1..=SESSIONS).zip(threads) {
        let counts = short(thread.join().unwrap().audit());
        let expected = [
            (Source::InstantNow, "leaky::read_instant".to_owned(), n * 100),
            (Source::SystemTimeNow, "leaky::read_wall".to_owned(), 1),
        ];
        assert_eq!(counts, expected);
    }
}

#[test]
fn threads_without_a_session_are_not_dropped() {
    let in_all = || -> u64 {
        let leaks = audit::unattributed().leaks();
        let ours = leaks.iter().filter(|leak| leak.site.contains("on_a_thread_of_its_own"));
        ours.map(|leak| leak.count).sum()
    };
    #[inline(never)]
    #[expect(clippy::disallowed_methods, reason = "it is here to be caught")]
    fn on_a_thread_of_its_own() {
        std::hint::black_box(std::time::Instant::now());
    }
    let (to_thread, start) = channel();
    let thread = std::thread::spawn(move || {
        start.recv().unwrap();
        on_a_thread_of_its_own();
    });
    let session = session("elsewhere", || {
        to_thread.send(()).unwrap();
        testbench_clock::external("join", || thread.join()).unwrap();
    });
    assert_eq!(in_all(), 1, "{:?}", audit::unattributed().leaks());
    assert_eq!(short(session.audit()), []);
}

#[test]
fn reading_in_a_nested_clock_counts_for_that_one() {
    let outer = Lifetime::new("outer");
    let inner = Lifetime::new("inner");
    let outside = install_for(MockClock::builder().build(), &outer);
    let inside = install_for(MockClock::builder().build(), &inner);
    leaky::read_wall();
    drop(inside);
    leaky::read_instant();
    drop(outside);
    let of =
        |session: &Lifetime| short(session.audit()).into_iter().map(|l| l.0).collect::<Vec<_>>();
    assert_eq!(of(&inner), [Source::SystemTimeNow]);
    assert_eq!(of(&outer), [Source::InstantNow]);
}
