//! tokio's own behaviours of time, on a runtime of ours: exact where tokio rounds to a millisecond.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use testbench_clock::task::{self, interval, notified, timeout};
use testbench_clock::tokio::runtime;
use testbench_clock::{
    Clock, Context, Event, FutureExt, MockClock, MonoTime, Participant, Reading, Schedule, Seed,
    Stuck, SystemClock, Wait, instant_now, sleep, thread,
};

const fn ns(n: u64) -> Duration {
    Duration::from_nanos(n)
}

/// Runs a future on a clock and a runtime of its own.
fn run<T>(future: impl Future<Output = T>) -> (T, u64) {
    let _installed = MockClock::builder().build().install();
    let output = runtime().unwrap().block_on(future).unwrap();
    (output, instant_now().nanos())
}

fn now_ns() -> u64 {
    instant_now().nanos()
}

#[test]
fn a_sleep_takes_exactly_its_time() {
    for d in [0, 1, 999, 1_000_001, 86_400_000_000_000] {
        assert_eq!(run(async move { task::sleep(ns(d)).await }), ((), d));
    }
}

#[test]
fn an_immediate_sleep_is_ready_at_the_first_poll() {
    run(async {
        let mut sleep = pin!(task::sleep_until(instant_now()));
        let ready = std::future::poll_fn(|task| Poll::Ready(sleep.as_mut().poll(task))).await;
        assert!(ready.is_ready());
    });
}

#[test]
fn a_pending_sleep_can_be_reset_to_earlier_and_later() {
    run(async {
        for (first, second) in [(100, 300), (300, 100)] {
            let start = now_ns();
            let at = |n| MonoTime::from_nanos(start + n);
            let mut sleep = task::sleep_until(at(first));
            assert!(timeout(ns(10), &mut sleep).await.is_err());
            sleep.reset(at(second));
            sleep.await;
            assert_eq!(now_ns() - start, second);
        }
    });
}

