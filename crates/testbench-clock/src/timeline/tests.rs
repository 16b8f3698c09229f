//! Behaviour of the timeline with several participants.

use crate::{
    Clock, ClockError, Injection, MockClock, MockClockBuilder, MonoTime, Role, Schedule, Seed,
    Shift, Signal, Stuck, Wait, WallTime, When, Woke, thread,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn mono(n: u64) -> MonoTime {
    MonoTime::from_nanos(n)
}

fn until(clock: &dyn Clock, deadline: MonoTime) -> Result<Woke, Stuck> {
    clock.wait(Wait { deadline: Some(deadline), on: &[], what: &"a test" })
}

/// What the timeline does not see.
fn really_block(ms: u64) {
    crate::audit::real::sleep(Duration::from_millis(ms), "a test of real blocking");
}

/// What the participants of a test did, with the time of each entry.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<(u64, String)>>>);

impl Trace {
    fn note(&self, what: impl Into<String>) {
        let at = crate::instant_now().nanos();
        self.0.lock().unwrap().push((at, what.into()));
    }

    fn take(&self) -> String {
        let entries = std::mem::take(&mut *self.0.lock().unwrap());
        let lines: Vec<_> = entries.into_iter().map(|(at, what)| format!("{at} {what}")).collect();
        lines.join("; ")
    }
}

/// Runs sleepers side by side and tells in which order they woke.
fn wake_order(builder: MockClockBuilder, delays_ns: &[u64]) -> String {
    let clock = builder.build();
    let _installed = clock.install();
    let trace = Trace::default();
    thread::scope(|scope| {
        for (i, delay) in delays_ns.iter().enumerate() {
            let trace = trace.clone();
            scope.spawn(move || {
                crate::sleep(Duration::from_nanos(*delay));
                trace.note(i.to_string());
            });
        }
    });
    trace.take()
}

#[test]
fn sleeps_overlap_and_wake_by_deadline_then_by_registration() {
    for _ in 0..50 {
        assert_eq!(wake_order(MockClock::builder(), &[3, 1, 2]), "1 1; 2 2; 3 0");
        assert_eq!(wake_order(MockClock::builder(), &[5, 5, 5, 1]), "1 3; 5 0; 5 1; 5 2");
    }
}

#[test]
fn a_seed_draws_the_order_of_ties_and_nothing_else() {
    let run = |seed| wake_order(MockClock::builder().ties(Seed::new(seed)), &[7, 7, 7, 7, 3]);
    let orders: std::collections::BTreeSet<_> = (0..20).map(run).collect();
    assert!(orders.len() > 3, "{orders:?}");
    for order in &orders {
        assert!(order.starts_with("3 4; 7 "), "{order}");
    }
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn a_parallel_schedule_keeps_the_times() {
    let order = wake_order(MockClock::builder().schedule(Schedule::Parallel), &[30, 10, 20, 10]);
    let mut entries: Vec<_> = order.split("; ").collect();
    entries.sort_unstable();
    assert_eq!(entries, ["10 1", "10 3", "20 2", "30 0"]);
}

#[test]
fn advance_stops_at_every_deadline_and_returns_last() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let trace = Trace::default();
    let theirs = trace.clone();
    let ticker = thread::spawn(move || {
        for _ in 0..3 {
            crate::sleep(secs(1));
            theirs.note("tick");
        }
    });
    crate::advance(secs(2)).unwrap();
    trace.note("advanced");
    let expected = "1000000000 tick; 2000000000 tick; 2000000000 advanced";
    assert_eq!(trace.take(), expected);
    ticker.join().unwrap();
    assert_eq!(trace.take(), "3000000000 tick");
}

#[test]
fn advance_past_the_range_is_an_error_and_moves_nothing() {
    let clock = MockClock::builder().build();
    clock.advance(secs(1)).unwrap();
    let error = clock.advance(Duration::MAX).unwrap_err();
    assert!(matches!(error, ClockError::OutOfRange { .. }), "{error}");
    assert_eq!(clock.mono().since_origin(), secs(1));
    until(&*clock, MonoTime::MAX).unwrap();
    assert!(clock.advance(Duration::from_nanos(1)).is_err());
}

#[test]
fn a_notification_wakes_without_moving_time() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let signal = Signal::new();
    let heard = signal.listen();
    let waiter = thread::spawn(move || {
        let clock = crate::current();
        let wait = Wait { deadline: Some(mono(1000)), on: &[heard], what: &"news" };
        (clock.wait(wait), clock.mono())
    });
    crate::sleep(Duration::from_nanos(10));
    signal.notify();
    let (woke, at) = waiter.join().unwrap();
    assert_eq!(woke.unwrap(), Woke::Notified(0));
    assert_eq!(at, mono(10));
    assert_eq!(clock.mono(), mono(10), "the deadline that was not needed moved nothing");
}

