//! `time_timeout.rs`, and the timeouts of `time_rt.rs` and `time_alt.rs`.

use crate::tokio_time::world::{Held, ms, row, us};
use std::future::pending;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;

row!(simultaneous_deadline_future_completion, |t| {
    let mut timeout = Held::new(t.timeout_at(t.now(), async {}));
    assert_eq!(timeout.poll(), Poll::Ready(Some(())));
});

row!(completed_future_past_deadline, |t| {
    t.sleep(ms(2_000)).await;
    let mut timeout = Held::new(t.timeout_at(t.now() - ms(1_000), async {}));
    assert_eq!(timeout.poll(), Poll::Ready(Some(())));
});

row!(future_and_deadline_in_future, |t| {
    let (send, receive) = oneshot::channel();
    let mut timeout = Held::new(t.timeout_at(ms(100), receive));
    assert!(timeout.poll().is_pending());
    t.advance(ms(90)).await;
    assert!(timeout.poll().is_pending());
    send.send(()).unwrap();
    assert!(timeout.is_woken());
    assert_eq!(timeout.poll(), Poll::Ready(Some(Ok(()))));
});

row!(future_and_timeout_in_future, |t| {
    let (send, receive) = oneshot::channel();
    let mut timeout = Held::new(t.timeout(ms(100), receive));
    assert!(timeout.poll().is_pending());
    t.advance(ms(90)).await;
    assert!(timeout.poll().is_pending());
    send.send(()).unwrap();
    assert_eq!(timeout.poll(), Poll::Ready(Some(Ok(()))));
});

row!(very_large_timeout, |t| {
    let (send, receive) = oneshot::channel();
    let mut timeout = Held::new(t.timeout(Duration::MAX, receive));
    assert!(timeout.poll().is_pending());
    t.advance(Duration::from_secs(86_400 * 365 * 10)).await;
    assert!(timeout.poll().is_pending());
    send.send(()).unwrap();
    assert_eq!(timeout.poll(), Poll::Ready(Some(Ok(()))));
});

// tokio needs a millisecond more ("jitter", says its test); ours has elapsed at the first look.
row!(deadline_now_elapses, |t| {
    let mut timeout = Held::new(t.timeout_at(t.now(), pending::<()>()));
    t.let_timers_see_the_present().await;
    assert_eq!(timeout.poll(), Poll::Ready(None));
});

row!(deadline_future_elapses, |t| {
    let mut timeout = Held::new(t.timeout_at(ms(300), pending::<()>()));
    assert!(timeout.poll().is_pending());
    // At the nanosecond for ours.
    t.advance(ms(300) - Duration::from_nanos(1)).await;
    assert!(!timeout.is_woken());
    t.advance(T::GRAIN).await;
    assert!(timeout.is_woken());
    assert_eq!(timeout.poll(), Poll::Ready(None));
});

// Of `time_rt.rs`.
row!(timeout_value, |t| {
    let (_send, receive) = oneshot::channel::<()>();
    assert!(t.timeout(us(10_500), receive).await.is_none());
    assert_eq!(t.now(), t.rounded(us(10_500)));
});

// Of `time_alt.rs`, whose tasks run on threads. A hundred, as tokio lets a task poll 128 at a time.
row!(timeout, |t| {
    assert!(t.timeout(ms(10), pending::<()>()).await.is_none());
    assert_eq!(t.now(), ms(10));
    let mut all: Vec<_> = (0..100).map(|_| Held::new(t.timeout(ms(10), pending::<()>()))).collect();
    assert!(all.iter_mut().all(|timeout| timeout.poll().is_pending()));
    t.sleep(ms(10)).await;
    assert!(all.iter().all(Held::is_woken));
    assert!(all.iter_mut().all(|timeout| timeout.poll() == Poll::Ready(None)));
    assert_eq!(t.now(), ms(20));
});
