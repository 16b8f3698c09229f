//! Tests with and without a session run side by side in one process.
#![cfg(unix)]

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::common::{bench, dir_with, text};
use testbench_clock::{Context, WallTime};
use testbench_harness::Command;

const THREADS: u64 = 8;

#[test]
fn sessions_and_plain_threads_do_not_disturb_each_other() {
    let start = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                if n % 2 == 0 { in_a_session(n) } else { without_a_session(n) }
            });
        }
    });
}

fn in_a_session(n: u64) {
    let dir = dir_with(&[("marker", &format!("session {n}\n"))]);
    let began = WallTime::from_unix_secs(1_000_000_000 * n as i64);
    let bench = bench(dir.path()).clock(began).seed(n).name(format!("s{n}"));
    let session = bench.build().unwrap().enter();
    for i in 1..=20 {
        let output = Command::new("cat").arg("marker").output().unwrap();
        assert_eq!(text(&output.stdout), format!("session {n}\n"));
        Command::new("sleep").arg("1").status().unwrap();
        let output = Command::new("date").output().unwrap();
        let now = began + Duration::from_secs(i);
        assert_eq!(text(&output.stdout).get(..19), now.to_string().get(..19));
        Command::new("tee").arg("made").stdin_bytes(format!("{n}")).output().unwrap();
        assert!(Command::new("sh").output().is_err());
    }
    let report = session.finish().unwrap();
    assert_eq!(report.virtual_time, Duration::from_secs(20));
    assert_eq!(report.spawns.len(), 100);
    assert_eq!(report.diff.summary(), "A made\n");
    assert!(!dir.path().join("made").exists());
}

fn without_a_session(n: u64) {
    let dir = dir_with(&[]);
    for _ in 0..20 {
        let output = Command::new("sh")
            .args(["-c", "echo $MARKER > made; cat made"])
            .env("MARKER", n.to_string())
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(text(&output.stdout), format!("{n}\n"));
        assert_eq!(std::fs::read_to_string(dir.path().join("made")).unwrap(), format!("{n}\n"));
        assert!(!testbench_clock::is_mocked());
    }
}

#[test]
fn a_thread_without_the_context_is_outside_of_the_session_and_counted() {
    let dir = dir_with(&[]);
    let session = bench(dir.path()).build().unwrap().enter();
    let plain = thread::spawn(|| Command::new("sh").args(["-c", "exit 3"]).status().unwrap());
    assert_eq!(plain.join().unwrap().code(), Some(3));
    let carried = thread::spawn(Context::capture().wrap(|| Command::new("sh").status()));
    let joined = testbench_clock::external("joining a thread", || carried.join().unwrap());
    assert_eq!(joined.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let report = session.finish().unwrap();
    // Other tests of this process may add to it.
    assert!(report.leaks.unattributed_spawns >= 1);
    assert_eq!(report.spawns.len(), 1);
}

/// Enough of them that each is preempted in the middle of everything.
const SESSIONS: u64 = 16;

/// What every spawn of session `n` says: random bytes, which are the seed's, the time, and what is
/// in its file.
fn session_says(n: u64, spawns: u64) -> Vec<u8> {
    let marker = format!("the file of session {n}\n");
    let dir = dir_with(&[("marker", &marker)]);
    let began = WallTime::from_unix_secs(1_000_000_000 + 86_400 * n as i64);
    let session = bench(dir.path()).clock(began).seed(n).build().unwrap().enter();
    let mut said = Vec::new();
    for i in 1..=spawns {
        let words = ["sleep", "1.5", "random", "time", "read", "marker"];
        let output = Command::new("act").args(words).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines: Vec<_> = text(&output.stdout).splitn(3, '\n').collect();
        let [random, time, file] = lines[..] else { panic!("{lines:?}") };
        let now = began + Duration::from_millis(1500 * i);
        assert_eq!((random.len(), time.get(..19), file), (32, now.to_string().get(..19), &*marker));
        said.extend(output.stdout);
    }
    let report = session.finish().unwrap();
    assert_eq!(report.virtual_time, Duration::from_millis(1500 * spawns));
    assert_eq!(report.spawns.len() as u64, spawns);
    assert!(report.diff.is_empty());
    said
}

#[test]
fn many_sessions_of_a_thousand_spawns_say_the_same_as_each_alone() {
    let spawns = 1000;
    let start = Barrier::new(SESSIONS as usize);
    let together: Vec<Vec<u8>> = thread::scope(|scope| {
        let run = |n| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                session_says(n, spawns)
            })
        };
        let threads: Vec<_> = (0..SESSIONS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let alone: Vec<Vec<u8>> = (0..SESSIONS).map(|n| session_says(n, spawns)).collect();
    for (n, (together, alone)) in together.iter().zip(&alone).enumerate() {
        assert!(together == alone, "session {n} differs");
    }
    // Each has random bytes of its own, at every spawn.
    let lines = alone.iter().flat_map(|said| text(said).lines().step_by(3));
    let random: std::collections::BTreeSet<_> = lines.collect();
    assert_eq!(random.len() as u64, SESSIONS * spawns);
}
