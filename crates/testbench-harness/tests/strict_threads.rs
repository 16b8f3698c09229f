//! A process that belongs to one session: `strict_threads`.
//!
//! Such a session is seen from every thread that has none, so the tests of this file take turns.
#![cfg(unix)]
#[path = "it/common/mod.rs"]
mod common;

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use common::{bench, dir_with, text};
use testbench_clock::Context;
use testbench_harness::{
    Command, FinishError, Refusal, Route, Session, SpawnError, Testbench, Toolchain,
    intercept_spawn,
};

/// Held by each test while it runs.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed has ended its session by unwinding.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enter(strict: Option<bool>) -> Session {
    let mut bench = Testbench::builder().toolchain(Toolchain::builtin()).name("owner");
    if let Some(strict) = strict {
        bench = bench.strict_threads(strict);
    }
    bench.build().unwrap().enter()
}

/// What `f` answers on a thread that was started without the session's context.
fn on_a_bare_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = scope.spawn(f);
        testbench_clock::external("joining a thread", || thread.join().unwrap())
    })
}

fn refusal(error: &io::Error) -> &Refusal {
    let Some(SpawnError::Refused(refusal)) = SpawnError::of(error) else { panic!("{error:?}") };
    refusal
}

#[test]
fn by_default_a_spawn_on_a_thread_without_a_session_is_stds_and_counted() {
    let _alone = alone();
    for strict in [None, Some(false)] {
        let session = enter(strict);
        let (route, status, intercepted) = on_a_bare_thread(|| {
            let mut exit = Command::new("sh");
            exit.args(["-c", "exit 3"]);
            (exit.route(), exit.status(), intercept_spawn("sh", ["-c", "exit 3"], None).is_none())
        });
        assert!(matches!(route, Route::Native { .. }), "{route:?}");
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(intercepted);
        let report = session.finish().unwrap();
        assert_eq!(report.leaks.unattributed_spawns, 1);
        assert_eq!(report.spawns.len(), 0);
    }
}

#[test]
fn a_strict_session_refuses_every_way_to_start_on_a_thread_without_one() {
    let _alone = alone();
    let marker = dir_with(&[]);
    let made = marker.path().join("made");
    let session = enter(Some(true));
    let errors = on_a_bare_thread(|| {
        let touch = || {
            let mut touch = Command::new("touch");
            touch.arg(&made);
            touch
        };
        [
            touch().spawn().map(drop).unwrap_err(),
            touch().output().map(drop).unwrap_err(),
            touch().status().map(drop).unwrap_err(),
            touch().run().map(drop).unwrap_err(),
            intercept_spawn("touch", [&made], None).unwrap().map(drop).unwrap_err(),
        ]
    });
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(matches!(refusal(error), Refusal::UnboundThread { .. }), "{error:?}");
    }
    insta::assert_snapshot!(errors[0], @"`touch`: this thread has no session, and the process belongs to the session `owner`, which has strict threads; enter the session's `Context` on this thread");
    assert!(!made.exists(), "nothing was started");

    // Looking is no spawn, and tells the same.
    let route = on_a_bare_thread(|| Command::new("true").route());
    assert!(matches!(route, Route::Refuse(Refusal::UnboundThread { .. })), "{route:?}");

    let error = session.finish().unwrap_err();
    let FinishError::UnboundThreads { programs, .. } = &error else { panic!("{error:?}") };
    assert_eq!(programs, &["touch"; 5]);
    insta::assert_snapshot!(error, @"session `owner` has strict threads, and on threads without a session programs were to be started: `touch`, `touch`, `touch`, `touch`, `touch`; enter the session's `Context` on those threads");

    // It is over with the session.
    assert!(Command::new("true").status().unwrap().success());
}

#[test]
fn threads_with_the_context_and_other_sessions_are_not_concerned() {
    let _alone = alone();
    let session = enter(Some(true));
    let carried = Context::capture().wrap(|| Command::new("echo").arg("carried").output());
    assert_eq!(text(&on_a_bare_thread(carried).unwrap().stdout), "carried\n");
    let other = on_a_bare_thread(|| {
        let _other = enter(None);
        Command::new("echo").arg("other").output()
    });
    assert_eq!(text(&other.unwrap().stdout), "other\n");
    let report = session.finish().unwrap();
    assert_eq!(report.spawns.len(), 1);
    assert_eq!(report.leaks.unattributed_spawns, 0);
}

#[test]
fn dropping_a_strict_session_panics_over_what_it_refused_unless_already_unwinding() {
    let _alone = alone();
    let refused = || on_a_bare_thread(|| Command::new("true").status().unwrap_err());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _session = enter(Some(true));
        refused();
    }));
    let panic = panic.unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains("a program was to be started: `true`"), "{said}");

    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _session = enter(Some(true));
        refused();
        panic!("the first one");
    }));
    assert_eq!(*panic.unwrap_err().downcast_ref::<&str>().unwrap(), "the first one");
    assert!(Command::new("true").status().unwrap().success(), "neither left anything behind");
}

#[test]
fn a_nested_strict_session_ends_without_ending_the_outer_ones_strictness() {
    let _alone = alone();
    let outer = enter(Some(true));
    let dir = dir_with(&[]);
    let inner = bench(dir.path()).strict_threads(true).build().unwrap().enter();
    inner.finish().unwrap();
    let error = on_a_bare_thread(|| Command::new("true").status().unwrap_err());
    assert!(
        matches!(refusal(&error), Refusal::UnboundThread { session, .. } if session == "owner")
    );
    assert!(matches!(outer.finish(), Err(FinishError::UnboundThreads { .. })));
}
