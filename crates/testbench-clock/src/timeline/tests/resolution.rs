//! A coarse reading, and waits that are exact all the same.

use std::time::Duration;

use super::mono;
use crate::task::{self, block_on, interval, timeout};
use crate::{Clock, MockClock, Reading, sleep};

const MS: Duration = Duration::from_millis(1);
const PART: Duration = Duration::from_micros(400);

#[test]
fn short_sleeps_add_up() {
    let clock = MockClock::builder().resolution(Reading::Mono, MS).build();
    let _installed = clock.install();
    (0..10).for_each(|_| sleep(PART));
    assert_eq!((clock.mono(), clock.mono_exact()), (mono(4_000_000), mono(4_000_000)));
    sleep(PART);
    assert_eq!((clock.mono(), clock.mono_exact()), (mono(4_000_000), mono(4_400_000)));
}

#[test]
fn tasks_wait_exactly() {
    let clock = MockClock::builder().resolution(Reading::Mono, MS).build();
    let _installed = clock.install();
    block_on(async {
        task::sleep(PART).await;
        assert_eq!(clock.mono_exact(), mono(400_000));
        let mut ticks = interval(PART);
        for n in 1..4 {
            ticks.tick().await;
            assert_eq!(clock.mono_exact(), mono(n * 400_000));
        }
        timeout(PART, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(clock.mono_exact(), mono(1_600_000));
    })
    .unwrap();
}
