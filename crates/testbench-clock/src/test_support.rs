//! Functions that the expansion of `#[testbench_clock::test]` calls.

use crate::clock::Stuck;
use crate::{MockClock, WallTime, task};
use std::sync::Arc;

/// The start of a test's wall clock, read by the compiler.
///
/// # Panics
///
/// At compile time, if it is not RFC 3339:
///
/// ```compile_fail
/// // 2023 was no leap year.
/// const START: testbench_clock::WallTime = testbench_clock::__private::start("2023-02-29T00:00:00Z");
/// ```
pub const fn start(text: &str) -> WallTime {
    match WallTime::from_rfc3339(text) {
        Ok(wall) => wall,
        Err(_) => panic!("`start` is not an RFC 3339 time such as \"2024-02-29T23:59:59Z\""),
    }
}

/// Runs the body of a test with its clock installed.
#[track_caller]
pub fn run<T>(clock: Arc<MockClock>, body: impl FnOnce() -> T) -> T {
    let _installed = clock.install();
    body()
}

/// By the best driver that there is: tasks can be spawned where there is a runtime.
#[track_caller]
pub fn drive<F: Future>(body: F) -> F::Output {
    #[cfg(feature = "tokio")]
    return drive_by_tokio(body);
    #[cfg(not(feature = "tokio"))]
    drive_by_block_on(body)
}

#[track_caller]
pub fn drive_by_block_on<F: Future>(body: F) -> F::Output {
    done(task::block_on(body))
}

#[cfg(feature = "tokio")]
#[track_caller]
pub fn drive_by_tokio<F: Future>(body: F) -> F::Output {
    match crate::tokio::runtime() {
        Ok(runtime) => done(runtime.block_on(body)),
        Err(error) => panic!("a tokio runtime for this test: {error}"),
    }
}

#[cfg(feature = "tokio")]
#[track_caller]
pub fn drive_by_paused_tokio<F: Future>(body: F) -> F::Output {
    match crate::tokio::paused_runtime() {
        Ok(runtime) => done(runtime.block_on(body)),
        Err(error) => panic!("a tokio runtime for this test: {error}"),
    }
}

#[cfg(not(feature = "tokio"))]
pub fn drive_by_tokio<F: Future>(_: F) -> F::Output {
    const { panic!("this driver needs the feature `tokio` of testbench-clock") }
}

#[cfg(not(feature = "tokio"))]
pub fn drive_by_paused_tokio<F: Future>(_: F) -> F::Output {
    const { panic!("this driver needs the feature `tokio` of testbench-clock") }
}

#[track_caller]
fn done<T>(result: Result<T, Stuck>) -> T {
    match result {
        Ok(output) => output,
        Err(stuck) => panic!("the test cannot go on: {stuck}"),
    }
}
