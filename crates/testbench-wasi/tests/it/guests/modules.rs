//! Files that are not modules, and modules that cannot be run. The texts are
//! part of the product, so all of them stand here.

use std::path::Path;

use testbench_wasi::{CompilationCache, Engine, GuestSpec, Module, ModuleError, StartError, run};

/// Loads `bytes` and asks whether it is a program; the text of what stands in the way.
fn refused(bytes: impl Into<Vec<u8>>) -> (ModuleError, String) {
    let loaded = Module::from_bytes_on(
        &Engine::with_cache(CompilationCache::in_memory()),
        "tool",
        bytes.into(),
    );
    let error = match loaded {
        Ok(module) => module.check_command().expect_err("the module should be refused"),
        Err(error) => error,
    };
    let text = error.to_string();
    (error, text)
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own module")
}

/// A module with one section of this id and content.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.push(id);
    module.push(u8::try_from(content.len()).unwrap());
    module.extend(content);
    module
}

#[test]
fn a_missing_file() {
    let error = Module::from_file("no/such/tool.wasm").unwrap_err();
    assert!(matches!(error, ModuleError::Missing { .. }));
    insta::assert_snapshot!(error, @"no/such/tool.wasm: there is no such file");
}

#[test]
fn a_parent_that_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Module::from_file(dir.path().join("file/tool.wasm")).unwrap_err();
    assert!(matches!(error, ModuleError::Missing { .. }), "{error}");
}

#[test]
fn a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tool.wasm");
    std::fs::create_dir(&path).unwrap();
    let error = Module::from_file(&path).unwrap_err();
    assert!(matches!(error, ModuleError::Unreadable { .. }));
    insta::assert_snapshot!(without(&path, &error), @"PATH: cannot be read: is a directory");
}

#[test]
#[cfg(unix)]
fn a_fifo_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tool.wasm");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let error = Module::from_file(&path).unwrap_err();
    insta::assert_snapshot!(without(&path, &error), @"PATH: cannot be read: not a regular file");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tool.wasm");
    let file = std::fs::File::create(&path).unwrap();
    // Sparse: it takes no space.
    file.set_len(Module::BYTES_MAX + 1).unwrap();
    let error = Module::from_file(&path).unwrap_err();
    assert!(matches!(error, ModuleError::TooLarge { .. }));
    insta::assert_snapshot!(
        without(&path, &error),
        @"`PATH` has 536870913 bytes; modules of up to 536870912 bytes are read"
    );
}

#[test]
fn text_named_wasm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tool.wasm");
    std::fs::write(&path, "#!/bin/sh\necho hello\n").unwrap();
    let error = Module::from_file(&path).unwrap_err();
    assert!(matches!(error, ModuleError::NotWasm { .. }));
    insta::assert_snapshot!(error, @r##"`tool` is not a WebAssembly module: it is text that starts with "#!/bin/sh""##);
}

#[test]
fn not_wasm_in_other_ways() {
    let all: Vec<String> = [
        &b""[..],
        b"(module)",
        b"\x1f\x8b\x08\0",
        b"\x7fELF\x02\x01\x01\0",
        b"\xff\xfe\x01\x02\x03",
    ]
    .into_iter()
    .map(|bytes| refused(bytes).1)
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r"
        `tool` is not a WebAssembly module: it is empty
        `tool` is not a WebAssembly module: it is WebAssembly in the text format; translate it (`wasm-tools parse` or `wat2wasm`)
        `tool` is not a WebAssembly module: it is a gzip archive; unpack it first
        `tool` is not a WebAssembly module: it is a program for this or another machine (ELF), not for WebAssembly
        `tool` is not a WebAssembly module: it starts with the bytes ff fe 01 02 03
        ");
}

#[test]
fn truncated() {
    let whole = wat(r#"(module (memory 1) (func (export "_start") (drop (i32.const 1))))"#);
    for length in 1..whole.len() {
        let error = refused(&whole[..length]).0;
        // Cut at the end of a section, it is a smaller module.
        let cut = matches!(error, ModuleError::Corrupt { .. } | ModuleError::NoStart { .. });
        assert!(cut, "cut to {length} bytes: {error}");
    }
    insta::assert_snapshot!(refused(&whole[..6]).1, @"`tool` is damaged: it ends within its header (at byte 6); copy it again, or rebuild it with its compiler");
    insta::assert_snapshot!(refused(&whole[..whole.len() - 1]).1, @"`tool` is damaged: unexpected end-of-file (at byte 39); copy it again, or rebuild it with its compiler");
}

#[test]
fn corrupt() {
    let (error, text) = refused(section(1, &[0x05, 0x60]));
    assert!(matches!(error, ModuleError::Corrupt { offset: 11.., .. }), "{error:?}");
    insta::assert_snapshot!(text, @"`tool` is damaged: unexpected end-of-file (at byte 12); copy it again, or rebuild it with its compiler");

    // A function that leaves a value on the stack.
    let ill_typed = wat("(module (func (i32.const 1)))");
    insta::assert_snapshot!(refused(ill_typed).1, @"`tool` is damaged: type mismatch: values remaining on stack at end of block (at byte 25); copy it again, or rebuild it with its compiler");
}

#[test]
fn every_flipped_bit_is_survived() {
    let whole = wat(r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 0) func 0 1)
            (func (export "_start") (call 0 (i32.const 0))) (data (i32.const 0) "x"))"#);
    let engine = Engine::with_cache(CompilationCache::in_memory());
    let mut refused = 0;
    for at in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        // Whatever it says, it says it as an error.
        let loaded = Module::from_bytes_on(&engine, "flipped", flipped);
        refused += usize::from(loaded.and_then(|module| module.check_command()).is_err());
    }
    assert!(refused > whole.len(), "only {refused} of {} refused", whole.len() * 8);
}

