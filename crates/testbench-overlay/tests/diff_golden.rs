//! The bytes of the three renderings. What stands here is format version 1: a change of any of it
//! is a new version.

mod diff_support;

use std::sync::Arc;

use diff_support::{Rng, changes, random_change, random_tree};
use insta::assert_snapshot;
use sha2::{Digest as _, Sha256};
use testbench_overlay::FileKind;
use testbench_overlay::diff::{Change, Content, Diff, Redactions, Side, SnapshotOptions};

fn file(bytes: &[u8]) -> Side {
    Side::file(0o644, bytes)
}

/// All renderings, one below the other; the patch escaped where it is not printable.
fn render(changes: impl IntoIterator<Item = Change>) -> String {
    let diff = Diff::from_changes(changes);
    let patch = diff.patch();
    let patch: String = patch
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| match std::str::from_utf8(line) {
            Ok(line) if !line.contains(['\r', '\t', '\0']) => line.to_owned(),
            _ => format!("{}\n", line[..line.len() - 1].escape_ascii()),
        })
        .collect();
    format!("{diff}======== patch\n{patch}======== json\n{}", diff.to_json())
}

#[test]
fn nothing() {
    let diff = Diff::from_changes([]);
    assert_eq!((diff.to_string(), diff.patch(), diff.is_empty()), (String::new(), vec![], true));
    assert_snapshot!(diff.to_json(), @r#"{"format":"testbench-overlay-diff","version":1,"entries":[]}"#);
}

#[test]
fn modify() {
    let old = b"one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven\ntwelve\n";
    let new = b"one\ntwo\nthree\n4\nfive\nsix\nseven\neight\nnine\nten\neleven\ntwelve";
    assert_snapshot!(render([
        Change::changed("src/a.rs", file(old), Side::file(0o755, *new)),
        Change::changed("emptied", file(b"x\n"), file(b"")),
        Change::changed("odd", Side::file(0o600, *b"a\n"), Side::file(0o640, *b"b\n")),
    ]), @r#"
    M emptied
    M odd (mode 0600 -> 0640)
    M src/a.rs (mode 0644 -> 0755)

    diff --git a/emptied b/emptied
    --- a/emptied
    +++ b/emptied
    @@ -1,1 +0,0 @@
    -x
    diff --git a/odd b/odd
    --- a/odd
    +++ b/odd
    @@ -1,1 +1,1 @@
    -a
    +b
    diff --git a/src/a.rs b/src/a.rs
    old mode 100644
    new mode 100755
    --- a/src/a.rs
    +++ b/src/a.rs
    @@ -1,7 +1,7 @@
     one
     two
     three
    -four
    +4
     five
     six
     seven
    @@ -9,4 +9,4 @@
     nine
     ten
     eleven
    -twelve
    +twelve
    \ No newline at end of file
    ======== patch
    diff --git a/emptied b/emptied
    index 587be6b4c3f93f93c489c0111bba5596147a26cb..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391 100644
    --- a/emptied
    +++ b/emptied
    @@ -1,1 +0,0 @@
    -x
    # modify file odd mode 0600 -> 0640
    diff --git a/odd b/odd
    index 78981922613b2afb6025042ff6bd878ac1994e85..61780798228d17af2d34fce4cfbdf35556832472 100644
    --- a/odd
    +++ b/odd
    @@ -1,1 +1,1 @@
    -a
    +b
    diff --git a/src/a.rs b/src/a.rs
    old mode 100644
    new mode 100755
    index e031777e6dd8bb5a9b38f0bba64a38e5ec76b92d..25d99b5dfc0559912b5f13d0a4f6bf5c2b6c2b6a
    --- a/src/a.rs
    +++ b/src/a.rs
    @@ -1,7 +1,7 @@
     one
     two
     three
    -four
    +4
     five
     six
     seven
    @@ -9,4 +9,4 @@
     nine
     ten
     eleven
    -twelve
    +twelve
    \ No newline at end of file
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"emptied","op":"modify","kind":"file","old":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"},"new":{"mode":"0644","size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":0,"new_lines":0,"lines":["-x"]}],"old_eol":true,"new_eol":true}},
    {"path":"odd","op":"modify","kind":"file","old":{"mode":"0600","size":2,"sha256":"87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"},"new":{"mode":"0640","size":2,"sha256":"0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":1,"new_lines":1,"lines":["-a","+b"]}],"old_eol":true,"new_eol":true}},
    {"path":"src/a.rs","op":"modify","kind":"file","old":{"mode":"0644","size":63,"sha256":"0cbd18af795c5d19b79a4266cd0e7f31d1b8eb313daca3b3294f8f30af54b4f2"},"new":{"mode":"0755","size":59,"sha256":"729a849aae0210e20eaa7a41a138088b611fcf83132b1ae3cd6417635e1ed74e"},"text":{"hunks":[{"old_start":1,"old_lines":7,"new_start":1,"new_lines":7,"lines":[" one"," two"," three","-four","+4"," five"," six"," seven"]},{"old_start":9,"old_lines":4,"new_start":9,"new_lines":4,"lines":[" nine"," ten"," eleven","-twelve","+twelve"]}],"old_eol":true,"new_eol":false}}]}
    "#);
}

