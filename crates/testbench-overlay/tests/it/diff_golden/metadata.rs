//! Permission bits, and names that need care.

use insta::assert_snapshot;
use testbench_overlay::diff::{Change, Side};

use crate::diff_golden::{file, render};

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
