//! Things that are new, gone, changed or of another kind.

use insta::assert_snapshot;
use testbench_overlay::diff::{Change, Diff, Side};

use crate::diff_golden::{file, render};

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