#[test]
fn add() {
    assert_snapshot!(render([
        Change::added("cache", Side::dir(0o755)),
        Change::added("cache/private", Side::dir(0o700)),
        Change::added("empty", file(b"")),
        Change::added("tool", Side::file(0o755, *b"#!/bin/sh\n")),
        Change::added("secret", Side::file(0o600, *b"no line feed")),
        Change::added("link", Side::symlink(*b"cache/private")),
        Change::added("pipe", Side::special(0o644)),
    ]), @r#"
    A cache/
    A cache/private/ (mode 0700)
    A empty (empty)
    A link (symlink)
    A pipe (special, mode 0644)
    A secret (mode 0600)
    A tool (mode 0755)

    diff --git a/link b/link
    new file mode 120000
    --- /dev/null
    +++ b/link
    @@ -0,0 +1,1 @@
    +cache/private
    \ No newline at end of file
    diff --git a/secret b/secret
    new file mode 100644
    --- /dev/null
    +++ b/secret
    @@ -0,0 +1,1 @@
    +no line feed
    \ No newline at end of file
    diff --git a/tool b/tool
    new file mode 100755
    --- /dev/null
    +++ b/tool
    @@ -0,0 +1,1 @@
    +#!/bin/sh
    ======== patch
    # add dir cache mode 0755
    # add dir cache/private mode 0700
    diff --git a/empty b/empty
    new file mode 100644
    index 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391
    diff --git a/link b/link
    new file mode 120000
    index 0000000000000000000000000000000000000000..de706527672b640b93fd85b6396d81e36e8cec4b
    --- /dev/null
    +++ b/link
    @@ -0,0 +1,1 @@
    +cache/private
    \ No newline at end of file
    # add special pipe mode 0644
    # add file secret mode 0600
    diff --git a/secret b/secret
    new file mode 100644
    index 0000000000000000000000000000000000000000..1992f29e08515561875cfa181e632779d93f189c
    --- /dev/null
    +++ b/secret
    @@ -0,0 +1,1 @@
    +no line feed
    \ No newline at end of file
    diff --git a/tool b/tool
    new file mode 100755
    index 0000000000000000000000000000000000000000..1a2485251c33a70432394c93fb89330ef214bfc9
    --- /dev/null
    +++ b/tool
    @@ -0,0 +1,1 @@
    +#!/bin/sh
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"cache","op":"add","kind":"dir","new":{"mode":"0755"}},
    {"path":"cache/private","op":"add","kind":"dir","new":{"mode":"0700"}},
    {"path":"empty","op":"add","kind":"file","new":{"mode":"0644","size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"text":{"hunks":[],"new_eol":true}},
    {"path":"link","op":"add","kind":"symlink","new":{"target":"cache/private"}},
    {"path":"pipe","op":"add","kind":"special","new":{"mode":"0644"}},
    {"path":"secret","op":"add","kind":"file","new":{"mode":"0600","size":12,"sha256":"bb339ea63757c4ee77bb76d149b397cd2861d20171715fd35fd1efd3a784f87d"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+no line feed"]}],"new_eol":false}},
    {"path":"tool","op":"add","kind":"file","new":{"mode":"0755","size":10,"sha256":"a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+#!/bin/sh"]}],"new_eol":true}}]}
    "#);
}

#[test]
fn delete() {
    assert_snapshot!(render([
        Change::removed("dir", Side::dir(0o750)),
        Change::removed("dir/text", file(b"a\nb\n")),
        Change::removed("dir/link", Side::symlink(*b"../text")),
        Change::removed("tool", Side::file(0o755, *b"")),
    ]), @r#"
    D dir/
    D dir/link (symlink)
    D dir/text
    D tool

    diff --git a/dir/link b/dir/link
    deleted file mode 120000
    --- a/dir/link
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -../text
    \ No newline at end of file
    diff --git a/dir/text b/dir/text
    deleted file mode 100644
    --- a/dir/text
    +++ /dev/null
    @@ -1,2 +0,0 @@
    -a
    -b
    ======== patch
    # delete dir dir mode 0750
    diff --git a/dir/link b/dir/link
    deleted file mode 120000
    new mode 120000
    index 7a99f2ce153dc4a880dc6386d8a22330e1bd3b79..0000000000000000000000000000000000000000
    --- a/dir/link
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -../text
    \ No newline at end of file
    diff --git a/dir/text b/dir/text
    deleted file mode 100644
    index 422c2b7ab3b3c668038da977e4e93a5fc623169c..0000000000000000000000000000000000000000
    --- a/dir/text
    +++ /dev/null
    @@ -1,2 +0,0 @@
    -a
    -b
    diff --git a/tool b/tool
    deleted file mode 100755
    new mode 100755
    index e69de29bb2d1d6434b8b29ae775ad8c2e48c5391..0000000000000000000000000000000000000000
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"dir","op":"delete","kind":"dir","old":{"mode":"0750"}},
    {"path":"dir/link","op":"delete","kind":"symlink","old":{"target":"../text"}},
    {"path":"dir/text","op":"delete","kind":"file","old":{"mode":"0644","size":4,"sha256":"911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"},"text":{"hunks":[{"old_start":1,"old_lines":2,"new_start":0,"new_lines":0,"lines":["-a","-b"]}],"old_eol":true}},
    {"path":"tool","op":"delete","kind":"file","old":{"mode":"0755","size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"text":{"hunks":[],"old_eol":true}}]}
    "#);
}

#[test]
fn rename() {
    assert_snapshot!(render([
        Change::renamed("a", "b", Side::unread_file(0o644), Side::unread_file(0o644)),
        Change::renamed("x", "tools/x", Side::unread_file(0o644), Side::unread_file(0o755)),
        Change::renamed("old name", "new name", file(b"a\nb\n"), file(b"a\nc\n")),
        Change::renamed("link", "links/link", Side::unread_symlink(), Side::unread_symlink()),
        // Over something that was there.
        Change::removed("there", file(b"overwritten\n")),
        Change::renamed("here", "there", Side::unread_file(0o644), Side::unread_file(0o644)),
        // And something new where it was: behind the rename in the patch.
        Change::added("here", file(b"new\n")),
    ]), @r#"
    R a -> b
    A here
    R link -> links/link
    R old name -> new name
    D there
    R here -> there
    R x -> tools/x (mode 0644 -> 0755)

    diff --git a/here b/here
    new file mode 100644
    --- /dev/null
    +++ b/here
    @@ -0,0 +1,1 @@
    +new
    diff --git a/old name b/new name
    rename from old name
    rename to new name
    --- a/old name
    +++ b/new name
    @@ -1,2 +1,2 @@
     a
    -b
    +c
    diff --git a/there b/there
    deleted file mode 100644
    --- a/there
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -overwritten
    ======== patch
    diff --git a/a b/b
    similarity index 100%
    rename from a
    rename to b
    diff --git a/link b/links/link
    similarity index 100%
    rename from link
    rename to links/link
    old mode 120000
    new mode 120000
    diff --git a/old name b/new name
    rename from old name
    rename to new name
    index 422c2b7ab3b3c668038da977e4e93a5fc623169c..0f7bc766052a5a0ee28a393d51d2370f96d8ceb8 100644
    --- a/old name\t
    +++ b/new name\t
    @@ -1,2 +1,2 @@
     a
    -b
    +c
    diff --git a/there b/there
    deleted file mode 100644
    index 7123871347c3277635bb1617802a9fabcc405bb8..0000000000000000000000000000000000000000
    --- a/there
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -overwritten
    diff --git a/here b/there
    similarity index 100%
    rename from here
    rename to there
    diff --git a/x b/tools/x
    old mode 100644
    new mode 100755
    similarity index 100%
    rename from x
    rename to tools/x
    diff --git a/here b/here
    new file mode 100644
    index 0000000000000000000000000000000000000000..3e757656cf36eca53338e520d134963a44f793f8
    --- /dev/null
    +++ b/here
    @@ -0,0 +1,1 @@
    +new
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"b","op":"rename","from":"a","kind":"file"},
    {"path":"here","op":"add","kind":"file","new":{"mode":"0644","size":4,"sha256":"7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+new"]}],"new_eol":true}},
    {"path":"links/link","op":"rename","from":"link","kind":"symlink"},
    {"path":"new name","op":"rename","from":"old name","kind":"file","old":{"mode":"0644","size":4,"sha256":"911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"},"new":{"mode":"0644","size":4,"sha256":"b72cf6d7918130f75347ff0f8b6e9fde004ee6d7fc26af90a349707207f72750"},"text":{"hunks":[{"old_start":1,"old_lines":2,"new_start":1,"new_lines":2,"lines":[" a","-b","+c"]}],"old_eol":true,"new_eol":true}},
    {"path":"there","op":"delete","kind":"file","old":{"mode":"0644","size":12,"sha256":"12584bd8a1e48f2a72fa87ab22f60d4a05796f488626a130d4fd33f4566dfa29"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":0,"new_lines":0,"lines":["-overwritten"]}],"old_eol":true}},
    {"path":"there","op":"rename","from":"here","kind":"file"},
    {"path":"tools/x","op":"rename","from":"x","kind":"file","old":{"mode":"0644"},"new":{"mode":"0755"}}]}
    "#);
}

