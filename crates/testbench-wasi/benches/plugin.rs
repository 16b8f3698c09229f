//! What a call of a plugin costs beside wasmtime's own, and a JSON call beside serde_json's part of it.
//!
//! `cargo bench --profile dev -p testbench-wasi --bench plugin`: dependencies are optimised in that
//! profile. Every figure is the median of rounds in which all cases take turns, so that a busy
//! machine slows all of them alike.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbench_wasi::{GuestSpec, Limits, Module, Plugin};

const ROUNDS: usize = 51;

/// What a typed call may cost, in units of wasmtime's own.
const TYPED_MAX: f64 = 2.0;

const MATH: &str = r#"(module (memory (export "memory") 1)
    (func (export "add_one") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "trap") (unreachable)))"#;

const NOTES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testbench-harness/guests/plugins/notes.wasm"
));

struct Case {
    name: String,
    repeat: u32,
    action: Box<dyn FnMut()>,
    times: Vec<Duration>,
}

impl Case {
    fn new(name: impl Into<String>, repeat: u32, action: impl FnMut() + 'static) -> Self {
        Case { name: name.into(), repeat, action: Box::new(action), times: Vec::new() }
    }
}

fn main() {
    println!("calls `(i32) -> i32`");
    let medians = measure(typed());
    let ratio = medians[1].as_secs_f64() / medians[0].as_secs_f64();
    println!("{:<52} {ratio:>11.2}x (at most {TYPED_MAX}x)", "a plugin's call / wasmtime's own");

    for (size, words) in [("small", 3), ("large", 20_000)] {
        println!("\nJSON, {size}");
        let medians = measure(json(words));
        let ratio = medians[0].as_secs_f64() / medians[1].as_secs_f64();
        println!("{:<52} {ratio:>11.2}x", "the call / serde_json's part of it");
    }

    println!("\nother");
    measure(other());
    assert!(ratio <= TYPED_MAX, "a typed call costs {ratio:.2} times wasmtime's own");
}

/// The median of each case, printed as well.
fn measure(mut cases: Vec<Case>) -> Vec<Duration> {
    for round in 0..=ROUNDS {
        for case in &mut cases {
            let start = Instant::now();
            (0..case.repeat).for_each(|_| (case.action)());
            // The first round compiles and warms up.
            if round > 0 {
                case.times.push(start.elapsed() / case.repeat);
            }
        }
    }
    let median = |case: &mut Case| {
        case.times.sort();
        let median = case.times[ROUNDS / 2];
        println!("{:<52} {median:>12.2?}", case.name);
        median
    };
    cases.iter_mut().map(median).collect()
}

fn typed() -> Vec<Case> {
    let with =
        |limits: Limits| Plugin::new(GuestSpec::new(math()).limits(limits)).expect("our own");
    let mut plugin = with(Limits::default());
    let mut unwatched = with(Limits { watchdog: None, ..Limits::default() });
    let mut fuelled = with(Limits { fuel: Some(1 << 40), ..Limits::default() });
    let mut own = wasmtime_s(MATH);
    let (mut a, mut b, mut c, mut d) = (0, 0, 0, 0);
    vec![
        Case::new("wasmtime's TypedFunc::call, epochs on", 20_000, move || {
            a = own.1.call(&mut own.0, black_box(a)).expect("it returns");
        }),
        Case::new("Plugin::call by name", 20_000, move || {
            b = plugin.call::<i32, i32>("add_one", black_box(b)).expect("it returns");
        }),
        Case::new("Plugin::call by name, no watchdog", 20_000, move || {
            c = unwatched.call::<i32, i32>("add_one", black_box(c)).expect("it returns");
        }),
        Case::new("Plugin::call by name, fuel as well", 20_000, move || {
            d = fuelled.call::<i32, i32>("add_one", black_box(d)).expect("it returns");
        }),
    ]
}

/// The same checks in the code as a plugin has by default.
fn wasmtime_s(wat: &str) -> (wasmtime::Store<()>, wasmtime::TypedFunc<i32, i32>) {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true);
    let engine = wasmtime::Engine::new(&config).expect("an engine");
    let wasm = wat::parse_str(wat).expect("our own module");
    let module = wasmtime::Module::new(&engine, wasm).expect("our own module");
    let mut store = wasmtime::Store::new(&engine, ());
    store.set_epoch_deadline(1);
    let instance = wasmtime::Instance::new(&mut store, &module, &[]).expect("our own module");
    let function = instance.get_typed_func(&mut store, "add_one").expect("our own module");
    (store, function)
}

fn json(words: usize) -> Vec<Case> {
    let input = json!({ "text": "word ".repeat(words) });
    let text = serde_json::to_string(&input).expect("JSON");
    let repeat = if words < 100 { 2_000 } else { 50 };
    let (mut json, mut bytes) = (notes(), notes());
    let (value, raw) = (input.clone(), text.clone().into_bytes());
    vec![
        Case::new("Plugin::call_json, echo of it", repeat, move || {
            black_box(json.call_json::<_, Value>("echo", &input).expect("it answers"));
        }),
        Case::new("serde_json alone: the same out and in", repeat, move || {
            let out = serde_json::to_vec(black_box(&value)).expect("JSON");
            black_box(serde_json::from_slice::<Value>(&out).expect("JSON"));
        }),
        Case::new("Plugin::call_bytes, echo of it", repeat, move || {
            black_box(bytes.call_bytes("echo", &raw).expect("it answers"));
        }),
    ]
}

fn other() -> Vec<Case> {
    let mut traps = Plugin::new(math()).expect("our own module");
    let (math, notes_module) = (math(), notes_module());
    vec![
        Case::new("a call that traps, and the next instance", 200, move || {
            traps.call::<(), ()>("trap", ()).expect_err("it traps");
        }),
        Case::new("Plugin::new, tiny", 200, move || {
            Plugin::new(math.clone()).expect("our own module");
        }),
        Case::new("Plugin::new, C library", 200, move || {
            Plugin::new(notes_module.clone()).expect("our own module");
        }),
    ]
}

fn math() -> Module {
    let wasm = wat::parse_str(MATH).expect("our own module");
    Module::from_bytes("math", wasm).expect("our own module")
}

fn notes_module() -> Module {
    Module::from_bytes("notes", NOTES).expect("our own module")
}

fn notes() -> Plugin {
    Plugin::new(notes_module()).expect("our own module")
}
