//! The bytes of the three renderings. What stands here is format version 1: a change of any of it
//! is a new version.

mod changes;
mod final_newline;
mod metadata;
mod normal_form;
mod renames;
mod review;
mod text;
mod times;

use testbench_overlay::diff::{Change, Diff, Side};

fn file(bytes: &[u8]) -> Side {
    Side::file(0o644, bytes)
}

/// All renderings, one below the other; the patch escaped where it is not printable.
fn render(changes: impl IntoIterator<Item = Change>) -> String {
    renderings(&Diff::from_changes(changes))
}

fn renderings(diff: &Diff) -> String {
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
