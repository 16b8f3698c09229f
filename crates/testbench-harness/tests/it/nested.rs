//! Sessions in sessions: the inner one is seen, all of it, and nothing of the outer one shines
//! through.
#![cfg(unix)]

use std::fs as real;
use std::io::ErrorKind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{bench, dir_with, text};
use testbench_clock::{Context, Lookup, WallTime};
use testbench_harness::{Command, Policy, Testbench, Toolchain};
use testbench_overlay::fs;

#[test]
fn a_session_without_an_overlay_hides_that_of_the_outer_one() {
    let dir = dir_with(&[("in.txt", "real\n")]);
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let outer = bench(dir.path()).build().unwrap().enter();
    fs::write(&ours, "outer").unwrap();

    let inner = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    assert!(inner.overlay().is_none());
    assert!(matches!(testbench_overlay::active(), Lookup::Absent));
    // `fs` is the disk here, as without any session.
    assert_eq!(fs::read(&ours).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(&theirs, "inner").unwrap();
    assert_eq!(real::read(&theirs).unwrap(), b"inner");
    // A guest has no files at all.
    let cat = Command::new("cat").arg(dir.path().join("in.txt")).output().unwrap();
    assert!(!cat.status.success() && cat.stdout.is_empty(), "{cat:?}");
    assert!(inner.finish().unwrap().diff.is_empty());

    assert_eq!(fs::read(&ours).unwrap(), b"outer");
    fs::remove_file(&theirs).unwrap();
    assert_eq!(real::read(&theirs).unwrap(), b"inner", "the outer overlay is back");
    assert!(!ours.exists());
    assert_eq!(outer.finish().unwrap().diff.summary(), "A ours\nD theirs\n");
}

#[test]
fn a_context_of_an_inner_session_without_an_overlay_is_closed_at_its_end() {
    let dir = dir_with(&[("in.txt", "real\n")]);
    let _outer = bench(dir.path()).build().unwrap().enter();
    let inner = Testbench::builder().name("inner").build().unwrap().enter();
    let (ended, wait) = mpsc::channel::<()>();
    let file = dir.path().join("in.txt");
    let thread = thread::spawn(Context::capture().wrap(move || {
        wait.recv().unwrap();
        (fs::read(&file).map(drop), Command::new("cat").status().map(drop))
    }));
    drop(inner);
    ended.send(()).unwrap();
    let (read, spawn) = testbench_clock::external("joining", || thread.join().unwrap());
    for error in [read.unwrap_err(), spawn.unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("`inner`") && text.contains("nested.rs:"), "{text}");
    }
}

#[test]
fn each_level_has_its_own_clock_seed_files_toolchain_and_policies() {
    let fingerprint = || {
        let output = Command::new("fingerprint").output().unwrap();
        let random = text(&output.stdout).lines().find(|line| line.starts_with("random "));
        random.unwrap().to_owned()
    };
    let (a, b) = (dir_with(&[("who", "outer\n")]), dir_with(&[("who", "inner\n")]));
    let outer = bench(a.path()).seed(1).env("LEVEL", "outer").policy("sh", Policy::Deny);
    let outer = outer.build().unwrap().enter();
    let first = fingerprint();
    Command::new("sleep").arg("5").status().unwrap();

    let start = WallTime::from_unix_secs(1_000_000_000);
    let inner = bench(b.path()).seed(2).clock(start).build().unwrap().enter();
    assert_eq!(testbench_clock::now(), start);
    assert_eq!(text(&Command::new("cat").arg("who").output().unwrap().stdout), "inner\n");
    assert!(!text(&Command::new("env").output().unwrap().stdout).contains("LEVEL"));
    assert_ne!(fingerprint(), first);
    // Here no policy denies it; it is only not there.
    assert_eq!(Command::new("sh").status().unwrap_err().kind(), ErrorKind::NotFound);
    Command::new("sleep").arg("7").status().unwrap();
    let denied = fs::read(a.path().join("who")).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied, "outside of the inner overlay's root");
    let report = inner.finish().unwrap();
    assert_eq!((report.virtual_time, report.spawns.len()), (Duration::from_secs(7), 5));

    assert_eq!(testbench_clock::now().to_string(), "2000-01-01T00:00:05Z");
    assert_eq!(text(&Command::new("cat").arg("who").output().unwrap().stdout), "outer\n");
    assert_eq!(Command::new("sh").status().unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(outer.finish().unwrap().virtual_time, Duration::from_secs(5));
}

#[test]
fn a_child_of_the_outer_session_does_not_run_on_the_inner_ones_clock() {
    let outer = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    let mut sleep = Command::new("sleep").arg("10").spawn().unwrap();
    let inner = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    Command::new("sleep").arg("3600").status().unwrap();
    assert!(sleep.try_wait().unwrap().is_none());
    // It can be waited for from here nevertheless.
    assert!(sleep.wait().unwrap().success());
    assert_eq!(inner.finish().unwrap().virtual_time, Duration::from_secs(3600));
    assert_eq!(outer.finish().unwrap().virtual_time, Duration::from_secs(10));
}
