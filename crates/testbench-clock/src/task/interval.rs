//! Ticks at a fixed distance.

use super::driver::Driver;
use super::sleep::Sleep;
use crate::MonoTime;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Ticks now, and then every `period`, without drift. The behaviour after a tick that comes late is
/// the [`MissedTickBehavior`]: by default, late ticks follow each other until they have caught up.
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Driver::clock_here().mono_exact(), period)
}

/// Ticks at `start`, and then every `period`; see [`interval`].
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: MonoTime, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period must not be zero");
    Interval { next: super::sleep_until(start), period, missed: MissedTickBehavior::Burst }
}

/// When the next tick is, after one that came late. Any lateness counts, if only of a nanosecond.
/// The three are those of `tokio::time`.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::task::{MissedTickBehavior, block_on, interval};
/// use testbench_clock::{MockClock, instant_now, sleep};
///
/// /// When the ticks after a late one come, with a period of 10 ns.
/// fn ticks(behavior: MissedTickBehavior) -> [u64; 3] {
///     let _installed = MockClock::builder().build().install();
///     let run = async {
///         let mut ticks = interval(Duration::from_nanos(10));
///         ticks.set_missed_tick_behavior(behavior);
///         ticks.tick().await;
///         sleep(Duration::from_nanos(25)); // busy, past two ticks
///         ticks.tick().await; // at once, at 25
///         let mut at = [0; 3];
///         for at in &mut at {
///             ticks.tick().await;
///             *at = instant_now().nanos();
///         }
///         at
///     };
///     block_on(run).unwrap()
/// }
/// assert_eq!(ticks(MissedTickBehavior::Burst), [25, 30, 40]);
/// assert_eq!(ticks(MissedTickBehavior::Delay), [35, 45, 55]);
/// assert_eq!(ticks(MissedTickBehavior::Skip), [30, 40, 50]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// As planned from the start: ticks follow each other at once until they have caught up.
    #[default]
    Burst,
    /// A period after the late tick came: all later ticks are shifted.
    Delay,
    /// At the next instant that was planned from the start and is not past: ticks are left out.
    Skip,
}

impl MissedTickBehavior {
    /// `None` past the range of the clock.
    fn next(self, planned: MonoTime, now: MonoTime, period: Duration) -> Option<MonoTime> {
        match self {
            MissedTickBehavior::Burst => planned.checked_add(period),
            MissedTickBehavior::Delay => now.max(planned).checked_add(period),
            MissedTickBehavior::Skip => {
                let late_ns = now.duration_since(planned).as_nanos();
                // Less than a period, so it fits.
                let into_period_ns = u64::try_from(late_ns % period.as_nanos()).unwrap_or(0);
                let ahead = period - Duration::from_nanos(into_period_ns);
                now.max(planned).checked_add(ahead)
            }
        }
    }
}

/// Ticks at a fixed distance; made by [`interval`] and [`interval_at`].
#[derive(Debug)]
pub struct Interval {
    next: Sleep,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick and returns the instant for which it was planned.
    ///
    /// Dropping the future before it is ready loses no tick.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled on a thread without a driver.
    pub async fn tick(&mut self) -> MonoTime {
        poll_fn(|task| self.poll_tick(task)).await
    }

    /// [`Interval::tick`] for futures and streams that are written by hand.
    ///
    /// # Panics
    ///
    /// On a thread without a driver.
    pub fn poll_tick(&mut self, task: &mut Context<'_>) -> Poll<MonoTime> {
        ready!(Pin::new(&mut self.next).poll(task));
        // One that is ready has a deadline.
        let planned = self.next.deadline().unwrap_or(MonoTime::MAX);
        self.next.plan(self.missed.next(planned, Driver::clock_here().mono_exact(), self.period));
        Poll::Ready(planned)
    }

    /// The next tick comes a period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// The next tick comes now.
    pub fn reset_immediately(&mut self) {
        self.reset_after(Duration::ZERO);
    }

    /// The next tick comes after `d`, the others in distances of the period from that.
    pub fn reset_after(&mut self, d: Duration) {
        self.next.plan(Driver::clock_here().mono_exact().checked_add(d));
    }

    /// The next tick comes at `at`, the others in distances of the period from that.
    pub fn reset_at(&mut self, at: MonoTime) {
        self.next.plan(Some(at));
    }

    /// The distance of ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns what happens after a late tick.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets what happens after a late tick.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_after_a_late_one() {
        use MissedTickBehavior::{Burst, Delay, Skip};
        let next = |behavior: MissedTickBehavior, planned, now| {
            let at = MonoTime::from_nanos;
            behavior.next(at(planned), at(now), Duration::from_nanos(10)).map(MonoTime::nanos)
        };
        for (now, burst, delay, skip) in
            [(100, 110, 110, 110), (101, 110, 111, 110), (110, 110, 120, 120), (137, 110, 147, 140)]
        {
            let all = [Burst, Delay, Skip].map(|behavior| next(behavior, 100, now));
            assert_eq!(all, [Some(burst), Some(delay), Some(skip)], "at {now}");
        }
        assert_eq!(next(Skip, 100, 90), Some(110), "not late at all");
        for behavior in [Burst, Delay, Skip] {
            assert_eq!(next(behavior, u64::MAX - 9, u64::MAX - 9), None);
        }
    }
}
