//! Programs that a policy lets run natively, in a session without an overlay.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "native programs live in real time")]

use std::io::ErrorKind;
use std::time::Duration;

use crate::common::text;
use testbench_harness::{Command, Policy, Session, SpawnError, Testbench, Toolchain};

fn session() -> Session {
    Testbench::builder()
        .toolchain(Toolchain::builtin())
        .policy("sh", Policy::Native)
        .policy("no-such-program", Policy::Native)
        .env("FROM_SESSION", "yes")
        .build()
        .unwrap()
        .enter()
}

#[test]
fn a_native_program_has_the_sessions_variables_over_the_processs() {
    let _session = session();
    let show = |command: &mut Command| {
        let script = "echo $FROM_SESSION $TZ ${PATH:+path} ${CARGO_MANIFEST_DIR:+cargo}";
        text(&command.args(["-c", script]).output().unwrap().stdout).to_owned()
    };
    assert_eq!(show(&mut Command::new("sh")), "yes UTC path cargo\n");
    assert_eq!(show(Command::new("sh").env("FROM_SESSION", "no")), "no UTC path cargo\n");
    assert_eq!(show(Command::new("/bin/sh").env_remove("FROM_SESSION")), "UTC path cargo\n");
    assert!(!show(Command::new("/bin/sh").env_clear()).contains("yes"));
}

#[test]
fn its_stdin_is_empty_and_its_status_its_own() {
    let _session = session();
    assert_eq!(
        Command::new("sh").args(["-c", "read x || exit 5"]).status().unwrap().code(),
        Some(5)
    );
    let output =
        Command::new("sh").args(["-c", "cat; exit 9"]).stdin_bytes("in\n").output().unwrap();
    assert_eq!((text(&output.stdout), output.status.code()), ("in\n", Some(9)));
}

#[test]
fn the_time_that_it_took_passes_on_the_sessions_clock_in_whole_milliseconds() {
    let session = session();
    let before = testbench_clock::instant_now();
    let run = Command::new("sh").args(["-c", "sleep 0.05"]).run().unwrap();
    let took = testbench_clock::instant_now().duration_since(before);
    assert_eq!(run.virtual_time, took);
    assert!(took >= Duration::from_millis(50), "{took:?}");
    assert_eq!(took.subsec_nanos() % 1_000_000, 0, "{took:?}");
    assert!(run.exit.success());
    let report = session.finish().unwrap();
    assert_eq!(report.virtual_time, took);
    assert_eq!(report.spawns[0].status, Some(run.exit.status()));
}

#[test]
fn a_program_that_the_host_lacks_is_an_error_with_its_source() {
    let _session = session();
    let error = Command::new("no-such-program").output().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(matches!(SpawnError::of(&error), Some(SpawnError::Native { .. })), "{error:?}");
    insta::assert_snapshot!(error, @"`no-such-program` could not be started as a native program: No such file or directory (os error 2)");
}

/// A program that another process has open for writing cannot be started, which passes when it was only
/// just written: by this process, or because another thread's child was being started meanwhile.
#[test]
fn a_program_that_was_just_written_can_be_started() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("just-written");
    std::fs::copy("/bin/sh", &program).unwrap();
    let open = || std::fs::OpenOptions::new().append(true).open(&program).unwrap();
    let exit_3 = || {
        let mut command = Command::new(&program);
        command.args(["-c", "exit 3"]).via(Policy::Native);
        command
    };

    let writing = open();
    let closes = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        drop(writing);
    });
    let session = session();
    assert_eq!(exit_3().status().unwrap().code(), Some(3));
    closes.join().unwrap();

    // It does not wait for ever. Some kernels let it be started.
    let _writing = open();
    match std::process::Command::new(&program).args(["-c", "exit 3"]).status() {
        Ok(status) => assert_eq!(exit_3().status().unwrap(), status),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ExecutableFileBusy);
            let error = exit_3().status().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ExecutableFileBusy);
            assert!(matches!(SpawnError::of(&error), Some(SpawnError::Native { .. })), "{error:?}");
        }
    }
    session.finish().unwrap();
}

#[test]
fn the_end_of_a_native_program_is_heard_while_another_one_works() {
    let session = session();
    let native = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    };
    // As a server does, which waits for nothing of ours.
    let mut server = native("exec sleep 3600").spawn().unwrap();
    let run = native("sleep 0.05; exit 4").run().unwrap();
    assert_eq!(run.exit.status().code(), Some(4));
    assert!(run.virtual_time >= Duration::from_millis(50), "{:?}", run.virtual_time);
    assert!(server.try_wait().unwrap().is_none());
    server.kill().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&server.wait().unwrap()), Some(9));
    // The server was there all along, and its time has passed.
    let report = session.finish().unwrap();
    assert!(report.virtual_time >= Duration::from_millis(50), "{:?}", report.virtual_time);
    assert!(report.virtual_time < Duration::from_secs(60), "{:?}", report.virtual_time);
}
