//! The entry found under each key.

use super::entry::{Entry, OnExit};
use crate::audit::Audited;
use std::sync::Arc;

/// For each key, by index, the entry that is found.
#[derive(Clone, Default)]
pub(crate) struct View {
    entries: Entries,
}

/// `None` is the view of a thread on which nothing is installed; it allocates nothing.
#[derive(Clone, Default)]
struct Entries(Option<Arc<[Option<Arc<Entry>>]>>);

impl std::ops::Deref for Entries {
    type Target = [Option<Arc<Entry>>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl View {
    pub(super) const EMPTY: View = View { entries: Entries(None) };

    #[inline]
    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)?.as_deref()
    }

    pub(super) fn with(&self, entry: &Arc<Entry>) -> View {
        let mut entries = self.entries.to_vec();
        if entries.len() <= entry.index {
            entries.resize(entry.index + 1, None);
        }
        entries[entry.index] = Some(Arc::clone(entry));
        View { entries: Entries(Some(entries.into())) }
    }

    /// `self` as seen by a thread on which `below` is what was entered before.
    pub(super) fn above(&self, below: &View) -> View {
        let bound = |entry: &&Arc<Entry>| entry.thread_bound;
        let carried = self.entries.iter().flatten().filter(bound).count();
        let mut kept = below.entries.iter().flatten().filter(bound).peekable();
        if carried == 0 && kept.peek().is_none() {
            return self.clone();
        }
        let mut entries: Vec<_> =
            self.entries.iter().map(|e| e.clone().filter(|e| !e.thread_bound)).collect();
        for entry in kept {
            if entries.len() <= entry.index {
                entries.resize(entry.index + 1, None);
            }
            entries[entry.index] = Some(Arc::clone(entry));
        }
        View { entries: Entries(Some(entries.into())) }
    }

    pub(crate) fn forked(&self, thread_name: &str) -> (View, Vec<OnExit>) {
        let mut view = self.clone();
        let mut exits = Vec::new();
        for entry in self.entries.iter().flatten() {
            if let Some((entry, on_exit)) = entry.forked(thread_name) {
                view = view.with(&Arc::new(entry));
                exits.push(on_exit);
            }
        }
        (view, exits)
    }

    /// Returns what interposed clock functions find where this is the view.
    pub(super) fn audited(&self) -> Audited {
        let mut all = self.entries.iter().flatten().map(|entry| entry.shortcuts.audited);
        all.find(|audited| !matches!(audited, Audited::Nowhere)).unwrap_or_default()
    }

    pub(crate) fn key_names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().flatten().map(|entry| entry.key_name)
    }
}
