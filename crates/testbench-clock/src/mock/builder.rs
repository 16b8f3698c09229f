//! How a virtual clock is made.

use super::MockClock;
use crate::clock::Reading;
use crate::timeline::{Injection, InjectionError, Settings, Timeline, When};
use crate::{Seed, WallTime};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`MockClock`]; every setting has a default.
///
/// | setting | default |
/// | --- | --- |
/// | [`start`](MockClockBuilder::start) | 2000-01-01T00:00:00Z |
/// | [`name`](MockClockBuilder::name) | `main` |
/// | [`schedule`](MockClockBuilder::schedule) | [`Schedule::Serial`] |
/// | [`ties`](MockClockBuilder::ties) | in the order in which they became ready |
/// | [`tick_per_read`](MockClockBuilder::tick_per_read) | readings move nothing |
/// | [`resolution`](MockClockBuilder::resolution) | 1 ns for both readings |
/// | [`spin_max`](MockClockBuilder::spin_max) | 33,554,432 readings without a wait |
/// | [`stall_after`](MockClockBuilder::stall_after) | 2 s of real time |
/// | [`inject`](MockClockBuilder::inject) | nothing happens to the wall clock |
/// | [`log`](MockClockBuilder::log) | no log is kept |
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{Clock, MockClock, Reading, Seed, WallTime};
///
/// let clock = MockClock::builder()
///     .start(WallTime::from_rfc3339("2024-02-29T12:00:00Z")?)
///     .ties(Seed::new(1))
///     .resolution(Reading::Wall, Duration::from_millis(1))
///     .build();
/// clock.advance(Duration::from_micros(1_999))?;
/// assert_eq!(clock.wall().to_string(), "2024-02-29T12:00:00.001000000Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes a clock by `build`"]
pub struct MockClockBuilder {
    settings: Settings,
    name: String,
    injections: Vec<(When, Injection, &'static Location<'static>)>,
}

/// 2000-01-01T00:00:00Z.
const START: WallTime = WallTime::from_unix_secs(946_684_800);
/// Under a second of readings in a loop that does nothing else; no program that gets anywhere
/// reads the clock so often without a single wait.
const SPIN_MAX: u64 = 1 << 25;
/// Long enough for a slow machine, short enough for a person who waits for the tests.
const STALL_AFTER: Duration = Duration::from_secs(2);

impl Default for MockClockBuilder {
    fn default() -> Self {
        MockClockBuilder {
            settings: Settings {
                start: START,
                parallel: false,
                ties: None,
                log: false,
                tick_ns: 0,
                wall_resolution_ns: 1,
                mono_resolution_ns: 1,
                spin_max: SPIN_MAX,
                stall_after: STALL_AFTER,
            },
            name: "main".to_owned(),
            injections: Vec::new(),
        }
    }
}

/// In which order participants run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// One at a time, in a fixed order; control passes only at waits and yields. A run with many
    /// participants can be repeated byte for byte.
    #[default]
    Serial,
    /// All that can run do run. Times are correct; the order within an instant is not promised.
    Parallel,
}

impl MockClockBuilder {
    /// Sets the wall time at the origin of monotonic time: 2000-01-01T00:00:00Z by
    /// default.
    pub fn start(mut self, start: WallTime) -> Self {
        self.settings.start = start;
        self
    }

