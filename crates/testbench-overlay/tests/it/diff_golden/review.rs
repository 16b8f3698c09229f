//! What a person reviews: size caps and redactions.

use insta::assert_snapshot;
use testbench_overlay::diff::{Change, Diff, Document, Redactions, Side, SnapshotOptions};

use crate::diff_golden::file;

#[test]
fn insta_takes_it_as_json_too() {
    let diff = Diff::from_changes([Change::added("a", Side::symlink(*b"b"))]);
    insta::assert_json_snapshot!(diff, @r#"
    {
      "format": "testbench-overlay-diff",
      "version": 1,
      "entries": [
        {
          "path": "a",
          "op": "add",
          "kind": "symlink",
          "new": {
            "target": "b"
          }
        }
      ]
    }
    "#);
}

#[test]
fn long_texts_show_sizes_and_hashes() {
    let long = |line: &str| file(line.repeat(100).as_bytes());
    let diff = Diff::from_changes([
        Change::changed("a", long("old "), long("new ")),
        Change::added("b", long("x")),
        Change::added("c", file(b"short\n")),
    ]);
    let options = SnapshotOptions::new().max_file_bytes(500);
    assert_snapshot!(diff.snapshot(&options), @r#"
    M a
    A b
    A c

    diff --git a/a b/a
    -text, 400 bytes, sha256 257f0b8bd8485073222c7aaf5a86614e78c3d053c177ff5c4b12d7a13aadfffa
    +text, 400 bytes, sha256 48a306ad55dcd83df5af757e02981f19b4967e81d327d36e01e6935a951192e1
    diff --git a/b b/b
    new file mode 100644
    --- /dev/null
    +++ b/b
    @@ -0,0 +1,1 @@
    +xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
    \ No newline at end of file
    diff --git a/c b/c
    new file mode 100644
    --- /dev/null
    +++ b/c
    @@ -0,0 +1,1 @@
    +short
    "#);
    let options = SnapshotOptions::new().max_total_bytes(1000);
    assert_snapshot!(diff.snapshot(&options), @r#"
    M a
    A b
    A c

    diff --git a/a b/a
    --- a/a
    +++ b/a
    @@ -1,1 +1,1 @@
    -old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old old 
    \ No newline at end of file
    +new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new new 
    \ No newline at end of file
    diff --git a/b b/b
    new file mode 100644
    +text, 100 bytes, sha256 09ecb6ebc8bcefc733f6f2ec44f791abeed6a99edf0cc31519637898aebd52d8
    diff --git a/c b/c
    new file mode 100644
    --- /dev/null
    +++ b/c
    @@ -0,0 +1,1 @@
    +short
    "#);
    let options = SnapshotOptions::new().max_total_bytes(0);
    assert_snapshot!(diff.snapshot(&options), @"
    M a
    A b
    A c

    diff --git a/a b/a
    -text, 400 bytes, sha256 257f0b8bd8485073222c7aaf5a86614e78c3d053c177ff5c4b12d7a13aadfffa
    +text, 400 bytes, sha256 48a306ad55dcd83df5af757e02981f19b4967e81d327d36e01e6935a951192e1
    diff --git a/b b/b
    new file mode 100644
    +text, 100 bytes, sha256 09ecb6ebc8bcefc733f6f2ec44f791abeed6a99edf0cc31519637898aebd52d8
    diff --git a/c b/c
    new file mode 100644
    +text, 6 bytes, sha256 c962fa1be311981f0f965857e89b000707f9cea07a069d073461308f3019200f
    ");
}

#[test]
fn redactions_come_before_comparing_and_hashing() {
    let log = |time: &str| format!("started at {time}\ndone\n").into_bytes();
    let diff = |time: &str| {
        let binary = [&b"\0"[..], time.as_bytes()].concat();
        Diff::from_changes([
            Change::changed("log", file(&log("09:00:00")), file(&log(time))),
            Change::added(format!("tmp-{time}/out"), file(&log(time))),
            Change::added("cache.bin", file(&binary)),
            Change::added("link", Side::symlink(format!("tmp-{time}").into_bytes())),
            Change::added("noise/x", file(b"")),
        ])
    };
    let (one, other) = ("10:11:12", "23:59:59");
    let options = |time: &'static str| {
        let redactions = Redactions::new()
            .replace(time, "[time]")
            .replace("09:00:00", "[time]")
            .skip(|path| path.starts_with(b"noise/"))
            .path(|path| {
                let rest = path.strip_prefix(b"tmp-")?;
                Some([b"tmp-N", &rest[8..]].concat())
            });
        SnapshotOptions::new().redactions(redactions)
    };
    let text = diff(one).snapshot(&options(one));
    assert_eq!(text, diff(other).snapshot(&options(other)));
    assert_snapshot!(text, @r#"
    A cache.bin
    A link (symlink)
    A tmp-N/out

    diff --git a/cache.bin b/cache.bin
    new file mode 100644
    +binary, 7 bytes, sha256 7dd07a58b6fc4aff7bf21b95ac4f5e678c13b9640aca7bb92b0ac2ec8905b800
    diff --git a/link b/link
    new file mode 120000
    --- /dev/null
    +++ b/link
    @@ -0,0 +1,1 @@
    +tmp-[time]
    \ No newline at end of file
    diff --git a/tmp-N/out b/tmp-N/out
    new file mode 100644
    --- /dev/null
    +++ b/tmp-N/out
    @@ -0,0 +1,2 @@
    +started at [time]
    +done
    "#);
    // Control: without them the two differ.
    assert_ne!(diff(one).to_string(), diff(other).to_string());
}

#[test]
fn redactions_keep_what_moved_along_out_of_sight() {
    let diff = Diff::from_changes([
        Change::renamed("tmp-1", "tmp-2", Side::dir(0o755), Side::dir(0o755)),
        Change::renamed("tmp-1/a", "tmp-2/a", Side::unread_file(0o644), Side::unread_file(0o644)),
        Change::renamed("tmp-1/b", "tmp-2/b", file(b"pid 1\n"), file(b"pid 2\n")),
    ]);
    let contents = Redactions::new().replace("pid 1", "pid").replace("pid 2", "pid");
    assert_snapshot!(diff.redact(&contents).summary(), @"R tmp-1/ -> tmp-2/");
    let names = contents.path(|path| Some([b"tmp-N", &path[5..]].concat()));
    assert_snapshot!(diff.redact(&names), @"");
}

/// What a filter answers is a path as every reader of a diff expects it.
#[test]
fn a_path_that_a_redaction_gives_is_relative_to_the_root() {
    for (answer, wanted) in [
        ("/abs/x", "abs/x"),
        ("a//b", "a/b"),
        ("a/", "a"),
        ("./a/.", "a"),
        ("../x", "[..]/x"),
        ("a/../..", "a/[..]/[..]"),
        ("a\0b", "a[NUL]b"),
        ("", "[empty]"),
        ("/", "[empty]"),
        ("plain/[hash]", "plain/[hash]"),
    ] {
        let redactions = Redactions::new().path(|_| Some(answer.into()));
        let diff = Diff::from_changes([Change::added("tmp/1", file(b"x\n"))]).redact(&redactions);
        assert_eq!(diff.entries()[0].path(), wanted.as_bytes(), "{answer:?}");
        assert_eq!(Document::from_json(&diff.to_json()).unwrap(), diff.document(), "{answer:?}");
    }
}
