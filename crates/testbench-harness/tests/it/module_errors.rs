//! What cannot be run is refused with an error of its own type and a sentence that helps.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;
use testbench_harness::{Command, Refusal, Session, SpawnError, Testbench, Unmatched};
use testbench_wasi::ModuleError;

const UNKNOWN_IMPORT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_wriet" (func (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")))"#;
const OTHER_HOST: &str =
    r#"(module (import "env" "emscripten_memcpy" (func)) (func (export "_start")))"#;
const NO_START: &str = r#"(module (func (export "add")) (func (export "sub")))"#;
const SOUND: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// A session whose toolchain holds one sound module, `sound`, and what cannot be run.
fn session() -> (TempDir, Session) {
    let tools = crate::common::tools_with(&[
        ("sound.wasm", SOUND),
        ("misspelt.wasm", UNKNOWN_IMPORT),
        ("emscripten.wasm", OTHER_HOST),
        ("library.wasm", NO_START),
    ]);
    let mut torn = wat::parse_str(SOUND).unwrap();
    torn.truncate(torn.len() - 3);
    fs::write(tools.path().join("torn.wasm"), torn).unwrap();
    fs::write(tools.path().join("text.wasm"), "#!/bin/sh\necho hi\n").unwrap();
    fs::write(tools.path().join("empty.wasm"), "").unwrap();
    let session = Testbench::builder().toolchain(tools.path()).build().unwrap().enter();
    (tools, session)
}

/// Kind and text of the error that starting `program` gives.
fn error_of(tools: &Path, program: impl AsRef<OsStr>) -> (io::Error, String) {
    let error = Command::new(program).output().unwrap_err();
    let text = error.to_string().replace(tools.to_str().unwrap(), "tools");
    let text = format!("{:?}: {text}", error.kind());
    (error, text)
}

macro_rules! check {
    ($program:expr, $error:pat, @$text:literal) => {
        let (tools, _session) = session();
        let (error, text) = error_of(tools.path(), $program);
        assert!(matches!(SpawnError::of(&error), Some($error)), "{error:?}");
        insta::assert_snapshot!(text, @$text);
    };
}

#[test]
fn a_missing_program() {
    check!("soundd", SpawnError::Refused(Refusal::NotFound(_)), @r#"NotFound: `soundd`: no `soundd.wasm` in tools/ (has: empty, emscripten, library, misspelt, sound, text, torn; nearest: sound). This session starts no native programs; allow it with `.policy("soundd", Policy::Native)`."#);
}

#[test]
fn a_corrupt_module() {
    check!("torn", SpawnError::Module { source: ModuleError::Corrupt { .. }, .. }, @"InvalidData: `torn` cannot be run: `torn` is damaged: unexpected end-of-file (at byte 47); copy it again, or rebuild it with its compiler");
}

#[test]
fn a_text_file() {
    check!("text", SpawnError::Module { source: ModuleError::NotWasm { .. }, .. }, @r##"InvalidData: `text` cannot be run: `text` is not a WebAssembly module: it is text that starts with "#!/bin/sh""##);
}

#[test]
fn an_empty_file() {
    check!("empty", SpawnError::Module { source: ModuleError::NotWasm { .. }, .. }, @"InvalidData: `empty` cannot be run: `empty` is not a WebAssembly module: it is empty");
}

#[test]
fn an_unknown_import() {
    check!("misspelt", SpawnError::Module { source: ModuleError::UnknownImport { .. }, .. }, @"InvalidData: `misspelt` cannot be run: `misspelt` imports `wasi_snapshot_preview1::fd_wriet`, which nothing provides; the nearest name is `fd_write`");
}

#[test]
fn a_module_for_another_host() {
    check!("emscripten", SpawnError::Module { source: ModuleError::UnknownImport { .. }, .. }, @"InvalidData: `emscripten` cannot be run: `emscripten` imports `env::emscripten_memcpy`, which nothing provides; a guest may import from `wasi_snapshot_preview1`, `wasi_unstable`, so this one was built for another host");
}

#[test]
fn a_module_without_start() {
    check!("library", SpawnError::Module { source: ModuleError::NoStart { .. }, .. }, @"InvalidData: `library` cannot be run: `library` is not a program: it has no `_start` function (it exports `add`, `sub`); link it as a command, not as a library or reactor");
}

/// The control: the same toolchain runs what is sound.
#[test]
fn a_sound_module_runs() {
    let (_tools, _session) = session();
    assert!(Command::new("sound").status().unwrap().success());
}

#[test]
fn the_error_says_what_the_toolchain_has() {
    let (_tools, _session) = session();
    let error = Command::new("soundd").output().unwrap_err();
    let Some(SpawnError::Refused(Refusal::NotFound(unmatched))) = SpawnError::of(&error) else {
        panic!("{error:?}");
    };
    let Unmatched { has, nearest, .. } = &**unmatched;
    assert_eq!(has, &["empty", "emscripten", "library", "misspelt", "sound", "text", "torn"]);
    assert_eq!(nearest.as_deref(), Some(OsStr::new("sound")));
    assert_eq!(SpawnError::of(&error).unwrap().shell_status(), 127);
}

#[test]
fn a_program_that_is_refused_is_in_the_report() {
    let (_tools, session) = session();
    for program in ["nothing", "text", "sound"] {
        let _ = Command::new(program).output();
    }
    let spawns = session.finish().unwrap().spawns;
    let started: Vec<bool> = spawns.iter().map(|spawn| spawn.status.is_some()).collect();
    assert_eq!(started, [false, false, true]);
}
