//! How modules are compiled.

use testbench_wasi::{
    CompilationCache, CoreFeatures, Engine, EngineConfig, Exit, GuestSpec, Limits, Module,
    ModuleError, Plugin, PluginError,
};

use super::{finished, in_a_process_of_its_own, module, program};

/// The debug information of this module says `plugins/lines.c`.
const LINES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testbench-harness/guests/plugins/lines.wasm"
));

fn engine(change: impl FnOnce(EngineConfig) -> EngineConfig) -> Engine {
    change(EngineConfig::new()).build().expect("an engine")
}

/// A feature, and what wasmtime refuses without it.
fn with_those_that_need(feature: CoreFeatures) -> CoreFeatures {
    match feature {
        CoreFeatures::SIMD => feature | CoreFeatures::RELAXED_SIMD,
        CoreFeatures::REFERENCE_TYPES => {
            feature
                | CoreFeatures::FUNCTION_REFERENCES
                | CoreFeatures::GC
                | CoreFeatures::EXCEPTIONS
        }
        CoreFeatures::FUNCTION_REFERENCES => feature | CoreFeatures::GC,
        other => other,
    }
}

#[test]
fn core_features() {
    // One module for each feature that can be turned off, which needs that feature.
    let needs: [(CoreFeatures, &str); 16] = [
        (CoreFeatures::MUTABLE_GLOBALS, r#"(global (export "g") (mut i32) (i32.const 0))"#),
        (
            CoreFeatures::SATURATING_FLOAT_TO_INT,
            "(func (drop (i32.trunc_sat_f32_s (f32.const 1))))",
        ),
        (CoreFeatures::SIGN_EXTENSION, "(func (drop (i32.extend8_s (i32.const 1))))"),
        (CoreFeatures::MULTI_VALUE, "(func (result i32 i32) (i32.const 1) (i32.const 2))"),
        (
            CoreFeatures::BULK_MEMORY,
            "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))",
        ),
        (CoreFeatures::REFERENCE_TYPES, "(table 1 externref)"),
        (CoreFeatures::SIMD, "(func (drop (v128.const i64x2 1 2)))"),
        (CoreFeatures::EXTENDED_CONST, "(global i32 (i32.add (i32.const 1) (i32.const 2)))"),
        (CoreFeatures::TAIL_CALL, "(func $f (return_call $f))"),
        (CoreFeatures::MULTI_MEMORY, "(memory 1) (memory 1)"),
        (CoreFeatures::MEMORY64, "(memory i64 1)"),
        (
            CoreFeatures::RELAXED_SIMD,
            "(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))",
        ),
        (CoreFeatures::THREADS, "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"),
        (CoreFeatures::FUNCTION_REFERENCES, "(type $f (func)) (func (param (ref null $f)))"),
        (CoreFeatures::GC, "(type (struct (field i32)))"),
        (CoreFeatures::EXCEPTIONS, "(tag (param i32))"),
    ];
    for (feature, body) in needs {
        let wasm = wat::parse_str(format!("(module {body})")).unwrap();
        Module::from_bytes("modern", wasm.clone())
            .unwrap_or_else(|error| panic!("{feature}: by default it is accepted: {error}"));
        let without = engine(|config| {
            config.core_features(CoreFeatures::V3.without(with_those_that_need(feature)))
        });
        let refused = Module::from_bytes_on(&without, "modern", wasm.clone());
        assert!(matches!(refused, Err(ModuleError::Unsupported { .. })), "{feature}: {refused:?}");
        let first = engine(|config| config.core_features(CoreFeatures::V1));
        let in_first = Module::from_bytes_on(&first, "modern", wasm.clone());
        assert_eq!(in_first.is_ok(), CoreFeatures::V1.contains(feature), "{feature} in 1.0");
        let second = engine(|config| config.core_features(CoreFeatures::V2));
        let in_second = Module::from_bytes_on(&second, "modern", wasm);
        assert_eq!(in_second.is_ok(), CoreFeatures::V2.contains(feature), "{feature} in 2.0");
    }
    let all = needs.iter().fold(CoreFeatures::V1, |all, (feature, _)| all | *feature);
    assert_eq!(all, CoreFeatures::V3, "every feature has a module here");
    // Off by default, and can be turned on.
    let wide = wat::parse_str(
        "(module (func (param i64 i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 1))))",
    )
    .unwrap();
    let refused = Module::from_bytes("wide", wide.clone()).unwrap_err();
    insta::assert_snapshot!(refused, @"`wide` cannot be compiled: failed to compile: wasm[0]::function[0]: WebAssembly translation error: Invalid input WebAssembly code at offset 31: wide arithmetic support is not enabled");
    let on = engine(|c| c.core_features(CoreFeatures::default() | CoreFeatures::WIDE_ARITHMETIC));
    Module::from_bytes_on(&on, "wide", wide).unwrap();
}

#[test]
fn canonical_nans() {
    // 0/0 has the sign bit set on x86-64 and not on ARM; canonical NaNs have it clear everywhere.
    let spec = program(
        "(local $zero f32)
        (call $exit (i32.reinterpret_f32 (f32.div (local.get $zero) (local.get $zero))))",
    );
    let bits = |module: Module| finished(GuestSpec::new(module)).exit.code().unwrap();
    assert_eq!(bits(spec.module().clone()), 0x7fc0_0000);
    let native = bits(spec.module().on(&engine(|config| config.canonical_nans(false))).unwrap());
    assert_eq!(native & 0x7fff_ffff, 0x7fc0_0000);
    #[cfg(target_arch = "x86_64")]
    assert_eq!(native, 0xffc0_0000);
}

#[test]
fn debug_info_in_backtraces() {
    let trap = |engine: &Engine| {
        let module = Module::from_bytes_on(engine, "lines", LINES).unwrap();
        let error = Plugin::new(module).unwrap().call::<i32, i32>("divide", 0).unwrap_err();
        let PluginError::Ended { exit: Exit::Trap(trap), .. } = error else { panic!("{error}") };
        trap.to_string()
    };
    insta::assert_snapshot!(trap(Engine::shared()), @r"
    trap: integer division by zero
        at inner (./plugins/lines.c:3:14)
        at divide (./plugins/lines.c:7:12)
    ");
    insta::assert_snapshot!(trap(&engine(|config| config.debug_info(false))), @r"
    trap: integer division by zero
        at inner
        at divide
    ");
}

#[test]
fn cache() {
    let wasm = || wat::parse_str(r#"(module (func (export "_start")))"#).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let twice = |cache: &CompilationCache| {
        let engine = engine(|config| config.cache(cache.clone()));
        for _ in 0..2 {
            let module = Module::from_bytes_on(&engine, "tool", wasm()).unwrap();
            assert!(finished(GuestSpec::new(module)).exit.success());
        }
        cache.compilations()
    };
    // A directory, which serves another process as well.
    let at = || CompilationCache::at(dir.path().join("compiled"));
    let first = at();
    assert_eq!((twice(&first), first.disk_entries()), (1, 1));
    assert_eq!(twice(&at()), 0);
    let memory = CompilationCache::in_memory();
    assert_eq!((twice(&memory), memory.disk_entries(), memory.dir()), (1, 0, None));
    let off = CompilationCache::off();
    assert_eq!((twice(&off), off.disk_entries(), off.dir()), (2, 0, None));
    // By default: the user's cache directory.
    let default = EngineConfig::new().build().unwrap();
    let module = Module::from_bytes_on(&default, "tool", wasm()).unwrap();
    assert!(finished(GuestSpec::new(module)).exit.success());
    assert!(CompilationCache::shared().dir().is_none_or(|dir| dir.ends_with("compiled")));
}

#[test]
fn custom_sections() {
    let wasm = wat::parse_str(
        r#"(module (@custom "notes" "one") (func (export "_start")) (@custom "notes" "two")
            (@custom "empty" ""))"#,
    )
    .unwrap();
    let by_default = Module::from_bytes("signed", wasm.clone()).unwrap();
    assert!(by_default.custom_sections().is_none());
    let keeps = engine(|config| config.custom_sections(true));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signed.wasm");
    std::fs::write(&path, &wasm).unwrap();
    let modules = [
        Module::from_bytes_on(&keeps, "signed", wasm).unwrap(),
        Module::from_file_on(&keeps, &path).unwrap(),
        // From the cache.
        Module::from_file_on(&keeps, &path).unwrap(),
        by_default.on(&keeps).unwrap(),
        by_default.on(&keeps).unwrap().with_name("another"),
    ];
    for module in modules {
        let sections = module.custom_sections().unwrap();
        let shown: Vec<_> = sections.iter().map(|s| (s.name(), s.data())).collect();
        assert_eq!(shown, [("notes", &b"one"[..]), ("notes", b"two"), ("empty", b"")]);
    }
}

#[test]
fn interruptible() {
    // Longer than the watchdog lets pass, and not much longer.
    let long = program(
        "(local $i i32)
        (loop $again
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.ne (local.get $i) (i32.const 700000000))))
        (call $exit (i32.const 5))",
    );
    let limits =
        Limits { watchdog: Some(std::time::Duration::from_millis(40)), ..Limits::default() };
    let stopped = finished(long.clone().limits(limits.clone())).exit;
    assert!(matches!(stopped, Exit::Limit(_)), "{stopped}");
    let without_checks = engine(|config| config.interruptible(false));
    let module = long.module().on(&without_checks).unwrap();
    assert_eq!(finished(GuestSpec::new(module).limits(limits)).exit.code(), Some(5));
}

