//! Several guests on one timeline: who runs when, what time it gets to be, and that the same test
//! gives the same bytes every time.
//!
//! The guests are programs of our own in C; `relay` is a stage of a pipeline whose pace is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use testbench_clock::log::Kind;
use testbench_clock::{Clock, MockClock, MonoTime, Seed, Stuck, external, try_sleep};
use testbench_wasi::{Exit, Finished, GuestSpec, Limits, Module, Running, pipe, run, start};

macro_rules! guest {
    ($name:literal) => {
        Module::from_bytes(
            $name,
            &include_bytes!(concat!("../../../testbench-harness/guests/", $name, ".wasm"))[..],
        )
        .unwrap()
    };
}

const SECOND: Duration = Duration::from_secs(1);

/// Waits, as the host, for every guest in turn.
fn wait(clock: &MockClock, guests: &[Running]) -> Vec<Arc<Finished>> {
    guests.iter().map(|guest| guest.wait(clock).unwrap()).collect()
}

/// A guest `sleep` for each of these, started together; named after its place and its time.
fn sleepers(clock: &Arc<MockClock>, seconds: &[&str]) -> Vec<Running> {
    let sleep = guest!("sleep");
    let spec = |(i, time): (usize, &&str)| {
        let spec = GuestSpec::new(sleep.clone()).name(format!("guest {i}, {time} s"));
        start(spec.arg(*time).clock(clock.clone())).unwrap()
    };
    seconds.iter().enumerate().map(spec).collect()
}

/// The guests in the order in which this happened to them.
fn of_guests(clock: &MockClock, kind: Kind) -> Vec<String> {
    let log = clock.log().unwrap();
    let events = log.events().iter().filter(|e| e.kind == kind && e.who.starts_with("guest"));
    events.map(|event| event.who.to_string()).collect()
}

/// The log of three guests that sleep for 3, 1 and 2 seconds.
fn three_sleepers() -> String {
    let clock = MockClock::builder().log().build();
    let finished = wait(&clock, &sleepers(&clock, &["3", "1", "2"]));
    assert!(finished.iter().all(|f| f.exit.success()));
    assert_eq!(clock.mono(), MonoTime::from_nanos(3_000_000_000), "as long as the longest sleep");
    assert_eq!(
        finished.iter().map(|f| f.virtual_time).collect::<Vec<_>>(),
        [3 * SECOND, SECOND, 2 * SECOND]
    );
    assert_eq!(of_guests(&clock, Kind::Wake), ["guest 1, 1 s", "guest 2, 2 s", "guest 0, 3 s"]);
    clock.log().unwrap().to_json_lines()
}

fn the_same_bytes_every_time(runs: usize, once: impl Fn() -> String) {
    let first = once();
    assert!(!first.is_empty());
    for n in 1..runs {
        assert_eq!(once(), first, "run {n} differs from the first");
    }
}

#[test]
fn sleeps_overlap_and_end_in_order_a_thousand_times() {
    the_same_bytes_every_time(1000, three_sleepers);
}

/// The order in which guests run, and so end, that sleep until the same instant.
fn tied(ties: Option<u64>) -> Vec<String> {
    let builder = MockClock::builder().log();
    let builder = match ties {
        Some(seed) => builder.ties(Seed::new(seed)),
        None => builder,
    };
    let clock = builder.build();
    wait(&clock, &sleepers(&clock, &["1", "1", "1", "2"]));
    assert_eq!(clock.mono(), MonoTime::from_nanos(2_000_000_000));
    of_guests(&clock, Kind::Leave)
}

#[test]
fn another_seed_gives_another_legal_order_of_ties() {
    let by_registration = tied(None);
    let all = ["guest 0, 1 s", "guest 1, 1 s", "guest 2, 1 s", "guest 3, 2 s"];
    assert_eq!(by_registration, all);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let order = tied(Some(seed));
        assert_eq!(order, tied(Some(seed)), "seed {seed} gives two orders");
        let mut sorted = order.clone();
        sorted.sort();
        assert_eq!(sorted, all, "seed {seed}: each wakes once");
        assert_eq!(order[3], all[3], "seed {seed}: only ties are drawn");
        seen.insert(order);
    }
    assert!(seen.len() >= 4, "20 seeds gave {} of 6 orders", seen.len());
}

/// A stage of a pipeline.
fn relay(name: &str, clock: &Arc<MockClock>, args: &[&str]) -> GuestSpec {
    GuestSpec::new(guest!("relay")).name(name).args(args.iter().copied()).clock(clock.clone())
}

/// The output of a pipeline of three stages, with the clock's log.
struct Piped {
    output: Vec<u8>,
    took: Vec<Duration>,
    total: Duration,
    log: String,
}

