//! The clock of a session that has ended, as a detached thread still sees it.

use crate::clock::{Clock, Participant, Role, Stuck, Wait, Woke};
use crate::{Ended, Lifetime, MonoTime, WallTime};
use std::any::Any;
use std::sync::Arc;
use std::task::Waker;

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

    fn wait(&self, _: Wait<'_>) -> Result<Woke, Stuck> {
        Err(self.stuck())
    }

    fn participant(&self) -> &dyn Participant {
        self
    }

    fn mono_at(&self, wall: WallTime) -> Option<MonoTime> {
        (wall <= self.wall).then_some(self.mono)
    }
}

impl Participant for ClosedClock {
    fn join(&self, _: &str, _: Role) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    fn check(&self) -> Result<(), Stuck> {
        Err(self.stuck())
    }

    fn cancel(&self, _: &str) {}

    fn park(&self, _: Wait<'_>, waker: &Waker) {
        waker.wake_by_ref();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
