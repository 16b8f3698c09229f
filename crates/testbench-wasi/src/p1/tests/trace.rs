//! The trace of a guest's calls, as a person reads it.

use std::fmt;
use std::sync::{Arc, Mutex};

use testbench_overlay::MemoryDir;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::puppet::Puppet;

/// Keeps the lines of the guest's trace.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "testbench_wasi::guest"
    }
    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }
    // Not `always`, the default: that would hold for the threads of other tests too.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn calls_show_their_arguments_and_results_by_name() {
    let mut puppet = Puppet::new();
    puppet.open("a.txt", 1, (1 << 1) | (1 << 6), 1);
    puppet.open("missing\n", 0, 1 << 1, 0);
    let position = puppet.room(8);
    puppet.call("fd_seek", &[4, (-1_i64) as u64, 2, position.at]);
    puppet.call("fd_tell", &[4, position.at]);
    puppet.call("fd_close", &[4]);
    puppet.call("clock_time_get", &[1, 0, position.at]);
    puppet.call("fd_fdstat_set_flags", &[1, 99]);
    puppet.call("fd_tell", &[4, u32::MAX.into()]);
    puppet.call("random_get", &[70_000, 1]);
    let lines = Lines::default();
    let files = MemoryDir::builder().file("a.txt", "0123").build().unwrap();
    tracing::subscriber::with_default(lines.clone(), || {
        // A place in the code that is first passed on another test's thread, which has no
        // subscriber, is switched off for all: so pass it, and have everyone asked again.
        puppet.run();
        tracing::callsite::rebuild_interest_cache();
        lines.0.lock().unwrap().clear();
        puppet.run_on(Arc::new(files), |spec| spec);
    });
    insta::assert_snapshot!(lines.0.lock().unwrap().join("\n"), @r#"
    path_open(fd=3, dirflags=0, path="a.txt", oflags=CREAT, rights=FD_READ|FD_WRITE inheriting ALL, fdflags=APPEND) = 4
    path_open(fd=3, dirflags=0, path="missing\n", oflags=0, rights=FD_READ inheriting ALL, fdflags=0) = ENOENT
    fd_seek(fd=4, offset=-1, whence=End) = 3
    fd_tell(fd=4) = 3
    fd_close(fd=4) = 0
    clock_time_get(id=Monotonic, precision=0) = 1000000000
    fd_fdstat_set_flags(fd=1, flags=99) = EINVAL
    fd_tell(fd=4) = EBADF
    random_get(buf=70000, buf_len=1) = trap: 1 bytes at 0x11170 are outside of the memory of 65536 bytes
    "#);
}
