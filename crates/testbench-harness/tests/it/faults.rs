//! What goes wrong with files goes wrong for host code and for guests alike, and nothing that was
//! reported as written is lost or changed.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::common::{dir_with, text, tools_with};
use tempfile::TempDir;
use testbench_harness::{Command, Testbench, TestbenchBuilder, Toolchain};
use testbench_overlay::pipeline::{Fault, FaultPlan, Operation, Quota};
use testbench_overlay::{Errno, Overlay, fs, install};

/// What one call came to: the errno of WASI, and how many bytes it moved.
type Outcome = (u32, u32);

const IO: u32 = 29;
const NOSPC: u32 = 51;
const DQUOT: u32 = 19;

/// What is written by each of the ten calls.
const CHUNK: &[u8; 64] = b"The quick brown fox jumps over the lazy dog 0123456789 ABCDEFGH\n";

const CALLS: usize = 10;

/// Opens `out`, writes [`CHUNK`] ten times, and tells of each call what it came to.
const WRITER: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open" (func $open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "out")
  (data (i32.const 1024) "The quick brown fox jumps over the lazy dog 0123456789 ABCDEFGH\n")
  (func (export "_start") (local $i i32)
    (i32.store (i32.const 32) (i32.const 1024)) (i32.store (i32.const 36) (i32.const 64))
    (i32.store (i32.const 40) (i32.const 24)) (i32.store (i32.const 44) (i32.const 8))
    (if (call $open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 3) (i32.const 9)
          (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16))
      (then (call $exit (i32.const 99))))
    (loop $again
      (i32.store (i32.const 28) (i32.const 0))
      (i32.store (i32.const 24) (call $write
        (i32.load (i32.const 16)) (i32.const 32) (i32.const 1) (i32.const 28)))
      (drop (call $write (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 48)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))))"#;

/// Opens `in`, reads 64 bytes ten times, and tells of each call what it came to and what it gave.
const READER: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open" (func $open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "in")
  (func (export "_start") (local $i i32)
    (i32.store (i32.const 32) (i32.const 1024)) (i32.store (i32.const 36) (i32.const 64))
    (i32.store (i32.const 40) (i32.const 24)) (i32.store (i32.const 44) (i32.const 8))
    (i32.store (i32.const 48) (i32.const 1024))
    (if (call $open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 0)
          (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16))
      (then (call $exit (i32.const 99))))
    (loop $again
      (i32.store (i32.const 28) (i32.const 0))
      (i32.store (i32.const 24) (call $read
        (i32.load (i32.const 16)) (i32.const 32) (i32.const 1) (i32.const 28)))
      (i32.store (i32.const 52) (i32.load (i32.const 28)))
      (drop (call $write (i32.const 1) (i32.const 40) (i32.const 2) (i32.const 56)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))))"#;

fn tools() -> (TempDir, Toolchain) {
    let dir = tools_with(&[("writer.wasm", WRITER), ("reader.wasm", READER)]);
    let toolchain = Toolchain::open(dir.path()).unwrap();
    (dir, toolchain)
}

fn session(dir: &Path, plan: impl Into<FaultPlan>) -> TestbenchBuilder {
    let plan = plan.into();
    Testbench::builder().overlay(dir).set_up_overlay(move |overlay| overlay.faults(plan))
}

/// The errno of WASI for what `std::io` shows.
fn errno(error: &std::io::Error) -> u32 {
    match Errno::from(error) {
        Errno::Io => IO,
        Errno::Nospc => NOSPC,
        Errno::Dquot => DQUOT,
        other => panic!("{other}"),
    }
}

