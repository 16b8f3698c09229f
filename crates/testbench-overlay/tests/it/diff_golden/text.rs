//! Contents: binary ones, line endings, where hunks are put.

use insta::assert_snapshot;
use sha2::{Digest as _, Sha256};
use testbench_overlay::diff::{Change, Diff};

use crate::diff_golden::{file, render};
use crate::diff_support::{Rng, changes, random_change, random_tree};

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
