//! Makes a script that shows something as short as it can.

use crate::script::Script;

/// The shortest script found for which `shows` still holds: whole stretches are left out first,
/// then single operations, until nothing more can go. An operation that has lost its descriptor
/// answers `EBADF` everywhere, so any part of a script is a script.
pub(crate) fn shrink(script: &Script, shows: impl Fn(&Script) -> bool) -> Script {
    let mut lines = script.lines().to_vec();
    let mut stretch = lines.len().div_ceil(2);
    while stretch > 0 {
        let mut at = 0;
        let mut any = false;
        while at < lines.len() {
            let mut shorter = lines.clone();
            shorter.drain(at..(at + stretch).min(lines.len()));
            if shows(&Script::of(shorter.clone())) {
                lines = shorter;
                any = true;
            } else {
                at += stretch;
            }
        }
        // A later operation may have needed one that can go now.
        stretch = if any && stretch == 1 { 1 } else { stretch / 2 };
    }
    Script::of(lines)
}

#[test]
fn what_is_left_is_what_matters() {
    let line = |n: u32| format!("line {n}");
    let script = Script::of((0..40).map(line).collect());
    let shows =
        |script: &Script| script.lines().contains(&line(7)) && script.lines().contains(&line(31));
    assert_eq!(shrink(&script, shows).lines(), [line(7), line(31)]);
}
