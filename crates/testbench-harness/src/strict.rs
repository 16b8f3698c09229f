//! Sessions that own the process: spawns on threads without a session are refused.
//!
//! A thread that was started without the session's context has no session, and its spawns are the
//! standard library's. In a process that belongs to one session this is a mistake. Threads without a
//! session look at this list of such sessions.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The strict sessions of the process, in the order of their beginning.
static SESSIONS: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
/// Their number: the usual look takes no lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Entry {
    id: usize,
    name: String,
    refused: Vec<OsString>,
}

/// A session that is in the list.
pub(crate) struct Strict {
    id: usize,
}

impl Strict {
    pub(crate) fn begin(name: &str) -> Strict {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        sessions().push(Entry { id, name: name.to_owned(), refused: Vec::new() });
        COUNT.fetch_add(1, Ordering::Release);
        Strict { id }
    }

    /// Leaves the list, and returns the programs whose start was refused.
    pub(crate) fn end(self) -> Vec<OsString> {
        self.leave()
    }

    fn leave(&self) -> Vec<OsString> {
        let mut sessions = sessions();
        let Some(at) = sessions.iter().position(|entry| entry.id == self.id) else {
            return Vec::new();
        };
        COUNT.fetch_sub(1, Ordering::Release);
        sessions.remove(at).refused
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The name of the strict session because of which nothing is started on a thread without one.
pub(crate) fn session() -> Option<String> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    sessions().first().map(|entry| entry.name.clone())
}

/// As [`session`], for a start that is refused now: every strict session remembers it.
pub(crate) fn refuse(program: &OsStr) -> Option<String> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    let mut sessions = sessions();
    sessions.iter_mut().for_each(|entry| entry.refused.push(program.to_owned()));
    sessions.first().map(|entry| entry.name.clone())
}

fn sessions() -> MutexGuard<'static, Vec<Entry>> {
    // Whole after every statement.
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}
