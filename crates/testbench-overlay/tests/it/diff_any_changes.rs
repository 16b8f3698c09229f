//! Whatever a producer says, be it nonsense, gives a diff whose renderings hold together.

use crate::diff_support::{Rng, cases};
use testbench_overlay::FileKind;
use testbench_overlay::diff::{Change, Content, Diff, Document, Origin, Redactions, Side};

#[test]
fn the_renderings_of_anything_hold_together() {
    let mut entries = 0;
    for seed in 0..cases(3000) {
        let mut rng = Rng::new(seed);
        let changes: Vec<Change> = (0..rng.below(12)).map(|_| change(&mut rng)).collect();
        let diff = Diff::from_changes(changes.clone());
        let what = format!("seed {seed}: {changes:#?}");
        let document =
            Document::from_json(&diff.to_json()).unwrap_or_else(|e| panic!("{e}, {what}"));
        assert_eq!(document, diff.document(), "{what}");
        assert_eq!(diff.summary().lines().count(), diff.entries().len(), "{what}");
        assert_eq!(diff.stat().entries(), diff.entries().len(), "{what}");
        for text in [diff.patch(), diff.to_string().into_bytes()] {
            let is_framed = text.ends_with(b"\n") && !text.ends_with(b"\n\n");
            assert_eq!(is_framed, !diff.is_empty(), "{} {what}", text.escape_ascii());
        }
        // What is in normal form stays as it is.
        assert_eq!(diff.redact(&Redactions::new()), diff, "{what}");
        assert!(diff.redact(&Redactions::new().skip(|_| true)).is_empty(), "{what}");
        entries += diff.entries().len();
    }
    assert!(entries > 3000, "only {entries} entries");
}

fn change(rng: &mut Rng) -> Change {
    let origin = match rng.below(5) {
        0 | 1 => Origin::InPlace,
        2 | 3 => Origin::RenamedFrom(path(rng)),
        _ => Origin::LinkTo(path(rng)),
    };
    let path = path(rng);
    Change { path, before: side(rng), after: side(rng), origin }
}

fn path(rng: &mut Rng) -> Box<[u8]> {
    const PATHS: &[&[u8]] = &[
        b"", b"!", b"a", b"b", b"a/x", b"a/y", b"a/x/z", b"b/x", b".git", b".git/x", b"\xff",
        b"q \"",
    ];
    rng.pick(PATHS).into()
}

fn side(rng: &mut Rng) -> Option<Side> {
    use FileKind::{Dir, File, Special, Symlink};
    const CONTENTS: &[&[u8]] = &[b"", b"a\n", b"a\nb", b"a\r\n", b"\0", b"\xff\n"];
    if rng.one_in(3) {
        return None;
    }
    let content = match rng.one_in(4) {
        true => Content::Unread,
        false => Content::Bytes(rng.pick(CONTENTS).into()),
    };
    Some(Side {
        kind: rng.pick(&[File, File, File, Dir, Symlink, Special]),
        mode: rng.pick(&[0o644, 0o755, 0o600, 0o100_644, u32::MAX]),
        content,
        mtime_ns: rng.one_in(5).then(|| rng.next() as i64 % 3),
    })
}
