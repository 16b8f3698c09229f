//! The behaviours that Go's `testing/synctest` promises, on our timeline.
//!
//! Each test names the ones of Go 1.25 (`src/internal/synctest/synctest_test.go`, and where it says
//! so `src/testing/synctest`) whose behaviour it states, in words and code of our own. Go's bubble is
//! our session, its goroutine our thread, its `Wait` our `settle`, its blocked channel a wait on a
//! `Event`.
//!
//! | Go | here |
//! | --- | --- |
//! | `TestNow` (in both files), `TestTime` | `time_starts_at_2000_and_moves_by_sleeps_alone` |
//! | `TestMonotonicClock` | `times_of_the_real_clock_can_be_waited_for_exactly` |
//! | `TestRunEmpty`, `TestSimpleWait`, `TestSuccess` | `settling_alone_is_nothing` |
//! | `TestGoroutineWait`, `TestWait` (in both files), `TestMallocs` | `settling_waits_for_chains_of_threads` |
//! | `TestHappensBefore` | `settling_orders_what_threads_did` |
//! | `TestTimerReadBeforeDeadline`, `TestTimerReadAfterDeadline`, `TestTimerRanInPast`, `TestTimerRunsImmediately` | `a_deadline_that_is_past_is_ready_at_once` |
//! | `TestTimerReset` | `a_sleep_is_reset` |
//! | `TestTimeAfter` | `a_thread_of_a_thread_is_on_the_timeline` |
//! | `TestTimerAfterBubbleExit` | `what_is_due_after_the_end_of_a_session_never_runs` |
//! | `TestTimerFromOutsideBubble`, `TestWaitGroupOutOfBubble` | `what_is_awaited_outside_holds_time_still` |
//! | `TestTimerNondeterminism`, `TestSleepNondeterminism` | `seeds_draw_both_orders_of_a_tie` |
//! | `TestAfterFuncRunsImmediately` | `yields_let_a_thread_that_is_due_run` |
//! | `TestChannelFromOutsideBubble` (its five cases: one or two events, before or during the wait) | `signals_from_outside_end_waits_under_an_inhibitor` |
//! | `TestTimerFromInsideBubble` (its three cases) | `a_sleep_that_was_taken_out_of_its_executor_is_refused` |
//! | `TestDeadlockRoot` | `a_lone_wait_for_nothing_is_a_deadlock` |
//! | `TestDeadlockChild` | `a_scope_whose_thread_waits_for_nothing_is_a_deadlock` |
//! | `TestDeadlockTicker` | `a_ticker_ends_with_its_session` |
//! | `TestCond` | `a_signal_wakes_one_and_then_both_at_their_instants` |
//! | `TestIteratorPush`, `TestIteratorPull` | `an_iterator_that_sleeps_gives_its_items_at_their_instants` |
//! | `TestWaitGroupInBubble` | `joining_takes_the_time_of_the_thread` |
//! | `TestWaitGroupMovedBetweenBubblesWithZeroCount`, `…AfterWait` | `a_signal_serves_one_session_after_another` |
//! | `TestCleanup` (testing/synctest) | `what_a_test_drops_at_its_end_is_still_on_its_clock` |
//! | `TestContext`, `TestContextAfterFunc` (testing/synctest) | `a_cancelled_thread_is_told_and_has_run_when_settled` |
//! | `TestContextWithTimeout` (testing/synctest) | `a_nanosecond_before_a_timeout_it_has_not_come` |
//! | `TestHTTPTransport100Continue` (testing/synctest) | `a_peer_that_waits_for_leave_sends_nothing_before` |
//! | `TestFatal`, `TestError`, `TestSkip`, `TestVerbose…`, `TestHelper` | left out: what Go's test runner prints. How a failing test fails here is in `attribute.rs` |
//! | `TestDeadline`, `TestParallel`, `TestRun` | left out: calls of Go's `testing.T` that it refuses inside; there are none here |
//! | `TestChannelMovedOutOfBubble` | left out: Go refuses its own channels outside of their bubble; an `Event` may be notified from anywhere, as `signals_from_outside_…` shows |
//! | `TestWaitGroupMovedIntoBubble`, `…OutOfBubble`, `…WithNonZeroCount` | left out: a `WaitGroup` has no counterpart that can be moved; scopes of threads borrow |
//! | `TestReflectFuncOf`, `TestWeak` | left out: Go's reflection and garbage collector |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;
use testbench_clock::audit::real;
use testbench_clock::task::{self, block_on, timeout};
use testbench_clock::{
    Clock, Event, MockClock, Seed, Stuck, Wait, current, external, instant_now, is_mocked, now,
    settle, sleep, sleep_until, thread, try_sleep,
};

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

