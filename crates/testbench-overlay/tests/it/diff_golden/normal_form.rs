//! The normal form, and what is counted in it.

use insta::assert_snapshot;
use testbench_overlay::FileKind;
use testbench_overlay::diff::{Change, Content, Diff, Side};

use crate::diff_golden::file;

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
    // An addition of unknown content is not passed over.
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
    assert_eq!((entry.moved_from(), entry.kind()), (Some(&b"a"[..]), FileKind::File));
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
    assert_snapshot!(diff.stat(), @"2 added, 1 deleted, 1 modified, 1 renamed, 1 linked; +4 -3 lines");
}
