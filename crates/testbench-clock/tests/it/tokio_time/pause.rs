//! `time_pause.rs` and `rt_time_start_paused.rs`.

use crate::tokio_time::world::{Held, NS, Ticks, Time, ms, row, us};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use testbench_clock::audit::real;
use testbench_clock::tokio::runtime;
use testbench_clock::{MockClock, RandomStream, Seed};

// Real time that passes is not seen.
row!(test_start_paused, |t| {
    for _ in 0..3 {
        real::sleep(ms(1), "what must not be seen");
        assert_eq!(t.now(), Duration::ZERO);
    }
});

row!(paused_time_is_deterministic, |t| {
    let delays = |random: &mut RandomStream| {
        Duration::from_nanos(u64::try_from(random.below(1_000_000_000)).unwrap())
    };
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (mut random, start) = (Seed::new(1).stream("delays"), t.now());
        let mut times = Vec::new();
        for _ in 0..1_000 {
            t.sleep(delays(&mut random)).await;
            times.push(t.now() - start);
        }
        runs.push(times);
    }
    assert_eq!(runs[0], runs[1]);
});

/// The same on ours, in two runtimes, where the sum is that of the delays to the nanosecond.
#[test]
fn ours_adds_up_to_the_nanosecond() {
    let mut random = Seed::new(1).stream("delays");
    let delays: Vec<_> = (0..10_000).map(|_| random.below(1_000_000_000) as u64).collect();
    let _installed = MockClock::builder().build().install();
    for run in 1..=2 {
        let all = async {
            for d in &delays {
                testbench_clock::task::sleep(Duration::from_nanos(*d)).await;
            }
        };
        runtime().unwrap().block_on(all).unwrap();
        assert_eq!(testbench_clock::instant_now().nanos(), run * delays.iter().sum::<u64>());
    }
}

row!(advance_after_poll, |t| {
    t.sleep(ms(1)).await;
    let mut sleep = Held::new(t.sleep_until(t.now() + ms(300)));
    assert!(sleep.poll().is_pending());
    let before = t.now();
    t.advance(ms(100)).await;
    assert_eq!(t.now() - before, ms(100));
    assert!(sleep.poll().is_pending());
});

row!(sleep_no_poll, |t| {
    let mut sleep = Held::new(t.sleep_until(ms(300)));
    t.advance(ms(100)).await;
    assert_eq!(t.now(), ms(100));
    assert!(sleep.poll().is_pending());
});

/// The advance and the sleep are polled in one task, by hand.
async fn in_one_task<T: Time>(t: T, polls_before: bool) {
    let mut sleep = Held::new(t.sleep_until(ms(300)));
    if polls_before {
        assert!(sleep.poll().is_pending());
    }
    let mut advance = Box::pin(t.advance(ms(100)));
    poll_fn(|task| advance.as_mut().poll(task)).await;
    assert_eq!(t.now(), ms(100));
    assert!(sleep.poll().is_pending());
}

row!(sleep_same_task, |t| { in_one_task(t, true).await });

row!(sleep_same_task_no_poll, |t| { in_one_task(t, false).await });

row!(interval, |t| {
    let poll =
        |interval: &mut T::Interval| interval.poll_tick(&mut Context::from_waker(Waker::noop()));
    t.let_timers_see_the_present().await;
    let mut interval = t.interval_at(Duration::ZERO, ms(300));
    let plan: [(u64, &[u64]); 5] =
        [(0, &[0]), (100, &[]), (200, &[300]), (400, &[600]), (500, &[900, 1200])];
    for (after, planned) in plan {
        let before = t.now();
        t.advance(ms(after)).await;
        assert_eq!(t.now() - before, ms(after));
        for planned in planned {
            assert_eq!(poll(&mut interval), Poll::Ready(ms(*planned)));
        }
        assert!(poll(&mut interval).is_pending());
    }
});

row!(test_time_advance_sub_ms, |t| {
    for d in [us(51_592), us(1), NS] {
        let before = t.now();
        t.advance(d).await;
        assert_eq!(t.now() - before, d);
    }
});

row!(test_time_advance_3ms_and_change, |t| {
    for d in [us(3_141_592), us(3_123_456)] {
        let before = t.now();
        t.advance(d).await;
        assert_eq!(t.now() - before, d);
    }
});

row!(regression_3710_with_submillis_advance, |t| {
    t.advance(ms(1)).await;
    let mut sleep = Held::new(t.sleep_until(Duration::from_secs(60)));
    assert!(sleep.poll().is_pending());
    t.advance(us(51_592)).await;
    assert_eq!(t.now(), us(52_592));
    assert!(sleep.poll().is_pending());
});

row!(exact_1ms_advance, |t| {
    for n in 1..=2 {
        t.advance(ms(1)).await;
        assert_eq!(t.now(), ms(n));
    }
});

row!(advance_once_with_timer, |t| {
    let mut sleep = Held::new(t.sleep(ms(1)));
    assert!(sleep.poll().is_pending());
    t.advance(us(250)).await;
    assert!(sleep.poll().is_pending());
    t.advance(us(1500)).await;
    assert!(sleep.is_woken());
    assert!(sleep.poll().is_ready());
});

row!(advance_multi_with_timer, |t| {
    let mut sleep = Held::new(t.sleep(ms(1)));
    for _ in 0..4 {
        assert!(sleep.poll().is_pending());
        t.advance(us(250)).await;
    }
    assert!(sleep.is_woken());
    assert!(sleep.poll().is_ready());
});

// Tasks that are awaited by what moves the time have run when it has moved.
row!(advance_lets_tasks_run, |t| {
    let task = tokio::spawn(t.sleep(ms(5)));
    tokio::task::yield_now().await;
    t.advance(ms(5)).await;
    t.let_timers_see_the_present().await;
    assert!(task.is_finished());
});
