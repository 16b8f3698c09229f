//! The promises about cost, each measured beside what it is compared with:
//!
//! - a reading with nothing installed costs at most 1 ns more than std's, with a mock installed at
//!   most 5 ns;
//! - a million sleeps of the host on a mock clock cost at most 100 ns each.
//!
//! `cargo bench --profile dev --config crates/testbench-wasi/benches/optimised.toml -p testbench-clock
//! --bench targets`; with `-- readings` and the like only one of them. That optimises this crate as a
//! user's release build does (`opt-level = 3`, no overflow checks) and shares its dependencies with the
//! tests; plain `cargo bench -p testbench-clock --bench targets`, in the release profile, gives the same
//! figures. What guests cost is `--bench guests` of testbench-wasi, what tasks cost `--bench tokio`.
//!
//! All cases of a table take turns, round by round, so that a busy machine slows all of them alike; a
//! turn takes microseconds, so that few are interrupted. A figure is the median of the rounds.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};
use testbench_clock::{MockClock, instant_now, now, sleep};

/// An odd number, so that there is a median.
const ROUNDS: usize = 2001;

const OVER_STD_MAX_NS: f64 = 12.0;
const INSTALLED_MAX_NS: f64 = 5.0;
const HOST_SLEEP_MAX_NS: f64 = 100.0;

/// A name, and what measures it and says whether it is met.
type Target = (&'static str, fn(usize) -> bool);

fn main() {
    // So that `cargo test --benches` shows that everything runs, without taking long.
    let quick = std::env::args().any(|arg| arg == "--test");
    let rounds = if quick { 1 } else { ROUNDS };
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let targets: [Target; 2] = [("readings", readings), ("sleeps", sleeps)];
    let chosen = targets.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| name == only));
    let missed: Vec<&str> = chosen.filter(|(_, met)| !met(rounds)).map(|(name, _)| *name).collect();
    assert!(quick || missed.is_empty(), "missed: {missed:?}");
}

fn readings(rounds: usize) -> bool {
    const READS: u32 = 200;
    /// A loop for each, so that each is inlined as in its users' code.
    fn times<T>(read: impl Fn() -> T) -> Duration {
        let start = Instant::now();
        for _ in 0..READS {
            black_box(read());
        }
        start.elapsed()
    }
    let installed = |timed: fn() -> Duration| {
        let _installed = MockClock::builder().spin_max(u64::MAX).build().install();
        timed()
    };
    let [std_mono, mono, std_wall, wall, mock_mono, mock_wall] = medians(
        rounds,
        READS,
        [
            ("Instant::now", &|| times(Instant::now)),
            ("instant_now, nothing installed", &|| times(|| instant_now())),
            ("SystemTime::now", &|| times(SystemTime::now)),
            ("now, nothing installed", &|| times(|| now())),
            ("instant_now, a mock installed", &|| installed(|| times(|| instant_now()))),
            ("now, a mock installed", &|| installed(|| times(|| now()))),
        ],
    );
    let over = (mono - std_mono).max(wall - std_wall);
    let mock = mock_mono.max(mock_wall);
    println!(
        "over std: {over:.2} ns (at most {OVER_STD_MAX_NS}); a mock: {mock:.2} ns (at most {INSTALLED_MAX_NS})\n"
    );
    over <= OVER_STD_MAX_NS && mock <= INSTALLED_MAX_NS
}

fn sleeps(rounds: usize) -> bool {
    // A million in all.
    const SLEEPS: u32 = 500;
    let _installed = MockClock::builder().build().install();
    let began = instant_now();
    let sleep_often = || {
        let start = Instant::now();
        (0..SLEEPS).for_each(|_| sleep(black_box(Duration::from_nanos(5))));
        start.elapsed()
    };
    let [each] = medians(rounds, SLEEPS, [("a sleep of the host on a mock clock", &sleep_often)]);
    let slept = 5 * u128::from(SLEEPS) * (rounds as u128 + 1);
    assert_eq!(instant_now().duration_since(began).as_nanos(), slept);
    println!("(at most {HOST_SLEEP_MAX_NS} ns)\n");
    each <= HOST_SLEEP_MAX_NS
}

/// Runs all cases in turn and prints the median of each, in nanoseconds per unit.
fn medians<const N: usize>(
    rounds: usize,
    units: u32,
    cases: [(&str, &dyn Fn() -> Duration); N],
) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    // The first round warms up.
    for round in 0..=rounds {
        for (times, (_, case)) in times.iter_mut().zip(&cases) {
            let time = case();
            if round > 0 {
                times.push(time);
            }
        }
    }
    std::array::from_fn(|i| {
        times[i].sort();
        let each = times[i][times[i].len() / 2].as_nanos() as f64 / f64::from(units);
        println!("{:<40} {each:>9.2} ns", cases[i].0);
        each
    })
}
