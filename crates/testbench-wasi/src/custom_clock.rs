//! A clock of which some functions are one's own.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use testbench_clock::{
    Clock, External, Listener, MockClock, MonoTime, Reading, Role, Stuck, Wait, WallTime, Woke,
};

/// A clock for a guest that differs from another clock in single functions: what the wall shows,
/// how a sleep passes. The others are those of the clock below.
///
/// Most tests want none of this: a [`MockClock`] has a start, resolutions, a tick, and a wall that
/// can be set, slewed and stopped. This is for what it has not.
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

/// The functions that are one's own.
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

    /// The same functions over another participant.
    fn with(&self, below: Arc<dyn Clock>) -> Arc<dyn Clock> {
        Arc::new(CustomClock { below, own: self.own.clone() })
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

    fn check(&self) -> Result<(), Stuck> {
        self.below.check()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        let (Some(sleep), Some(deadline)) = (&self.own.sleep, wait.deadline) else {
            return self.below.wait(Wait { deadline: self.below(wait.deadline), ..wait });
        };
        let notified = || wait.on.iter().position(Listener::is_notified).map(Woke::Notified);
        if let Some(woke) = notified() {
            return Ok(woke);
        }
        self.below.check()?;
        let left = self.left(deadline);
        if !left.is_zero() {
            sleep(left);
        }
        self.below.check()?;
        Ok(notified().unwrap_or(Woke::Deadline))
    }

    fn yield_now(&self) -> Result<(), Stuck> {
        match &self.own.yield_now {
            Some(yield_now) => {
                yield_now();
                self.below.check()
            }
            None => self.below.yield_now(),
        }
    }

    fn park(&self, wait: Wait<'_>, waker: &Waker) {
        self.below.park(Wait { deadline: self.below(wait.deadline), ..wait }, waker);
    }

    fn rouse(&self) {
        self.below.rouse();
    }

    fn unpark(&self) -> Result<(), Stuck> {
        self.below.unpark()
    }

    fn external(&self, why: &dyn fmt::Display) -> External {
        self.below.external(why)
    }

    fn inhibit(&self, why: &dyn fmt::Display) -> External {
        self.below.inhibit(why)
    }

    fn join(&self, name: &str, role: Role) -> Arc<dyn Clock> {
        self.with(self.below.join(name, role))
    }

    fn begin(&self) -> Result<(), Stuck> {
        self.below.begin()
    }

    fn leave(&self) {
        self.below.leave();
    }

    fn lend(&self, name: &str) -> Arc<dyn Clock> {
        self.with(self.below.lend(name))
    }

    fn cancel(&self, why: &str) {
        self.below.cancel(why);
    }

    fn as_mock(&self) -> Option<&MockClock> {
        self.below.as_mock()
    }
}

impl fmt::Debug for CustomClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomClock").field("below", &self.below).finish_non_exhaustive()
    }
}