#[test]
fn listeners_are_looked_at_before_the_deadline_and_in_order() {
    let clock = MockClock::builder().build();
    let (quiet, loud) = (Signal::new(), Signal::new());
    let on = [quiet.listen(), loud.listen(), loud.listen()];
    loud.notify();
    let wait = Wait { deadline: Some(MonoTime::ORIGIN), on: &on, what: &"either" };
    assert_eq!(clock.wait(wait).unwrap(), Woke::Notified(1));
}

#[test]
fn a_lone_wait_without_a_deadline_is_a_deadlock() {
    let clock = MockClock::builder().name("alone").build();
    let wait = Wait { deadline: None, on: &[Signal::new().listen()], what: &"read on a pipe" };
    let stuck = clock.wait(wait).unwrap_err();
    assert_eq!(stuck.to_string(), "deadlock: nothing can end this wait\n  `alone`: read on a pipe");
    let error = std::io::Error::from(stuck);
    assert_eq!(error.kind(), std::io::ErrorKind::Deadlock);
    // The clock is as good as before.
    clock.advance(secs(1)).unwrap();
}

#[test]
fn everyone_in_a_deadlock_gets_the_same_report() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let (a, b) = (clock.join("a", Role::Guest), clock.join("b", Role::Guest));
    let stuck_on = |clock: Arc<dyn Clock>, what: &'static str| {
        std::thread::spawn(move || {
            clock.begin().unwrap();
            let stuck =
                clock.wait(Wait { deadline: None, on: &[Signal::new().listen()], what: &what });
            clock.leave();
            stuck.unwrap_err()
        })
    };
    let threads = [stuck_on(a, "read from b"), stuck_on(b, "read from a")];
    let wait = Wait { deadline: None, on: &[Signal::new().listen()], what: &"both" };
    let Err(Stuck::Deadlock(ours)) = clock.wait(wait) else { panic!("not a deadlock") };
    assert_eq!(ours.to_string(), "  `main`: both\n  `a`: read from b\n  `b`: read from a");
    // Both ends run now, one after the other, when this one gives up its turn.
    let ends = crate::external("join", || threads.map(|thread| thread.join().unwrap()));
    for stuck in ends {
        let Stuck::Deadlock(theirs) = stuck else { panic!("{stuck}") };
        assert_eq!(theirs, ours);
    }
}

#[test]
fn an_inhibitor_holds_time_still_and_prevents_a_deadlock() {
    let clock = MockClock::builder().build();
    let signal = Signal::new();
    let heard = signal.listen();
    let held = clock.inhibit(&"something outside");
    let outside = std::thread::spawn(move || {
        really_block(30);
        signal.notify();
        held
    });
    let wait = Wait { deadline: Some(mono(5)), on: &[heard], what: &"outside" };
    assert_eq!(clock.wait(wait).unwrap(), Woke::Notified(0));
    assert_eq!(clock.mono(), MonoTime::ORIGIN);
    drop(outside.join().unwrap());
    until(&*clock, mono(5)).unwrap();
}

#[test]
fn others_run_while_one_is_outside_but_time_stands() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let (send, receive) = std::sync::mpsc::channel();
    let other = thread::spawn(move || {
        send.send(crate::instant_now()).unwrap();
        crate::sleep(secs(1));
        crate::instant_now()
    });
    let (seen, at) = crate::external("wait for the other", || {
        let seen = receive.recv().unwrap();
        really_block(20);
        (seen, crate::instant_now())
    });
    assert_eq!((seen, at), (MonoTime::ORIGIN, MonoTime::ORIGIN));
    assert_eq!(other.join().unwrap().since_origin(), secs(1));
}

