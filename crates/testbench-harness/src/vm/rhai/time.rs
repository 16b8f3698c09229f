//! `now`, `now_ns`, `sleep` and `timestamp`.

use std::time::Duration;

use ::rhai::{Engine, FLOAT, INT};

use super::{ScriptResult, script_error};
use crate::vm::Handle;

/// A value of `timestamp()`, in the place of Rhai's own, which reads the real clock: nanoseconds
/// since the origin of the session's monotonic clock. A script may count back before that.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Timestamp(i128);

impl Timestamp {
    fn now() -> Timestamp {
        let since_origin = testbench_clock::instant_now().since_origin();
        Timestamp(i128::try_from(since_origin.as_nanos()).unwrap_or(i128::MAX))
    }

    /// Fails as in Rhai if the seconds are out of range.
    fn plus(self, seconds: FLOAT) -> ScriptResult<Timestamp> {
        if seconds.abs() > SECONDS_MAX {
            return Err(script_error(format_args!(
                "Timestamp overflow when adding {seconds} second(s)"
            )));
        }
        Ok(Timestamp(self.0.saturating_add((seconds * 1e9) as i128)))
    }

    /// The seconds since `earlier`, which may be negative.
    fn since(self, earlier: Timestamp) -> FLOAT {
        ((self.0 - earlier.0) as f64 / 1e9) as FLOAT
    }

    fn elapsed(self) -> ScriptResult<FLOAT> {
        let elapsed = Timestamp::now().since(self);
        if elapsed < 0.0 { Err(script_error("Time-stamp is later than now")) } else { Ok(elapsed) }
    }
}

/// As in Rhai, the largest integer.
const SECONDS_MAX: FLOAT = INT::MAX as FLOAT;

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
    engine.register_fn("timestamp", move || on.within(Timestamp::now));
    let on = handle.clone();
    engine.register_get("elapsed", move |t: &mut Timestamp| on.within(|| t.elapsed()));
    let on = handle.clone();
    engine.register_fn("elapsed", move |t: Timestamp| on.within(|| t.elapsed()));
    for name in ["to_string", "to_debug"] {
        engine.register_fn(name, |_: &mut Timestamp| "<timestamp>");
    }
    engine.register_fn("-", Timestamp::since);
    for (name, assign, sign) in [("+", "+=", 1.0), ("-", "-=", -1.0)] {
        let (float, int) = (move |s: FLOAT| sign * s, move |s: INT| sign * s as FLOAT);
        engine.register_fn(name, move |t: Timestamp, s: FLOAT| t.plus(float(s)));
        engine.register_fn(name, move |t: Timestamp, s: INT| t.plus(int(s)));
        let add = |t: &mut Timestamp, seconds| t.plus(seconds).map(|sum| *t = sum);
        engine.register_fn(assign, move |t: &mut Timestamp, s: FLOAT| add(t, float(s)));
        engine.register_fn(assign, move |t: &mut Timestamp, s: INT| add(t, int(s)));
    }
    engine.register_fn("==", |a: Timestamp, b: Timestamp| a == b);
    engine.register_fn("!=", |a: Timestamp, b: Timestamp| a != b);
    engine.register_fn("<", |a: Timestamp, b: Timestamp| a < b);
    engine.register_fn("<=", |a: Timestamp, b: Timestamp| a <= b);
    engine.register_fn(">", |a: Timestamp, b: Timestamp| a > b);
    engine.register_fn(">=", |a: Timestamp, b: Timestamp| a >= b);
}

fn now_seconds() -> FLOAT {
    (testbench_clock::now().unix_nanos() as f64 / 1e9) as FLOAT
}

fn now_ns() -> ScriptResult<INT> {
    INT::try_from(testbench_clock::now().unix_nanos())
        .map_err(|_| script_error("the clock is out of the range of an integer of nanoseconds"))
}

fn sleep(seconds: FLOAT) -> ScriptResult<()> {
    // As in plain Rhai, a sleep for no time returns at once.
    if seconds.is_nan() || seconds <= 0.0 {
        return Ok(());
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(script_error)?;
    testbench_clock::try_sleep(duration).map_err(script_error)
}
