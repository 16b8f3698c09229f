//! `poll_oneoff`: what is ready first, else exactly to the earliest instant.

use std::sync::Arc;
use std::time::Duration;

use testbench_clock::{Injection, MockClock, MonoTime, WallTime, When};
use testbench_overlay::{Errno, MemoryDir};

use super::puppet::{At, Done, Puppet, number};
use crate::{Exit, GuestSpec, Limit, Limits, Stdin, Stdout, pipe};

const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;
const CPUTIME: u32 = 2;
const SECOND: u64 = 1_000_000_000;

/// The instant at which mock clocks start.
const START: u64 = 946_684_800 * SECOND;

enum Sub {
    Clock { id: u32, timeout: u64, absolute: bool },
    Read(u32),
    Write(u32),
}

fn relative(id: u32, timeout: u64) -> Sub {
    Sub::Clock { id, timeout, absolute: false }
}

/// At `instant`, in nanoseconds since 1970, or since the origin of the timeline, at which a guest's
/// monotonic clock shows one second.
fn absolute(id: u32, instant: u64) -> Sub {
    let timeout = if id == MONOTONIC { instant + SECOND } else { instant };
    Sub::Clock { id, timeout, absolute: true }
}

/// A subscription as preview 1 lays it out; `userdata` is 100 and its place.
fn encode(subs: &[Sub]) -> Vec<u8> {
    let mut all = Vec::new();
    for (i, sub) in subs.iter().enumerate() {
        let mut bytes = [0; 48];
        bytes[0] = 100 + i as u8;
        match *sub {
            Sub::Clock { id, timeout, absolute } => {
                bytes[16..20].copy_from_slice(&id.to_le_bytes());
                bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
                bytes[40] = u8::from(absolute);
            }
            Sub::Read(fd) | Sub::Write(fd) => {
                bytes[8] = if matches!(sub, Sub::Read(_)) { 1 } else { 2 };
                bytes[16..20].copy_from_slice(&fd.to_le_bytes());
            }
        }
        all.extend(bytes);
    }
    all
}

struct Polled {
    done: Done,
    call: u32,
    events: At,
    count: At,
}

fn poll(subs: &[Sub], with: impl FnOnce(GuestSpec) -> GuestSpec) -> Polled {
    let mut puppet = Puppet::new();
    let subscriptions = puppet.bytes(&encode(subs));
    let events = puppet.room(32 * subs.len());
    let count = puppet.room(4);
    let call =
        puppet.call("poll_oneoff", &[subscriptions.at, events.at, subs.len() as u64, count.at]);
    let files = MemoryDir::builder().file("file", "content").build().unwrap();
    let done = puppet.run_on(Arc::new(files), with);
    Polled { done, call, events, count }
}

impl Polled {
    /// `place:type:errno:bytes:hangup` of each event, and the virtual time.
    fn show(&self) -> String {
        assert_eq!(self.done.errno(self.call), 0);
        let mut shown = String::new();
        for i in 0..u64::from(self.done.u32(self.count)) {
            let event = self.done.bytes(At { at: self.events.at + 32 * i, len: 32 });
            let place = event[0] - 100;
            let errno = u16::from_le_bytes([event[8], event[9]]);
            let bytes = u64::from_le_bytes(event[16..24].try_into().unwrap());
            shown += &format!("{place}:{}:{errno}:{bytes}:{} ", event[10], event[24]);
        }
        format!("{shown}at {:?}", self.done.finished.virtual_time)
    }
}

#[track_caller]
fn check(subs: &[Sub], with: impl FnOnce(GuestSpec) -> GuestSpec, expected: &str) {
    assert_eq!(poll(subs, with).show(), expected);
}

#[test]
fn time_moves_to_the_earliest_instant_and_all_that_is_due_then_is_reported_in_order() {
    let subs = [
        relative(MONOTONIC, 5 * SECOND),
        relative(REALTIME, 3 * SECOND),
        absolute(MONOTONIC, 4 * SECOND),
        relative(MONOTONIC, 3 * SECOND),
    ];
    check(&subs, |spec| spec, "1:0:0:0:0 3:0:0:0:0 at 3s");
}

