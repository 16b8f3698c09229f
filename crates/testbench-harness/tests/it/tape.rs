//! A scenario of native programs, recorded, and replayed where there are no programs.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests look at real time and the real environment")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use crate::common::{dir_with, text};
use insta::assert_snapshot;
use tempfile::TempDir;
use testbench_harness::tape::{
    CompareMode, Matching, Tape, TapeMode, TapeOptions, VerifyOptions, compare, payload_dir, verify,
};
use testbench_harness::{
    Command, FinishError, NativeFiles, OnMiss, Policy, Session, Stdio, Testbench, TestbenchBuilder,
    Toolchain,
};

const TOKEN: &str = "tok-5f2b9c";
const OTHER_SECRET: &str = "hush-77aa";

/// The files that the scenario starts from.
fn project() -> TempDir {
    dir_with(&[
        ("in.txt", "pear\napple\nplum\napple\n"),
        ("numbers", "10\n9\n2\n33\n"),
        ("old/gone", "to be removed\n"),
        ("old/kept", "kept\n"),
        ("script/run.cfg", "mode=fast\n"),
    ])
}

fn bench(root: &Path, tape: &Path, options: impl Into<TapeOptions>) -> TestbenchBuilder {
    Testbench::builder()
        .overlay(root)
        .native_files(NativeFiles::Copy)
        .env("LANG", "C")
        .env("LC_ALL", "C")
        .tape(tape, options)
        .unmatched(Policy::Replay(OnMiss::Error))
}

fn options(mode: TapeMode) -> TapeOptions {
    TapeOptions::from(mode).secret_pattern("hush", "hush-[0-9a-f]{4}")
}

