//! The cost of single operations and hand-overs, for those who change them. `targets.rs` checks the
//! promised bounds of readings and sleeps.

use divan::{Bencher, black_box, counter::ItemsCount};
use std::sync::Arc;
use std::time::Duration;
use testbench_clock::{
    Clock, Context, Event, Lifetime, MockClock, Role, Scope, Watchdog, sleep, thread,
};

fn main() {
    divan::main();
}

/// As a guest reads: through the trait, with the check for spinning after it.
#[divan::bench]
fn read_guest_mono(bencher: Bencher<'_, '_>) {
    let clock: Arc<dyn Clock> = MockClock::builder().spin_max(u64::MAX).build();
    bencher.bench_local(|| {
        let read = black_box(&clock).mono();
        black_box(&clock).participant().check().unwrap();
        read
    });
}

#[divan::bench(sample_count = 20)]
fn hand_over_between_two(bencher: Bencher<'_, '_>) {
    const TURNS: u64 = 10_000;
    bencher.counter(ItemsCount::new(2 * TURNS)).bench(|| {
        let _installed = MockClock::builder().build().install();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..TURNS).for_each(|_| sleep(Duration::from_nanos(2))));
            }
        });
    });
}

#[divan::bench(sample_count = 10)]
fn two_hundred_at_once(bencher: Bencher<'_, '_>) {
    const EACH: u64 = 10;
    bencher.counter(ItemsCount::new(200 * EACH)).bench(|| {
        let _installed = MockClock::builder().build().install();
        thread::scope(|scope| {
            for i in 0..200 {
                scope.spawn(move || (0..EACH).for_each(|_| sleep(Duration::from_nanos(i % 7 + 1))));
            }
        });
    });
}

#[divan::bench]
fn join_and_leave(bencher: Bencher<'_, '_>) {
    let clock = MockClock::builder().build();
    bencher.bench_local(|| clock.join("guest", Role::Guest));
}

#[divan::bench]
fn lend(bencher: Bencher<'_, '_>) {
    let clock = MockClock::builder().build();
    bencher.bench_local(|| clock.lend("guest"));
}

#[divan::bench]
fn listen_and_notify(bencher: Bencher<'_, '_>) {
    let event = Event::new();
    bencher.bench_local(|| {
        let listener = event.listen();
        event.notify();
        listener.is_notified()
    });
}

#[divan::bench(args = [1, 16, 256])]
fn look_up_at_depth(bencher: Bencher<'_, '_>, depth: u32) {
    static KEY: Scope<u32> = Scope::new("number");
    let session = Lifetime::new("bench");
    let _guards: Vec<_> = (0..depth).map(|i| KEY.install(Arc::new(i), &session)).collect();
    bencher.bench_local(|| KEY.get());
}

#[divan::bench]
fn capture_and_enter(bencher: Bencher<'_, '_>) {
    let _installed = MockClock::builder().build().install();
    bencher.bench_local(|| {
        let context = Context::capture();
        drop(black_box(context.enter()));
    });
}

#[divan::bench]
fn arm_and_call_off_the_watchdog() {
    drop(Watchdog::arm(Duration::from_secs(30), || {}));
}
