//! duct's `src/test.rs`

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use testbench_harness::{Child, Command, Stdio, pipe};
use testbench_overlay::fs::{self, File};

use crate::common::text;
use crate::subject::{Kind, Subject};

/// Expression `read()` of duct: what it prints, without the end of the line.
fn read(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout).trim_end().to_owned()
}

/// Expression `pipe()` of duct: the one writes what the other reads.
fn piped(left: &mut Command, right: &mut Command) -> (Child, Child) {
    let mut left = left.stdout(Stdio::piped()).spawn().unwrap();
    let right = right.stdin(left.stdout.take().unwrap()).spawn().unwrap();
    (left, right)
}

fn statuses((mut left, mut right): (Child, Child)) -> [Option<i32>; 2] {
    let right = right.wait().unwrap().code();
    [left.wait().unwrap().code(), right]
}

/// Expression `wait_timeout()` of duct, on the clock of the parent.
fn wait_timeout(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let until = testbench_clock::instant_now().checked_add(timeout).unwrap();
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || testbench_clock::instant_now() >= until {
            return status;
        }
        testbench_clock::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn test_cmd(subject: &Subject) {
    assert_eq!(read(&mut subject.act(["out", "hi"])), "hi");
}

pub(crate) fn test_start(subject: &Subject) {
    let start = |word| subject.act(["out", word]).stdout(Stdio::piped()).spawn().unwrap();
    let (hi, lo) = (start("hi"), start("lo"));
    assert_eq!(text(&hi.wait_with_output().unwrap().stdout), "hi\n");
    assert_eq!(text(&lo.wait_with_output().unwrap().stdout), "lo\n");
}

/// What is an error in duct is a status here.
pub(crate) fn test_error(subject: &Subject) {
    assert!(!subject.act(["exit", "1"]).status().unwrap().success());
}

pub(crate) fn test_unchecked(subject: &Subject) {
    let mut unchecked = subject.act(["exit", "1"]);
    assert_eq!(unchecked.status().unwrap().code(), Some(1));
    assert_eq!(read(&mut subject.act(["out", "waa"])), "waa");
    // The same command once more.
    assert_eq!(unchecked.output().unwrap().status.code(), Some(1));
}

pub(crate) fn test_unchecked_in_pipe(subject: &Subject) {
    let exit = |code: u8| subject.act(["exit".to_owned(), code.to_string()]);
    for (left, right) in [(1, 2), (1, 0), (0, 2), (0, 0)] {
        let codes = statuses(piped(&mut exit(left), &mut exit(right)));
        assert_eq!(codes, [Some(left.into()), Some(right.into())]);
    }
}

pub(crate) fn test_pipe(subject: &Subject) {
    let mut right = subject.act(["swap", "xy"]);
    let (mut left, right) = piped(&mut subject.act(["out", "xxx"]), right.stdout(Stdio::piped()));
    assert_eq!(text(&right.wait_with_output().unwrap().stdout), "yyy\n");
    assert!(left.wait().unwrap().success());
}

pub(crate) fn test_pipe_with_kill(subject: &Subject) {
    let sleep = || subject.act(["sleep", "1000000"]);
    let (mut left, mut right) = piped(&mut sleep(), &mut sleep());
    left.kill().unwrap();
    right.kill().unwrap();
    assert_eq!(left.wait().unwrap().signal(), Some(9));
    assert_eq!(right.wait().unwrap().signal(), Some(9));
}

pub(crate) fn test_pipe_start(subject: &Subject) {
    let nonexistent = || subject.program("nonexistent!!!");
    // The left side is not started.
    let error = nonexistent().stdout(Stdio::piped()).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // The right side is not: so the output of the left one has no reader.
    let mut left = subject.act(["fill", "1000000"]);
    let mut left = left.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let error = nonexistent().stdin(left.stdout.take().unwrap()).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!left.wait().unwrap().success());
}

pub(crate) fn test_then_makes_progress(subject: &Subject) {
    let (mut reader, writer) = pipe().unwrap();
    let mut first = subject.act(["out", "hi"]);
    first.stdout(writer.try_clone().unwrap());
    let mut second = subject.act(["out", "lo"]);
    second.stdout(writer);
    let both = testbench_clock::thread::spawn(move || {
        assert!(first.status().unwrap().success());
        drop(first);
        assert!(second.status().unwrap().success());
    });
    // Before the first wait for them.
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "hi\nlo\n");
    both.join().unwrap();
}