/// One line of the scenario: what is run, where, and with what input.
struct Line(&'static str, &'static [&'static str], &'static str);

/// All that one session runs, but for the pipeline and what needs an environment.
const LINES: [Line; 26] = [
    Line("cat", &["in.txt"], ""),
    Line("cat", &["missing"], ""),
    Line("sort", &["in.txt"], ""),
    Line("sort", &["-n"], "3\n20\n1\n"),
    Line("sort", &["-o", "sorted", "-u", "in.txt"], ""),
    Line("wc", &["-l"], "a\nb\n"),
    Line("wc", &["in.txt"], ""),
    Line("head", &["-n", "2", "in.txt"], ""),
    Line("head", &["missing"], ""),
    Line("cp", &["in.txt", "[root]/copy.txt"], ""),
    Line("mv", &["copy.txt", "moved.txt"], ""),
    Line("mkdir", &["-p", "new/deep"], ""),
    Line("rm", &["-r", "old/gone"], ""),
    Line("ln", &["moved.txt", "hard"], ""),
    Line("ln", &["-s", "in.txt", "soft"], ""),
    Line("readlink", &["soft"], ""),
    Line("touch", &["new/empty"], ""),
    Line("chmod", &["755", "script/run.cfg"], ""),
    Line("tee", &["new/teed"], "both ways\n"),
    Line("seq", &["2000"], ""),
    Line("printf", &[r"\377\200 not text\n"], ""),
    Line("true", &[], ""),
    Line("false", &[], ""),
    Line("ls", &["-1", "new"], ""),
    Line("sleep", &["0.3"], ""),
    Line("cat", &["sorted", "moved.txt"], ""),
];

/// Runs the scenario, 32 spawns, and tells all that came of it.
fn scenario(session: &Session) -> String {
    let root = session.root().unwrap().to_str().unwrap().to_owned();
    let mut said = String::new();
    for Line(program, args, stdin) in &LINES {
        let mut command = Command::new(program);
        command.args(args.iter().map(|arg| arg.replace("[root]", &root)));
        if !stdin.is_empty() {
            command.stdin_bytes(*stdin);
        }
        tell(&mut said, program, &mut command);
    }
    let mut secretive = Command::new("printenv");
    secretive.arg("API_TOKEN").env("API_TOKEN", TOKEN).env("MODE", "x");
    tell(&mut said, "printenv", &mut secretive);
    tell(&mut said, "echo", Command::new("echo").arg(OTHER_SECRET).current_dir("new"));
    tell(&mut said, "no-such-program", &mut Command::new("no-such-program"));

    let mut seq = Command::new("seq").arg("500").stdout(Stdio::piped()).spawn().unwrap();
    let mut sort = Command::new("sort")
        .arg("-rn")
        .stdin(seq.stdout.take().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let head = Command::new("head").args(["-n", "3"]).stdin(sort.stdout.take().unwrap()).output();
    writeln!(said, "pipeline {:?}", text(&head.unwrap().stdout)).unwrap();
    seq.wait().unwrap();
    sort.wait().unwrap();
    said.replace(&root, "[root]")
}

fn tell(said: &mut String, program: &str, command: &mut Command) {
    match command.run() {
        Ok(run) => {
            writeln!(said, "{program}: {} {:?}", run.exit.status(), run.virtual_time).unwrap();
            writeln!(said, "{:?}", run.stdout.escape_ascii().to_string()).unwrap();
            writeln!(said, "{:?}", run.stderr.escape_ascii().to_string()).unwrap();
        }
        Err(error) => writeln!(said, "{program}: {:?}", error.kind()).unwrap(),
    }
}

/// Records the scenario and gives what it said, and its diff.
fn record(root: &Path, tape: &Path) -> (String, String) {
    let session = bench(root, tape, options(TapeMode::Record)).build().unwrap().enter();
    let said = scenario(&session);
    let report = session.finish().unwrap();
    (said, report.diff.to_string())
}

const TAPE: &str = "TESTBENCH_TEST_TAPE";

/// Not a test of its own: replays in a process whose `PATH` leads to no program.
#[test]
#[ignore = "run by the other tests of this file"]
fn replaying_child() {
    let tape = PathBuf::from(std::env::var_os(TAPE).expect("the parent says where"));
    let missing = process::Command::new("cat").output().unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound, "there are no programs");
    let root = project();
    let session = bench(root.path(), &tape, options(TapeMode::Replay)).build().unwrap().enter();
    let said = scenario(&session);
    let report = session.finish().unwrap();
    fs::write(tape.with_extension("said"), said).unwrap();
    fs::write(tape.with_extension("diff"), report.diff.to_string()).unwrap();
    report.tape.unwrap().save(tape.with_extension("replayed")).unwrap();
}

fn replay_without_programs(tape: &Path) {
    let status = process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tape::replaying_child", "--ignored"])
        .env(TAPE, tape)
        .env("PATH", "/no/such/directory")
        .stdout(process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_scenario_of_native_programs_is_replayed_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("scenario.tape");
    let root = project();
    let before = crate::common::tree(root.path());
    let (said, diff) = record(root.path(), &tape);
    assert_eq!(crate::common::tree(root.path()), before, "the real files are as they were");

    let recorded = Tape::load(&tape).unwrap();
    assert_eq!(recorded.records().len(), 32);
    assert!(!recorded.header().reproducible);
    for expected in
        ["sort: exit status: 0", "apple\\\\n", "cat: exit status: 1", "no-such-program: NotFound"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(said.contains("printenv: exit status: 0") && said.contains(TOKEN));

    replay_without_programs(&tape);
    let replayed = |what: &str| fs::read_to_string(tape.with_extension(what)).unwrap();
    same_lines(&replayed("said"), &said);
    same_lines(&replayed("diff"), &diff);
    assert_eq!(fs::read(tape.with_extension("replayed")).unwrap(), fs::read(&tape).unwrap());
    assert_snapshot!(diff.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"), @r"
    A hard
    L moved.txt -> hard
    A new/
    A new/deep/
    A new/empty (empty)
    A new/teed
    D old/gone
    M script/run.cfg (mode 0644 -> 0755)
    A soft (symlink)
    A sorted
    ");

    no_secret_in(dir.path(), &tape);
}

fn same_lines(a: &str, b: &str) {
    for (a, b) in a.lines().zip(b.lines()) {
        assert_eq!(a, b);
    }
    assert_eq!(a.len(), b.len());
}

/// Neither the tape nor any payload holds a secret, or the root's path.
fn no_secret_in(dir: &Path, tape: &Path) {
    let mut files = vec![tape.to_owned()];
    files.extend(fs::read_dir(payload_dir(tape)).unwrap().map(|e| e.unwrap().path()));
    assert!(files.len() > 1, "`seq 2000` is a payload");
    for file in files {
        let content = fs::read(&file).unwrap();
        for secret in [TOKEN, OTHER_SECRET, dir.to_str().unwrap()] {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", file.display());
        }
    }
    let text = fs::read_to_string(tape).unwrap();
    assert!(text.contains("secret:API_TOKEN") && text.contains("secret:hush"));
}

#[test]
fn a_native_sleep_is_replayed_at_once_and_takes_its_virtual_time() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("t");
    let root = project();
    let run = |mode| {
        let session = bench(root.path(), &tape, mode).build().unwrap().enter();
        let (real, before) = (Instant::now(), session.clock().mono());
        let run = Command::new("sleep").arg("0.3").run().unwrap();
        assert_eq!(session.clock().mono().duration_since(before), run.virtual_time);
        let real = real.elapsed();
        session.finish().unwrap();
        (run.virtual_time, real)
    };
    let (recorded, real) = run(TapeMode::Record);
    assert!(recorded >= Duration::from_millis(300) && real >= Duration::from_millis(300));
    let (replayed, real) = run(TapeMode::Replay);
    assert_eq!(replayed, recorded);
    assert!(real < Duration::from_millis(50), "{real:?}");
}

/// Records these two calls, then runs others against the tape, and gives the error of the last.
fn recorded_two(options: TapeOptions) -> (TempDir, TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("two.tape");
    let root = project();
    let session = bench(root.path(), &tape, options).build().unwrap().enter();
    Command::new("sort").args(["-n", "numbers"]).output().unwrap();
    Command::new("cat").arg("in.txt").env("MODE", "fast").output().unwrap();
    session.finish().unwrap();
    (dir, root, tape)
}

fn hide(text: impl ToString, dir: &TempDir) -> String {
    text.to_string().replace(dir.path().to_str().unwrap(), "DIR")
}

#[test]
fn a_changed_call_fails_with_both_calls_shown() {
    let (dir, root, tape) = recorded_two(TapeMode::Record.into());
    let miss = |command: &mut Command| {
        let session = bench(root.path(), &tape, TapeMode::Replay).build().unwrap().enter();
        let route = session.resolve(command).to_string();
        let error = command.output().unwrap_err();
        assert_eq!(route, format!("refused: {error}"));
        let finish = session.finish().unwrap_err();
        assert!(finish.to_string().contains(&error.to_string()), "{finish}");
        hide(error, &dir)
    };
    assert_snapshot!(miss(Command::new("sort").args(["-r", "numbers"])), @r"
    `sort`: the tape DIR/two.tape has no entry for this call (matched in order; entry 1 is the nearest)
      taped:  sort -n numbers
      actual: sort -r numbers
                   ^^
    Record the tape again with `TapeMode::Record`, or let calls that are not on it run with `Policy::Replay(OnMiss::Record)`.
    ");
    assert_snapshot!(miss(Command::new("sort").args(["-n", "numbers", "two words"])), @r#"
    `sort`: the tape DIR/two.tape has no entry for this call (matched in order; entry 1 is the nearest)
      taped:  sort -n numbers
      actual: sort -n numbers "two words"
                              ^^^^^^^^^^^
    Record the tape again with `TapeMode::Record`, or let calls that are not on it run with `Policy::Replay(OnMiss::Record)`.
    "#);
    assert_snapshot!(miss(Command::new("sort").args(["-n"])), @r"
    `sort`: the tape DIR/two.tape has no entry for this call (matched in order; entry 1 is the nearest)
      taped:  sort -n numbers
                      ^^^^^^^
      actual: sort -n
    Record the tape again with `TapeMode::Record`, or let calls that are not on it run with `Policy::Replay(OnMiss::Record)`.
    ");
    assert_snapshot!(miss(Command::new("jq").arg(".")), @r"
    `jq`: the tape DIR/two.tape has no entry for this call (matched in order; entry 1 is the nearest)
      taped:  sort -n numbers
      actual: jq .
              ^^ ^
      program: taped `sort`, actual `jq`
    Record the tape again with `TapeMode::Record`, or let calls that are not on it run with `Policy::Replay(OnMiss::Record)`.
    ");
    assert_snapshot!(miss(Command::new("sort").args(["-n", "numbers"]).current_dir("old").env("MODE", "slow").env_remove("HOME")), @r"
    `sort`: the tape DIR/two.tape has no entry for this call (matched in order; entry 1 is the nearest)
      taped:  sort -n numbers
      actual: sort -n numbers
      cwd: taped `.`, actual `old`
      HOME: taped not set, actual removed
      MODE: taped not set, actual `slow`
    Record the tape again with `TapeMode::Record`, or let calls that are not on it run with `Policy::Replay(OnMiss::Record)`.
    ");
}

#[test]
fn entries_that_are_left_over_fail_finish() {
    let (dir, root, tape) = recorded_two(TapeMode::Record.into());
    let session = bench(root.path(), &tape, TapeMode::Replay).build().unwrap().enter();
    // Looking does not consume.
    let sort = || {
        let mut sort = Command::new("sort");
        sort.args(["-n", "numbers"]);
        sort
    };
    for _ in 0..3 {
        assert_eq!(session.resolve(&sort()).to_string(), "replay of spawn 1 of the tape (native)");
    }
    sort().output().unwrap();
    let again = sort().output().unwrap_err();
    assert!(again.to_string().contains("entry 2 is the nearest"), "{again}");
    let error = session.finish().unwrap_err();
    assert!(matches!(error, FinishError::Tape { .. }));
    assert_snapshot!(hide(error, &dir), @r"
    session `tape::entries_that_are_left_over_fail_finish`: the spawns are not those of the tape DIR/two.tape:
    `sort`: the tape DIR/two.tape has no entry for this call (matched in order; entry 2 is the nearest)
      taped:  cat in.txt
      actual: sort -n numbers
              ^^^^ ^^ ^^^^^^^
      program: taped `cat`, actual `sort`
      MODE: taped `fast`, actual not set
    Record the tape again with `TapeMode::Record`, or let calls that are not on it run with `Policy::Replay(OnMiss::Record)`.
    1 entry was not used:
      2 cat in.txt
    Record the tape again, or allow it with `TapeOptions::allow_unused(true)`.
    ");

    let allow = TapeOptions::from(TapeMode::Replay).allow_unused(true);
    let session = bench(root.path(), &tape, allow).build().unwrap().enter();
    sort().output().unwrap();
    let report = session.finish().unwrap();
    assert_eq!(report.unused.len(), 1);
    assert_eq!(report.unused[0].call.program.to_string(), "cat");
}

#[test]
fn a_session_that_is_dropped_tells_of_its_tape() {
    let (_dir, root, tape) = recorded_two(TapeMode::Record.into());
    let dropped = std::panic::catch_unwind(|| {
        let _session = bench(root.path(), &tape, TapeMode::Replay).build().unwrap().enter();
    });
    let message = dropped.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("2 entries were not used"), "{message}");
    // A session that ends because a test fails writes nothing and does not panic again.
    let before = fs::read(&tape).unwrap();
    let unwound = std::panic::catch_unwind(|| {
        let _session = bench(root.path(), &tape, TapeMode::Record).build().unwrap().enter();
        Command::new("true").output().unwrap();
        panic!("the test fails");
    });
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the test fails"));
    assert_eq!(fs::read(&tape).unwrap(), before);
}

#[test]
fn the_modes_of_matching() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("t");
    let root = project();
    let echo = |word: &str| Command::new("echo").arg(word).output().map(|o| o.stdout);
    let printf = |word: &str| Command::new("printf").arg(word).output().map(|o| o.stdout);
    let session = bench(root.path(), &tape, TapeMode::Record).build().unwrap().enter();
    for word in ["a", "b"] {
        echo(word).unwrap();
        printf(word).unwrap();
    }
    session.finish().unwrap();
    let replay = |matching| {
        let options = TapeOptions::from(TapeMode::Replay).matching(matching);
        bench(root.path(), &tape, options).build().unwrap().enter()
    };

    let session = replay(Matching::Ordered);
    echo("a").unwrap();
    assert!(echo("b").is_err(), "printf is next");
    drop(session.finish());

    let session = replay(Matching::PerProgram);
    assert_eq!(printf("a").unwrap(), b"a");
    assert!(printf("a").is_err(), "b is next");
    assert_eq!(printf("b").unwrap(), b"b");
    assert_eq!(echo("a").unwrap(), b"a\n");
    assert_eq!(echo("b").unwrap(), b"b\n");
    assert!(session.finish().unwrap_err().to_string().contains("printf a"));

    let session = replay(Matching::AnyOrder);
    for word in ["b", "a", "a", "b", "a"] {
        assert_eq!(echo(word).unwrap(), format!("{word}\n").as_bytes());
        assert_eq!(printf(word).unwrap(), word.as_bytes());
    }
    assert!(echo("c").is_err());
    assert!(session.finish().is_err(), "for the miss");
    let session = replay(Matching::AnyOrder);
    for word in ["b", "a", "a"] {
        echo(word).unwrap();
        printf(word).unwrap();
    }
    session.finish().unwrap();
}

#[test]
fn other_input_fails_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("t");
    let root = project();
    let run = |mode, input: &str| {
        let session = bench(root.path(), &tape, mode).build().unwrap().enter();
        let output = Command::new("sort").stdin_bytes(input).output();
        drop(session.finish());
        output
    };
    run(TapeMode::Record, "b\na\n").unwrap();
    assert_eq!(run(TapeMode::Replay, "b\na\n").unwrap().stdout, b"a\nb\n");
    assert_snapshot!(run(TapeMode::Replay, "b\nc\n").unwrap_err(), @"`sort` could not be replayed: its standard input is not that of the tape (entry 1): taped 4 bytes of BLAKE3 6320d89fad37d349d8a8a58073768fce231fde27238d580db97b3c508a4ca487, actual 4 bytes of BLAKE3 b3eb9f95f8ef34575e8dc20281c5b861ea07fe3d35bd7f177f609a957db867f5. Give it the same input, or record the tape again with `TapeMode::Record`");
    assert!(run(TapeMode::Replay, "").is_err());
}

#[test]
fn what_is_not_on_the_tape_can_be_recorded_or_run() {
    let (_dir, root, tape) = recorded_two(TapeMode::Record.into());
    let before = fs::read(&tape).unwrap();
    let run = |on_miss| {
        let bench = bench(root.path(), &tape, TapeMode::Replay);
        let session = bench.unmatched(Policy::Replay(on_miss)).build().unwrap().enter();
        Command::new("sort").args(["-n", "numbers"]).output().unwrap();
        Command::new("cat").arg("in.txt").env("MODE", "fast").output().unwrap();
        let new = Command::new("echo").arg("new").output().unwrap();
        assert_eq!(new.stdout, b"new\n");
        session.finish().unwrap()
    };
    let report = run(OnMiss::Native);
    assert_eq!(fs::read(&tape).unwrap(), before, "the tape stays");
    assert_eq!(report.tape.unwrap().records().len(), 3);
    run(OnMiss::Record);
    let grown = Tape::load(&tape).unwrap();
    assert_eq!(grown.records().len(), 3);
    assert_eq!(compare(&grown, &run(OnMiss::Error).tape.unwrap(), CompareMode::ByteIdentical), []);
}

#[test]
fn without_a_tape_nothing_is_recorded_or_replayed() {
    let error = |policy| {
        let session = Testbench::builder().name("s").unmatched(policy).build().unwrap().enter();
        let error = Command::new("cat").output().unwrap_err();
        session.finish().unwrap();
        error.to_string()
    };
    assert_snapshot!(error(Policy::Record), @"`cat` is to be recorded or replayed, but the session `s` has no tape; give it one with `.tape(path, mode)`");
    assert_eq!(error(Policy::Record), error(Policy::Replay(OnMiss::Native)));
}

#[test]
fn auto_records_once() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("new/t");
    let root = project();
    let run = || {
        let session = bench(root.path(), &tape, TapeMode::Auto).build().unwrap().enter();
        let route = session.resolve(Command::new("date").arg("+%N")).to_string();
        let output = Command::new("date").arg("+%N").output().unwrap().stdout;
        session.finish().unwrap();
        (route, output)
    };
    let (route, recorded) = run();
    assert_eq!(route, "native, recorded");
    assert_eq!(run(), ("replay of spawn 1 of the tape (native)".to_owned(), recorded));
}

#[test]
fn a_missing_or_damaged_tape_does_not_build() {
    let dir = tempfile::tempdir().unwrap();
    let root = project();
    let fails = |tape: &Path| {
        let built = bench(root.path(), tape, TapeMode::Replay).build();
        hide(built.unwrap_err(), &dir)
    };
    assert_snapshot!(fails(&dir.path().join("none")), @"cannot read the tape `DIR/none`: No such file or directory (os error 2) (record it first, with `TapeMode::Record`)");
    fs::write(dir.path().join("bad"), "{}\n").unwrap();
    assert_snapshot!(fails(&dir.path().join("bad")), @r#"`DIR/bad` is no tape: its first line is not the header of one (`"format":"testbench-tape"`)"#);
    let pattern = TapeOptions::from(TapeMode::Record).secret_pattern("p", "[");
    let built = bench(root.path(), &dir.path().join("new"), pattern).build();
    assert!(built.unwrap_err().to_string().contains("`p`"));
}

#[test]
fn a_timeout_and_a_kill_end_a_replayed_child() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("t");
    let root = project();
    let run = |mode| {
        let session = bench(root.path(), &tape, mode).build().unwrap().enter();
        let mut child = Command::new("sleep").arg("0.2").spawn().unwrap();
        if mode == TapeMode::Replay {
            assert!(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        let mut short = Command::new("sleep");
        short.arg("0.1");
        if mode == TapeMode::Replay {
            short.timeout(Duration::from_millis(10));
        }
        let run = short.run().unwrap();
        session.finish().unwrap();
        (status, run)
    };
    let (status, slept) = run(TapeMode::Record);
    assert!(status.success() && slept.exit.success());
    let (killed, stopped) = run(TapeMode::Replay);
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!((killed.signal(), stopped.exit.signal()), (Some(9), Some(9)));
    assert_eq!(stopped.virtual_time, Duration::from_millis(10));
}

#[test]
fn guests_are_recorded_and_a_hundred_runs_and_replays_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let root = project();
    let run = |tape: &Path, mode, toolchain: Option<Toolchain>| {
        let mut bench = bench(root.path(), tape, mode);
        if let Some(toolchain) = toolchain {
            bench = bench.toolchain(toolchain);
        }
        let session = bench.build().unwrap().enter();
        let mut said = Vec::new();
        for (program, args) in [
            ("sort", &["-o", "out/sorted", "in.txt"][..]),
            ("mkdir", &["out"]),
            ("sort", &["-o", "out/sorted", "in.txt"]),
            ("mv", &["out", "moved"]),
            ("touch", &["-d", "2001-02-03T04:05:06Z", "moved/sorted"]),
            ("ln", &["moved/sorted", "link"]),
            ("sleep", &["90"]),
            ("date", &[]),
            ("fingerprint", &["-p"]),
            ("trap", &["divide"]),
            ("exit42", &["300"]),
            ("ls", &["-lR", "."]),
            ("rm", &["-r", "old"]),
        ] {
            let run = Command::new(program).args(args).run().unwrap();
            let took = run.virtual_time;
            said.push(format!("{program} {:?} {took:?}", std::process::Output::from(run)));
        }
        let mut slow = Command::new("slowcp").args(["5", "in.txt", "slow"]).spawn().unwrap();
        let mut tee = Command::new("tee")
            .arg("teed")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut tee.stdin.take().unwrap(), b"beside it").unwrap();
        said.push(format!("{:?} {:?}", tee.wait().unwrap(), slow.wait().unwrap()));
        let cat = Command::new("cat").arg("-").stdin_bytes(b"\xff\x00\x80").output().unwrap();
        assert_eq!(cat.stdout, b"\xff\x00\x80");
        let report = session.finish().unwrap();
        (said, report)
    };
    let file = |n: u32| dir.path().join(format!("{n}.tape"));
    let (said, first) = run(&file(0), TapeMode::Record, Some(Toolchain::builtin()));
    assert!(Tape::load(file(0)).unwrap().header().reproducible);
    assert_snapshot!(Tape::load(file(0)).unwrap().records()[3], @r"
    4 $ mv out moved
      guest, exit 0
      env LANG=C
      env LC_ALL=C
      env TZ=UTC
      A moved/ (was out) 0755
      A moved/sorted 0644 22 bytes 4879553be1a7
      D out/
      D out/sorted
    ");
    let bytes = fs::read(file(0)).unwrap();
    for n in 1..100 {
        let (again, _) = run(&file(n), TapeMode::Record, Some(Toolchain::builtin()));
        assert_eq!(fs::read(file(n)).unwrap(), bytes, "run {n}");
        assert_eq!(again, said);
        fs::remove_file(file(n)).unwrap();
    }
    for n in 1..=100 {
        // Without a toolchain: everything comes from the tape.
        let (again, report) = run(&file(0), TapeMode::Replay, None);
        report.tape.unwrap().save(file(n)).unwrap();
        assert_eq!(fs::read(file(n)).unwrap(), bytes, "replay {n}");
        assert_eq!(again, said);
        assert_eq!(report.diff.to_string(), first.diff.to_string());
        fs::remove_file(file(n)).unwrap();
    }
}

#[test]
fn the_toolchain_is_verified_against_what_was_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("scenario.tape");
    record(project().path(), &tape);
    let tape = Tape::load(&tape).unwrap();
    let root = project();
    let before = crate::common::tree(root.path());
    let options = || VerifyOptions::against(Toolchain::builtin()).overlay(root.path());
    let report = verify(&tape, options()).unwrap();
    assert_eq!(crate::common::tree(root.path()), before);
    for agrees in ["sort", "mkdir", "rm", "readlink", "tee", "seq"] {
        assert!(report.tools[agrees].may_be_swapped(), "{agrees}: {report}");
    }
    assert!(!report.agrees());
    assert_snapshot!(report.to_string().replace(TOKEN, "TOKEN"), @r#"
    cat: agrees (3 of 3)
    chmod: not checked
      18 $ chmod 755 script/run.cfg
        not run: the toolchain has no `chmod`
    cp: agrees (1 of 1)
    echo: agrees (1 of 1)
    false: not checked
      23 $ false
        not run: the toolchain has no `false`
    head: differs (1 of 3)
      9 $ head missing
        stderr
          @@ -1,1 +1,1 @@
          -head: cannot open 'missing' for reading: No such file or directory
          +head: missing: No such file or directory
    ln: agrees (2 of 2)
    ls: agrees (1 of 1)
    mkdir: agrees (1 of 1)
    mv: agrees (1 of 1)
    no-such-program: not checked
      29 $ no-such-program
        not run: it did not start when it was recorded
    printenv: not checked
      27 $ printenv API_TOKEN
        not run: the toolchain has no `printenv`
    printf: not checked
      21 $ printf "\\377\\200 not text\\n"
        not run: the toolchain has no `printf`
    readlink: agrees (1 of 1)
    rm: agrees (1 of 1)
    seq: agrees (2 of 2)
    sleep: agrees (1 of 1)
    sort: agrees (4 of 4)
    tee: agrees (1 of 1)
    touch: agrees (1 of 1)
    true: not checked
      22 $ true
        not run: the toolchain has no `true`
    wc: differs (1 of 2)
      7 $ wc in.txt
        stdout
          @@ -1,1 +1,1 @@
          - 4  4 22 in.txt
          +4 4 22 in.txt
    "#);
    let lenient = verify(&tape, options().stderr(false)).unwrap();
    assert!(lenient.tools["head"].may_be_swapped());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["tools"]["sort"]["drifts"].as_array().unwrap().len(), 0);
}

#[test]
fn variables_are_a_part_of_the_call_where_they_were_named() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("t");
    let root = project();
    let options = |mode| TapeOptions::from(mode).env(["EXTRA"]).ignore_env([OsStr::new("NOISE")]);
    let run = |mode, extra: &str, lang: &str, noise: &str| {
        let bench = bench(root.path(), &tape, options(mode)).env("EXTRA", extra).env("LANG", lang);
        let session = bench.env("OTHER", noise).build().unwrap().enter();
        let done = Command::new("true").env("NOISE", noise).output();
        drop(session.finish());
        done.is_ok()
    };
    assert!(run(TapeMode::Record, "1", "C", "a"));
    assert!(run(TapeMode::Replay, "1", "C", "b"));
    assert!(!run(TapeMode::Replay, "2", "C", "a"));
    assert!(!run(TapeMode::Replay, "1", "de", "a"));
}
