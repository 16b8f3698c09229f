//! Which way a spawn goes, and the texts that say so.
#![cfg(unix)]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::common::tools_with;
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
    insta::assert_snapshot!(explain(tools.path(), &Command::new("cat")), @r#"refused: `cat`: denied by `.policy("cat", Policy::Deny)`, in the session `routing`"#);
    insta::assert_snapshot!(explain(tools.path(), Command::new("grep").via(Policy::Deny)), @"refused: `grep`: denied by `.via(Policy::Deny)`, in the session `routing`");
    assert!(matches!(Command::new("grep").route(), Route::Guest(_)));
}

#[test]
fn a_policy_for_one_program_outranks_the_one_for_all() {
    let tools = tools();
    let bench = builder(tools.path()).unmatched(Policy::Deny).policy("sh", Policy::Native);
    let _session = bench.policy("/opt/x", Policy::NotFound).build().unwrap().enter();
    assert!(matches!(Command::new("sh").route(), Route::Native { .. }));
    assert!(matches!(Command::new("/bin/sh").route(), Route::Native { .. }));
    assert!(matches!(Command::new("cat").route(), Route::Guest(_)));
    assert_eq!(Command::new("/opt/x").output().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Command::new("git").output().unwrap_err().kind(), ErrorKind::PermissionDenied);
    insta::assert_snapshot!(explain(tools.path(), &Command::new("git")), @"refused: `git`: denied by `.unmatched(Policy::Deny)`, in the session `routing`");
}

#[test]
fn via_decides_for_one_command() {
    let tools = tools();
    let _session = builder(tools.path()).build().unwrap().enter();
    assert!(matches!(Command::new("cat").via(Policy::Native).route(), Route::Native { .. }));
    assert!(matches!(Command::new("cat").via(Policy::NotFound).route(), Route::Guest(_)));
    assert!(matches!(Command::new("sh").via(Policy::Native).route(), Route::Native { .. }));
    assert!(matches!(Command::new("sh").route(), Route::Refuse(_)));
}

