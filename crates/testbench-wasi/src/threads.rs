//! Threads for guests that run beside their caller, or that need more stack than their caller has left.
//!
//! There are as many as guests need at once: a guest that waits keeps its thread, so any bound
//! would let waiting guests hold up the very guest that they wait for. Threads that are free are
//! kept for the next guest.

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::engine::{HOST_STACK_BYTES, WASM_STACK_BYTES};

/// How many free threads are kept; each holds on to its stack.
const IDLE_MAX: usize = 32;

/// Each thread's stack: the need of a guest on any thread, and as much again for the frames of host
/// functions in builds that are not optimised.
const STACK_BYTES: usize = 2 * (WASM_STACK_BYTES + HOST_STACK_BYTES);

/// Calls `f` on this thread if the stack has room for a guest or a compilation, else on another
/// while this one waits.
///
/// # Errors
///
/// When a thread is needed and the system refuses it.
pub(crate) fn with_enough_stack<R: Send>(f: impl FnOnce() -> R + Send) -> io::Result<R> {
    // Where the platform does not tell, a thread of our own is surely large enough.
    let left = stacker::remaining_stack().unwrap_or(0);
    if left >= WASM_STACK_BYTES + HOST_STACK_BYTES {
        return Ok(f());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, f)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

type Job = Box<dyn FnOnce() + Send>;

static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());

/// Runs `job` on a thread of ours and does not wait for it. It must not panic.
///
/// # Errors
///
/// When a thread is needed and the system refuses it.
pub(crate) fn spawn(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut job: Job = Box::new(job);
    loop {
        // Taken in a statement of its own, so that the lock is free while the job is handed over.
        let idle = idle().pop();
        let Some(idle) = idle else { break };
        match idle.send(job) {
            Ok(()) => return Ok(()),
            Err(mpsc::SendError(returned)) => job = returned,
        }
    }
    let thread = thread::Builder::new().name("testbench-guest".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || work(job)).map(drop)
}

fn work(first: Job) {
    first();
    let (sender, jobs) = mpsc::channel::<Job>();
    loop {
        {
            let mut idle = idle();
            if idle.len() >= IDLE_MAX {
                return;
            }
            idle.push(sender.clone());
        }
        let Ok(job) = jobs.recv() else { return };
        job();
    }
}

fn idle() -> MutexGuard<'static, Vec<Sender<Job>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn as_many_run_at_once_as_are_spawned() {
        const JOBS: usize = 100;
        let all_run = Arc::new(Barrier::new(JOBS + 1));
        for _ in 0..2 {
            for _ in 0..JOBS {
                let all_run = all_run.clone();
                spawn(move || {
                    all_run.wait();
                })
                .unwrap();
            }
            // Passes only when every job has a thread of its own.
            all_run.wait();
        }
    }
}
