//! What a script that fails says: its own file and line, what was expected, and what was there.

use insta::assert_snapshot;
use testbench_harness::vm::scripts;

fn failure(script: &str) -> String {
    let failure = scripts::run_file(format!("tests/scripts_failing/{script}"))
        .expect_err("a script that must fail");
    failure.to_string()
}

#[test]
fn an_assertion() {
    assert_snapshot!(failure("assert_eq.rhai"), @r##"
    tests/scripts_failing/assert_eq.rhai:2: assert_eq failed
    expected: #{"answer": 42}
      actual: #{"answer": 41}
    "##);
    assert_snapshot!(failure("assert_eq.lua"), @r##"
    tests/scripts_failing/assert_eq.lua:2: assert_eq failed
    expected: { ["answer"] = 42 }
      actual: { ["answer"] = 41, ["extra"] = "x" }
    "##);
}

#[test]
fn a_spawn_error_that_nobody_caught() {
    assert_snapshot!(failure("spawn.rhai"), @r##"tests/scripts_failing/spawn.rhai:3: `no-such-tool`: the session has no toolchain (set one with `.toolchain(dir)`, or `.toolchain(Toolchain::builtin())` for the tools that come with testbench). This session starts no native programs; allow it with `.policy("no-such-tool", Policy::Native)`."##);
    assert_snapshot!(failure("spawn.lua"), @r##"tests/scripts_failing/spawn.lua:4: `no-such-tool`: the session has no toolchain (set one with `.toolchain(dir)`, or `.toolchain(Toolchain::builtin())` for the tools that come with testbench). This session starts no native programs; allow it with `.policy("no-such-tool", Policy::Native)`."##);
}

#[test]
fn a_syntax_error() {
    assert_snapshot!(failure("syntax.rhai"), @"tests/scripts_failing/syntax.rhai:2: Syntax error: Unexpected ';'");
    assert_snapshot!(failure("syntax.lua"), @"tests/scripts_failing/syntax.lua:2: unexpected symbol near '='");
}

#[test]
fn a_file_that_is_no_script() {
    assert_snapshot!(failure("no-such.rhai"), @"tests/scripts_failing/no-such.rhai: No such file or directory (os error 2)");
    assert_snapshot!(failure("no-such.txt"), @"tests/scripts_failing/no-such.txt: its name ends neither in .rhai nor in .lua");
}