#[test]
fn tasks_wake_in_the_order_of_their_deadlines_then_of_registration() {
    let order = Arc::new(Mutex::new(Vec::new()));
    run(async {
        let tasks: Vec<_> = [30, 10, 20, 10, 30]
            .into_iter()
            .enumerate()
            .map(|(i, d)| {
                let order = Arc::clone(&order);
                tokio::spawn(async move {
                    task::sleep(ns(d)).await;
                    order.lock().unwrap().push((now_ns(), i));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(*order.lock().unwrap(), [(10, 1), (10, 3), (20, 2), (30, 0), (30, 4)]);
}

#[test]
fn a_dropped_sleep_moves_nothing() {
    let ((), at) = run(async {
        drop(timeout(ns(1_000), task::sleep(ns(500))));
        let mut long = Box::pin(task::sleep(ns(1_000_000)));
        assert!(timeout(ns(5), &mut long).await.is_err());
        drop(long);
        task::sleep(ns(10)).await;
    });
    assert_eq!(at, 15);
}

#[test]
fn timeouts() {
    let ((), at) = run(async {
        assert_eq!(timeout(ns(100), async { 7 }).await, Ok(7));
        assert!(timeout(ns(100), pending::<()>()).await.is_err());
        // Both at the same instant: the future wins.
        assert_eq!(timeout(ns(50), task::sleep(ns(50))).await, Ok(()));
        // Nested: the shorter one ends first, whichever is outside.
        let inner = timeout(ns(10), pending::<()>());
        assert!(timeout(ns(20), inner).await.unwrap().is_err());
        let inner = timeout(ns(20), pending::<()>());
        assert!(timeout(ns(10), inner).await.is_err());
        // One past the range of the clock never ends the future.
        assert_eq!(timeout(Duration::MAX, task::sleep(ns(1))).await, Ok(()));
    });
    assert_eq!(at, 100 + 50 + 10 + 10 + 1);
}

#[test]
fn an_interval_does_not_drift_and_catches_up() {
    let (ticks, _) = run(async {
        let mut interval = interval(ns(10));
        let mut ticks = Vec::new();
        for i in 0..6 {
            let planned = interval.tick().await.nanos();
            ticks.push((planned, now_ns()));
            if i == 1 {
                task::sleep(ns(25)).await;
            }
        }
        ticks
    });
    assert_eq!(ticks, [(0, 0), (10, 10), (20, 35), (30, 35), (40, 40), (50, 50)]);
}

#[test]
fn many_tasks_with_the_same_and_with_other_deadlines() {
    let ((), at) = run(async {
        let tasks: Vec<_> = (0..10_000_u64)
            .map(|i| tokio::spawn(async move { task::sleep(ns(1 + i * 7919 % 1000)).await }))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(at, 1000);
}

#[test]
fn tasks_that_talk_are_not_idle() {
    let ((), at) = run(async {
        let (send, mut receive) = tokio::sync::mpsc::channel(1);
        let producer = tokio::spawn(async move {
            for i in 0..5 {
                task::sleep(ns(10)).await;
                send.send(i).await.unwrap();
            }
        });
        let mut got = Vec::new();
        while let Some(i) = receive.recv().await {
            got.push((now_ns(), i));
            tokio::task::yield_now().await;
        }
        producer.await.unwrap();
        assert_eq!(got, [(10, 0), (20, 1), (30, 2), (40, 3), (50, 4)]);
    });
    assert_eq!(at, 50);
}

#[test]
fn a_runtime_that_nothing_can_wake_is_a_deadlock() {
    let _installed = MockClock::builder().name("async main").build().install();
    let runtime = runtime().unwrap();
    let line = line!() + 1;
    let stuck = runtime.block_on(async {
        task::sleep(ns(5)).await;
        pending::<()>().await;
    });
    let Err(Stuck::Deadlock(report)) = stuck else { panic!("{stuck:?}") };
    let place = format!("block_on of a tokio runtime at {}:{line}", file!());
    assert_eq!(report.to_string(), format!("  `async main`: {place}"));
    assert_eq!(now_ns(), 5);
    // It can be used again, and so can its clock.
    runtime.block_on(task::sleep(ns(5))).unwrap();
    assert_eq!(now_ns(), 10);
}

#[test]
fn a_runtime_and_threads_share_one_timeline() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let heard = Event::new();
    let (listener, notifier) = (heard.listen(), heard.clone());
    let other = thread::spawn(move || {
        sleep(ns(30));
        notifier.notify();
        sleep(ns(100));
        now_ns()
    });
    let runtime = runtime().unwrap();
    let seen = runtime.block_on(async {
        task::sleep(ns(10)).await;
        let first = now_ns();
        timeout(ns(1_000), notified(listener)).await.unwrap();
        let second = now_ns();
        task::sleep(ns(50)).await;
        [first, second, now_ns()]
    });
    assert_eq!(seen.unwrap(), [10, 30, 80]);
    assert_eq!(other.join().unwrap(), 130);
    assert_eq!(clock.mono().nanos(), 130);
}

#[test]
fn two_runtimes_on_two_threads_interleave_the_same_way_every_time() {
    let trace = || {
        let _installed = MockClock::builder().build().install();
        let order = Arc::new(Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for (name, step) in [('a', 3), ('b', 2)] {
                let order = Arc::clone(&order);
                scope.spawn(move || {
                    let runtime = runtime().unwrap();
                    runtime
                        .block_on(async {
                            for _ in 0..10 {
                                task::sleep(ns(step)).await;
                                order.lock().unwrap().push((now_ns(), name));
                            }
                        })
                        .unwrap();
                });
            }
        });
        order.lock().unwrap().clone()
    };
    let first = trace();
    assert!(first.is_sorted(), "{first:?}");
    assert_eq!(first.last(), Some(&(30, 'a')));
    for _ in 0..50 {
        assert_eq!(trace(), first);
    }
}

#[test]
fn a_task_with_a_context_of_its_own_still_has_its_driver() {
    let outer = MockClock::builder().build();
    let context = {
        let _installed = outer.install();
        Context::capture()
    };
    let ((), at) = run(async {
        let sleep = task::sleep(ns(7));
        sleep.with_context(context).await;
    });
    assert_eq!(at, 7);
}

#[test]
fn a_sleep_without_a_driver_names_every_driver() {
    let _installed = MockClock::builder().build().install();
    let plain = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let asleep = std::panic::AssertUnwindSafe(|| plain.block_on(task::sleep(ns(1))));
    let panic = std::panic::catch_unwind(asleep).unwrap_err();
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap();
    for driver in ["task::block_on", "tokio::runtime", "tokio::paused_runtime"] {
        assert!(text.contains(&format!("`testbench_clock::{driver}`")), "{driver}: {text}");
    }
}

#[test]
fn the_real_clock_drives_a_runtime_too() {
    let start = instant_now();
    let runtime = runtime().unwrap();
    runtime.block_on(task::sleep(Duration::from_millis(20))).unwrap();
    assert!(instant_now().duration_since(start) >= Duration::from_millis(20));
}

#[test]
fn a_paused_runtime_leads_and_the_timeline_follows_by_the_millisecond() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let other = thread::spawn(|| {
        sleep(Duration::from_millis(1_500));
        now_ns()
    });
    let runtime = testbench_clock::tokio::paused_runtime().unwrap();
    let seen = runtime.block_on(async {
        let start = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let first = (start.elapsed().as_millis(), now_ns());
        let late = tokio::spawn(async {
            task::sleep(Duration::from_micros(2_500)).await;
            now_ns()
        });
        (first, late.await.unwrap())
    });
    assert_eq!(seen.unwrap(), ((2_000, 2_000_000_000), 2_003_000_000));
    assert_eq!(other.join().unwrap(), 1_500_000_000);
}

#[test]
fn a_paused_runtime_goes_on_from_where_the_timeline_is() {
    let secs = Duration::from_secs;
    let clock = MockClock::builder().resolution(Reading::Mono, secs(1)).build();
    let _installed = clock.install();
    clock.advance(Duration::from_millis(1_500)).unwrap();
    let runtime = testbench_clock::tokio::paused_runtime().unwrap();
    runtime.block_on(async { tokio::time::sleep(secs(2)).await }).unwrap();
    assert_eq!(clock.mono_exact().nanos(), 3_500_000_000, "not from where the readings are");
    sleep(secs(10));
    runtime.block_on(async { tokio::time::sleep(secs(2)).await }).unwrap();
    assert_eq!(clock.mono_exact().nanos(), 15_500_000_000, "what was in between is its own");
}

#[test]
fn a_runtime_moves_no_time_past_someone_who_was_given_up_on() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(150)).build();
    let _installed = clock.install();
    let context = Context::capture();
    // Without `external`, so this thread is the one who is given up on.
    let ends = std::thread::spawn(move || {
        let _entered = context.enter();
        let runtime = runtime().unwrap();
        [(); 2].map(|()| runtime.block_on(async { task::sleep(Duration::from_secs(1)).await }))
    });
    for end in ends.join().unwrap() {
        assert!(matches!(end, Err(Stuck::Stalled(_))), "{end:?}");
    }
    assert_eq!(clock.mono(), MonoTime::ORIGIN);
}

/// tokio has no timer to jump to, so it sleeps in earnest, and the other one waits for it.
#[test]
fn a_paused_runtime_that_waits_for_someone_on_the_timeline_is_told_that_it_stalls() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(150)).build();
    let _installed = clock.install();
    let event = Event::new();
    let listener = event.listen();
    let other = thread::spawn(move || event.notify());
    let runtime = testbench_clock::tokio::paused_runtime().unwrap();
    let stuck = runtime.block_on(notified(listener)).unwrap_err();
    assert!(matches!(stuck, Stuck::Stalled(_)), "{stuck}");
    assert!(stuck.to_string().contains("`main`: is running"), "{stuck}");
    // Told once; afterwards it takes part again.
    other.join().unwrap();
    let sleep = async { tokio::time::sleep(Duration::from_millis(5)).await };
    runtime.block_on(sleep).unwrap();
    assert_eq!(now_ns(), 5_000_000);
}

#[test]
fn a_paused_runtime_hears_the_signals_of_its_own_tasks() {
    let _installed = MockClock::builder().build().install();
    let runtime = testbench_clock::tokio::paused_runtime().unwrap();
    let event = Event::new();
    let listener = event.listen();
    let heard = runtime.block_on(async {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(7)).await;
            event.notify();
        });
        notified(listener).await;
        now_ns()
    });
    assert_eq!(heard.unwrap(), 7_000_000);
}

