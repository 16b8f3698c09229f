//! `library/std/src/process/tests.rs`

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process;
use std::time::Duration;

use testbench_harness::{Command, Stdio};
use testbench_overlay::fs;

use crate::common::text;
use crate::subject::Subject;

/// What a child with a piped stdout prints, which ends well.
fn run_output(command: &mut Command) -> String {
    let mut child = command.spawn().unwrap();
    let mut printed = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    printed
}

#[track_caller]
fn is_invalid_input(command: &mut Command) {
    assert_eq!(command.spawn().unwrap_err().kind(), ErrorKind::InvalidInput, "{command:?}");
}

/// The variables of a child, without what a session adds.
fn variables(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    assert!(output.status.success());
    let lines = text(&output.stdout).lines().filter(|line| !line.starts_with("PWD="));
    lines.map(str::to_owned).collect()
}

pub(crate) fn smoke(subject: &Subject) {
    let mut child = subject.act(["exit", "0"]).spawn().unwrap();
    assert!(child.wait().unwrap().success());
}

pub(crate) fn smoke_failure(subject: &Subject) {
    let mut command = subject.program("if-this-is-a-binary-then-the-world-has-ended");
    assert_eq!(command.spawn().unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) fn exit_reported_right(subject: &Subject) {
    let mut child = subject.act(["exit", "1"]).spawn().unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    assert_eq!(child.wait().unwrap(), status);
}

pub(crate) fn signal_reported_right(subject: &Subject) {
    let mut child = subject.act(["line"]).stdin(Stdio::piped()).spawn().unwrap();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (None, Some(9)));
}

pub(crate) fn stdout_works(subject: &Subject) {
    let printed = run_output(subject.act(["out", "foobar"]).stdout(Stdio::piped()));
    assert_eq!(printed, "foobar\n");
}

pub(crate) fn set_current_dir_works(subject: &Subject) {
    let dir = subject.dir().join("sub");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("here"), "found\n").unwrap();
    let mut command = subject.act(["read", "here", "pwd"]);
    let printed = run_output(command.current_dir(&dir).stdout(Stdio::piped()));
    let (read, pwd) = printed.split_once('\n').unwrap();
    assert_eq!(read, "found");
    // A native child of a session is in a copy, which is called like the original.
    let end = dir.strip_prefix(dir.parent().unwrap().parent().unwrap()).unwrap();
    assert!(pwd.trim_end().ends_with(end.to_str().unwrap()), "{pwd}");
}

