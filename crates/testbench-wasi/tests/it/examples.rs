//! The examples run, and say what they are to say.

#[allow(dead_code, reason = "an example is a program")]
#[path = "../../examples/configure.rs"]
mod configure;
#[allow(dead_code, reason = "an example is a program")]
#[path = "../../examples/plugin.rs"]
mod plugin;

use std::process::Command;

/// Runs an ignored test below in a process of its own, and returns what it prints.
fn printed(test: &str) -> String {
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new(this);
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
#[ignore = "the child of the_plugin_example"]
fn plugin_child() {
    plugin::main().unwrap();
}

#[test]
#[ignore = "the child of the_configure_example"]
fn configure_child() {
    configure::main().unwrap();
}

#[test]
fn the_plugin_example() {
    let text = printed("examples::plugin_child");
    for line in [
        "  add_one: a function (i32) -> i32",
        "add_one(41) = 42",
        "`add_one` of `notes` is a function (i32) -> i32, and was called as (i64) -> i64",
        r#"count: {"bytes":18,"words":6}"#,
        r#"sleep: {"slept_ns":7200000000000}, and the clock shows 2000-01-01T02:00:00Z"#,
        "on the disk: false",
        "trap: `unreachable` was executed (an abort, a panic or a failed assertion)",
        r#"after the trap: {"visits":1}, restarts: 1"#,
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line:?} is not in:\n{text}");
    }
    assert!(text.contains("note.txt"), "{text}");
}

#[test]
fn the_configure_example() {
    let text = printed("examples::configure_child");
    for part in [
        "== the base: exited with code 0",
        "the same again: true",
        "== other arguments and environment: exited with code 0",
        "== more files: exited with code 0",
        "== another time, another seed: exited with code 0",
        "== other functions: exited with code 0",
        "had wanted more than 4 open files (limit `open_files_max`)",
        "with little fuel: ended by a limit: it wanted more than 10000 units of work (limit `fuel`)",
        "with no start functions: exited with code 0, 0 bytes",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