#[test]
fn rename_of_a_directory() {
    assert_snapshot!(render([
        Change::renamed("old", "new", Side::dir(0o755), Side::dir(0o755)),
        Change::renamed("old/sub", "new/sub", Side::dir(0o755), Side::dir(0o755)),
        Change::renamed("old/same", "new/same", Side::unread_file(0o644), Side::unread_file(0o644)),
        Change::renamed("old/sub/text", "new/sub/text", file(b"a\n"), file(b"b\n")),
        Change::renamed("old/mode", "new/mode", Side::unread_file(0o644), Side::unread_file(0o755)),
        Change::renamed("old/out", "out", Side::unread_file(0o644), Side::unread_file(0o644)),
        Change::renamed("in", "new/in", Side::unread_file(0o644), Side::unread_file(0o644)),
        Change::removed("old/gone", file(b"gone\n")),
        Change::added("new/added", file(b"added\n")),
    ]), @r#"
    R old/ -> new/
    A new/added
    R in -> new/in
    M new/mode (mode 0644 -> 0755)
    M new/sub/text
    D old/gone
    R old/out -> out

    diff --git a/new/added b/new/added
    new file mode 100644
    --- /dev/null
    +++ b/new/added
    @@ -0,0 +1,1 @@
    +added
    diff --git a/old/sub/text b/new/sub/text
    rename from old/sub/text
    rename to new/sub/text
    --- a/old/sub/text
    +++ b/new/sub/text
    @@ -1,1 +1,1 @@
    -a
    +b
    diff --git a/old/gone b/old/gone
    deleted file mode 100644
    --- a/old/gone
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -gone
    ======== patch
    # rename dir old -> new
    diff --git a/new/added b/new/added
    new file mode 100644
    index 0000000000000000000000000000000000000000..d5f7fc3f74f7dec08280f370a975b112e8f60818
    --- /dev/null
    +++ b/new/added
    @@ -0,0 +1,1 @@
    +added
    diff --git a/in b/new/in
    similarity index 100%
    rename from in
    rename to new/in
    diff --git a/old/mode b/new/mode
    old mode 100644
    new mode 100755
    similarity index 100%
    rename from old/mode
    rename to new/mode
    diff --git a/old/same b/new/same
    similarity index 100%
    rename from old/same
    rename to new/same
    diff --git a/old/sub/text b/new/sub/text
    rename from old/sub/text
    rename to new/sub/text
    index 78981922613b2afb6025042ff6bd878ac1994e85..61780798228d17af2d34fce4cfbdf35556832472 100644
    --- a/old/sub/text
    +++ b/new/sub/text
    @@ -1,1 +1,1 @@
    -a
    +b
    diff --git a/old/gone b/old/gone
    deleted file mode 100644
    index 286c5f5776916d7d7d5849988ca9d83e722cf9c2..0000000000000000000000000000000000000000
    --- a/old/gone
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -gone
    diff --git a/old/out b/out
    similarity index 100%
    rename from old/out
    rename to out
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"new","op":"rename","from":"old","kind":"dir"},
    {"path":"new/added","op":"add","kind":"file","new":{"mode":"0644","size":6,"sha256":"3428719b7688c78a0cc8ba4b9e80b4e464c815fbccfd4b20695a15ffcefc22af"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+added"]}],"new_eol":true}},
    {"path":"new/in","op":"rename","from":"in","kind":"file"},
    {"path":"new/mode","op":"meta","from":"old/mode","kind":"file","old":{"mode":"0644"},"new":{"mode":"0755"}},
    {"path":"new/sub/text","op":"modify","from":"old/sub/text","kind":"file","old":{"mode":"0644","size":2,"sha256":"87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"},"new":{"mode":"0644","size":2,"sha256":"0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":1,"new_lines":1,"lines":["-a","+b"]}],"old_eol":true,"new_eol":true}},
    {"path":"old/gone","op":"delete","kind":"file","old":{"mode":"0644","size":5,"sha256":"4b9f2c32577beb1ebc8ab2a1e226faaa9176a81cd4eedbaa22f8a0db919972b5"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":0,"new_lines":0,"lines":["-gone"]}],"old_eol":true}},
    {"path":"out","op":"rename","from":"old/out","kind":"file"}]}
    "#);
}

