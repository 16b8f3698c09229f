//! `testbench tape` from the outside: what it prints, and how it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use testbench_harness::tape::TapeMode;
use testbench_harness::{Command as Spawn, Testbench, Toolchain};

fn tape(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_testbench")).arg("tape").args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Records `echo WORD` and a long `seq`.
fn record(file: &Path, word: &str) {
    let bench = Testbench::builder().toolchain(Toolchain::builtin());
    let session = bench.tape(file, TapeMode::Record).build().unwrap().enter();
    Spawn::new("echo").arg(word).output().unwrap();
    Spawn::new("seq").arg("2000").output().unwrap();
    session.finish().unwrap();
}

#[test]
fn tapes_are_shown_compared_checked_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.tape"), dir.path().join("b.tape"));
    record(&a, "one");
    record(&b, "two");
    let [a_name, b_name] = [&a, &b].map(|path| path.to_str().unwrap());

    let shown = tape(&["show", a_name]);
    assert!(stdout(&shown).contains("1 $ echo one\n  guest, exit 0\n"), "{shown:?}");
    let json: serde_json::Value =
        serde_json::from_slice(&tape(&["show", a_name, "--json"]).stdout).unwrap();
    assert_eq!(json["schema"], "testbench-tape-show/1");
    assert_eq!(json["spawns"][0]["call"]["argv"][1], "one");

    assert_eq!(tape(&["diff", a_name, a_name]).status.code(), Some(0));
    let differ = tape(&["diff", a_name, b_name]);
    assert_eq!(differ.status.code(), Some(1));
    assert!(stdout(&differ).contains("echo one"), "{differ:?}");
    let json = tape(&["diff", a_name, b_name, "--mode", "outcome", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["equal"], &json["mode"]), (&false.into(), &"outcome".into()));

    let sound = tape(&["verify", a_name]);
    assert_eq!((sound.status.code(), stdout(&sound)), (Some(0), "sound: spawns 2, payloads 1\n"));
    // Nothing ran natively, so nothing was compared.
    assert_eq!(tape(&["verify", a_name, "--against-toolchain"]).status.code(), Some(1));

    let payloads = dir.path().join("a.tape.payloads");
    let would = tape(&["prune", a_name, "--program", "seq", "--dry-run"]);
    assert!(stdout(&would).starts_with("would remove spawn 2\nwould remove "), "{would:?}");
    assert!(payloads.exists());
    assert_eq!(tape(&["prune", a_name, "--spawn", "7"]).status.code(), Some(125));
    assert_eq!(tape(&["prune", a_name, "--program", "seq"]).status.code(), Some(0));
    assert!(!payloads.exists());
    assert_eq!(stdout(&tape(&["verify", a_name])), "sound: spawns 1, payloads 0\n");

    fs::write(&a, "{}").unwrap();
    let damaged = tape(&["verify", a_name]);
    assert_eq!(damaged.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("is no tape"), "{damaged:?}");
}

/// Records the machine's own `sort` and `cat`, and asks whether tools of ours may take their place;
/// the `cat` of that toolchain is in truth `head`, which stops after ten lines.
#[test]
#[cfg(unix)]
fn verify_tells_which_tools_of_a_native_tape_agree() {
    use testbench_harness::Policy;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("native.tape");
    let bench = Testbench::builder().tape(&file, TapeMode::Record).unmatched(Policy::Record);
    let session = bench.build().unwrap().enter();
    let lines: String = (1..=12).map(|n| format!("line {n}\n")).collect();
    Spawn::new("cat").stdin_bytes("short\n").output().unwrap();
    Spawn::new("cat").stdin_bytes(lines).output().unwrap();
    Spawn::new("sort").stdin_bytes("pear\napple\n").output().unwrap();
    Spawn::new("sort").arg("-r").stdin_bytes("apple\npear\n").output().unwrap();
    session.finish().unwrap();

    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbench-harness/guests");
    let tools = dir.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::copy(guests.join("sort.wasm"), tools.join("sort.wasm")).unwrap();
    fs::copy(guests.join("head.wasm"), tools.join("cat.wasm")).unwrap();
    let against = format!("--against-toolchain={}", tools.display());
    let name = file.to_str().unwrap();

    let report = tape(&["verify", name, &against]);
    assert_eq!(report.status.code(), Some(1), "{report:?}");
    insta::assert_snapshot!(stdout(&report));
    let json: serde_json::Value =
        serde_json::from_slice(&tape(&["verify", name, &against, "--json"]).stdout).unwrap();
    assert_eq!((&json["agrees"], &json["spawns"]), (&false.into(), &4.into()));
    assert_eq!(json["tools"]["sort"]["agree"], 2);
    assert_eq!(json["tools"]["cat"]["drifts"].as_array().unwrap().len(), 1);

    // With the right one they all do.
    fs::copy(guests.join("cat.wasm"), tools.join("cat.wasm")).unwrap();
    let report = tape(&["verify", name, &against]);
    assert_eq!(stdout(&report), "cat: agrees (2 of 2)\nsort: agrees (2 of 2)\n");
    assert_eq!(report.status.code(), Some(0));
}
