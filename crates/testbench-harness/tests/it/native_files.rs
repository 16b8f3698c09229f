//! Native programs over an overlay: they run in a copy, and what they change comes back.
#![cfg(unix)]

use std::fs as real;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use crate::common::{dir_with, text, tree};
use testbench_harness::{
    Command, Exit, Limit, NativeFiles, Policy, Session, SpawnError, Stdio, Testbench, Toolchain,
};
use testbench_overlay::fs;

fn session(root: &Path) -> Session {
    let bench = Testbench::builder().overlay(root).toolchain(Toolchain::builtin());
    bench.policy("sh", Policy::Native).native_files(NativeFiles::Copy).build().unwrap().enter()
}

fn sh(script: impl AsRef<str>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script.as_ref()]);
    command
}

#[test]
fn it_sees_the_session_s_files_and_its_changes_come_back() {
    let dir = dir_with(&[("in.txt", "lower\n"), ("old/x", "x"), ("keep", "k")]);
    let before = tree(dir.path());
    let session = session(dir.path());
    fs::write(dir.path().join("made.txt"), "by the host\n").unwrap();
    Command::new("tee").arg("guest.txt").stdin_bytes("by a guest\n").output().unwrap();
    let output = sh("cat in.txt made.txt guest.txt; rm -r old; echo more >> in.txt; mkdir new; \
                     mv guest.txt new/; ln -s new link; chmod 600 keep")
    .output()
    .unwrap();
    assert_eq!(text(&output.stdout), "lower\nby the host\nby a guest\n");
    assert_eq!(text(&output.stderr), "");
    // A guest after it, and the host, see what it did.
    let output = Command::new("cat").args(["in.txt", "link/guest.txt"]).output().unwrap();
    assert_eq!(text(&output.stdout), "lower\nmore\nby a guest\n");
    let summary = session.finish().unwrap().diff.summary();
    insta::assert_snapshot!(summary, @r"
    M in.txt
    M keep (mode 0644 -> 0600)
    A link (symlink)
    A made.txt
    A new/
    A new/guest.txt
    D old/
    D old/x
    ");
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn host_and_child_name_a_file_alike() {
    let dir = dir_with(&[("in.txt", "here\n"), ("sub/y", "")]);
    let root = dir.path().to_str().unwrap();
    let session = session(dir.path());
    let output = sh("cat \"$1\" && echo \"$OUT\" >$OUT && test \"$PWD\" = \"$(pwd)\" && pwd")
        .arg("sh")
        .arg(dir.path().join("in.txt"))
        .env("OUT", format!("{root}/sub/out"))
        .current_dir(dir.path().join("sub"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (first, pwd) = text(&output.stdout).split_once('\n').unwrap();
    assert_eq!(first, "here");
    assert!(!pwd.starts_with(root) && pwd.trim_end().ends_with("/sub"), "{pwd}");
    // The copy is gone.
    assert!(!Path::new(pwd.trim_end()).exists());
    assert_eq!(session.finish().unwrap().diff.summary(), "A sub/out\n");
    assert!(!dir.path().join("sub/out").exists());
}

#[test]
fn a_program_of_the_overlay_itself_can_be_run() {
    let dir = dir_with(&[]);
    let script = dir.path().join("tool");
    let bench = Testbench::builder().overlay(dir.path()).toolchain(Toolchain::builtin());
    let bench = bench.unmatched(Policy::Native).native_files(NativeFiles::Copy);
    let _session = bench.build().unwrap().enter();
    fs::write(&script, "#!/bin/sh\necho it ran\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(text(&Command::new(&script).output().unwrap().stdout), "it ran\n");
    assert_eq!(text(&Command::new("./tool").output().unwrap().stdout), "it ran\n");
    assert!(!script.exists());
}

#[test]
fn a_directory_outside_is_refused() {
    let (dir, other) = (dir_with(&[]), dir_with(&[("x", "")]));
    let bench = Testbench::builder().overlay(dir.path()).passthrough(other.path());
    let bench = bench.unmatched(Policy::Native).native_files(NativeFiles::Copy);
    let _session = bench.build().unwrap().enter();
    for outside in [other.path(), Path::new("/")] {
        let error = sh("touch made").current_dir(outside).output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(matches!(SpawnError::of(&error), Some(SpawnError::CurrentDir { .. })), "{error}");
    }
    assert_eq!(real::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn its_files_come_when_its_time_has_passed() {
    let dir = dir_with(&[]);
    let session = session(dir.path());
    let mut child = sh("echo x > made; sleep 0.05").stdin(Stdio::piped()).spawn().unwrap();
    assert!(!fs::exists(dir.path().join("made")).unwrap());
    assert!(child.wait().unwrap().success());
    assert!(fs::exists(dir.path().join("made")).unwrap());
    let report = session.finish().unwrap();
    assert_eq!(report.spawns[0].real_time, Some(report.virtual_time));
    assert!(report.virtual_time >= Duration::from_millis(50));
    assert!(!report.is_reproducible());
}

#[test]
fn the_end_of_the_session_ends_it_before_the_overlay_goes() {
    let dir = dir_with(&[]);
    let session = session(dir.path());
    let mut child =
        sh("echo x > made; echo ready; exec sleep 3600").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    let report = session.finish().unwrap();
    assert_eq!(report.diff.summary(), "A made\n");
    assert_eq!(report.spawns[0].status.unwrap().signal(), Some(9));
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_timeout_and_the_watchdog_are_real_time_for_it() {
    let dir = dir_with(&[]);
    let bench = Testbench::builder().overlay(dir.path()).watchdog(Duration::from_millis(80));
    let bench = bench.policy("sh", Policy::Native).native_files(NativeFiles::Copy);
    let _session = bench.build().unwrap().enter();
    let run = sh("exec sleep 3600").timeout(Duration::from_millis(30)).run().unwrap();
    assert_eq!(run.exit.status().signal(), Some(9));
    assert!(matches!(run.exit, Exit::Limit(Limit::VirtualDeadline { .. })), "{:?}", run.exit);
    let run = sh("exec sleep 3600").run().unwrap();
    assert!(matches!(run.exit, Exit::Limit(Limit::Watchdog { .. })), "{:?}", run.exit);
    // One that ends in time tells nothing of it.
    let run = sh("kill -9 $$").run().unwrap();
    assert_eq!(run.exit.signal(), Some(9));
}

#[test]
fn files_of_the_overlay_are_its_streams() {
    let dir = dir_with(&[("in.txt", "b\na\n")]);
    let session = session(dir.path());
    let (input, output) = (dir.path().join("in.txt"), dir.path().join("out.txt"));
    for command in [&mut sh("sort"), &mut Command::new("sort")] {
        let status = command
            .stdin(fs::File::open(&input).unwrap())
            .stdout(fs::File::create(&output).unwrap())
            .status();
        assert!(status.unwrap().success());
        assert_eq!(fs::read_to_string(&output).unwrap(), "a\nb\n");
        fs::File::options().append(true).open(&input).unwrap().write_all(b"").unwrap();
    }
    assert_eq!(session.finish().unwrap().diff.summary(), "A out.txt\n");
}
