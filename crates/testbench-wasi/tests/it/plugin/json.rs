//! JSON in and out, with a module written in C.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testbench_wasi::{Limits, Plugin, PluginError, PluginSpec};

use super::{module, notes, plugin, text};

#[test]
fn a_round_trip() {
    let mut notes = Plugin::new(notes()).unwrap();
    let counted: Value = notes
        .call_json("count", &json!({ "n": 1, "text": "eins  zwei\ndr\u{e4}i \"vier\" \u{1f600}" }))
        .unwrap();
    assert_eq!(counted, json!({ "words": 5, "bytes": 28 }));
    // Into a type of one's own.
    let counted: BTreeMap<String, u32> = notes.call_json("count", &json!({"text": ""})).unwrap();
    assert_eq!(counted, BTreeMap::from([("words".to_owned(), 0), ("bytes".to_owned(), 0)]));
    let refused: Value = notes.call_json("count", &json!([])).unwrap();
    assert_eq!(refused, json!({ "error": "text is missing" }));
    let refused: Value = notes.call_json("fly", &Value::Null).unwrap();
    assert_eq!(refused, json!({ "error": "there is no such method" }));
    assert_eq!(notes.call::<(), i32>("live", ()).unwrap(), 0);
    assert_eq!(notes.call::<(), i32>("live_bytes", ()).unwrap(), 0);
}

#[test]
fn an_answer_in_the_input_s_memory_is_freed_once() {
    let mut notes = Plugin::new(notes()).unwrap();
    for value in
        [json!(null), json!([1, 2.5, "\u{e9}", { "deep": [[]] }]), json!("x".repeat(300_000))]
    {
        assert_eq!(notes.call_json::<_, Value>("echo", &value).unwrap(), value);
        assert_eq!(notes.call::<(), i32>("live", ()).unwrap(), 0);
    }
}

#[test]
fn bytes_that_are_no_json() {
    let mut notes = Plugin::new(notes()).unwrap();
    assert_eq!(notes.call_bytes("echo", b"\xff\0raw").unwrap(), b"\xff\0raw");
    assert_eq!(notes.call_bytes("latin1", b"").unwrap(), b"\"caf\xe9\"");
    // What has no bytes needs no memory, on the way in or out.
    assert_eq!(notes.call_bytes("echo", b"").unwrap(), b"");
    let none: Value = serde_json::from_slice(&notes.call_bytes("", b"").unwrap()).unwrap();
    assert_eq!(none, json!({ "error": "there is no such method" }));
    assert_eq!(notes.call::<(), i32>("live", ()).unwrap(), 0);
}