    /// The name of the first participant in reports and logs: `main` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// In which order participants run: [`Schedule::Serial`] by default.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.parallel = schedule == Schedule::Parallel;
        self
    }

    /// Draws the order in which participants that can run at the same instant do so from a seed. By
    /// default they run in the order in which they became ready; of those with the same deadline, the
    /// one that joined first runs first.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use std::time::Duration;
    /// use testbench_clock::{MockClock, Seed, sleep, thread};
    ///
    /// /// In which order four threads wake that sleep equally long.
    /// fn order(seed: u64) -> Vec<u32> {
    ///     let _installed = MockClock::builder().ties(Seed::new(seed)).build().install();
    ///     let woken = Mutex::new(Vec::new());
    ///     thread::scope(|scope| {
    ///         for n in 0..4 {
    ///             let woken = &woken;
    ///             scope.spawn(move || {
    ///                 sleep(Duration::from_secs(1));
    ///                 woken.lock().unwrap().push(n);
    ///             });
    ///         }
    ///     });
    ///     woken.into_inner().unwrap()
    /// }
    /// assert_eq!(order(1), order(1), "a seed gives one order");
    /// assert!((2..20).any(|seed| order(seed) != order(1)), "seeds give several");
    /// ```
    pub fn ties(mut self, seed: Seed) -> Self {
        self.settings.ties = Some(seed);
        self
    }

    /// Each reading moves the clock by `step`, so that a loop which only looks at the clock ends.
    /// Zero, the default: readings move nothing. At most 584 years.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, MockClock};
    ///
    /// let clock = MockClock::builder().tick_per_read(Duration::from_millis(1)).build();
    /// let start = clock.mono();
    /// while clock.mono().duration_since(start) < Duration::from_millis(10) {}
    /// assert!(clock.mono().since_origin() >= Duration::from_millis(10));
    /// ```
    pub fn tick_per_read(mut self, step: Duration) -> Self {
        self.settings.tick_ns = nanos(step);
        self
    }

    /// The step in which readings move, which is also what the clock reports as its resolution: 1
    /// ns by default. Waits stay exact to the nanosecond. Zero counts as 1 ns.
    pub fn resolution(mut self, of: Reading, step: Duration) -> Self {
        let step_ns = nanos(step).max(1);
        match of {
            Reading::Wall => self.settings.wall_resolution_ns = step_ns,
            Reading::Mono => self.settings.mono_resolution_ns = step_ns,
        }
        self
    }

    /// How many readings a participant may make without waiting before it is told that it spins:
    /// 33,554,432 by default.
    pub fn spin_max(mut self, readings: u64) -> Self {
        self.settings.spin_max = readings;
        self
    }

    /// How much real time a [`Role::Host`](crate::Role::Host) participant may be away from the timeline while
    /// all others wait for it: two seconds by default. Ten times as much is given to a participant of
    /// any role that has not begun, and to one that waits for nothing but time while it
    /// [holds time still](crate::Participant::inhibit) itself.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use testbench_clock::{MockClock, Stuck, thread, try_sleep};
    ///
    /// let clock = MockClock::builder().stall_after(Duration::from_millis(20)).build();
    /// let _installed = clock.install();
    /// let (send, receive) = mpsc::channel::<()>();
    /// // Blocks where the timeline cannot see it: `external` is missing around the `recv`.
    /// let worker = thread::spawn(move || receive.recv().is_err());
    /// assert!(matches!(try_sleep(Duration::from_secs(1)), Err(Stuck::Stalled(_))));
    /// drop(send);
    /// # drop(worker);
    /// ```
    pub fn stall_after(mut self, real: Duration) -> Self {
        self.settings.stall_after = real;
        self
    }

    /// Something that happens to the wall clock when the time has come.
    ///
    /// ```
    /// use std::time::Duration;
    /// use testbench_clock::{Clock, Injection, MockClock, MonoTime, When};
    ///
    /// // A wall clock that stands from the first second on.
    /// let clock = MockClock::builder()
    ///     .inject(
    ///         When::Mono(MonoTime::from_nanos(1_000_000_000)),
    ///         Injection::Drift { parts_per_billion: -1_000_000_000 },
    ///     )
    ///     .build();
    /// clock.advance(Duration::from_secs(3600))?;
    /// assert_eq!(clock.wall().to_string(), "2000-01-01T00:00:01Z");
    /// # Ok::<(), testbench_clock::ClockError>(())
    /// ```
    #[track_caller]
    pub fn inject(mut self, when: When, injection: Injection) -> Self {
        self.injections.push((when, injection, Location::caller()));
        self
    }

    /// Keeps a log of everything that happens; see [`MockClock::log`]. Readings then take a lock.
    pub fn log(mut self) -> Self {
        self.settings.log = true;
        self
    }

    /// The clock, as its first participant sees it: the thread that builds it, by convention.
    ///
    /// # Panics
    ///
    /// If an injection makes no sense; [`MockClockBuilder::try_build`] returns that.
    #[track_caller]
    pub fn build(self) -> Arc<MockClock> {
        match self.try_build() {
            Ok(clock) => clock,
            Err(error) => panic!("mock clock: {error}"),
        }
    }

    /// The clock, as its first participant sees it.
    ///
    /// # Errors
    ///
    /// If an injection makes no sense.
    #[track_caller]
    pub fn try_build(self) -> Result<Arc<MockClock>, InjectionError> {
        let timeline = Timeline::new(self.settings);
        let clock = timeline.first(&self.name, Location::caller());
        for (when, injection, site) in self.injections {
            clock.inject_from(Some(when), injection, site)?;
        }
        Ok(clock)
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_that_are_documented_are_the_defaults() {
        let settings = MockClock::builder().settings;
        assert_eq!(settings.spin_max, 33_554_432);
        assert_eq!(settings.stall_after, Duration::from_secs(2));
    }
}
