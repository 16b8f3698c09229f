//! `now`, `now_ns`, `sleep` and `timestamp`.
//!
//! A timestamp stays a value of Rhai's own type, so Rhai's operators take it. Only the two functions
//! that read the clock are replaced.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ::rhai::{Engine, FLOAT, INT};

use super::{ScriptResult, script_error};
use crate::vm::Handle;

/// The timestamp at the origin of every session's monotonic clock. It is a century away, so that a
/// script may count back from it.
#[expect(clippy::disallowed_methods, reason = "only its distance from others is seen")]
static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(century).unwrap_or(now)
});

pub(super) fn register(engine: &mut Engine, handle: &Handle) {
    let on = handle.clone();
    engine.register_fn("now", move || on.within(now_seconds));
    let on = handle.clone();
    engine.register_fn("now_ns", move || on.within(now_ns));
    let on = handle.clone();
    engine.register_fn("sleep", move |seconds: FLOAT| on.within(|| sleep(seconds)));
    let on = handle.clone();
    engine.register_fn("sleep", move |seconds: INT| on.within(|| sleep(seconds as FLOAT)));
    let on = handle.clone();
    engine.register_fn("timestamp", move || on.within(timestamp));
    let on = handle.clone();
    engine.register_get("elapsed", move |since: &mut Instant| on.within(|| elapsed(*since)));
    let on = handle.clone();
    engine.register_fn("elapsed", move |since: Instant| on.within(|| elapsed(since)));
}

fn timestamp() -> ScriptResult<Instant> {
    let now = ORIGIN.checked_add(testbench_clock::instant_now().since_origin());
    now.ok_or_else(|| script_error("the clock is out of the range of timestamps"))
}

fn elapsed(since: Instant) -> ScriptResult<FLOAT> {
    let elapsed = timestamp()?.checked_duration_since(since);
    let elapsed = elapsed.ok_or_else(|| script_error("Time-stamp is later than now"))?;
    Ok(elapsed.as_secs_f64() as FLOAT)
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
