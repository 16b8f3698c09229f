//! What names stand for: removed, moved, linked, taken again.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use testbench_overlay::{
    Errno, Follow, Fs as _, GuestPath, MemoryDir, OpenHow, Overlay, fs, install,
};

use crate::common;
use crate::overlay::bench;

#[test]
fn a_deleted_directory_hides_all_that_was_in_it_and_stays_empty_when_made_anew() {
    let b = bench(&[("d/a", "1"), ("d/e/b", "2"), ("keep", "")]);
    fs::remove_dir_all(b.at("d")).unwrap();
    assert_eq!(b.names(""), ["keep"]);
    assert_eq!(fs::read(b.at("d/e/b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(b.summary(), "D d/\nD d/a\nD d/e/\nD d/e/b\n");
    fs::create_dir(b.at("d")).unwrap();
    assert!(b.names("d").is_empty());
    fs::create_dir(b.at("d/e")).unwrap();
    assert!(b.names("d/e").is_empty());
    assert_eq!(b.summary(), "D d/a\nD d/e/b\n");
}

#[test]
fn a_moved_directory_takes_along_what_nobody_has_looked_at() {
    let b = bench(&[("d/a", "1"), ("d/e/b", "2")]);
    fs::rename(b.at("d"), b.at("m")).unwrap();
    assert_eq!(b.summary(), "R d/ -> m/\n");
    assert_eq!(b.read("m/e/b"), "2");
    fs::write(b.at("m/e/b"), "3").unwrap();
    fs::remove_file(b.at("m/a")).unwrap();
    fs::write(b.at("m/new"), "x").unwrap();
    fs::create_dir(b.at("d")).unwrap();
    assert!(b.names("d").is_empty());
    assert_eq!(b.names("m"), ["e", "new"]);
    fs::remove_dir(b.at("d")).unwrap();
    fs::rename(b.at("m"), b.at("d")).unwrap();
    assert_eq!(b.summary(), "D d/a\nM d/e/b\nA d/new\n");
}

#[test]
fn what_comes_to_nothing_is_not_in_the_diff() {
    let b = bench(&[("a", "text"), ("d/b", "")]);
    fs::write(b.at("a"), "other").unwrap();
    fs::write(b.at("a"), "text").unwrap();
    fs::write(b.at("t"), "").unwrap();
    fs::remove_file(b.at("t")).unwrap();
    fs::rename(b.at("d"), b.at("e")).unwrap();
    fs::rename(b.at("e"), b.at("d")).unwrap();
    fs::remove_file(b.at("d/b")).unwrap();
    fs::write(b.at("d/b"), "").unwrap();
    assert!(b.overlay.diff().unwrap().is_empty(), "{}", b.summary());
}

#[test]
fn hard_links_are_one_file() {
    let b = bench(&[("a", "text")]);
    fs::hard_link(b.at("a"), b.at("b")).unwrap();
    fs::write(b.at("b"), "changed").unwrap();
    assert_eq!(b.read("a"), "changed");
    assert_eq!(fs::metadata(b.at("a")).unwrap().stat().nlink, 2);
    fs::remove_file(b.at("a")).unwrap();
    assert_eq!(b.read("b"), "changed");
    assert_eq!(fs::metadata(b.at("b")).unwrap().stat().nlink, 1);
}

#[test]
fn lower_hard_links_stay_one_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "text").unwrap();
    std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    let _installed = install(Overlay::new(dir.path()).unwrap());
    fs::write(dir.path().join("a"), "changed").unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "changed");
    let ino = |name: &str| fs::metadata(dir.path().join(name)).unwrap().stat().ino;
    assert_eq!(ino("a"), ino("b"));
    assert_eq!(std::fs::read_to_string(dir.path().join("b")).unwrap(), "text");
}

#[test]
fn a_new_file_moved_over_an_old_one_is_a_modification() {
    let b = bench(&[("a", "old\n")]);
    fs::write(b.at(".a.tmp"), "new\n").unwrap();
    fs::rename(b.at(".a.tmp"), b.at("a")).unwrap();
    assert_eq!(b.summary(), "M a\n");
    assert_eq!(b.names(""), ["a"]);
}

#[test]
fn a_name_can_change_its_kind() {
    let b = bench(&[("a", "1"), ("d/x", "2")]);
    fs::remove_file(b.at("a")).unwrap();
    fs::create_dir(b.at("a")).unwrap();
    fs::write(b.at("a/in"), "").unwrap();
    fs::remove_dir_all(b.at("d")).unwrap();
    fs::symlink("a", b.at("d")).unwrap();
    assert_eq!(b.names("d"), ["in"]);
    let diff = b.overlay.diff().unwrap().to_string();
    assert!(diff.contains("a/in") && diff.contains("d/x"), "{diff}");
}

