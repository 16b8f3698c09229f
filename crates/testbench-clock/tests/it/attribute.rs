//! `#[testbench_clock::test]` on the functions that people write.

use std::io;
use std::time::Duration;
use testbench_clock::task::{self, block_on};
use testbench_clock::{
    Context, Schedule, WallTime, current, instant_now, is_mocked, now, sleep, thread,
};

const START: WallTime = WallTime::from_unix_secs(5);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[testbench_clock::test]
fn a_plain_test_has_a_clock_of_its_own() {
    assert!(is_mocked());
    assert_eq!(now().to_string(), "2000-01-01T00:00:00Z");
    sleep(secs(3600));
    assert_eq!(instant_now().since_origin(), secs(3600));
}

#[testbench_clock::test(start = "2024-02-29T23:59:59.5+01:00")]
fn the_start_is_a_text() {
    assert_eq!(now().to_string(), "2024-02-29T22:59:59.500000000Z");
}

#[testbench_clock::test(start = START + Duration::from_secs(1))]
fn the_start_is_an_expression() {
    assert_eq!(now(), WallTime::from_unix_secs(6));
}

#[testbench_clock::test]
fn errors_and_early_returns_mean_what_they_did() -> io::Result<()> {
    if is_mocked() {
        return Ok(());
    }
    Err(io::Error::other("never"))
}

#[testbench_clock::test]
fn the_participant_is_named_after_the_test() {
    let clock = current();
    assert_eq!(clock.as_mock().unwrap().name(), "the_participant_is_named_after_the_test");
}

#[testbench_clock::test]
#[should_panic(expected = "Deadlock")]
fn other_attributes_work() {
    block_on(std::future::pending::<()>()).unwrap();
}

#[testbench_clock::test]
async fn an_async_test_sleeps_exactly() {
    task::sleep(Duration::from_nanos(1_234_567)).await;
    assert_eq!(instant_now().nanos(), 1_234_567);
}

#[testbench_clock::test(driver = "block_on")]
async fn an_async_test_without_a_runtime() -> Result<(), String> {
    task::sleep(secs(1)).await;
    Ok(())
}

#[testbench_clock::test]
#[should_panic(expected = "the test cannot go on: deadlock")]
async fn an_async_test_that_is_stuck_fails_with_the_report() {
    std::future::pending::<()>().await;
}

/// The order in which five sleepers of the same length wake.
fn wake_order() -> String {
    let order = std::sync::Mutex::new(String::new());
    thread::scope(|scope| {
        for i in 0..5 {
            let order = &order;
            scope.spawn(move || {
                sleep(secs(1));
                order.lock().unwrap().push_str(&i.to_string());
            });
        }
    });
    order.into_inner().unwrap()
}

#[testbench_clock::test]
fn without_a_seed_ties_go_by_registration() {
    assert_eq!(wake_order(), "01234");
}

#[testbench_clock::test(seed = 1)]
fn a_seed_draws_another_order_and_always_the_same() {
    assert_eq!(wake_order(), BY_SEED_1);
}

#[testbench_clock::test(seed = 1)]
fn a_seed_draws_another_order_and_always_the_same_again() {
    assert_eq!(wake_order(), BY_SEED_1);
}

const BY_SEED_1: &str = "21034";

#[testbench_clock::test(schedule = "parallel")]
fn a_parallel_schedule_keeps_the_times() {
    let slow = thread::spawn(|| sleep(secs(2)));
    sleep(secs(1));
    assert_eq!(instant_now().since_origin(), secs(1));
    slow.join().unwrap();
    assert_eq!(instant_now().since_origin(), secs(2));
}

#[testbench_clock::test(schedule = "serial", crate = "::testbench_clock")]
fn all_of_the_arguments_are_optional_and_a_comma_may_follow() {
    assert_eq!(Schedule::default(), Schedule::Serial);
    assert!(!Context::capture().is_empty());
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;

    #[testbench_clock::test]
    async fn tasks_are_spawned_on_a_runtime() {
        let task = tokio::spawn(async {
            task::sleep(secs(3)).await;
            instant_now()
        });
        assert_eq!(task.await.unwrap().since_origin(), secs(3));
    }

    #[testbench_clock::test(driver = "tokio_paused")]
    async fn code_that_uses_tokio_time() {
        tokio::time::sleep(secs(60)).await;
        assert_eq!(instant_now().since_origin(), secs(60));
    }

    #[testbench_clock::test(driver = "tokio")]
    #[should_panic(expected = "timers are disabled")]
    async fn tokio_time_is_refused_where_it_would_be_real() {
        tokio::time::sleep(secs(60)).await;
    }
}
