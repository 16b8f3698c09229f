//! Behaviour of the timeline with several participants.

mod closing;
mod ends;
mod foreign;
mod log;
mod resolution;
mod spinning;
mod together;
mod waiting;
mod wall;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{Clock, MockClockBuilder, MonoTime, Stuck, Wait, Woke, thread};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn mono(n: u64) -> MonoTime {
    MonoTime::from_nanos(n)
}

fn until(clock: &dyn Clock, deadline: MonoTime) -> Result<Woke, Stuck> {
    clock.wait(Wait { deadline: Some(deadline), on: &[], what: &"a test" })
}

/// Blocks where the timeline does not see it.
fn really_block(ms: u64) {
    crate::audit::real::sleep(Duration::from_millis(ms), "a test of real blocking");
}

/// The steps of the participants of a test, with the time of each entry.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<(u64, String)>>>);

impl Trace {
    fn note(&self, what: impl Into<String>) {
        let at = crate::instant_now().nanos();
        self.0.lock().unwrap().push((at, what.into()));
    }

    fn take(&self) -> String {
        let entries = std::mem::take(&mut *self.0.lock().unwrap());
        let lines: Vec<_> = entries.into_iter().map(|(at, what)| format!("{at} {what}")).collect();
        lines.join("; ")
    }
}

/// Runs sleepers side by side and tells in which order they woke.
fn wake_order(builder: MockClockBuilder, delays_ns: &[u64]) -> String {
    let clock = builder.build();
    let _installed = clock.install();
    let trace = Trace::default();
    thread::scope(|scope| {
        for (i, delay) in delays_ns.iter().enumerate() {
            let trace = trace.clone();
            scope.spawn(move || {
                crate::sleep(Duration::from_nanos(*delay));
                trace.note(i.to_string());
            });
        }
    });
    trace.take()
}
