//! Plugins that lie: typed errors, and nothing else.

use std::time::Duration;

use serde_json::Value;
use testbench_wasi::{GuestSpec, Limits, Plugin, PluginError};

use super::{module, plugin, text};

/// A module whose three functions have these bodies; `$in` and `$in_len` are the input's.
fn liar(alloc: &str, free: &str, invoke: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1)
            (global $frees (mut i32) (i32.const 0))
            (data (i32.const 100) "\"caf\e9\"") (data (i32.const 200) "[1,2")
            (func (export "alloc") (param $size i32) (result i32) {alloc})
            (func (export "free") (param $at i32) (param $size i32)
                (global.set $frees (i32.add (global.get $frees) (i32.const 1))) {free})
            (func (export "invoke") (param $m i32) (param $m_len i32) (param $in i32) (param $in_len i32)
                (result i64) {invoke})
            (func (export "frees") (result i32) (global.get $frees)))"#
    )
}

/// At 8 for the method, at 16 for the input: both are short.
const ALLOC: &str =
    "(i32.add (i32.const 8) (i32.mul (i32.eq (local.get $size) (i32.const 1)) (i32.const 8)))";

/// The result of a call of the method `go` with the input `7`, and how many buffers were freed.
fn call(alloc: &str, free: &str, invoke: &str) -> String {
    let mut liar = plugin(&liar(alloc, free, invoke));
    let error = text(liar.call_json::<_, Value>("go", &7));
    assert!(liar.restarts() == 0);
    let frees = match liar.ended() {
        Some(_) => "ended".to_owned(),
        None => format!("freed: {}", liar.call::<(), i32>("frees", ()).unwrap()),
    };
    format!("{error} ({frees})")
}

fn answers(address: i64, len: i64) -> String {
    let packed = address << 32 | len;
    call(ALLOC, "", &format!("(i64.const {packed})"))
}

#[test]
fn alloc_gives_what_is_not_in_memory() {
    insta::assert_snapshot!(call("(i32.const -1)", "", "(i64.const 0)"), @"`alloc` of `plugin` gave 2 bytes at 0xffffffff, outside of its memory of 65536 bytes (freed: 0)");
    insta::assert_snapshot!(call("(i32.const -2147483648)", "", "(i64.const 0)"), @"`alloc` of `plugin` gave 2 bytes at 0x80000000, outside of its memory of 65536 bytes (freed: 0)");
    insta::assert_snapshot!(call("(i32.const 65535)", "", "(i64.const 0)"), @"`alloc` of `plugin` gave 2 bytes at 0xffff, outside of its memory of 65536 bytes (freed: 0)");
    insta::assert_snapshot!(call("(i32.const 0)", "", "(i64.const 0)"), @"`alloc` of `plugin` gave no memory for 2 bytes (freed: 0)");
    // The second one lies: the first one's buffer is freed.
    let second = "(select (i32.const 8) (i32.const -1) (i32.eq (local.get $size) (i32.const 2)))";
    insta::assert_snapshot!(call(second, "", "(i64.const 0)"), @"`alloc` of `plugin` gave 1 bytes at 0xffffffff, outside of its memory of 65536 bytes (freed: 1)");
    let second = "(select (i32.const 8) (i32.const 0) (i32.eq (local.get $size) (i32.const 2)))";
    insta::assert_snapshot!(call(second, "", "(i64.const 0)"), @"`alloc` of `plugin` gave no memory for 1 bytes (freed: 1)");
}

#[test]
fn the_answer_is_not_in_memory() {
    insta::assert_snapshot!(answers(65_530, 7), @"`invoke` of `plugin` gave 7 bytes at 0xfffa, outside of its memory of 65536 bytes (freed: 2)");
    insta::assert_snapshot!(answers(0, 65_537), @"`invoke` of `plugin` gave 65537 bytes at 0x0, outside of its memory of 65536 bytes (freed: 2)");
    // Lengths that overflow 32 bits, with and without a carry to zero.
    insta::assert_snapshot!(answers(0xffff_fff0, 0x20), @"`invoke` of `plugin` gave 32 bytes at 0xfffffff0, outside of its memory of 65536 bytes (freed: 2)");
    insta::assert_snapshot!(answers(0xffff_ffff, 0xffff_ffff), @"`invoke` of `plugin` gave 4294967295 bytes at 0xffffffff, outside of its memory of 65536 bytes (freed: 2)");
    insta::assert_snapshot!(answers(8, 0xffff_ffff), @"`invoke` of `plugin` gave 4294967295 bytes at 0x8, outside of its memory of 65536 bytes (freed: 2)");
    insta::assert_snapshot!(answers(0xffff_ffff, 0), @"`invoke` of `plugin` gave 0 bytes at 0xffffffff, outside of its memory of 65536 bytes (freed: 2)");
}

