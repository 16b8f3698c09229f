//! The behaviours that Go's `testing/synctest` promises, on our timeline.
//!
//! Each test names the ones of Go (`src/internal/synctest` and `src/testing/synctest`) whose
//! behaviour it states, in words and code of our own. Go's cases about its own channels, wait groups,
//! iterators, garbage collector and testing package have no counterpart here.
//!
//! | Go | here |
//! | --- | --- |
//! | `TestNow`, `TestTime` | `time_starts_at_2000_and_moves_by_sleeps_alone` |
//! | `TestRunEmpty`, `TestSimpleWait` | `settling_alone_is_nothing` |
//! | `TestGoroutineWait`, `TestWait`, `TestHappensBefore` | `settling_waits_for_chains_of_threads` |
//! | `TestTimerReadBeforeDeadline`, `TestTimerReadAfterDeadline`, `TestTimerRanInPast` | `a_deadline_that_is_past_is_ready_at_once` |
//! | `TestTimerRunsImmediately` | `a_deadline_that_is_past_is_ready_at_once` |
//! | `TestTimerReset` | `a_sleep_is_reset` |
//! | `TestTimerNondeterminism`, `TestSleepNondeterminism` | `seeds_draw_both_orders_of_a_tie` |
//! | `TestDeadlockRoot` | `a_lone_wait_for_nothing_is_a_deadlock` |
//! | `TestDeadlockChild` | `a_scope_whose_thread_waits_for_nothing_is_a_deadlock` |
//! | `TestCond` | `a_signal_wakes_one_and_then_both_at_their_instants` |
//! | `TestWaitGroupInBubble` | `joining_takes_the_time_of_the_thread` |
//! | `TestWaitGroupOutOfBubble`, `TestTimerFromOutsideBubble` | `what_is_awaited_outside_holds_time_still` |
//! | `TestContextWithTimeout` | `a_nanosecond_before_a_timeout_it_has_not_come` |

#![cfg(feature = "macros")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbench_clock::task::{block_on, sleep_async, timeout};
use testbench_clock::{
    MockClock, Seed, Signal, Stuck, Wait, current, external, instant_now, now, settle, sleep,
    thread,
};

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

fn passed() -> Duration {
    instant_now().since_origin()
}

fn wait_for(signal: &Signal) -> Result<(), Stuck> {
    let wait = Wait { deadline: None, on: &[signal.listen()], what: &"a signal" };
    current().wait(wait).map(|_| ())
}

#[testbench_clock::test]
fn time_starts_at_2000_and_moves_by_sleeps_alone() {
    assert_eq!(now().to_string(), "2000-01-01T00:00:00Z");
    let child = thread::spawn(|| {
        assert_eq!(passed(), Duration::ZERO);
        sleep(NANO);
        passed()
    });
    sleep(2 * NANO);
    assert_eq!((child.join().unwrap(), passed()), (NANO, 2 * NANO));
}

#[testbench_clock::test]
fn settling_alone_is_nothing() {
    settle().unwrap();
    assert_eq!(passed(), Duration::ZERO);
}

#[testbench_clock::test]
fn settling_waits_for_chains_of_threads() {
    fn chain(left: usize, done: Arc<AtomicUsize>) {
        done.fetch_add(1, Ordering::Relaxed);
        if left > 0 {
            thread::spawn(move || chain(left - 1, done));
        }
    }
    let done = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&done);
    thread::spawn(move || chain(20, theirs));
    // One that waits for time is at rest, too, and stays there.
    let sleeper = thread::spawn(|| sleep(SECOND));
    settle().unwrap();
    assert_eq!((done.load(Ordering::Relaxed), passed()), (21, Duration::ZERO));
    assert!(!sleeper.is_finished());
    sleeper.join().unwrap();
}

