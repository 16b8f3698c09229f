//! The end of a session while others still wait in it.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{mono, secs, until};
use crate::task::{self, block_on};
use crate::{Clock, Event, Guard, MockClock, Participant, Role, Schedule, Stuck, Wait, thread};

/// So long that a stall would be told after it: whoever hears earlier was told by the end.
const NEVER: Duration = Duration::from_secs(3600);
/// Enough for a busy machine to wake a thread, and far below what a stall takes.
const AT_ONCE: Duration = Duration::from_secs(20);

fn clock(schedule: Schedule) -> std::sync::Arc<MockClock> {
    MockClock::builder().stall_after(NEVER).schedule(schedule).build()
}

/// Threads that were left behind in their waits, and what they hear, in the order in which they do.
struct LeftBehind {
    heard: Receiver<(usize, Result<(), Stuck>)>,
    count: usize,
}

impl LeftBehind {
    /// Starts them and lets all of them come to wait.
    fn start(waits: Vec<Box<dyn FnOnce() -> Result<(), Stuck> + Send>>) -> Self {
        let (send, heard) = channel();
        let count = waits.len();
        for (i, wait) in waits.into_iter().enumerate() {
            let send = send.clone();
            // Detached.
            drop(thread::spawn(move || send.send((i, wait())).unwrap()));
        }
        crate::settle().unwrap();
        LeftBehind { heard, count }
    }

    fn ends(self) -> Vec<(usize, String)> {
        let next = || self.heard.recv_timeout(AT_ONCE).expect("it is told at once");
        (0..self.count).map(|_| next()).map(|(i, end)| (i, end.unwrap_err().to_string())).collect()
    }
}

fn wait_for_nothing() -> Result<(), Stuck> {
    let on = [Event::new().listen()];
    // Another one's deadline keeps this from being a deadlock.
    crate::current().wait(Wait { deadline: None, on: &on, what: &"read on a pipe" }).map(drop)
}

fn check_all_are_told(schedule: Schedule) {
    let (installed, line) = (clock(schedule).install(), line!());
    let left = LeftBehind::start(vec![
        Box::new(|| crate::try_sleep(secs(3600))),
        Box::new(wait_for_nothing),
        Box::new(|| block_on(task::sleep(secs(1)))),
        Box::new(|| thread::spawn(|| crate::sleep(secs(1))).try_join().map(drop)),
    ]);
    drop(installed);
    let ends = left.ends();
    let place = format!("the guard made at {}:{line} was dropped", file!());
    let expected = format!("cancelled: session `clock` ended when {place}");
    for (i, end) in &ends {
        assert_eq!(*end, expected, "thread {i}");
    }
    if schedule == Schedule::Serial {
        assert!(ends.iter().map(|(i, _)| *i).eq(0..4), "one after the other: {ends:?}");
    }
}

#[test]
fn whoever_waits_is_told_at_once_that_the_session_has_ended() {
    check_all_are_told(Schedule::Serial);
}

#[test]
fn in_parallel_too() {
    check_all_are_told(Schedule::Parallel);
}

/// A guest's clock is a handle that joined, which no context installed.
#[test]
fn a_guest_that_waits_or_begins_or_goes_on_is_told() {
    let clock = clock(Schedule::Serial);
    let installed = clock.install();
    let waits = clock.join("waits", Role::Guest);
    let (send, heard) = channel();
    let guest = std::thread::spawn(move || {
        waits.begin().unwrap();
        send.send(until(&*waits, mono(9)).unwrap_err()).unwrap();
        let again = [until(&*waits, mono(9)), waits.yield_now().map(|()| crate::Woke::Deadline)];
        let (late, lent) = (waits.join("late", Role::Guest), waits.lend("lent"));
        let lent = until(&*lent, mono(9));
        waits.leave();
        let late = until(&*late, mono(9));
        again.into_iter().chain([lent, late]).map(Result::unwrap_err).collect::<Vec<_>>()
    });
    crate::settle().unwrap();
    let begins = clock.join("begins", Role::Guest);
    drop(installed);
    let mut told = vec![begins.begin().unwrap_err()];
    begins.leave();
    told.push(heard.recv_timeout(AT_ONCE).expect("it is told at once"));
    told.extend(guest.join().unwrap());
    for stuck in &told {
        let Stuck::Cancelled(why) = stuck else { panic!("{stuck}") };
        assert!(why.starts_with("session `clock` ended when the guard made at "), "{why}");
    }
    assert_eq!(told.len(), 6);
    assert_eq!(clock.mono(), mono(0));
}

/// Someone outside ends the session that this thread waits in.
#[test]
fn the_test_itself_is_told_if_another_thread_ends_the_session() {
    let session = crate::Lifetime::new("theirs");
    let _installed: Guard = crate::install_for(clock(Schedule::Serial), &session);
    let ended = session.clone();
    let held = crate::current().participant().inhibit(&"the other thread");
    let other = std::thread::spawn(move || {
        super::really_block(20);
        ended.end();
        drop(held);
    });
    let stuck = wait_for_nothing().unwrap_err();
    assert!(stuck.to_string().starts_with("cancelled: session `theirs` ended at "), "{stuck}");
    other.join().unwrap();
}

