//! Waits that cannot end, that are ended from outside, or that the timeline does not see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{mono, really_block, secs, until};
use crate::{
    Clock, Event, MockClock, MonoTime, Participant, Role, Schedule, Stuck, Wait, Woke, thread,
};

#[test]
fn a_lone_wait_without_a_deadline_is_a_deadlock() {
    let clock = MockClock::builder().name("alone").build();
    let wait = Wait { deadline: None, on: &[Event::new().listen()], what: &"read on a pipe" };
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
            clock.participant().begin().unwrap();
            let stuck =
                clock.wait(Wait { deadline: None, on: &[Event::new().listen()], what: &what });
            clock.participant().leave();
            stuck.unwrap_err()
        })
    };
    let threads = [stuck_on(a, "read from b"), stuck_on(b, "read from a")];
    let wait = Wait { deadline: None, on: &[Event::new().listen()], what: &"both" };
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
    let event = Event::new();
    let heard = event.listen();
    let held = clock.inhibit(&"something outside");
    let outside = std::thread::spawn(move || {
        really_block(30);
        event.notify();
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
fn in_parallel_all_who_block_outside_on_each_other_are_named() {
    let clock = MockClock::builder().schedule(Schedule::Parallel);
    let clock = clock.stall_after(Duration::from_millis(80)).build();
    let _installed = clock.install();
    let (to_a, of_a) = std::sync::mpsc::channel::<()>();
    let (to_b, of_b) = std::sync::mpsc::channel::<()>();
    // The mistake, twice; they come out when this test has dropped both ends.
    let blocked = [of_a, of_b].map(|of| thread::spawn(move || of.recv().is_err()));
    let stuck = crate::try_sleep(secs(1)).unwrap_err();
    assert!(matches!(stuck, Stuck::Stalled(_)), "{stuck}");
    assert_eq!(stuck.to_string().matches("or blocked outside the timeline").count(), 2, "{stuck}");
    drop((to_a, to_b));
    for blocked in blocked {
        while !blocked.is_finished() {
            std::thread::yield_now();
        }
        assert!(blocked.join().unwrap());
    }
}

#[test]
fn who_never_begins_is_named() {
    for role in [Role::Guest, Role::Host] {
        let clock = MockClock::builder().stall_after(Duration::from_millis(20)).build();
        let forgotten = clock.join("forgotten", role);
        let Err(Stuck::Stalled(report)) = until(&*clock, mono(1)) else { panic!("{role:?}") };
        let text = report.to_string();
        assert!(text.contains("`forgotten`: has not begun"), "{text}");
        // It is told when it does.
        assert!(matches!(forgotten.begin(), Err(Stuck::Stalled(_))));
    }
}

#[test]
fn a_thread_that_the_machine_starts_late_is_not_stalled() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(50)).build();
    let late = clock.join("late", Role::Host);
    let thread = std::thread::spawn(move || {
        really_block(200);
        until(&*late, mono(1))
    });
    until(&*clock, mono(2)).unwrap();
    let outside = clock.external(&"join");
    thread.join().unwrap().unwrap();
    drop(outside);
}

#[test]
fn who_waits_for_time_that_it_holds_still_is_named() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(20)).build();
    let held = clock.inhibit(&"a download");
    let stuck = until(&*clock, mono(1)).unwrap_err();
    let expected = "`main`: a test, until 1ns; it holds time still: a download";
    assert!(matches!(stuck, Stuck::Stalled(_)) && stuck.to_string().contains(expected), "{stuck}");
    // Something outside may still let go of it, or notify what is waited for.
    let elsewhere = std::thread::spawn(move || {
        really_block(60);
        drop(held);
    });
    until(&*clock, mono(1)).unwrap();
    elsewhere.join().unwrap();
    let held = clock.inhibit(&"a download");
    let arrived = Event::new();
    let on = [arrived.listen()];
    let elsewhere = std::thread::spawn(move || {
        really_block(500);
        arrived.notify();
    });
    let woke = clock.wait(Wait { deadline: Some(mono(9)), on: &on, what: &"a download" });
    assert_eq!(woke.unwrap(), Woke::Notified(0), "however long that takes");
    drop(held);
    elsewhere.join().unwrap();
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

/// Runs `f` on two threads at once, each with its number.
fn on_two_threads<T: Send + 'static>(f: impl Fn(u64) -> T + Send + Clone + 'static) -> [T; 2] {
    let both = Arc::new(std::sync::Barrier::new(2));
    let threads = [0, 1].map(|i| {
        let (f, both) = (f.clone(), Arc::clone(&both));
        std::thread::spawn(move || {
            both.wait();
            f(i)
        })
    });
    threads.map(|thread| thread.join().unwrap())
}