#[test]
fn retype() {
    assert_snapshot!(render([
        Change::changed("a", file(b"text\n"), Side::symlink(*b"b")),
        Change::changed("d", Side::dir(0o755), file(b"now a file\n")),
        Change::removed("d/x", file(b"")),
        Change::changed("e", Side::symlink(*b"d"), Side::dir(0o700)),
        Change::added("e/x", file(b"x\n")),
    ]), @r#"
    T a (file -> symlink)
    T d (dir -> file)
    D d/x
    T e/ (symlink -> dir, mode 0700)
    A e/x

    diff --git a/a b/a
    deleted file mode 100644
    --- a/a
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -text
    diff --git a/a b/a
    new file mode 120000
    --- /dev/null
    +++ b/a
    @@ -0,0 +1,1 @@
    +b
    \ No newline at end of file
    diff --git a/d b/d
    new file mode 100644
    --- /dev/null
    +++ b/d
    @@ -0,0 +1,1 @@
    +now a file
    diff --git a/e b/e
    deleted file mode 120000
    --- a/e
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -d
    \ No newline at end of file
    diff --git a/e/x b/e/x
    new file mode 100644
    --- /dev/null
    +++ b/e/x
    @@ -0,0 +1,1 @@
    +x
    ======== patch
    diff --git a/a b/a
    deleted file mode 100644
    index 8e27be7d6154a1f68ea9160ef0e18691d20560dc..0000000000000000000000000000000000000000
    --- a/a
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -text
    diff --git a/a b/a
    new file mode 120000
    index 0000000000000000000000000000000000000000..63d8dbd40c23542e740659a7168a0ce3138ea748
    --- /dev/null
    +++ b/a
    @@ -0,0 +1,1 @@
    +b
    \ No newline at end of file
    # delete dir d mode 0755
    diff --git a/d b/d
    new file mode 100644
    index 0000000000000000000000000000000000000000..3f899ea7ab51da801dbacbf633c168b0591d7765
    --- /dev/null
    +++ b/d
    @@ -0,0 +1,1 @@
    +now a file
    diff --git a/d/x b/d/x
    deleted file mode 100644
    index e69de29bb2d1d6434b8b29ae775ad8c2e48c5391..0000000000000000000000000000000000000000
    # add dir e mode 0700
    diff --git a/e b/e
    deleted file mode 120000
    new mode 120000
    index c59d9b6344f1af00e504ba698129f07a34bbed8d..0000000000000000000000000000000000000000
    --- a/e
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -d
    \ No newline at end of file
    diff --git a/e/x b/e/x
    new file mode 100644
    index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb
    --- /dev/null
    +++ b/e/x
    @@ -0,0 +1,1 @@
    +x
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"a","op":"retype","kind":"symlink","old":{"kind":"file","mode":"0644","size":5,"sha256":"b9e68e1bea3e5b19ca6b2f98b73a54b73daafaa250484902e09982e07a12e733"},"new":{"kind":"symlink","target":"b"}},
    {"path":"d","op":"retype","kind":"file","old":{"kind":"dir","mode":"0755"},"new":{"kind":"file","mode":"0644","size":11,"sha256":"5af7f3f90ccadc90718145fc5bba9890104d533e31a5e001f313bf4473194b23"}},
    {"path":"d/x","op":"delete","kind":"file","old":{"mode":"0644","size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"text":{"hunks":[],"old_eol":true}},
    {"path":"e","op":"retype","kind":"dir","old":{"kind":"symlink","target":"d"},"new":{"kind":"dir","mode":"0700"}},
    {"path":"e/x","op":"add","kind":"file","new":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+x"]}],"new_eol":true}}]}
    "#);
}

#[test]
fn link() {
    let mut over = Change::linked("a", "there", Side::file(0o640, *b"text\n"));
    over.before = Some(Side::file(0o640, *b"other\n"));
    assert_snapshot!(render([Change::linked("a", "b", file(b"text\n")), over]), @r#"
    L b -> a
    L there -> a
    ======== patch
    # link file b -> a
    diff --git a/b b/b
    new file mode 100644
    index 0000000000000000000000000000000000000000..8e27be7d6154a1f68ea9160ef0e18691d20560dc
    --- /dev/null
    +++ b/b
    @@ -0,0 +1,1 @@
    +text
    # link file there -> a
    diff --git a/there b/there
    index e45c9c2666d44e0327c1f9c239a74c508336053e..8e27be7d6154a1f68ea9160ef0e18691d20560dc 100644
    --- a/there
    +++ b/there
    @@ -1,1 +1,1 @@
    -other
    +text
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"b","op":"link","to":"a","kind":"file","new":{"mode":"0644","size":5,"sha256":"b9e68e1bea3e5b19ca6b2f98b73a54b73daafaa250484902e09982e07a12e733"}},
    {"path":"there","op":"link","to":"a","kind":"file","old":{"mode":"0640","size":6,"sha256":"7e4fa2eb8c7ac089739d5defc4489fad68a100d92082ca35c6b40a4524821f87"},"new":{"mode":"0640","size":5,"sha256":"b9e68e1bea3e5b19ca6b2f98b73a54b73daafaa250484902e09982e07a12e733"}}]}
    "#);
}

#[test]
fn meta() {
    assert_snapshot!(render([
        Change::changed("run", Side::unread_file(0o644), Side::unread_file(0o755)),
        Change::changed("secret", Side::unread_file(0o644), Side::unread_file(0o600)),
        Change::changed("", Side::dir(0o755), Side::dir(0o700)),
        Change::changed("tmp", Side::dir(0o755), Side::dir(0o1777)),
    ]), @r#"
    M . (mode 0755 -> 0700)
    M run (mode 0644 -> 0755)
    M secret (mode 0644 -> 0600)
    M tmp/ (mode 0755 -> 1777)
    ======== patch
    # meta dir . mode 0755 -> 0700
    diff --git a/run b/run
    old mode 100644
    new mode 100755
    # meta file secret mode 0644 -> 0600
    # meta dir tmp mode 0755 -> 1777
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":".","op":"meta","kind":"dir","old":{"mode":"0755"},"new":{"mode":"0700"}},
    {"path":"run","op":"meta","kind":"file","old":{"mode":"0644"},"new":{"mode":"0755"}},
    {"path":"secret","op":"meta","kind":"file","old":{"mode":"0644"},"new":{"mode":"0600"}},
    {"path":"tmp","op":"meta","kind":"dir","old":{"mode":"0755"},"new":{"mode":"1777"}}]}
    "#);
}