fn passed() -> Duration {
    instant_now().since_origin()
}

fn wait_for(event: &Event) -> Result<(), Stuck> {
    let wait = Wait { deadline: None, on: &[event.listen()], what: &"an event" };
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
        let zero = task::sleep(Duration::ZERO);
        zero.await;
        assert_eq!(passed(), Duration::ZERO);
        let timer = task::sleep(SECOND);
        task::sleep(2 * SECOND).await;
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
        let mut timer = task::sleep(SECOND);
        (&mut timer).await;
        timer.reset(after(2 * SECOND));
        (&mut timer).await;
        assert_eq!(passed(), 3 * SECOND);
        timer.reset(after(3 * SECOND));
        task::sleep(SECOND).await;
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
    let stuck = wait_for(&Event::new()).unwrap_err();
    assert!(matches!(stuck, Stuck::Deadlock(_)), "{stuck}");
}

#[testbench_clock::test]
fn a_scope_whose_thread_waits_for_nothing_is_a_deadlock() {
    let report = thread::scope(|scope| {
        let child = scope.spawn(|| wait_for(&Event::new()).unwrap_err().to_string());
        // The join ends with the same report, and the thread goes on with its own.
        assert!(wait_for(&Event::new()).is_err());
        child.join().unwrap()
    });
    assert!(report.starts_with("deadlock:"), "{report}");
    assert!(report.contains(&format!("thread of {}", file!())), "{report}");
}

#[testbench_clock::test]
fn a_signal_wakes_one_and_then_both_at_their_instants() {
    let event = Event::new();
    let theirs = event.clone();
    thread::spawn(move || {
        for _ in 0..2 {
            sleep(SECOND);
            theirs.notify();
        }
    });
    wait_for(&event).unwrap();
    assert_eq!(passed(), SECOND);
    let theirs = event.clone();
    let second = thread::spawn(move || wait_for(&theirs).map(|()| passed()));
    wait_for(&event).unwrap();
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
    let late = block_on(timeout(5 * SECOND, task::sleep(5 * SECOND + NANO))).unwrap();
    assert!(late.is_err() && passed() == 5 * SECOND);
    let in_time = block_on(timeout(5 * SECOND, task::sleep(5 * SECOND - NANO))).unwrap();
    assert!(in_time.is_ok() && passed() == 10 * SECOND - NANO);
}

#[testbench_clock::test]
fn times_of_the_real_clock_can_be_waited_for_exactly() {
    let real = real::now("a time from outside");
    assert!(now() < real, "the test's clock is in the year 2000");
    sleep_until(current().mono_at(real).unwrap()).unwrap();
    assert_eq!(now(), real);
    sleep(SECOND);
    assert_eq!(now().checked_duration_since(real), Some(SECOND));
}

#[testbench_clock::test]
fn settling_orders_what_threads_did() {
    let steps = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let both = |theirs: fn(&AtomicU32, &Event), go: &Event| {
        for i in 0..2 {
            let (steps, go) = (Arc::clone(&steps), go.clone());
            thread::spawn(move || theirs(&steps[i], &go));
        }
    };
    // Plain loads and stores, which would lose a step if two of them overlapped.
    fn step(count: &AtomicU32) {
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    let ours = |expected: u32| {
        settle().unwrap();
        for count in &*steps {
            step(count);
            assert_eq!(count.load(Ordering::Relaxed), expected);
        }
    };
    let go = Event::new();
    ours(1);
    both(|count, _| step(count), &go); // They end.
    ours(3);
    let blocked = |count: &AtomicU32, go: &Event| {
        step(count);
        wait_for(go).unwrap();
        step(count);
    };
    both(blocked, &go); // They wait.
    ours(5);
    go.notify();
    ours(7);
    both(
        |count, _| {
            sleep(Duration::ZERO);
            step(count);
        },
        &go,
    );
    ours(9);
    assert_eq!(passed(), Duration::ZERO);
}

#[testbench_clock::test]
fn a_thread_of_a_thread_is_on_the_timeline() {
    let steps = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&steps);
    thread::spawn(move || {
        sleep(SECOND);
        theirs.fetch_add(1, Ordering::Relaxed);
        thread::spawn(move || {
            sleep(SECOND);
            theirs.fetch_add(1, Ordering::Relaxed);
        });
    });
    sleep(3 * SECOND);
    settle().unwrap();
    assert_eq!((steps.load(Ordering::Relaxed), passed()), (2, 3 * SECOND));
}

