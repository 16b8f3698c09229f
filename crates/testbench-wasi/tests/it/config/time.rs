//! Both clocks, their resolutions, sleep and yield.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testbench_clock::{Clock, MockClock, MonoTime, Participant, Reading, SystemClock, WallTime};
use testbench_wasi::{CustomClock, GuestSpec};

use super::{finished, number, program, stdout, tool};

/// Writes what clock 0 (wall) or 1 (monotonic) shows, in nanoseconds.
fn reading(clock: u32) -> GuestSpec {
    program(&format!(
        "(drop (call $time (i32.const {clock}) (i64.const 1) (i32.const 64)))
        (call $write (i32.const 64) (i32.const 8))"
    ))
}

/// Writes the resolution of that clock, in nanoseconds.
fn resolution(clock: u32) -> GuestSpec {
    program(&format!(
        "(drop (call $resolution (i32.const {clock}) (i32.const 64)))
        (call $write (i32.const 64) (i32.const 8))"
    ))
}

fn mock() -> Arc<MockClock> {
    MockClock::builder().build()
}

#[test]
fn wall_clock() {
    assert_eq!(stdout(tool!("date")), "2000-01-01T00:00:00.000000000Z\n");
    let start = WallTime::from_unix_nanos(1_234_567_890_123_456_789);
    let later = MockClock::builder().start(start).build();
    assert_eq!(stdout(tool!("date").clock(later)), "2009-02-13T23:31:30.123456789Z\n");
    // One's own function.
    let clock = CustomClock::over(mock()).wall(|| WallTime::from_unix_secs(1)).build();
    assert_eq!(number(reading(0).clock(clock.clone())), 1_000_000_000);
    assert_eq!(number(reading(1).clock(clock)), 1_000_000_000, "the other one is as below");
    // The real one, where it is asked for.
    let real = SystemClock::new("test").wall().unix_nanos();
    let shown = i128::from(number(reading(0).clock(Arc::new(SystemClock::new("test")))));
    assert!((real..real + 60_000_000_000).contains(&shown), "{shown}");
}

#[test]
fn monotonic_clock() {
    // A guest's shows a second at the origin: Go's runtime takes zero for a broken clock.
    assert_eq!(number(reading(1)), 1_000_000_000);
    let clock = mock();
    clock.advance(Duration::from_nanos(5)).unwrap();
    assert_eq!(number(reading(1).clock(clock)), 1_000_000_005);
    let own = CustomClock::over(mock()).mono(|| MonoTime::from_nanos(70)).build();
    assert_eq!(number(reading(1).clock(own.clone())), 1_000_000_070);
    assert_eq!(number(reading(0).clock(own)), 946_684_800_000_000_000, "the other one is as below");
}

#[test]
fn resolutions() {
    assert_eq!([number(resolution(0)), number(resolution(1))], [1, 1]);
    let clock = MockClock::builder()
        .start(WallTime::from_unix_nanos(5_555_555))
        .resolution(Reading::Wall, Duration::from_millis(1))
        .resolution(Reading::Mono, Duration::from_micros(10))
        .build();
    assert_eq!(number(resolution(0).clock(clock.clone())), 1_000_000);
    assert_eq!(number(resolution(1).clock(clock.clone())), 10_000);
    // A mock clock's readings keep to it.
    clock.advance(Duration::from_nanos(12_345)).unwrap();
    assert_eq!(number(reading(0).clock(clock.clone())), 5_000_000);
    assert_eq!(number(reading(1).clock(clock)), 1_000_010_000);
    // What is only told.
    let told = CustomClock::over(mock()).resolution(Reading::Wall, Duration::from_secs(2)).build();
    assert_eq!(number(resolution(0).clock(told.clone())), 2_000_000_000);
    assert_eq!(number(resolution(1).clock(told)), 1);
}

#[test]
fn sleep() {
    let sleep = || tool!("sleep").arg("90m");
    // By default virtual time moves by exactly that, and no real time passes.
    assert_eq!(finished(sleep()).virtual_time, Duration::from_secs(5400));
    // One's own function is called instead, and time is what it makes of it.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let clock =
        CustomClock::over(mock()).sleep(move |left| noted.lock().unwrap().push(left)).build();
    let ended = finished(sleep().clock(clock));
    assert_eq!((ended.exit.code(), ended.virtual_time), (Some(0), Duration::ZERO));
    assert_eq!(*asked.lock().unwrap(), [Duration::from_secs(5400)]);
    // On the real clock it sleeps.
    let begun = testbench_clock::instant_now();
    let ended = finished(tool!("sleep").arg("0.03").clock(Arc::new(SystemClock::new("test"))));
    assert_eq!(ended.exit.code(), Some(0));
    assert!(testbench_clock::instant_now().duration_since(begun) >= Duration::from_millis(30));
}

#[test]
fn a_sleep_beside_other_functions() {
    // With a monotonic reading of one's own the clock below still waits for as long as is left.
    let below = mock();
    let above = {
        let below = below.clone();
        CustomClock::over(below.clone())
            .mono(move || MonoTime::from_nanos(below.mono().nanos() + 1_000_000))
            .build()
    };
    assert_eq!(finished(tool!("sleep").arg("3").clock(above)).exit.code(), Some(0));
    assert_eq!(below.mono(), MonoTime::from_nanos(3_000_000_000));
    // An absolute time of day, on a wall of one's own.
    let wall = CustomClock::over(mock()).wall(|| WallTime::from_unix_secs(100)).build();
    assert_eq!(
        wall.mono_at(WallTime::from_unix_secs(103)),
        Some(MonoTime::from_nanos(3_000_000_000))
    );
    assert_eq!(wall.mono_at(WallTime::from_unix_secs(1)), Some(MonoTime::from_nanos(0)));
}

#[test]
fn yields() {
    let spec =
        || program("(call $exit (i32.add (call $yield) (i32.add (call $yield) (call $yield))))");
    assert_eq!(finished(spec()).exit.code(), Some(0));
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let clock = CustomClock::over(mock())
        .yield_now(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    assert_eq!(finished(spec().clock(clock)).exit.code(), Some(0));
    assert_eq!(count.load(Ordering::Relaxed), 3);
    // By default the others on the timeline run meanwhile.
    let clock = mock();
    let ran = Arc::new(AtomicU64::new(0));
    let other = clock.join("other", testbench_clock::Role::Host);
    let thread = std::thread::spawn({
        let ran = Arc::clone(&ran);
        move || {
            other.begin().unwrap();
            ran.store(1, Ordering::SeqCst);
            other.leave();
        }
    });
    assert_eq!(ran.load(Ordering::SeqCst), 0, "it has no turn before another participant yields");
    assert_eq!(finished(spec().clock(clock)).exit.code(), Some(0));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    thread.join().unwrap();
}
