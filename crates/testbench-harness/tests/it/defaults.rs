//! The table of defaults, a test for each row: in a session, and without one.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests compare with the real environment")]

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::time::Duration;

use crate::common::{bench, dir_with, text, tools_with};
use testbench_clock::{Clock, SystemClock};
use testbench_harness::{Command, Policy, SpawnError, Stdio, Testbench, Toolchain};
use testbench_wasi::Limits;

fn tools() -> testbench_harness::TestbenchBuilder {
    Testbench::builder().toolchain(Toolchain::builtin())
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[test]
fn the_clock_is_paused_at_2000() {
    let session = tools().build().unwrap().enter();
    assert_eq!(stdout(&mut Command::new("date")), "2000-01-01T00:00:00.000000000Z\n");
    assert_eq!(stdout(&mut Command::new("date")), "2000-01-01T00:00:00.000000000Z\n");
    assert_eq!(testbench_clock::now().to_string(), "2000-01-01T00:00:00Z");
    drop(session);
    assert!(!testbench_clock::is_mocked());
}

#[test]
fn the_real_clock_is_opted_into() {
    let session = tools().real_clock().build().unwrap().enter();
    let year: u32 = stdout(Command::new("date").arg("+%Y")).trim().parse().unwrap();
    assert!(year >= 2025);
    let before = SystemClock::new("test").mono();
    assert!(Command::new("sleep").arg("0.05").status().unwrap().success());
    assert!(SystemClock::new("test").mono().duration_since(before) >= Duration::from_millis(50));
    assert!(session.finish().unwrap().virtual_time >= Duration::from_millis(50));
}

#[test]
fn the_seed_is_0() {
    let random = |bench: testbench_harness::TestbenchBuilder| {
        let _session = bench.build().unwrap().enter();
        let output = Command::new("fingerprint").output().unwrap();
        let line = text(&output.stdout).lines().find(|line| line.starts_with("random "));
        line.unwrap().to_owned()
    };
    assert_eq!(random(tools()), random(tools().seed(0)));
    assert_ne!(random(tools()), random(tools().seed(1)));
}

#[test]
fn the_environment_is_empty_but_for_what_is_asked_for() {
    assert!(std::env::var_os("PATH").is_some(), "the test wants something to hide");
    let session = tools().build().unwrap().enter();
    assert_eq!(stdout(&mut Command::new("env")), "PWD=/\nTZ=UTC\n");
    assert_eq!(
        stdout(Command::new("env").env("B", "2").env("A", "1")),
        "A=1\nB=2\nPWD=/\nTZ=UTC\n"
    );
    assert_eq!(stdout(Command::new("env").env_remove("TZ")), "PWD=/\n");
    assert_eq!(stdout(Command::new("env").env("TZ", "CET").env("PWD", "/x")), "PWD=/x\nTZ=CET\n");
    assert_eq!(stdout(Command::new("env").env_clear().env("A", "1").env_remove("PWD")), "A=1\n");
    drop(session);

    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let bench = tools().pass_env(["CARGO_MANIFEST_DIR", "NOT_SET_ANYWHERE"]).env("X", "session");
    let session = bench.build().unwrap().enter();
    let expected = format!("CARGO_MANIFEST_DIR={manifest}\nPWD=/\nTZ=UTC\nX=session\n");
    assert_eq!(stdout(&mut Command::new("env")), expected);
    assert!(stdout(Command::new("env").env("X", "command")).contains("X=command\n"));
    assert_eq!(stdout(Command::new("env").env_clear()), "PWD=/\n");
    drop(session);

    // Without a session it is the process's environment.
    assert!(stdout(&mut Command::new("env")).contains(&format!("CARGO_MANIFEST_DIR={manifest}\n")));
}

#[test]
fn stdin_is_empty_for_output_and_status_alike() {
    let dir = dir_with(&[]);
    let _session = bench(dir.path()).build().unwrap().enter();
    assert_eq!(stdout(&mut Command::new("cat")), "");
    // It would hang here if it were inherited from a terminal, and `tee` would write what it got.
    assert!(Command::new("tee").arg("got").status().unwrap().success());
    assert_eq!(stdout(Command::new("wc").args(["-c", "got"])).trim(), "0 got");
    assert_eq!(stdout(Command::new("cat").stdin(testbench_harness::Stdio::piped())), "");
    assert_eq!(
        stdout(Command::new("cat").stdin_bytes(b"\xffbytes".map(|b| b & 0x7f))),
        "\u{7f}bytes"
    );
}

#[test]
fn stdin_is_empty_for_spawn_as_well_and_for_native_programs() {
    let _session = tools().policy("sh", Policy::Native).build().unwrap().enter();
    let mut sh = Command::new("sh");
    sh.args(["-c", "cat; exit 7"]);
    for mut command in [Command::new("cat"), sh] {
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stdout), "", "{command:?}");
        assert!(matches!(output.status.code(), Some(0 | 7)), "{command:?}: {}", output.status);
        assert_eq!(command.output().unwrap().stdout, b"");
        assert!(command.status().unwrap().code().is_some());
    }
}