#[test]
fn every_way_to_sleep_is_exact_to_the_nanosecond() {
    check(&[relative(REALTIME, 1_000_001)], |spec| spec, "0:0:0:0:0 at 1.000001ms");
    check(&[relative(MONOTONIC, 999)], |spec| spec, "0:0:0:0:0 at 999ns");
    check(&[absolute(MONOTONIC, 7)], |spec| spec, "0:0:0:0:0 at 7ns");
    check(&[absolute(REALTIME, START + 1)], |spec| spec, "0:0:0:0:0 at 1ns");
    check(&[absolute(REALTIME, START)], |spec| spec, "0:0:0:0:0 at 0ns");
    check(&[relative(MONOTONIC, 0)], |spec| spec, "0:0:0:0:0 at 0ns");
}

#[test]
fn a_coarse_clock_does_not_make_the_wait_endless() {
    let clock = MockClock::builder()
        .resolution(testbench_clock::Reading::Mono, Duration::from_secs(10))
        .build();
    let polled = poll(&[absolute(MONOTONIC, 3 * SECOND)], |spec| spec.clock(clock));
    assert_eq!(polled.done.errno(polled.call), 0);
    assert_eq!(polled.done.u32(polled.count), 1);
}

#[test]
fn what_is_ready_comes_before_any_time_passes() {
    let subs = [relative(MONOTONIC, SECOND), Sub::Read(0), Sub::Write(1), relative(REALTIME, 0)];
    let stdin = |spec: GuestSpec| spec.stdin(b"abc".to_vec());
    check(&subs, stdin, "1:1:0:3:0 2:2:0:1:0 3:0:0:0:0 at 0ns");
}

#[test]
fn the_end_of_a_file_is_ready_and_says_so() {
    check(&[Sub::Read(0)], |spec| spec, "0:1:0:0:1 at 0ns");
}

#[test]
fn what_cannot_be_polled_is_an_error_of_its_own_event() {
    let subs =
        [Sub::Read(99), Sub::Read(3), Sub::Write(0), relative(CPUTIME, 5), relative(REALTIME, 9)];
    let (badf, isdir, inval) = (number(Errno::Badf), number(Errno::Isdir), number(Errno::Inval));
    let expected = format!("0:1:{badf}:0:0 1:1:{isdir}:0:0 2:2:{badf}:0:0 3:0:{inval}:0:0 at 0ns");
    check(&subs, |spec| spec, &expected);
}

#[test]
fn a_pipe_is_ready_when_it_has_bytes_or_no_writer() {
    let subs = [Sub::Read(0), relative(MONOTONIC, 2 * SECOND)];
    let (reader, writer) = pipe();
    check(&subs, |spec| spec.stdin(reader), "1:0:0:0:0 at 2s");
    drop(writer);

    let (reader, writer) = pipe();
    writer.try_write(b"hello").unwrap();
    check(&subs, |spec| spec.stdin(reader), "0:1:0:5:0 at 0ns");

    let (reader, writer) = pipe();
    drop(writer);
    check(&subs, |spec| spec.stdin(reader), "0:1:0:0:1 at 0ns");
}

#[test]
fn a_full_pipe_is_not_ready_to_be_written() {
    let subs = [Sub::Write(1), relative(MONOTONIC, 2 * SECOND)];
    let (reader, writer) = pipe();
    writer.try_write(&[0; 65_536]).unwrap();
    check(&subs, |spec| spec.stdout(writer), "1:0:0:0:0 at 2s");
    drop(reader);
}

