//! xshell's `tests/it`

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use testbench_harness::{Command, Finished};
use testbench_overlay::fs;

use crate::common::text;
use crate::subject::{Kind, Subject};

/// Expression `read()` of xshell, without a look at the status.
fn read(command: &mut Command) -> String {
    text(&command.output().unwrap().stdout).trim_end().to_owned()
}

/// Runs it with a timeout: of a guest on the session's clock, else of real time. Without a session
/// there are none.
fn within(subject: &Subject, timeout: Duration, command: &mut Command) -> Finished {
    if subject.kind() != Kind::Std {
        command.timeout(timeout);
    }
    command.run().unwrap()
}

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(100);

/// What ends in time is as if there were no timeout.
fn in_time(subject: &Subject) -> Finished {
    let run =
        within(subject, LONG, &mut subject.act(["out", "early", "err", "early, too", "exit", "0"]));
    assert!(run.exit.status().success());
    run
}

/// What does not end in time is ended, and what it has said until then is there.
fn too_late(subject: &Subject) -> Option<Finished> {
    if subject.kind() == Kind::Std {
        return None;
    }
    let words = ["out", "before", "err", "before, too", "sleep", "1000", "out", "after"];
    let run = within(subject, SHORT, &mut subject.act(words));
    assert_eq!(run.exit.status().signal(), Some(9));
    let exit = run.exit.to_string();
    assert!(exit.contains("50ms"), "{exit}");
    assert!(run.virtual_time >= SHORT, "{:?}", run.virtual_time);
    Some(run)
}

pub(crate) fn smoke(subject: &Subject) {
    assert_eq!(read(&mut subject.act(["out", "hello"])), "hello");
}

pub(crate) fn exit_status(subject: &Subject) {
    let output = subject.act(["out", "", "err", "other error", "exit", "1"]).output().unwrap();
    assert_eq!(output.status.to_string(), "exit status: 1");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("\n", "other error\n"));
}

pub(crate) fn exit_status_signal(subject: &Subject) {
    let status = subject.act(["out", "", "abort"]).output().unwrap().status;
    assert_eq!((status.code(), status.signal()), (None, Some(6)));
}

pub(crate) fn ignore_status(subject: &Subject) {
    assert_eq!(read(&mut subject.act(["exit", "1"])), "");
}

pub(crate) fn ignore_status_no_such_command(subject: &Subject) {
    let error = subject.program("act-f").output().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

pub(crate) fn ignore_status_signal(subject: &Subject) {
    assert_eq!(read(&mut subject.act(["out", "dead", "abort"])), "dead");
}

pub(crate) fn read_stderr(subject: &Subject) {
    let output = subject.act(["err", "snafu", "exit", "1"]).output().unwrap();
    assert!(text(&output.stderr).contains("snafu"));
}

pub(crate) fn unknown_command(subject: &Subject) {
    let error = subject.program("nope").args(["no", "way"]).output().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    if subject.session().is_some() {
        assert!(error.to_string().starts_with("`nope`"), "{error}");
    }
}

pub(crate) fn args_with_spaces(subject: &Subject) {
    let words = ["args", "hello world", "hello", "world", " ", "\n", "\"", "$HOME", "*"];
    let expected: String = words[1..].iter().map(|word| format!("[{word}]\n")).collect();
    assert_eq!(text(&subject.act(words).output().unwrap().stdout), expected);
}

pub(crate) fn escape(subject: &Subject) {
    assert_eq!(read(&mut subject.act(["out", r"\hello\ '\world\'"])), r"\hello\ '\world\'");
}

pub(crate) fn stdin_redirection(subject: &Subject) {
    let lines = "foo\nbaz\nbar\n";
    let output = subject.act(["cat"]).stdin_bytes(lines).output().unwrap();
    assert_eq!(text(&output.stdout), lines);
}

/// More than all pipes on the way hold, there and back.
pub(crate) fn no_deadlock(subject: &Subject) {
    let data = "All the work and now paly made Jack a dull boy.\n".repeat(1 << 16);
    let output = subject.act(["cat"]).stdin_bytes(&*data).output().unwrap();
    assert_eq!(text(&output.stdout), data);
}

pub(crate) fn test_env(subject: &Subject) {
    let mut command = subject.act(["getenv", "MARKER", "getenv", "OTHER"]);
    command.envs([("MARKER", "one"), ("OTHER", "")]);
    assert_eq!(read(&mut command), "one");
    assert_eq!(read(command.env_remove("MARKER")), "(unset)");
}

pub(crate) fn test_env_clear(subject: &Subject) {
    let mut command = subject.act(["getenv", "CARGO_MANIFEST_DIR", "getenv", "KEPT"]);
    assert_eq!(read(command.env("LOST", "1").env_clear().env("KEPT", "2")), "(unset)\n2");
}

pub(crate) fn recovers_from_panics(subject: &Subject) {
    let dir = subject.dir().join("sub");
    fs::create_dir(&dir).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut child = subject.act(["sleep", "1000000"]).current_dir(&dir).spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        // For the control, whose children no session ends.
        child.kill().unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(panicked.is_err());
    assert_eq!(read(subject.act(["out", "well"]).current_dir(&dir)), "well");
}

pub(crate) fn nonexistent_current_directory(subject: &Subject) {
    let mut command = subject.act(["pwd"]);
    let error = command.current_dir(subject.dir().join("nonexistent")).output().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    if subject.session().is_some() {
        assert!(error.to_string().contains("nonexistent` cannot be entered"), "{error}");
    }
}

pub(crate) fn test_run_timeout_success(subject: &Subject) {
    in_time(subject);
}

pub(crate) fn test_run_timeout_failure(subject: &Subject) {
    too_late(subject);
}

pub(crate) fn test_read_timeout_success(subject: &Subject) {
    assert_eq!(text(&in_time(subject).stdout), "early\n");
}

pub(crate) fn test_read_timeout_failure(subject: &Subject) {
    if let Some(run) = too_late(subject) {
        assert_eq!(text(&run.stdout), "before\n");
    }
}

pub(crate) fn test_read_stderr_timeout_success(subject: &Subject) {
    assert_eq!(text(&in_time(subject).stderr), "early, too\n");
}

pub(crate) fn test_read_stderr_timeout_failure(subject: &Subject) {
    if let Some(run) = too_late(subject) {
        assert_eq!(text(&run.stderr), "before, too\n");
    }
}

pub(crate) fn test_output_timeout_success(subject: &Subject) {
    // Once more the same command, so that a timeout does not go on from one start to the next.
    let mut command = subject.act(["sleep", "0.03", "out", "slept"]);
    for _ in 0..3 {
        let run = within(subject, Duration::from_secs(1), &mut command);
        assert_eq!((run.exit.status().code(), text(&run.stdout)), (Some(0), "slept\n"));
    }
}

pub(crate) fn test_output_timeout_failure(subject: &Subject) {
    // What was started beside it has its own time.
    let mut other = subject.act(["sleep", "0.2"]).spawn().unwrap();
    too_late(subject);
    assert!(other.wait().unwrap().success());
}
