//! `testbench which --explain`: each way that a spawn can go, and each refusal, as text and as JSON.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use testbench_harness::tape::TapeMode;
use testbench_harness::{Command as Spawn, Policy, Testbench};

/// A directory with a toolchain of files that look like modules, which is all that is looked at.
fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tools = dir.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for name in ["cat", "python-3.9", "python-3.12", "coreutils", "busybox"] {
        fs::write(tools.join(name).with_added_extension("wasm"), b"\0asm").unwrap();
    }
    let manifest = "[tools.dog]\nalias = \"cat\"\n\n[tools.lost]\nalias = \"gone\"\n\n\
                    [tools.busybox]\nmulticall = [\"awk\"]\n\n[tools.git]\npolicy = \"deny\"\n";
    fs::write(tools.join("testbench.toml"), manifest).unwrap();
    dir
}

fn which(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbench"));
    command.arg("which").args(args).current_dir(dir).output().unwrap()
}

/// Status, stdout and stderr, with the directory's name replaced.
fn shown(dir: &Path, args: &[&str]) -> String {
    let output = which(dir, args);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let text = format!("{}{}", text(&output.stdout), text(&output.stderr));
    let real = dir.canonicalize().unwrap();
    let text = text.replace(real.to_str().unwrap(), "DIR").replace(dir.to_str().unwrap(), "DIR");
    format!("status {}\n{text}", output.status.code().unwrap())
}

fn explained(dir: &Path, args: &[&str]) -> String {
    shown(dir, &[&["--toolchain=tools", "--explain"], args].concat())
}

#[test]
fn every_way_to_a_guest() {
    let dir = dir();
    let explained = |args: &[&str]| explained(dir.path(), args);
    let all = [
        explained(&["cat"]),
        explained(&["/usr/bin/cat"]),
        explained(&["dog"]),
        explained(&["python3"]),
        explained(&["ls"]),
        explained(&["awk"]),
        explained(&["cat", "--path", "/usr/local/bin:/bin"]),
        explained(&["cat", "--unmatched", "native"]),
        explained(&["cat", "--policy", "cat=native"]),
        shown(dir.path(), &["sort", "--toolchain=tools", "--toolchain", "--explain"]),
        shown(dir.path(), &["python", "--toolchain=tools"]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn every_way_to_a_native_program_and_to_the_tape() {
    let dir = dir();
    let tape = dir.path().join("t.tape");
    let bench = Testbench::builder().tape(&tape, TapeMode::Record).unmatched(Policy::Record);
    let session = bench.build().unwrap().enter();
    Spawn::new("sh").args(["-c", "echo taped"]).current_dir(dir.path()).output().unwrap();
    session.finish().unwrap();
    let explained = |args: &[&str]| explained(dir.path(), args);
    let all = [
        explained(&["jq", "--unmatched", "native"]),
        explained(&["jq", "--policy", "jq=native"]),
        explained(&["cat", "--via", "native"]),
        explained(&["./configure", "--policy", "./configure=native"]),
        explained(&["jq", "--unmatched", "native", "--overlay", "tools", "--copy-files"]),
        explained(&["jq", "--unmatched", "replay-or-native", "--tape", "t.tape"]),
        shown(dir.path(), &["jq", "--unmatched=native"]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn every_refusal() {
    let dir = dir();
    let tape = dir.path().join("t.tape");
    let bench = Testbench::builder().tape(&tape, TapeMode::Record).unmatched(Policy::Record);
    let session = bench.build().unwrap().enter();
    Spawn::new("sh").args(["-c", "true"]).output().unwrap();
    session.finish().unwrap();
    let explained = |args: &[&str]| explained(dir.path(), args);
    let all = [
        explained(&["jq"]),
        explained(&["pyton"]),
        explained(&["./cat"]),
        explained(&["/opt/bin/cat"]),
        explained(&[""]),
        explained(&["lost"]),
        explained(&["cat", "--path", "/opt/bin"]),
        explained(&["git"]),
        explained(&["git", "--policy", "git=not-found"]),
        explained(&["cat", "--policy", "cat=deny"]),
        explained(&["jq", "--unmatched", "deny"]),
        explained(&["cat", "--via", "deny"]),
        explained(&["jq", "--unmatched", "native", "--overlay", "tools"]),
        explained(&["jq", "--unmatched", "record"]),
        explained(&["jq", "--unmatched", "replay", "--tape", "t.tape"]),
        shown(dir.path(), &["cat", "--explain"]),
        shown(dir.path(), &["cat"]),
        shown(dir.path(), &["git", "--toolchain=tools"]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_call_that_is_on_the_tape_is_replayed() {
    let dir = dir();
    // The working directory is part of a call, and told relative to it: so it is the process's own.
    let recorded = Command::new(env!("CARGO_BIN_EXE_testbench"))
        .args(["which", "sh", "--unmatched", "replay", "--tape", "none.tape"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(recorded.status.code(), Some(125), "{recorded:?}");

    let tape = dir.path().join("t.tape");
    let bench = Testbench::builder().tape(&tape, TapeMode::Record).unmatched(Policy::Record);
    let session = bench.build().unwrap().enter();
    Spawn::new("sh").args(["-c", "true"]).output().unwrap();
    session.finish().unwrap();
    let args = ["--unmatched=replay", "--tape", tape.to_str().unwrap(), "--json", "sh", "--"];
    let json = |rest: &[&str]| -> serde_json::Value {
        let output = which(Path::new("."), &[&args, rest].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let found = json(&["-c", "true"]);
    assert_eq!(found["route"]["kind"], "replay");
    assert_eq!((&found["route"]["spawn"], &found["status"]), (&1.into(), &0.into()));
    let missed = json(&["-c", "false"]);
    assert_eq!(missed["route"]["reason"], "not-on-tape");
    assert_eq!(missed["status"], 126);
}

#[test]
fn the_same_as_json() {
    let dir = dir();
    let json = |args: &[&str]| -> serde_json::Value {
        let output = which(dir.path(), &[&["--toolchain=tools", "--json"], args].concat());
        assert_eq!(output.stderr, b"");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["status"], output.status.code().unwrap());
        json
    };
    let guest = json(&["python3"]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&guest).unwrap());
    assert_eq!(json(&["jq", "--unmatched", "native"])["route"]["kind"], "native");
    for (args, reason, status) in [
        (&["jq"][..], "not-found", 127),
        (&["git"], "denied", 126),
        (&["jq", "--unmatched", "native", "--overlay", "tools"], "native-over-overlay", 126),
        (&["jq", "--unmatched", "record"], "no-tape", 126),
    ] {
        let refused = json(args);
        assert_eq!(
            (&refused["route"]["reason"], &refused["status"]),
            (&reason.into(), &status.into())
        );
        assert!(refused["route"]["message"].as_str().unwrap().contains(args[0]));
        assert!(!refused["steps"].as_array().unwrap().is_empty());
    }
}

#[test]
fn wrong_flags_say_what_was_expected() {
    let dir = dir();
    for (args, said) in [
        (&["cat", "--policy", "cat"][..], "expected NAME=POLICY, as in `git=native`"),
        (&["cat", "--policy", "cat=maybe"], "expected one of `not-found`, `deny`"),
        (&["cat", "--toolchain=none"], "none"),
        (&[], "NAME"),
    ] {
        let output = which(dir.path(), args);
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{args:?}: {output:?}");
    }
}
