//! Blocking where the timeline does not see it: told, with the line, and cured by `external`.

use std::time::Duration;
use testbench_clock::audit::real;
use testbench_clock::{Context, MockClock, Stuck, external, instant_now, sleep, thread, try_sleep};

const SECOND: Duration = Duration::from_secs(1);

/// What both tests do: something sleeps on the timeline, while the test joins a thread of std that
/// does something real for longer than is allowed.
struct Joined {
    sleeper: Result<(), Stuck>,
    /// What the test sees that goes on after the join.
    after: Result<(), Stuck>,
    line: u32,
    passed: Duration,
}

fn join_a_std_thread(with_external: bool) -> Joined {
    let clock = MockClock::builder().name("the test").stall_after(Duration::from_millis(150));
    let (clock, line) = (clock.build(), line!());
    let _installed = clock.install();
    let sleeper = thread::spawn(|| try_sleep(SECOND));
    let real = || real::sleep(Duration::from_millis(900), "work outside of the timeline");
    let outside = std::thread::spawn(real);
    // The sleeper begins, and waits for the test from here on.
    thread::spawn(|| ()).join().unwrap();
    if with_external {
        external("join the work outside", || outside.join()).unwrap();
        assert_eq!(instant_now().since_origin(), Duration::ZERO, "time stood still meanwhile");
    } else {
        outside.join().unwrap();
    }
    let after = try_sleep(2 * SECOND);
    let sleeper = sleeper.join().unwrap();
    Joined { sleeper, after, line, passed: instant_now().since_origin() }
}

#[test]
fn a_std_join_without_external_gets_the_stall_error_that_names_the_line() {
    let joined = join_a_std_thread(false);
    let stuck = joined.sleeper.unwrap_err();
    assert!(matches!(stuck, Stuck::Stalled(_)), "{stuck}");
    let text = stuck.to_string();
    let place = format!("`the test`: is running ({}:{})", file!(), joined.line);
    assert!(text.contains(&place), "{text}");
    assert!(text.contains("wrap the blocking call in `testbench_clock::external`"), "{text}");
    let last = "its last wait was: join of a thread at ";
    assert!(text.contains(&format!("{last}{}:", file!())), "where it was seen last: {text}");
    // The one that was away is told the same.
    assert_eq!(joined.after.unwrap_err().to_string(), text);
}

#[test]
fn with_external_the_same_test_passes() {
    let joined = join_a_std_thread(true);
    assert!(joined.sleeper.is_ok() && joined.after.is_ok(), "{:?}", joined.after);
    assert_eq!(joined.passed, 2 * SECOND);
}

/// The join waits for the sleeper, which waits for virtual time, which waits for the test.
#[test]
fn a_std_join_of_someone_on_the_timeline_is_told_too() {
    let clock = MockClock::builder().stall_after(Duration::from_millis(150)).build();
    let _installed = clock.install();
    let sleeper = std::thread::spawn(Context::capture().wrap(|| sleep(SECOND)));
    let panic = sleeper.join().unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("stalled: a participant does not come back"), "{text}");
    assert!(text.contains("`testbench_clock::thread::spawn`"), "what to do instead: {text}");
}
