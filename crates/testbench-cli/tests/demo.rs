//! What the README's first command promises.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const TESTBENCH: &str = env!("CARGO_BIN_EXE_testbench");

fn guest(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testbench-harness/guests")
        .join(program)
        .with_extension("wasm")
}

fn demo(args: &[&str]) -> Output {
    let output = Command::new(TESTBENCH).arg("demo").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn demo_json() -> Value {
    serde_json::from_slice(&demo(&["--json"]).stdout).unwrap()
}

#[test]
fn an_hour_passes_without_waiting() {
    let demo = demo_json();
    assert_eq!(demo["schema"], "testbench-demo/1");
    assert!(demo["virtual_ns"].as_u64().unwrap() >= 3_600_000_000_000);
    assert!(demo["wall_ns"].as_u64().unwrap() < 5_000_000_000);
}

#[test]
fn the_guests_are_the_committed_files() {
    let demo = demo_json();
    let guests = demo["guests"].as_array().unwrap();
    assert!(guests.len() >= 5);
    for shown in guests {
        let file = std::fs::read(guest(shown["program"].as_str().unwrap())).unwrap();
        assert_eq!(shown["blake3"], testbench_wasi::ContentHash::of(&file).to_string());
    }
}

/// Runs each command line by itself, with `testbench run` on a real directory, and compares.
#[test]
fn the_steps_can_be_run_one_by_one_to_the_same_bytes() {
    let demo = demo_json();
    let dir = tempfile::tempdir().unwrap();
    for file in demo["files"].as_array().unwrap() {
        let path = dir.path().join(file["path"].as_str().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file["content"].as_str().unwrap()).unwrap();
    }
    for step in demo["commands"].as_array().unwrap() {
        let args = step["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
        let output = Command::new(TESTBENCH)
            .arg("run")
            .arg("--dir")
            .arg(format!("{}::/", dir.path().display()))
            .args(["--env", "TZ=UTC", "--clock", step["started_at"].as_str().unwrap()])
            .arg(guest(step["program"].as_str().unwrap()))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code().map(i64::from), step["status"].as_i64(), "{step}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), step["stdout"], "{step}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), step["stderr"], "{step}");
    }
    for entry in demo["diff"]["entries"].as_array().unwrap() {
        let there = dir.path().join(entry["path"].as_str().unwrap()).exists();
        assert_eq!(there, entry["op"] != "delete", "{entry}");
    }
}

#[test]
fn the_text_shows_the_time_and_the_diff() {
    let text = String::from_utf8(demo(&[]).stdout).unwrap();
    let (before_time, rest) = text.split_once("\nVirtual time passed: 3600s. ").unwrap();
    let (_, diff) = rest.split_once("In the overlay:\n").unwrap();
    insta::assert_snapshot!(before_time);
    insta::assert_snapshot!(diff);
    assert!(rest.contains("The real directory is untouched."));
}

#[test]
fn two_runs_differ_in_real_time_only() {
    let without_real_time = || {
        let mut demo = demo_json();
        demo["wall_ns"] = Value::Null;
        demo.to_string()
    };
    assert_eq!(without_real_time(), without_real_time());
}