/// The directory above it is another one, so that its own entry there says nothing of it.
#[test]
fn what_comes_back_to_its_place_has_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::create_dir_all(at("a/b/deep")).unwrap();
    for file in ["a/f", "a/b/f", "a/b/deep/f"] {
        std::fs::write(at(file), file).unwrap();
    }
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::create_dir(at("c")).unwrap();
    fs::rename(at("a/b"), at("c/b")).unwrap();
    fs::rename(at("a"), at("old")).unwrap();
    fs::rename(at("c"), at("a")).unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "A a/\nR a/ -> old/\n");
    // Nor has what is deeper down, under several new directories.
    fs::rename(at("a/b/deep"), at("deep")).unwrap();
    fs::remove_dir_all(at("a")).unwrap();
    fs::remove_dir_all(at("old")).unwrap();
    fs::create_dir_all(at("a/b")).unwrap();
    fs::rename(at("deep"), at("a/b/deep")).unwrap();
    fs::write(at("a/b/deep/new"), "new").unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "A a/b/deep/new\nD a/b/f\nD a/f\n");
    overlay.commit().unwrap();
    assert_eq!(std::fs::read_to_string(at("a/b/deep/f")).unwrap(), "a/b/deep/f");
}

#[test]
fn where_a_handle_is_can_be_asked_behind_the_stages_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/a"), "").unwrap();
    let mounted = Arc::new(MemoryDir::builder().file("x", "").build().unwrap());
    let builder = || Overlay::builder(dir.path());
    let log = testbench_overlay::pipeline::Audit::new();
    for overlay in
        [builder().build().unwrap(), builder().audit(&log).mount("m", mounted).build().unwrap()]
    {
        let top = overlay.root().unwrap();
        let open = |path: &str| overlay.open_at(&*top, GuestPath::new(path), &OpenHow::READ);
        let (d, a) = (open("d").unwrap(), open("d/a").unwrap());
        overlay.link_at(&*d, GuestPath::new("a"), Follow::No, &*top, GuestPath::new("b")).unwrap();
        assert_eq!(overlay.names_of(&*top).unwrap(), [b""]);
        assert_eq!(overlay.names_of(&*d).unwrap(), [b"d"]);
        assert_eq!(overlay.names_of(&*a).unwrap(), [&b"b"[..], b"d/a"]);
        let place = |name: &str| overlay.place_of(&*d, GuestPath::new(name), Follow::Yes);
        assert_eq!(place("a").unwrap(), b"d/a");
        assert_eq!(place("new").unwrap(), b"d/new");
        overlay.rename_at(&*top, GuestPath::new("d"), &*top, GuestPath::new("e")).unwrap();
        assert_eq!(place("a").unwrap(), b"e/a");
        let foreign = Overlay::new(dir.path()).unwrap();
        assert_eq!(foreign.names_of(&*a), Err(Errno::Xdev));
        if let Ok(inside) = open("m/x") {
            assert_eq!(overlay.names_of(&*inside), Err(Errno::Xdev));
        }
    }
}

/// What is left after a removal that fails depends on the order of the listing, which is the bytes'
/// here and nobody's on a disk; in that order both stop at the first thing that cannot be removed.
macro_rules! remove_half_way {
    ($root:expr, $fs:path, $mode:path) => {{
        use $fs as fs;
        let dir = $root.join("dir");
        for name in ["a", "b", "c", "d", "e", "f"] {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("file"), "").unwrap();
        }
        for shut in ["b", "e"] {
            fs::set_permissions(dir.join(shut), $mode(0o500)).unwrap();
        }
        let names = || -> Vec<_> {
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        let before = names();
        let error = fs::remove_dir_all(&dir).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        let stopped_at = before.iter().position(|name| name == "b" || name == "e").unwrap();
        assert_eq!(names(), before[stopped_at..]);
        for shut in ["b", "e"] {
            fs::set_permissions(dir.join(shut), $mode(0o700)).unwrap();
        }
    }};
}

#[test]
fn a_removal_that_fails_has_removed_what_comes_before_in_the_listing() {
    let b = bench(&[("dir/a/lower", "")]);
    remove_half_way!(b.dir.path(), testbench_overlay::fs, fs::Permissions::from_mode);
    assert_eq!(b.names("dir"), ["b", "c", "d", "e", "f"]);
}

#[test]
fn a_removal_that_fails_has_removed_what_comes_before_in_the_listing_of_a_disk() {
    use std::os::unix::fs::PermissionsExt as _;

    const NAME: &str = "overlay::names::a_removal_that_fails_has_removed_what_comes_before_in_the_listing_of_a_disk";
    if common::is_root() {
        common::rerun_as_nobody(NAME);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    remove_half_way!(dir.path(), std::fs, std::fs::Permissions::from_mode);
}
