//! `time_rt.rs`, `time_alt.rs`, `time_panic.rs`, and the timer's own tests in `runtime/time/tests`.

use crate::tokio_time::world::{Held, Sleep, Ticks, Time, ms, on_ours, poll_once, row};
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use testbench_clock::task::{self, interval, interval_at, timeout};
use testbench_clock::tokio::runtime;
use testbench_clock::{MockClock, MonoTime, instant_now, thread};

row!(timer_with_current_thread_scheduler, |t| {
    let (send, receive) = mpsc::channel();
    t.sleep_until(ms(10)).await;
    send.send(t.now()).unwrap();
    assert_eq!(receive.recv(), Ok(ms(10)));
});

/// A future that wakes itself whenever its sleep is not over.
struct Starve<S> {
    sleep: S,
    polls: u64,
}

impl<S: Future<Output = ()> + Unpin> Future for Starve<S> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<u64> {
        if Pin::new(&mut self.sleep).poll(task).is_ready() {
            return Poll::Ready(self.polls);
        }
        self.polls += 1;
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A runtime that is never idle: time moves by what its readings cost, as real time would.
#[test]
fn starving() {
    let clock = MockClock::builder().tick_per_read(ms(1)).build();
    let _installed = clock.install();
    let starve = || Starve { sleep: task::sleep(ms(10)), polls: 0 };
    let polls = runtime().unwrap().block_on(starve()).unwrap();
    assert_eq!(polls, 9, "and the tenth poll read ten milliseconds");
}

/// The same where readings cost nothing: it is found out, and does not hang. (tokio's paused clock
/// would.)
#[test]
fn starving_without_end_is_told() {
    let clock = MockClock::builder().spin_max(1_000).name("starved").build();
    let _installed = clock.install();
    let starve = Starve { sleep: task::sleep(ms(10)), polls: 0 };
    let runtime = runtime().unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(starve))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("spinning: `starved` read the clock 1001 times"), "{text}");
}

/// A sleep goes from one runtime to another and back; its time is that of the timeline.
#[test]
fn tickspace() {
    let _installed = MockClock::builder().build().install();
    let (first, second) = (runtime().unwrap(), runtime().unwrap());
    let mut sleep = task::sleep(ms(1));
    first.block_on(async { assert!(poll_once(&mut sleep).is_pending()) }).unwrap();
    let deadline = sleep.deadline().unwrap().since_origin();
    second.block_on(async { Sleep::reset(&mut sleep, deadline + ms(1)) }).unwrap();
    first.block_on(sleep).unwrap();
    assert_eq!(instant_now().since_origin(), ms(2));
}

/// Of `time_alt.rs`, two tests: a sleep outlives the runtime that it was polled on.
#[test]
#[expect(clippy::async_yields_async, reason = "the sleep is to outlive its runtime")]
fn reset_should_stay_on_same_runtime() {
    let _installed = MockClock::builder().build().install();
    let (first, second) = (runtime().unwrap(), runtime().unwrap());
    let hour = Duration::from_secs(3600);
    let mut sleep = first.block_on(async { task::sleep(hour) }).unwrap();
    first.block_on(async { assert!(poll_once(&mut sleep).is_pending()) }).unwrap();
    drop(first);
    second.block_on(async { Sleep::reset(&mut sleep, 2 * hour) }).unwrap();
    second.block_on(sleep).unwrap();
    assert_eq!(instant_now().since_origin(), 2 * hour);
}

row!(sleep, |t| {
    t.sleep(ms(10)).await;
    let tasks: Vec<_> = (0..512).map(|_| tokio::spawn(t.sleep(ms(10)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(t.now(), ms(20));
});

// A waker that, when it is dropped with its sleep, polls another one.
row!(cancelled_timer_waker_drop_can_register_timer, |t| {
    struct Reenters<T: Time>(T);
    impl<T: Time> Wake for Reenters<T> {
        fn wake(self: Arc<Self>) {}
    }
    impl<T: Time> Drop for Reenters<T> {
        fn drop(&mut self) {
            let _ = poll_once(&mut self.0.sleep(ms(5)));
        }
    }
    let mut sleep = t.sleep(ms(10));
    let waker = Waker::from(Arc::new(Reenters(t)));
    assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    drop(sleep);
    tokio::task::yield_now().await;
    t.sleep(ms(20)).await;
    assert_eq!(t.now(), ms(20));
});

/// Where `f` says that it panicked.
fn place_of_panic(f: impl FnOnce()) -> String {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let place = Arc::new(Mutex::new(String::new()));
    let (here, theirs) = (std::thread::current().id(), Arc::clone(&place));
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if std::thread::current().id() == here {
            let file = info.location().map(Location::file).unwrap_or_default();
            file.clone_into(&mut theirs.lock().unwrap());
        }
    }));
    let result = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(before);
    assert!(result.is_err(), "it did not panic");
    let place = place.lock().unwrap();
    place.clone()
}

