//! The flat functions for virtual machines, each used as such a machine uses them.
#![cfg(unix)]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{bench, dir_with, text, tools_with, tree};
use tempfile::TempDir;
use testbench_clock::{Context, MockClock};
use testbench_harness::compat::{
    WasiOutput, WasiToolchainGuard, active_overlay, active_wasi_toolchain, advance,
    install_overlay, install_override, install_wasi_toolchain, instant_now, intercept_spawn,
    is_mocked, now_ms, run_wasm_module, wasi_module_for,
};
use testbench_harness::{Policy, Refusal, Session, SpawnError, Testbench, Toolchain};
use testbench_overlay::Overlay;

fn guest(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(format!("{name}.wasm"))
}

/// A directory with these of our own tools.
fn tools(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(guest(name), dir.path().join(format!("{name}.wasm"))).unwrap();
    }
    dir
}

const NONE: [(&str, &str); 0] = [];

fn run(path: impl AsRef<Path>, args: &[&str]) -> WasiOutput {
    run_wasm_module(path, args, NONE).unwrap()
}

/// What a machine's builtin for programs looks like: ours to run, or the host's.
fn exec(program: &str, args: &[&str]) -> std::io::Result<std::process::Output> {
    intercept_spawn(program, args, None)
        .unwrap_or_else(|| std::process::Command::new(program).args(args).output())
}

#[test]
fn a_toolchain_alone_takes_what_it_has_and_leaves_the_rest() {
    let tools = tools(&["echo"]);
    assert!(intercept_spawn("echo", ["x"], None).is_none());
    let guard: WasiToolchainGuard = install_wasi_toolchain(tools.path());
    let output = intercept_spawn("echo", ["x"], None).unwrap().unwrap();
    assert_eq!((text(&output.stdout), output.status.code()), ("x\n", Some(0)));
    assert!(intercept_spawn("/bin/echo", ["x"], None).unwrap().is_ok());
    assert!(intercept_spawn("./echo", ["x"], None).is_none());
    assert!(intercept_spawn("sh", ["-c", ""], None).is_none());
    assert_eq!(exec("sh", &["-c", "exit 3"]).unwrap().status.code(), Some(3));
    drop(guard);
    assert!(intercept_spawn("echo", ["x"], None).is_none());
    assert!(active_wasi_toolchain().is_none());
}

#[test]
fn toolchains_nest_and_belong_to_their_thread() {
    let (outer, inner) = (tools(&["echo", "cat"]), tools(&["cat"]));
    let _outer = install_wasi_toolchain(outer.path());
    {
        let _inner = install_wasi_toolchain(inner.path());
        assert_eq!(wasi_module_for("cat"), Some(inner.path().join("cat.wasm")));
        assert_eq!(wasi_module_for("echo"), None);
    }
    assert_eq!(wasi_module_for("cat"), Some(outer.path().join("cat.wasm")));
    let seen = || active_wasi_toolchain().map(|toolchain| toolchain.names());
    assert_eq!(seen().unwrap(), ["cat", "echo"]);
    assert_eq!(std::thread::spawn(seen).join().unwrap(), None);
    let carried = std::thread::spawn(Context::capture().wrap(seen)).join().unwrap();
    assert_eq!(carried.unwrap().len(), 2);
}

#[test]
fn a_module_is_found_by_name_by_path_and_by_manifest() {
    let tools = tools(&["cat"]);
    fs::write(tools.path().join("testbench.toml"), "[tools.concat]\nalias = \"cat\"\n").unwrap();
    let _tools = install_wasi_toolchain(tools.path());
    let cat = Some(tools.path().join("cat.wasm"));
    assert_eq!(wasi_module_for("cat"), cat);
    assert_eq!(wasi_module_for("/usr/bin/cat"), cat);
    assert_eq!(wasi_module_for("concat"), cat);
    for none in ["dog", "./cat", "/opt/cat", "", "../tools/cat"] {
        assert_eq!(wasi_module_for(none), None, "{none}");
    }
    // What is found can be run.
    assert_eq!(run(wasi_module_for("cat").unwrap(), &["missing"]).exit_code, 1);
}