/// It sleeps in earnest when its session ends, on whatever thread.
#[test]
fn a_paused_runtime_ends_with_its_session() {
    let builder = MockClock::builder().stall_after(Duration::from_secs(3600));
    let installed = builder.schedule(Schedule::Parallel).build().install();
    let (send, told) = std::sync::mpsc::channel();
    let (begun, began) = std::sync::mpsc::channel();
    drop(thread::spawn(move || {
        let never = Event::new();
        let runtime = testbench_clock::tokio::paused_runtime().unwrap();
        let ended = runtime.block_on(async {
            begun.send(()).unwrap();
            notified(never.listen()).await
        });
        send.send(ended.unwrap_err().to_string()).unwrap();
    }));
    began.recv().unwrap();
    drop(installed);
    let told = told.recv_timeout(Duration::from_secs(20)).expect("it is told at once");
    assert!(told.contains("session `clock` ended when the guard made at "), "{told}");
}

/// What three runtimes and two threads on one timeline do, in order.
fn crowd(builder: testbench_clock::MockClockBuilder) -> Vec<(u64, String)> {
    let _installed = builder.build().install();
    let (seen, event) = (Mutex::new(Vec::new()), Event::new());
    let see = |who: String| seen.lock().unwrap().push((now_ns(), who));
    thread::scope(|scope| {
        for k in 0..3 {
            let (event, see) = (&event, &see);
            scope.spawn(move || {
                let waits = async {
                    for i in 0..6 {
                        let spawned = tokio::spawn(task::sleep(ns(4)));
                        let _: Result<(), _> = timeout(ns(6), notified(event.listen())).await;
                        see(format!("runtime {k}: {i}"));
                        spawned.await.unwrap();
                        task::sleep(ns(2)).await;
                        see(format!("runtime {k}: {i}, later"));
                    }
                };
                runtime().unwrap().block_on(waits).unwrap();
            });
        }
        for k in 0..2 {
            let (event, see) = (&event, &see);
            scope.spawn(move || {
                for i in 0..12 {
                    sleep(ns(4));
                    see(format!("thread {k}: {i}"));
                    if i % 3 == k {
                        event.notify();
                    }
                }
            });
        }
    });
    seen.into_inner().unwrap()
}