/// What `plan` does to ten writes: by the host and by a guest the same, with what each says of the
/// file afterwards.
fn written(plan: impl Fn() -> FaultPlan) -> Vec<Outcome> {
    let host = {
        let dir = tempfile::tempdir().unwrap();
        let overlay = Overlay::builder(dir.path()).faults(plan()).build().unwrap();
        let _installed = install(overlay.clone());
        let mut file = fs::File::create(dir.path().join("out")).unwrap();
        let outcomes: Vec<Outcome> = (0..CALLS)
            .map(|_| match file.write(CHUNK) {
                Ok(n) => (0, u32::try_from(n).unwrap()),
                Err(error) => (errno(&error), 0),
            })
            .collect();
        let content = fs::read(dir.path().join("out")).unwrap();
        (outcomes, content, overlay.diff().unwrap().to_json())
    };
    let guest = {
        let (dir, (_tools, toolchain)) = (tempfile::tempdir().unwrap(), tools());
        let session = session(dir.path(), plan()).toolchain(toolchain).build().unwrap().enter();
        let output = Command::new("writer").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let number = |at: &[u8]| u32::from_le_bytes(at.try_into().unwrap());
        let outcomes: Vec<Outcome> =
            output.stdout.chunks(8).map(|o| (number(&o[..4]), number(&o[4..]))).collect();
        let content = fs::read(dir.path().join("out")).unwrap();
        assert!(!dir.path().join("out").exists());
        (outcomes, content, session.finish().unwrap().diff.to_json())
    };
    assert_eq!(guest, host);
    // What is there is what was said to be there, and nothing else.
    let (outcomes, content, json) = host;
    let said: Vec<u8> =
        outcomes.iter().flat_map(|(_, n)| CHUNK[..*n as usize].iter().copied()).collect();
    assert_eq!(content, said);
    assert!(json.contains(&format!("\"size\":{}", said.len())), "{json}");
    outcomes
}

#[test]
fn an_error_at_the_nth_write() {
    let plan = || Fault::error(Errno::Io).on(Operation::Write).at("out").nth(4).into();
    let mut wanted = [(0, 64); CALLS];
    wanted[3] = (IO, 0);
    assert_eq!(written(plan), wanted);
    let plan = || Fault::error(Errno::Dquot).on(Operation::Write).at("out").from_nth(9).into();
    let mut wanted = [(0, 64); CALLS];
    wanted[8..].fill((DQUOT, 0));
    assert_eq!(written(plan), wanted);
}

#[test]
fn a_disk_that_is_full_at_a_byte() {
    let outcomes = written(|| Fault::full_after(200).at("out").into());
    assert_eq!(outcomes[..4], [(0, 64), (0, 64), (0, 64), (0, 8)]);
    assert_eq!(outcomes[4..], [(NOSPC, 0); 6]);
}

#[test]
fn short_writes() {
    let plan = || Fault::short(7).on(Operation::Write).at("out").every(2).into();
    let outcomes = written(plan);
    assert_eq!(outcomes[..4], [(0, 64), (0, 7), (0, 64), (0, 7)]);
    // Cut short, in error and full at once.
    let plan = || {
        FaultPlan::new()
            .with(Fault::short(30).on(Operation::Write))
            .with(Fault::error(Errno::Io).on(Operation::Write).nth(3))
            .with(Fault::full_after(100))
    };
    let outcomes = written(plan);
    assert_eq!(outcomes[..5], [(0, 30), (0, 30), (IO, 0), (0, 30), (0, 10)]);
    assert_eq!(outcomes[5..], [(NOSPC, 0); 5]);
}

