//! Children beside their parent, guests and native ones, and what flows between them.
#![cfg(unix)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::common::text;
use testbench_harness::{Command, Policy, Session, Stdio, Testbench, Toolchain};

fn session() -> Session {
    let bench = Testbench::builder().toolchain(Toolchain::builtin());
    bench.policy("sh", Policy::Native).build().unwrap().enter()
}

fn native(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn guests_run_beside_each_other_on_one_timeline() {
    let session = session();
    let mut long = Command::new("sleep").arg("5").spawn().unwrap();
    let mut short = Command::new("sleep").arg("3").spawn().unwrap();
    assert!(long.try_wait().unwrap().is_none());
    assert!(short.wait().unwrap().success());
    assert_eq!(testbench_clock::now().to_string(), "2000-01-01T00:00:03Z");
    assert!(long.try_wait().unwrap().is_none());
    assert!(long.wait().unwrap().success());
    assert_eq!(session.finish().unwrap().virtual_time, Duration::from_secs(5));
}

#[test]
fn a_guest_a_native_program_and_a_guest_in_one_pipeline() {
    let session = session();
    let mut seq = Command::new("seq").arg("2000").stdout(Stdio::piped()).spawn().unwrap();
    let mut cat =
        native("cat").stdin(seq.stdout.take().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let tail = Command::new("wc").arg("-l").stdin(cat.stdout.take().unwrap()).output().unwrap();
    assert_eq!(text(&tail.stdout).trim(), "2000");
    assert!(seq.wait().unwrap().success() && cat.wait().unwrap().success());
    assert_eq!(session.finish().unwrap().spawns.len(), 3);
}

#[test]
fn time_moves_for_a_guest_while_a_native_program_waits_for_it() {
    let session = session();
    let mut head = Command::new("build");
    let _ = &mut head;
    let (mut reader, writer) = testbench_harness::pipe().unwrap();
    let mut cat = native("cat").stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
    let mut stdin = cat.stdin.take().unwrap();
    for _ in 0..3 {
        testbench_clock::sleep(Duration::from_secs(60));
        stdin.write_all(b"x").unwrap();
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
    drop(stdin);
    assert!(cat.wait().unwrap().success());
    let took = session.finish().unwrap().virtual_time;
    assert!(took >= Duration::from_secs(180) && took < Duration::from_secs(190), "{took:?}");
}

#[test]
fn kill_is_sigkill_for_both() {
    let _session = session();
    for mut child in [
        Command::new("sleep").arg("1h").spawn().unwrap(),
        native("exec sleep 3600").spawn().unwrap(),
    ] {
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{child:?}");
        child.kill().unwrap();
    }
}

#[test]
fn a_wait_that_cannot_end_is_a_deadlock_and_the_child_is_still_there() {
    let _session = session();
    let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = cat.stdin.take();
    assert_eq!(cat.wait().unwrap_err().kind(), ErrorKind::Deadlock);
    drop(stdin);
    // The deadlock has ended the guest as well.
    assert_eq!(cat.wait().unwrap().signal(), Some(9));
}
