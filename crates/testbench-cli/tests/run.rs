//! `testbench run` as it is used from a shell.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn guest(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testbench-harness/guests")
        .join(program)
        .with_extension("wasm")
}

/// A command that runs `testbench run`; a test adds arguments.
fn testbench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbench"));
    command.arg("run").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Status and stderr of a run that fails, with the directory's name replaced.
fn failure(output: &Output, dir: &Path) -> String {
    assert_eq!(text(&output.stdout), "");
    let stderr = text(&output.stderr).replace(&*dir.to_string_lossy(), "DIR");
    format!("status {}\n{stderr}", output.status.code().unwrap())
}

#[test]
fn stdin_arguments_and_status_are_passed_on() {
    let mut child = testbench()
        .arg(guest("grep"))
        .args(["-n", "--", "a"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"b\na\nca\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "2:a\n3:ca\n");
    assert_eq!(output.status.code(), Some(0));

    let output = testbench().arg(guest("exit42")).arg("7").output().unwrap();
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn a_directory_is_given_under_the_guests_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.txt"), "hello\n").unwrap();
    let mapping = format!("{}::/data", dir.path().display());
    let run = |mapping: &str, args: &[&str]| {
        testbench().args(["--dir", mapping]).arg(guest(args[0])).args(&args[1..]).output().unwrap()
    };
    assert_eq!(text(&run(&mapping, &["cat", "/data/in.txt"]).stdout), "hello\n");
    assert!(run(&mapping, &["cp", "/data/in.txt", "/data/out.txt"]).status.success());
    assert_eq!(std::fs::read_to_string(dir.path().join("out.txt")).unwrap(), "hello\n");

    let read_only = format!("{mapping}:ro");
    let output = run(&read_only, &["rm", "/data/out.txt"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(dir.path().join("out.txt").exists());
}

#[test]
fn an_overlay_leaves_the_directory_and_gives_a_diff() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.txt"), "b\na\n").unwrap();
    for (file, starts_with) in
        [("diff.txt", "A out.txt\n"), ("diff.json", "{"), ("diff.patch", "diff --git")]
    {
        let file = out.path().join(file);
        let output = testbench()
            .arg("--overlay")
            .arg(dir.path())
            .arg("--diff-out")
            .arg(&file)
            .arg(guest("sort"))
            .args(["-o", "out.txt", "in.txt"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!dir.path().join("out.txt").exists());
        let diff = std::fs::read_to_string(&file).unwrap();
        assert!(diff.starts_with(starts_with) && diff.contains("out.txt"), "{diff}");
    }
}

#[test]
fn sleeps_take_no_real_time() {
    let output = testbench()
        .args(["--summary", "--clock", "2024-02-29T12:00:00Z"])
        .arg(guest("sleep"))
        .arg("1h")
        .output()
        .unwrap();
    let (before, real) = text(&output.stderr).rsplit_once(" virtual, ").unwrap();
    assert_eq!(before, "testbench: status 0, 3600s");
    assert!(real.ends_with(" real\n"));
}

/// Virtual time stands still for a guest that never waits, so it is ended, unless readings move it.
#[test]
fn a_guest_that_only_looks_at_the_clock_is_ended_or_ticked() {
    let spin =
        |flags: &[&str]| testbench().args(flags).arg(guest("spin")).arg("1s").output().unwrap();
    let stuck = spin(&[]);
    assert_eq!(stuck.status.code(), Some(137));
    assert!(text(&stuck.stderr).contains("without waiting"), "{}", text(&stuck.stderr));

    let ticked = spin(&["--tick", "1ms", "--summary"]);
    assert_eq!(ticked.status.code(), Some(0), "{}", text(&ticked.stderr));
    assert!(text(&ticked.stderr).contains(" virtual, "), "{}", text(&ticked.stderr));
}

#[test]
fn the_environment_is_only_what_is_given() {
    let output = testbench()
        .env("SECRET", "1")
        .env("SHARED", "2")
        .args(["--env", "A=b=c", "--env", "SHARED", "--env", "NOT_SET_ANYWHERE"])
        .arg(guest("env"))
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "A=b=c\nSHARED=2\n");
}

#[test]
fn what_cannot_be_run_is_told_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let run = |path: &Path| failure(&testbench().arg(path).output().unwrap(), dir.path());
    insta::assert_snapshot!("missing", run(&dir.path().join("none.wasm")));
    insta::assert_snapshot!("text", run(&file("text.wasm", b"#!/bin/sh\necho hello\n")));
    let cat = std::fs::read(guest("cat")).unwrap();
    insta::assert_snapshot!("truncated", run(&file("cut.wasm", &cat[..cat.len() / 2])));
    insta::assert_snapshot!("directory", run(dir.path()));
}

#[test]
fn a_wrong_flag_is_told_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        failure(&testbench().args(args).arg("x.wasm").output().unwrap(), dir.path())
    };
    insta::assert_snapshot!("clock", run(&["--clock", "noon"]));
    insta::assert_snapshot!("dir", run(&["--dir", "::/a"]));
    insta::assert_snapshot!("flag", run(&["--sed", "1"]));
    insta::assert_snapshot!("diff-without-overlay", run(&["--diff-out", "-"]));
}

#[test]
fn a_trap_and_a_limit_have_the_status_of_a_signal() {
    let output = testbench().arg(guest("trap")).output().unwrap();
    assert_eq!(output.status.code(), Some(134));
    assert!(text(&output.stderr).contains("unreachable"), "{}", text(&output.stderr));

    let output = testbench().args(["--fuel", "1000"]).arg(guest("spin")).arg("9").output().unwrap();
    assert_eq!(output.status.code(), Some(137));
    assert!(text(&output.stderr).contains("1000"), "{}", text(&output.stderr));
}

#[test]
fn nobody_has_to_read_stderr() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = testbench().arg("--summary").arg(guest("exit42")).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(42));
}

#[test]
fn two_runs_are_the_same_and_another_seed_differs() {
    let run = |seed: &str| {
        testbench().args(["--seed", seed]).arg(guest("fingerprint")).output().unwrap().stdout
    };
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}
