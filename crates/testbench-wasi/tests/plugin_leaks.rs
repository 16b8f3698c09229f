//! Nothing is left behind by a call of a plugin: not in its memory, not on the host, whatever came of
//! the call.
//!
//! In a process of its own, and one after the other: the host's memory is measured.

#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use testbench_wasi::{GuestSpec, Module, Plugin, PluginError};

const NOTES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testbench-harness/guests/plugins/notes.wasm"
));

#[test]
fn nothing_is_left_behind() {
    compare([1_000, 100_000], good);
    compare([1_000, 100_000], bad_json);
    compare([1_000, 100_000], trap);
}

/// What may not grow.
#[derive(Debug, PartialEq, Eq)]
struct Guest {
    memory_pages: u64,
    live: i32,
    live_bytes: i32,
}

fn guest(plugin: &mut Plugin) -> Guest {
    let live = plugin.call::<(), i32>("live", ()).unwrap();
    let live_bytes = plugin.call::<(), i32>("live_bytes", ()).unwrap();
    Guest { memory_pages: plugin.memory_pages(), live, live_bytes }
}

/// The resident memory of this process, in bytes.
fn host_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident_pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    resident_pages * 4096
}

/// Makes calls and compares the guest after the first and the last of `at`, and the host's memory.
fn compare(at: [u32; 2], mut call: impl FnMut(&mut Plugin, u32)) {
    const BYTES_MAX: u64 = 1 << 20;
    let module = Module::from_bytes("notes", NOTES).unwrap();
    let mut plugin = Plugin::new(GuestSpec::new(module)).unwrap();
    let mut made = 0;
    let [early, late] = at.map(|calls| {
        while made < calls {
            made += 1;
            call(&mut plugin, made);
        }
        (guest(&mut plugin), host_bytes())
    });
    assert_eq!(early.0, late.0, "after {} and after {} calls", at[0], at[1]);
    assert_eq!((late.0.live, late.0.live_bytes), (0, 0));
    let grown = late.1.saturating_sub(early.1);
    assert!(
        grown <= BYTES_MAX,
        "the host grew by {grown} bytes between {} and {} calls",
        at[0],
        at[1]
    );
}

fn good(plugin: &mut Plugin, round: u32) {
    let text = "word ".repeat((round % 100) as usize);
    let counted: Value = plugin.call_json("count", &json!({ "text": text })).unwrap();
    assert_eq!(counted["words"], round % 100);
}

fn bad_json(plugin: &mut Plugin, round: u32) {
    let method = if round.is_multiple_of(2) { "broken" } else { "latin1" };
    let error = plugin.call_json::<_, Value>(method, &round).unwrap_err();
    assert!(matches!(error, PluginError::Decode { .. } | PluginError::NotUtf8 { .. }));
}

fn trap(plugin: &mut Plugin, round: u32) {
    let error = plugin.call_json::<_, Value>("trap", &round).unwrap_err();
    assert!(matches!(error, PluginError::Ended { .. }));
}