#[test]
fn interval_panic_caller() {
    let _installed = MockClock::builder().build().install();
    assert_eq!(place_of_panic(|| drop(interval(Duration::ZERO))), file!());
}

#[test]
fn interval_at_panic_caller() {
    let _installed = MockClock::builder().build().install();
    let at = MonoTime::ORIGIN;
    assert_eq!(place_of_panic(|| drop(interval_at(at, Duration::ZERO))), file!());
}

/// Two of tokio's: its timeouts panic where they are made without a timer, ours where they are
/// polled without a driver, and name the drivers.
#[test]
fn timeout_panic_caller() {
    let _installed = MockClock::builder().build().install();
    let mut timeout = Held::new(timeout(ms(5), pending::<()>()));
    let panic = catch_unwind(AssertUnwindSafe(|| timeout.poll())).unwrap_err();
    let text = panic.downcast_ref::<&str>().unwrap();
    assert!(text.contains("task::block_on") && text.contains("tokio::runtime"), "{text}");
}

// ---- runtime/time/tests ----

/// A timer on another thread, whose time this one brings about.
#[test]
fn single_timer() {
    let _installed = MockClock::builder().build().install();
    let timer = thread::spawn(|| {
        runtime().unwrap().block_on(task::sleep(ms(1000))).unwrap();
        instant_now().since_origin()
    });
    testbench_clock::advance(ms(2000)).unwrap();
    assert_eq!(timer.join().unwrap(), ms(1000), "at its own instant, and not at 2000");
}

row!(drop_timer, |t| {
    let mut sleep = t.sleep(ms(1000));
    assert!(poll_once(&mut sleep).is_pending());
    assert!(poll_once(&mut sleep).is_pending());
    t.advance(ms(500)).await;
    drop(sleep);
    t.advance(ms(1500)).await;
    assert_eq!(t.now(), ms(2000));
});

// Polled with one waker and then awaited with another: the second is woken.
row!(change_waker, |t| {
    let mut sleep = t.sleep(ms(1000));
    assert!(poll_once(&mut sleep).is_pending());
    sleep.await;
    assert_eq!(t.now(), ms(1000));
});

row!(reset_future, |t| {
    let mut sleep = t.sleep(ms(1000));
    assert!(poll_once(&mut sleep).is_pending());
    sleep.reset(ms(2000));
    let task = tokio::spawn(sleep);
    t.sleep_until(ms(1500)).await;
    assert!(!task.is_finished());
    t.sleep_until(ms(2500)).await;
    assert!(task.is_finished());
});

row!(interval_poll_tick_races_with_fire, |t| {
    let mut interval = t.interval_at(ms(1000), ms(1000));
    let mut poll = || interval.poll_tick(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    t.advance(ms(2000)).await;
    assert_eq!([poll(), poll()], [Poll::Ready(ms(1000)), Poll::Ready(ms(2000))]);
    assert!(poll().is_pending());
});

// A hundred and not a thousand, as tokio lets a task poll 128 timers at a time.
row!(poll_process_levels, |t| {
    t.let_timers_see_the_present().await;
    let start = t.now();
    let mut sleeps: Vec<_> = (0..100).map(|i| t.sleep_until(start + ms(i))).collect();
    assert!(sleeps.iter_mut().skip(1).all(|sleep| poll_once(sleep).is_pending()));
    for step in 1..100 {
        t.advance(ms(1)).await;
        for (deadline, sleep) in sleeps.iter_mut().enumerate() {
            assert_eq!(poll_once(sleep).is_ready(), deadline <= step, "{deadline} at {step}");
        }
    }
});

row!(poll_process_levels_targeted, |t| {
    let mut sleep = t.sleep(ms(193));
    assert!(poll_once(&mut sleep).is_pending());
    for (after, ready) in [(62, false), (130, false), (0, false), (1, true)] {
        t.advance(ms(after)).await;
        assert_eq!(poll_once(&mut sleep).is_ready(), ready);
    }
});

/// The last instant of the clock can be waited for; there is none after it.
#[test]
fn instant_to_tick_max() {
    on_ours(|t| async move {
        t.sleep_until(MonoTime::MAX.since_origin()).await;
        assert_eq!(instant_now(), MonoTime::MAX);
        assert!(t.timeout(Duration::ZERO, t.sleep(Duration::from_nanos(1))).await.is_none());
    });
}
