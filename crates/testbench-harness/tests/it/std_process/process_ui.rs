//! `tests/ui/process`

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use testbench_harness::Stdio;
use testbench_overlay::fs;

use crate::common::text;
use crate::subject::Subject;

/// Rust's, so that no test of one depends on what the host's terminal says.
const UNICODE: &str = "\u{3c0}\u{42f}\u{97f3}\u{e6}\u{221e}";

pub(crate) fn test_destroy_once(subject: &Subject) {
    let mut child = subject.act(["sleep", "1000"]).spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

pub(crate) fn test_destroy_twice(subject: &Subject) {
    let mut child = subject.act(["sleep", "1000"]).spawn().unwrap();
    child.kill().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

pub(crate) fn test_destroy_actually_kills(subject: &Subject) {
    // It would stay for ever: its input stays open.
    let mut child = subject.act(["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    drop(stdin);
}

/// Of this one upstream looks from the end; here from both.
pub(crate) fn env_args_reverse_iterator(subject: &Subject) {
    let output = subject.act(["args", "foo", "bar", "baz"]).output().unwrap();
    assert_eq!(text(&output.stdout), "[foo]\n[bar]\n[baz]\n");
    let mut from_the_end = text(&output.stdout).lines().rev();
    assert_eq!(from_the_end.next(), Some("[baz]"));
}

pub(crate) fn fds_are_cloexec(subject: &Subject) {
    let file = tempfile::tempfile().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    // Numbers at which a child has nothing of its own.
    let open: Vec<OwnedFd> = [OwnedFd::from(file), reader.into(), writer.into()]
        .into_iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 200).unwrap())
        .collect();
    let words = open.iter().flat_map(|fd| ["closed".to_owned(), fd.as_raw_fd().to_string()]);
    let output = subject.act(words).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What a session passes on is what a process inherits.
pub(crate) fn inherit_env(subject: &Subject) {
    let output = subject.act(["getenv", "CARGO_MANIFEST_DIR"]).output().unwrap();
    assert_eq!(text(&output.stdout).trim_end(), env!("CARGO_MANIFEST_DIR"));
}

pub(crate) fn issue_13304(subject: &Subject) {
    let mut command = subject.act(["line", "line", "line"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"test1\ntest2\ntest3").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "test1\ntest2\ntest3");
}

/// Unused pipes, in all three places.
pub(crate) fn issue_14456(subject: &Subject) {
    let mut command = subject.act(["out", "foo", "err", "bar", "eof"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    assert!(command.spawn().unwrap().wait().unwrap().success());
}

/// More than pipes hold.
pub(crate) fn issue_14940(subject: &Subject) {
    let words = ["out", "hello"].repeat(1000);
    let output = subject.act(words.iter().copied().chain(["fill", "300000"])).output().unwrap();
    assert!(output.status.success());
    let (lines, rest) = output.stdout.split_at(6000);
    assert_eq!(text(lines), "hello\n".repeat(1000));
    assert_eq!(rest.len(), 300_000);
}

pub(crate) fn issue_16272(subject: &Subject) {
    let output = subject.act(["args", "foo", ""]).output().unwrap();
    assert_eq!(text(&output.stdout), "[foo]\n[]\n");
}

pub(crate) fn issue_20091(subject: &Subject) {
    let output = subject.act(["args"]).arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"[\xff]\n");
}

pub(crate) fn no_stdio(subject: &Subject) {
    let mut command = subject.act(["out", "test", "err", "test", "eof"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap();
    assert!(status.success(), "{status}");
}

pub(crate) fn process_envs(subject: &Subject) {
    let filtered = [("RUN_TEST_NEW_ENV", "123"), ("RUN_TEST_OTHER", "456")];
    let mut command = subject.act(["env"]);
    command.env_clear().envs(filtered).env_remove("RUN_TEST_OTHER").env_remove("PWD");
    let output = command.output().unwrap();
    let printed: Vec<_> =
        text(&output.stdout).lines().filter(|line| !line.starts_with("PWD=")).collect();
    assert_eq!(printed, ["RUN_TEST_NEW_ENV=123"]);
}

pub(crate) fn process_exit(subject: &Subject) {
    assert_eq!(subject.act(["exit", "40", "out", "never"]).status().unwrap().code(), Some(40));
}

pub(crate) fn process_remove_from_env(subject: &Subject) {
    let mut command = subject.act(["getenv", "CARGO_MANIFEST_DIR"]);
    let output = command.env_remove("CARGO_MANIFEST_DIR").output().unwrap();
    assert_eq!(text(&output.stdout), "(unset)\n");
}

/// Writing into a pipe without a reader ends a child: a native one by a signal, a guest by an error.
pub(crate) fn process_sigpipe(subject: &Subject) {
    let mut command = subject.act(["fill", "100000000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    drop(stdout);
    let status = child.wait().unwrap();
    assert!(!status.success(), "{status}");
}

pub(crate) fn process_spawn_nonexistent(subject: &Subject) {
    let mut command = subject.program("nonexistent");
    assert_eq!(command.spawn().unwrap_err().kind(), ErrorKind::NotFound);
    let mut command = subject.act(["pwd"]);
    command.current_dir(subject.dir().join("nonexistent"));
    assert_eq!(command.spawn().unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) fn process_spawn_with_unicode_params(subject: &Subject) {
    let dir = subject.dir().join(format!("process-spawn-with-unicode-params-{UNICODE}"));
    fs::create_dir(&dir).unwrap();
    let mut command = subject.act(["pwd", "getenv", "RUST_TEST_PROC_SPAWN_UNICODE", "args"]);
    command.arg(UNICODE).current_dir(&dir).env("RUST_TEST_PROC_SPAWN_UNICODE", UNICODE);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    let [cwd, variable, arg] = lines[..] else { panic!("{lines:?}") };
    assert!(cwd.ends_with(dir.file_name().unwrap().to_str().unwrap()), "{cwd}");
    assert_eq!((variable, arg), (UNICODE, &*format!("[{UNICODE}]")));
}

pub(crate) fn signal_exit_status(subject: &Subject) {
    let output = subject.act(["out", "before", "abort", "out", "after"]).output().unwrap();
    assert!(!output.status.success());
    assert_eq!((output.status.code(), output.status.signal()), (None, Some(6)));
    assert_eq!(text(&output.stdout), "before\n");
}

/// The parent lives on when a child does not read.
pub(crate) fn sigpipe_should_be_ignored(subject: &Subject) {
    let mut child = subject.act(["exit", "0"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    assert!(child.wait().unwrap().success());
    // What is between the two may take some of it, and not for ever.
    let error = (0..1000).find_map(|_| stdin.write_all(&[0; 1000]).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

pub(crate) fn try_wait(subject: &Subject) {
    let mut child = subject.act(["sleep", "1000"]).spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..2 {
        assert!(!child.try_wait().unwrap().unwrap().success());
    }

    let mut child = subject.act(["exit", "0"]).spawn().unwrap();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => testbench_clock::sleep(Duration::from_millis(1)),
        }
    };
    assert!(status.success());
    assert_eq!(child.try_wait().unwrap(), Some(status));
}
