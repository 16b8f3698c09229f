//! `time_interval.rs`.
//!
//! tokio's tests advance its clock by a millisecond first, or else a tick of this instant would not
//! be seen; all its ticks that are planned from "now" come one later than their arithmetic says.
//! Ours need none of that, so the rows carry that lateness as a value, which is zero for ours.

use crate::tokio_time::world::{Missed, Ticks, Time, ms, row};
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Exactly these ticks are there at this instant.
#[track_caller]
fn ticks(interval: &mut impl Ticks, planned: impl IntoIterator<Item = Duration>) {
    for planned in planned {
        assert_eq!(poll(interval), Poll::Ready(planned));
    }
    assert!(poll(interval).is_pending());
}

fn poll(interval: &mut impl Ticks) -> Poll<Duration> {
    interval.poll_tick(&mut Context::from_waker(Waker::noop()))
}

/// After each of these times, exactly these ticks are there.
async fn steps<T: Time, const N: usize>(
    t: T,
    interval: &mut T::Interval,
    steps: [(u64, &[Duration]); N],
) {
    for (after, planned) in steps {
        t.advance(ms(after)).await;
        ticks(interval, planned.iter().copied());
    }
}

#[test]
fn interval_zero_duration() {
    let _installed = testbench_clock::MockClock::builder().build().install();
    let now = testbench_clock::instant_now();
    let zero = || testbench_clock::task::interval_at(now, Duration::ZERO);
    assert!(catch_unwind(zero).is_err());
}

row!(burst, |t| {
    t.let_timers_see_the_present().await;
    let mut interval = t.interval_at(Duration::ZERO, ms(300));
    ticks(&mut interval, [ms(0)]);
    let plan: [(u64, &[Duration]); 7] = [
        (100, &[]),
        (200, &[ms(300)]),
        (650, &[ms(600), ms(900)]),
        (200, &[]),
        (100, &[ms(1200)]),
        (250, &[ms(1500)]),
        (300, &[ms(1800)]),
    ];
    steps(t, &mut interval, plan).await;
});

row!(delay, |t| {
    let late = t.let_timers_see_the_present().await;
    let mut interval = t.interval_at(Duration::ZERO, ms(300));
    interval.missed(Missed::Delay);
    ticks(&mut interval, [ms(0)]);
    let plan: [(u64, &[Duration]); 4] =
        [(100, &[]), (200, &[ms(300)]), (650, &[ms(600)]), (100, &[])];
    steps(t, &mut interval, plan).await;
    // From the late tick on, all are shifted.
    t.advance(ms(200) + late).await;
    ticks(&mut interval, [ms(1250) + late]);
    for shifted in [1550, 1850] {
        t.advance(ms(300)).await;
        ticks(&mut interval, [ms(shifted) + late]);
    }
});

row!(skip, |t| {
    t.let_timers_see_the_present().await;
    let mut interval = t.interval_at(Duration::ZERO, ms(300));
    interval.missed(Missed::Skip);
    ticks(&mut interval, [ms(0)]);
    let plan: [(u64, &[Duration]); 6] = [
        (100, &[]),
        (200, &[ms(300)]),
        (650, &[ms(600)]),
        (250, &[ms(1200)]),
        (300, &[ms(1500)]),
        (300, &[ms(1800)]),
    ];
    steps(t, &mut interval, plan).await;
});

row!(reset_doesnt_panic_max_duration, |t| {
    let mut interval = t.interval(Duration::MAX);
    interval.reset();
});

row!(reset_after_doesnt_panic_max_duration, |t| {
    let mut interval = t.interval(ms(1));
    interval.reset_after(Duration::MAX);
    assert!(poll(&mut interval).is_pending());
});

/// An interval that has ticked at 0 and 300, and is now at 400 ms.
async fn at_400<T: Time>(t: T) -> (T::Interval, Duration) {
    let late = t.let_timers_see_the_present().await;
    let mut interval = t.interval_at(Duration::ZERO, ms(300));
    ticks(&mut interval, [ms(0)]);
    let plan: [(u64, &[Duration]); 3] = [(100, &[]), (200, &[ms(300)]), (100, &[])];
    steps(t, &mut interval, plan).await;
    assert_eq!(t.now(), ms(400) + late);
    (interval, late)
}

row!(reset, |t| {
    let (mut interval, late) = at_400(t).await;
    interval.reset();
    let plan: [(u64, &[Duration]); 3] =
        [(250, &[]), (50, &[ms(700) + late]), (300, &[ms(1000) + late])];
    steps(t, &mut interval, plan).await;
});

row!(reset_immediately, |t| {
    let (mut interval, late) = at_400(t).await;
    interval.reset_immediately();
    ticks(&mut interval, [ms(400) + late]);
    let plan: [(u64, &[Duration]); 2] = [(100, &[]), (200, &[ms(700) + late])];
    steps(t, &mut interval, plan).await;
});

row!(reset_after, |t| {
    let (mut interval, late) = at_400(t).await;
    interval.reset_after(ms(20));
    let plan: [(u64, &[Duration]); 3] =
        [(20, &[ms(420) + late]), (100, &[]), (200, &[ms(720) + late])];
    steps(t, &mut interval, plan).await;
});

row!(reset_at, |t| {
    let (mut interval, late) = at_400(t).await;
    interval.reset_at(t.now() + ms(40));
    let plan: [(u64, &[Duration]); 3] =
        [(40, &[ms(440) + late]), (100, &[]), (200, &[ms(740) + late])];
    steps(t, &mut interval, plan).await;
});

row!(reset_at_bigger_than_interval, |t| {
    let (mut interval, late) = at_400(t).await;
    interval.reset_at(t.now() + ms(1000));
    let plan: [(u64, &[Duration]); 5] =
        [(300, &[]), (300, &[]), (300, &[]), (100, &[ms(1400) + late]), (300, &[ms(1700) + late])];
    steps(t, &mut interval, plan).await;
});

/// Counts ticks, and is ready at every fourth of twelve.
struct EveryFourth<I> {
    ticks: u32,
    interval: I,
    wakes_itself: bool,
}

impl<I: Ticks> EveryFourth<I> {
    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Option<u32>> {
        if self.ticks > 12 {
            return Poll::Ready(None);
        }
        if self.interval.poll_tick(task).is_pending() {
            return Poll::Pending;
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(4) {
            return Poll::Ready(Some(self.ticks));
        }
        if self.wakes_itself {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

async fn stream<T: Time>(t: T, wakes_itself: bool) -> Vec<u32> {
    let mut stream = EveryFourth { ticks: 0, interval: t.interval(ms(10)), wakes_itself };
    let mut items = Vec::new();
    let all = async {
        while let Some(item) = std::future::poll_fn(|task| stream.poll_next(task)).await {
            items.push(item);
        }
    };
    // Without a wake it would not end.
    t.timeout(ms(150), all).await;
    items
}

row!(stream_with_interval_poll_tick_self_waking, |t| {
    assert_eq!(stream(t, true).await, [4, 8, 12]);
});

row!(stream_with_interval_poll_tick_no_waking, |t| {
    assert_eq!(stream(t, false).await, [0; 0]);
    assert_eq!(t.now(), ms(150));
});

row!(interval_doesnt_panic_max_duration_when_polling, |t| {
    let mut interval = t.interval(Duration::MAX);
    assert!(Pin::new(&mut interval).poll_tick(&mut Context::from_waker(Waker::noop())).is_ready());
});