#[test]
fn a_wait_inside_external_is_refused() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let stuck = crate::external("x", || crate::try_sleep(secs(1))).unwrap_err();
    assert!(matches!(stuck, Stuck::Outside { .. }), "{stuck}");
    crate::sleep(secs(1));
}

#[test]
fn blocking_outside_the_timeline_is_reported_to_everyone() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(80)).build();
    let _installed = clock.install();
    let line = line!() - 2;
    let sleeper = || crate::try_sleep(secs(1)).unwrap_err();
    let other = std::thread::spawn(crate::Context::capture().wrap(sleeper));
    // The mistake: a join that the timeline knows nothing of.
    let theirs = other.join().unwrap();
    let text = theirs.to_string();
    let place = format!("`main`: is running ({}:{line}) or blocked outside", file!());
    assert!(text.contains(&place) && text.contains("testbench_clock::external"), "{text}");
    let ours = crate::try_sleep(secs(1)).unwrap_err();
    assert_eq!(ours.to_string(), text);
    // Told once; afterwards it takes part again.
    crate::try_sleep(secs(1)).unwrap();
    assert_eq!(clock.mono().since_origin(), secs(1));
}

#[test]
fn a_guest_may_compute_for_as_long_as_it_likes() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(200)).build();
    let _installed = clock.install();
    let other = thread::spawn(|| crate::try_sleep(secs(1)));
    let lent = clock.lend("a long compilation");
    really_block(600);
    drop(lent);
    other.join().unwrap().unwrap();
}

#[test]
fn a_cancelled_wait_ends_and_so_do_all_later_ones() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let guest = clock.join("guest", Role::Guest);
    let theirs = Arc::clone(&guest);
    let thread = std::thread::spawn(move || {
        theirs.begin().unwrap();
        let first = until(&*theirs, mono(1_000_000)).unwrap_err();
        let second = until(&*theirs, mono(2_000_000)).unwrap_err();
        theirs.leave();
        [first, second].map(|stuck| stuck.to_string())
    });
    crate::sleep(Duration::from_nanos(5));
    guest.cancel("killed");
    guest.cancel("killed again");
    let texts = crate::external("join", || thread.join().unwrap());
    assert_eq!(texts, ["cancelled: killed", "cancelled: killed"]);
    assert_eq!(clock.mono(), mono(5), "a cancelled deadline moves nothing");
}

#[test]
fn cancelling_a_lent_handle_leaves_its_lender_alone() {
    let clock = MockClock::builder().build();
    let guest = clock.lend("guest");
    until(&*guest, mono(3)).unwrap();
    guest.cancel("killed");
    assert!(until(&*guest, mono(9)).is_err());
    guest.leave();
    until(&*clock, mono(9)).unwrap();
    assert_eq!(clock.mono(), mono(9));
}

#[test]
fn a_participant_that_never_begins_is_gone_when_dropped() {
    let clock = MockClock::builder().build();
    let unused = clock.join("unused", Role::Guest);
    drop(unused);
    until(&*clock, mono(1)).unwrap();
}

#[test]
fn one_handle_on_two_threads_neither_hangs_nor_loses_time() {
    let clock = MockClock::builder().build();
    let shared = Arc::clone(&clock);
    let started = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&started);
    let other = std::thread::spawn(move || {
        for i in 1..=100 {
            until(&*shared, mono(i * 10)).unwrap();
            flag.store(true, Ordering::Relaxed);
        }
    });
    while !started.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    for i in 1..=100 {
        until(&*clock, mono(i * 15)).unwrap();
    }
    other.join().unwrap();
    assert_eq!(clock.mono(), mono(1500));
}

#[test]
fn yields_let_the_others_of_the_instant_run() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let trace = Trace::default();
    let theirs = trace.clone();
    let other = thread::spawn(move || {
        theirs.note("b1");
        crate::current().yield_now().unwrap();
        theirs.note("b2");
    });
    trace.note("a1");
    clock.yield_now().unwrap();
    trace.note("a2");
    clock.yield_now().unwrap();
    trace.note("a3");
    other.join().unwrap();
    assert_eq!(trace.take(), "0 a1; 0 b1; 0 a2; 0 b2; 0 a3");
}