#[test]
fn legacy_exceptions() {
    // `try` (0x06) with an empty block type, `catch_all` (0x19), `end`; the text format has no
    // legacy instructions any more.
    let module = [
        &b"\0asm\x01\0\0\0"[..],
        &[1, 4, 1, 0x60, 0, 0],
        &[3, 2, 1, 0],
        &[10, 8, 1, 6, 0, 0x06, 0x40, 0x19, 0x0b, 0x0b],
    ];
    let (error, text) = refused(module.concat());
    assert!(matches!(error, ModuleError::LegacyExceptions { .. }), "{error:?}");
    insta::assert_snapshot!(text, @"`tool` uses the legacy exception handling instructions (`try`, `catch`, `rethrow`), which were replaced before WebAssembly 3.0; rebuild it for the final ones (clang: `-mllvm -wasm-use-legacy-eh=false`), or translate it with binaryen's `wasm-opt --translate-to-exnref`");
}

#[test]
fn a_component() {
    let (error, text) = refused(wat("(component)"));
    assert!(matches!(error, ModuleError::Component { .. }));
    insta::assert_snapshot!(text, @"`tool` is a WebAssembly component (WASI preview 2); only core modules are run so far: build it for `wasm32-wasip1`");
}

#[test]
fn a_feature_that_is_off() {
    let (error, text) = refused(wat("(module (memory 1 1 (pagesize 1)))"));
    assert!(matches!(error, ModuleError::Unsupported { .. }), "{error:?}");
    insta::assert_snapshot!(text, @"`tool` cannot be compiled: failed to parse WebAssembly module: the custom page sizes proposal must be enabled to customize a memory's page size (at offset 0xb)");
}

