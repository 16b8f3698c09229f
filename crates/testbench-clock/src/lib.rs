//! One virtual timeline that host code, guests, replayed processes and async tasks share.
#![forbid(unsafe_code)]

pub mod ambient;
pub mod audit;
mod clock;
mod closed;
mod context;
mod lifetime;
pub mod log;
mod mock;
mod random;
mod scope;
mod signal;
mod system;
pub mod task;
pub mod thread;
mod time;
mod timeline;
#[cfg(feature = "tokio")]
pub mod tokio;
mod wall;
mod watchdog;

pub use ambient::{
    ClockError, advance, current, external, install, install_for, instant_now, is_mocked, now, now_ms, set_wall,
    sleep, sleep_until, try_sleep,
};
pub use clock::{Clock, External, Reading, Role, Stuck, StuckReport, Wait, Waiting, Woke};
pub use context::{Context, EnterGuard, FutureExt, WithContext};
pub use lifetime::{Ended, Lifetime};
pub use mock::{MockClock, MockClockBuilder, Schedule};
pub use random::{RandomStream, Seed};
pub use scope::{Guard, Lookup, Scope};
pub use signal::{Listener, Signal};
pub use system::SystemClock;
pub use time::{MonoTime, WallTime};
pub use wall::{Injection, InjectionError, Shift, When};
pub use watchdog::{Armed, Watchdog};