fn pipeline(input: &[u8], producer: &[&str], filter: &[&str], consumer: &[&str]) -> Piped {
    let clock = MockClock::builder().log().build();
    let (filter_in, producer_out) = pipe();
    let (consumer_in, filter_out) = pipe();
    let guests = [
        relay("producer", &clock, producer).stdin(input.to_vec()).stdout(producer_out),
        relay("filter", &clock, filter).stdin(filter_in).stdout(filter_out),
        relay("consumer", &clock, consumer).stdin(consumer_in),
    ];
    let guests = guests.map(|spec| start(spec).unwrap());
    let finished = wait(&clock, &guests);
    for (guest, finished) in guests.iter().zip(&finished) {
        assert!(finished.exit.success(), "{}: {}", guest.name(), finished.exit);
    }
    Piped {
        output: finished[2].stdout.clone(),
        took: finished.iter().map(|f| f.virtual_time).collect(),
        total: clock.mono().duration_since(MonoTime::ORIGIN),
        log: clock.log().unwrap().to_json_lines(),
    }
}

fn letters(count: usize) -> Vec<u8> {
    (0..count).map(|i| b'a' + (i % 26) as u8).collect()
}

/// A producer that sleeps a second before each of ten small blocks, and a consumer that needs 10 ms
/// for each: the last block leaves the producer after 10 s.
fn slow_producer() -> String {
    let input = letters(10_000);
    let piped = pipeline(&input, &["-b", "1", "1000"], &["-u", "100"], &["-a", "0.01", "1000"]);
    assert_eq!(piped.output, input.to_ascii_uppercase());
    assert_eq!(piped.total, 10 * SECOND + Duration::from_millis(10), "the critical path");
    assert_eq!(piped.took[0], 10 * SECOND);
    piped.log
}

/// A megabyte in no time, through a filter, to a consumer that needs a second for each 100,000 bytes.
/// The pipes hold 65,536 bytes each and the stages a block each, so the producer is held back.
fn slow_consumer() -> String {
    let input = letters(1_000_000);
    let piped = pipeline(&input, &["50000"], &["-u", "5000"], &["-a", "1", "100000"]);
    assert_eq!(piped.output, input.to_ascii_uppercase());
    assert_eq!(piped.total, 10 * SECOND, "the critical path");
    assert_eq!(piped.took[2], 10 * SECOND);
    // When it writes its last bytes, no more than two pipes and a block may be underway: the
    // consumer has then taken at least 1,000,000 - 2 * 65,536 - 5,000, so eight blocks.
    assert_eq!(piped.took[0], 8 * SECOND, "backpressure");
    piped.log
}

#[test]
fn a_pipeline_takes_its_critical_path() {
    the_same_bytes_every_time(50, slow_producer);
    the_same_bytes_every_time(50, slow_consumer);
}

#[test]
#[ignore = "soak: 1,000 runs"]
fn a_pipeline_takes_its_critical_path_a_thousand_times() {
    the_same_bytes_every_time(1000, slow_producer);
    the_same_bytes_every_time(1000, slow_consumer);
}

#[test]
fn a_stage_that_never_waits_does_not_starve_the_others() {
    let input = letters(1_000_000);
    // The filter tries to read and to write, and never waits; no participant sleeps.
    let piped = pipeline(&input, &["50000"], &["-n", "5000"], &["100000"]);
    assert_eq!(piped.output, input);
    assert_eq!(piped.total, Duration::ZERO);
    // Nor if all of them do so.
    let piped = pipeline(&input, &["-n"], &["-nu"], &["-n"]);
    assert_eq!(piped.output, input.to_ascii_uppercase());
}

/// Two guests, each of which reads what the other one would write.
fn crossed(clock: &Arc<MockClock>) -> [Running; 2] {
    let (from_b, to_a) = pipe();
    let (from_a, to_b) = pipe();
    let spec = |name: &str| GuestSpec::new(guest!("cat")).name(name).clock(clock.clone());
    [
        start(spec("a").stdin(from_b).stdout(to_b)).unwrap(),
        start(spec("b").stdin(from_a).stdout(to_a)).unwrap(),
    ]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "that it takes no time is what is tested")]