#[test]
fn runtimes_and_threads_run_in_the_same_order_every_time() {
    for seed in [None, Some(7)] {
        let builder = || match seed {
            None => MockClock::builder(),
            Some(seed) => MockClock::builder().ties(Seed::new(seed)),
        };
        let first = crowd(builder());
        for _ in 0..300 {
            assert_eq!(crowd(builder()), first);
        }
    }
}

#[test]
fn a_send_of_another_participant_wakes_the_future_of_block_on_at_its_instant() {
    for _ in 0..200 {
        let _installed = MockClock::builder().build().install();
        let (send, receive) = tokio::sync::oneshot::channel();
        let sender = thread::spawn(move || {
            sleep(ns(10));
            send.send(()).unwrap();
            sleep(ns(90));
        });
        let received = runtime().unwrap().block_on(timeout(ns(50), receive)).unwrap();
        assert_eq!((received, now_ns()), (Ok(Ok(())), 10));
        sender.join().unwrap();
    }
}

#[test]
fn a_send_of_another_participant_wakes_a_spawned_task_at_its_instant() {
    for waits_on in [false, true] {
        for _ in 0..200 {
            let _installed = MockClock::builder().build().install();
            let (send, mut receive) = tokio::sync::mpsc::channel(4);
            let sender = thread::spawn(move || {
                sleep(ns(10));
                send.try_send(()).unwrap();
                if waits_on {
                    sleep(ns(90));
                }
            });
            let receiver = async move {
                let task = async move { (receive.recv().await, now_ns()) };
                tokio::spawn(task).await.unwrap()
            };
            assert_eq!(runtime().unwrap().block_on(receiver).unwrap(), (Some(()), 10));
            sender.join().unwrap();
        }
    }
}