pub(crate) fn stdin_works(subject: &Subject) {
    let mut command = subject.act(["line"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"foobar").unwrap();
    drop(child.stdin.take());
    let mut printed = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(printed, "foobar");
}

/// Of this one upstream reads into a buffer that is not initialized; here the buffer is too small.
pub(crate) fn child_stdout_read_buf(subject: &Subject) {
    let mut child = subject.act(["out", "abc"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut bytes = Vec::new();
    let mut buf = [0; 3];
    loop {
        match stdout.read(&mut buf).unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&buf[..n]),
        }
    }
    assert_eq!(bytes, b"abc\n");
    assert_eq!(stdout.read(&mut buf).unwrap(), 0, "the end stays the end");
    assert!(child.wait().unwrap().success());
}

pub(crate) fn test_process_status(subject: &Subject) {
    assert_eq!(subject.act(["exit", "1"]).status().unwrap().code(), Some(1));
    assert!(subject.act(["exit", "0"]).status().unwrap().success());
}

pub(crate) fn test_process_output_fail_to_start(subject: &Subject) {
    let mut command = subject.program("/no-binary-by-this-name-should-exist");
    assert_eq!(command.output().unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) fn test_process_output_output(subject: &Subject) {
    let output = subject.act(["out", "hello"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("hello\n", ""));
}

pub(crate) fn test_process_output_error(subject: &Subject) {
    let output = subject.act(["read", "missing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), "act: missing: No such file or directory\n");
}

pub(crate) fn test_finish_once(subject: &Subject) {
    let mut child = subject.act(["exit", "1"]).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

pub(crate) fn test_finish_twice(subject: &Subject) {
    let mut child = subject.act(["exit", "1"]).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

pub(crate) fn test_wait_with_output_once(subject: &Subject) {
    let child = subject.act(["out", "hello"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("hello\n", ""));
}

pub(crate) fn test_override_env(subject: &Subject) {
    let mut command = subject.act(["env"]);
    command.env_clear().env("RUN_TEST_NEW_ENV", "123");
    assert_eq!(variables(&mut command), ["RUN_TEST_NEW_ENV=123"]);
    command.env("RUN_TEST_NEW_ENV", "456");
    assert_eq!(variables(&mut command), ["RUN_TEST_NEW_ENV=456"]);
}

pub(crate) fn test_add_to_env(subject: &Subject) {
    let variables = variables(subject.act(["env"]).env("RUN_TEST_NEW_ENV", "123"));
    assert!(variables.contains(&"RUN_TEST_NEW_ENV=123".to_owned()), "{variables:?}");
}

pub(crate) fn test_interior_nul_in_progname_is_error(subject: &Subject) {
    is_invalid_input(&mut subject.program("has-some-\0\0s-inside"));
}

pub(crate) fn test_interior_nul_in_arg_is_error(subject: &Subject) {
    is_invalid_input(subject.act(["args"]).arg("has-some-\0\0s-inside"));
}

pub(crate) fn test_interior_nul_in_args_is_error(subject: &Subject) {
    is_invalid_input(subject.act(["args"]).args(["whole", "has-some-\0\0s-inside"]));
}

pub(crate) fn test_interior_nul_in_current_dir_is_error(subject: &Subject) {
    is_invalid_input(subject.act(["pwd"]).current_dir("has-some-\0\0s-inside"));
}

pub(crate) fn test_interior_nul_in_env_key_is_error(subject: &Subject) {
    is_invalid_input(subject.act(["env"]).env("has-some-\0\0s-inside", "value"));
}

pub(crate) fn test_interior_nul_in_env_value_is_error(subject: &Subject) {
    is_invalid_input(subject.act(["env"]).env("key", "has-some-\0\0s-inside"));
}

/// Built here, run there.
pub(crate) fn test_command_implements_send_sync(subject: &Subject) {
    fn take_send_sync_type<T: Send + Sync>(of: T) -> T {
        of
    }
    let mut command = take_send_sync_type(subject.act(["out", "sent"]));
    let thread = testbench_clock::thread::spawn(move || command.output().unwrap());
    assert_eq!(text(&thread.join().unwrap().stdout), "sent\n");
}

pub(crate) fn env_empty(subject: &Subject) {
    let mut command = subject.act(["env"]);
    assert_eq!(variables(command.env_clear()), [""; 0]);
}

pub(crate) fn debug_print(subject: &Subject) {
    let mut ours = subject.program("some-boring-name");
    let mut std = process::Command::new("some-boring-name");
    let same = |ours: &mut Command, std: &mut process::Command| {
        assert_eq!(format!("{ours:?}"), format!("{std:?}"));
    };
    same(&mut ours, &mut std);
    same(ours.arg("1").args(["2 3", "'"]), std.arg("1").args(["2 3", "'"]));
    same(ours.env("FOO", "bar baz"), std.env("FOO", "bar baz"));
    same(ours.env_remove("GONE"), std.env_remove("GONE"));
    same(ours.current_dir("/some/path"), std.current_dir("/some/path"));
    let arg0 = std::os::unix::process::CommandExt::arg0;
    same(ours.arg0("exciting-name"), arg0(&mut std, "exciting-name"));
    same(ours.env_clear(), std.env_clear());
    same(ours.env("FOO", "bar"), std.env("FOO", "bar"));
}

pub(crate) fn terminate_exited_process(subject: &Subject) {
    let mut child = subject.act(["exit", "0"]).spawn().unwrap();
    // Ended, and not waited for.
    testbench_clock::sleep(Duration::from_millis(50));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "what comes after the end changes nothing: {status}");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap(), status);
}
