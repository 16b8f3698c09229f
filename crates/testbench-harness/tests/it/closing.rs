//! After its end a session is closed, not absent: nothing of it falls through to the real world.
#![cfg(unix)]

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{bench, dir_with, text, tree};
use static_assertions::{assert_impl_all, assert_not_impl_any};
use testbench_clock::Context;
use testbench_harness::{Command, Policy, Session, Testbench};
use testbench_overlay::fs;

assert_not_impl_any!(Session: Send, Sync);
assert_impl_all!(Testbench: Send);
assert_impl_all!(Command: Send, Sync);

/// What a thread that was left behind tries, with the answers.
struct Tried {
    write: io::Result<()>,
    read: io::Result<String>,
    spawn: io::Result<std::process::Output>,
    native: io::Result<std::process::Output>,
    sleep: String,
    now: String,
}

fn try_all(dir: PathBuf) -> Tried {
    Tried {
        write: fs::write(dir.join("late.txt"), "late"),
        read: fs::read_to_string(dir.join("in.txt")),
        spawn: Command::new("touch").arg("late.txt").output(),
        native: Command::new("touch").arg(dir.join("late.txt")).via(Policy::Native).output(),
        sleep: format!("{:?}", testbench_clock::try_sleep(Duration::from_secs(1))),
        now: testbench_clock::now().to_string(),
    }
}

/// Runs [`try_all`] on a thread that entered the session's context, after `end` has ended it.
fn detached(session: Session, dir: PathBuf, end: impl FnOnce(Session)) -> Tried {
    let (ended, wait) = mpsc::channel::<()>();
    let context = Context::capture();
    let thread = thread::spawn(context.wrap(move || {
        wait.recv().unwrap();
        try_all(dir)
    }));
    end(session);
    ended.send(()).unwrap();
    thread.join().unwrap()
}

#[track_caller]
fn check_closed(tried: &Tried, ended: &str) {
    for error in [
        tried.write.as_ref().unwrap_err(),
        tried.read.as_ref().unwrap_err(),
        tried.spawn.as_ref().unwrap_err(),
        tried.native.as_ref().unwrap_err(),
    ] {
        assert!(error.to_string().contains(ended), "{error}");
    }
    assert!(tried.sleep.contains(ended), "{}", tried.sleep);
    assert_eq!(tried.now, "2000-01-01T00:00:05Z");
}

#[test]
fn a_detached_thread_gets_an_error_after_finish_and_the_disk_is_unchanged() {
    let dir = dir_with(&[("in.txt", "real\n")]);
    let before = tree(dir.path());
    let session = bench(dir.path()).name("checkout").build().unwrap().enter();
    Command::new("sleep").arg("5").status().unwrap();
    let mut line = 0;
    let tried = detached(session, dir.path().to_owned(), |session| {
        line = line!() + 1;
        let report = session.finish().unwrap();
        assert!(report.diff.is_empty());
    });
    check_closed(&tried, &format!("session `checkout` ended at {}:{line}", file!()));
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_detached_thread_gets_an_error_after_a_drop() {
    let dir = dir_with(&[("in.txt", "real\n")]);
    let before = tree(dir.path());
    let (session, line) = (bench(dir.path()).name("checkout").build().unwrap().enter(), line!());
    Command::new("sleep").arg("5").status().unwrap();
    let tried = detached(session, dir.path().to_owned(), drop);
    let place = format!("{}:{line}", file!());
    check_closed(
        &tried,
        &format!("session `checkout` ended when the guard made at {place} was dropped"),
    );
    assert_eq!(tree(dir.path()), before);
}

/// The control: before the end, the same thread reaches the session.
#[test]
fn a_thread_with_the_context_is_inside_until_then() {
    let dir = dir_with(&[("in.txt", "real\n")]);
    let before = tree(dir.path());
    let session = bench(dir.path()).build().unwrap().enter();
    let root = dir.path().to_owned();
    let tried = testbench_clock::thread::spawn(|| try_all(root)).join().unwrap();
    tried.write.unwrap();
    assert_eq!(tried.read.unwrap(), "real\n");
    assert!(tried.spawn.unwrap().status.success());
    assert_eq!(tried.sleep, "Ok(())");
    assert_eq!(session.finish().unwrap().diff.summary(), "A late.txt\n");
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_use_of_the_clock_after_the_end_is_counted() {
    let dir = dir_with(&[]);
    let session = bench(dir.path()).build().unwrap().enter();
    let context = Context::capture();
    let report = session.finish().unwrap();
    assert_eq!(report.leaks.late_clock_uses(), 0);
    thread::spawn(context.wrap(testbench_clock::now)).join().unwrap();
    assert!(report.leaks.late_clock_uses() > 0);
}

#[test]
fn a_guest_on_another_thread_is_ended_with_its_session() {
    let dir = dir_with(&[("src/main.src", "main\n")]);
    let session = bench(dir.path()).real_clock().build().unwrap().enter();
    let thread = thread::spawn(
        Context::capture()
            .wrap(move || Command::new("build").args(["-t", "1h", "src", "out"]).output()),
    );
    // It makes the directory and then sleeps, which only the end of the session ends.
    while !thread.is_finished() && !fs::exists(dir.path().join("out")).unwrap() {
        thread::yield_now();
    }
    let report = session.finish().unwrap();
    let output = thread.join().unwrap().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(9));
    assert_eq!(report.spawns.len(), 1);
    assert_eq!(report.spawns[0].status, Some(output.status));
}

#[test]
fn sessions_nest_and_unwind() {
    let (outer_dir, inner_dir) =
        (dir_with(&[("name", "outer\n")]), dir_with(&[("name", "inner\n")]));
    let name = || text(&Command::new("cat").arg("name").output().unwrap().stdout).to_owned();
    let outer = bench(outer_dir.path()).build().unwrap().enter();
    assert_eq!(name(), "outer\n");
    let inner = bench(inner_dir.path()).build().unwrap().enter();
    assert_eq!(name(), "inner\n");
    let result = std::panic::catch_unwind(|| {
        let _innermost = bench(outer_dir.path()).env("X", "1").build().unwrap().enter();
        assert_eq!(name(), "outer\n");
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(result.is_err());
    assert_eq!(name(), "inner\n");
    // In the wrong order.
    drop(outer);
    assert_eq!(name(), "inner\n");
    assert_eq!(inner.finish().unwrap().spawns.len(), 3);
    assert!(!testbench_clock::is_mocked());
    assert!(matches!(Command::new("cat").route(), testbench_harness::Route::Native { .. }));
}
