//! Directories into which an overlay is written, and out of which it is read back.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use testbench_overlay::{Diff, Overlay, capture, fs, install};

use crate::escape::arena::{Arena, HIDDEN, OPEN, SECRET};

#[test]
fn links_that_a_tool_leaves_are_links_and_not_what_they_lead_to() {
    let arena = Arena::new(|_, _| {});
    let (root, outside) = (arena.root(), arena.outside());
    let changes = |copy: &Path| -> std::io::Result<()> {
        symlink(&outside, copy.join("absolute"))?;
        symlink("../../../../../../../..", copy.join("up"))?;
        std::fs::remove_dir_all(copy.join("in"))?;
        symlink(&outside, copy.join("in"))?;
        std::fs::remove_file(copy.join("open"))?;
        symlink(outside.join(SECRET), copy.join("open"))?;
        symlink("/proc/self/root", copy.join("magic"))
    };
    let summary = "A absolute (symlink)\nT in (dir -> symlink)\nD in/deep/\nD in/deep/open\n\
                   D in/open\nA magic (symlink)\nT open (file -> symlink)\nA up (symlink)\n";
    let diff = capture(&root, changes).unwrap();
    assert_eq!(diff.summary(), summary);
    assert!(!diff.to_string().contains(HIDDEN), "{diff}");

    let out = tempfile::tempdir().unwrap();
    let overlay = Overlay::new(&root).unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    changes(out.path()).unwrap();
    written.absorb().unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), summary);
    assert_eq!(Diff::between(&root, out.path()).unwrap().summary(), summary);

    // And from there to the real directory, which then holds the links.
    let _installed = install(overlay.clone());
    assert!(fs::read(root.join("in").join(SECRET)).is_err());
    overlay.commit().unwrap();
    assert_eq!(std::fs::read_link(root.join("in")).unwrap(), outside);
    // A commit through them is refused.
    let overlay = Overlay::new(&root).unwrap();
    let _installed = install(overlay.clone());
    assert!(fs::write(root.join("in/new"), "x").is_err());
    assert!(fs::write(root.join("open"), "x").is_err());
    assert!(overlay.diff().unwrap().is_empty());
    arena.check();
}

#[test]
fn a_copy_that_was_moved_or_replaced_is_not_read() {
    let arena = Arena::new(|_, _| {});
    let replacements: [(&str, fn(&Path, &Path)); 3] = [
        ("a symlink", |out, outside| symlink(outside, out).unwrap()),
        ("another directory", |out, _| std::fs::create_dir(out).unwrap()),
        ("nothing", |_, _| {}),
    ];
    for (what, replace) in replacements {
        let base = tempfile::tempdir().unwrap();
        let out = base.path().join("out");
        let overlay = Overlay::new(arena.root()).unwrap();
        let mut written = overlay.materialize(&out).unwrap();
        std::fs::rename(&out, base.path().join("away")).unwrap();
        replace(&out, &arena.outside());
        let error = written.absorb().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{what}");
        let text = error.to_string();
        assert!(text.contains("out") && text.contains("replaced"), "{text}");
        assert!(overlay.diff().unwrap().is_empty(), "{what}: nothing was taken for removed");
    }
    arena.check();
}

#[test]
fn nothing_is_written_into_a_directory_that_holds_something_or_is_none() {
    let arena = Arena::new(|_, _| {});
    let full = tempfile::tempdir().unwrap();
    std::fs::write(full.path().join("kept"), "").unwrap();
    let overlay = Overlay::new(arena.root()).unwrap();
    for (target, kind) in [
        (arena.root(), ErrorKind::InvalidInput),
        (arena.root().join("open"), ErrorKind::InvalidInput),
        (arena.root().join("open/below"), ErrorKind::InvalidInput),
        (full.path().to_path_buf(), ErrorKind::DirectoryNotEmpty),
        (full.path().join("kept"), ErrorKind::AlreadyExists),
        (full.path().join("kept/below"), ErrorKind::NotADirectory),
    ] {
        let error = overlay.materialize(&target).unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {error}", target.display());
    }
    assert_eq!(std::fs::read_to_string(arena.root().join("open")).unwrap(), OPEN);
    arena.check();
}