#[test]
fn waiting_for_what_can_never_come_is_a_deadlock() {
    let (reader, _writer) = pipe();
    let polled = poll(&[Sub::Read(0)], |spec| spec.stdin(reader));
    let Exit::Deadlock(report) = &polled.done.finished.exit else {
        panic!("{}", polled.done.finished.exit);
    };
    assert!(report.to_string().contains("poll_oneoff of descriptor 0 to read"), "{report}");

    let (reader, _writer) = pipe();
    let (_reader, writer) = pipe();
    writer.try_write(&[0; 65_536]).unwrap();
    let both = [Sub::Read(0), Sub::Write(1)];
    let exit = poll(&both, |spec| spec.stdin(reader).stdout(writer)).done.finished.exit;
    insta::assert_snapshot!(exit, @r"
    deadlock: it waits for something that can never come
      `puppet`: poll_oneoff of descriptor 0 to read, descriptor 1 to write
    ");
}

#[test]
fn an_instant_of_the_wall_is_looked_at_again_when_the_wall_is_set() {
    let clock = MockClock::builder()
        .inject(
            When::Mono(MonoTime::from_nanos(SECOND)),
            Injection::Set(WallTime::from_unix_secs(946_684_800 + 3600)),
        )
        .build();
    let hour = [absolute(REALTIME, START + 3600 * SECOND), absolute(MONOTONIC, 9000 * SECOND)];
    check(&hour, |spec| spec.clock(clock), "0:0:0:0:0 at 1s");
}

#[test]
fn the_virtual_deadline_ends_the_wait_at_its_instant() {
    let limits = Limits { virtual_deadline: Some(Duration::from_secs(2)), ..Limits::default() };
    let polled = poll(&[relative(MONOTONIC, 5 * SECOND)], |spec| spec.limits(limits));
    let finished = &polled.done.finished;
    let limit = Limit::VirtualDeadline { after: Duration::from_secs(2) };
    assert!(matches!(&finished.exit, Exit::Limit(l) if *l == limit), "{}", finished.exit);
    assert_eq!(finished.virtual_time, Duration::from_secs(2));
}

#[test]
fn counts_and_numbers_without_a_meaning_are_refused() {
    let mut puppet = Puppet::new();
    let mut bad_type = encode(&[relative(MONOTONIC, 1)]);
    bad_type[8] = 3;
    let mut bad_flags = encode(&[relative(MONOTONIC, 1)]);
    bad_flags[40] = 2;
    let bad_clock = encode(&[relative(4, 1)]);
    let events = puppet.room(32);
    let count = puppet.room(4);
    for bytes in [bad_type, bad_flags, bad_clock] {
        let subscription = puppet.bytes(&bytes);
        puppet.call("poll_oneoff", &[subscription.at, events.at, 1, count.at]);
    }
    puppet.call("poll_oneoff", &[events.at, events.at, 0, count.at]);
    assert_eq!(puppet.run().errnos(), [number(Errno::Inval); 4]);
}

#[test]
fn preview_0_has_its_own_layout() {
    let mut puppet = Puppet::importing("wasi_unstable");
    let mut clock = [0; 56];
    clock[0] = 42;
    clock[24] = MONOTONIC as u8;
    // The monotonic clock shows a second at the origin of the timeline.
    clock[32..40].copy_from_slice(&(4 * SECOND).to_le_bytes());
    clock[48] = 1;
    let mut later = clock;
    later[32..40].copy_from_slice(&(5 * SECOND).to_le_bytes());
    let subscriptions = puppet.bytes(&[later, clock].concat());
    let events = puppet.room(64);
    let count = puppet.room(4);
    puppet.call("poll_oneoff", &[subscriptions.at, events.at, 2, count.at]);
    let done = puppet.run();
    assert_eq!((done.errnos(), done.u32(count), done.u64(events)), (vec![0], 1, 42));
    assert_eq!(done.finished.virtual_time, Duration::from_secs(3));
}

#[test]
fn closures_are_always_ready() {
    let with = |spec: GuestSpec| {
        let spec = spec.stdin(Stdin::reader(&b"x"[..]));
        spec.stdout(Stdout::writer(std::io::sink()))
    };
    check(&[Sub::Read(0), Sub::Write(1)], with, "0:1:0:1:0 1:2:0:1:0 at 0ns");
}
