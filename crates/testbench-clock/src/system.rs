//! The only reader of real time.

use crate::clock::{Clock, Participant, Role, Stuck, Wait, Woke};
use crate::debug::debug_by;
use crate::panics::locked;
use crate::{Armed, Event, Listener, MonoTime, WallTime, Watchdog};
use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Instant, SystemTime};

/// The real clock. Its monotonic readings count from the first use in this process.
#[derive(Clone)]
pub struct SystemClock {
    participant: Arc<RealParticipant>,
}

impl SystemClock {
    /// The real clock as a participant of this name sees it.
    pub fn new(name: &str) -> Self {
        SystemClock {
            participant: Arc::new(RealParticipant {
                name: name.into(),
                cancelled: OnceLock::new(),
                cancel: Event::new(),
                parked: Mutex::default(),
            }),
        }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> WallTime {
        wall_now()
    }

    fn mono(&self) -> MonoTime {
        mono_now()
    }

    fn wait(&self, wait: Wait<'_>) -> Result<Woke, Stuck> {
        let cancel = self.participant.cancel.listen();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        cancel.register(&waker);
        for listener in wait.on {
            listener.register(&waker);
        }
        loop {
            self.check()?;
            if let Some(i) = wait.on.iter().position(Listener::is_notified) {
                return Ok(Woke::Notified(i));
            }
            let now = mono_now();
            match wait.deadline {
                Some(deadline) if deadline <= now => return Ok(Woke::Deadline),
                Some(deadline) => thread::park_timeout(deadline.duration_since(now)),
                None => thread::park(),
            }
        }
    }

    fn participant(&self) -> &dyn Participant {
        self
    }
}

impl Participant for SystemClock {
    fn join(&self, name: &str, _: Role) -> Arc<dyn Clock> {
        Arc::new(SystemClock::new(name))
    }

    fn check(&self) -> Result<(), Stuck> {
        match self.participant.cancelled.get() {
            None => Ok(()),
            Some(why) => Err(Stuck::Cancelled(Arc::clone(why))),
        }
    }

    fn cancel(&self, why: &str) {
        self.participant.cancelled.get_or_init(|| why.into());
        self.participant.cancel.notify();
    }

    fn park(&self, wait: Wait<'_>, waker: &Waker) {
        for listener in wait.on {
            listener.register(waker);
        }
        let cancel = self.participant.cancel.listen();
        cancel.register(waker);
        if self.check().is_err() {
            // Cancelled before it listened.
            return waker.wake_by_ref();
        }
        let ahead = wait.deadline.map(|deadline| deadline.duration_since(mono_now()));
        let armed = ahead.and_then(|ahead| {
            let waker = waker.clone();
            Watchdog::arm(ahead, move || waker.wake()).ok()
        });
        if ahead.is_some() && armed.is_none() {
            // Without a timer thread, an early wake-up makes the executor look again, which is
            // slow; none at all would make it sleep for ever.
            waker.wake_by_ref();
        }
        self.participant.set_parked(Some(Parked { _armed: armed, _cancel: cancel }));
    }

    fn unpark(&self) -> Result<(), Stuck> {
        self.participant.set_parked(None);
        self.check()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

debug_by!([] SystemClock, "SystemClock", |it| { participant: it.participant.name });

#[inline]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the real wall clock")]
pub(crate) fn wall_now() -> WallTime {
    WallTime::from(SystemTime::now())
}

#[inline]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the real monotonic clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

#[inline]
pub(crate) fn mono_now() -> MonoTime {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    // The origin is read before the instant, so that no reading lies before it.
    let origin = *ORIGIN.get_or_init(instant);
    MonoTime::ORIGIN.saturating_add(instant().saturating_duration_since(origin))
}

struct RealParticipant {
    name: Arc<str>,
    cancelled: OnceLock<Arc<str>>,
    cancel: Event,
    parked: Mutex<Option<Parked>>,
}

/// The timer and the listener that wake a parked executor.
struct Parked {
    _armed: Option<Armed>,
    _cancel: Listener,
}

impl RealParticipant {
    fn set_parked(&self, next: Option<Parked>) {
        let mut parked = locked(&self.parked);
        let old = std::mem::replace(&mut *parked, next);
        drop(parked);
        drop(old);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
