//! What tasks cost on a runtime of ours, beside tokio's own paused clock in the same run.
//!
//! `cargo bench --profile dev --config crates/testbench-wasi/benches/optimised.toml -p testbench-clock
//! --features tokio --bench tokio`. All cases of a table take turns, round by round; a figure is the
//! median of the rounds. Ours are exact to the nanosecond, where tokio's timers round to a
//! millisecond; in each round it is checked that time ends where the last sleep does.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::time::{Duration, Instant};
use testbench_clock::task::{self, block_on};
use testbench_clock::{MockClock, instant_now};

/// An odd number, so that there is a median.
const ROUNDS: usize = 21;

/// Tasks at once; and sleeps of one task, one after the other.
const MANY: u64 = 10_000;

/// So much of what tasks cost on tokio's paused clock they may cost here, where each instant is one of its
/// own and not one of a thousand milliseconds.
const TASKS_MAX: f64 = 1.5;

fn main() {
    // So that `cargo test --benches` shows that everything runs, without taking long.
    let quick = std::env::args().any(|arg| arg == "--test");
    let rounds = if quick { 1 } else { ROUNDS };
    println!("{MANY} tasks at once, each of one sleep");
    let [ours, theirs] = medians(
        rounds,
        [("testbench_clock::tokio::runtime", tasks), ("tokio, paused", tokio_tasks)],
    );
    let ratio = ours / theirs;
    println!("({ratio:.2} of tokio's, at most {TASKS_MAX})\n");
    println!("{MANY} sleeps, one after the other");
    let [on_tokio, on_block_on, theirs] = medians(
        rounds,
        [
            ("testbench_clock::tokio::runtime", in_a_row),
            ("testbench_clock::task::block_on", in_a_row_on_block_on),
            ("tokio, paused", tokio_in_a_row),
        ],
    );
    println!("({:.2} and {:.2} of tokio's)", on_tokio / theirs, on_block_on / theirs);
    assert!(quick || ratio <= TASKS_MAX, "missed: {MANY} tasks at once");
}

/// How long the `i`th task sleeps, in units: up to a thousand of them, in no order.
fn units(i: u64) -> u32 {
    u32::try_from(1 + i * 7919 % 1000).expect("at most 1,000")
}

fn tasks() {
    let _installed = MockClock::builder().build().install();
    let runtime = testbench_clock::tokio::runtime().unwrap();
    let all = async {
        let sleep = |i| task::sleep(Duration::from_nanos(1) * units(i));
        let tasks: Vec<_> = (0..MANY).map(|i| tokio::spawn(sleep(i))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    runtime.block_on(all).unwrap();
    assert_eq!(instant_now().nanos(), 1000);
}

fn tokio_tasks() {
    paused().block_on(async {
        let began = tokio::time::Instant::now();
        let sleep = |i| tokio::time::sleep(Duration::from_millis(1) * units(i));
        let tasks: Vec<_> = (0..MANY).map(|i| tokio::spawn(sleep(i))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(began.elapsed() >= Duration::from_secs(1));
    });
}

fn in_a_row() {
    let _installed = MockClock::builder().build().install();
    let runtime = testbench_clock::tokio::runtime().unwrap();
    runtime.block_on(sleeps()).unwrap();
    assert_eq!(instant_now().nanos(), 5 * MANY);
}

fn in_a_row_on_block_on() {
    let _installed = MockClock::builder().build().install();
    block_on(sleeps()).unwrap();
    assert_eq!(instant_now().nanos(), 5 * MANY);
}

async fn sleeps() {
    for _ in 0..MANY {
        task::sleep(Duration::from_nanos(5)).await;
    }
}

fn tokio_in_a_row() {
    paused().block_on(async {
        for _ in 0..MANY {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Runs all cases in turn and prints the median of each, in nanoseconds per task or sleep.
fn medians<const N: usize>(rounds: usize, cases: [(&str, fn()); N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    // The first round warms up.
    for round in 0..=rounds {
        for (times, (_, case)) in times.iter_mut().zip(&cases) {
            let start = Instant::now();
            case();
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    std::array::from_fn(|i| {
        times[i].sort();
        let each = times[i][times[i].len() / 2].as_nanos() as f64 / MANY as f64;
        println!("{:<40} {each:>9.0} ns each", cases[i].0);
        each
    })
}