#[test]
fn two_threads_of_one_handle_may_begin_to_wait_at_once() {
    let clock = MockClock::builder().build();
    let guest = clock.join("guest", Role::Guest);
    let _aside = clock.go_outside("steps aside", false);
    // With somebody else about, a wait is one on the seat.
    let other = clock.join("other", Role::Host);
    let ended = Arc::new(AtomicBool::new(false));
    let until_ended = Arc::clone(&ended);
    let idle = std::thread::spawn(move || {
        while !until_ended.load(Ordering::Relaxed) {
            let next = other.mono().saturating_add(Duration::from_nanos(1));
            until(&*other, next).unwrap();
        }
        other.leave();
    });
    let finished = Arc::new(AtomicUsize::new(0));
    on_two_threads(move |i| {
        let nap = || until(&*guest, guest.mono().saturating_add(Duration::from_nanos(1 + i)));
        for _ in 0..20_000 {
            nap().unwrap();
        }
        finished.fetch_add(1, Ordering::Relaxed);
        // A thread that ends keeps the turn of the handle, so the other one's must be over as well.
        while finished.load(Ordering::Relaxed) < 2 && nap().is_ok() {}
        guest.leave();
    });
    ended.store(true, Ordering::Relaxed);
    idle.join().unwrap();
}

#[test]
fn cancelling_a_handle_ends_the_waits_of_all_its_threads() {
    let clock = MockClock::builder().build();
    let guest = clock.join("guest", Role::Guest);
    let _held = clock.inhibit(&"this is no deadlock");
    let _outside = clock.external(&"the guest runs");
    let waiter = Arc::clone(&guest);
    let canceller = std::thread::spawn(move || {
        really_block(200);
        guest.cancel("killed");
    });
    let ends = on_two_threads(move |_| {
        let on = [Event::new().listen()];
        waiter.wait(Wait { deadline: None, on: &on, what: &"never" }).unwrap_err().to_string()
    });
    assert_eq!(ends, ["cancelled: killed", "cancelled: killed"]);
    canceller.join().unwrap();
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_is_roused_on_the_way_into_its_park_comes_out_of_it_at_once() {
    let clock = MockClock::builder().build();
    let woken = Arc::new(Woken::default());
    let park = || {
        clock.park(Wait { deadline: None, on: &[], what: &"a test" }, &Arc::clone(&woken).into());
        clock.unpark()
    };
    clock.rouse();
    clock.rouse();
    park().unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(matches!(park(), Err(Stuck::Deadlock(_))), "it was roused for one park only");
}

#[test]
fn parking_never_blocks() {
    let clock = MockClock::builder().build();
    let woken = Arc::new(Woken::default());
    let park = |who: &dyn Clock| {
        let wait = Wait { deadline: Some(mono(5)), on: &[], what: &"a test" };
        who.participant().park(wait, &Arc::clone(&woken).into());
    };
    // One that has no turn yet, while this thread has it.
    let other = clock.join("other", Role::Host);
    park(&*other);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0, "it waits, although this thread has the turn");
    let is_woken = Arc::clone(&woken);
    let executor = std::thread::spawn(move || {
        while is_woken.0.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        (other.unpark(), other.mono(), other.leave())
    });
    until(&*clock, mono(9)).unwrap();
    let (unparked, at, ()) = executor.join().unwrap();
    assert_eq!((unparked.unwrap(), at), ((), mono(5)));
    let outside = clock.external(&"something real");
    // One that is outside gets on, and is told by `unpark`.
    park(&*clock);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert!(matches!(clock.unpark(), Err(Stuck::Outside { .. })));
    drop(outside);
}

#[test]
fn a_thread_whose_first_call_is_external_leaves_the_timeline() {
    let _installed = MockClock::builder().build().install();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel();
    let outside = std::thread::spawn(crate::Context::capture().wrap(move || {
        crate::external("real work", || {
            begun.send(()).unwrap();
            is_done.recv_timeout(Duration::from_secs(20)).is_ok()
        })
    }));
    has_begun.recv().unwrap();
    // It does not get the turn that it has not asked for, so others run and time stands still.
    thread::spawn(move || done.send(()).unwrap()).join().unwrap();
    assert!(crate::external("join", || outside.join()).unwrap());
}
