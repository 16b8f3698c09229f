//! Code of others that the timeline runs: wakers, and what is dropped with them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::secs;
use crate::{Clock, MockClock, MonoTime, Participant, Role, Wait, WallTime, Woke};

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose")
    }
}

#[derive(Default)]
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_panic_of_one_who_hears_of_the_wall_does_not_stop_time() {
    let clock = MockClock::builder().build();
    let listener = clock.wall_set();
    listener.register(&Waker::from(Arc::new(Panics)));
    let set = catch_unwind(AssertUnwindSafe(|| clock.set_wall(WallTime::UNIX_EPOCH)));
    assert_eq!(set.unwrap_err().downcast_ref(), Some(&"on purpose"), "whose it is sees it");
    clock.advance(secs(1)).unwrap();
}

#[test]
fn a_panic_of_one_waker_does_not_keep_the_next_from_being_woken() {
    let clock = MockClock::builder().build();
    let hold = clock.inhibit(&"keeps time from moving until both wait");
    let counts = Arc::new(Counts::default());
    let executors = [("first", Waker::from(Arc::new(Panics))), ("second", counts.clone().into())];
    let executors = executors.map(|(name, waker)| {
        let executor = clock.join(name, Role::Guest);
        let wait = Wait { deadline: clock.mono().checked_add(secs(1)), on: &[], what: &"idle" };
        executor.park(wait, &waker);
        executor
    });
    let moved = catch_unwind(AssertUnwindSafe(|| {
        drop(hold);
        clock.advance(secs(2)).unwrap();
    }));
    assert_eq!(moved.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_eq!(counts.0.load(Ordering::Relaxed), 1);
    drop(executors);
}

/// Uses the timeline when it is dropped, as a task that is dropped with its waker may.
struct Uses(Arc<MockClock>);

impl Wake for Uses {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Uses {
    fn drop(&mut self) {
        drop(self.0.inhibit(&"in a drop"));
    }
}

#[test]
fn nothing_of_others_is_dropped_under_the_lock() {
    let clock = MockClock::builder().build();
    let hold = clock.inhibit(&"keeps what follows from being a deadlock");
    let executor = clock.join("executor", Role::Guest);
    let wait = Wait { deadline: None, on: &[], what: &"idle" };
    // Parked under another handle, so that its leaving does not end the wait.
    executor.lend("lent").park(wait, &Waker::from(Arc::new(Uses(clock.clone()))));
    executor.leave();
    drop(hold);
}

#[test]
fn a_waker_that_panics_inside_a_wait_leaves_the_waiting_participant_usable() {
    let clock = MockClock::builder().build();
    let executor = clock.join("executor", Role::Host);
    let after = |n| MonoTime::ORIGIN.checked_add(secs(n));
    let wait = |deadline, what| Wait { deadline, on: &[], what };
    executor.park(wait(after(1), &"idle"), &Waker::from(Arc::new(Panics)));
    let waited = catch_unwind(|| clock.wait(wait(after(2), &"two seconds")));
    assert_eq!(waited.unwrap_err().downcast_ref(), Some(&"on purpose"));
    executor.unpark().unwrap();
    executor.leave();
    assert_eq!(clock.wait(wait(after(3), &"three seconds")).unwrap(), Woke::Deadline);
    assert_eq!(clock.mono(), after(3).unwrap());
}
