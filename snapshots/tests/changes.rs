//! Each kind of change, made by ordinary tools, as it is reviewed.

mod scene;

use scene::{Scene, snapshots_of};
use testbench_harness::assert_overlay_snapshot;

const TREE: [(&str, &str); 5] = [
    ("a.txt", "one\ntwo\nthree\n"),
    ("b.txt", "b\n"),
    ("dir/c.txt", "c\n"),
    ("dir/sub/d.txt", "d\n"),
    ("empty", ""),
];

/// Runs the lines and asserts on the snapshot of this name.
#[track_caller]
fn check(name: &str, lines: &[&str]) {
    let scene = Scene::new(&TREE);
    let transcript = scene.run(lines);
    assert!(!transcript.contains("  [exit status"), "{transcript}");
    snapshots_of("testbench-overlay", || assert_overlay_snapshot!(name, scene.session));
}

#[test]
fn nothing_changes() {
    check(
        "nothing",
        &["cat a.txt", "ls -l dir", "cp a.txt new", "rm new", "mv b.txt x", "mv x b.txt"],
    );
}

#[test]
fn files_are_added_changed_and_removed() {
    check("files", &["cp dir/c.txt a.txt", "cp a.txt dir/new.txt", "rm b.txt", "touch dir/sub/e"]);
}

#[test]
fn directories_are_made_moved_and_removed() {
    check(
        "directories",
        &["mv dir moved", "mkdir -p x/y/z", "cp b.txt moved/sub/b.txt", "rm moved/c.txt"],
    );
}

#[test]
fn kinds_change_and_links_appear() {
    check(
        "kinds",
        &[
            "rm empty",
            "mkdir empty",
            "ln -s ../b.txt dir/link",
            "ln a.txt hard.txt",
            "rm -r dir/sub",
        ],
    );
}

#[test]
fn a_tree_grows() {
    check("tree", &["mktree grown 2 2"]);
}
