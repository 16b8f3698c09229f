//! Things that have moved.

use insta::assert_snapshot;
use std::sync::Arc;
use testbench_overlay::diff::{Change, Diff, Side};

use crate::diff_golden::{file, render};

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
