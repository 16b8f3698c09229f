//! Guests and native programs in one pipeline, with far more in it than pipes hold, at every pace.
//!
//! Guests sleep on the session's clock, which costs nothing; native programs sleep really. The
//! bytes are those of `act fill`, which this file makes a second time by itself.
#![cfg(unix)]

use std::ffi::OsStr;
use std::io::Read;
use std::time::Duration;

use crate::common::{Guard, text};
use crate::subject::native_act;
use testbench_harness::{Child, Command, Policy, Report, Session, Stdio, Testbench, Toolchain};

const BYTES: usize = 10 << 20;
/// What is slow sleeps so long before each block of at most 64 KiB, on the session's clock.
const PACE: Duration = Duration::from_millis(5);
const BLOCKS: u32 = (BYTES / 65_536) as u32;

fn session() -> Session {
    Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter()
}

fn guest(words: &[&str]) -> Command {
    let mut command = Command::new("act");
    command.args(words);
    command
}

/// The program of the host that is compiled from the same source as the guest.
fn native(act: impl AsRef<OsStr>, words: &[&str]) -> Command {
    let mut command = Command::new(act);
    command.args(words).via(Policy::Native);
    command
}

/// What `act fill` writes.
fn filled() -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(BYTES).collect()
}

/// What `act digest` prints about these bytes.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{} {hash:016x}\n", bytes.len())
}

/// What `act swap` makes of them.
fn swapped(mut bytes: Vec<u8>, from: u8, to: u8) -> Vec<u8> {
    for byte in bytes.iter_mut().filter(|byte| **byte == from) {
        *byte = to;
    }
    bytes
}

/// Starts them, each reading what the one before it writes; the last one's output is piped to here.
fn start(stages: impl IntoIterator<Item = Command>) -> Vec<Child> {
    let mut children: Vec<Child> = Vec::new();
    for mut stage in stages {
        if let Some(before) = children.last_mut() {
            stage.stdin(before.stdout.take().unwrap());
        }
        children.push(stage.stdout(Stdio::piped()).spawn().unwrap());
    }
    children
}

/// Runs them to their ends, and gives what the last one says.
fn run(session: Session, stages: impl IntoIterator<Item = Command>) -> (String, Report) {
    let mut children = start(stages);
    let last = children.pop().unwrap().wait_with_output().unwrap();
    assert!(last.status.success(), "{}", last.status);
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "{child:?}");
    }
    (text(&last.stdout).to_owned(), session.finish().unwrap())
}

/// `guest | native | guest`, with what each is told to do.
fn three(source: &[&str], middle: &[&str], sink: &[&str]) -> Option<(String, Report)> {
    let _guard = Guard::new("a pipeline");
    let act = native_act()?;
    let bytes = BYTES.to_string();
    let (source, sink) = ([source, &["fill", &bytes]].concat(), [sink, &["digest"]].concat());
    let stages = [guest(&source), native(act, middle), guest(&sink)];
    Some(run(session(), stages))
}

#[test]
fn all_as_fast_as_they_can() {
    let Some((said, report)) = three(&[], &["cat"], &[]) else { return };
    assert_eq!(said, digest(&filled()));
    assert_eq!(report.spawns.len(), 3);
}

/// The native stage takes part: what it changes arrives.
#[test]
fn what_the_native_program_makes_of_the_bytes_arrives() {
    let Some((said, _)) = three(&[], &["swap", "az"], &[]) else { return };
    assert_eq!(said, digest(&swapped(filled(), b'a', b'z')));
}

#[test]
fn a_fast_producer_and_a_slow_consumer() {
    let Some((said, report)) = three(&[], &["cat"], &["pace", "0.005"]) else { return };
    assert_eq!(said, digest(&filled()));
    assert!(report.virtual_time >= PACE * BLOCKS, "{:?}", report.virtual_time);
}

#[test]
fn a_slow_producer_and_a_fast_consumer() {
    let Some((said, report)) = three(&["pace", "0.005"], &["cat"], &[]) else { return };
    assert_eq!(said, digest(&filled()));
    assert!(report.virtual_time >= PACE * BLOCKS, "{:?}", report.virtual_time);
}

/// Here the time is real, so there is less of it.
#[test]
fn a_slow_native_program_between_fast_guests() {
    let Some((said, report)) = three(&[], &["pace", "0.0005", "cat"], &[]) else { return };
    assert_eq!(said, digest(&filled()));
    let took = report.spawns[1].real_time.unwrap();
    assert!(took >= Duration::from_micros(500) * BLOCKS, "{took:?}");
    assert!(report.virtual_time >= took, "{:?}", report.virtual_time);
}

#[test]
fn slow_on_both_sides_of_the_native_program() {
    let Some((said, _)) = three(&["pace", "0.003"], &["cat"], &["pace", "0.007"]) else { return };
    assert_eq!(said, digest(&filled()));
}

/// The other way round, and longer.
#[test]
fn natives_around_guests() {
    let _guard = Guard::new("a pipeline");
    let Some(act) = native_act() else { return };
    let fill = BYTES.to_string();
    let stages = [
        native(act, &["fill", &fill]),
        guest(&["swap", "ab"]),
        native(act, &["cat"]),
        guest(&["pace", "0.001", "swap", "bc"]),
        native(act, &["digest"]),
    ];
    let (said, report) = run(session(), stages);
    assert_eq!(said, digest(&swapped(swapped(filled(), b'a', b'b'), b'b', b'c')));
    assert_eq!(report.spawns.len(), 5);
}

/// This process at both ends: it writes on one thread and reads on another one.
#[test]
fn from_this_process_through_all_of_them_and_back() {
    let _guard = Guard::new("a pipeline");
    let Some(act) = native_act() else { return };
    let session = session();
    let mut first = guest(&["cat"]);
    first.stdin(Stdio::piped());
    let mut children = start([first, native(act, &["swap", "az"]), guest(&["cat"])]);
    let mut input = children[0].stdin.take().unwrap();
    let writer = testbench_clock::thread::spawn(move || {
        std::io::copy(&mut &*filled(), &mut input).unwrap();
    });
    let mut output = children[2].stdout.take().unwrap();
    let mut bytes = Vec::new();
    // With pauses of its own on the session's clock.
    let mut part = vec![0; 300_000];
    loop {
        testbench_clock::sleep(PACE);
        match output.read(&mut part).unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&part[..n]),
        }
    }
    writer.join().unwrap();
    assert!(bytes == swapped(filled(), b'a', b'z'), "{} bytes differ", bytes.len());
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(session.finish().unwrap().spawns.len(), 3);
}
