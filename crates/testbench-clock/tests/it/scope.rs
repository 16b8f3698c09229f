//! What is installed on a thread: guards in any order, other threads, tasks, and after the end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::thread;
use std::time::Duration;
use testbench_clock::{
    Clock, Context, EnterGuard, FutureExt, Guard, Lifetime, Lookup, MockClock, MonoTime, Role,
    Scope, Stuck, WithContext, current, install, install_for, instant_now, is_mocked, now, sleep,
    try_sleep,
};

static_assertions::assert_not_impl_any!(Guard: Send, Sync);
static_assertions::assert_not_impl_any!(EnterGuard: Send, Sync);
static_assertions::assert_impl_all!(Context: Send, Sync, Clone);
static_assertions::assert_impl_all!(Lifetime: Send, Sync, Clone);
static_assertions::assert_impl_all!(WithContext<std::future::Ready<()>>: Send, Sync, Future);
static_assertions::assert_impl_all!(MockClock: Send, Sync);

static NAME: Scope<String> = Scope::new("name");
static NUMBER: Scope<u32> = Scope::new("number");

/// What is found under both keys, as text.
fn seen() -> String {
    fn show<T: ToString>(found: Lookup<T>) -> String {
        match found {
            Lookup::Absent => "-".to_owned(),
            Lookup::Open(value) => value.to_string(),
            Lookup::Closed(value, _) => format!("({})", value.to_string()),
        }
    }
    format!("{} {}", show(NAME.get()), show(NUMBER.get()))
}

fn name(value: &str, lifetime: &Lifetime) -> Guard {
    NAME.install(Arc::new(value.to_owned()), lifetime)
}

fn number(value: u32, lifetime: &Lifetime) -> Guard {
    NUMBER.install(Arc::new(value), lifetime)
}

#[test]
fn guards_nest_and_keys_do_not_mix() {
    let session = Lifetime::new("s");
    assert_eq!(seen(), "- -");
    let a = name("a", &session);
    let one = number(1, &session);
    let b = name("b", &session);
    assert_eq!(seen(), "b 1");
    drop(b);
    assert_eq!(seen(), "a 1");
    drop(one);
    assert_eq!(seen(), "a -");
    drop(a);
    assert_eq!(seen(), "- -");
}

/// Every order in which four guards can drop: what is seen is always the topmost that is left.
#[test]
fn guards_drop_in_any_order() {
    let session = Lifetime::new("s");
    let mut orders = 0;
    for code in 0..256_usize {
        let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 & 3];
        let mut sorted = order;
        sorted.sort_unstable();
        if sorted != [0, 1, 2, 3] {
            continue;
        }
        orders += 1;
        let names = ["a", "b", "c", "d"];
        let mut guards = names.map(|n| Some(name(n, &session)));
        for gone in order {
            guards[gone] = None;
            let top = (0..4).rev().find(|i| guards[*i].is_some());
            let expected = top.map_or("-", |i| names[i]);
            assert_eq!(seen(), format!("{expected} -"), "order {order:?}");
        }
    }
    assert_eq!(orders, 24);
}

#[test]
fn unwinding_hides_what_it_passes_and_nothing_else() {
    let session = Lifetime::new("s");
    let _outer = name("outer", &session);
    let escaped = Cell::new(None);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _inner = name("inner", &session);
        escaped.set(Some(number(7, &session)));
        let _more = name("more", &session);
        panic!("on purpose, in a test");
    }));
    assert!(panicked.is_err());
    assert_eq!(seen(), "outer 7");
    drop(escaped.take());
    assert_eq!(seen(), "outer -");
}

#[test]
fn other_threads_see_nothing_without_a_context() {
    let session = Lifetime::new("s");
    let _a = name("a", &session);
    assert_eq!(thread::spawn(seen).join().unwrap(), "- -");
    let context = Context::capture();
    assert_eq!(thread::spawn(context.wrap(seen)).join().unwrap(), "a -");
}

#[test]
fn a_context_replaces_what_is_there_and_gives_it_back() {
    let session = Lifetime::new("s");
    let empty = Context::capture();
    let a = name("a", &session);
    let with_a = Context::capture();
    let _one = number(1, &session);
    let entered = with_a.enter();
    assert_eq!(seen(), "a -");
    let hidden = empty.enter();
    assert_eq!(seen(), "- -");
    drop(entered);
    assert_eq!(seen(), "- -", "leaving one context does not leave another");
    drop(hidden);
    assert_eq!(seen(), "a 1");
    drop(a);
    assert_eq!(seen(), "- 1");
}

