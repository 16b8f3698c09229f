//! `poll_oneoff`: subscriptions in, events out; the waiting is the kernel's.

use std::time::Duration;

use testbench_clock::{MonoTime, WallTime};
use testbench_overlay::Errno;

use super::call::{Abi, Call, Decode};
use super::clock::monotonic_instant;
use super::errno;
use super::types::{ClockId, Ptr};
use crate::kernel::{Happened, Interest, Open, Ready, Result, Rights, When, poll, sleep};

/// How many subscriptions one call may have; more is `EINVAL`. Far above any descriptor table, so
/// that only a mistake or an attack meets it.
const SUBSCRIPTIONS_MAX: u32 = 65_536;

const EVENT_BYTES: u32 = 32;
const ABSTIME: u16 = 1;

const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// Where the fields of a subscription lie. Preview 0 has one more for clocks, a name for the
/// timer that nothing uses.
struct Layout {
    bytes: u32,
    clock_id: u32,
    timeout: u32,
    flags: u32,
}

/// Where the kind of a subscription and its descriptor lie, in both versions.
const EVENT_TYPE: u32 = 8;
const DESCRIPTOR: u32 = 16;

impl Abi {
    const fn subscription(self) -> Layout {
        match self {
            Abi::Unstable => Layout { bytes: 56, clock_id: 24, timeout: 32, flags: 48 },
            Abi::Snapshot1 => Layout { bytes: 48, clock_id: 16, timeout: 24, flags: 40 },
        }
    }
}

struct Subscription {
    userdata: [u8; 8],
    event_type: u8,
    interest: Interest,
}

pub(super) fn poll_oneoff(
    cx: &mut Call<'_>,
    subscriptions: Ptr,
    events: Ptr,
    count: u32,
) -> Result<u32> {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Inval.into());
    }
    cx.charge(count.into())?;
    let layout = cx.abi.subscription();
    cx.mem.check(subscriptions.0, count, layout.bytes)?;
    cx.mem.check(events.0, count, EVENT_BYTES)?;
    let now = cx.process.clock.mono_exact();
    if count == 1
        && let Some(until) = lone_sleep(cx, subscriptions.0, now)?
    {
        sleep(cx.process, now, until)?;
        let userdata = cx.mem.get(subscriptions.0)?;
        put_event(cx, events.0, (userdata, CLOCK), Happened::Due)?;
        return Ok(1);
    }
    let mut subscribed = Vec::with_capacity(count as usize);
    let mut interests = Vec::with_capacity(count as usize);
    for i in 0..count {
        let one = subscription(cx, subscriptions.0 + i * layout.bytes, now)?;
        subscribed.push((one.userdata, one.event_type));
        interests.push(one.interest);
    }
    let happened = poll(cx.process, "poll_oneoff", &interests)?;
    for (place, (i, what)) in (0_u32..).zip(&happened) {
        put_event(cx, events.0 + place * EVENT_BYTES, subscribed[*i], *what)?;
    }
    Ok(happened.len() as u32)
}

/// The instant until which the subscription sleeps, if it is a sleep on the monotonic timeline.
#[inline(always)]
fn lone_sleep(cx: &Call<'_>, at: u32, now: MonoTime) -> Result<Option<MonoTime>> {
    if cx.mem.get(at + EVENT_TYPE)? != [CLOCK] {
        return Ok(None);
    }
    match clock(cx, at, now)? {
        Interest::Until(When::Mono(until)) => Ok(Some(until)),
        _ => Ok(None),
    }
}

fn subscription(cx: &Call<'_>, at: u32, now: MonoTime) -> Result<Subscription> {
    let [event_type] = cx.mem.get(at + EVENT_TYPE)?;
    let interest = match event_type {
        CLOCK => clock(cx, at, now)?,
        FD_READ | FD_WRITE => {
            descriptor(cx, u32::from_le_bytes(cx.mem.get(at + DESCRIPTOR)?), event_type)
        }
        _ => return Err(Errno::Inval.into()),
    };
    Ok(Subscription { userdata: cx.mem.get(at)?, event_type, interest })
}

/// Reads each field by itself: a copy of the whole, of which fields are then read, takes as long as
/// the sleep.
#[inline(always)]
fn clock(cx: &Call<'_>, at: u32, now: MonoTime) -> Result<Interest> {
    let layout = cx.abi.subscription();
    let id = u32::from_le_bytes(cx.mem.get(at + layout.clock_id)?);
    let timeout = u64::from_le_bytes(cx.mem.get(at + layout.timeout)?);
    let flags = u16::from_le_bytes(cx.mem.get(at + layout.flags)?);
    let id = ClockId::decode(cx, [id])?;
    if flags & !ABSTIME != 0 {
        return Err(Errno::Inval.into());
    }
    Ok(instant(id, timeout, flags & ABSTIME != 0, now))
}

fn descriptor(cx: &Call<'_>, fd: u32, event_type: u8) -> Interest {
    let check = if event_type == FD_READ { Open::check_readable } else { Open::check_writable };
    match cx.process.open_file(fd, check, Rights::POLL_FD_READWRITE) {
        Ok(open) if event_type == FD_READ => Interest::Read(fd, open),
        Ok(open) => Interest::Write(fd, open),
        Err(errno) => Interest::Failed(errno),
    }
}

/// When a clock subscription is due. A span is one of time that passes, whichever clock it is
/// asked of, so that setting the wall does not change it; an instant is one of its own clock.
#[inline(always)]
fn instant(id: ClockId, timeout: u64, absolute: bool, now: MonoTime) -> Interest {
    match (id, absolute) {
        (ClockId::Realtime | ClockId::Monotonic, false) => {
            Interest::Until(When::Mono(now.saturating_add(Duration::from_nanos(timeout))))
        }
        (ClockId::Monotonic, true) => Interest::Until(When::Mono(monotonic_instant(timeout))),
        (ClockId::Realtime, true) => {
            Interest::Until(When::Wall(WallTime::from_unix_nanos(timeout.into())))
        }
        // As clock_nanosleep(2) of the calling thread's CPU time.
        (ClockId::ProcessCputime | ClockId::ThreadCputime, _) => Interest::Failed(Errno::Inval),
    }
}

/// By words, for the same reason as [`clock`].
#[inline(always)]
fn put_event(
    cx: &mut Call<'_>,
    at: u32,
    (userdata, event_type): ([u8; 8], u8),
    what: Happened,
) -> Result<()> {
    let (error, bytes, hangup) = match what {
        Happened::Due => (0, 0, false),
        Happened::Ready(Ready { bytes, hangup }) => (0, bytes, hangup),
        Happened::Failed(errno) => (errno::number(errno), 0, false),
    };
    let error_and_type = u64::from(error) | u64::from(event_type) << 16;
    cx.mem.put(at, &userdata)?;
    cx.mem.put(at + 8, &error_and_type.to_le_bytes())?;
    cx.mem.put(at + 16, &bytes.to_le_bytes())?;
    cx.mem.put(at + 24, &u64::from(hangup).to_le_bytes())?;
    Ok(())
}