#[test]
fn a_loop_of_readings_is_found_out() {
    let clock = MockClock::builder().name("spinner").spin_max(1000).build();
    for _ in 0..1000 {
        clock.mono();
    }
    clock.check().unwrap();
    clock.wall();
    let stuck = clock.check().unwrap_err();
    let expected = "spinning: `spinner` read the clock 1001 times without waiting";
    assert!(stuck.to_string().starts_with(expected), "{stuck}");
    until(&*clock, mono(1)).unwrap();
    clock.check().unwrap();
    while clock.yield_now().is_ok() {}
    assert!(matches!(clock.check(), Err(Stuck::Spinning { .. })));
}

#[test]
fn ticks_end_a_loop_and_wake_the_others() {
    let clock = MockClock::builder().tick_per_read(Duration::from_nanos(100)).build();
    let _installed = clock.install();
    let trace = Trace::default();
    let theirs = trace.clone();
    let other = thread::spawn(move || {
        crate::try_sleep(Duration::from_nanos(250)).unwrap();
        theirs.note("woke");
    });
    let mut readings = 0;
    while clock.mono() < mono(1000) {
        readings += 1;
    }
    assert_eq!(readings, 9);
    other.join().unwrap();
    // Its own reading in `sleep` was the first after 1000, the one in the trace comes on top.
    assert_eq!(trace.take(), "1450 woke");
}

#[test]
fn readings_are_rounded_to_the_resolution_and_waits_are_not() {
    use crate::Reading;
    let clock = MockClock::builder()
        .start(WallTime::from_unix_nanos(-1_500))
        .resolution(Reading::Mono, Duration::from_nanos(100))
        .resolution(Reading::Wall, Duration::from_micros(1))
        .build();
    assert_eq!(clock.resolution(Reading::Mono), Duration::from_nanos(100));
    until(&*clock, mono(250)).unwrap();
    assert_eq!(clock.mono(), mono(200));
    assert_eq!(clock.wall(), WallTime::from_unix_nanos(-2000));
    clock.advance(Duration::from_nanos(50)).unwrap();
    assert_eq!(clock.mono(), mono(300));
}

#[test]
fn setting_the_wall_wakes_those_who_wait_for_it_at_that_instant() {
    let clock = MockClock::builder().start(WallTime::from_unix_nanos(0)).build();
    let _installed = clock.install();
    let woken_at = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&woken_at);
    let waiter = thread::spawn(move || {
        let clock = crate::current();
        let target = WallTime::from_unix_nanos(1_000);
        loop {
            let changed = clock.wall_set();
            let Some(at) = clock.mono_at(target) else { panic!("the wall always comes") };
            if at <= clock.mono() {
                break;
            }
            let on = [changed];
            clock.wait(Wait { deadline: Some(at), on: &on, what: &"a wall time" }).unwrap();
        }
        theirs.store(clock.mono().nanos() as usize, Ordering::Relaxed);
    });
    crate::sleep(Duration::from_nanos(100));
    clock.set_wall(WallTime::from_unix_nanos(-10_000));
    crate::sleep(Duration::from_nanos(2_000));
    assert_eq!(woken_at.load(Ordering::Relaxed), 0);
    clock.set_wall(WallTime::from_unix_nanos(990));
    waiter.join().unwrap();
    assert_eq!(woken_at.load(Ordering::Relaxed), 2_110);
    assert_eq!(clock.mono(), mono(2_110));
}

#[test]
fn injections_come_at_their_instant_whoever_moves_time() {
    let step = Injection::Step(Shift::Forward(secs(100)));
    let clock = MockClock::builder()
        .start(WallTime::UNIX_EPOCH)
        .inject(When::Mono(mono(5_000_000_000)), step)
        .inject(When::Wall(WallTime::from_unix_secs(107)), Injection::LEAP_SECOND)
        .build();
    let wall_s = |clock: &MockClock| clock.wall().unix_nanos() / 1_000_000_000;
    clock.advance(secs(4)).unwrap();
    assert_eq!(wall_s(&clock), 4);
    clock.advance(secs(2)).unwrap();
    assert_eq!(wall_s(&clock), 106);
    clock.advance(secs(2)).unwrap();
    assert_eq!(wall_s(&clock), 107, "the leap second at 107 took one away");
}

