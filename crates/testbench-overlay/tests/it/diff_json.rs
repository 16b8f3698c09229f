//! JSON that is not ours, or no longer whole, is a clear error of its own kind.

use insta::assert_snapshot;
use testbench_overlay::diff::{Change, Diff, Document, EntryProblem, JsonError, Side};

fn sample() -> String {
    let old = Side::file(0o644, *b"one\ntwo\n");
    let new = Side::file(0o755, *b"one\n2\n");
    Diff::from_changes([
        Change::changed("a", old, new),
        Change::added(b"\xff", Side::symlink(*b"\xfe")),
        Change::renamed("x", "dir", Side::dir(0o755), Side::dir(0o755)),
    ])
    .to_json()
}

fn error(json: &str) -> JsonError {
    match Document::from_json(json) {
        Err(error) => {
            // The way through any deserializer refuses it as well.
            assert!(serde_json::from_str::<Document>(json).is_err(), "{json}");
            error
        }
        Ok(document) => panic!("no error for {json}: {document:?}"),
    }
}

/// The problem that the sample has after one replacement.
fn problem(what: &str, with: &str) -> EntryProblem {
    let json = sample();
    let changed = json.replacen(what, with, 1);
    assert_ne!(json, changed, "`{what}` is not in the sample");
    match error(&changed) {
        JsonError::Entry { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn the_sample_is_whole() {
    let document = Document::from_json(&sample()).unwrap();
    assert_eq!(document.records().len(), 3);
    assert_eq!(&*document.records()[2].path, b"\xff");
}

#[test]
fn other_json_and_other_versions() {
    assert_snapshot!(error(r#"{"format":"tape","version":1,"entries":[]}"#), @"this is not the JSON of a diff: `format` is `tape`, not `testbench-overlay-diff`");
    assert_snapshot!(error("{}"), @"this is not the JSON of a diff: `format` is missing, not `testbench-overlay-diff`");
    assert_snapshot!(error(r#"{"format":7}"#), @"this is not the JSON of a diff: `format` is missing, not `testbench-overlay-diff`");
    // What else a newer version holds does not matter.
    assert_snapshot!(
        error(r#"{"format":"testbench-overlay-diff","version":2,"changes":{"new":"shape"}}"#),
        @"the JSON of a diff is of version 2, this program reads version 1: use the one that wrote it, or a newer one"
    );
    assert_snapshot!(error(r#"{"format":"testbench-overlay-diff","version":"1","entries":[]}"#), @"the JSON of a diff is damaged: `version` is not a number");
    assert!(matches!(
        error(r#"{"format":"testbench-overlay-diff","version":3}"#),
        JsonError::Version { found: 3 }
    ));
}

#[test]
fn damaged_json() {
    assert_snapshot!(error(""), @"the JSON of a diff is damaged: EOF while parsing a value at line 1 column 0");
    assert_snapshot!(error("[]"), @"this is not the JSON of a diff: `format` is missing, not `testbench-overlay-diff`");
    assert_snapshot!(error(r#"{"format":"testbench-overlay-diff","version":1}"#), @"the JSON of a diff is damaged: missing field `entries` at line 1 column 47");
    let json = sample();
    assert_snapshot!(error(&json.replace("\"op\":\"add\"", "\"op\":\"ad\"")), @"the JSON of a diff is damaged: unknown variant `ad`, expected one of `delete`, `add`, `modify`, `rename`, `retype`, `link`, `meta` at line 4 column 32");
    assert_snapshot!(error(&json.replace("\"0755\"", "\"755\"")), @r#"the JSON of a diff is damaged: invalid value: string "755", expected four octal digits at line 2 column 166"#);
    assert_snapshot!(error(&json.replace("\"0755\"", "\"9755\"")), @r#"the JSON of a diff is damaged: invalid value: string "9755", expected four octal digits at line 2 column 167"#);
    assert_snapshot!(error(&json.replace("/w==", "/w=")), @"the JSON of a diff is damaged: Invalid padding at line 4 column 21");
    assert_snapshot!(error(&json.replace("\"kind\":\"file\",", "\"kind\":\"file\",\"more\":1,")), @"the JSON of a diff is damaged: unknown field `more`, expected one of `path`, `op`, `from`, `to`, `kind`, `old`, `new`, `text` at line 2 column 46");
    assert_snapshot!(error(&json.replace("\"path\":\"a\"", "\"path\":\"../a\"")), @"the JSON of a diff is damaged: entry 0 (`../a`): a path is empty, absolute, ends with a slash, or has a component that is empty, `.` or `..`");
}

#[test]
fn every_truncation_is_an_error() {
    let json = sample();
    let whole = json.trim_end().len();
    for end in (0..whole).filter(|end| json.is_char_boundary(*end)) {
        error(&json[..end]);
    }
}

#[test]
fn entries_that_contradict_themselves() {
    assert_eq!(problem("\"path\":\"a\"", "\"path\":\"/a\""), EntryProblem::Path);
    assert_eq!(problem("\"path\":\"a\"", "\"path\":\"\""), EntryProblem::Path);
    assert_eq!(problem("\"path\":\"a\"", "\"path\":\"a/\""), EntryProblem::Path);
    assert_eq!(problem("\"path\":\"a\"", "\"path\":\"a/./b\""), EntryProblem::Path);
    assert_eq!(problem("\"path\":\"a\"", "\"path\":\"a\\u0000\""), EntryProblem::Path);
    assert_eq!(problem("\"from\":\"x\"", "\"from\":\"..\""), EntryProblem::Path);
    assert_eq!(problem("\"path\":\"a\"", "\"path\":\"e\""), EntryProblem::Order);
    assert_eq!(problem("\"op\":\"modify\"", "\"op\":\"add\""), EntryProblem::Fields);
    assert_eq!(problem("\"op\":\"modify\"", "\"op\":\"delete\""), EntryProblem::Fields);
    assert_eq!(problem("\"op\":\"modify\"", "\"op\":\"rename\""), EntryProblem::Fields);
    assert_eq!(problem("\"op\":\"modify\"", "\"op\":\"link\""), EntryProblem::Fields);
    assert_eq!(problem("\"from\":\"x\"", "\"to\":\"x\""), EntryProblem::Fields);
    assert_eq!(problem("\"old_eol\":true,", ""), EntryProblem::Fields);
    assert_eq!(problem("\"sha256\":\"", "\"sha256\":\"0"), EntryProblem::Hash);
    assert_eq!(problem("\"old_lines\":2", "\"old_lines\":3"), EntryProblem::Hunk);
    assert_eq!(problem("\"+2\"", "\"2\""), EntryProblem::Hunk);
    assert_eq!(problem("\"+2\"", "\"\""), EntryProblem::Hunk);
}
