//! An empty diff is the empty string; otherwise there is exactly one line feed at the end.

use testbench_overlay::diff::{Change, Diff, Redactions, Side, SnapshotOptions};

use crate::diff_golden::file;
use crate::diff_support::{Rng, changes, random_change, random_tree};

#[test]
fn an_empty_diff_is_the_empty_string() {
    let same = || file(b"text");
    let skips_all = Redactions::new().skip(|_| true);
    for diff in [
        Diff::default(),
        Diff::from_changes([]),
        Diff::from_changes([Change::changed("a", same(), same())]),
        Diff::from_changes([Change::added("a", same())]).redact(&skips_all),
    ] {
        let options = SnapshotOptions::new();
        assert_eq!((diff.snapshot(&options), diff.to_string()), Default::default());
        assert_eq!((diff.summary(), diff.patch()), Default::default());
        // JSON has no empty document.
        ends_once(diff.to_json().as_bytes());
    }
}

#[test]
fn every_other_diff_ends_with_exactly_one_line_feed() {
    let no_eol = [
        Change::changed("a", file(b"1"), file(b"2")),
        Change::changed("a", file(b"1\n"), file(b"2\n\n\n")),
        Change::changed("a", file(b"\0"), file(b"\0\n\n")),
        Change::added("a", file(b"\n\n")),
        Change::removed("a", file(b"")),
        Change::added("d", Side::dir(0o755)),
        Change::added("l", Side::symlink(*b"a\n\n")),
        Change::renamed("a", "b", file(b"1"), file(b"1")),
        Change::linked("a", "b", file(b"1")),
        Change::added(".git/x", file(b"1")),
        Change::added("a\n\n", file(b"1")),
    ];
    for change in no_eol {
        all_end_once(&Diff::from_changes([change]));
    }
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let before = random_tree(&mut rng);
        let mut after = before.clone();
        for _ in 0..6 {
            random_change(&mut rng, &mut after);
        }
        let diff = Diff::from_changes(changes(&before, &after));
        if !diff.is_empty() {
            all_end_once(&diff);
        }
    }
}

fn all_end_once(diff: &Diff) {
    let capped = SnapshotOptions::new().max_file_bytes(0);
    for text in [diff.to_string(), diff.snapshot(&capped), diff.summary(), diff.to_json()] {
        ends_once(text.as_bytes());
    }
    ends_once(&diff.patch());
}

fn ends_once(text: &[u8]) {
    let shown = text.escape_ascii();
    assert!(text.ends_with(b"\n") && !text.ends_with(b"\n\n"), "{shown}");
    assert!(text != b"\n", "{shown}");
}
