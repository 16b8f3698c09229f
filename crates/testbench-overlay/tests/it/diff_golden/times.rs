//! Times, which are in a diff on request only.

use std::time::Duration;

use insta::assert_snapshot;
use testbench_clock::MockClock;
use testbench_overlay::diff::{Change, Diff, DiffOptions, Document, Side};
use testbench_overlay::{Overlay, fs, install};

use crate::diff_golden::{file, render, renderings};

#[test]
fn as_they_are_given() {
    let at = |mtime_ns| Side { mtime_ns: Some(mtime_ns), ..Side::unread_file(0o644) };
    let new = Side { mtime_ns: Some(7), ..file(b"x\n") };
    assert_snapshot!(render([
        Change::changed("a", at(-5), at(1_000_000_000)),
        Change::added("b", new),
    ]), @r#"
    M a (mtime -5 -> 1000000000 ns)
    A b (mtime 7 ns)

    diff --git a/b b/b
    new file mode 100644
    --- /dev/null
    +++ b/b
    @@ -0,0 +1,1 @@
    +x
    ======== patch
    # meta file a mtime -5 -> 1000000000
    # add file b mtime 7
    diff --git a/b b/b
    new file mode 100644
    index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb
    --- /dev/null
    +++ b/b
    @@ -0,0 +1,1 @@
    +x
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"a","op":"meta","kind":"file","old":{"mode":"0644","mtime_ns":-5},"new":{"mode":"0644","mtime_ns":1000000000}},
    {"path":"b","op":"add","kind":"file","new":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac","mtime_ns":7},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+x"]}],"new_eol":true}}]}
    "#);
}

/// A second later something has been changed, in the second after that something made.
fn diff_of_an_overlay(options: &DiffOptions) -> Diff {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    for name in ["kept", "removed", "d/same", "d/modified"] {
        std::fs::write(at(name), "text\n").unwrap();
    }
    let clock = MockClock::builder().build();
    let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build().unwrap();
    let _installed = install(overlay.clone());
    clock.advance(Duration::from_secs(1)).unwrap();
    fs::write(at("d/same"), "text\n").unwrap();
    fs::write(at("d/modified"), "other\n").unwrap();
    fs::remove_file(at("removed")).unwrap();
    clock.advance(Duration::from_secs(1)).unwrap();
    fs::write(at("made"), "new\n").unwrap();
    fs::rename(at("kept"), at("moved")).unwrap();
    overlay.diff_with(options).unwrap()
}

#[test]
fn of_what_an_overlay_holds() {
    let diff = diff_of_an_overlay(&DiffOptions::new().times(true));
    assert_snapshot!(renderings(&diff), @r#"
    M . (mtime 0 -> 2000000000 ns)
    M d/modified (mtime 0 -> 1000000000 ns)
    M d/same (mtime 0 -> 1000000000 ns)
    A made (mtime 2000000000 ns)
    R kept -> moved
    D removed

    diff --git a/d/modified b/d/modified
    --- a/d/modified
    +++ b/d/modified
    @@ -1,1 +1,1 @@
    -text
    +other
    diff --git a/made b/made
    new file mode 100644
    --- /dev/null
    +++ b/made
    @@ -0,0 +1,1 @@
    +new
    diff --git a/removed b/removed
    deleted file mode 100644
    --- a/removed
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -text
    ======== patch
    # meta dir . mtime 0 -> 2000000000
    # modify file d/modified mtime 0 -> 1000000000
    diff --git a/d/modified b/d/modified
    index 8e27be7d6154a1f68ea9160ef0e18691d20560dc..e45c9c2666d44e0327c1f9c239a74c508336053e 100644
    --- a/d/modified
    +++ b/d/modified
    @@ -1,1 +1,1 @@
    -text
    +other
    # meta file d/same mtime 0 -> 1000000000
    # add file made mtime 2000000000
    diff --git a/made b/made
    new file mode 100644
    index 0000000000000000000000000000000000000000..3e757656cf36eca53338e520d134963a44f793f8
    --- /dev/null
    +++ b/made
    @@ -0,0 +1,1 @@
    +new
    diff --git a/kept b/moved
    similarity index 100%
    rename from kept
    rename to moved
    # delete file removed mtime 0
    diff --git a/removed b/removed
    deleted file mode 100644
    index 8e27be7d6154a1f68ea9160ef0e18691d20560dc..0000000000000000000000000000000000000000
    --- a/removed
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -text
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":".","op":"meta","kind":"dir","old":{"mode":"0755","mtime_ns":0},"new":{"mode":"0755","mtime_ns":2000000000}},
    {"path":"d/modified","op":"modify","kind":"file","old":{"mode":"0644","size":5,"sha256":"b9e68e1bea3e5b19ca6b2f98b73a54b73daafaa250484902e09982e07a12e733","mtime_ns":0},"new":{"mode":"0644","size":6,"sha256":"7e4fa2eb8c7ac089739d5defc4489fad68a100d92082ca35c6b40a4524821f87","mtime_ns":1000000000},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":1,"new_lines":1,"lines":["-text","+other"]}],"old_eol":true,"new_eol":true}},
    {"path":"d/same","op":"meta","kind":"file","old":{"mode":"0644","mtime_ns":0},"new":{"mode":"0644","mtime_ns":1000000000}},
    {"path":"made","op":"add","kind":"file","new":{"mode":"0644","size":4,"sha256":"7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c","mtime_ns":2000000000},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+new"]}],"new_eol":true}},
    {"path":"moved","op":"rename","from":"kept","kind":"file"},
    {"path":"removed","op":"delete","kind":"file","old":{"mode":"0644","size":5,"sha256":"b9e68e1bea3e5b19ca6b2f98b73a54b73daafaa250484902e09982e07a12e733","mtime_ns":0},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":0,"new_lines":0,"lines":["-text"]}],"old_eol":true}}]}
    "#);
    assert_eq!(Document::from_json(&diff.to_json()).unwrap(), diff.document());
    assert_eq!(diff, diff_of_an_overlay(&DiffOptions::new().times(true)), "in every run");
}

#[test]
fn are_left_out_otherwise() {
    let diff = diff_of_an_overlay(&DiffOptions::new());
    assert_eq!(diff.summary(), "M d/modified\nA made\nR kept -> moved\nD removed\n");
    assert!(!renderings(&diff).contains("mtime"));
}