#[test]
fn a_native_program_over_an_overlay_is_refused_with_advice() {
    let (tools, dir) = (tools(), crate::common::dir_with(&[]));
    let bench = builder(tools.path()).overlay(dir.path()).unmatched(Policy::Native);
    let _session = bench.build().unwrap().enter();
    let error = Command::new("touch").arg("made").output().unwrap_err();
    let text = error.to_string().replace(dir.path().to_str().unwrap(), "[root]");
    insta::assert_snapshot!(text, @"`touch` would run natively, but a native process cannot see the overlay over `[root]`: its changes would go to the real directory. Let the session write its files out for it with `.native_files(NativeFiles::Copy)`, put a `touch.wasm` into the toolchain, or run it in a session without an overlay");
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
    let dir = crate::common::dir_with(&[("file", "")]);
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

/// A toolchain with a manifest and these modules.
fn tools_and_manifest(names: &[&str], manifest: &str) -> TempDir {
    let files: Vec<_> = names.iter().map(|name| (*name, SOUND)).collect();
    let tools = tools_with(&files);
    fs::write(tools.path().join("testbench.toml"), manifest).unwrap();
    tools
}

/// All of the decision, one line a step.
fn explained(tools: &Path, command: &Command) -> String {
    command.explain().to_string().replace(tools.to_str().unwrap(), "tools")
}

#[test]
fn a_manifest_gives_names_policies_and_claims() {
    let tools = tools_and_manifest(
        &["python-3.12.wasm", "box.wasm", "cat.wasm", "git.wasm"],
        r#"
        claims = ["/bin", "/opt/tools/bin"]
        [tools.snake]
        alias = "python-3.12"
        [tools.broken]
        alias = "gone"
        [tools.box]
        multicall = ["awk", "sed"]
        [tools.git]
        policy = "deny"
        [tools.make]
        policy = "native"
        "#,
    );
    let _session = builder(tools.path()).build().unwrap().enter();
    let explain = |program: &str| explain(tools.path(), &Command::new(program));
    insta::assert_snapshot!(explain("snake"), @"guest tools/python-3.12.wasm");
    insta::assert_snapshot!(explain("awk"), @"guest tools/box.wasm");
    insta::assert_snapshot!(explain("/opt/tools/bin/sed"), @"guest tools/box.wasm");
    insta::assert_snapshot!(explain("/usr/bin/sed"), @r#"refused: `/usr/bin/sed`: a path is not looked up in the toolchain, other than one directly under `/bin` or `/opt/tools/bin`. This session starts no native programs; allow it with `.policy("/usr/bin/sed", Policy::Native)`."#);
    insta::assert_snapshot!(explain("git"), @r#"refused: `git`: denied by `policy = "deny"` in `tools/testbench.toml`, in the session `routing`"#);
    insta::assert_snapshot!(explain("make"), @"native");
    insta::assert_snapshot!(explain("python"), @"guest tools/python-3.12.wasm");
    insta::assert_snapshot!(explain("broken"), @r#"refused: `broken`: testbench.toml makes it an alias of `gone`, but there is no `gone.wasm` in tools/ (has: awk, box, cat, git, python-3.12, sed, snake). This session starts no native programs; allow it with `.policy("broken", Policy::Native)`."#);
    insta::assert_snapshot!(explained(tools.path(), &Command::new("awk")), @r"
    `awk`
      via: not set
      policy of the session for `awk`: not set
      policy of the toolchain's manifest: not set
      PATH of the child: not set, so the toolchain is asked
      tools/: `box.wasm`, a multicall module with that name
    => guest tools/box.wasm
    ");
    insta::assert_snapshot!(explained(tools.path(), &Command::new("broken")), @r#"
    `broken`
      via: not set
      policy of the session for `broken`: not set
      policy of the toolchain's manifest: not set
      PATH of the child: not set, so the toolchain is asked
      tools/: testbench.toml makes it an alias, but there is no `gone.wasm`
      policy for all that is not matched: NotFound
    => refused: `broken`: testbench.toml makes it an alias of `gone`, but there is no `gone.wasm` in tools/ (has: awk, box, cat, git, python-3.12, sed, snake). This session starts no native programs; allow it with `.policy("broken", Policy::Native)`.
    "#);
    insta::assert_snapshot!(explained(tools.path(), &Command::new("git")), @r#"
    `git`
      via: not set
      policy of the session for `git`: not set
      policy of the toolchain's manifest: Deny
    => refused: `git`: denied by `policy = "deny"` in `tools/testbench.toml`, in the session `routing`
    "#);
    insta::assert_snapshot!(explained(tools.path(), &Command::new("./cat")), @r#"
    `./cat`
      via: not set
      policy of the session for `./cat`: not set
      policy of the toolchain's manifest: not set
      toolchain: not asked, since this is a path
      policy for all that is not matched: NotFound
    => refused: `./cat`: a path is not looked up in the toolchain, other than one directly under `/bin` or `/opt/tools/bin`. This session starts no native programs; allow it with `.policy("./cat", Policy::Native)`.
    "#);
}

#[test]
fn the_session_outranks_the_manifest() {
    let tools = tools_and_manifest(&["git.wasm"], "[tools.git]\npolicy = \"deny\"");
    let bench = builder(tools.path()).policy("git", Policy::NotFound);
    let _session = bench.build().unwrap().enter();
    assert!(matches!(Command::new("git").route(), Route::Guest(_)));
}

#[test]
fn a_version_and_the_core_utilities_are_found_by_name() {
    let tools = tools_with(&[
        ("python-3.9.wasm", SOUND),
        ("python-3.12.wasm", SOUND),
        ("coreutils.wasm", SOUND),
        ("cat.wasm", SOUND),
    ]);
    let _session = builder(tools.path()).build().unwrap().enter();
    let explain = |program: &str| explain(tools.path(), &Command::new(program));
    insta::assert_snapshot!(explain("python"), @"guest tools/python-3.12.wasm");
    insta::assert_snapshot!(explain("python3"), @"guest tools/python-3.12.wasm");
    insta::assert_snapshot!(explain("python3.9"), @"guest tools/python-3.9.wasm");
    insta::assert_snapshot!(explain("/usr/bin/ls"), @"guest tools/coreutils.wasm");
    // An exact name comes first.
    insta::assert_snapshot!(explain("cat"), @"guest tools/cat.wasm");
    insta::assert_snapshot!(explain("awk"), @r#"refused: `awk`: no `awk.wasm` in tools/ (has: cat, coreutils, python-3.12, python-3.9). This session starts no native programs; allow it with `.policy("awk", Policy::Native)`."#);
}

#[test]
fn the_childs_path_decides_as_in_std() {
    let tools = tools();
    let session = builder(tools.path()).build().unwrap().enter();
    let explain = |command: &Command| explain(tools.path(), command);
    insta::assert_snapshot!(explain(Command::new("cat").env("PATH", "/usr/local/bin:/usr/bin")), @"guest tools/cat.wasm");
    insta::assert_snapshot!(explain(Command::new("cat").env("PATH", "/sbin:/nowhere")), @r#"refused: `cat`: the child's PATH is `/sbin:/nowhere`, with none of the directories for which the toolchain stands in (`/bin` or `/usr/bin`). This session starts no native programs; allow it with `.policy("cat", Policy::Native)`."#);
    insta::assert_snapshot!(explain(Command::new("cat").env("PATH", "")), @r#"refused: `cat`: the child's PATH is ``, with none of the directories for which the toolchain stands in (`/bin` or `/usr/bin`). This session starts no native programs; allow it with `.policy("cat", Policy::Native)`."#);
    // An absolute path needs none.
    insta::assert_snapshot!(explain(Command::new("/bin/cat").env("PATH", "")), @"guest tools/cat.wasm");
    insta::assert_snapshot!(explained(tools.path(), Command::new("cat").env("PATH", "/sbin")), @r#"
    `cat`
      via: not set
      policy of the session for `cat`: not set
      policy of the toolchain's manifest: not set
      PATH of the child: `/sbin`, so the toolchain is not asked
      policy for all that is not matched: NotFound
    => refused: `cat`: the child's PATH is `/sbin`, with none of the directories for which the toolchain stands in (`/bin` or `/usr/bin`). This session starts no native programs; allow it with `.policy("cat", Policy::Native)`.
    "#);
    drop(session);

    let _session = builder(tools.path()).env("PATH", "/sbin").build().unwrap().enter();
    assert!(matches!(Command::new("cat").route(), Route::Refuse(_)));
    assert!(matches!(Command::new("cat").env_remove("PATH").route(), Route::Guest(_)));
    assert!(matches!(Command::new("cat").env_clear().route(), Route::Guest(_)));
}

#[test]
fn without_a_tape_nothing_is_replayed() {
    let tools = tools();
    let bench = builder(tools.path()).policy("git", Policy::Replay(Default::default()));
    let _session = bench.build().unwrap().enter();
    insta::assert_snapshot!(explain(tools.path(), &Command::new("git")), @"refused: `git` is to be recorded or replayed, but the session `routing` has no tape; give it one with `.tape(path, mode)`");
}

#[test]
fn a_toolchain_with_a_wrong_manifest_cannot_be_built() {
    let tools = tools_and_manifest(&[], "[tool.git]");
    let error = builder(tools.path()).build().unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(tools.path().to_str().unwrap(), "tools"), @r"
    no toolchain: cannot understand `tools/testbench.toml`: TOML parse error at line 1, column 2
      |
    1 | [tool.git]
      |  ^^^^
    unknown field `tool`, expected `claims` or `tools`
    ");
}
