//! Typed calls.

use testbench_wasi::{Engine, GuestSpec, Module, Plugin, PluginError, PluginSpec, Signature};

use super::{NOTES, module, plugin, text};

const MATH: &str = r#"(module
    (memory (export "memory") 2)
    (global (export "limit") i32 (i32.const 7))
    (global $count (mut i32) (i32.const 0))
    (func (export "add_one") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
    (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
    (func (export "next") (result i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))
    (func (export "nothing")))"#;

#[test]
fn typed_calls() {
    let mut math = plugin(MATH);
    assert_eq!(math.call::<i32, i32>("add_one", 41).unwrap(), 42);
    assert_eq!(math.call::<i32, i32>("add_one", i32::MAX).unwrap(), i32::MIN);
    // The same bits, as another Rust type; and back again.
    assert_eq!(math.call::<u32, u32>("add_one", u32::MAX).unwrap(), 0);
    assert_eq!(math.call::<i32, u32>("add_one", -2).unwrap(), u32::MAX);
    assert_eq!(math.call::<i32, i32>("add_one", -2).unwrap(), -1);
    assert_eq!(math.call::<f64, f64>("half", 5.0).unwrap(), 2.5);
    assert_eq!(math.call::<(u32, i64), (i64, u32)>("swap", (7, -8)).unwrap(), (-8, 7));
    assert_eq!(math.call::<(i32,), (i32,)>("add_one", (1,)).unwrap(), (2,));
    math.call::<(), ()>("nothing", ()).unwrap();
}

#[test]
fn one_instance_serves_all_calls() {
    let mut math = plugin(MATH);
    for expected in 1..=5 {
        assert_eq!(math.call::<(), i32>("next", ()).unwrap(), expected);
    }
    assert_eq!((math.restarts(), math.memory_pages()), (0, 2));
    assert!(math.ended().is_none());
    // Another one has a memory of its own.
    assert_eq!(plugin(MATH).call::<(), i32>("next", ()).unwrap(), 1);
}

#[test]
fn exports_are_listed_with_their_types() {
    let math = plugin(MATH);
    let listed: String = math.exports().iter().map(|export| format!("{export}\n")).collect();
    insta::assert_snapshot!(listed, @r"
    memory: a memory
    limit: a global of type i32
    add_one: a function (i32) -> i32
    half: a function (f64) -> f64
    swap: a function (i32, i64) -> (i64, i32)
    next: a function () -> i32
    nothing: a function () -> ()
    ");
    let functions: Vec<_> =
        math.exports().iter().filter(|e| e.signature().is_some()).map(|e| e.name()).collect();
    assert_eq!(functions, ["add_one", "half", "swap", "next", "nothing"]);
    assert_eq!(math.exports()[2].signature(), Some(&Signature::of::<u32, i32>()));
}

#[test]
fn a_missing_export_is_named_with_what_there_is() {
    let mut math = plugin(MATH);
    let error = math.call::<i32, i32>("add_won", 1).unwrap_err();
    insta::assert_snapshot!(error, @"`plugin` exports no `add_won` (did you mean `add_one`?); it exports `memory`, `limit`, `add_one`, `half`, `swap`, `next`, `nothing`");
    let PluginError::NoExport { name, nearest, exports, .. } = error else { panic!("{error}") };
    assert_eq!(
        (name.as_str(), nearest.as_deref(), exports.0.len()),
        ("add_won", Some("add_one"), 7)
    );
    // Nothing is near to this.
    insta::assert_snapshot!(text(math.call::<(), ()>("fibonacci", ())), @"`plugin` exports no `fibonacci`; it exports `memory`, `limit`, `add_one`, `half`, `swap`, `next`, `nothing`");
    insta::assert_snapshot!(text(plugin("(module)").call::<(), ()>("", ())), @"`plugin` exports no ``; it exports nothing");
    // The plugin goes on.
    assert_eq!((math.call::<i32, i32>("add_one", 1).unwrap(), math.restarts()), (2, 0));
}

#[test]
fn a_wrong_signature_names_both() {
    let mut math = plugin(MATH);
    insta::assert_snapshot!(text(math.call::<i64, i32>("add_one", 1)), @"`add_one` of `plugin` is a function (i32) -> i32, and was called as (i64) -> i32");
    insta::assert_snapshot!(text(math.call::<(), ()>("add_one", ())), @"`add_one` of `plugin` is a function (i32) -> i32, and was called as () -> ()");
    insta::assert_snapshot!(text(math.call::<(i32, i64), i64>("swap", (1, 2))), @"`swap` of `plugin` is a function (i32, i64) -> (i64, i32), and was called as (i32, i64) -> i64");
    insta::assert_snapshot!(text(math.call::<(), f32>("limit", ())), @"`plugin` exports `limit`, but that is a global of type i32, not a function");
    // Also after it was called with the right one.
    assert_eq!(math.call::<i32, i32>("add_one", 1).unwrap(), 2);
    assert!(matches!(math.call::<i32, ()>("add_one", 1), Err(PluginError::Signature { .. })));
    assert_eq!((math.call::<i32, i32>("add_one", 1).unwrap(), math.restarts()), (2, 0));
}

#[test]
fn functions_with_references_are_listed_and_refused_by_type() {
    let mut odd = plugin(
        r#"(module (func (export "take") (param externref)) (func (export "v") (result v128)
            (v128.const i64x2 1 2)))"#,
    );
    assert_eq!(odd.exports()[0].to_string(), "take: a function ((ref null extern)) -> ()");
    insta::assert_snapshot!(text(odd.call::<i32, ()>("take", 1)), @"`take` of `plugin` is a function ((ref null extern)) -> (), and was called as (i32) -> ()");
    insta::assert_snapshot!(text(odd.call::<(), i64>("v", ())), @"`v` of `plugin` is a function () -> v128, and was called as () -> i64");
}

