//! The sessions that a script enters.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::Path;
use std::rc::Rc;

use send_wrapper::SendWrapper;
use tempfile::TempDir;

use super::{ScriptError, ScriptFailure, options};
use crate::vm::options::Options;
use crate::{Session, SpawnRecord};

/// The sessions of one script. They last until it has ended, even if it drops its own values.
#[derive(Clone)]
pub(super) struct Benches {
    script: Box<Path>,
    /// The innermost last.
    entered: SendWrapper<Rc<RefCell<Vec<ScriptBench>>>>,
}

/// A value of `testbench(…)`; clones are the same session.
///
/// A session belongs to its thread. Some builds of the virtual machines require values that are
/// `Send`, though no script moves: the wrapper checks that.
#[derive(Clone)]
pub(super) struct ScriptBench(SendWrapper<Rc<State>>);

struct State {
    session: RefCell<Option<Session>>,
    root: String,
    /// Goes after the session.
    _made: Option<TempDir>,
}

impl Benches {
    pub(super) fn new(script: &Path) -> Benches {
        Benches { script: script.into(), entered: SendWrapper::new(Rc::default()) }
    }

    /// Enters a session.
    pub(super) fn enter(&self, options: Options) -> Result<ScriptBench, ScriptError> {
        let prepared = options::prepare(&self.script, options)?;
        let root = prepared.root.map(|root| root.to_string_lossy().into_owned());
        let session = RefCell::new(Some(prepared.bench.enter()));
        let state = State { session, root: root.unwrap_or_default(), _made: prepared.made };
        let bench = ScriptBench(SendWrapper::new(Rc::new(state)));
        self.entered.borrow_mut().push(bench.clone());
        Ok(bench)
    }

    /// Ends the sessions, the innermost first, and returns the result of the script `ran`: its own
    /// failure, else the first failure of a session's end.
    pub(super) fn end(self, ran: Result<(), ScriptFailure>) -> Result<(), ScriptFailure> {
        let mut ended = Ok(());
        while let Some(bench) = self.entered.borrow_mut().pop() {
            let session = bench.0.session.take();
            ended = ended.and(session.map_or(Ok(()), |session| session.finish().map(drop)));
        }
        ran.and(ended.map_err(|error| ScriptFailure::new(&self.script, None, error)))
    }
}

impl ScriptBench {
    /// The overlay's directory; empty without one.
    pub(super) fn root(&self) -> String {
        self.0.root.clone()
    }

    /// The diff as its snapshot's text.
    pub(super) fn diff(&self) -> Result<String, ScriptError> {
        self.with(|session| {
            // Not `insta::overlay` alone, which panics if there is no diff.
            session.diff().map_err(|error| format!("there is no diff: {error}"))?;
            Ok(crate::insta::overlay(session))
        })
    }

    /// The seconds that have passed on the session's clock since its start.
    pub(super) fn virtual_time(&self) -> Result<f64, ScriptError> {
        self.with(|session| Ok(session.virtual_time().as_secs_f64()))
    }

    /// The spawns so far, as `show` makes them from the program, its arguments and its status: as a
    /// shell reports it, or 127 for a program that did not start.
    pub(super) fn spawns<T>(
        &self,
        show: impl Fn(String, Vec<String>, i32) -> T,
    ) -> Result<Vec<T>, ScriptError> {
        let text = |text: &OsString| text.to_string_lossy().into_owned();
        let shown = |spawn: SpawnRecord| {
            let status = spawn.status.map_or(127, crate::sys::shell_status);
            show(text(&spawn.program), spawn.args.iter().map(text).collect(), status)
        };
        self.with(|session| Ok(session.spawns().into_iter().map(shown).collect()))
    }

    /// Ends the session; doing so twice is an error.
    pub(super) fn finish(&self) -> Result<(), ScriptError> {
        self.0.session.take().ok_or(FINISHED)?.finish()?;
        Ok(())
    }

    fn with<R>(
        &self,
        f: impl FnOnce(&Session) -> Result<R, ScriptError>,
    ) -> Result<R, ScriptError> {
        f(self.0.session.borrow().as_ref().ok_or(FINISHED)?)
    }
}

const FINISHED: &str = "this bench is finished already";
