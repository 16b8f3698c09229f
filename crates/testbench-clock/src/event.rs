//! Events: what ends a wait besides time.

use crate::debug::debug_by;
use crate::panics::{locked, wake_all};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// Announces that some condition may have changed, such as "the pipe has bytes".
///
/// An event counts its notifications and holds no value: a listener that is woken looks at the
/// condition again. Clones are the same event.
///
/// The order that loses nothing is **listen, look, wait**:
///
/// ```
/// use testbench_clock::Event;
///
/// let event = Event::new();
/// let listener = event.listen();
/// // Here the condition is looked at; assume that it does not hold yet.
/// assert!(!listener.is_notified());
/// event.notify(); // from any thread, after the condition was changed
/// assert!(listener.is_notified());
/// assert!(!event.listen().is_notified());
/// ```
#[derive(Clone, Default)]
pub struct Event {
    shared: Arc<Shared>,
}

impl Event {
    /// An event that was never notified.
    pub fn new() -> Self {
        Event::default()
    }

    /// Wakes all listeners, in the order in which they registered.
    ///
    /// May be called from any thread; never blocks on a participant. The wakers run on this
    /// thread, with no lock of the event held.
    pub fn notify(&self) {
        self.shared.notify();
    }

    /// A waker that notifies it.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.shared))
    }

    /// Listens for notifications from now on.
    pub fn listen(&self) -> Listener {
        Listener {
            shared: Arc::clone(&self.shared),
            seen: self.shared.generation.load(Ordering::Acquire),
            key: AtomicU64::new(NOT_REGISTERED),
        }
    }
}

debug_by!([] Event, "Event", |it| { generation: it.shared.generation });

/// Remembers the state of an [`Event`] at [`Event::listen`], and tells whether it was notified
/// since.
pub struct Listener {
    shared: Arc<Shared>,
    seen: u64,
    /// Of its waker; changed under the lock of those.
    key: AtomicU64,
}

impl Listener {
    /// Whether the event was notified since [`Event::listen`]. Stays true once it is.
    pub fn is_notified(&self) -> bool {
        self.shared.generation.load(Ordering::Acquire) != self.seen
    }

    /// Wakes `waker` once at the next notification; at once if there already was one.
    ///
    /// A listener has one waker: a second call replaces the first one's. Dropping the listener
    /// forgets it.
    pub fn register(&self, waker: &Waker) {
        // Cloning and dropping a waker is foreign code, so neither happens under the lock.
        let waker = waker.clone();
        let mut registered = locked(&self.shared.registered);
        if self.is_notified() {
            drop(registered);
            waker.wake();
            return;
        }
        if self.key.load(Ordering::Relaxed) == NOT_REGISTERED {
            registered.next_key += 1;
            self.key.store(registered.next_key, Ordering::Relaxed);
        }
        let old = registered.wakers.insert(self.key.load(Ordering::Relaxed), waker);
        drop(registered);
        drop(old);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let key = *self.key.get_mut();
        if key != NOT_REGISTERED {
            let ours = locked(&self.shared.registered).wakers.remove(&key);
            // Foreign code, after the lock is released.
            drop(ours);
        }
    }
}

debug_by!([] Listener, "Listener", |it| { notified: it.is_notified() });

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}

#[derive(Default)]
struct Shared {
    generation: AtomicU64,
    registered: Mutex<Registered>,
}

#[derive(Default)]
struct Registered {
    /// By a number that grows, so that they are woken in the order in which they registered, and one of
    /// many is found without looking at the others.
    wakers: BTreeMap<u64, Waker>,
    next_key: u64,
}

impl Shared {
    fn notify(&self) {
        // The new generation is visible before the wakers are taken, so that a listener that
        // registers from here on sees it.
        self.generation.fetch_add(1, Ordering::AcqRel);
        let waiting = std::mem::take(&mut locked(&self.registered).wakers);
        wake_all(waiting.into_values());
    }
}

/// The key of a listener without a waker.
const NOT_REGISTERED: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    struct Panicking;

    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("on purpose")
        }
    }

    #[test]
    fn a_waker_that_panics_does_not_keep_the_next_from_being_woken() {
        let event = Event::new();
        let (first, second) = (event.listen(), event.listen());
        first.register(&Waker::from(Arc::new(Panicking)));
        let count = Arc::new(Count::default());
        second.register(&Waker::from(count.clone()));
        let notified = std::panic::catch_unwind(|| event.notify());
        assert_eq!(notified.unwrap_err().downcast_ref(), Some(&"on purpose"));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_notification_between_listen_and_register_is_not_lost() {
        let (count, waker) = counter();
        let event = Event::new();
        let listener = event.listen();
        event.notify();
        listener.register(&waker);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_registered_waker_is_woken_once() {
        let (count, waker) = counter();
        let event = Event::new();
        let listener = event.listen();
        listener.register(&waker);
        listener.register(&waker);
        event.notify();
        event.notify();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(listener.is_notified());
    }

    #[test]
    fn a_second_waker_replaces_the_first() {
        let ((first, a), (second, b)) = (counter(), counter());
        let event = Event::new();
        let listener = event.listen();
        listener.register(&a);
        listener.register(&b);
        event.notify();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn a_dropped_listener_is_forgotten_and_others_are_not() {
        let ((dropped, a), (kept, b)) = (counter(), counter());
        let event = Event::new();
        let (first, second) = (event.listen(), event.listen());
        first.register(&a);
        second.register(&b);
        drop(first);
        assert_eq!(Arc::strong_count(&dropped), 2, "the event holds no clone of its waker");
        event.notify();
        assert_eq!((dropped.0.load(Ordering::Relaxed), kept.0.load(Ordering::Relaxed)), (0, 1));
    }

    /// Notes its name.
    struct Name(u32, Arc<Mutex<Vec<u32>>>);

    impl Wake for Name {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn listeners_are_woken_in_the_order_in_which_they_registered() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let event = Event::new();
        let listeners: Vec<_> = (0..100).map(|_| event.listen()).collect();
        for (i, listener) in (0..).zip(listeners.iter().rev()) {
            listener.register(&Waker::from(Arc::new(Name(i, Arc::clone(&woken)))));
        }
        // Again, which changes no place.
        listeners[99].register(&Waker::from(Arc::new(Name(0, Arc::clone(&woken)))));
        event.notify();
        assert_eq!(*woken.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

    /// In a hundred thousand steps each, and not for each listener.
    #[test]
    fn many_listeners_come_and_go_in_no_time() {
        let event = Event::new();
        let mut listeners: Vec<_> = (0..200_000).map(|_| event.listen()).collect();
        for listener in &listeners {
            listener.register(Waker::noop());
        }
        // The last one first is the best case of a list that is searched, the first one first the worst.
        listeners.reverse();
        while listeners.pop().is_some() {
            assert_eq!(locked(&event.shared.registered).wakers.len(), listeners.len());
        }
    }

    #[test]
    fn a_waker_may_use_the_event_that_wakes_it() {
        struct Again(Event, AtomicUsize);
        impl Wake for Again {
            fn wake(self: Arc<Self>) {
                if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
                    self.0.notify();
                }
            }
        }
        let event = Event::new();
        let again = Arc::new(Again(event.clone(), AtomicUsize::new(0)));
        let listener = event.listen();
        listener.register(&Waker::from(Arc::clone(&again)));
        event.notify();
        assert_eq!(again.1.load(Ordering::Relaxed), 1);
        assert!(listener.is_notified());
    }
}
