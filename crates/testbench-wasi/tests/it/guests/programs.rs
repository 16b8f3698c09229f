//! Finding programs.

use std::ffi::OsStr;

use testbench_clock::Lookup;
use testbench_wasi::{
    CompilationCache, Engine, GuestSpec, ModuleError, Programs, ProgramsError, active_programs,
    install_programs, run,
};

fn wasm(export: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(module (func (export "{export}")))"#)).unwrap()
}

#[test]
fn programs_are_the_wasm_files_sorted_by_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.wasm", "a.wasm", "B.wasm", "python-3.wasm", "notes.txt", "wasm", ".wasm"] {
        std::fs::write(dir.path().join(name), wasm("x")).unwrap();
    }
    let programs = Programs::open(dir.path()).unwrap();
    assert_eq!(programs.names().unwrap(), ["B", "a", "b", "python-3"]);
    assert_eq!(programs.module("python-3").unwrap().unwrap().name(), "python-3");
    assert!(programs.module("notes").is_none());
    assert_eq!(programs.path("a"), Some(dir.path().join("a.wasm")));
    assert_eq!(programs.dir(), Some(dir.path()));
}

#[test]
fn names_are_never_paths() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("tools")).unwrap();
    std::fs::write(dir.path().join("secret.wasm"), wasm("x")).unwrap();
    std::fs::write(dir.path().join("tools/cat.wasm"), wasm("x")).unwrap();
    let programs = Programs::open(dir.path().join("tools")).unwrap();
    let absolute = dir.path().join("secret");
    let names = ["../secret", "/cat", "cat/", "./cat", "", ".", "..", "cat\0", "tools/cat"];
    for name in names.map(OsStr::new).into_iter().chain([absolute.as_os_str()]) {
        assert!(programs.module(name).is_none(), "{name:?}");
        assert!(programs.path(name).is_none() && !programs.contains(name), "{name:?}");
    }
    assert!(programs.contains("cat"));
}

#[test]
fn files_may_come_change_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let programs = Programs::open(dir.path()).unwrap();
    assert!(programs.names().unwrap().is_empty());
    let path = dir.path().join("cat.wasm");
    for export in ["one", "two"] {
        std::fs::write(&path, wasm(export)).unwrap();
        assert_eq!(programs.module("cat").unwrap().unwrap().exports(), [export]);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(programs.module("cat").is_none());
}

#[test]
fn a_program_that_cannot_be_run_is_found() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sh.wasm"), "#!/bin/sh\n").unwrap();
    let programs = Programs::open(dir.path()).unwrap();
    let error = programs.module("sh").unwrap().unwrap_err();
    assert!(matches!(error, ModuleError::NotWasm { .. }));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling.wasm")).unwrap();
        let error = programs.module("dangling").unwrap().unwrap_err();
        assert!(matches!(error, ModuleError::Missing { .. }));
    }
}

#[test]
fn a_directory_that_is_none() {
    let error = Programs::open("no/such/tools").unwrap_err();
    let ProgramsError::Unreadable { .. } = &error else { panic!("{error:?}") };
    insta::assert_snapshot!(error, @"toolchain no/such/tools: cannot be listed: No such file or directory (os error 2); it must be a directory of `<program>.wasm` files");
}

#[test]
fn modules_in_memory() {
    static TRUE: &[u8] = b"\0asm\x01\0\0\0";
    let programs = Programs::from_modules("builtin", [("true", TRUE), ("false", b"text")]);
    assert_eq!(programs.to_string(), "builtin");
    assert_eq!(programs.names().unwrap(), ["false", "true"]);
    assert_eq!(programs.module("true").unwrap().unwrap().name(), "true");
    assert!(matches!(programs.module("false").unwrap(), Err(ModuleError::NotWasm { .. })));
    assert!(programs.module("maybe").is_none() && programs.dir().is_none());
}

#[test]
fn the_nearest_name() {
    let names = ["cat", "grep", "jq", "yq", "python-3"].map(|name| (name, wasm("x")));
    let programs = Programs::from_modules("t", names);
    let nearest = |name| programs.nearest(name).map(|name| name.into_string().unwrap());
    assert_eq!(nearest("grpe").as_deref(), Some("grep"));
    assert_eq!(nearest("xq").as_deref(), Some("jq"));
    assert_eq!(nearest("cat").as_deref(), Some("cat"));
    assert_eq!(nearest("node"), None);
    assert_eq!(nearest("x"), None);
    assert_eq!(nearest(""), None);
}

#[test]
fn the_installed_one_is_seen_on_its_thread_only() {
    assert!(matches!(active_programs(), Lookup::Absent));
    let outer = install_programs(Programs::from_modules("outer", [("a", wasm("x"))]));
    let inner = install_programs(Programs::from_modules("inner", [("a", wasm("x"))]));
    let label = || match active_programs() {
        Lookup::Open(programs) => programs.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(label(), "inner");
    std::thread::spawn(|| assert!(matches!(active_programs(), Lookup::Absent))).join().unwrap();
    drop(outer);
    assert_eq!(label(), "inner");
    drop(inner);
    assert!(matches!(active_programs(), Lookup::Absent));
}

#[test]
fn a_file_that_changes_at_once_runs_as_what_it_is_now() {
    // Of the same size, and again and again within one step of the file system's clock.
    let dir = tempfile::tempdir().unwrap();
    let programs = Programs::open(dir.path()).unwrap();
    for code in (10..60).chain(10..60) {
        std::fs::write(dir.path().join("tool.wasm"), exiting_with(code)).unwrap();
        let module = programs.module("tool").unwrap().unwrap();
        assert_eq!(run(GuestSpec::new(module)).unwrap().exit.code(), Some(code));
    }
}

#[test]
fn modules_in_memory_are_compiled_by_the_engine_of_ones_choice() {
    let cache = CompilationCache::in_memory();
    let engine = Engine::with_cache(cache.clone());
    let programs = Programs::from_modules_on(&engine, "mine", [("tool", exiting_with(0))]);
    assert_eq!(cache.compilations(), 0, "not before it is used");
    assert!(run(GuestSpec::new(programs.module("tool").unwrap().unwrap())).unwrap().exit.success());
    assert_eq!(cache.compilations(), 1);
}

fn exiting_with(code: u32) -> Vec<u8> {
    let wat = format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const {code}))))"#
    );
    wat::parse_str(wat).unwrap()
}
