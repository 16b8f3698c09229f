//! The clocks.

use testbench_clock::{MonoTime, Reading};
use testbench_overlay::Errno;

use super::call::Call;
use super::types::ClockId;
use crate::kernel::Result;

/// The reading of a guest's monotonic clock at the origin of the timeline: one second. Programs may
/// count on a clock that has run for a while; Go's runtime ends at a reading of zero.
const MONOTONIC_ORIGIN_NS: u64 = 1_000_000_000;

pub(super) fn res_get(cx: &mut Call<'_>, id: ClockId) -> Result<u64> {
    let reading = match id {
        ClockId::Realtime => Reading::Wall,
        ClockId::Monotonic | ClockId::ProcessCputime | ClockId::ThreadCputime => Reading::Mono,
    };
    let resolution = cx.process.clock.resolution(reading);
    Ok(u64::try_from(resolution.as_nanos()).unwrap_or(u64::MAX))
}

/// The precision is a hint that a reading may be cheaper and less exact; no reading is.
///
/// Computing takes no virtual time, so a clock of CPU time that counted only computing would stand
/// still for ever, and a program that spins on it would never end. Both CPU clocks therefore show
/// the time since the process started.
///
/// A guest that only ever reads is ended by the clock's spin guard: virtual time would stand still
/// for it.
#[inline(always)]
pub(super) fn time_get(cx: &mut Call<'_>, id: ClockId, _precision: u64) -> Result<u64> {
    let clock = &cx.process.clock;
    let shown = match id {
        ClockId::Realtime => {
            u64::try_from(clock.wall().unix_nanos()).map_err(|_| Errno::Overflow)?
        }
        ClockId::Monotonic => clock.mono().nanos().saturating_add(MONOTONIC_ORIGIN_NS),
        ClockId::ProcessCputime | ClockId::ThreadCputime => {
            let since = clock.mono().duration_since(cx.process.started);
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        }
    };
    cx.process.check_place()?;
    Ok(shown)
}

/// The instant of the timeline at which the guest's monotonic clock shows `shown`.
pub(super) fn monotonic_instant(shown: u64) -> MonoTime {
    MonoTime::from_nanos(shown.saturating_sub(MONOTONIC_ORIGIN_NS))
}