#[test]
fn a_toolchain_that_is_not_there_panics_and_is_never_the_hosts_programs() {
    let panicked = std::panic::catch_unwind(|| install_wasi_toolchain("/no/such/tools"));
    let panicked = panicked.unwrap_err();
    let said = panicked.downcast_ref::<String>().unwrap();
    assert!(said.contains("/no/such/tools"), "{said}");
    assert!(said.contains("it must be a directory of `<program>.wasm` files"), "{said}");
}

#[test]
fn a_module_runs_with_its_arguments_its_environment_and_the_time_that_it_takes() {
    let clock = MockClock::at_wall_ms(1_000);
    let _clock = install_override(clock);
    let output = run(guest("echo"), &["a", "b c"]);
    assert_eq!((text(&output.stdout), output.exit_code), ("a b c\n", 0));
    assert_eq!(run(guest("sleep"), &["1.5"]).virtual_duration_ms, 1_500);
    assert_eq!(now_ms(), 2_500);
    let env = run_wasm_module(guest("env"), [""; 0], [("B", "2"), ("A", "1")]).unwrap();
    assert_eq!(text(&env.stdout), "A=1\nB=2\nPWD=/\n");
    assert_eq!(run(guest("exit42"), &[]).exit_code, 42);
    let trapped = run(guest("trap"), &["unreachable"]);
    assert_eq!(trapped.exit_code, 134, "{trapped:?}");
    let failed = run(guest("cat"), &["missing"]);
    assert!(text(&failed.stderr).starts_with("cat: missing: "), "{failed:?}");
}

#[test]
fn a_module_that_cannot_be_run_is_an_error_that_names_it() {
    let dir = dir_with(&[("text.wasm", "hello")]);
    let error = |path: &Path| run_wasm_module(path, ["x"], NONE).unwrap_err();
    let missing = error(&dir.path().join("missing.wasm"));
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("missing.wasm"), "{missing}");
    let not_wasm = error(&dir.path().join("text.wasm"));
    assert!(matches!(not_wasm, SpawnError::Module { .. }), "{not_wasm}");
    let nul = run_wasm_module(guest("echo"), ["a\0b"], NONE).unwrap_err();
    assert_eq!(nul.kind(), ErrorKind::InvalidInput);
}

#[test]
fn files_are_the_overlays_and_the_directory_stays_as_it_was() {
    let dir = dir_with(&[("in.txt", "b\na\n"), ("sub/x", "")]);
    let before = tree(dir.path());
    let tools = tools(&["sort", "ls"]);
    let _tools = install_wasi_toolchain(tools.path());
    assert!(active_overlay().is_none());
    let overlay = Overlay::new(dir.path()).unwrap();
    let files = install_overlay(overlay.clone());
    assert!(Arc::ptr_eq(&active_overlay().unwrap(), &overlay));

    let sorted = exec("sort", &["-o", "out.txt", "in.txt"]).unwrap();
    assert!(sorted.status.success(), "{sorted:?}");
    let out = dir.path().join("out.txt");
    assert_eq!(testbench_overlay::fs::read_to_string(&out).unwrap(), "a\nb\n");
    let listed = run(guest("ls"), &[dir.path().to_str().unwrap()]);
    assert_eq!(text(&listed.stdout), "in.txt\nout.txt\nsub\n");
    let inside = intercept_spawn("ls", [""; 0], Some(Path::new("sub"))).unwrap().unwrap();
    assert_eq!(text(&inside.stdout), "x\n");
    let outside = intercept_spawn("ls", [""; 0], Some(Path::new("/"))).unwrap().unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::PermissionDenied);
    assert_eq!(overlay.diff().unwrap().summary(), "A out.txt\n");

    // A context that outlives the guard still does not mean the disk.
    let context = Context::capture();
    drop(files);
    let _later = context.enter();
    assert!(active_overlay().is_some());
    assert!(exec("sort", &["-o", "out.txt", "in.txt"]).is_err());
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_clock_is_installed_read_and_moved() {
    assert!(!is_mocked());
    let clock = install_override(MockClock::at_wall_ms(5_000));
    assert!(is_mocked());
    assert_eq!(now_ms(), 5_000);
    let before = instant_now();
    advance(Duration::from_millis(250)).unwrap();
    assert_eq!((now_ms(), instant_now().duration_since(before).as_millis()), (5_250, 250));
    drop(clock);
    assert!(!is_mocked());
    assert!(advance(Duration::from_secs(1)).is_err());
}