#[test]
fn a_guard_made_inside_a_context_outlives_it() {
    let session = Lifetime::new("s");
    let _a = name("a", &session);
    let context = Context::capture();
    let entered = context.enter();
    let two = number(2, &session);
    drop(entered);
    assert_eq!(seen(), "a 2");
    drop(two);
    assert_eq!(seen(), "a -");
}

#[test]
fn a_dropped_guard_closes_its_entry_for_captured_contexts_only() {
    let session = Lifetime::new("s");
    let _below = name("below", &session);
    let a = name("a", &session);
    let context = Context::capture();
    let entered = context.enter();
    drop(a);
    assert_eq!(seen(), "(a) -", "closed, and not what was below it");
    drop(entered);
    assert_eq!(seen(), "below -");
    let Lookup::Closed(_, ended) = context.wrap(|| NAME.get())() else { panic!("not closed") };
    let text = ended.to_string();
    assert!(text.starts_with("session `s` ended when the guard made at "), "{text}");
}

#[test]
fn after_the_end_of_a_session_everything_of_it_is_closed_everywhere() {
    let outer = Lifetime::new("outer");
    let _below = name("below", &outer);
    let session = Lifetime::new("inner");
    let a = name("a", &session);
    let context = Context::capture();
    session.end();
    let line = line!() - 1;
    assert_eq!(seen(), "(a) -");
    let on_thread = thread::spawn(context.wrap(|| NAME.get().open())).join().unwrap();
    let expected = format!("session `inner` ended at {}:{line}", file!());
    assert_eq!(on_thread.unwrap_err().to_string(), expected);
    session.end();
    assert_eq!(session.ended().unwrap().to_string(), expected, "the first end stays");
    drop(a);
    assert_eq!(seen(), "below -");
}

/// Notes what it sees whenever it is polled, and when it is dropped.
struct Noting {
    polls_left: u32,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Future for Noting {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<()> {
        self.seen.lock().unwrap().push(format!("poll {}", seen()));
        if self.polls_left == 0 {
            return Poll::Ready(());
        }
        self.polls_left -= 1;
        Poll::Pending
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.seen.lock().unwrap().push(format!("drop {}", seen()));
    }
}

#[test]
fn a_task_has_its_context_on_every_poll_and_when_dropped() {
    let session = Lifetime::new("s");
    let notes = Arc::new(Mutex::new(Vec::new()));
    let guard = name("task", &session);
    let noting = |polls_left| Noting { polls_left, seen: Arc::clone(&notes) };
    let mut first = Box::pin(noting(5).with_context(Context::capture()));
    let second = noting(0).with_context(Context::capture());
    drop(guard);

    let _other = name("other", &session);
    let mut cx = task::Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert_eq!(seen(), "other -");
    thread::spawn(move || {
        let mut cx = task::Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        drop(first);
        assert_eq!(seen(), "- -");
    })
    .join()
    .unwrap();
    {
        let mut second = pin!(second);
        assert!(second.as_mut().poll(&mut cx).is_ready());
    }
    let notes = notes.lock().unwrap();
    let expected =
        ["poll (task) -", "poll (task) -", "drop (task) -", "poll (task) -", "drop (task) -"];
    assert_eq!(*notes, expected);
}

#[test]
fn a_panicking_poll_leaves_the_context() {
    let session = Lifetime::new("s");
    let context = {
        let _a = name("a", &session);
        Context::capture()
    };
    let task = async { panic!("on purpose, in a test") }.with_context(context);
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut task = pin!(task);
        let _: Poll<()> = task.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
    }));
    assert!(polled.is_err());
    assert_eq!(seen(), "- -");
}

#[test]
fn values_may_use_the_scope_while_they_are_dropped() {
    struct Nosy;
    impl Drop for Nosy {
        fn drop(&mut self) {
            let session = Lifetime::new("late");
            let guard = name("from drop", &session);
            assert_eq!(seen(), "from drop -");
            drop(guard);
        }
    }
    static NOSY: Scope<Nosy> = Scope::new("nosy");
    let session = Lifetime::new("s");
    let first = NOSY.install(Arc::new(Nosy), &session);
    let second = NOSY.install(Arc::new(Nosy), &session);
    drop(first);
    drop(second);
    assert_eq!(seen(), "- -");
}

#[test]
fn deep_stacks_are_as_good_as_shallow_ones() {
    let session = Lifetime::new("s");
    let mut guards: Vec<_> = (0..500).map(|i| number(i, &session)).collect();
    assert_eq!(seen(), "- 499");
    for i in 0..250 {
        drop(guards.remove(i));
    }
    assert_eq!(seen(), "- 499");
    guards.truncate(1);
    assert_eq!(seen(), "- 1");
}

