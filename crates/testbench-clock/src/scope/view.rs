//! The entry found under each key.

use super::entry::{Entry, OnExit};
use crate::audit::Audited;
use std::sync::Arc;

/// For each key, by index, the entry that is found. `None` is the view of a thread on which nothing is
/// installed; it allocates nothing.
#[derive(Clone, Default)]
pub(crate) struct View(Option<Arc<[Slot]>>);

type Slot = Option<Arc<Entry>>;

impl View {
    pub(super) const EMPTY: View = View(None);

    #[inline]
    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        self.slots().get(index)?.as_deref()
    }

    pub(super) fn with(&self, entry: &Arc<Entry>) -> View {
        View::of(self.slots().to_vec(), [entry])
    }

    /// `self` as seen by a thread on which `below` is what was entered before.
    pub(super) fn above(&self, below: &View) -> View {
        let is_bound = |entry: &Arc<Entry>| entry.key.state().thread_bound;
        let mut kept = below.entries().filter(|entry| is_bound(entry)).peekable();
        if kept.peek().is_none() && !self.entries().any(is_bound) {
            return self.clone();
        }
        let carried = self.slots().iter().cloned().map(|slot| slot.filter(|e| !is_bound(e)));
        View::of(carried.collect(), kept)
    }

    pub(crate) fn forked(&self, thread_name: &str) -> (View, Vec<OnExit>) {
        let mut view = self.clone();
        let mut exits = Vec::new();
        for (entry, on_exit) in self.entries().filter_map(|entry| entry.forked(thread_name)) {
            view = view.with(&Arc::new(entry));
            exits.push(on_exit);
        }
        (view, exits)
    }

    /// Returns what interposed clock functions find where this is the view.
    pub(super) fn audited(&self) -> Audited {
        let mut all = self.entries().map(|entry| entry.shortcuts.audited);
        all.find(|audited| !matches!(audited, Audited::Nowhere)).unwrap_or_default()
    }

    pub(crate) fn key_names(&self) -> impl Iterator<Item = &'static str> {
        self.entries().map(|entry| entry.key.state().name)
    }

    fn of<'a>(mut slots: Vec<Slot>, further: impl IntoIterator<Item = &'a Arc<Entry>>) -> View {
        for entry in further {
            if slots.len() <= entry.index {
                slots.resize(entry.index + 1, None);
            }
            slots[entry.index] = Some(Arc::clone(entry));
        }
        View(Some(slots.into()))
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slots().iter().flatten()
    }

    #[inline]
    fn slots(&self) -> &[Slot] {
        self.0.as_deref().unwrap_or(&[])
    }
}
