//! Waiting for several things at once: the one place for every face of the kernel.

use std::fmt;
use std::sync::Arc;

use testbench_clock::{MonoTime, WallTime, Woke};
use testbench_overlay::Errno;

use super::fail::Result;
use super::open::Open;
use super::pipe::Ready;
use super::process::Process;
use crate::exit::Exit;

/// One thing to wait for.
pub(crate) enum Interest {
    /// A read of this descriptor would not wait.
    Read(u32, Arc<Open>),
    /// A write to this descriptor would not wait.
    Write(u32, Arc<Open>),
    /// An instant has come.
    Until(When),
    /// It cannot be waited for, which is known at once.
    Failed(Errno),
}

/// An instant, on one of the two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Mono(MonoTime),
    Wall(WallTime),
}

/// The state of one [`Interest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Ready(Ready),
    /// The instant has come.
    Due,
    /// It cannot be waited for.
    Failed(Errno),
}

/// Waits until one of `interests` has happened, and returns all that have by then, each with its
/// place, in order.
///
/// If one is ready or due at once, time does not move. Otherwise time moves to the earliest instant,
/// unless a file becomes ready before. A wall instant is looked at again when the wall clock is set. `call` is the guest's name for this.
pub(crate) fn poll(
    process: &Process,
    call: &'static str,
    interests: &[Interest],
) -> Result<Vec<(usize, Happened)>, Exit> {
    let mut now = process.clock.mono();
    let mut yielded = false;
    loop {
        // Listeners first, then the look, so that no change falls between them.
        let mut on: Vec<_> = interests.iter().filter_map(|i| i.open()?.listen()).collect();
        // Other participants decide these, and not only time.
        let on_others = !on.is_empty();
        if interests.iter().any(|i| matches!(i, Interest::Until(When::Wall(_)))) {
            on.push(process.clock.wall_set());
        }
        let deadlines: Vec<Option<MonoTime>> =
            interests.iter().map(|i| i.deadline(process)).collect();
        let happened: Vec<(usize, Happened)> = interests
            .iter()
            .enumerate()
            .filter_map(|(i, interest)| Some((i, interest.look(deadlines[i], now)?)))
            .collect();
        let earliest = deadlines.iter().flatten().min().copied();
        if !happened.is_empty() {
            let only_due = happened.iter().all(|(_, h)| *h == Happened::Due);
            if yielded || !(only_due || on_others) {
                return Ok(happened);
            }
            // A look that takes no time: let the others run first, or a loop of such looks would
            // keep them from ever making a file ready.
            yielded = true;
            process.yield_now()?;
            continue;
        }
        yielded = true;
        let what = Waiting { call, interests };
        if interests.iter().filter_map(Interest::open).any(Open::is_outside) {
            process.wait_outside(earliest, on, &what)?;
            now = now.max(process.clock.mono());
        } else if process.wait(earliest, &on, &what)? == Woke::Deadline {
            // A clock with a coarse reading may show less than the instant that has come.
            now = process.clock.mono().max(earliest.unwrap_or(now));
        } else {
            now = now.max(process.clock.mono());
        }
    }
}

/// Waits for an instant and nothing else, as [`poll`] does for one interest; programs do little else
/// as often.
#[inline(always)]
pub(crate) fn sleep(process: &Process, now: MonoTime, until: MonoTime) -> Result<(), Exit> {
    if until <= now {
        // Counts as a reading, as every look that takes no time: a loop of them is found out.
        process.clock.mono();
        return Ok(process.yield_now()?);
    }
    process.wait(Some(until), &[], &"sleep").map(drop)
}

impl Interest {
    fn look(&self, deadline: Option<MonoTime>, now: MonoTime) -> Option<Happened> {
        let looked = match self {
            Interest::Read(_, open) => open.look_to_read(),
            Interest::Write(_, open) => open.look_to_write(),
            Interest::Until(_) => {
                return deadline.filter(|&d| d <= now).map(|_| Happened::Due);
            }
            Interest::Failed(errno) => Err(*errno),
        };
        match looked {
            Ok(ready) => ready.map(Happened::Ready),
            Err(errno) => Some(Happened::Failed(errno)),
        }
    }

    fn deadline(&self, process: &Process) -> Option<MonoTime> {
        match self {
            Interest::Until(When::Mono(instant)) => Some(*instant),
            Interest::Until(When::Wall(instant)) => process.clock.mono_at(*instant),
            _ => None,
        }
    }

    /// The file that it is about, if it is about one.
    fn open(&self) -> Option<&Open> {
        match self {
            Interest::Read(_, open) | Interest::Write(_, open) => Some(open),
            Interest::Until(_) | Interest::Failed(_) => None,
        }
    }
}

/// The interests of a poll, for the report of a deadlock: `poll_oneoff of descriptor 0 to read`.
struct Waiting<'a> {
    call: &'static str,
    interests: &'a [Interest],
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.interests.iter().filter_map(|interest| match interest {
            Interest::Read(fd, _) => Some(format!("descriptor {fd} to read")),
            Interest::Write(fd, _) => Some(format!("descriptor {fd} to write")),
            Interest::Until(_) | Interest::Failed(_) => None,
        });
        let waits: Vec<String> = waits.collect();
        match &waits[..] {
            [] => f.write_str("sleep"),
            _ => write!(f, "{} of {}", self.call, waits.join(", ")),
        }
    }
}
