//! Changes of the wall clock, now or at a given instant.

use super::state::State;
use super::wall::{Injection, When};
use crate::log::Kind;
use std::panic::Location;
use std::sync::Arc;

/// An injection, with its participant and its place in the code.
pub(super) struct Injected {
    /// `None` is now.
    pub(super) when: Option<When>,
    pub(super) injection: Injection,
    pub(super) who: Arc<str>,
    pub(super) site: &'static Location<'static>,
}

impl State {
    pub(super) fn inject(&mut self, injected: Injected) {
        match injected.when {
            Some(_) => self.injections.push(injected),
            None => self.apply(&injected),
        }
        self.apply_due_injections();
    }

    /// Applies the planned injections whose instant has come, and plans the next.
    pub(super) fn apply_due_injections(&mut self) {
        let is_due = |at_ns: Option<u64>, now_ns| at_ns.is_some_and(|at_ns| at_ns <= now_ns);
        while let Some(i) =
            self.injections.iter().position(|it| is_due(self.instant_of(it), self.now_ns))
        {
            let injected = self.injections.remove(i);
            self.apply(&injected);
        }
        let planned = self.injections.iter().filter_map(|planned| self.instant_of(planned));
        self.next_injection_ns = planned.min();
    }

    fn instant_of(&self, planned: &Injected) -> Option<u64> {
        match planned.when? {
            When::Mono(at) => Some(at.nanos()),
            When::Wall(wall) => self.face.wall.load().mono_at(wall, self.now_ns),
        }
    }

    fn apply(&mut self, injected: &Injected) {
        let Injected { who, injection, site, .. } = injected;
        let next = self.face.wall.load().after(*injection, self.now_ns);
        self.face.wall.store(&next);
        self.wall_changed = true;
        let text = format_args!("{injection:?} at {}:{}", site.file(), site.line());
        self.note(who, Kind::Inject, &text);
    }
}