#[test]
fn a_task_aborted_by_another_participant_ends_at_its_instant() {
    for _ in 0..200 {
        let _installed = MockClock::builder().build().install();
        let runtime = runtime().unwrap();
        let task = runtime.handle().spawn(task::sleep_until(MonoTime::from_nanos(100)));
        let abort = task.abort_handle();
        let other = thread::spawn(move || {
            sleep(ns(10));
            abort.abort();
        });
        assert!(runtime.block_on(task).unwrap().unwrap_err().is_cancelled());
        assert_eq!(now_ns(), 10);
        other.join().unwrap();
    }
}

#[test]
fn a_runtime_is_freed_with_its_clock() {
    for make in [runtime, testbench_clock::tokio::paused_runtime] {
        let clock = MockClock::builder().build();
        let weak = Arc::downgrade(&clock);
        let installed = clock.install();
        make().unwrap().block_on(task::sleep(ns(3))).unwrap();
        drop((installed, clock));
        assert!(weak.upgrade().is_none());
    }
}

#[test]
fn cancelling_the_real_clock_ends_a_runtime_that_is_parked_or_will_be() {
    for after in [Duration::ZERO, Duration::from_millis(50)] {
        let clock = Arc::new(SystemClock::new("real"));
        let theirs = Arc::clone(&clock);
        let canceller = std::thread::spawn(move || {
            theirs.wait(Wait { deadline: theirs.mono().checked_add(after), on: &[], what: &"" })?;
            theirs.cancel("over");
            Ok::<(), Stuck>(())
        });
        let ended = testbench_clock::tokio::Runtime::new(clock).unwrap().block_on(pending::<()>());
        assert!(matches!(ended, Err(Stuck::Cancelled(_))));
        canceller.join().unwrap().unwrap();
    }
}

/// Runs a future in the context of another clock, on a runtime whose own clock is at 100; tells
/// where that one is then.
fn now_after_in_a_context_of_another<T>(waits: impl Future<Output = T>) -> (T, u64) {
    let other = {
        let _installed = MockClock::builder().build().install();
        Context::capture()
    };
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    clock.advance(ns(100)).unwrap();
    let waited = runtime().unwrap().block_on(waits.with_context(other)).unwrap();
    (waited, now_ns())
}

#[test]
fn a_sleep_goes_by_the_timeline_of_its_driver_in_a_context_of_another() {
    let (_, now_ns) = now_after_in_a_context_of_another(async { task::sleep(ns(7)).await });
    assert_eq!(now_ns, 107);
}

#[test]
fn an_advance_moves_the_timeline_of_its_driver_in_a_context_of_another() {
    let (advanced, now_ns) =
        now_after_in_a_context_of_another(async { task::advance(ns(7)).await });
    advanced.unwrap();
    assert_eq!(now_ns, 107);
}

#[test]
fn an_advance_may_move_to_another_executor() {
    let _installed = MockClock::builder().build().install();
    let mut advance = Box::pin(task::advance(ns(5)));
    let first = std::future::poll_fn(|task| Poll::Ready(advance.as_mut().poll(task).is_pending()));
    assert!(runtime().unwrap().block_on(first).unwrap());
    runtime().unwrap().block_on(advance).unwrap().unwrap();
    assert_eq!(now_ns(), 5);
}

#[test]
fn a_loop_of_sleeps_that_take_no_time_lets_tasks_and_participants_run() {
    let _installed = MockClock::builder().build().install();
    let other = thread::spawn(|| ());
    let task_has_run = runtime().unwrap().block_on(async {
        let task = tokio::spawn(async {});
        while !(task.is_finished() && other.is_finished()) {
            task::sleep(Duration::ZERO).await;
        }
    });
    task_has_run.unwrap();
    assert_eq!(now_ns(), 0);
}
