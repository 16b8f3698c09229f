//! How a guest ended, in the terms of the standard library.
#![cfg(unix)]

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::common::text;
use testbench_harness::{Command, Session, Stdio, Testbench, Toolchain, assert_run_snapshot};
use testbench_wasi::{Exit, Limit, Limits};

fn session() -> Session {
    Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter()
}

#[test]
fn an_exit_code_is_kept_modulo_256_and_whole_in_the_exit() {
    let _session = session();
    for code in [0_u32, 1, 42, 255, 256, 263] {
        let run = Command::new("exit42").arg(code.to_string()).run().unwrap();
        assert_eq!(run.exit.status().code(), Some((code & 0xff) as i32));
        assert_eq!(run.exit.status().success(), code & 0xff == 0);
        assert!(matches!(run.exit, Exit::Code(whole) if whole == code));
    }
    assert_eq!(Command::new("exit42").status().unwrap().code(), Some(42));
}

#[test]
fn a_trap_is_sigabrt_with_the_output_before_it_kept() {
    let _session = session();
    let run = Command::new("trap").arg("divide").run().unwrap();
    assert_eq!((run.exit.status().code(), run.exit.status().signal()), (None, Some(6)));
    assert_eq!(text(&run.stdout), "trap: about to: divide\n");
    let Exit::Trap(trap) = run.exit else { panic!("{:?}", run.exit) };
    assert_eq!(trap.kind, testbench_wasi::TrapKind::DivisionByZero);
    assert!(trap.backtrace.iter().any(|frame| frame.function == "divide_by_zero"), "{trap}");
}

#[test]
fn limits_are_sigkill() {
    let _session = session();
    let fuel = Limits { fuel: Some(10_000), ..Limits::default() };
    let run = Command::new("seq").arg("1000000").limits(fuel).run().unwrap();
    assert_eq!(run.exit.status().signal(), Some(9));
    assert!(matches!(run.exit, Exit::Limit(Limit::Fuel { units: 10_000 })), "{:?}", run.exit);

    let deadline = Duration::from_secs(60);
    let late = Limits { virtual_deadline: Some(deadline), ..Limits::default() };
    let run = Command::new("sleep").arg("1h").limits(late).run().unwrap();
    assert_eq!(run.exit.status().signal(), Some(9));
    assert_eq!(run.virtual_time, deadline);

    let output = Limits { output_bytes_max: 1000, ..Limits::default() };
    let run = Command::new("hog").args(["output", "10"]).limits(output).run().unwrap();
    assert_eq!(run.exit.status().signal(), Some(9));
    assert_eq!(run.stdout.len(), 1000);
}

#[test]
fn a_memory_limit_is_the_guests_to_handle() {
    let _session = session();
    let small = Limits { memory_bytes_max: 8 << 20, ..Limits::default() };
    let run = Command::new("hog").args(["memory", "100"]).limits(small).run().unwrap();
    assert_eq!(run.exit.status().code(), Some(1));
    assert!(text(&run.stderr).contains("MiB"), "{}", text(&run.stderr));
}

#[test]
fn status_inherits_or_discards_the_output() {
    let _session = session();
    let status = Command::new("echo").arg("seen only with --nocapture").status().unwrap();
    assert!(status.success());
    let mut null = Command::new("echo");
    null.arg("never seen").stdout(Stdio::null()).stderr(Stdio::null());
    assert!(null.status().unwrap().success());
    assert!(null.output().unwrap().stdout.is_empty());
    assert!(Command::new("echo").stdout(Stdio::piped()).status().unwrap().success());
}

#[test]
fn a_run_is_shown_with_its_exit_time_and_output() {
    let _session = session();
    assert_run_snapshot!(Command::new("sort").stdin_bytes("b\na\n"), @r"
    exit: 0
    ----- stdout -----
    a
    b
    ");
    assert_run_snapshot!(Command::new("sleep").arg("1.5"), @r"
    exit: 0
    virtual time: 1.5s
    ");
    assert_run_snapshot!(Command::new("cat").arg("missing"), @r"
    exit: 1
    ----- stderr -----
    cat: missing: Capabilities insufficient
    ");
    assert_run_snapshot!(Command::new("cat").stdin_bytes(b"\xff\xfe"), @r"
    exit: 0
    ----- stdout -----
    (2 bytes, sha256 b3d510ef04275ca8e698e5b3cbb0ece3949ef9252f0cdc839e9ee347409a2209)
    ");
    assert_run_snapshot!(Command::new("trap").arg("divide"), @r"
    exit: trap: integer division by zero
        at divide_by_zero
        at main
        at __main_void
        at __original_main
        at _start
        at _start.command_export
    ----- stdout -----
    trap: about to: divide
    ");
    // The list of tools grows.
    let filters = [(r"\(has: [^)]*\)", "(has: …)")];
    insta::with_settings!({ filters => filters }, {
        assert_run_snapshot!(Command::new("missing"), @r#"not started (NotFound): `missing`: no `missing.wasm` in the built-in tools (has: …). This session starts no native programs; allow it with `.policy("missing", Policy::Native)`."#);
    });
}