#[test]
fn whoever_waits_for_an_injection_alone_gets_it() {
    let clock = MockClock::builder()
        .inject(When::Mono(mono(42)), Injection::Step(Shift::Back(secs(1))))
        .build();
    let wait = Wait { deadline: None, on: &[clock.wall_set()], what: &"a change of the wall" };
    assert_eq!(clock.wait(wait).unwrap(), Woke::Notified(0));
    assert_eq!(clock.mono(), mono(42));
    let wait = Wait { deadline: None, on: &[clock.wall_set()], what: &"another" };
    assert!(matches!(clock.wait(wait), Err(Stuck::Deadlock(_))));
}

#[test]
fn an_injection_wakes_those_who_wait_beyond_it_at_its_instant() {
    let clock = MockClock::builder()
        .inject(When::Mono(mono(42)), Injection::Step(Shift::Back(secs(1))))
        .build();
    let wait = Wait { deadline: Some(mono(100)), on: &[clock.wall_set()], what: &"wall" };
    assert_eq!(clock.wait(wait).unwrap(), Woke::Notified(0));
    assert_eq!(clock.mono(), mono(42));
}

#[test]
fn time_stands_while_listeners_of_the_wall_are_told() {
    /// A listener whose waker uses the timeline, before anyone else has heard.
    struct Meddles(Arc<MockClock>);
    impl std::task::Wake for Meddles {
        fn wake(self: Arc<Self>) {
            drop(self.0.inhibit(&"for a moment"));
        }
    }
    let clock = MockClock::builder()
        .inject(When::Mono(mono(42)), Injection::Step(Shift::Forward(secs(1))))
        .build();
    let _installed = clock.install();
    let first = clock.wall_set();
    first.register(&std::task::Waker::from(Arc::new(Meddles(Arc::clone(&clock)))));
    let waiter = thread::spawn(|| {
        let clock = crate::current();
        let wait = Wait { deadline: None, on: &[clock.wall_set()], what: &"wall" };
        (clock.wait(wait).unwrap(), clock.mono())
    });
    until(&*clock, mono(50)).unwrap();
    assert_eq!(waiter.join().unwrap(), (Woke::Notified(0), mono(42)));
}

#[test]
fn a_slew_moves_the_wall_evenly_and_exactly() {
    let clock = MockClock::builder().start(WallTime::UNIX_EPOCH).build();
    clock
        .inject(Injection::Slew { by: Shift::Back(Duration::from_nanos(500)), over: secs(1) })
        .unwrap();
    let offset = |clock: &MockClock| clock.wall().unix_nanos() - i128::from(clock.mono().nanos());
    clock.advance(Duration::from_millis(500)).unwrap();
    assert_eq!(offset(&clock), -250);
    clock.advance(secs(5)).unwrap();
    assert_eq!(offset(&clock), -500);
    let backwards = Injection::Slew { by: Shift::Back(secs(2)), over: secs(1) };
    assert!(clock.inject(backwards).is_err());
}

#[test]
fn a_pipe_between_two_guests_lets_both_run() {
    // A bounded buffer over signals: what the guest kernel's pipes do.
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let buffer = Arc::new(Mutex::new(Vec::new()));
    let (filled, emptied) = (Signal::new(), Signal::new());
    let (theirs, their_filled, their_emptied) =
        (Arc::clone(&buffer), filled.clone(), emptied.clone());
    let producer = thread::spawn(move || {
        let clock = crate::current();
        for i in 0..20 {
            loop {
                let room = their_emptied.listen();
                if theirs.lock().unwrap().len() < 3 {
                    break;
                }
                clock.wait(Wait { deadline: None, on: &[room], what: &"write" }).unwrap();
            }
            crate::sleep(Duration::from_nanos(10));
            theirs.lock().unwrap().push(i);
            their_filled.notify();
        }
    });
    let mut got = Vec::new();
    while got.len() < 20 {
        let news = filled.listen();
        let batch = std::mem::take(&mut *buffer.lock().unwrap());
        if batch.is_empty() {
            clock.wait(Wait { deadline: None, on: &[news], what: &"read" }).unwrap();
            continue;
        }
        emptied.notify();
        got.extend(batch);
        crate::sleep(Duration::from_nanos(15));
    }
    producer.join().unwrap();
    assert_eq!(got, (0..20).collect::<Vec<_>>());
    assert_eq!(clock.mono(), mono(220));
}

