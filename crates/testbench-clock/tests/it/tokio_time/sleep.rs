//! `time_sleep.rs`.

use crate::tokio_time::world::{
    Held, NS, Sleep, Time, ms, on_ours, on_tokios, poll_here, poll_once, row,
};
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use testbench_clock::tokio::runtime;
use testbench_clock::{MockClock, Stuck, instant_now};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

row!(immediate_sleep, |t| {
    let mut sleep = t.sleep_until(t.now());
    (&mut sleep).await;
    assert_eq!(t.now(), Duration::ZERO);
    assert!(sleep.is_elapsed());
});

row!(is_elapsed, |t| {
    let mut sleep = t.sleep(ms(10));
    assert!(!sleep.is_elapsed());
    assert!(poll_here(&mut sleep).await.is_pending());
    assert!(!sleep.is_elapsed());
    (&mut sleep).await;
    assert!(sleep.is_elapsed());
});

row!(delayed_sleep_level_0, |t| {
    for d in [1, 10, 60].map(ms) {
        let start = t.now();
        t.sleep_until(start + d).await;
        assert_eq!(t.now() - start, d);
    }
});

// tokio asks for a millisecond "or so"; here it is the deadline itself.
row!(sub_ms_delayed_sleep, |t| {
    for _ in 0..5 {
        let deadline = t.now() + ms(1) + NS;
        t.sleep_until(deadline).await;
        assert_eq!(t.now(), t.rounded(deadline));
    }
});

row!(delayed_sleep_wrapping_level_0, |t| {
    t.sleep(ms(5)).await;
    t.sleep_until(t.now() + ms(60)).await;
    assert_eq!(t.now(), ms(65));
});

row!(reset_future_sleep_before_fire, |t| {
    let mut sleep = t.sleep_until(ms(100));
    assert!(poll_once(&mut sleep).is_pending());
    sleep.reset(ms(200));
    sleep.await;
    assert_eq!(t.now(), ms(200));
});

row!(reset_past_sleep_before_turn, |t| {
    let mut sleep = t.sleep_until(ms(100));
    assert!(poll_once(&mut sleep).is_pending());
    sleep.reset(ms(80));
    sleep.await;
    assert_eq!(t.now(), ms(80));
});

row!(reset_past_sleep_before_fire, |t| {
    let mut sleep = t.sleep_until(ms(100));
    assert!(poll_once(&mut sleep).is_pending());
    t.sleep(ms(10)).await;
    sleep.reset(ms(80));
    sleep.await;
    assert_eq!(t.now(), ms(80));
});

row!(reset_future_sleep_after_fire, |t| {
    let mut sleep = t.sleep_until(ms(100));
    (&mut sleep).await;
    assert_eq!(t.now(), ms(100));
    sleep.reset(ms(110));
    sleep.await;
    assert_eq!(t.now(), ms(110));
});

row!(reset_sleep_to_past, |t| {
    let mut sleep = Held::new(t.sleep_until(ms(100)));
    assert!(sleep.poll().is_pending());
    t.sleep(ms(50)).await;
    assert!(!sleep.is_woken());
    sleep.future.reset(ms(40));
    assert!(sleep.poll().is_ready());
    assert_eq!(t.now(), ms(50));
});

/// tokio panics when the sleep is made, ours when it is polled: it may be made anywhere.
#[test]
fn creating_sleep_outside_of_context() {
    let _installed = MockClock::builder().build().install();
    let mut ours = testbench_clock::task::sleep(ms(500));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut ours))).is_err());
    assert!(catch_unwind(|| tokio::time::sleep(ms(500))).is_err());
}

row!(greater_than_max, |t| {
    t.sleep_until(5 * YEAR).await;
    assert_eq!(t.now(), 5 * YEAR);
});

row!(short_sleeps, |t| {
    for _ in 0..1000 {
        t.sleep(Duration::ZERO).await;
    }
    assert_eq!(t.now(), Duration::ZERO);
});

row!(multi_long_sleeps, |t| {
    for _ in 0..5 {
        t.sleep(YEAR).await;
    }
    t.sleep_until(t.now() + 10 * YEAR).await;
    assert_eq!(t.now(), 15 * YEAR);
});

row!(long_sleeps, |t| {
    t.sleep_until(10 * YEAR).await;
    assert_eq!(t.now(), 10 * YEAR);
    // And a nanosecond after that, which is a millisecond to tokio.
    t.sleep(NS).await;
    assert_eq!(t.now() - 10 * YEAR, T::GRAIN);
});

row!(reset_after_firing, |t| {
    let mut sleep = t.sleep(ms(1));
    let deadline = sleep.deadline();
    (&mut sleep).await;
    assert!(poll_once(&mut sleep).is_ready());
    sleep.reset(t.now() + Duration::from_secs(600));
    assert_ne!(sleep.deadline(), deadline);
    assert!(poll_once(&mut sleep).is_pending());
    assert!(poll_once(&mut sleep).is_pending());
});