#[test]
fn reactors_are_initialized_once() {
    let wat = r#"(module
        (global $ready (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 5))))
        (func (export "again") (global.set $ready (i32.add (global.get $ready) (i32.const 30))))
        (func (export "ready") (result i32) (global.get $ready)))"#;
    let ready = |spec: GuestSpec| Plugin::new(spec).unwrap().call::<(), i32>("ready", ()).unwrap();
    let spec = || GuestSpec::new(module(wat));
    assert_eq!(ready(spec()), 5);
    // Told otherwise: others, several in order, none; missing ones are skipped.
    assert_eq!(ready(spec().start_functions(["again", "absent", "_initialize", "again"])), 65);
    assert_eq!(ready(spec().start_functions([""; 0])), 0);
    insta::assert_snapshot!(
        text(Plugin::new(spec().start_functions(["ready"]))),
        @"`plugin` cannot be started: its `ready` is a function () -> i32, not a function `() -> ()`"
    );
}

#[test]
fn from_a_path_and_from_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.wasm");
    std::fs::write(&path, NOTES).unwrap();
    let mut plugin = Plugin::from_path(&path).unwrap();
    assert_eq!(plugin.call::<i32, i32>("add_one", 1).unwrap(), 2);
    assert_eq!(plugin.name(), "notes");
    assert_eq!(plugin.module().path(), Some(&*path));

    let bytes: &'static [u8] = NOTES;
    let mut plugin = Plugin::from_bytes("mine", bytes).unwrap();
    assert_eq!(plugin.call::<i32, i32>("add_one", 1).unwrap(), 2);
    assert_eq!(plugin.name(), "mine");

    let missing = text(Plugin::from_path(dir.path().join("absent.wasm")));
    assert!(missing.ends_with("absent.wasm: there is no such file"), "{missing}");
    insta::assert_snapshot!(text(Plugin::from_bytes("noise", b"noise")), @r#"`noise` is not a WebAssembly module: it is text that starts with "noise""#);
    let imports = wat::parse_str(r#"(module (import "env" "f" (func)))"#).unwrap();
    insta::assert_snapshot!(text(Plugin::from_bytes("needy", imports)), @"`needy` imports `env::f`, which nothing provides; a guest may import from `wasi_snapshot_preview1`, `wasi_unstable`, so this one was built for another host");
}

#[test]
fn an_engine_is_shared() {
    let cache = testbench_wasi::CompilationCache::in_memory();
    let engine = Engine::with_cache(cache.clone());
    let plugins: Vec<Plugin> = (0..10)
        .map(|_| {
            let module = Module::from_bytes_on(&engine, "notes", NOTES).unwrap();
            Plugin::new(PluginSpec::from(module)).unwrap()
        })
        .collect();
    assert_eq!(cache.compilations(), 1);
    for mut plugin in plugins {
        assert_eq!(plugin.call::<i32, i32>("add_one", 4).unwrap(), 5);
    }
}

#[test]
fn plugins_move_between_threads() {
    let mut math = plugin(MATH);
    for expected in 1..=3 {
        math = std::thread::spawn(move || {
            assert_eq!(math.call::<(), i32>("next", ()).unwrap(), expected);
            math
        })
        .join()
        .unwrap();
    }
}

#[test]
fn calls_where_little_stack_is_left() {
    let deep = r#"(module
        (func $down (export "down") (param $n i32) (result i32)
            (if (result i32) (local.get $n)
                (then (i32.add (i32.const 1) (call $down (i32.sub (local.get $n) (i32.const 1)))))
                (else (i32.const 0)))))"#;
    let mut deep = plugin(deep);
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let counted = small.spawn(move || deep.call::<u32, u32>("down", 4000).unwrap()).unwrap();
    assert_eq!(counted.join().unwrap(), 4000);
}

#[test]
fn more_plugins_at_once_than_the_pool_has_slots() {
    let math = module(MATH);
    let mut all: Vec<Plugin> = (0..300).map(|_| Plugin::new(math.clone()).unwrap()).collect();
    for plugin in &mut all {
        assert_eq!(plugin.call::<(), i32>("next", ()).unwrap(), 1);
    }
}