#[test]
fn answers_that_are_not_what_was_asked_for() {
    let mut notes = Plugin::new(notes()).unwrap();
    insta::assert_snapshot!(text(notes.call_json::<_, Value>("broken", &())), @r#"`broken` of `notes` returned "{\"half\": ", not JSON of the expected type: EOF while parsing a value at line 1 column 9"#);
    insta::assert_snapshot!(text(notes.call_json::<_, Value>("latin1", &())), @"`latin1` of `notes` returned bytes that are not UTF-8: invalid utf-8 sequence of 1 bytes from index 4");
    insta::assert_snapshot!(text(notes.call_json::<_, Vec<u8>>("visits", &())), @r#"`visits` of `notes` returned "{\"visits\":3}", not JSON of the expected type: invalid type: map, expected a sequence at line 1 column 0"#);
    let long = "y".repeat(1000);
    let error = notes.call_json::<_, u8>("echo", &long).unwrap_err();
    let PluginError::Decode { answer, .. } = error else { panic!("{error}") };
    assert_eq!(answer, format!("\"{}…", "y".repeat(79)));
    // Nothing of it is left behind, and the instance is the first one.
    assert_eq!(notes.call::<(), i32>("live", ()).unwrap(), 0);
    assert_eq!(notes.restarts(), 0);
}

#[test]
fn an_input_that_is_no_json() {
    let mut notes = Plugin::new(notes()).unwrap();
    let keys_are_no_strings = BTreeMap::from([((1, 2), 3)]);
    insta::assert_snapshot!(text(notes.call_json::<_, Value>("echo", &keys_are_no_strings)), @"the input of `echo` of `notes` cannot be written as JSON: key must be a string");
}

#[test]
fn a_long_answer_is_a_limit() {
    let limits = Limits { output_bytes_max: 1000, ..Limits::default() };
    let mut notes = Plugin::new(notes().limits(limits)).unwrap();
    assert_eq!(notes.call_bytes("echo", &[7; 1000]).unwrap().len(), 1000);
    insta::assert_snapshot!(text(notes.call_bytes("echo", &[7; 1001])), @"`echo` of `notes` returned 1001 bytes, more than 1000 (limit `output_bytes_max`)");
    assert_eq!(notes.call::<(), i32>("live", ()).unwrap(), 0);
    assert_eq!(notes.restarts(), 0);
}

#[test]
fn the_plugin_s_memory_is_a_limit() {
    let limits = Limits { memory_bytes_max: 20 * Limits::PAGE_BYTES, ..Limits::default() };
    let mut notes = Plugin::new(notes().limits(limits)).unwrap();
    insta::assert_snapshot!(text(notes.call_bytes("echo", &vec![0; 2_000_000])), @"`alloc` of `notes` gave no memory for 2000000 bytes");
    assert_eq!(notes.call::<(), i32>("live", ()).unwrap(), 0);
    let limits_hit = notes.take_output().limits_hit;
    assert_eq!(limits_hit, [testbench_wasi::Limit::Memory { bytes_max: 20 << 16 }]);
}

/// A module that answers each call with its input's text, under these names.
fn echo(alloc: &str, free: &str, invoke: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1)
            (global $top (mut i32) (i32.const 8))
            (func (export "{alloc}") (param i32) (result i32)
                (global.set $top (i32.add (global.get $top) (local.get 0)))
                (i32.sub (global.get $top) (local.get 0)))
            (func (export "{free}") (param i32 i32))
            (func (export "{invoke}") (param i32 i32 i32 i32) (result i64)
                (i64.or (i64.shl (i64.extend_i32_u (local.get 2)) (i64.const 32))
                    (i64.extend_i32_u (local.get 3)))))"#
    )
}

#[test]
fn the_names_can_be_chosen() {
    for (alloc, free, invoke) in [
        ("alloc", "free", "oxide_invoke"),
        ("alloc", "dealloc", "invoke"),
        ("alloc", "free", "invoke"),
    ] {
        let mut plugin = plugin(&echo(alloc, free, invoke));
        assert_eq!(plugin.call_json::<_, u8>("any", &7).unwrap(), 7, "{alloc} {free} {invoke}");
    }
    let spec = PluginSpec::from(module(&echo("give", "take", "do")));
    let error = text(Plugin::new(spec.clone()).unwrap().call_json::<_, u8>("any", &7));
    insta::assert_snapshot!(error, @"`plugin` exports no `alloc`; it exports `memory`, `give`, `take`, `do`");
    let named = spec.alloc_export("give").free_export("take").invoke_export("do");
    assert_eq!(Plugin::new(named).unwrap().call_json::<_, u8>("any", &7).unwrap(), 7);
}

#[test]
fn what_a_plugin_lacks_is_named() {
    let call = |wat: &str| text(plugin(wat).call_json::<_, u8>("any", &7));
    let memory = r#"(memory (export "memory") 1)"#;
    let alloc = r#"(func (export "alloc") (param i32) (result i32) (i32.const 8))"#;
    let free = r#"(func (export "free") (param i32 i32))"#;
    let invoke = r#"(func (export "invoke") (param i32 i32 i32 i32) (result i64) (i64.const 0))"#;
    insta::assert_snapshot!(call(&format!("(module {memory} {alloc} {free})")), @"`plugin` exports no `invoke`; it exports `memory`, `alloc`, `free`");
    insta::assert_snapshot!(call(&format!("(module {memory} {alloc} {invoke})")), @"`plugin` exports no `free`; it exports `memory`, `alloc`, `invoke`");
    insta::assert_snapshot!(call(&format!("(module (memory 1) {alloc} {free} {invoke})")), @"`plugin` exports no memory named `memory`, through which bytes could be passed");
    let odd = r#"(func (export "invoke") (param i32 i32) (result i32) (i32.const 0))"#;
    insta::assert_snapshot!(call(&format!("(module {memory} {alloc} {free} {odd})")), @"`invoke` of `plugin` is a function (i32, i32) -> i32, and was called as (i32, i32, i32, i32) -> i64");
}
