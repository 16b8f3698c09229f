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

/// Where the fields of a subscription lie, in bytes from its beginning.
const EVENT_TYPE: u32 = 8;
const DESCRIPTOR: u32 = 16;
const CLOCK_ID: u32 = 16;
const TIMEOUT: u32 = 24;
const FLAGS: u32 = 40;
const SUBSCRIPTION_BYTES: u32 = 48;

impl Abi {
    /// How much further behind the fields of a clock lie: preview 0 has a name for the timer before
    /// them, which nothing uses.
    const fn timer_name_bytes(self) -> u32 {
        match self {
            Abi::Unstable => 8,
            Abi::Snapshot1 => 0,
        }
    }
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
    let bytes = SUBSCRIPTION_BYTES + cx.abi.timer_name_bytes();
    cx.mem.check(subscriptions.0, count, bytes)?;
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
        let at = subscriptions.0 + i * bytes;
        let [event_type] = cx.mem.get(at + EVENT_TYPE)?;
        interests.push(match event_type {
            CLOCK => clock(cx, at, now)?,
            FD_READ | FD_WRITE => descriptor(cx, at, event_type)?,
            _ => return Err(Errno::Inval.into()),
        });
        subscribed.push((cx.mem.get(at)?, event_type));
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

/// Reads each field by itself: a copy of the whole, of which fields are then read, takes as long as
/// the sleep.
#[inline(always)]
fn clock(cx: &Call<'_>, at: u32, now: MonoTime) -> Result<Interest> {
    let at = at + cx.abi.timer_name_bytes();
    let id = u32::from_le_bytes(cx.mem.get(at + CLOCK_ID)?);
    let timeout = u64::from_le_bytes(cx.mem.get(at + TIMEOUT)?);
    let flags = u16::from_le_bytes(cx.mem.get(at + FLAGS)?);
    let id = ClockId::decode(cx, [id])?;
    if flags & !ABSTIME != 0 {
        return Err(Errno::Inval.into());
    }
    Ok(instant(id, timeout, flags & ABSTIME != 0, now))
}

fn descriptor(cx: &Call<'_>, at: u32, event_type: u8) -> Result<Interest> {
    let fd = u32::from_le_bytes(cx.mem.get(at + DESCRIPTOR)?);
    let check = if event_type == FD_READ { Open::check_readable } else { Open::check_writable };
    Ok(match cx.process.open_file(fd, check, Rights::POLL_FD_READWRITE) {
        Ok(open) if event_type == FD_READ => Interest::Read(fd, open),
        Ok(open) => Interest::Write(fd, open),
        Err(errno) => Interest::Failed(errno),
    })
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
