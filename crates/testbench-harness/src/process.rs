//! [`Process`]: a child of a session, whichever way it runs.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use testbench_clock::{Clock, Event, Listener, Wait};
use testbench_wasi::Finished;

use crate::SpawnError;

/// A child that runs beside its parent: a guest, a native program, or one that is replayed.
///
/// Its own thread calls [`Process::finish`] once; all others look, wait and kill.
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) name: String,
    end: OnceLock<End>,
    announced: Event,
    /// Ends it from outside; set as soon as it runs.
    kill: OnceLock<Kill>,
}

struct End {
    finished: Finished,
    lost: Option<Arc<SpawnError>>,
}

type Kill = Box<dyn Fn(&str) + Send + Sync>;

impl Process {
    pub(crate) fn new(id: u32, name: String) -> Arc<Process> {
        Arc::new(Process {
            id,
            name,
            end: OnceLock::new(),
            announced: Event::new(),
            kill: OnceLock::new(),
        })
    }

    /// Sets how it can be ended, for a reason.
    pub(crate) fn killed_by(&self, kill: impl Fn(&str) + Send + Sync + 'static) {
        // Set once, at the start.
        let _ = self.kill.set(Box::new(kill));
    }

    /// Announces its end; the first end stays. `lost` is the error of every wait for it, if a part
    /// of its result could not be kept, such as the files that it wrote.
    pub(crate) fn finish(&self, finished: Finished, lost: Option<SpawnError>) {
        let _ = self.end.set(End { finished, lost: lost.map(Arc::new) });
        self.announced.notify();
    }

    /// Its result, if it has ended.
    pub(crate) fn finished(&self) -> Option<&Finished> {
        self.end.get().map(|end| &end.finished)
    }

    /// The result of a wait for it, if it has ended.
    pub(crate) fn result(&self) -> Option<io::Result<&Finished>> {
        let End { finished, lost } = self.end.get()?;
        Some(match lost {
            None => Ok(finished),
            Some(lost) => Err(io::Error::new(lost.kind(), lost.clone())),
        })
    }

    /// A listener for the end. Take it before reading the state.
    pub(crate) fn listen(&self) -> Listener {
        self.announced.listen()
    }

    /// Ends it soon, if it runs.
    pub(crate) fn kill(&self, why: &str) {
        if self.finished().is_none()
            && let Some(kill) = self.kill.get()
        {
            kill(why);
        }
    }

    /// Waits, as the participant `clock`, until it has ended.
    pub(crate) fn wait(&self, clock: &dyn Clock) -> io::Result<&Finished> {
        let what = format_args!("wait for `{}` to end", self.name).to_string();
        loop {
            let ended = self.listen();
            if let Some(result) = self.result() {
                return result;
            }
            clock.wait(Wait { deadline: None, on: &[ended], what: &what })?;
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("exit", &self.finished().map(|finished| &finished.exit))
            .finish_non_exhaustive()
    }
}