/// Past the range of the clock: tokio ends the sleep at the end of its wheel. Ours does not end,
/// which is a deadlock if there is nothing else.
#[test]
fn exactly_max() {
    never_ends(Duration::MAX);
}

/// As `exactly_max`.
#[test]
fn no_out_of_bounds_close_to_max() {
    never_ends(Duration::MAX - ms(1));
}

fn never_ends(d: Duration) {
    let _installed = MockClock::builder().build().install();
    let stuck = runtime().unwrap().block_on(testbench_clock::task::sleep(d));
    assert!(matches!(stuck, Err(Stuck::Deadlock(_))), "{stuck:?}");
    assert_eq!(instant_now().nanos(), 0);
    on_tokios(|t| async move { t.sleep(d).await });
}

row!(issue_5183, |t| {
    let (mut big, mut small) = (t.sleep(Duration::from_secs(u64::MAX / 10)), t.sleep(NS));
    std::future::poll_fn(|task| {
        assert!(pin!(&mut big).poll(task).is_pending());
        pin!(&mut small).poll(task)
    })
    .await;
    assert_eq!(t.now(), T::GRAIN);
});

row!(long_wait_sleep_does_not_break_other_timers, |t| {
    tokio::spawn(t.sleep(ms(10 << 36)));
    t.advance(ms((1 << 30) - 1)).await;
    let start = t.now();
    t.sleep(ms(10)).await;
    assert_eq!(t.now() - start, ms(10));
});

row!(long_wait_sleep_does_not_corrupt_wheel, |t| {
    let long = tokio::spawn(t.sleep(ms(10 << 36)));
    t.advance(ms((1 << 30) - 1)).await;
    let mut first = t.sleep(ms(10));
    assert!(poll_here(&mut first).await.is_pending());
    let mut second = t.sleep(ms(20));
    assert!(poll_here(&mut second).await.is_pending());
    t.advance(ms(30)).await;
    drop(first);
    t.advance(ms(1 << 31)).await;
    drop(second);
    assert!(!long.is_finished());
});

row!(drop_after_reschedule_at_new_scheduled_time, |t| {
    let [mut a, mut b, mut c] = [5, 5, 10].map(|d| t.sleep(ms(d)));
    for sleep in [&mut a, &mut b, &mut c] {
        assert!(poll_here(sleep).await.is_pending());
    }
    b.reset(ms(10));
    a.await;
    assert_eq!(t.now(), ms(5));
    drop(b);
    c.await;
    assert_eq!(t.now(), ms(10));
});

// A waker that drops all sleeps of its instant while they are being woken.
row!(drop_from_wake, |t| {
    struct Drops<S>(Arc<Mutex<Vec<S>>>, Arc<AtomicUsize>);
    impl<S: Send + 'static> Wake for Drops<S> {
        fn wake(self: Arc<Self>) {
            let sleeps = std::mem::take(&mut *self.0.lock().unwrap());
            self.1.fetch_add(1, Ordering::Relaxed);
            drop(sleeps);
        }
    }
    let (sleeps, woken) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::new(Drops(Arc::clone(&sleeps), Arc::clone(&woken))));
    for _ in 0..100 {
        let mut sleep = t.sleep(ms(10));
        assert!(pin!(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending());
        sleeps.lock().unwrap().push(sleep);
    }
    t.sleep(ms(11)).await;
    assert_eq!(t.now(), ms(11));
    assert!(woken.load(Ordering::Relaxed) > 0);
    assert!(sleeps.lock().unwrap().is_empty());
});

// A waker that owns another sleep, dropped with the sleep that holds it.
row!(drop_from_waker_drop, |t| {
    struct Owner<S>(Mutex<Option<S>>);
    impl<S: Send + 'static> Wake for Owner<S> {
        fn wake(self: Arc<Self>) {}
    }
    let hour = Duration::from_secs(3600);
    let mut secondary = t.sleep(hour);
    assert!(poll_once(&mut secondary).is_pending());
    let waker = Waker::from(Arc::new(Owner(Mutex::new(Some(secondary)))));
    let mut primary = t.sleep(hour);
    assert!(pin!(&mut primary).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    drop(primary);
    assert!(t.timeout(ms(1), pending::<()>()).await.is_none());
    assert_eq!(t.now(), ms(1));
});

// Not a test of tokio's: its rule for all deadlines, stated once, against none of ours.
row!(every_deadline_is_exact_or_the_next_millisecond, |t| {
    for d_ns in [1, 999, 999_999, 1_000_000, 1_000_001, 51_592_000, 3_141_592_653] {
        let deadline = t.now() + Duration::from_nanos(d_ns);
        t.sleep_until(deadline).await;
        assert_eq!(t.now(), t.rounded(deadline), "{d_ns} ns");
    }
});

#[test]
fn ours_is_exact() {
    on_ours(|t| async move {
        t.sleep(Duration::from_nanos(1_234_567)).await;
        assert_eq!(t.now().as_nanos(), 1_234_567);
    });
}