#[test]
fn the_log_is_the_same_every_time() {
    let run = || {
        let clock = MockClock::builder().log().build();
        let installed = clock.install();
        thread::scope(|scope| {
            for delay in [3, 1, 2] {
                scope.spawn(move || {
                    crate::sleep(secs(delay));
                    crate::now();
                });
            }
        });
        clock.set_wall(WallTime::UNIX_EPOCH);
        drop(installed);
        clock.log().unwrap().to_json_lines()
    };
    let first = run();
    for kind in ["join", "leave", "read", "wait", "wake", "inject"] {
        assert!(first.contains(&format!(r#""kind":"{kind}""#)), "{kind} in {first}");
    }
    for _ in 1..1_000 {
        assert_eq!(run(), first);
    }
}

#[test]
fn a_scope_ends_even_when_its_threads_are_stuck() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let ends = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for i in 0..3 {
            let ends = &ends;
            scope.spawn(move || {
                let clock = crate::current();
                let never = Signal::new().listen();
                let stuck = clock.wait(Wait { deadline: None, on: &[never], what: &"never" });
                assert!(matches!(stuck, Err(Stuck::Deadlock(_))), "{stuck:?}");
                crate::sleep(Duration::from_nanos(10 - i));
                ends.lock().unwrap().push(i);
            });
        }
    });
    assert_eq!(*ends.lock().unwrap(), [2, 1, 0]);
    clock.cancel("over");
    thread::scope(|scope| {
        scope.spawn(|| crate::sleep(Duration::from_nanos(5)));
    });
    assert_eq!(clock.mono(), mono(15));
}

#[test]
fn a_panicking_thread_is_joined_with_its_panic() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let thread = thread::spawn(|| {
        crate::sleep(secs(1));
        panic!("on purpose, in a test");
    });
    assert!(thread.join().is_err());
    assert_eq!(clock.mono().since_origin(), secs(1));
}

/// Three stages with a buffer of one between them: each stage blocks on both of its sides.
#[test]
fn a_pipeline_with_back_pressure_takes_the_time_of_its_slowest_stage() {
    type Slot = Arc<(Mutex<Option<u32>>, Signal)>;
    fn put(slot: &Slot, value: u32) {
        let clock = crate::current();
        loop {
            let changed = slot.1.listen();
            let mut held = slot.0.lock().unwrap();
            if held.is_none() {
                *held = Some(value);
                drop(held);
                return slot.1.notify();
            }
            drop(held);
            clock.wait(Wait { deadline: None, on: &[changed], what: &"write" }).unwrap();
        }
    }
    fn take(slot: &Slot) -> u32 {
        let clock = crate::current();
        loop {
            let changed = slot.1.listen();
            if let Some(value) = slot.0.lock().unwrap().take() {
                slot.1.notify();
                return value;
            }
            clock.wait(Wait { deadline: None, on: &[changed], what: &"read" }).unwrap();
        }
    }
    let run = || {
        let clock = MockClock::builder().log().build();
        let _installed = clock.install();
        let (a, b) = (Slot::default(), Slot::default());
        let got = thread::scope(|scope| {
            scope.spawn(|| (0..10).for_each(|i| put(&a, i)));
            scope.spawn(|| {
                for _ in 0..10 {
                    let value = take(&a);
                    crate::sleep(secs(1));
                    put(&b, value * value);
                }
            });
            let sink = scope.spawn(|| (0..10).map(|_| take(&b)).collect::<Vec<_>>());
            sink.join().unwrap()
        });
        (got, clock.mono().since_origin(), clock.log().unwrap().to_json_lines())
    };
    let first = run();
    assert_eq!(first.0, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    assert_eq!(first.1, secs(10));
    for _ in 1..1_000 {
        assert_eq!(run(), first);
    }
}