#[test]
fn threads_of_wasi() {
    let (error, text) = refused(wat(r#"(module
        (import "wasi" "thread-spawn" (func (param i32) (result i32)))
        (func (export "_start")))"#));
    assert!(matches!(error, ModuleError::UnknownImport { .. }), "{error:?}");
    insta::assert_snapshot!(text, @"`tool` imports `wasi::thread-spawn`, which nothing provides; a guest may import from `wasi_snapshot_preview1`, `wasi_unstable`, so this one was built for another host");
}

#[test]
fn shared_memories() {
    for memory in [r#"(memory 1 1 shared)"#, r#"(import "env" "memory" (memory 1 1 shared))"#] {
        let (error, _) = refused(wat(&format!(r#"(module {memory} (func (export "_start")))"#)));
        assert!(matches!(error, ModuleError::Threads { .. }), "{error:?}");
    }
    insta::assert_snapshot!(refused(wat("(module (memory 1 1 shared))")).1, @"`tool` has a shared memory, as programs with threads have, which is not supported so far; build it without threads (target `wasm32-wasip1`)");
    // Atomic instructions alone are fine.
    let wasm = wat(r#"(module (memory 1)
        (func (export "_start") (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))"#);
    let module = Module::from_bytes("atomics", wasm).unwrap();
    assert!(run(GuestSpec::new(module)).unwrap().exit.success());
}

#[test]
fn no_start() {
    let (error, text) =
        refused(wat(r#"(module (memory (export "memory") 1) (func (export "add")))"#));
    assert!(matches!(error, ModuleError::NoStart { .. }));
    insta::assert_snapshot!(text, @"`tool` is not a program: it has no `_start` function (it exports `memory`, `add`); link it as a command, not as a library or reactor");
    insta::assert_snapshot!(refused(wat("(module)")).1, @"`tool` is not a program: it has no `_start` function (it exports nothing); link it as a command, not as a library or reactor");
    let many: String = (0..20).map(|i| format!(r#"(func (export "f{i}"))"#)).collect();
    insta::assert_snapshot!(refused(wat(&format!("(module {many})"))).1, @"`tool` is not a program: it has no `_start` function (it exports `f0`, `f1`, `f2`, `f3`, `f4`, `f5`, `f6`, `f7`, `f8`, `f9`, `f10`, `f11` and 8 more); link it as a command, not as a library or reactor");
}

#[test]
fn start_of_another_type() {
    let (error, text) =
        refused(wat(r#"(module (func (export "_start") (param i32) (result i32) (local.get 0)))"#));
    assert!(matches!(error, ModuleError::StartType { .. }));
    insta::assert_snapshot!(text, @"`tool` cannot be started: its `_start` is a function (i32) -> i32, not a function `() -> ()`");
    insta::assert_snapshot!(
        refused(wat(r#"(module (memory (export "_start") 1))"#)).1,
        @"`tool` cannot be started: its `_start` is a memory, not a function `() -> ()`"
    );
}

#[test]
fn unknown_imports() {
    let with =
        |imports: &str| refused(wat(&format!(r#"(module {imports} (func (export "_start")))"#)));
    let (error, text) = with(r#"(import "env" "puts" (func))"#);
    assert!(matches!(error, ModuleError::UnknownImport { .. }));
    insta::assert_snapshot!(text, @"`tool` imports `env::puts`, which nothing provides; a guest may import from `wasi_snapshot_preview1`, `wasi_unstable`, so this one was built for another host");
    insta::assert_snapshot!(
        with(r#"(import "wasi_snapshot_preview1" "fd_rite" (func))"#).1,
        @"`tool` imports `wasi_snapshot_preview1::fd_rite`, which nothing provides; the nearest name is `fd_write`"
    );
    let many: String = (0..16).map(|i| format!(r#"(import "env" "f{i}" (func))"#)).collect();
    insta::assert_snapshot!(with(&many).1, @"`tool` imports `env::f0`, `env::f1`, `env::f2`, `env::f3`, `env::f4`, `env::f5`, `env::f6`, `env::f7`, `env::f8`, `env::f9`, `env::f10`, `env::f11` and 4 more, which nothing provides; a guest may import from `wasi_snapshot_preview1`, `wasi_unstable`, so this one was built for another host");
}

#[test]
fn an_import_of_another_type() {
    let with =
        |import: &str| refused(wat(&format!(r#"(module {import} (func (export "_start")))"#)));
    let (error, text) =
        with(r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i64) (result i32)))"#);
    assert!(matches!(error, ModuleError::ImportType { .. }));
    insta::assert_snapshot!(text, @"`tool` imports `wasi_snapshot_preview1::proc_exit` as a function (i64) -> i32, but it is a function (i32) -> (); was the module built for another version of WASI?");
    insta::assert_snapshot!(
        with(r#"(import "wasi_snapshot_preview1" "proc_exit" (memory 1))"#).1,
        @"`tool` imports `wasi_snapshot_preview1::proc_exit` as a memory, but it is a function (i32) -> (); was the module built for another version of WASI?"
    );
}

#[test]
fn run_refuses_what_check_command_refuses() {
    let module = Module::from_bytes("lib", wat("(module)")).unwrap();
    let error = run(GuestSpec::new(module)).unwrap_err();
    assert!(matches!(error, StartError::Module(ModuleError::NoStart { .. })));
    insta::assert_snapshot!(error, @"`lib` is not a program: it has no `_start` function (it exports nothing); link it as a command, not as a library or reactor");
}

#[test]
fn arguments_and_environment_that_no_guest_could_read() {
    let spec = || {
        let wasm = wat(r#"(module (func (export "_start")))"#);
        GuestSpec::new(Module::from_bytes("tool", wasm).unwrap())
    };
    let refused = |spec: GuestSpec| run(spec).unwrap_err().to_string();
    let all = [
        refused(spec().arg("fine").arg("a\0b")),
        refused(spec().arg0("\0")),
        refused(spec().env("", "x")),
        refused(spec().env("a=b", "x")),
        refused(spec().env("a\0", "x")),
        refused(spec().env("a", "x\0")),
        refused(spec().cwd("src")),
        refused(spec().cwd("")),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
        argument 2 of `tool` contains a NUL byte
        argument 0 of `tool` contains a NUL byte
        environment variable "" of `tool` has an empty name
        environment variable "a=b" of `tool` has a `=` in its name
        environment variable "a\0" of `tool` has a NUL byte in its name
        environment variable "a" of `tool` has a NUL byte in its value
        the working directory "src" of `tool` is not an absolute path
        the working directory "" of `tool` is not an absolute path
        "#);
    assert!(run(spec().env("a", "b=c")).unwrap().exit.success());
}

#[test]
fn a_changed_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tool.wasm");
    let engine = Engine::with_cache(CompilationCache::in_memory());
    std::fs::write(&path, wat(r#"(module (func (export "one")))"#)).unwrap();
    let one = Module::from_file_on(&engine, &path).unwrap();
    assert_eq!(one.exports(), ["one"]);
    assert_eq!((one.name(), one.path()), ("tool", Some(Path::new(&path))));

    std::fs::write(&path, wat(r#"(module (func (export "another")))"#)).unwrap();
    let two = Module::from_file_on(&engine, &path).unwrap();
    assert_eq!(two.exports(), ["another"]);
    assert_ne!(one.hash(), two.hash());

    // What was loaded stays what it was, as far as it does not need the file.
    assert_eq!(one.exports(), ["one"]);
    let error = one.bytes().unwrap_err();
    assert!(matches!(error, ModuleError::Changed { .. }));
    insta::assert_snapshot!(without(&path, &error), @"PATH: has changed since it was first read; open it again");
}

/// The text of `error` with the path, which differs in each run, replaced.
fn without(path: &Path, error: &ModuleError) -> String {
    error.to_string().replace(&*path.to_string_lossy(), "PATH")
}
