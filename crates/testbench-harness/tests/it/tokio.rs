//! The twin of `Command` for tokio, on the exact driver, on foreign runtimes, and without a session.
#![cfg(unix)]

use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{bench, dir_with, text};
use testbench_clock::task::{self, interval, timeout};
use testbench_clock::{Context, FutureExt, Stuck};
use testbench_harness::tape::TapeMode;
use testbench_harness::tokio::{Child, Command, NotDriven};
use testbench_harness::{
    OnMiss, Policy, Refusal, Route, Session, SpawnError, Stdio, Testbench, Toolchain,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECOND: Duration = Duration::from_secs(1);

fn session() -> Session {
    let bench = Testbench::builder().toolchain(Toolchain::builtin());
    bench.policy("sh", Policy::Native).build().unwrap().enter()
}

/// Drives a future on the session's own thread.
fn run<T>(future: impl Future<Output = T>) -> T {
    testbench_clock::tokio::runtime().unwrap().block_on(future).unwrap()
}

fn sleeper(seconds: &str) -> Command {
    let mut command = Command::new("sleep");
    command.arg(seconds);
    command
}

fn native(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped())
}

#[test]
fn virtual_time_is_that_of_the_longest_child_and_they_end_in_order() {
    let session = session();
    let order = Arc::new(Mutex::new(Vec::new()));
    run(async {
        let tasks = ["3", "1", "2"].map(|seconds| {
            let order = order.clone();
            tokio::spawn(async move {
                assert!(sleeper(seconds).status().await.unwrap().success());
                order.lock().unwrap().push((seconds, testbench_clock::instant_now().nanos()));
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
    });
    let ns = |seconds: u64| seconds * 1_000_000_000;
    assert_eq!(*order.lock().unwrap(), [("1", ns(1)), ("2", ns(2)), ("3", ns(3))]);
    assert_eq!(session.finish().unwrap().virtual_time, 3 * SECOND);
}

#[test]
fn other_tasks_run_while_a_child_is_awaited() {
    let session = session();
    let ticks = run(async {
        let ticking = tokio::spawn(async {
            let mut every_second = interval(SECOND);
            for _ in 0..=4 {
                every_second.tick().await;
            }
            testbench_clock::instant_now().since_origin()
        });
        assert!(sleeper("10").status().await.unwrap().success());
        assert!(ticking.is_finished());
        ticking.await.unwrap()
    });
    assert_eq!(ticks, 4 * SECOND);
    assert_eq!(session.finish().unwrap().virtual_time, 10 * SECOND);
}

#[test]
fn a_chain_of_children_and_sleeps_takes_the_sum_and_two_chains_the_longer() {
    let session = session();
    let chain = |first: &'static str, pause: u64, second: &'static str| async move {
        assert!(sleeper(first).status().await.unwrap().success());
        task::sleep(Duration::from_secs(pause)).await;
        assert!(sleeper(second).status().await.unwrap().success());
    };
    run(async { tokio::join!(chain("2", 3, "4"), chain("5", 1, "2")) });
    assert_eq!(session.finish().unwrap().virtual_time, 9 * SECOND);
}

#[test]
fn what_does_not_fit_into_a_pipe_flows_both_ways() {
    let _session = session();
    let input: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    for mut command in [Command::new("cat"), native("cat")] {
        let mut child = piped(&mut command).spawn().unwrap();
        let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let output = run(async {
            let writing = async {
                stdin.write_all(&input).await.unwrap();
                drop(stdin);
            };
            let reading = async {
                let (mut bytes, mut stdout) = (Vec::new(), stdout);
                stdout.read_to_end(&mut bytes).await.unwrap();
                bytes
            };
            let (_, bytes) = tokio::join!(writing, reading);
            assert!(child.wait().await.unwrap().success());
            bytes
        });
        assert!(output == input, "{command:?} gave {} bytes", output.len());
    }
}

#[test]
fn a_guest_a_native_program_and_a_guest_in_one_pipeline() {
    let session = session();
    run(async {
        let stdio = |child: &mut Child| Stdio::try_from(child.stdout.take().unwrap()).unwrap();
        let mut seq = Command::new("seq").arg("2000").stdout(Stdio::piped()).spawn().unwrap();
        let mut cat = native("cat");
        let mut cat = cat.stdin(stdio(&mut seq)).stdout(Stdio::piped()).spawn().unwrap();
        let count = Command::new("wc").arg("-l").stdin(stdio(&mut cat)).output().await.unwrap();
        assert_eq!(text(&count.stdout).trim(), "2000");
        assert!(seq.wait().await.unwrap().success() && cat.wait().await.unwrap().success());
    });
    assert_eq!(session.finish().unwrap().spawns.len(), 3);
}

#[test]
fn a_dialogue_line_by_line() {
    let _session = session();
    for mut command in [Command::new("cat"), native("exec cat")] {
        run(async {
            let mut child = piped(&mut command).spawn().unwrap();
            let (mut stdin, mut stdout) =
                (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            for line in [b"one\n", b"two\n"] {
                task::sleep(60 * SECOND).await;
                stdin.write_all(line).await.unwrap();
                let mut echoed = [0; 4];
                stdout.read_exact(&mut echoed).await.unwrap();
                assert_eq!(&echoed, line);
            }
            drop(stdin);
            assert!(child.wait().await.unwrap().success());
        });
    }
}

#[test]
fn kill_is_sigkill_for_both_and_dropping_kills_if_asked() {
    let session = session();
    run(async {
        for mut command in [sleeper("1h"), native("exec sleep 3600")] {
            let mut child = command.spawn().unwrap();
            assert!(child.id().is_some());
            assert_eq!(child.try_wait().unwrap(), None);
            child.kill().await.unwrap();
            assert_eq!(child.wait().await.unwrap().signal(), Some(9), "{command:?}");
            assert_eq!(child.id(), None);
            assert_eq!(child.start_kill().unwrap_err().kind(), ErrorKind::InvalidInput);

            let dropped = command.kill_on_drop(true).spawn().unwrap();
            drop(dropped);
            assert!(command.get_kill_on_drop());
            drop(command.output());
        }
        // Not asked: it goes on.
        drop(sleeper("5").spawn().unwrap());
    });
    let spawns = session.spawns();
    assert_eq!(spawns.len(), 7);
    sleep_in_session(10);
    let signals: Vec<_> =
        session.spawns().iter().map(|spawn| spawn.status.and_then(|s| s.signal())).collect();
    let killed = Some(9);
    assert_eq!(signals, [killed, killed, killed, killed, killed, killed, None]);
    assert!(session.spawns()[6].status.unwrap().success());
}

fn sleep_in_session(seconds: u64) {
    testbench_clock::sleep(Duration::from_secs(seconds));
}

#[test]
fn a_wait_that_is_dropped_loses_nothing() {
    let _session = session();
    run(async {
        let mut child = sleeper("5").spawn().unwrap();
        assert!(timeout(2 * SECOND, child.wait()).await.is_err());
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(timeout(4 * SECOND, child.wait()).await.unwrap().unwrap().success());
        assert_eq!(child.virtual_time(), Some(5 * SECOND));
        assert_eq!(child.exit().and_then(|exit| exit.code()), Some(0));
        // Once more is the same.
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn a_loop_of_try_wait_ends() {
    let _session = session();
    run(async {
        let mut child = Command::new("seq").arg("3").stdout(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn output_and_status_have_tokios_defaults() {
    let dir = dir_with(&[("sub/in.txt", "b\na\n")]);
    let session = bench(dir.path()).env("FROM", "session").build().unwrap().enter();
    run(async {
        // Captured, whatever was said before.
        let mut echo = Command::new("echo");
        let output = echo.arg("hi").stdout(Stdio::null()).output().await.unwrap();
        assert_eq!(text(&output.stdout), "hi\n");
        let sorted = Command::new("sort").arg("in.txt").current_dir("sub").output().await.unwrap();
        assert_eq!(text(&sorted.stdout), "a\nb\n");
        let mut env = Command::new("env");
        let env = env.env("MORE", "x").env_remove("TZ").output().await.unwrap();
        assert!(
            text(&env.stdout).contains("FROM=session\n") && text(&env.stdout).contains("MORE=x\n")
        );
        assert!(!text(&env.stdout).contains("TZ="));
        let fed = Command::new("wc").arg("-l").stdin_bytes("1\n2\n").output().await.unwrap();
        assert_eq!(text(&fed.stdout).trim(), "2");
        let failed = Command::new("cat").arg("missing").stderr(Stdio::null()).status().await;
        assert_eq!(failed.unwrap().code(), Some(1));
        // An empty stdin, not the test's.
        assert!(Command::new("cat").status().await.unwrap().success());
    });
    assert_eq!(session.finish().unwrap().diff.summary(), "");
}

#[test]
fn a_refused_start_says_why() {
    let _session = session();
    run(async {
        let error = Command::new("git").output().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let refused = SpawnError::of(&error);
        assert!(matches!(refused, Some(SpawnError::Refused(Refusal::NotFound(_)))), "{error}");
        assert!(matches!(Command::new("git").route(), Route::Refuse(_)));
        let error = Command::new("cat").via(Policy::Deny).status().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    });
}

#[test]
fn a_timeout_and_a_limit_end_a_child() {
    let _session = session();
    let status = run(async { sleeper("1h").timeout(2 * SECOND).status().await.unwrap() });
    assert_eq!(status.signal(), Some(9));
    assert_eq!(testbench_clock::instant_now().since_origin(), 2 * SECOND);
}

#[test]
fn a_child_and_its_parent_that_wait_for_each_other_are_a_deadlock() {
    let _session = session();
    let runtime = testbench_clock::tokio::runtime().unwrap();
    let stuck = runtime.block_on(async {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let _held = cat.stdin.take();
        cat.wait().await
    });
    let Err(Stuck::Deadlock(report)) = stuck else { panic!("{stuck:?}") };
    assert!(report.to_string().contains("`cat`: "), "{report}");
}

#[test]
fn a_replayed_child_is_awaited_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("t.tape");
    for mode in [TapeMode::Record, TapeMode::Replay] {
        let bench = Testbench::builder().tape(&tape, mode);
        let session = bench.unmatched(Policy::Replay(OnMiss::Error)).build().unwrap().enter();
        let outputs = run(async {
            let both =
                ["sleep 0.05; echo a", "sleep 0.05; echo b"].map(|script| native(script).output());
            let [a, b] = both;
            tokio::try_join!(a, b).unwrap()
        });
        for (output, said) in [(&outputs.0, "a\n"), (&outputs.1, "b\n")] {
            assert!(output.status.success(), "{output:?} in {mode:?}");
            assert_eq!(text(&output.stdout), said, "{output:?} in {mode:?}");
        }
        let report = session.finish().unwrap();
        for (record, said) in report.tape.unwrap().records().iter().zip(["a\n", "b\n"]) {
            assert_eq!(record.stdout.to_string(), said, "{record:?} in {mode:?}");
        }
        let took = report.virtual_time;
        assert!(took >= Duration::from_millis(50), "{took:?} in {mode:?}");
    }
}

#[test]
fn block_on_drives_it_without_tokio() {
    let session = session();
    let status = testbench_clock::task::block_on(sleeper("7").status()).unwrap().unwrap();
    assert!(status.success());
    assert_eq!(session.finish().unwrap().virtual_time, 7 * SECOND);
}

#[test]
fn a_runtime_that_does_not_drive_the_clock_is_an_error_that_says_what_to_do() {
    let session = Testbench::builder().name("mine").toolchain(Toolchain::builtin());
    let session = session.build().unwrap().enter();
    let foreign = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let awaited = foreign().block_on(sleeper("1").status());
    let paused = testbench_clock::tokio::paused_runtime().unwrap();
    let followed = paused.block_on(sleeper("1").status()).unwrap();
    let context = Context::capture();
    let elsewhere = std::thread::spawn(move || {
        foreign().block_on(async { sleeper("1").status().await }.with_context(context))
    });
    let elsewhere = testbench_clock::external("joins", || elsewhere.join().unwrap());
    let mut texts: Vec<String> = Vec::new();
    for error in [awaited, followed, elsewhere].map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let inner = error.get_ref().unwrap().downcast_ref::<NotDriven>().unwrap();
        assert_eq!(inner.session, "mine");
        texts.push(error.to_string());
    }
    texts.dedup();
    let [said] = <[String; 1]>::try_from(texts).unwrap();
    insta::assert_snapshot!(said, @"a child of the session `mine` was awaited where the session's clock cannot move; run the future on the session's own thread, by a runtime of `testbench_clock::tokio::runtime()` or by `testbench_clock::task::block_on`");
    drop(session);
}

#[test]
fn a_child_of_an_outer_session_is_awaited_on_its_own_timeline() {
    let outer = session();
    let mut child = sleeper("5").spawn().unwrap();
    let runtime = testbench_clock::tokio::runtime().unwrap();
    let inner = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    // A runtime of the inner session does not move the outer one's clock.
    let error = run(child.wait()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // One of the outer session's does, wherever it is driven.
    assert!(runtime.block_on(child.wait()).unwrap().unwrap().success());
    assert_eq!(inner.finish().unwrap().virtual_time, Duration::ZERO);
    assert_eq!(outer.finish().unwrap().virtual_time, 5 * SECOND);
}

#[test]
fn with_a_real_clock_any_runtime_will_do() {
    let bench = Testbench::builder().toolchain(Toolchain::builtin()).real_clock();
    let _session = bench.build().unwrap().enter();
    let plain = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..2 {
        let output = plain.block_on(async {
            let mut echo = piped(&mut Command::new("cat")).spawn().unwrap();
            echo.stdin.take().unwrap().write_all(b"through").await.unwrap();
            let slow = sleeper("0.02").status().await.unwrap();
            assert!(slow.success());
            echo.wait_with_output().await.unwrap()
        });
        assert_eq!(text(&output.stdout), "through");
    }
    // As does one of ours.
    assert!(run(sleeper("0.01").status()).unwrap().success());
}

#[test]
fn a_child_that_outlives_its_session_has_ended() {
    let session = session();
    let mut child = sleeper("1h").spawn().unwrap();
    let mut reader = Command::new("cat");
    let mut reader = piped(&mut reader).spawn().unwrap();
    session.finish().unwrap();
    let plain = tokio::runtime::Builder::new_current_thread().build().unwrap();
    plain.block_on(async {
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
        let mut rest = Vec::new();
        reader.stdout.take().unwrap().read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    });
}

#[test]
fn without_a_session_it_is_tokios() {
    let plain = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    plain.block_on(async {
        let output = native("cat; echo $X >&2; pwd; exit 3")
            .stdin_bytes("fed\n")
            .env("X", "y")
            .current_dir("/")
            .output()
            .await
            .unwrap();
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("fed\n/\n", "y\n"));
        assert_eq!(output.status.code(), Some(3));

        let mut cat = piped(&mut native("cat")).spawn().unwrap();
        let id = cat.id().unwrap();
        assert!(id < 4_194_305, "{id}");
        cat.stdin.take().unwrap().write_all(b"piped").await.unwrap();
        let mut wc = native("wc -c");
        wc.stdin(Stdio::try_from(cat.stdout.take().unwrap()).unwrap());
        assert_eq!(text(&wc.output().await.unwrap().stdout).trim(), "5");
        assert!(cat.wait().await.unwrap().success());

        let mut killed = native("exec sleep 3600").spawn().unwrap();
        killed.start_kill().unwrap();
        assert_eq!(killed.wait().await.unwrap().signal(), Some(9));
        assert_eq!(
            Command::new("no-such-program").spawn().unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let nul = Command::new("sh").arg("a\0b").spawn().unwrap_err();
        assert_eq!(nul.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn futures_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let _session = session();
    let mut command = sleeper("0");
    let (status, output) = (is_send(command.status()), is_send(command.output()));
    let mut child = command.spawn().unwrap();
    let wait = is_send(child.wait());
    run(async {
        status.await.unwrap();
        output.await.unwrap();
        wait.await.unwrap();
    });
}