#[test]
fn times() {
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

#[test]
fn binary() {
    let old: Vec<u8> = (0..=99).collect();
    let new: Vec<u8> = (0..=80).collect();
    assert_snapshot!(render([
        Change::changed("logo.png", file(&old), file(&new)),
        Change::added("zero", file(&[0])),
        Change::removed("latin1", file(b"caf\xe9\n")),
    ]), @r#"
    D latin1
    M logo.png
    A zero

    diff --git a/latin1 b/latin1
    deleted file mode 100644
    -binary, 5 bytes, sha256 9e4efed0ff1dbcf37240f82e1aad6c763eb9331434d2b394a6441abbbe3634eb
    diff --git a/logo.png b/logo.png
    -binary, 100 bytes, sha256 bce0aff19cf5aa6a7469a30d61d04e4376e4bbf6381052ee9e7f33925c954d52
    +binary, 81 bytes, sha256 c2226285d08a245a17058ed2d24ad095b714f608ae364fddf119e0a7df890540
    diff --git a/zero b/zero
    new file mode 100644
    +binary, 1 byte, sha256 6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
    ======== patch
    diff --git a/latin1 b/latin1
    deleted file mode 100644
    index 6f83395d973c448cdb70a7b21f7fc8018797acf6..0000000000000000000000000000000000000000
    --- a/latin1
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -caf\xe9
    diff --git a/logo.png b/logo.png
    index e2ff04130692d9bf4db627c66261452b72332a7b..2fb791bc099f5640e2ada6b3422242421f628d0b 100644
    GIT binary patch
    literal 81
    zcmV-X0IvT40RjUA1qKHQ2?`4g4Gs?w5fT#=6&4p585$cL9UdPbAtECrB_<~*DJm;0
    nEiNxGF)}kWH8wXmIXXK$Jw87`K|(`BMMg(RNlHshO-@fxT2KtB

    literal 100
    zcmV-q0Gs~+0RjUA1qKHQ2?`4g4Gs?w5fT#=6&4p585$cL9UdPbAtECrB_<~*DJm;0
    zEiNxGF)}kWH8wXmIXXK$Jw87`K|(`BMMg(RNlHshO-@fxQBqS>RaRG6Sz23MU0z>c
    GVPa#8d=pmy

    # old binary, 100 bytes, sha256 bce0aff19cf5aa6a7469a30d61d04e4376e4bbf6381052ee9e7f33925c954d52
    # new binary, 81 bytes, sha256 c2226285d08a245a17058ed2d24ad095b714f608ae364fddf119e0a7df890540
    diff --git a/zero b/zero
    new file mode 100644
    index 0000000000000000000000000000000000000000..f76dd238ade08917e6712764a16a22005a50573d
    GIT binary patch
    literal 1
    LcmV+c0RH~~00962

    literal 0
    KcmV+b0RR6000031

    # new binary, 1 byte, sha256 6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"latin1","op":"delete","kind":"file","old":{"mode":"0644","size":5,"sha256":"9e4efed0ff1dbcf37240f82e1aad6c763eb9331434d2b394a6441abbbe3634eb"}},
    {"path":"logo.png","op":"modify","kind":"file","old":{"mode":"0644","size":100,"sha256":"bce0aff19cf5aa6a7469a30d61d04e4376e4bbf6381052ee9e7f33925c954d52"},"new":{"mode":"0644","size":81,"sha256":"c2226285d08a245a17058ed2d24ad095b714f608ae364fddf119e0a7df890540"}},
    {"path":"zero","op":"add","kind":"file","new":{"mode":"0644","size":1,"sha256":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"}}]}
    "#);
}

#[test]
fn names() {
    let added = |name: &[u8]| Change::added(name, file(b"x\n"));
    assert_snapshot!(render([
        added(b"with space"),
        added(b"with \"quote\" and \\"),
        added(b"new\nline"),
        added("\u{e4}".as_bytes()),
        added(b"\xff"),
        Change::added("an empty dir", Side::dir(0o755)),
        Change::added(b"->", Side::dir(0o755)),
    ]), @r#"
    A ->/
    A an empty dir/
    A "new\nline"
    A "with \"quote\" and \\"
    A with space
    A "\303\244"
    A "\377"

    diff --git "a/new\nline" "b/new\nline"
    new file mode 100644
    --- /dev/null
    +++ "b/new\nline"
    @@ -0,0 +1,1 @@
    +x
    diff --git "a/with \"quote\" and \\" "b/with \"quote\" and \\"
    new file mode 100644
    --- /dev/null
    +++ "b/with \"quote\" and \\"
    @@ -0,0 +1,1 @@
    +x
    diff --git a/with space b/with space
    new file mode 100644
    --- /dev/null
    +++ b/with space
    @@ -0,0 +1,1 @@
    +x
    diff --git "a/\303\244" "b/\303\244"
    new file mode 100644
    --- /dev/null
    +++ "b/\303\244"
    @@ -0,0 +1,1 @@
    +x
    diff --git "a/\377" "b/\377"
    new file mode 100644
    --- /dev/null
    +++ "b/\377"
    @@ -0,0 +1,1 @@
    +x
    ======== patch
    # add dir -> mode 0755
    # add dir "an empty dir" mode 0755
    diff --git "a/new\nline" "b/new\nline"
    new file mode 100644
    index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb
    --- /dev/null
    +++ "b/new\nline"
    @@ -0,0 +1,1 @@
    +x
    diff --git "a/with \"quote\" and \\" "b/with \"quote\" and \\"
    new file mode 100644
    index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb
    --- /dev/null
    +++ \"b/with \\\"quote\\\" and \\\\\"\t
    @@ -0,0 +1,1 @@
    +x
    diff --git a/with space b/with space
    new file mode 100644
    index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb
    --- /dev/null
    +++ b/with space\t
    @@ -0,0 +1,1 @@
    +x
    diff --git "a/\303\244" "b/\303\244"
    new file mode 100644
    index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb
    --- /dev/null
    +++ "b/\303\244"
    @@ -0,0 +1,1 @@
    +x
    diff --git "a/\377" "b/\377"
    new file mode 100644
    index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb
    --- /dev/null
    +++ "b/\377"
    @@ -0,0 +1,1 @@
    +x
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"->","op":"add","kind":"dir","new":{"mode":"0755"}},
    {"path":"an empty dir","op":"add","kind":"dir","new":{"mode":"0755"}},
    {"path":"new\nline","op":"add","kind":"file","new":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+x"]}],"new_eol":true}},
    {"path":"with \"quote\" and \\","op":"add","kind":"file","new":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+x"]}],"new_eol":true}},
    {"path":"with space","op":"add","kind":"file","new":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+x"]}],"new_eol":true}},
    {"path":"ä","op":"add","kind":"file","new":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+x"]}],"new_eol":true}},
    {"path":{"b64":"/w=="},"op":"add","kind":"file","new":{"mode":"0644","size":2,"sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"},"text":{"hunks":[{"old_start":0,"old_lines":0,"new_start":1,"new_lines":1,"lines":["+x"]}],"new_eol":true}}]}
    "#);
}

#[test]
fn repository() {
    assert_snapshot!(render([
        Change::changed(".git/HEAD", file(b"main\n"), file(b"other\n")),
        Change::renamed("a", ".git/a", file(b"moved in\n"), file(b"moved in\n")),
        Change::renamed(".git/b", "b", Side::unread_file(0o644), Side::unread_file(0o644)),
        Change::added(".gitmodules", Side::symlink(*b"x")),
    ]), @r#"
    M .git/HEAD
    R a -> .git/a
    A .gitmodules (symlink)
    R .git/b -> b

    diff --git a/.git/HEAD b/.git/HEAD
    --- a/.git/HEAD
    +++ b/.git/HEAD
    @@ -1,1 +1,1 @@
    -main
    +other
    diff --git a/.gitmodules b/.gitmodules
    new file mode 120000
    --- /dev/null
    +++ b/.gitmodules
    @@ -0,0 +1,1 @@
    +x
    \ No newline at end of file
    ======== patch
    # diff --git a/.git/HEAD b/.git/HEAD
    # index ba2906d0666cf726c7eaadd2cd3db615dedfdf3a..e45c9c2666d44e0327c1f9c239a74c508336053e 100644
    # --- a/.git/HEAD
    # +++ b/.git/HEAD
    # @@ -1,1 +1,1 @@
    # -main
    # +other
    diff --git a/a b/a
    deleted file mode 100644
    index 3f869577acfe0f0832485d789660de8f37892e16..0000000000000000000000000000000000000000
    --- a/a
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -moved in
    # diff --git a/.git/a b/.git/a
    # new file mode 100644
    # index 0000000000000000000000000000000000000000..3f869577acfe0f0832485d789660de8f37892e16
    # --- /dev/null
    # +++ b/.git/a
    # @@ -0,0 +1,1 @@
    # +moved in
    # diff --git a/.gitmodules b/.gitmodules
    # new file mode 120000
    # index 0000000000000000000000000000000000000000..c1b0730e0133447badcfd47fd144e254807b06e1
    # --- /dev/null
    # +++ b/.gitmodules
    # @@ -0,0 +1,1 @@
    # +x
    # \ No newline at end of file
    # delete file .git/b unread
    # add file b unread
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":".git/HEAD","op":"modify","kind":"file","old":{"mode":"0644","size":5,"sha256":"6403203dd5a0867eb14d104ee8a73730bd72dd9ad92e78d996a6dba0a5dcfc01"},"new":{"mode":"0644","size":6,"sha256":"7e4fa2eb8c7ac089739d5defc4489fad68a100d92082ca35c6b40a4524821f87"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":1,"new_lines":1,"lines":["-main","+other"]}],"old_eol":true,"new_eol":true}},
    {"path":".git/a","op":"rename","from":"a","kind":"file"},
    {"path":".gitmodules","op":"add","kind":"symlink","new":{"target":"x"}},
    {"path":"b","op":"rename","from":".git/b","kind":"file"}]}
    "#);
}

#[test]
fn line_endings() {
    assert_snapshot!(render([
        Change::changed("crlf", file(b"a\r\nb\r\n"), file(b"a\nb\r\n")),
        Change::changed("lost", file(b"a\n"), file(b"a")),
        Change::changed("won", file(b"a"), file(b"a\n")),
        Change::changed("without", file(b"a"), file(b"b")),
    ]), @r#"
    M crlf (CRLF -> CRLF and LF)
    M lost
    M without
    M won

    diff --git a/crlf b/crlf
    --- a/crlf
    +++ b/crlf
    @@ -1,2 +1,2 @@
    -a
    +a
     b
    diff --git a/lost b/lost
    --- a/lost
    +++ b/lost
    @@ -1,1 +1,1 @@
    -a
    +a
    \ No newline at end of file
    diff --git a/without b/without
    --- a/without
    +++ b/without
    @@ -1,1 +1,1 @@
    -a
    \ No newline at end of file
    +b
    \ No newline at end of file
    diff --git a/won b/won
    --- a/won
    +++ b/won
    @@ -1,1 +1,1 @@
    -a
    \ No newline at end of file
    +a
    ======== patch
    diff --git a/crlf b/crlf
    index c30dea8a3641ea99b125d04d599d843712292759..e89c760d3c636ac716f6cbc955bd100a94af606d 100644
    --- a/crlf
    +++ b/crlf
    @@ -1,2 +1,2 @@
    -a\r
    +a
     b\r
    diff --git a/lost b/lost
    index 78981922613b2afb6025042ff6bd878ac1994e85..2e65efe2a145dda7ee51d1741299f848e5bf752e 100644
    --- a/lost
    +++ b/lost
    @@ -1,1 +1,1 @@
    -a
    +a
    \ No newline at end of file
    diff --git a/without b/without
    index 2e65efe2a145dda7ee51d1741299f848e5bf752e..63d8dbd40c23542e740659a7168a0ce3138ea748 100644
    --- a/without
    +++ b/without
    @@ -1,1 +1,1 @@
    -a
    \ No newline at end of file
    +b
    \ No newline at end of file
    diff --git a/won b/won
    index 2e65efe2a145dda7ee51d1741299f848e5bf752e..78981922613b2afb6025042ff6bd878ac1994e85 100644
    --- a/won
    +++ b/won
    @@ -1,1 +1,1 @@
    -a
    \ No newline at end of file
    +a
    ======== json
    {"format":"testbench-overlay-diff","version":1,"entries":[
    {"path":"crlf","op":"modify","kind":"file","old":{"mode":"0644","size":6,"sha256":"58055bdcc73787eb88c78d36f0b4939e9c5dc1c3ad17e25cc85a6833cf1a0cab"},"new":{"mode":"0644","size":5,"sha256":"09908e5976ef56a1d49699e026f6925c1435ea0a07e73002d0f1e5abe78e8634"},"text":{"hunks":[{"old_start":1,"old_lines":2,"new_start":1,"new_lines":2,"lines":["-a\r","+a"," b\r"]}],"old_eol":true,"new_eol":true}},
    {"path":"lost","op":"modify","kind":"file","old":{"mode":"0644","size":2,"sha256":"87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"},"new":{"mode":"0644","size":1,"sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":1,"new_lines":1,"lines":["-a","+a"]}],"old_eol":true,"new_eol":false}},
    {"path":"without","op":"modify","kind":"file","old":{"mode":"0644","size":1,"sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},"new":{"mode":"0644","size":1,"sha256":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":1,"new_lines":1,"lines":["-a","+b"]}],"old_eol":false,"new_eol":false}},
    {"path":"won","op":"modify","kind":"file","old":{"mode":"0644","size":1,"sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},"new":{"mode":"0644","size":2,"sha256":"87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"},"text":{"hunks":[{"old_start":1,"old_lines":1,"new_start":1,"new_lines":1,"lines":["-a","+a"]}],"old_eol":false,"new_eol":true}}]}
    "#);
}

#[test]
fn where_hunks_are_put() {
    let old = "fn one() {\n    a();\n    b();\n}\n\nfn two() {\n    a();\n    b();\n}\n\nfn three() {\n    c();\n}\n";
    let new = "fn zero() {\n    a();\n    b();\n}\n\nfn one() {\n    a();\n    b();\n}\n\nfn three() {\n    c();\n    d();\n}\n\nfn two() {\n    a();\n    b();\n}\n";
    let diff =
        Diff::from_changes([Change::changed("x.rs", file(old.as_bytes()), file(new.as_bytes()))]);
    assert_snapshot!(diff, @"
    M x.rs

    diff --git a/x.rs b/x.rs
    --- a/x.rs
    +++ b/x.rs
    @@ -1,13 +1,19 @@
    -fn one() {
    +fn zero() {
         a();
         b();
     }
     
    -fn two() {
    +fn one() {
         a();
         b();
     }
     
     fn three() {
         c();
    +    d();
    +}
    +
    +fn two() {
    +    a();
    +    b();
     }
    ");
}

#[test]
fn hashes_of_many_renderings() {
    let hash = |render: &dyn Fn(&Diff) -> Vec<u8>| {
        let mut hash = Sha256::new();
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let lower = random_tree(&mut rng);
            let mut upper = lower.clone();
            for _ in 0..8 {
                random_change(&mut rng, &mut upper);
            }
            hash.update(render(&Diff::from_changes(changes(&lower, &upper))));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_snapshot!(hash(&|diff| diff.patch()), @"ec1860a3896025432b96c901f66406254fb2cbb70e35832dc0508fa27c67ae6f");
    assert_snapshot!(hash(&|diff| diff.to_string().into_bytes()), @"e78aacc86915967986fbd6b333ebc526c0fb904879004aca69e94aef0ccaabd2");
    assert_snapshot!(hash(&|diff| diff.to_json().into_bytes()), @"2a102f6cc0be0a93ee16ad10602e4bd6601662bc4975da0a2d2ff5290409c2c2");
}

#[test]
fn framing() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let lower = random_tree(&mut rng);
        let mut upper = lower.clone();
        for _ in 0..seed % 4 {
            random_change(&mut rng, &mut upper);
        }
        let diff = Diff::from_changes(changes(&lower, &upper));
        for text in [diff.patch(), diff.to_string().into_bytes()] {
            let is_framed = text.ends_with(b"\n") && !text.ends_with(b"\n\n");
            assert_eq!(is_framed, !diff.is_empty(), "seed {seed}: {}", text.escape_ascii());
            assert_eq!(text.is_empty(), diff.is_empty(), "seed {seed}");
        }
    }
}

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

/// What producers may say, and what it amounts to.
#[test]
fn normal_form() {
    let summary = |changes: Vec<Change>| Diff::from_changes(changes).summary();
    let unread = || Side::unread_file(0o644);
    let (x, y) = (|| file(b"x\n"), || file(b"y\n"));
    // Nothing.
    assert_eq!(summary(vec![Change::changed("a", x(), x())]), "");
    assert_eq!(summary(vec![Change::changed("a", unread(), unread())]), "");
    let mut neither = Change::added("a", x());
    neither.after = None;
    assert_eq!(summary(vec![neither]), "");
    // Modes that mean nothing.
    let mut odd = Side::symlink(*b"t");
    odd.mode = 0o123;
    assert_eq!(summary(vec![Change::changed("a", odd, Side::symlink(*b"t"))]), "");
    assert_eq!(summary(vec![Change::changed("a", Side::file(0o100_644, *b"x\n"), x())]), "");
    // Removed and added, in any order.
    assert_eq!(summary(vec![Change::added("a", y()), Change::removed("a", x())]), "M a\n");
    assert_eq!(
        summary(vec![Change::removed("a", Side::dir(0o755)), Change::added("a", y())]),
        "T a (dir -> file)\n"
    );
    // The vacated path of a rename.
    let renamed = || Change::renamed("a", "b", unread(), unread());
    assert_eq!(summary(vec![Change::removed("a", x()), renamed()]), "R a -> b\n");
    assert_eq!(summary(vec![Change::changed("a", x(), y()), renamed()]), "A a\nR a -> b\n");
    // A swap, and a rename over something.
    let back = Change::renamed("b", "a", unread(), unread());
    assert_eq!(summary(vec![renamed(), back]), "R b -> a\nR a -> b\n");
    assert_eq!(summary(vec![Change::removed("b", y()), renamed()]), "D b\nR a -> b\n");
    // Renames that are none.
    assert_eq!(summary(vec![Change::renamed("a", "a", x(), y())]), "M a\n");
    assert_eq!(summary(vec![Change::renamed("a", "b", Side::dir(0o755), y())]), "D a/\nA b\n");
    let mut vanished = renamed();
    vanished.after = None;
    assert_eq!(summary(vec![vanished]), "D a (content not read)\n");
    let mut half = renamed();
    half.before = None;
    assert_eq!(summary(vec![half]), "R a -> b\n");
    // A file moves once; what is left is links.
    let again = Change::renamed("a", "c", unread(), unread());
    assert_eq!(summary(vec![again, renamed()]), "R a -> b\nL c -> b (content not read)\n");
    // An addition whose content nobody knows is not passed over.
    assert_eq!(summary(vec![Change::added("a", unread())]), "A a (content not read)\n");
    assert_eq!(
        Diff::from_changes([Change::added("a", unread())]).patch(),
        b"# add file a unread\n"
    );
}

#[test]
fn contents_that_are_equal_are_dropped() {
    let renamed = Change::renamed("a", "b", file(b"x\n"), file(b"x\n"));
    let read = Diff::from_changes([renamed]);
    let unread = Side::unread_file(0o644);
    assert_eq!(read, Diff::from_changes([Change::renamed("a", "b", unread.clone(), unread)]));
    let entry = &read.entries()[0];
    assert_eq!((entry.from(), entry.kind()), (Some(&b"a"[..]), FileKind::File));
    assert_eq!(entry.before().unwrap().content, Content::Unread);
}

#[test]
fn counts() {
    let diff = Diff::from_changes([
        Change::added("a", file(b"1\n2\n3\n")),
        Change::changed("b", file(b"1\n2\n"), file(b"1\n")),
        Change::removed("c", file(b"1\n")),
        Change::renamed("d", "e", file(b"1\n2\n"), file(b"1\n3\n")),
        Change::linked("a", "f", file(b"1\n2\n3\n")),
        Change::added("g", file(b"\0\n\n\n")),
    ]);
    assert_eq!(diff.stat().entries(), diff.entries().len());
    assert_snapshot!(diff.stat(), @"2 added, 1 deleted, 2 modified, 1 renamed; +4 -3 lines");
}

#[test]
fn renames_by_content() {
    let bytes: Arc<[u8]> = b"same\n"[..].into();
    let same = || Side::file(0o644, Arc::clone(&bytes));
    let diff = Diff::from_changes([
        Change::removed("a/first", same()),
        Change::removed("a/second", same()),
        Change::added("b/second", same()),
        Change::added("b/other", same()),
        Change::added("b/third", same()),
        // Neither empty files nor other kinds.
        Change::removed("empty1", file(b"")),
        Change::added("empty2", file(b"")),
        Change::removed("link1", Side::symlink(*b"t")),
        Change::added("link2", file(b"t")),
    ]);
    assert_snapshot!(diff.renames_by_content().summary(), @"
    R a/first -> b/other
    R a/second -> b/second
    A b/third
    D empty1
    A empty2 (empty)
    D link1 (symlink)
    A link2
    ");
}