#[test]
fn short_and_failing_reads() {
    let content: String = (0..40).map(|n| format!("line {n:02}\n")).collect();
    let plan = || {
        FaultPlan::new()
            .with(Fault::short(13).on(Operation::Read).at("in"))
            .with(Fault::error(Errno::Io).on(Operation::Read).at("in").nth(5))
    };
    let dir = dir_with(&[("in", &content)]);
    let (_tools, toolchain) = tools();
    let read = session(dir.path(), plan()).toolchain(toolchain).build().unwrap().enter();
    let output = Command::new("reader").output().unwrap();
    let mut guest = Vec::new();
    let mut rest = &output.stdout[..];
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let (errno, n) = head.split_at(4);
        let n = u32::from_le_bytes(n.try_into().unwrap());
        let (data, tail) = tail.split_at(n as usize);
        guest.push((u32::from_le_bytes(errno.try_into().unwrap()), data.to_vec()));
        rest = tail;
    }
    drop(read);
    let overlay = Overlay::builder(dir.path()).faults(plan()).build().unwrap();
    let _installed = install(overlay);
    let mut file = fs::File::open(dir.path().join("in")).unwrap();
    let host: Vec<(u32, Vec<u8>)> = (0..CALLS)
        .map(|_| {
            let mut buf = [0; 64];
            match file.read(&mut buf) {
                Ok(n) => (0, buf[..n].to_vec()),
                Err(error) => (errno(&error), Vec::new()),
            }
        })
        .collect();
    assert_eq!(guest, host);
    assert_eq!(guest[4], (IO, Vec::new()));
    let read: Vec<u8> = guest.iter().flat_map(|(_, data)| data.iter().copied()).collect();
    assert_eq!(read, content.as_bytes()[..9 * 13], "in order, nothing twice, nothing lost");
}

/// Ordinary tools loop over short reads and writes, and report what fails.
#[test]
fn tools_of_the_toolchain() {
    let content: String = (0..500).map(|n| format!("line {n}\n")).collect();
    let dir = dir_with(&[("in", &content)]);
    let plan = FaultPlan::new().with(Fault::short(11));
    let bench = session(dir.path(), plan).toolchain(Toolchain::builtin()).build().unwrap().enter();
    let output = Command::new("cp").args(["in", "out"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(dir.path().join("out")).unwrap(), content);
    drop(bench);

    let plan = Fault::full_after(1000);
    let bench = session(dir.path(), plan).toolchain(Toolchain::builtin()).build().unwrap().enter();
    let output = Command::new("cp").args(["in", "out"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("No space left on device"), "{}", text(&output.stderr));
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), content.as_bytes()[..1000]);
    assert_eq!(bench.finish().unwrap().diff.summary(), "A out\n");
    assert_eq!(std::fs::read_to_string(dir.path().join("in")).unwrap(), content);
}

/// The overlay's own quota is a full disk for a guest, too.
#[test]
fn a_quota() {
    let content = "0123456789abcdef".repeat(1024);
    let dir = dir_with(&[("in", &content)]);
    let bench = Testbench::builder()
        .overlay(dir.path())
        .set_up_overlay(|overlay| overlay.quota(Quota::new().bytes(8192).inodes(1)))
        .toolchain(Toolchain::builtin())
        .build()
        .unwrap()
        .enter();
    let output = Command::new("cp").args(["in", "out"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("No space left on device"), "{}", text(&output.stderr));
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), content.as_bytes()[..8192]);
    let output = Command::new("mkdir").arg("dir").output().unwrap();
    assert!(text(&output.stderr).contains("No space left on device"), "{}", text(&output.stderr));
    assert_eq!(bench.finish().unwrap().diff.summary(), "A out\n");
}

/// The time that a slow disk takes is the guest's.
#[test]
fn latency_is_virtual_time_of_the_guest() {
    let dir = dir_with(&[("in", "text\n")]);
    let slow = || Fault::latency(Duration::from_secs(60)).on(Operation::Open).at("in");
    let bench =
        session(dir.path(), slow()).toolchain(Toolchain::builtin()).build().unwrap().enter();
    // Inline, while this thread lends its place on the timeline.
    let run = Command::new("cat").arg("in").run().unwrap();
    assert_eq!(text(&run.stdout), "text\n");
    assert_eq!(run.virtual_time, Duration::from_secs(60));
    // Beside this thread, which goes on meanwhile.
    let child = Command::new("cat").arg("in").spawn().unwrap();
    testbench_clock::sleep(Duration::from_secs(10));
    let before = testbench_clock::instant_now();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(testbench_clock::instant_now().duration_since(before), Duration::from_secs(50));
    // And one that is killed while it waits for the disk.
    let mut child = Command::new("cat").arg("in").spawn().unwrap();
    testbench_clock::sleep(Duration::from_secs(1));
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    let report = bench.finish().unwrap();
    assert_eq!(report.virtual_time, Duration::from_secs(121));
}