/// The handle itself is nobody's session: it goes on, and so does its timeline.
#[test]
fn the_clock_can_be_used_and_installed_again() {
    let clock = clock(Schedule::Serial);
    drop(clock.install());
    until(&*clock, mono(5)).unwrap();
    let again = clock.install();
    let left = LeftBehind::start(vec![Box::new(|| crate::try_sleep(secs(1)))]);
    drop(again);
    assert_eq!(left.ends().len(), 1);
    let other = clock.join("other", Role::Host);
    let other = std::thread::spawn(move || until(&*other, mono(7)));
    until(&*clock, mono(9)).unwrap();
    other.join().unwrap().unwrap();
    assert_eq!(clock.mono(), mono(9));
}

/// A session inside of another on the same timeline ends alone.
#[test]
fn an_inner_session_ends_for_itself() {
    let clock = clock(Schedule::Serial);
    let outer = clock.install();
    let (theirs, inner) = (thread::spawn(|| crate::try_sleep(secs(3))), clock.install());
    let left = LeftBehind::start(vec![Box::new(|| crate::try_sleep(secs(1)))]);
    drop(inner);
    crate::sleep(secs(2));
    assert_eq!(left.ends().len(), 1);
    assert_eq!(clock.mono().since_origin(), secs(2), "the one that was told holds nobody up");
    theirs.join().unwrap().unwrap();
    let left = LeftBehind::start(vec![Box::new(|| crate::try_sleep(secs(1)))]);
    drop(outer);
    assert_eq!(left.ends().len(), 1);
}

/// A handle with an installation of its own does not end with another's.
#[test]
fn another_session_on_the_same_timeline_goes_on() {
    let clock = clock(Schedule::Serial);
    let theirs = clock.join("theirs", Role::Host);
    let installed = clock.install();
    let other = std::thread::spawn(move || {
        let _installed = crate::install(theirs);
        crate::try_sleep(secs(1))
    });
    crate::settle().unwrap();
    drop(installed);
    until(&*clock, mono(1)).unwrap();
    until(&*clock, clock.mono_at(clock.wall() + secs(2)).unwrap()).unwrap();
    other.join().unwrap().unwrap();
    assert_eq!(clock.mono().since_origin(), secs(2) + Duration::from_nanos(1));
}

/// The thread comes back from outside after the end: it must neither hang nor hold anybody up.
#[test]
fn who_is_outside_at_the_end_comes_back() {
    let clock = clock(Schedule::Serial);
    let installed = clock.install();
    let ((go, gone), (send, told)) = (channel::<()>(), channel());
    drop(thread::spawn(move || {
        crate::external("a test", || gone.recv()).unwrap();
        send.send(crate::try_sleep(secs(1)).unwrap_err().to_string()).unwrap();
    }));
    // It runs until it is outside. Nothing moves from then on, so this cannot be a wait.
    clock.yield_now().unwrap();
    drop(installed);
    go.send(()).unwrap();
    let told = told.recv_timeout(AT_ONCE).unwrap();
    assert!(told.contains("session `clock` ended when the guard made at "), "{told}");
    until(&*clock, mono(1)).unwrap();
}

/// As a guest is run on a thread of its own: what it has started does not end with it.
#[test]
fn the_end_of_a_participant_is_no_end_of_a_session() {
    let clock = clock(Schedule::Serial);
    let (parent, (send, heard)) = (clock.join("parent", Role::Guest), channel());
    let parent = std::thread::spawn(move || {
        parent.begin().unwrap();
        let installed = crate::install_participant(parent.clone());
        let child = parent.join("child", Role::Guest);
        std::thread::spawn(move || {
            child.begin().unwrap();
            send.send(until(&*child, mono(9))).unwrap();
            child.leave();
        });
        drop(installed);
        until(&*parent, mono(5)).unwrap();
        parent.leave();
    });
    until(&*clock, mono(3)).unwrap();
    assert_eq!(clock.mono(), mono(3), "the parent has waited before time moved");
    until(&*clock, mono(20)).unwrap();
    parent.join().unwrap();
    assert_eq!(heard.recv().unwrap().unwrap(), crate::Woke::Deadline);
}

/// With nobody to be told, whoever holds the clock goes on as if nothing had happened.
#[test]
fn the_test_keeps_its_turn_if_nobody_is_left_behind() {
    let clock = clock(Schedule::Serial);
    drop(clock.install());
    let (other, (send, began)) = (clock.join("other", Role::Host), channel());
    let thread = std::thread::spawn(move || {
        other.begin().unwrap();
        send.send(()).unwrap();
        other.leave();
    });
    assert!(began.recv_timeout(Duration::from_millis(30)).is_err(), "it is not its turn");
    until(&*clock, mono(1)).unwrap();
    began.recv().unwrap();
    thread.join().unwrap();
}