#[test]
fn each_guest_has_random_bytes_of_its_own_and_a_rerun_the_same() {
    let tools = tools(&["fingerprint"]);
    let two = || {
        let _clock = install_override(MockClock::at_wall_ms(0));
        let _tools = install_wasi_toolchain(tools.path());
        [0, 1].map(|_| exec("fingerprint", &[]).unwrap().stdout)
    };
    let [first, second] = two();
    assert!(!first.is_empty() && first != second);
    assert_eq!(two(), [first, second]);
}

fn session() -> (Session, TempDir) {
    let dir = dir_with(&[("f", "")]);
    let session = bench(dir.path()).policy("make", Policy::Deny).build().unwrap().enter();
    (session, dir)
}

#[test]
fn in_a_session_they_speak_of_the_session() {
    let (session, dir) = session();
    assert!(is_mocked());
    assert!(active_overlay().is_some());
    assert!(active_wasi_toolchain().unwrap().names().contains(&"sort".into()));
    // In memory, so there is no file to name; yet it runs.
    assert_eq!(wasi_module_for("touch"), None);
    assert!(exec("touch", &["made"]).unwrap().status.success());
    let denied = intercept_spawn("make", ["x"], None).unwrap().unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    let missing = intercept_spawn("git", ["x"], None).unwrap().unwrap_err();
    assert!(matches!(SpawnError::of(&missing), Some(SpawnError::Refused(Refusal::NotFound(_)))));
    assert_eq!(run(guest("sleep"), &["2"]).virtual_duration_ms, 2_000);

    let context = Context::capture();
    let report = session.finish().unwrap();
    let spawned: Vec<_> = report.spawns.iter().map(|s| s.program.to_str().unwrap()).collect();
    assert_eq!(spawned, ["touch", "make", "git", "sleep"]);
    assert_eq!(report.diff.summary(), "A made (empty)\n");
    assert!(!dir.path().join("made").exists());

    let _later = context.enter();
    let ended = run_wasm_module(guest("echo"), ["x"], NONE).unwrap_err();
    assert!(matches!(ended, SpawnError::Refused(Refusal::Ended(_))), "{ended}");
    assert!(intercept_spawn("echo", ["x"], None).unwrap().is_err());
    assert!(active_wasi_toolchain().is_some());
}

#[test]
fn a_session_without_tools_hides_those_that_were_installed() {
    let tools = tools_with(&[(
        "x.wasm",
        r#"(module (memory (export "memory") 1) (func (export "_start")))"#,
    )]);
    let _tools = install_wasi_toolchain(tools.path());
    assert!(intercept_spawn("x", [""; 0], None).is_some());
    let session = Testbench::builder().build().unwrap().enter();
    assert!(active_wasi_toolchain().is_none());
    assert!(intercept_spawn("x", [""; 0], None).unwrap().is_err());
    drop(session);
    assert!(intercept_spawn("x", [""; 0], None).unwrap().is_ok());
    assert_eq!(Toolchain::open(tools.path()).unwrap().names(), ["x"]);
}
