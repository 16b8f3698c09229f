//! Calls a library module written in C, on a mock clock and on an overlay of a directory.
//!
//! `cargo run -p testbench-wasi --example plugin`
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::time::Duration;

use serde_json::{Value, json};
use testbench_clock::{Clock, MockClock};
use testbench_overlay::Overlay;
use testbench_wasi::{GuestSpec, Limits, Module, Mount, Plugin, PluginError};

/// `guests/plugins/notes.c` of testbench-harness: its first lines list its methods.
const NOTES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testbench-harness/guests/plugins/notes.wasm"
));

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let clock = MockClock::builder().build();
    let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build()?;
    let limits = Limits { watchdog: Some(Duration::from_secs(2)), ..Limits::default() };
    let spec = GuestSpec::new(Module::from_bytes("notes", NOTES)?)
        .clock(clock.clone())
        .mount(Mount::new(overlay.clone(), "/project"))
        .limits(limits);
    let mut notes = Plugin::new(spec)?;

    println!("functions:");
    for export in notes.exports().iter().filter(|export| export.signature().is_some()) {
        println!("  {export}");
    }

    // A typed call, and the error of a wrong one.
    println!("add_one(41) = {}", notes.call::<i32, i32>("add_one", 41)?);
    let wrong = notes.call::<i64, i64>("add_one", 41);
    println!("{}", wrong.expect_err("it takes an i32"));

    // JSON in and out.
    let counted: Value = notes.call_json("count", &json!({ "text": "to be or not to be" }))?;
    println!("count: {counted}");

    // Its time is the timeline's: two hours pass for it, and none for us.
    let slept: Value = notes.call_json("sleep", &json!({ "ms": 7_200_000 }))?;
    println!("sleep: {slept}, and the clock shows {}", clock.wall());

    // Its files are the overlay's: the disk is as it was.
    let note = json!({ "path": "/project/note.txt", "text": "written by a plugin\n" });
    notes.call_json::<_, Value>("write", &note)?;
    println!("on the disk: {}", dir.path().join("note.txt").exists());
    println!("{}", overlay.diff()?);

    // A call that traps ends the instance, and the next call has a new one.
    match notes.call_json::<_, Value>("trap", &()) {
        Err(PluginError::Ended { exit, .. }) => println!("{exit}"),
        other => println!("not what was expected: {other:?}"),
    }
    let visits: Value = notes.call_json("visits", &())?;
    println!("after the trap: {visits}, restarts: {}", notes.restarts());
    Ok(())
}
