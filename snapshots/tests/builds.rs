//! A pretend build in an overlay: what it prints, how long it takes, and what it leaves, in each
//! rendering of the diff.

mod scene;

use insta::assert_snapshot;
use scene::{Scene, snapshots_of};
use testbench_harness::assert_overlay_snapshot;

const PROJECT: [(&str, &str); 4] = [
    ("src/main.src", "#include \"util.inc\"\nmain\n"),
    ("src/util.inc", "util\n"),
    ("src/other.src", "other\n"),
    ("README.md", "# A project\n"),
];

#[test]
fn a_first_build_and_a_second_one_after_a_change() {
    let scene = Scene::new(&PROJECT);
    let first = scene.run(&["date", "build src out", "date", "ls -R out"]);
    let first_diff = scene.session.diff().unwrap();
    let second = scene.run(&["tee src/more.src", "rm src/other.src", "build src out", "date"]);

    snapshots_of("testbench-harness", || {
        assert_snapshot!("build_transcript", format!("{first}--\n{second}"));
    });
    snapshots_of("testbench-overlay", || {
        assert_overlay_snapshot!("build_first", first_diff);
        assert_overlay_snapshot!("build_second", scene.session);
        let diff = scene.session.diff().unwrap();
        assert_snapshot!("build_second_json", diff.to_json());
        assert_snapshot!("build_second_patch", String::from_utf8_lossy(&diff.patch()));
    });
}
