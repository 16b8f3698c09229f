//! Which way a spawn goes, and the texts that say so.
#![cfg(unix)]
mod common;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use common::tools_with;
use tempfile::TempDir;
use testbench_harness::{Command, Policy, Route, Testbench, TestbenchBuilder};

const SOUND: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

fn tools() -> TempDir {
    tools_with(&[("cat.wasm", SOUND), ("grep.wasm", SOUND), ("yq.wasm", SOUND)])
}

fn builder(tools: &Path) -> TestbenchBuilder {
    Testbench::builder().name("routing").toolchain(tools)
}

/// What `testbench which --explain` would say.
fn explain(tools: &Path, command: &Command) -> String {
    command.route().to_string().replace(tools.to_str().unwrap(), "tools")
}

#[test]
fn the_toolchain_has_exact_names_and_paths_that_it_stands_in_for() {
    let tools = tools();
    let _session = builder(tools.path()).build().unwrap().enter();
    let explain = |program: &str| explain(tools.path(), &Command::new(program));
    insta::assert_snapshot!(explain("cat"), @"guest tools/cat.wasm");
    insta::assert_snapshot!(explain("/bin/cat"), @"guest tools/cat.wasm");
    insta::assert_snapshot!(explain("/usr/bin/cat"), @"guest tools/cat.wasm");
    insta::assert_snapshot!(explain("jq"), @r#"refused: `jq`: no `jq.wasm` in tools/ (has: cat, grep, yq; nearest: yq). This session starts no native programs; allow it with `.policy("jq", Policy::Native)`."#);
    insta::assert_snapshot!(explain("/usr/bin/jq"), @r#"refused: `/usr/bin/jq`: no `jq.wasm` in tools/ (has: cat, grep, yq; nearest: yq). This session starts no native programs; allow it with `.policy("jq", Policy::Native)`."#);
    insta::assert_snapshot!(explain("CAT"), @r#"refused: `CAT`: no `CAT.wasm` in tools/ (has: cat, grep, yq). This session starts no native programs; allow it with `.policy("CAT", Policy::Native)`."#);
    insta::assert_snapshot!(explain("cat.wasm"), @r#"refused: `cat.wasm`: no `cat.wasm.wasm` in tools/ (has: cat, grep, yq). This session starts no native programs; allow it with `.policy("cat.wasm", Policy::Native)`."#);
    insta::assert_snapshot!(explain("./cat"), @r#"refused: `./cat`: a path is not looked up in the toolchain, other than one directly under `/bin` or `/usr/bin`. This session starts no native programs; allow it with `.policy("./cat", Policy::Native)`."#);
    insta::assert_snapshot!(explain("/opt/bin/cat"), @r#"refused: `/opt/bin/cat`: a path is not looked up in the toolchain, other than one directly under `/bin` or `/usr/bin`. This session starts no native programs; allow it with `.policy("/opt/bin/cat", Policy::Native)`."#);
    insta::assert_snapshot!(explain(""), @"refused: ``: an empty name names no program");
    insta::assert_snapshot!(explain(".."), @r#"refused: `..`: no `...wasm` in tools/ (has: cat, grep, yq). This session starts no native programs; allow it with `.policy("..", Policy::Native)`."#);
}

/// A name with a slash is a path, which has nothing to do with the toolchain's directory.
#[test]
fn a_path_is_never_joined_to_the_toolchain() {
    let base = tempfile::tempdir().unwrap();
    let tools = base.path().join("tools");
    fs::create_dir_all(tools.join("sub")).unwrap();
    let sound = wat::parse_str(SOUND).unwrap();
    for path in ["evil.wasm", "tools/sub/cat.wasm", "tools/cat.wasm"] {
        fs::write(base.path().join(path), &sound).unwrap();
    }
    let _session = builder(&tools).build().unwrap().enter();
    for program in ["../evil", "sub/cat", "./cat", "sub/../cat"] {
        assert_eq!(
            Command::new(program).output().unwrap_err().kind(),
            ErrorKind::NotFound,
            "{program}"
        );
    }
    Command::new("cat").output().unwrap();
}

#[test]
fn without_a_toolchain_the_text_says_so() {
    let _session = Testbench::builder().build().unwrap().enter();
    insta::assert_snapshot!(Command::new("cat").route(), @r#"refused: `cat`: the session has no toolchain (set one with `.toolchain(dir)`, or `.toolchain(Toolchain::builtin())` for the tools that come with testbench). This session starts no native programs; allow it with `.policy("cat", Policy::Native)`."#);
}

#[test]
fn an_empty_toolchain_and_a_large_one() {
    let empty = tempfile::tempdir().unwrap();
    let session = builder(empty.path()).build().unwrap().enter();
    insta::assert_snapshot!(explain(empty.path(), &Command::new("cat")), @r#"refused: `cat`: no `cat.wasm` in tools/ (it has no programs). This session starts no native programs; allow it with `.policy("cat", Policy::Native)`."#);
    drop(session);
    let names: Vec<String> = (10..30).map(|n| format!("tool{n}.wasm")).collect();
    let large = tools_with(&names.iter().map(|name| (name.as_str(), SOUND)).collect::<Vec<_>>());
    let _session = builder(large.path()).build().unwrap().enter();
    insta::assert_snapshot!(explain(large.path(), &Command::new("toool12")), @r#"refused: `toool12`: no `toool12.wasm` in tools/ (has: tool10, tool11, tool12, tool13, tool14, tool15, tool16, tool17, tool18, tool19, tool20, tool21 and 8 more; nearest: tool12). This session starts no native programs; allow it with `.policy("toool12", Policy::Native)`."#);
}

#[test]
fn deny_refuses_what_the_toolchain_has_and_names_the_policy() {
    let tools = tools();
    let bench = builder(tools.path()).policy("cat", Policy::Deny).policy("git", Policy::Deny);
    let _session = bench.build().unwrap().enter();
    for program in ["cat", "/bin/cat", "git"] {
        let error = Command::new(program).output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{program}");
        assert_eq!(testbench_harness::SpawnError::of(&error).unwrap().shell_status(), 126);
    }
    insta::assert_snapshot!(explain(tools.path(), &Command::new("cat")), @r#"refused: `cat`: denied by `.policy("cat", Policy::Deny)` of the session `routing`"#);
    insta::assert_snapshot!(explain(tools.path(), Command::new("grep").via(Policy::Deny)), @"refused: `grep`: denied by `.via(Policy::Deny)` of the session `routing`");
    assert!(matches!(Command::new("grep").route(), Route::Guest(_)));
}

#[test]
fn a_policy_for_one_program_outranks_the_one_for_all() {
    let tools = tools();
    let bench = builder(tools.path()).unmatched(Policy::Deny).policy("sh", Policy::Native);
    let _session = bench.policy("/opt/x", Policy::NotFound).build().unwrap().enter();
    assert!(matches!(Command::new("sh").route(), Route::Native));
    assert!(matches!(Command::new("/bin/sh").route(), Route::Native));
    assert!(matches!(Command::new("cat").route(), Route::Guest(_)));
    assert_eq!(Command::new("/opt/x").output().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Command::new("git").output().unwrap_err().kind(), ErrorKind::PermissionDenied);
    insta::assert_snapshot!(explain(tools.path(), &Command::new("git")), @"refused: `git`: denied by `.unmatched(Policy::Deny)` of the session `routing`");
}

#[test]
fn via_decides_for_one_command() {
    let tools = tools();
    let _session = builder(tools.path()).build().unwrap().enter();
    assert!(matches!(Command::new("cat").via(Policy::Native).route(), Route::Native));
    assert!(matches!(Command::new("cat").via(Policy::NotFound).route(), Route::Guest(_)));
    assert!(matches!(Command::new("sh").via(Policy::Native).route(), Route::Native));
    assert!(matches!(Command::new("sh").route(), Route::Refuse(_)));
}

#[test]
fn a_native_program_over_an_overlay_is_refused_with_advice() {
    let (tools, dir) = (tools(), common::dir_with(&[]));
    let bench = builder(tools.path()).overlay(dir.path()).unmatched(Policy::Native);
    let _session = bench.build().unwrap().enter();
    let error = Command::new("touch").arg("made").output().unwrap_err();
    let text = error.to_string().replace(dir.path().to_str().unwrap(), "[root]");
    insta::assert_snapshot!(text, @"`touch` would run natively, but a native process cannot see the overlay over `[root]`: its changes would go to the real directory. Put a `touch.wasm` into the toolchain, or run it in a session without an overlay");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn toolchains_are_asked_in_order() {
    let (first, second) =
        (tools_with(&[("a.wasm", SOUND)]), tools_with(&[("a.wasm", SOUND), ("b.wasm", SOUND)]));
    let bench = Testbench::builder().toolchain(first.path()).toolchain(second.path());
    let _session = bench.build().unwrap().enter();
    let show = |program: &str| {
        let route = Command::new(program).route().to_string();
        let route = route.replace(first.path().to_str().unwrap(), "first");
        route.replace(second.path().to_str().unwrap(), "second")
    };
    insta::assert_snapshot!(show("a"), @"guest first/a.wasm");
    insta::assert_snapshot!(show("b"), @"guest second/b.wasm");
    insta::assert_snapshot!(show("c"), @r#"refused: `c`: no `c.wasm` in first/ or second/ (has: a, b). This session starts no native programs; allow it with `.policy("c", Policy::Native)`."#);
}

#[test]
fn a_bench_that_cannot_be_built_says_why() {
    let dir = common::dir_with(&[("file", "")]);
    let show = |bench: TestbenchBuilder| {
        let error = bench.build().unwrap_err().to_string();
        error.replace(dir.path().to_str().unwrap(), "[dir]")
    };
    let missing = dir.path().join("missing");
    insta::assert_snapshot!(show(Testbench::builder().overlay(&missing)), @"no overlay over `[dir]/missing`: cannot make an overlay of [dir]/missing: No such file or directory (os error 2)");
    insta::assert_snapshot!(show(Testbench::builder().overlay(dir.path().join("file"))), @"no overlay over `[dir]/file`: cannot make an overlay of [dir]/file: Not a directory (os error 20)");
    insta::assert_snapshot!(show(Testbench::builder().toolchain(missing.as_path())), @"no toolchain: toolchain [dir]/missing: cannot be listed: No such file or directory (os error 2); it must be a directory of `<program>.wasm` files");
    insta::assert_snapshot!(show(Testbench::builder().passthrough(&missing)), @"cannot show `[dir]/missing`: No such file or directory (os error 2)");
    insta::assert_snapshot!(show(Testbench::builder().overlay_at(dir.path(), "rel")), @"the overlay over `[dir]` cannot be shown at `rel`: not an absolute path (`/` would be)");
    let two = Testbench::builder().overlay(dir.path()).overlay_at(dir.path(), "/");
    insta::assert_snapshot!(show(two), @"two overlays, over `[dir]` and `[dir]`: a session has one; lay it over a directory that holds both, or show the other read-only with `.passthrough(dir)`");
}