/// One thread waits for the child's output, and another one kills it.
pub(crate) fn test_multiple_threads(subject: &Subject) {
    let mut command = subject.act(["out", "started", "sleep", "1000000"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let wait = testbench_clock::thread::spawn(move || {
        let mut printed = String::new();
        stdout.read_to_string(&mut printed).unwrap();
        printed
    });
    child.kill().unwrap();
    let printed = wait.join().unwrap();
    assert!(["started\n", ""].contains(&&*printed), "{printed}");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

pub(crate) fn test_nonblocking_waits(subject: &Subject) {
    let sleep = || subject.act(["sleep", "1000000"]);
    let (mut left, mut right) = piped(&mut sleep(), &mut sleep());
    for child in [&mut left, &mut right] {
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}

pub(crate) fn test_input(subject: &Subject) {
    assert_eq!(read(subject.act(["swap", "xy"]).stdin_bytes("xxx")), "yyy");
}

pub(crate) fn test_stderr(subject: &Subject) {
    let (mut reader, writer) = pipe().unwrap();
    let mut command = subject.act(["err", "hi"]);
    assert!(command.stderr(writer).status().unwrap().success());
    drop(command);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "hi\n");
}

pub(crate) fn test_null(subject: &Subject) {
    let mut command = subject.act(["cat", "out", "x", "err", "y"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(read(&mut command), "");
}

pub(crate) fn test_path(subject: &Subject) {
    let (input, output) = (subject.dir().join("input_file"), subject.dir().join("output_file"));
    fs::write(&input, "xxx").unwrap();
    let mut command = subject.act(["swap", "xy"]);
    command.stdin(File::open(&input).unwrap()).stdout(File::create(&output).unwrap());
    assert_eq!(read(&mut command), "");
    assert_eq!(fs::read_to_string(&output).unwrap(), "yyy");
}

pub(crate) fn test_swapping(subject: &Subject) {
    // stdout to stderr: both are the same pipe.
    let both = |words: &[&str]| {
        let (mut reader, writer) = pipe().unwrap();
        let mut command = subject.act(words);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut printed = String::new();
        reader.read_to_string(&mut printed).unwrap();
        assert!(child.wait().unwrap().success());
        printed
    };
    assert_eq!(both(&["out", "hi"]), "hi\n");
    assert_eq!(both(&["err", "hi"]), "hi\n");
    // In the order in which they were written.
    assert_eq!(both(&["out", "1", "err", "2", "out", "3", "err", "4"]), "1\n2\n3\n4\n");
}

/// A real file of this process.
pub(crate) fn test_file(subject: &Subject) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"---example").unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(3)).unwrap();
    assert_eq!(read(subject.act(["cat"]).stdin(file)), "example");
}

pub(crate) fn test_ergonomics(subject: &Subject) {
    let cat = |command: &mut Command| command.output().unwrap().stdout;
    assert_eq!(cat(subject.act(["cat"]).stdin_bytes("borrowed")), b"borrowed");
    let owned = "owned".to_owned();
    assert_eq!(cat(subject.act(["cat"]).stdin_bytes(owned)), b"owned");
    assert_eq!(cat(subject.act(["cat"]).stdin_bytes(b"bytes")), b"bytes");
    assert_eq!(cat(subject.act(["cat"]).stdin_bytes(vec![1, 2, 3])), [1, 2, 3]);
    assert_eq!(cat(subject.act(["cat"]).stdin_bytes(&[4_u8, 5][..])), [4, 5]);
    // Arguments of every kind of string, at once.
    let mut command = subject.act(["args"]);
    command.arg("a").arg(String::from("b")).arg(OsStr::new("c")).arg(OsString::from("d"));
    assert_eq!(read(command.arg(subject.dir())).lines().count(), 5);
}

pub(crate) fn test_capture_both(subject: &Subject) {
    let output = subject.act(["out", "hi", "err", "lo"]).output().unwrap();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("hi\n", "lo\n"));
    let mut command = subject.act(["out", "hi", "err", "lo", "fill", "200000", "err", "end"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.len(), text(&output.stderr)), (200_003, "lo\nend\n"));
}

pub(crate) fn test_dir(subject: &Subject) {
    let dir = subject.dir().join("duct_test");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "in the directory").unwrap();
    let mut command = subject.act(["read", "file"]);
    assert_eq!(read(command.current_dir(&dir)), "in the directory");
    // Whatever the child writes to by a relative path is there as well.
    let mut command = subject.act(["write", "made", "by the child"]);
    assert_eq!(read(command.current_dir(&dir)), "");
    assert_eq!(fs::read_to_string(dir.join("made")).unwrap(), "by the child\n");
}

pub(crate) fn test_env(subject: &Subject) {
    assert_eq!(read(subject.act(["getenv", "foo"]).env("foo", "bar")), "bar");
    assert_eq!(read(subject.act(["getenv", "foo"]).env("foo", "bar").env("foo", "baz")), "baz");
}

pub(crate) fn test_full_env(subject: &Subject) {
    let mut command = subject.act(["getenv", "CARGO_MANIFEST_DIR", "getenv", "foo"]);
    command.env("foo", "junk").env_clear().envs([("foo", "clean")]);
    assert_eq!(read(&mut command), "(unset)\nclean");
}