#[test]
fn what_is_due_after_the_end_of_a_session_never_runs() {
    let ran = Arc::new(AtomicBool::new(false));
    let clock = MockClock::builder().build();
    let installed = clock.install();
    let theirs = Arc::clone(&ran);
    let late = thread::spawn(move || {
        sleep(SECOND);
        theirs.store(true, Ordering::Relaxed);
    });
    settle().unwrap();
    drop(installed);
    assert!(!ran.load(Ordering::Relaxed), "no participant has waited for it");
    assert_eq!(clock.mono().since_origin(), Duration::ZERO);
    // The clock itself goes on for its other participants, without those of the session that ended.
    let _again = clock.install();
    sleep(2 * SECOND);
    let panic = late.join().unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("session `clock` ended when the guard made at "), "{text}");
    assert!(!ran.load(Ordering::Relaxed));
    assert_eq!(passed(), 2 * SECOND);
}

#[testbench_clock::test]
fn yields_let_a_thread_that_is_due_run() {
    let ran = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&ran);
    thread::spawn(move || theirs.store(true, Ordering::Relaxed));
    while !ran.load(Ordering::Relaxed) {
        current().yield_now().unwrap();
    }
    assert_eq!(passed(), Duration::ZERO);
}

#[testbench_clock::test]
fn signals_from_outside_end_waits_under_an_inhibitor() {
    for (notified_first, others) in [(true, 0), (false, 0), (false, 1)] {
        let (event, never) = (Event::new(), Event::new());
        let on: Vec<_> = (0..others).map(|_| never.listen()).chain([event.listen()]).collect();
        let held = current().participant().inhibit(&"something outside");
        let outside = std::thread::spawn(move || {
            if !notified_first {
                real::sleep(Duration::from_millis(2), "so that the other waits");
            }
            event.notify();
        });
        if notified_first {
            external("join", || outside.join()).unwrap();
        }
        current().wait(Wait { deadline: None, on: &on, what: &"an event" }).unwrap();
        drop(held);
    }
    assert_eq!(passed(), Duration::ZERO);
}

#[testbench_clock::test]
#[expect(clippy::async_yields_async, reason = "it is taken out of the executor on purpose")]
fn a_sleep_that_was_taken_out_of_its_executor_is_refused() {
    let mut sleep = block_on(async { task::sleep(SECOND) }).unwrap();
    let poll = |sleep: &mut testbench_clock::task::Sleep| {
        let mut task = Context::from_waker(Waker::noop());
        Pin::new(sleep).poll(&mut task).is_ready()
    };
    let panic = catch_unwind(AssertUnwindSafe(|| poll(&mut sleep))).unwrap_err();
    let text = panic.downcast_ref::<&str>().unwrap();
    assert!(text.contains("polled on a thread without a driver"), "{text}");
    // To set it and to drop it is harmless anywhere.
    sleep.reset(instant_now());
    drop(sleep);
    assert_eq!(passed(), Duration::ZERO);
}

#[test]
fn a_ticker_ends_with_its_session() {
    let clock = MockClock::builder().build();
    let installed = clock.install();
    let ticker = thread::spawn(|| {
        let mut ticks = 0;
        while try_sleep(SECOND).is_ok() {
            ticks += 1;
        }
        ticks
    });
    sleep(10 * SECOND + NANO);
    drop(installed);
    // Not even the one that it waits for already.
    let _again = clock.install();
    assert_eq!(ticker.join().unwrap(), 10);
    assert_eq!(passed(), 10 * SECOND + NANO);
}

