//! Guests work on the overlay, under the names that the host has for its files.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::common::{bench, dir_with, text, tree};
use testbench_clock::{Clock, SystemClock};
use testbench_harness::{Command, Session, assert_overlay_snapshot};

/// The session has added one file of two lines, and nothing else.
fn check_only_addition(session: &Session, name: &str) {
    let shown = session.diff().unwrap().to_string().replace(name, "NAME");
    insta::allow_duplicates! {
        insta::assert_snapshot!(shown, @r"
        A NAME

        diff --git a/NAME b/NAME
        new file mode 100644
        --- /dev/null
        +++ b/NAME
        @@ -0,0 +1,2 @@
        +one
        +two
        ");
    }
}

/// Reads `in.txt`, sleeps five seconds and writes `out.txt`, with the two named as `name` says.
#[track_caller]
fn check_slow_copy(current_dir: Option<&str>, name: impl Fn(&Path, &str) -> OsString) {
    let dir = dir_with(&[("in.txt", "one\ntwo\n"), ("sub/", "")]);
    // Compiled before the time is taken.
    let warm = bench(dir.path()).build().unwrap().enter();
    Command::new("slowcp").output().unwrap();
    drop(warm);
    let real = SystemClock::new("test");
    let began = real.mono();
    let before = tree(dir.path());

    let session = bench(dir.path()).build().unwrap().enter();
    let mut command = Command::new("slowcp");
    command.arg("5s").args([name(dir.path(), "in.txt"), name(dir.path(), "out.txt")]);
    if let Some(sub) = current_dir {
        command.current_dir(dir.path().join(sub));
    }
    let run = command.run().unwrap();
    assert_eq!(text(&run.stderr), "");
    assert!(run.exit.status().success());
    assert_eq!(run.virtual_time.as_nanos(), 5_000_000_000);
    check_only_addition(&session, "out.txt");
    let report = session.finish().unwrap();
    assert_eq!(report.virtual_time, Duration::from_secs(5));
    assert_eq!(report.diff.entries().len(), 1);

    assert_eq!(tree(dir.path()), before);
    assert!(real.mono().duration_since(began) < Duration::from_secs(1));
}

#[test]
fn by_absolute_host_path() {
    check_slow_copy(None, |root, name| root.join(name).into());
}

#[test]
fn by_relative_path() {
    check_slow_copy(None, |_, name| name.into());
}

#[test]
fn from_current_dir() {
    check_slow_copy(Some("sub"), |_, name| format!("../{name}").into());
}

#[test]
fn a_second_spawn_reads_renames_and_deletes_what_the_first_wrote() {
    let dir = dir_with(&[("in.txt", "one\ntwo\n")]);
    let before = tree(dir.path());
    let session = bench(dir.path()).build().unwrap().enter();
    let run = |line: &str| {
        let mut words = line.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };

    run("cp in.txt new.txt");
    assert_eq!(run("cat new.txt"), "one\ntwo\n");
    run("mv new.txt moved.txt");
    assert_eq!(run("ls"), "in.txt\nmoved.txt\n");
    check_only_addition(&session, "moved.txt");
    run("rm moved.txt");
    assert_eq!(run("ls"), "in.txt\n");

    assert_overlay_snapshot!(session, @"(no changes; code that calls std::fs directly bypasses the overlay: see capture)");
    assert!(session.finish().unwrap().diff.is_empty());
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_guest_sees_what_the_test_wrote_and_the_test_what_the_guest_wrote() {
    let dir = dir_with(&[("in.txt", "from disk\n")]);
    let _session = bench(dir.path()).build().unwrap().enter();
    testbench_overlay::fs::write(dir.path().join("note.txt"), "from the test\n").unwrap();
    let output = Command::new("cat").args(["note.txt", "in.txt"]).output().unwrap();
    assert_eq!(text(&output.stdout), "from the test\nfrom disk\n");
    Command::new("tee").arg("reply.txt").stdin_bytes("from the guest\n").output().unwrap();
    let reply = testbench_overlay::fs::read_to_string(dir.path().join("reply.txt")).unwrap();
    assert_eq!(reply, "from the guest\n");
    assert!(!dir.path().join("note.txt").exists());
}

#[test]
fn overlay_at_shows_the_root_elsewhere_and_translates_host_paths() {
    let dir = dir_with(&[("sub/in.txt", "here\n")]);
    let _session = testbench_harness::Testbench::builder()
        .overlay_at(dir.path(), "/")
        .toolchain(testbench_harness::Toolchain::builtin())
        .build()
        .unwrap()
        .enter();
    let cat = |command: &mut Command| text(&command.output().unwrap().stdout).to_owned();
    assert_eq!(cat(Command::new("cat").arg("/sub/in.txt")), "here\n");
    assert_eq!(cat(Command::new("cat").arg("in.txt").current_dir("/sub")), "here\n");
    assert_eq!(cat(Command::new("cat").arg("in.txt").current_dir("sub")), "here\n");
    let host = dir.path().join("sub");
    assert_eq!(cat(Command::new("cat").arg("in.txt").current_dir(host)), "here\n");
    assert!(cat(Command::new("env").current_dir("/sub")).contains("PWD=/sub\n"));
}

#[test]
fn a_root_behind_a_symlink_has_both_names() {
    let real = dir_with(&[("in.txt", "here\n")]);
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("link");
    std::os::unix::fs::symlink(real.path(), &link).unwrap();
    let _session = bench(&link).build().unwrap().enter();
    let canonical = real.path().canonicalize().unwrap();
    for name in [link.join("in.txt"), canonical.join("in.txt")] {
        let output = Command::new("cat").arg(&name).output().unwrap();
        assert_eq!(text(&output.stdout), "here\n", "{}", name.display());
    }
}

#[test]
fn passthrough_shows_a_real_directory_read_only() {
    let root = dir_with(&[]);
    let shown = dir_with(&[("data.txt", "shared\n")]);
    let before = tree(shown.path());
    let _session = bench(root.path()).passthrough(shown.path()).build().unwrap().enter();
    let data = shown.path().join("data.txt");
    let output = Command::new("cp").arg(&data).arg("copy.txt").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = Command::new("rm").arg(&data).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Read-only file system"), "{}", text(&output.stderr));
    assert_eq!(tree(shown.path()), before);
}

#[test]
fn current_dir_outside_missing_or_a_file_is_an_error_before_the_start() {
    let dir = dir_with(&[("file", ""), ("sub/", "")]);
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link-out")).unwrap();
    let session = bench(dir.path()).build().unwrap().enter();
    let start = |current_dir: &Path| {
        let error = Command::new("ls").current_dir(current_dir).output().unwrap_err();
        let text = error.to_string();
        let text = text.replace(dir.path().to_str().unwrap(), "[root]");
        format!("{:?}: {}", error.kind(), text.replace(outside.path().to_str().unwrap(), "[out]"))
    };
    insta::assert_snapshot!(start(outside.path()), @"PermissionDenied: `ls` was not started: its current_dir `[out]` is outside of the overlay's root `[root]`; a path outside is never looked up on the disk (show a directory read-only with `.passthrough(dir)`)");
    insta::assert_snapshot!(start(Path::new("missing")), @"NotFound: `ls` was not started: its current_dir `missing` cannot be entered: no such file or directory (ENOENT)");
    insta::assert_snapshot!(start(Path::new("file")), @"NotADirectory: `ls` was not started: its current_dir `file` cannot be entered: not a directory (ENOTDIR)");
    insta::assert_snapshot!(start(Path::new("link-out")), @"PermissionDenied: `ls` was not started: its current_dir `link-out` cannot be entered: path leads outside of what may be reached (ENOTCAPABLE)");
    insta::assert_snapshot!(start(Path::new("..")), @"PermissionDenied: `ls` was not started: its current_dir `..` cannot be entered: path leads outside of what may be reached (ENOTCAPABLE)");
    assert!(session.spawns().iter().all(|spawn| spawn.status.is_none()));
    // The control: the same call on a directory inside starts.
    Command::new("ls").current_dir("sub").output().unwrap();
    assert!(session.spawns().last().unwrap().status.unwrap().success());
}