#[testbench_clock::test]
fn a_deadline_that_is_past_is_ready_at_once() {
    block_on(async {
        let zero = sleep_async(Duration::ZERO);
        zero.await;
        assert_eq!(passed(), Duration::ZERO);
        let timer = sleep_async(SECOND);
        sleep_async(2 * SECOND).await;
        assert!(timer.is_elapsed());
        timer.await;
        assert_eq!(passed(), 2 * SECOND);
    })
    .unwrap();
}

#[testbench_clock::test]
fn a_sleep_is_reset() {
    block_on(async {
        let after = |d| instant_now().checked_add(d).unwrap();
        let mut timer = sleep_async(SECOND);
        (&mut timer).await;
        timer.reset(after(2 * SECOND));
        (&mut timer).await;
        assert_eq!(passed(), 3 * SECOND);
        timer.reset(after(3 * SECOND));
        sleep_async(SECOND).await;
        timer.reset(after(3 * SECOND));
        timer.await;
        assert_eq!(passed(), 7 * SECOND);
    })
    .unwrap();
}

#[test]
fn seeds_draw_both_orders_of_a_tie() {
    let first = |seed| {
        let _installed = MockClock::builder().ties(Seed::new(seed)).build().install();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for name in ["one", "two"] {
                let order = &order;
                scope.spawn(move || {
                    sleep(NANO);
                    order.lock().unwrap().push(name);
                });
            }
        });
        order.into_inner().unwrap()[0]
    };
    let seen: std::collections::BTreeSet<_> = (0..20).map(first).collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!((0..20).all(|seed| first(seed) == first(seed)), "a seed repeats its order");
}

#[testbench_clock::test]
fn a_lone_wait_for_nothing_is_a_deadlock() {
    let stuck = wait_for(&Signal::new()).unwrap_err();
    assert!(matches!(stuck, Stuck::Deadlock(_)), "{stuck}");
}

#[testbench_clock::test]
fn a_scope_whose_thread_waits_for_nothing_is_a_deadlock() {
    let report = thread::scope(|scope| {
        let child = scope.spawn(|| wait_for(&Signal::new()).unwrap_err().to_string());
        // The join ends with the same report, and the thread goes on with its own.
        assert!(wait_for(&Signal::new()).is_err());
        child.join().unwrap()
    });
    assert!(report.starts_with("deadlock:"), "{report}");
    assert!(report.contains(&format!("thread of {}", file!())), "{report}");
}

#[testbench_clock::test]
fn a_signal_wakes_one_and_then_both_at_their_instants() {
    let signal = Signal::new();
    let theirs = signal.clone();
    thread::spawn(move || {
        for _ in 0..2 {
            sleep(SECOND);
            theirs.notify();
        }
    });
    wait_for(&signal).unwrap();
    assert_eq!(passed(), SECOND);
    let theirs = signal.clone();
    let second = thread::spawn(move || wait_for(&theirs).map(|()| passed()));
    wait_for(&signal).unwrap();
    assert_eq!((passed(), second.join().unwrap().unwrap()), (2 * SECOND, 2 * SECOND));
}

#[testbench_clock::test]
fn joining_takes_the_time_of_the_thread() {
    thread::spawn(|| sleep(SECOND)).join().unwrap();
    assert_eq!(passed(), SECOND);
}

#[testbench_clock::test]
fn what_is_awaited_outside_holds_time_still() {
    let sleeper = thread::spawn(|| sleep(SECOND));
    let outside = std::thread::spawn(|| 7);
    assert_eq!(external("join", || outside.join()).unwrap(), 7);
    assert_eq!(passed(), Duration::ZERO);
    sleeper.join().unwrap();
}

#[testbench_clock::test]
fn a_nanosecond_before_a_timeout_it_has_not_come() {
    let late = block_on(timeout(5 * SECOND, sleep_async(5 * SECOND + NANO))).unwrap();
    assert!(late.is_err() && passed() == 5 * SECOND);
    let in_time = block_on(timeout(5 * SECOND, sleep_async(5 * SECOND - NANO))).unwrap();
    assert!(in_time.is_ok() && passed() == 10 * SECOND - NANO);
}