/// Its own for `status` and `spawn`, none for `output`.
#[cfg(target_os = "linux")]
#[test]
fn stdin_is_that_of_std_without_a_session() {
    let is_ours = || {
        let mut command = Command::new("sh");
        command.args(["-c", "test /proc/self/fd/0 -ef /proc/$PPID/fd/0"]);
        command
    };
    let is_none = || {
        let mut command = Command::new("sh");
        command.args(["-c", "test /proc/self/fd/0 -ef /dev/null"]);
        command
    };
    assert!(is_ours().status().unwrap().success());
    assert!(is_ours().spawn().unwrap().wait().unwrap().success());
    assert!(is_none().output().unwrap().status.success());
    assert!(is_none().stdin(Stdio::null()).status().unwrap().success());
}

#[test]
fn without_a_session_the_clock_is_real() {
    let before = std::time::SystemTime::now();
    let now = testbench_clock::now();
    assert!(now >= before.into() && now <= std::time::SystemTime::now().into());
    let seconds: u64 = stdout(Command::new("date").arg("+%s")).trim().parse().unwrap();
    let since = before.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((since..since + 60).contains(&seconds), "{seconds}");
}

#[test]
fn the_network_is_refused() {
    // Exits with the errno of `sock_accept` on a descriptor that is open, here stdin.
    let tools = tools_with(&[(
        "accept.wasm",
        r#"(module
            (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (call $accept (i32.const 0) (i32.const 0) (i32.const 8)))))"#,
    )]);
    const ENOTSOCK: i32 = 57;
    const ENOTSUP: i32 = 58;
    let _session = Testbench::builder().toolchain(tools.path()).build().unwrap().enter();
    let status = Command::new("accept").status().unwrap();
    assert!(matches!(status.code(), Some(ENOTSOCK | ENOTSUP)), "{status}");
}

#[test]
fn a_program_that_the_toolchain_lacks_is_not_found_though_the_host_has_it() {
    assert!(Command::new("sh").args(["-c", ":"]).status().unwrap().success());
    let _session = tools().build().unwrap().enter();
    let error = Command::new("sh").args(["-c", ":"]).status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(SpawnError::of(&error).unwrap().shell_status(), 127);
}

#[test]
fn the_watchdog_is_a_minute_and_can_be_set() {
    assert_eq!(Limits::default().watchdog, Some(Duration::from_secs(60)));
    let tools = tools_with(&[(
        "forever.wasm",
        r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#,
    )]);
    let bench = Testbench::builder().toolchain(tools.path()).watchdog(Duration::from_millis(100));
    let session = bench.build().unwrap().enter();
    let run = Command::new("forever").run().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&run.exit.status()), Some(9));
    assert!(run.exit.to_string().contains("watchdog"));
    assert_eq!(session.finish().unwrap().virtual_time, Duration::ZERO);
}

#[test]
fn the_watchdog_ends_native_programs_too_and_there_is_none_without_a_session() {
    let watchdog = Duration::from_millis(100);
    let session = tools().watchdog(watchdog).build().unwrap().enter();
    let mut sleep = Command::new("sleep");
    sleep.arg("3600").via(Policy::Native);
    let run = sleep.run().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&run.exit.status()), Some(9));
    assert!(run.exit.to_string().contains("watchdog"));
    drop(session);

    assert!(Command::new("sleep").arg("0.1").via(Policy::Native).status().unwrap().success());
}

/// The settings that only a session understands fail the start where there is none.
#[test]
fn limits_timeout_and_policies_need_a_session() {
    let error = |command: &mut Command| {
        let error = command.status().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(command.spawn().unwrap_err().to_string(), error.to_string());
        assert_eq!(command.run().unwrap_err().to_string(), error.to_string());
        error.to_string()
    };
    insta::assert_snapshot!(error(Command::new("true").timeout(Duration::from_secs(1))), @"`true` was not started: its `.timeout(…)` needs a session, and this thread has none: enter a `Testbench`, or the session's `Context`, on this thread");
    assert!(error(Command::new("true").limits(Limits::default())).contains("`.limits(…)`"));
    assert!(error(Command::new("true").via(Policy::Deny)).contains("`.via(…)`"));
}

#[test]
fn the_current_dir_is_the_root_if_the_process_is_elsewhere_and_its_own_if_it_is_inside() {
    let dir = dir_with(&[("sub/", "")]);
    let root = dir.path().to_str().unwrap();
    let session = bench(dir.path()).build().unwrap().enter();
    assert!(stdout(&mut Command::new("env")).contains(&format!("PWD={root}\n")));
    let sub = stdout(Command::new("env").current_dir("sub"));
    assert!(sub.contains(&format!("PWD={root}/sub\n")), "{sub}");
    assert!(stdout(Command::new("env").env("PWD", "/x")).contains("PWD=/x\n"));
    drop(session);

    // Tests of cargo run in the directory of their package.
    let here = std::env::current_dir().unwrap();
    let _session = bench(here.parent().unwrap()).build().unwrap().enter();
    assert!(stdout(&mut Command::new("env")).contains(&format!("PWD={}\n", here.display())));
    assert!(stdout(Command::new("ls").arg("tests/it")).contains("defaults.rs\n"));
    assert!(stdout(Command::new("ls").current_dir("tests/it")).contains("defaults.rs\n"));
}

#[test]
fn the_name_is_that_of_the_thread() {
    let session = tools().build().unwrap().enter();
    assert_eq!(session.name(), "defaults::the_name_is_that_of_the_thread");
    assert_eq!(tools().name("mine").build().unwrap().enter().name(), "mine");
    assert_eq!(Command::new("x").get_program(), OsStr::new("x"));
}