#[testbench_clock::test]
fn an_iterator_that_sleeps_gives_its_items_at_their_instants() {
    let items = || {
        std::iter::from_fn(|| {
            sleep(SECOND);
            Some(passed())
        })
    };
    let pushed = thread::spawn(move || items().take(3).collect::<Vec<_>>());
    // Pulled by one participant from another.
    let (send, receive) = std::sync::mpsc::channel();
    let wanted = Event::new();
    let theirs = wanted.clone();
    let pulled = thread::spawn(move || {
        for item in items().take(3) {
            send.send(item).unwrap();
            theirs.notify();
        }
    });
    let mut got = Vec::new();
    while got.len() < 3 {
        let on = [wanted.listen()];
        match receive.try_recv() {
            Ok(item) => got.push((item, passed())),
            Err(_) => {
                current().wait(Wait { deadline: None, on: &on, what: &"an item" }).unwrap();
            }
        }
    }
    let instants = [1, 2, 3].map(|n| n * SECOND);
    assert_eq!(got, instants.map(|at| (at, at)));
    pulled.join().unwrap();
    assert_eq!(pushed.join().unwrap(), instants);
    assert_eq!(passed(), 3 * SECOND);
}

#[test]
fn a_signal_serves_one_session_after_another() {
    let event = Event::new();
    for _ in 0..2 {
        let _installed = MockClock::builder().build().install();
        let theirs = event.clone();
        thread::spawn(move || {
            sleep(SECOND);
            theirs.notify();
        });
        wait_for(&event).unwrap();
        assert_eq!(passed(), SECOND);
    }
}

#[test]
fn what_a_test_drops_at_its_end_is_still_on_its_clock() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct CleansUp(Event);
    impl Drop for CleansUp {
        fn drop(&mut self) {
            assert!(is_mocked());
            self.0.notify();
            settle().unwrap();
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn inner() {
        let _installed = MockClock::builder().build().install();
        let done = Event::new();
        let theirs = done.clone();
        thread::spawn(move || {
            wait_for(&theirs).unwrap();
            SEEN.fetch_add(10, Ordering::Relaxed);
        });
        settle().unwrap();
        let _cleanup = CleansUp(done);
    }
    inner();
    assert_eq!(SEEN.load(Ordering::Relaxed), 11);
}

#[testbench_clock::test]
fn a_cancelled_thread_is_told_and_has_run_when_settled() {
    let (state, handle) = (Arc::new(Mutex::new("not started")), Arc::new(Mutex::new(None)));
    let (theirs, its_handle) = (Arc::clone(&state), Arc::clone(&handle));
    thread::spawn(move || {
        *its_handle.lock().unwrap() = Some(current());
        *theirs.lock().unwrap() = "waits";
        let stuck = wait_for(&Event::new()).unwrap_err();
        assert_eq!(stuck.to_string(), "cancelled: enough");
        *theirs.lock().unwrap() = "done";
    });
    settle().unwrap();
    assert_eq!(*state.lock().unwrap(), "waits");
    handle.lock().unwrap().take().unwrap().participant().cancel("enough");
    assert_eq!(*state.lock().unwrap(), "waits", "it has not had a turn yet");
    settle().unwrap();
    assert_eq!(*state.lock().unwrap(), "done");
}

/// A client sends a header, and its body only when the server says so or five seconds are over.
#[testbench_clock::test]
fn a_peer_that_waits_for_leave_sends_nothing_before() {
    for leave in [true, false] {
        let (sent, go) = (Arc::new(Mutex::new(Vec::new())), Event::new());
        let (theirs, on) = (Arc::clone(&sent), [go.listen()]);
        let began = instant_now();
        let client = thread::spawn(move || {
            theirs.lock().unwrap().push("header");
            let deadline = instant_now().checked_add(5 * SECOND);
            current().wait(Wait { deadline, on: &on, what: &"100 Continue" }).unwrap();
            theirs.lock().unwrap().push("body");
        });
        settle().unwrap();
        assert_eq!(*sent.lock().unwrap(), ["header"]);
        if leave {
            go.notify();
            settle().unwrap();
            assert_eq!(*sent.lock().unwrap(), ["header", "body"]);
        }
        client.join().unwrap();
        assert_eq!(*sent.lock().unwrap(), ["header", "body"]);
        let waited = if leave { Duration::ZERO } else { 5 * SECOND };
        assert_eq!(instant_now().duration_since(began), waited);
    }
}
