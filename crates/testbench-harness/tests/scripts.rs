//! Every script in `tests/scripts` is a test of its own. So that the runner itself is tested, this
//! program also starts itself on scripts that must fail.

use std::env;
use std::process::{Command, ExitCode, Output};

use testbench_harness::vm::scripts;
use testbench_harness::vm::scripts::libtest_mimic::{self, Arguments, Failed, Trial};

/// Makes this program run the scripts of another directory, and nothing else.
const OTHER_DIR: &str = "TESTBENCH_TEST_SCRIPTS";

#[expect(clippy::disallowed_methods, reason = "the test below passes a directory to its child")]
fn main() -> ExitCode {
    if let Some(dir) = env::var_os(OTHER_DIR) {
        return scripts::main(dir);
    }
    let arguments = Arguments::from_args();
    let Ok(mut tests) = scripts::tests("tests/scripts") else { return ExitCode::FAILURE };
    tests.extend([
        Trial::test("runner: a failing script fails the run", a_failing_script_fails_the_run),
        Trial::test("runner: no scripts are no success", no_scripts_are_no_success),
        Trial::test("runner: scripts are listed for nextest", scripts_are_listed),
    ]);
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn a_failing_script_fails_the_run() -> Result<(), Failed> {
    let output = run_self("tests/scripts_failing", &["assert_eq"])?;
    expect(&output, !output.status.success(), "it should fail")?;
    for place in ["scripts_failing/assert_eq.rhai:2: ", "scripts_failing/assert_eq.lua:2: "] {
        expect(&output, stdout(&output).contains(place), place)?;
    }
    expect(&output, stdout(&output).contains("2 failed"), "two tests should fail")?;
    let output = run_self("tests/scripts_failing", &["snapshot"])?;
    let place = "scripts_failing/snapshot.lua:2: the snapshot `text` differs";
    expect(&output, stdout(&output).contains(place), place)?;
    let difference = "+what the snapshot does not say";
    expect(&output, stdout(&output).contains(difference), difference)
}

fn no_scripts_are_no_success() -> Result<(), Failed> {
    let empty = tempfile::tempdir()?;
    let dir = empty.path().to_str().ok_or("a path that is not UTF-8")?;
    for arguments in [&[][..], &["--list"]] {
        let output = run_self(dir, arguments)?;
        expect(&output, !output.status.success(), "it should fail")?;
        let said = String::from_utf8_lossy(&output.stderr).contains("no scripts in");
        expect(&output, said, "it should say why")?;
    }
    Ok(())
}

fn scripts_are_listed() -> Result<(), Failed> {
    let output = run_self("tests/scripts", &["--list", "--format", "terse"])?;
    expect(&output, output.status.success(), "it should succeed")?;
    for line in ["toolchain.rhai: test", "toolchain.lua: test"] {
        expect(&output, stdout(&output).lines().any(|listed| listed == line), line)?;
    }
    Ok(())
}

fn run_self(dir: &str, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env::current_exe()?)
        .args(arguments)
        .env(OTHER_DIR, dir)
        // A script that must fail writes no snapshots.
        .env("INSTA_UPDATE", "no")
        .env("INSTA_FORCE_PASS", "0")
        .output()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn expect(output: &Output, holds: bool, what: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("{what}: {output:#?}").into()) }
}
