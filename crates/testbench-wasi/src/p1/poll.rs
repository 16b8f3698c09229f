//! `poll_oneoff`: subscriptions in, events out; the waiting is the kernel's.

use std::time::Duration;

use testbench_clock::{MonoTime, WallTime};
use testbench_overlay::Errno;

use super::call::{Abi, Call, Decode};
use super::clock::monotonic_instant;
use super::errno;
use super::types::{ClockId, Ptr};
use crate::kernel::{Happened, Interest, Open, Result, Rights, When, poll, sleep};

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
    clock_id: usize,
    timeout: usize,
    flags: usize,
}

/// Where the kind of a subscription and its descriptor lie, in both versions.
const EVENT_TYPE: usize = 8;
const DESCRIPTOR: usize = 16;

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
    let layout = cx.abi.subscription();
    cx.mem.check(subscriptions.0, count, layout.bytes)?;
    cx.mem.check(events.0, count, EVENT_BYTES)?;
    let now = cx.process.clock().mono();
    if count == 1 {
        let one = subscription(cx, subscriptions.0, now)?;
        if let Interest::Until(When::Mono(until)) = one.interest {
            sleep(cx.process, now, until)?;
            cx.mem.put(events.0, &event(one.userdata, one.event_type, Happened::Due))?;
            return Ok(1);
        }
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
        let (userdata, event_type) = subscribed[*i];
        cx.mem.put(events.0 + place * EVENT_BYTES, &event(userdata, event_type, *what))?;
    }
    Ok(happened.len() as u32)
}

#[inline]
fn subscription(cx: &Call<'_>, at: u32, now: MonoTime) -> Result<Subscription> {
    match cx.abi {
        Abi::Snapshot1 => decode(cx, &cx.mem.get::<48>(at)?, &Abi::Snapshot1.subscription(), now),
        Abi::Unstable => decode(cx, &cx.mem.get::<56>(at)?, &Abi::Unstable.subscription(), now),
    }
}

#[inline]
fn decode(cx: &Call<'_>, raw: &[u8], layout: &Layout, now: MonoTime) -> Result<Subscription> {
    let event_type = raw[EVENT_TYPE];
    let interest = match event_type {
        CLOCK => {
            let id = ClockId::decode(cx, u32::from_le_bytes(field(raw, layout.clock_id)))?;
            let timeout = u64::from_le_bytes(field(raw, layout.timeout));
            let flags = u16::from_le_bytes(field(raw, layout.flags));
            if flags & !ABSTIME != 0 {
                return Err(Errno::Inval.into());
            }
            instant(id, timeout, flags & ABSTIME != 0, now)
        }
        FD_READ | FD_WRITE => {
            let fd = u32::from_le_bytes(field(raw, DESCRIPTOR));
            let check =
                if event_type == FD_READ { Open::check_readable } else { Open::check_writable };
            match cx.process.open_file(fd, check, Rights::POLL_FD_READWRITE) {
                Ok(open) if event_type == FD_READ => Interest::Read(fd, open),
                Ok(open) => Interest::Write(fd, open),
                Err(errno) => Interest::Failed(errno),
            }
        }
        _ => return Err(Errno::Inval.into()),
    };
    Ok(Subscription { userdata: field(raw, 0), event_type, interest })
}

/// `N` bytes of a structure whose layout holds them.
#[inline]
fn field<const N: usize>(raw: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&raw[at..at + N]);
    bytes
}

/// When a clock subscription is due. A span is one of time that passes, whichever clock it is
/// asked of, so that setting the wall does not change it; an instant is one of its own clock.
#[inline]
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

#[inline]
fn event(userdata: [u8; 8], event_type: u8, what: Happened) -> [u8; 32] {
    let (error, bytes, hangup) = match what {
        Happened::Due => (0, 0, false),
        Happened::Ready { bytes, hangup } => (0, bytes, hangup),
        Happened::Failed(errno) => (errno::number(errno), 0, false),
    };
    let mut event = [0; 32];
    event[..8].copy_from_slice(&userdata);
    event[8..10].copy_from_slice(&error.to_le_bytes());
    event[10] = event_type;
    event[16..24].copy_from_slice(&bytes.to_le_bytes());
    event[24] = u8::from(hangup);
    event
}