pub(crate) fn test_env_remove(subject: &Subject) {
    // Of the parent's, of the command's own, and set again.
    let mut command = subject.act(["getenv", "CARGO_MANIFEST_DIR", "getenv", "foo"]);
    command.env_remove("CARGO_MANIFEST_DIR").env("foo", "bar").env_remove("foo");
    assert_eq!(read(&mut command), "(unset)\n(unset)");
    assert_eq!(read(command.env("foo", "again")), "(unset)\nagain");
}

pub(crate) fn test_env_remove_case_sensitivity(subject: &Subject) {
    let mut command = subject.act(["getenv", "foo", "getenv", "FOO"]);
    command.env("foo", "small").env("FOO", "large").env_remove("FOO");
    assert_eq!(read(&mut command), "small\n(unset)");
}

pub(crate) fn test_broken_pipe(subject: &Subject) {
    let mut command = subject.act(["exit", "0"]);
    assert!(command.stdin_bytes(vec![0; 1_000_000]).output().unwrap().status.success());
    assert!(command.status().unwrap().success());
}

pub(crate) fn test_no_argument(subject: &Subject) {
    let output = subject.act([""; 0]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "usage: act WORD...\n");
}

pub(crate) fn test_reader_try_wait(subject: &Subject) {
    let bytes = vec![42; 1_000_000];
    let mut command = subject.act(["cat"]);
    let mut child = command.stdin_bytes(bytes.clone()).stdout(Stdio::piped()).spawn().unwrap();
    // It cannot end before its output is read.
    assert!(child.try_wait().unwrap().is_none());
    let mut read = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
    assert!(wait_timeout(&mut child, Duration::from_secs(10)).unwrap().success());
}

pub(crate) fn test_pids(subject: &Subject) {
    let mut children: Vec<Child> =
        (0..3).map(|_| subject.act(["exit", "0"]).spawn().unwrap()).collect();
    let mut pids: Vec<u32> = children.iter().map(Child::id).collect();
    for (child, pid) in children.iter_mut().zip(&pids) {
        assert!(child.wait().unwrap().success());
        assert_eq!(child.id(), *pid);
    }
    if subject.kind() != Kind::Std {
        assert_eq!(pids, [4_194_305, 4_194_306, 4_194_307]);
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

/// Children whose handles are dropped live on, and are gone when they have ended.
pub(crate) fn test_zombies_reaped(subject: &Subject) {
    let (mut stdout, to_stdout) = pipe().unwrap();
    let (from_stdin, mut stdin) = pipe().unwrap();
    for _ in 0..3 {
        let mut command = subject.act(["out", "at once"]);
        command.stdout(to_stdout.try_clone().unwrap()).spawn().unwrap();
        let mut command = subject.act(["cat", "out", "later"]);
        command.stdin(from_stdin.try_clone().unwrap());
        command.stdout(to_stdout.try_clone().unwrap()).spawn().unwrap();
    }
    drop((from_stdin, to_stdout));
    stdin.write_all(b"in\n").unwrap();
    drop(stdin);
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).unwrap();
    let mut lines: Vec<_> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["at once", "at once", "at once", "in", "later", "later", "later"]);
}

pub(crate) fn test_wait_timeout_and_deadline(subject: &Subject) {
    let mut command = subject.act(["sleep", "0.25", "out", "hi"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    assert!(wait_timeout(&mut child, Duration::from_millis(1)).is_none());
    assert!(wait_timeout(&mut child, Duration::from_millis(10_000)).unwrap().success());
    assert!(wait_timeout(&mut child, Duration::from_millis(10_000)).unwrap().success());
    let Output { stdout, .. } = child.wait_with_output().unwrap();
    assert_eq!(stdout, b"hi\n");
}

/// No child has ends of another one's pipes, whichever thread starts it.
pub(crate) fn test_pipe_inheritance(subject: &Subject) {
    const CHILDREN: usize = 8;
    let sleep = subject.act(["sleep", "1000000"]).get_program().to_owned();
    let mut sleeps: Vec<Command> = (0..CHILDREN).map(|_| subject.program(&sleep)).collect();
    let sleepers = testbench_clock::thread::spawn(move || {
        let start = |sleep: &mut Command| sleep.args(["sleep", "1000000"]).spawn().unwrap();
        sleeps.iter_mut().map(start).collect::<Vec<Child>>()
    });
    let cats: Vec<(Child, Child)> = (0..CHILDREN)
        .map(|_| {
            let mut right = subject.act(["cat"]);
            piped(subject.act(["cat"]).stdin_bytes("foo"), right.stdout(Stdio::piped()))
        })
        .collect();
    let mut sleepers = sleepers.join().unwrap();
    for (mut left, right) in cats {
        assert_eq!(right.wait_with_output().unwrap().stdout, b"foo");
        assert!(left.wait().unwrap().success());
    }
    for sleeper in &mut sleepers {
        sleeper.kill().unwrap();
        assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    }
}
