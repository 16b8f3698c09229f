//! The layers of each thread: the only thread-local of the workspace.

use super::entry::Entry;
use super::view::View;
use crate::audit::{Audited, is_enabled};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

thread_local! {
    static STACK: RefCell<Stack> = const { RefCell::new(Stack::new()) };
    /// Follows the top of the stack, for code in a signal handler, where the stack must not be touched:
    /// without a destructor, this is plain memory.
    static AUDITED: Cell<Audited> = const { Cell::new(Audited::Nowhere) };
}

/// The view of this thread.
pub(crate) fn view() -> View {
    STACK.try_with(|stack| stack.borrow().view.clone()).unwrap_or_default()
}

/// Looks at the view of this thread, where there still is one. `f` must not install or enter anything.
#[inline]
pub(super) fn peek<R>(f: impl FnOnce(&View) -> R) -> Option<R> {
    STACK.try_with(|stack| f(&stack.borrow().view)).ok()
}

/// Puts a layer on top; undone by [`remove_layer`].
pub(super) fn push(what: What) -> u64 {
    STACK.with(|stack| stack.borrow_mut().push(what))
}

pub(super) fn remove_layer(id: u64) {
    // After the thread-local is gone (a guard kept in another thread-local), there is nothing left
    // to hide.
    let gone = STACK.try_with(|stack| stack.borrow_mut().remove(id));
    drop(gone);
}

/// Safe in a signal handler.
pub(crate) fn audited() -> Audited {
    AUDITED.with(Cell::get)
}

pub(super) enum What {
    /// An entry that is installed.
    Entry(Arc<Entry>),
    /// A captured view that is entered.
    Context(View),
}

struct Layer {
    id: u64,
    what: What,
    /// The view when this layer is on top.
    view: View,
}

struct Stack {
    /// The view of the top layer.
    view: View,
    layers: Vec<Layer>,
    next_id: u64,
}

impl Stack {
    const fn new() -> Self {
        Stack { view: View::EMPTY, layers: Vec::new(), next_id: 0 }
    }

    fn push(&mut self, what: What) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let view = over(&self.view, &what);
        self.set_view(view.clone());
        self.layers.push(Layer { id, what, view });
        id
    }

    /// Takes a layer out and works out those above it again. The result may hold the last
    /// references to foreign values, and is to be dropped outside of the borrow.
    fn remove(&mut self, id: u64) -> (Option<Layer>, Vec<View>) {
        let Some(at) = self.layers.iter().rposition(|layer| layer.id == id) else {
            return (None, Vec::new());
        };
        let gone = self.layers.remove(at);
        let mut view = match at.checked_sub(1) {
            Some(below) => self.layers[below].view.clone(),
            None => View::EMPTY,
        };
        let mut old_views = Vec::new();
        for layer in &mut self.layers[at..] {
            view = over(&view, &layer.what);
            old_views.push(std::mem::replace(&mut layer.view, view.clone()));
        }
        // The old top view is one of those just kept, so nothing is dropped by this.
        self.set_view(view);
        (Some(gone), old_views)
    }

    fn set_view(&mut self, view: View) {
        self.view = view;
        if is_enabled() {
            AUDITED.with(|audited| audited.set(self.view.audited()));
        }
    }
}

fn over(below: &View, what: &What) -> View {
    match what {
        What::Entry(entry) => below.with(entry),
        What::Context(view) => view.above(below),
    }
}