#[test]
fn the_answer_is_no_json() {
    insta::assert_snapshot!(answers(100, 6), @"`go` of `plugin` returned bytes that are not UTF-8: invalid utf-8 sequence of 1 bytes from index 4 (freed: 3)");
    insta::assert_snapshot!(answers(200, 4), @r#"`go` of `plugin` returned "[1,2", not JSON of the expected type: EOF while parsing a list at line 1 column 4 (freed: 3)"#);
    insta::assert_snapshot!(answers(0, 0), @r#"`go` of `plugin` returned "", not JSON of the expected type: EOF while parsing a value at line 1 column 0 (freed: 2)"#);
    insta::assert_snapshot!(answers(65_536, 0), @r#"`go` of `plugin` returned "", not JSON of the expected type: EOF while parsing a value at line 1 column 0 (freed: 3)"#);
    // The whole memory, which is zeros but for a few bytes.
    let all = answers(0, 65_536);
    assert!(all.contains("not UTF-8") && all.ends_with("(freed: 2)"), "{all}");
}

#[test]
fn nested_far_too_deep() {
    // 60,000 opening brackets.
    let fill = "(memory.fill (i32.const 1024) (i32.const 91) (i32.const 60000))
        (i64.const 4398046571104)";
    let error = call(ALLOC, "", fill);
    assert!(error.contains("recursion limit exceeded") && error.ends_with("(freed: 3)"), "{error}");
}

#[test]
fn a_trap_in_the_middle() {
    insta::assert_snapshot!(call("(unreachable)", "", "(i64.const 0)"), @r"
    `plugin` ended in `alloc`: trap: `unreachable` was executed (an abort, a panic or a failed assertion)
        at function 0 (ended)
    ");
    insta::assert_snapshot!(call(ALLOC, "", "(unreachable)"), @r"
    `plugin` ended in `invoke`: trap: `unreachable` was executed (an abort, a panic or a failed assertion)
        at function 2 (ended)
    ");
    // In `free`, after a good answer and after a bad one.
    for answer in ["(i64.const 68719476737)", "(i64.const -1)"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(call(ALLOC, "(unreachable)", answer), @r"
            `plugin` ended in `free`: trap: `unreachable` was executed (an abort, a panic or a failed assertion)
                at function 1 (ended)
            ");
        }
    }
}

#[test]
fn an_endless_loop_under_a_limit() {
    let limits = |fuel: Option<u64>| Limits {
        fuel,
        watchdog: Some(Duration::from_millis(20)),
        ..Limits::default()
    };
    let forever = "(loop $l (br $l)) (unreachable)";
    for (alloc, free, invoke, place) in [
        (forever, "", "(i64.const 0)", "alloc"),
        (ALLOC, "(loop $l (br $l))", "(i64.const 0)", "free"),
        (ALLOC, "", forever, "invoke"),
    ] {
        for fuel in [None, Some(10_000)] {
            let spec = GuestSpec::new(module(&liar(alloc, free, invoke))).limits(limits(fuel));
            let mut plugin = Plugin::new(spec).unwrap();
            let error = plugin.call_json::<_, Value>("go", &7).unwrap_err();
            let PluginError::Ended { function, exit, .. } = error else { panic!("{error}") };
            assert_eq!(function, place);
            let wanted = if fuel.is_some() { "limit `fuel`" } else { "limit `watchdog`" };
            assert!(exit.to_string().contains(wanted), "{exit}");
        }
    }
}

#[test]
fn a_memory_that_grows_and_moves_meanwhile() {
    // `alloc` grows the memory: what was put before is still found, and the answer is read after.
    let wat = liar(
        "(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))",
        "",
        "(i64.or (i64.shl (i64.extend_i32_u (local.get $in)) (i64.const 32))
            (i64.extend_i32_u (local.get $in_len)))",
    );
    let reserve = testbench_wasi::EngineConfig::new().memory_reserve_bytes(0).build().unwrap();
    for module in [module(&wat), module(&wat).on(&reserve).unwrap()] {
        let mut plugin = Plugin::new(module).unwrap();
        for round in 0..20 {
            assert_eq!(plugin.call_json::<_, u32>("go", &round).unwrap(), round);
        }
        assert_eq!(plugin.memory_pages(), 41);
    }
}

#[test]
fn a_memory_that_calls_are_about_is_the_one_exported_as_memory() {
    let wat = r#"(module (memory $other 1) (memory (export "memory") 1)
        (data (memory 1) (i32.const 300) "true") (data (memory 0) (i32.const 300) "wrong")
        (func (export "alloc") (param i32) (result i32) (i32.const 8))
        (func (export "free") (param i32 i32))
        (func (export "invoke") (param i32 i32 i32 i32) (result i64) (i64.const 1288490188804)))"#;
    assert!(plugin(wat).call_json::<_, bool>("go", &()).unwrap());
}
