//! The clock of a session that has ended, as a detached thread still sees it.

use crate::clock::{Clock, External, Reading, Role, Stuck, Wait, Woke};
use crate::{Ended, Event, Lifetime, Listener, MockClock, MonoTime, WallTime};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Stands still at the last reading; every wait fails with the session's end.
#[derive(Clone, Debug)]
pub(crate) struct ClosedClock {
    pub(crate) wall: WallTime,
    pub(crate) mono: MonoTime,
    pub(crate) ended: Ended,
    pub(crate) lifetime: Lifetime,
}

impl ClosedClock {
    fn stuck(&self) -> Stuck {
        self.lifetime.count_late_use();
        Stuck::Cancelled(self.ended.to_string().into())
    }
}

impl Clock for ClosedClock {
    fn wall(&self) -> WallTime {
        self.lifetime.count_late_use();
        self.wall
    }

    fn mono(&self) -> MonoTime {
        self.lifetime.count_late_use();
        self.mono
    }

    fn resolution(&self, _: Reading) -> Duration {
        Duration::from_nanos(1)
    }

    fn mono_at(&self, wall: WallTime) -> Option<MonoTime> {
        (wall <= self.wall).then_some(self.mono)
    }

    fn wall_set(&self) -> Listener {
        Event::new().listen()
    }

    fn check(&self) -> Result<(), Stuck> {
        Err(self.stuck())
    }

    fn wait(&self, _: Wait<'_>) -> Result<Woke, Stuck> {
        Err(self.stuck())
    }

    fn yield_now(&self) -> Result<(), Stuck> {
        Err(self.stuck())
    }

    fn park(&self, _: Wait<'_>, waker: &Waker) {
        waker.wake_by_ref();
    }

    fn rouse(&self) {}

    fn unpark(&self) -> Result<(), Stuck> {
        Err(self.stuck())
    }

    fn external(&self, _: &dyn fmt::Display) -> External {
        External::nothing()
    }

    fn inhibit(&self, _: &dyn fmt::Display) -> External {
        External::nothing()
    }

    fn join(&self, _: &str, _: Role) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    fn begin(&self) -> Result<(), Stuck> {
        Err(self.stuck())
    }

    fn leave(&self) {}

    fn lend(&self, _: &str) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    fn cancel(&self, _: &str) {}

    fn as_mock(&self) -> Option<&MockClock> {
        None
    }

    fn is_mocked(&self) -> bool {
        true
    }
}
