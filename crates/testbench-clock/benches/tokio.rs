//! What async sleeps cost on a runtime of ours.

use divan::{Bencher, counter::ItemsCount};
use std::time::Duration;
use testbench_clock::MockClock;
use testbench_clock::task::{block_on, sleep_async};

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10)]
fn ten_thousand_tasks(bencher: Bencher<'_, '_>) {
    const TASKS: u64 = 10_000;
    bencher.counter(ItemsCount::new(TASKS)).bench_local(|| {
        let _installed = MockClock::builder().build().install();
        let runtime = testbench_clock::tokio::runtime().unwrap();
        runtime
            .block_on(async {
                let sleep = |i| sleep_async(Duration::from_nanos(1 + i * 7919 % 1000));
                let tasks: Vec<_> = (0..TASKS).map(|i| tokio::spawn(sleep(i))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .unwrap();
    });
}

#[divan::bench(sample_count = 10)]
fn sleeps_in_a_row_on_tokio(bencher: Bencher<'_, '_>) {
    const SLEEPS: u64 = 10_000;
    let _installed = MockClock::builder().build().install();
    let runtime = testbench_clock::tokio::runtime().unwrap();
    bencher.counter(ItemsCount::new(SLEEPS)).bench_local(|| {
        runtime.block_on(async {
            for _ in 0..SLEEPS {
                sleep_async(Duration::from_nanos(5)).await;
            }
        })
    });
}

#[divan::bench(sample_count = 10)]
fn sleeps_in_a_row_on_block_on(bencher: Bencher<'_, '_>) {
    const SLEEPS: u64 = 10_000;
    let _installed = MockClock::builder().build().install();
    bencher.counter(ItemsCount::new(SLEEPS)).bench_local(|| {
        block_on(async {
            for _ in 0..SLEEPS {
                sleep_async(Duration::from_nanos(5)).await;
            }
        })
    });
}