/// By how many MiB the addresses of this process grow for a guest with two memories (which is not in
/// the pool), measured from inside of the guest.
#[cfg(target_os = "linux")]
fn addresses_of_a_guest(engine: &Engine) -> u64 {
    fn mapped_mib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
    struct Looks(std::sync::mpsc::Sender<u64>);
    impl std::io::Write for Looks {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(mapped_mib()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let wat = super::with_imports(
        r#"(memory 1)
        (func (export "_start")
            (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))
            (i32.store8 (i32.const 6500000) (i32.const 33))
            (call $write (i32.const 6500000) (i32.const 1)))"#,
    );
    let module = module(&wat).on(engine).unwrap();
    let (seen, inside) = std::sync::mpsc::channel();
    let before = mapped_mib();
    let spec = GuestSpec::new(module).stdout(testbench_wasi::Stdout::writer(Looks(seen)));
    assert!(finished(spec).exit.success());
    inside.recv().unwrap().saturating_sub(before)
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "the child of memory_reserve"]
fn memory_reserve_child() {
    let small = engine(|config| config.memory_reserve_bytes(0));
    // Whatever is made once is made by the first guest.
    for engine in [Engine::shared(), &small] {
        addresses_of_a_guest(engine);
    }
    let (large, small) = (addresses_of_a_guest(Engine::shared()), addresses_of_a_guest(&small));
    assert!(large >= 8 * 1024, "two memories reserve 4 GiB each, and not {large} MiB");
    assert!(small <= 256, "they have 101 pages, one page and their guards, and not {small} MiB");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "looks at /proc")]
fn memory_reserve() {
    let child = in_a_process_of_its_own("config::engine::memory_reserve_child").output().unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
    // As much as the default is the default, so nothing is compiled again.
    let cache = CompilationCache::in_memory();
    let wasm = wat::parse_str("(module)").unwrap();
    for bytes in [EngineConfig::MEMORY_RESERVE_BYTES, u64::MAX] {
        let engine = engine(|config| config.memory_reserve_bytes(bytes).cache(cache.clone()));
        Module::from_bytes_on(&engine, "empty", wasm.clone()).unwrap();
    }
    assert_eq!(cache.compilations(), 1);
}

#[test]
fn features_of_which_one_needs_another() {
    let halves = CoreFeatures::V2.without(CoreFeatures::SIMD) | CoreFeatures::RELAXED_SIMD;
    let error = EngineConfig::new().core_features(halves).build().unwrap_err();
    assert_eq!(error.features, halves);
    insta::assert_snapshot!(error, @"no engine with these features: mutable_global, saturating_float_to_int, sign_extension, reference_types, multi_value, bulk_memory, relaxed_simd: cannot disable the simd proposal but enable the relaxed simd proposal");
}
