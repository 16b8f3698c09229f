//! A clock with some functions replaced.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{
    Clock, Listener, MonoTime, Participant, Reading, Stuck, Wait, WallTime, Woke,
};

/// A clock for a guest that replaces single functions of another clock: the wall reading, or the way
/// that a sleep passes. All others are those of the clock below.
///
/// Most tests need none of this: a [`MockClock`](testbench_clock::MockClock) has a start,
/// resolutions, a tick, and a wall that can be set, stepped and stopped. This is for the rest.
///
/// ```
/// use std::time::Duration;
/// use testbench_clock::{MockClock, WallTime};
/// use testbench_wasi::{CustomClock, GuestSpec, Module};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Always noon, and every sleep is over at once.
/// let noon = WallTime::from_unix_secs(12 * 3600);
/// let clock = CustomClock::over(MockClock::builder().build())
///     .wall(move || noon)
///     .sleep(|_: Duration| {})
///     .build();
/// let module = Module::from_bytes("nothing", wat::parse_str("(module)")?)?;
/// let spec = GuestSpec::new(module).clock(clock);
/// # Ok(())
/// # }
/// ```
#[must_use = "it makes a clock by `build`"]
pub struct CustomClock {
    below: Arc<dyn Clock>,
    own: Own,
}

/// The functions that are replaced.
#[derive(Clone, Default)]
struct Own {
    wall: Option<Arc<dyn Fn() -> WallTime + Send + Sync>>,
    mono: Option<Arc<dyn Fn() -> MonoTime + Send + Sync>>,
    wall_resolution: Option<Duration>,
    mono_resolution: Option<Duration>,
    sleep: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
    yield_now: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl CustomClock {
    /// All functions of `below`, until told otherwise.
    pub fn over(below: Arc<dyn Clock>) -> Self {
        CustomClock { below, own: Own::default() }
    }

    /// The time of day, in place of the clock's below.
    ///
    /// A wait for an absolute time of day ends after the time that is then left, counted from its
    /// beginning.
    pub fn wall(mut self, wall: impl Fn() -> WallTime + Send + Sync + 'static) -> Self {
        self.own.wall = Some(Arc::new(wall));
        self
    }

    /// The monotonic reading, in place of the clock's below. It must not go back.
    pub fn mono(mut self, mono: impl Fn() -> MonoTime + Send + Sync + 'static) -> Self {
        self.own.mono = Some(Arc::new(mono));
        self
    }

    /// The resolution that a guest is told of. It changes no reading; for that, build a mock clock
    /// with [`resolution`](testbench_clock::MockClockBuilder::resolution).
    pub fn resolution(mut self, of: Reading, step: Duration) -> Self {
        match of {
            Reading::Wall => self.own.wall_resolution = Some(step),
            Reading::Mono => self.own.mono_resolution = Some(step),
        }
        self
    }

    /// Called for every wait that has an end, with the time that is left, in place of waiting. When
    /// it returns, the wait is over: anything else that was waited for is looked at only before and
    /// after it.
    pub fn sleep(mut self, sleep: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.own.sleep = Some(Arc::new(sleep));
        self
    }

    /// Called when a guest yields, in place of letting others run.
    pub fn yield_now(mut self, yield_now: impl Fn() + Send + Sync + 'static) -> Self {
        self.own.yield_now = Some(Arc::new(yield_now));
        self
    }

    /// The clock.
    pub fn build(self) -> Arc<dyn Clock> {
        Arc::new(self)
    }

    /// How long it is until `deadline`.
    fn left(&self, deadline: MonoTime) -> Duration {
        deadline.duration_since(self.mono_exact())
    }

    /// The instant of the clock below that is as far away as `deadline` is here.
    fn below(&self, deadline: Option<MonoTime>) -> Option<MonoTime> {
        match (&self.own.mono, deadline) {
            (Some(_), Some(deadline)) => {
                Some(self.below.mono_exact().saturating_add(self.left(deadline)))
            }
            _ => deadline,
        }
    }
}

impl Clock for CustomClock {
    fn wall(&self) -> WallTime {
        self.own.wall.as_ref().map_or_else(|| self.below.wall(), |wall| wall())
    }

    fn mono(&self) -> MonoTime {
        self.own.mono.as_ref().map_or_else(|| self.below.mono(), |mono| mono())
    }

    fn mono_exact(&self) -> MonoTime {
        self.own.mono.as_ref().map_or_else(|| self.below.mono_exact(), |mono| mono())
    }

    fn resolution(&self, of: Reading) -> Duration {
        let own = match of {
            Reading::Wall => self.own.wall_resolution,
            Reading::Mono => self.own.mono_resolution,
        };
        own.unwrap_or_else(|| self.below.resolution(of))
    }

    fn mono_at(&self, wall: WallTime) -> Option<MonoTime> {
        if self.own.wall.is_none() && self.own.mono.is_none() {
            return self.below.mono_at(wall);
        }
        let left_ns = wall.unix_nanos().saturating_sub(self.wall().unix_nanos()).max(0);
        let left = Duration::from_nanos(u64::try_from(left_ns).unwrap_or(u64::MAX));
        Some(self.mono().saturating_add(left))
    }

    fn wall_set(&self) -> Listener {
        self.below.wall_set()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        let (Some(sleep), Some(deadline)) = (&self.own.sleep, wait.deadline) else {
            return self.below.wait(Wait { deadline: self.below(wait.deadline), ..wait });
        };
        let notified = || wait.on.iter().position(Listener::is_notified).map(Woke::Notified);
        if let Some(woke) = notified() {
            return Ok(woke);
        }
        self.below.participant().check()?;
        let left = self.left(deadline);
        if !left.is_zero() {
            sleep(left);
        }
        self.below.participant().check()?;
        Ok(notified().unwrap_or(Woke::Deadline))
    }

    fn yield_now(&self) -> Result<(), Stuck> {
        match &self.own.yield_now {
            Some(yield_now) => {
                yield_now();
                self.below.participant().check()
            }
            None => self.below.yield_now(),
        }
    }

    fn participant(&self) -> &dyn Participant {
        self.below.participant()
    }

    fn wrap(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        Arc::new(CustomClock { below: self.below.wrap(clock), own: self.own.clone() })
    }
}

impl fmt::Debug for CustomClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomClock").field("below", &self.below).finish_non_exhaustive()
    }
}