#[test]
fn the_clock_of_an_ended_session_stands_still_and_counts_its_uses() {
    let session = Lifetime::new("checkout");
    let clock = MockClock::builder().build();
    let guard = install_for(Arc::clone(&clock) as Arc<dyn Clock>, &session);
    sleep(Duration::from_secs(5));
    let context = Context::capture();
    drop(guard);
    session.end();
    // The timeline goes on for its other participants; the ended session does not see that.
    let seen = thread::spawn(context.wrap(|| {
        let stuck = try_sleep(Duration::from_secs(1)).unwrap_err();
        assert!(is_mocked(), "it must not become the real clock");
        (instant_now(), now(), stuck, current().mono())
    }));
    let (mono, wall, stuck, again) = seen.join().unwrap();
    assert_eq!(mono, MonoTime::from_nanos(5_000_000_000));
    assert_eq!(wall.to_string(), "2000-01-01T00:00:05Z");
    assert_eq!(again, mono);
    let Stuck::Cancelled(why) = stuck else { panic!("{stuck}") };
    assert!(why.starts_with("session `checkout` ended "), "{why}");
    assert!(session.late_uses() >= 4, "{}", session.late_uses());
}

#[test]
fn a_thread_that_has_entered_hears_of_a_dropped_guard_too() {
    let session = Lifetime::new("s");
    let guard = install_for(MockClock::builder().build(), &session);
    let context = Context::capture();
    let ((entered, has_entered), (dropped, was_dropped)) = (channel(), channel());
    let other = thread::spawn(move || {
        let _entered = context.enter();
        entered.send(()).unwrap();
        was_dropped.recv().unwrap();
        try_sleep(Duration::from_secs(1))
    });
    has_entered.recv().unwrap();
    drop(guard);
    dropped.send(()).unwrap();
    let stuck = other.join().unwrap().unwrap_err().to_string();
    assert!(stuck.contains("session `s` ended when the guard made at "), "{stuck}");
}

#[test]
fn install_owns_a_lifetime_that_ends_with_its_guard() {
    let guard = install(MockClock::builder().build());
    let context = Context::capture();
    drop(guard);
    assert!(!is_mocked());
    let stuck = context.wrap(|| try_sleep(Duration::ZERO))().unwrap_err();
    assert!(stuck.to_string().contains("session `clock` ended when the guard made at "), "{stuck}");
}

#[test]
fn clocks_nest_and_do_not_disturb_other_threads() {
    let _outer = MockClock::builder().build().install();
    sleep(Duration::from_secs(1));
    let inner = MockClock::at_wall_ms(0).install();
    sleep(Duration::from_secs(10));
    assert_eq!(now().to_string(), "1970-01-01T00:00:10Z");
    assert!(!thread::spawn(is_mocked).join().unwrap());
    drop(inner);
    assert_eq!(now().to_string(), "2000-01-01T00:00:01Z");
}

#[test]
fn entering_a_context_elsewhere_is_taking_part_until_it_is_left() {
    let clock = MockClock::builder().build();
    let _installed = clock.install();
    let context = Context::capture();
    let (send, receive) = channel();
    let other = thread::spawn(move || {
        let entered = context.enter();
        send.send(()).unwrap();
        sleep(Duration::from_secs(2));
        drop(entered);
        // No longer a participant: no other one waits for this.
        assert!(!is_mocked());
        assert!(NAME.get().open().unwrap().is_none());
    });
    receive.recv().unwrap();
    sleep(Duration::from_secs(3));
    assert_eq!(clock.mono(), MonoTime::from_nanos(3_000_000_000));
    other.join().unwrap();
}

#[test]
fn time_does_not_wait_for_a_closure_that_is_called_later() {
    let _clock = MockClock::builder().build().install();
    let later = Context::capture().wrap(|| instant_now().nanos());
    sleep(Duration::from_nanos(5));
    // Even on a thread that has not waited, beside the one that has the turn.
    assert_eq!(thread::spawn(later).join().unwrap(), 5);
}

#[test]
fn jobs_with_clocks_of_their_own_run_in_the_order_in_which_those_were_made() {
    let _clock = MockClock::builder().build().install();
    for _ in 0..50 {
        let order = Arc::new(Mutex::new(Vec::new()));
        let jobs: Vec<_> = (0..4)
            .map(|i| {
                let clock = current().join(&format!("job {i}"), Role::Host);
                let order = Arc::clone(&order);
                move || {
                    let _installed = testbench_clock::install_participant(Arc::clone(&clock));
                    clock.participant().begin().unwrap();
                    order.lock().unwrap().push(i);
                    clock.participant().leave();
                }
            })
            .collect();
        // A pool of another library, which starts them in another order.
        let pool: Vec<_> = jobs.into_iter().rev().map(thread::spawn).collect();
        testbench_clock::external("the pool", || {
            pool.into_iter().for_each(|job| job.join().unwrap());
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    }
}
