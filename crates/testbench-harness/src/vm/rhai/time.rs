//! `now`, `now_ns`, `sleep` and `timestamp`.

use std::time::Duration;

use ::rhai::{Engine, FLOAT, INT};
use testbench_clock::MonoTime;

use super::{ScriptResult, script_error};
use crate::vm::Handle;

/// What `timestamp()` answers: takes the place of Rhai's own, which reads the real clock.
#[derive(Clone, Copy)]
struct Timestamp(MonoTime);

pub(super) fn register(engine: &mut Engine, handle: &Handle) {
    let on = handle.clone();
    engine.register_fn("now", move || on.within(now_seconds));
    let on = handle.clone();
    engine.register_fn("now_ns", move || on.within(now_ns));
    let on = handle.clone();
    engine.register_fn("sleep", move |seconds: FLOAT| on.within(|| sleep(seconds)));
    let on = handle.clone();
    engine.register_fn("sleep", move |seconds: INT| on.within(|| sleep(seconds as FLOAT)));
    timestamps(engine, handle);
}

fn timestamps(engine: &mut Engine, handle: &Handle) {
    engine.register_type_with_name::<Timestamp>("timestamp");
    let on = handle.clone();
    engine.register_fn("timestamp", move || on.within(mono));
    let on = handle.clone();
    engine.register_get("elapsed", move |t: &mut Timestamp| on.within(|| seconds(mono(), *t)));
    let on = handle.clone();
    engine.register_fn("elapsed", move |t: Timestamp| on.within(|| seconds(mono(), t)));
    engine.register_fn("-", seconds);
    engine.register_fn("==", |a: Timestamp, b: Timestamp| a.0 == b.0);
    engine.register_fn("!=", |a: Timestamp, b: Timestamp| a.0 != b.0);
    engine.register_fn("<", |a: Timestamp, b: Timestamp| a.0 < b.0);
    engine.register_fn("<=", |a: Timestamp, b: Timestamp| a.0 <= b.0);
    engine.register_fn(">", |a: Timestamp, b: Timestamp| a.0 > b.0);
    engine.register_fn(">=", |a: Timestamp, b: Timestamp| a.0 >= b.0);
}

fn now_seconds() -> FLOAT {
    (testbench_clock::now().unix_nanos() as f64 / 1e9) as FLOAT
}

fn now_ns() -> ScriptResult<INT> {
    INT::try_from(testbench_clock::now().unix_nanos())
        .map_err(|_| script_error("the clock is out of the range of an integer of nanoseconds"))
}

fn mono() -> Timestamp {
    Timestamp(testbench_clock::instant_now())
}

fn sleep(seconds: FLOAT) -> ScriptResult<()> {
    // As in plain Rhai, nothing is slept for what is no time.
    if seconds.is_nan() || seconds <= 0.0 {
        return Ok(());
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(script_error)?;
    testbench_clock::try_sleep(duration).map_err(script_error)
}

/// The seconds from `earlier` to `later`, which may be negative.
fn seconds(later: Timestamp, earlier: Timestamp) -> FLOAT {
    let (later, earlier) = (later.0.since_origin(), earlier.0.since_origin());
    let seconds = match later.checked_sub(earlier) {
        Some(after) => after.as_secs_f64(),
        None => -(earlier - later).as_secs_f64(),
    };
    seconds as FLOAT
}
