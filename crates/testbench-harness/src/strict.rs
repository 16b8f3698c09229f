//! Sessions that own the process: spawns on threads without a session are refused.
//!
//! A thread that was started without the session's context has no session, and its spawns are the
//! standard library's. In a process that belongs to one session this is a mistake. Threads without a
//! session look at this list of such sessions.

use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::refusal::Refusal;

/// The strict sessions of the process, in the order of their beginning.
static SESSIONS: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());

struct Entry {
    name: String,
    refused: Mutex<Vec<OsString>>,
}

/// A session that is in the list, until this drops.
pub(crate) struct Strict(Arc<Entry>);

impl Strict {
    pub(crate) fn begin(name: &str) -> Strict {
        let entry = Arc::new(Entry { name: name.to_owned(), refused: Mutex::default() });
        lock(&SESSIONS).push(entry.clone());
        Strict(entry)
    }

    /// Leaves the list, and returns the programs whose start was refused.
    pub(crate) fn end(self) -> Vec<OsString> {
        std::mem::take(&mut lock(&self.0.refused))
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        lock(&SESSIONS).retain(|entry| !Arc::ptr_eq(entry, &self.0));
    }
}

/// The refusal of a start of `program` on a thread without a session, if there is a strict session.
pub(crate) fn refusal(program: &OsStr) -> Option<Refusal> {
    let session = lock(&SESSIONS).first()?.name.clone();
    Some(Refusal::UnboundThread { program: program.to_owned(), session })
}

/// As [`refusal`], for a start that is refused now: every strict session remembers it.
pub(crate) fn refuse(program: &OsStr) -> Option<Refusal> {
    lock(&SESSIONS).iter().for_each(|entry| lock(&entry.refused).push(program.to_owned()));
    refusal(program)
}

/// Both lists are whole after every statement.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
