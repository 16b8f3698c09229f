//! [`Process`]: a child of a session, whichever way it runs.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use testbench_clock::{Clock, Event, Listener, Wait};
use testbench_wasi::Exit;

use crate::SpawnError;

/// How a child ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// How exactly a guest ended; `None` for a native child that was not ended by force.
    pub(crate) exit: Option<Exit>,
    /// How far the clock moved from its start to its end.
    pub(crate) virtual_time: Duration,
    /// How long a native child took, in milliseconds begun; `None` for a guest.
    pub(crate) real_time: Option<Duration>,
    /// What was captured.
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Something of it could not be kept, such as the files that it wrote; whoever waits for it is
    /// told.
    pub(crate) lost: Option<Arc<SpawnError>>,
}

/// A child that runs beside its parent: a guest, a native program, or one that is replayed.
///
/// Whoever runs it calls [`Process::finish`] once; everyone else looks, waits and kills.
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) name: String,
    ended: OnceLock<Ended>,
    announced: Event,
    /// Ends it from outside; set as soon as there is something to end.
    kill: OnceLock<Kill>,
}

type Kill = Box<dyn Fn(&str) + Send + Sync>;

impl Process {
    pub(crate) fn new(id: u32, name: String) -> Arc<Process> {
        Arc::new(Process {
            id,
            name,
            ended: OnceLock::new(),
            announced: Event::new(),
            kill: OnceLock::new(),
        })
    }

    /// Says how it can be ended, for a reason.
    pub(crate) fn killed_by(&self, kill: impl Fn(&str) + Send + Sync + 'static) {
        // Set by whoever starts it, once.
        let _ = self.kill.set(Box::new(kill));
    }

    /// It has ended; the first end stays.
    pub(crate) fn finish(&self, ended: Ended) {
        let _ = self.ended.set(ended);
        self.announced.notify();
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// What a wait for it answers, if it has ended.
    pub(crate) fn result(&self) -> Option<io::Result<&Ended>> {
        let ended = self.ended()?;
        Some(match &ended.lost {
            None => Ok(ended),
            Some(lost) => Err(io::Error::new(lost.kind(), lost.clone())),
        })
    }

    /// Hears of the end. Take it before looking.
    pub(crate) fn listen(&self) -> Listener {
        self.announced.listen()
    }

    /// Ends it soon, if it runs.
    pub(crate) fn kill(&self, why: &str) {
        if self.ended().is_none()
            && let Some(kill) = self.kill.get()
        {
            kill(why);
        }
    }

    /// Waits, as the participant `clock`, until it has ended.
    pub(crate) fn wait(&self, clock: &dyn Clock) -> io::Result<&Ended> {
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
            .field("ended", &self.ended.get().map(|ended| ended.status))
            .finish_non_exhaustive()
    }
}
