//! Same seed and same inputs give the same bytes, whatever process, place and environment.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests compare with the real environment")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process;

use crate::common::{bench, text};
use testbench_harness::Command;

/// Names the directory for the child process below.
const ROOT: &str = "TESTBENCH_TEST_ROOT";
const SEED: &str = "TESTBENCH_TEST_SEED";

/// Not a test of its own: what the tests below run in a process of its own.
#[test]
#[ignore = "run by the other tests of this file"]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else {
        // Run with all that is ignored, and not by a parent that says where.
        return;
    };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let session = bench(Path::new(&root).join("tree")).seed(seed).build().unwrap().enter();
    let mut all = Vec::new();
    for command in [
        Command::new("fingerprint").arg("-p"),
        Command::new("mktree").args(["made", "3", "1"]),
        Command::new("sleep").arg("0.000000999"),
        &mut Command::new("date"),
        &mut Command::new("env"),
        Command::new("touch").arg("a/one"),
        Command::new("fingerprint").arg("-p"),
        Command::new("trap").arg("divide"),
    ] {
        let run = command.run().unwrap();
        all.extend(format!("{:?} {:?}\n", run.exit.status(), run.exit).bytes());
        all.extend(run.stdout);
        all.extend(run.stderr);
    }
    let report = session.finish().unwrap();
    all.extend(format!("{}\n{:?}\n", report.diff.to_json(), report.virtual_time).bytes());
    // Printed paths aside, which cannot be the same under two roots.
    let all = text(&all).replace(root.to_str().unwrap(), "[root]");
    fs::write(Path::new(&root).join("said"), all).unwrap();
}

const FILES: [(&str, &str); 6] =
    [("a/one", "1"), ("a/two", "22"), ("b/", ""), ("c", "ccc"), ("B", "b"), ("a/z/deep", "d")];

/// What a child process says over a tree of its own, made in this order.
fn said(reversed: bool, seed: u64, umask: &str, env: &[(&str, &str)]) -> String {
    let root = tempfile::Builder::new().prefix(if reversed { "r" } else { "forward" }).tempdir();
    let root = root.unwrap();
    let tree = root.path().join("tree");
    let mut files = FILES.to_vec();
    if reversed {
        files.reverse();
    }
    for (name, content) in files {
        let path = tree.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    symlink("c", tree.join("link")).unwrap();
    let status = process::Command::new("sh")
        .args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "determinism::child", "--ignored"])
        .env(ROOT, root.path())
        .env(SEED, seed.to_string())
        .env("HOME", root.path().join("home"))
        .env_remove("XDG_CACHE_HOME")
        .envs(env.iter().copied())
        .stdout(process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    text(&fs::read(root.path().join("said")).unwrap()).to_owned()
}

#[test]
fn two_processes_in_different_surroundings_say_the_same() {
    let one = said(false, 7, "022", &[("TZ", "UTC"), ("LANG", "C")]);
    let two = said(
        true,
        7,
        "077",
        &[("TZ", "Asia/Kathmandu"), ("LANG", "de_DE.UTF-8"), ("LC_ALL", "tr_TR")],
    );
    // Not by accident the same because nothing was said.
    for word in
        ["random ", "clock wall 946684800.000000000", "ino ", "atime ", "made/", "DivisionByZero"]
    {
        assert!(one.contains(word), "{word}: {one}");
    }
    for (one, two) in one.lines().zip(two.lines()) {
        assert_eq!(one, two);
    }
    assert_eq!(one.len(), two.len());
}

#[test]
fn another_seed_differs_in_the_random_bytes_alone() {
    let (one, two) = (said(false, 7, "022", &[]), said(false, 8, "022", &[]));
    let differ: Vec<_> = one.lines().zip(two.lines()).filter(|(one, two)| one != two).collect();
    assert_eq!(one.lines().count(), two.lines().count());
    assert!(differ.iter().all(|(line, _)| line.starts_with("random ")), "{differ:?}");
    assert_eq!(differ.len(), 2);
}

#[test]
fn a_spawn_of_something_else_changes_nobodys_random_bytes() {
    let random = |others: u32| {
        let dir = crate::common::dir_with(&[]);
        let _session = bench(dir.path()).build().unwrap().enter();
        for _ in 0..others {
            Command::new("echo").output().unwrap();
        }
        let mut lines = Vec::new();
        for _ in 0..2 {
            let output = Command::new("fingerprint").output().unwrap();
            let random = text(&output.stdout).lines().find(|line| line.starts_with("random "));
            lines.push(random.unwrap().to_owned());
        }
        lines
    };
    let alone = random(0);
    assert_eq!(alone, random(3));
    assert_ne!(alone[0], alone[1]);
}
