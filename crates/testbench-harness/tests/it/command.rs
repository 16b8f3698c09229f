//! `Command` says and takes what `std::process::Command` does.
#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process;

use crate::common::{text, tools_with};
use testbench_harness::{Command, Testbench, Toolchain, intercept_spawn};

#[test]
fn getters_and_debug_are_those_of_std() {
    let mut ours = Command::new("tool");
    ours.arg("a").args(["b c", "d"]).env("K", "v").env_remove("GONE").current_dir("/dir");
    let mut std = process::Command::new("tool");
    std.arg("a").args(["b c", "d"]).env("K", "v").env_remove("GONE").current_dir("/dir");

    assert_eq!(ours.get_program(), std.get_program());
    assert!(ours.get_args().eq(std.get_args()));
    assert!(ours.get_envs().eq(std.get_envs()));
    assert_eq!(ours.get_current_dir(), Some(Path::new("/dir")));
    assert_eq!(format!("{ours:?}"), format!("{std:?}"));
    assert_eq!(format!("{:?}", ours.env_clear()), format!("{:?}", std.env_clear()));
    assert_eq!(ours.get_envs().len(), 0);
    assert_eq!(ours.get_arg0(), OsStr::new("tool"));
    assert_eq!(ours.arg0("other").get_arg0(), OsStr::new("other"));
}

/// Each line is a command; both sides run it natively and must say the same.
#[test]
fn without_a_session_it_is_std() {
    let dir = tempfile::tempdir().unwrap();
    for script in
        ["echo out; echo err >&2; exit 3", "pwd", "echo $K:$HOME", "cat", "kill -9 $$", "exit 256"]
    {
        let mut ours = Command::new("sh");
        ours.args(["-c", script]).env("K", "v").env_remove("HOME").current_dir(dir.path());
        let mut std = process::Command::new("sh");
        std.args(["-c", script]).env("K", "v").env_remove("HOME").current_dir(dir.path());
        assert_eq!(ours.output().unwrap(), std.output().unwrap(), "{script}");
    }
    let ours = Command::new("no-such-program").output().unwrap_err();
    let std = process::Command::new("no-such-program").output().unwrap_err();
    assert_eq!((ours.kind(), ours.raw_os_error()), (std.kind(), std.raw_os_error()));
    let ours = Command::new("sh").current_dir("/no/such/dir").status().unwrap_err();
    assert_eq!(ours.kind(), ErrorKind::NotFound);
    assert!(
        Command::new("sh").arg("a\0b").output().is_err_and(|e| e.kind() == ErrorKind::InvalidInput)
    );
}

#[test]
fn without_a_session_bytes_reach_stdin_however_many() {
    let long = vec![b'x'; 1 << 20];
    let output = Command::new("cat").stdin_bytes(long.clone()).output().unwrap();
    assert_eq!(output.stdout, long);
    // Not reading it is no error.
    let output = Command::new("true").stdin_bytes(long).output().unwrap();
    assert!(output.status.success());
    let status =
        Command::new("sh").args(["-c", "read x; exit $x"]).stdin_bytes("7\n").status().unwrap();
    assert_eq!(status.code(), Some(7));
    let output = Command::new("sh").args(["-c", "echo $0"]).arg0("named").output().unwrap();
    assert_eq!(text(&output.stdout), "named\n");
}

#[test]
fn arguments_need_not_be_utf8() {
    let _session = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    let odd = OsString::from_vec(b"\xff\xfe \n".to_vec());
    let output = Command::new("echo").arg("-n").arg(&odd).output().unwrap();
    assert_eq!(output.stdout, odd.as_bytes());
    let output = Command::new("env").env("ODD", &odd).output().unwrap();
    assert!(output.stdout.starts_with(b"ODD=\xff\xfe \n\n"));
}

#[test]
fn program_names_need_not_be_utf8() {
    let tools = tools_with(&[]);
    let name = OsStr::from_bytes(b"t\xff");
    let wasm = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    std::fs::write(tools.path().join(OsStr::from_bytes(b"t\xff.wasm")), wasm.unwrap()).unwrap();
    let _session = Testbench::builder().toolchain(tools.path()).build().unwrap().enter();
    assert!(Command::new(name).status().unwrap().success());
    assert_eq!(
        Command::new(OsStr::from_bytes(b"u\xff")).status().unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn arg0_is_what_the_guest_sees_as_its_name() {
    let _session = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    let first = |command: &mut Command| {
        let output = command.output().unwrap();
        let line = text(&output.stdout).lines().find(|line| line.starts_with("arg 0 "));
        line.unwrap().to_owned()
    };
    assert_eq!(first(&mut Command::new("fingerprint")), "arg 0 fingerprint");
    assert_eq!(first(&mut Command::new("/usr/bin/fingerprint")), "arg 0 /usr/bin/fingerprint");
    assert_eq!(first(Command::new("fingerprint").arg0("x")), "arg 0 x");
}

/// What cannot be passed to a program is `InvalidInput`, in a session and without one.
#[test]
fn what_cannot_be_passed_on_is_invalid_input() {
    let check = || {
        for command in [
            Command::new("echo").arg("a\0b"),
            Command::new("ec\0ho").arg("a"),
            Command::new("echo").arg0("a\0b"),
            Command::new("echo").env("a\0b", "v"),
            Command::new("echo").env("a", "v\0"),
            Command::new("echo").current_dir("a\0b"),
        ] {
            let error = command.output().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{command:?}: {error}");
        }
    };
    check();
    let _session = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    check();
    insta::assert_snapshot!(Command::new("echo").arg("a\0b").output().unwrap_err(), @"`echo` was not started: its argument 1 contains a NUL byte");
    insta::assert_snapshot!(Command::new("echo").env("a=b", "c").output().unwrap_err(), @r#"`echo` could not be started: environment variable "a=b" of `echo` has a `=` in its name"#);
}

#[test]
fn a_command_can_be_run_again() {
    let _session = Testbench::builder().toolchain(Toolchain::builtin()).build().unwrap().enter();
    let mut cat = Command::new("cat");
    cat.stdin_bytes("again\n");
    for _ in 0..2 {
        assert_eq!(text(&cat.output().unwrap().stdout), "again\n");
    }
}

#[test]
fn intercept_spawn_leaves_alone_what_is_not_the_sessions() {
    let run = |program: &str, args: &[&str]| intercept_spawn(program, args, None);
    assert!(run("echo", &["a"]).is_none());
    let dir = crate::common::dir_with(&[("sub/file", "here\n")]);
    let bench = crate::common::bench(dir.path()).env("K", "v");
    let session = bench.build().unwrap().enter();
    assert_eq!(text(&run("echo", &["a", "b"]).unwrap().unwrap().stdout), "a b\n");
    assert!(text(&run("env", &[]).unwrap().unwrap().stdout).contains("K=v\n"));
    assert_eq!(text(&run("cat", &[]).unwrap().unwrap().stdout), "");
    assert_eq!(run("git", &[]).unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    let sub = dir.path().join("sub");
    let output = intercept_spawn("cat", ["file"], Some(&sub)).unwrap().unwrap();
    assert_eq!(text(&output.stdout), "here\n");
    assert_eq!(session.finish().unwrap().spawns.len(), 5);

    let bench = Testbench::builder().policy("git", testbench_harness::Policy::Native);
    let _session = bench.build().unwrap().enter();
    assert!(run("git", &[]).is_none());
}