fn two_guests_that_wait_for_each_other_are_told_so_at_once() {
    let clock = MockClock::builder().build();
    // Loading the module is not what is measured.
    drop(guest!("cat"));
    let began = Instant::now();
    let guests = crossed(&clock);
    // The host waits too, so it is part of the deadlock.
    let Err(Stuck::Deadlock(hosts)) = guests[0].wait(&*clock) else { panic!("no deadlock") };
    let finished = wait(&clock, &guests);
    let took = began.elapsed();
    let reports: Vec<_> = finished
        .iter()
        .map(|finished| match &finished.exit {
            Exit::Deadlock(report) => report,
            other => panic!("{other}"),
        })
        .collect();
    assert!(Arc::ptr_eq(reports[0], reports[1]), "one report for all");
    assert!(Arc::ptr_eq(reports[0], &hosts));
    insta::assert_snapshot!(reports[0], @r"
    `main`: wait for `a` to end
    `a`: fd_read of descriptor 0, a pipe
    `b`: fd_read of descriptor 0, a pipe
    ");
    assert_eq!(clock.mono(), MonoTime::ORIGIN, "no time has passed");
    assert!(took < Duration::from_millis(500), "it took {took:?} of real time");
}

#[test]
fn a_guest_that_others_wait_for_is_no_deadlock() {
    // The third sleeps; the clock has a deadline, and the two are told when it has passed.
    let clock = MockClock::builder().build();
    let sleepers = sleepers(&clock, &["5"]);
    let guests = crossed(&clock);
    assert!(sleepers[0].wait(&*clock).unwrap().exit.success());
    assert!(guests[0].wait(&*clock).is_err());
    for finished in wait(&clock, &guests) {
        assert!(matches!(finished.exit, Exit::Deadlock(_)), "{}", finished.exit);
        assert_eq!(finished.virtual_time, 5 * SECOND);
    }
}

/// A guest sleeps, and the test joins a thread of std whose real work takes longer than the clock
/// allows. Gives how that ended for the test and for the guest, and the line of the clock.
fn join_a_std_thread(with_external: bool) -> (Result<(), Stuck>, Arc<Finished>, u32) {
    let clock = MockClock::builder().name("the test").stall_after(Duration::from_millis(150));
    let (clock, line) = (clock.build(), line!());
    let _installed = clock.install();
    let guest = sleepers(&clock, &["1"]).remove(0);
    // It begins to sleep, and waits for the test from here on.
    clock.yield_now().unwrap();
    let outside = std::thread::spawn(|| std::thread::sleep(Duration::from_millis(900)));
    if with_external {
        external("join the work outside", || outside.join()).unwrap();
        assert_eq!(clock.mono(), MonoTime::ORIGIN, "time stood still meanwhile");
    } else {
        outside.join().unwrap();
    }
    let first_wait = try_sleep(SECOND);
    (first_wait, guest.wait(&*clock).unwrap(), line)
}

#[test]
fn a_std_join_without_external_stalls_the_guests_and_names_the_line() {
    let (host, guest, line) = join_a_std_thread(false);
    let told = host.unwrap_err();
    assert!(matches!(told, Stuck::Stalled(_)), "{told}");
    let place = format!("`the test`: is running ({}:{line}) or blocked outside", file!());
    for text in [told.to_string(), guest.exit.to_string()] {
        assert!(text.contains(&place), "{text}");
        assert!(text.contains("wrap the blocking call in `testbench_clock::external`"), "{text}");
        assert!(text.contains("`guest 0, 1 s`: sleep"), "{text}");
    }
    assert_eq!(guest.virtual_time, Duration::ZERO);
}

#[test]
fn with_external_the_same_test_passes() {
    let (host, guest, _) = join_a_std_thread(true);
    host.unwrap();
    assert!(guest.exit.success(), "{}", guest.exit);
    assert_eq!(guest.virtual_time, SECOND);
}

#[test]
fn a_busy_wait_ends_under_tick_per_read() {
    let clock = MockClock::builder().tick_per_read(Duration::from_millis(1)).build();
    let spin = GuestSpec::new(guest!("spin")).args(["-v", "2.5"]).clock(clock.clone());
    let finished = run(spin).unwrap();
    assert!(finished.exit.success(), "{}", finished.exit);
    assert_eq!(finished.stdout, b"2501 readings\n");
    // The same for the wall clock, and beside another guest.
    let spin = GuestSpec::new(guest!("spin")).args(["-w", "2"]).clock(clock.clone());
    let guests = [start(spin).unwrap(), sleepers(&clock, &["3"]).remove(0)];
    assert!(wait(&clock, &guests).iter().all(|finished| finished.exit.success()));
}

#[test]
fn a_busy_wait_is_reported_by_the_spin_guard() {
    let clock = MockClock::builder().spin_max(10_000).build();
    for args in [["-v", "2.5"], ["-w", "2.5"]] {
        let spin = GuestSpec::new(guest!("spin")).name("spinner").args(args).clock(clock.clone());
        let limits = Limits { watchdog: None, ..Limits::default() };
        let finished = run(spin.limits(limits)).unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(finished.exit, @"killed: spinning: `spinner` read the clock 10001 times without waiting, and virtual time moves only when every participant waits; sleep in the loop, or build the clock with `tick_per_read`");
        }
        assert_eq!(finished.virtual_time, Duration::ZERO);
    }
}

#[test]
fn two_hundred_guests_at_once() {
    const GUESTS: usize = 200;
    let clock = MockClock::builder().log().build();
    let seconds: Vec<String> = (0..GUESTS).map(|i| ((i * 37) % 50).to_string()).collect();
    let seconds: Vec<&str> = seconds.iter().map(String::as_str).collect();
    let finished = wait(&clock, &sleepers(&clock, &seconds));
    assert!(finished.iter().all(|finished| finished.exit.success()));
    assert_eq!(clock.mono(), MonoTime::from_nanos(49_000_000_000));
    for (finished, seconds) in finished.iter().zip(seconds) {
        assert_eq!(finished.virtual_time.as_secs().to_string(), seconds);
    }
}
