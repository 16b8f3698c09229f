//! The clocks.

use testbench_clock::Reading;
use testbench_overlay::Errno;

use super::call::Call;
use super::types::ClockId;
use crate::kernel::Result;

pub(super) fn res_get(cx: &mut Call<'_>, id: ClockId) -> Result<u64> {
    let reading = match id {
        ClockId::Realtime => Reading::Wall,
        ClockId::Monotonic | ClockId::ProcessCputime | ClockId::ThreadCputime => Reading::Mono,
    };
    let resolution = cx.process.clock().resolution(reading);
    Ok(u64::try_from(resolution.as_nanos()).unwrap_or(u64::MAX))
}

/// The precision is a hint that a reading may be cheaper and less exact; no reading is.
///
/// Computing takes no virtual time, so a clock of CPU time that counted only computing would stand
/// still for ever, and a program that spins on it would never end. Both CPU clocks therefore show
/// the time since the process started.
#[inline]
pub(super) fn time_get(cx: &mut Call<'_>, id: ClockId, _precision: u64) -> Result<u64> {
    let clock = cx.process.clock();
    match id {
        ClockId::Realtime => {
            Ok(u64::try_from(clock.wall().unix_nanos()).map_err(|_| Errno::Overflow)?)
        }
        ClockId::Monotonic => Ok(clock.mono().nanos()),
        ClockId::ProcessCputime | ClockId::ThreadCputime => {
            let since = clock.mono().duration_since(cx.process.started());
            Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        }
    }
}
