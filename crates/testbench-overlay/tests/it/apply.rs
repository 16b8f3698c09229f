//! What `Overlay::apply` makes of a tree, and what `look` and its kin see.
#![allow(clippy::disallowed_methods, reason = "tests prepare real directories")]

use std::fs;
use std::sync::Arc;

use testbench_overlay::diff::Side;
use testbench_overlay::{
    Create, Errno, FileKind, Follow, Fs, GuestPath, OpenHow, Overlay, Put, SetTimes,
};

fn tree() -> (tempfile::TempDir, Arc<Overlay>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("d/sub")).unwrap();
    fs::write(dir.path().join("d/one"), "1").unwrap();
    fs::write(dir.path().join("d/sub/two"), "22").unwrap();
    fs::write(dir.path().join("top"), "top\n").unwrap();
    std::os::unix::fs::symlink("d", dir.path().join("link")).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    (dir, overlay)
}

fn file(text: &str) -> Option<Side> {
    Some(Side::file(0o644, text.as_bytes()))
}

/// All of a tree, as paths and what is there.
fn all(overlay: &Overlay) -> Vec<(Vec<u8>, Side)> {
    let paths = overlay.beneath(b"").unwrap();
    let look = |path: Vec<u8>| {
        let side = overlay.look(&path).unwrap().unwrap().side;
        (path, side)
    };
    paths.into_iter().map(look).collect()
}

#[test]
fn a_diff_put_onto_a_copy_gives_the_same_tree_and_the_same_diff() {
    let (_dir, overlay) = tree();
    let other = overlay.fork();
    let top = overlay.root().unwrap();
    let at = |path: &'static str| GuestPath::new(path.as_bytes());
    overlay.rename_at(&*top, at("d"), &*top, at("e")).unwrap();
    overlay.remove_file_at(&*top, at("e/one")).unwrap();
    overlay.create_dir_at(&*top, at("e/one"), 0o700).unwrap();
    overlay.symlink_at(b"../top", &*top, at("e/one/up")).unwrap();
    overlay.link_at(&*top, at("top"), Follow::No, &*top, at("zzz")).unwrap();
    overlay.remove_file_at(&*top, at("link")).unwrap();

    let mut puts: Vec<Put> = ["d", "d/one", "d/sub", "d/sub/two", "link"]
        .map(|path| Put::new(path.as_bytes(), None))
        .into();
    for (path, side) in all(&overlay) {
        let mut put = Put::new(path.clone(), Some(side));
        put.moved_from = (path == b"e").then(|| b"d".to_vec());
        put.link_to = (path == b"zzz").then(|| b"top".to_vec());
        puts.push(put);
    }
    puts.reverse();
    other.apply(&puts).unwrap();
    assert_eq!(all(&other), all(&overlay));
    assert_eq!(other.diff().unwrap().to_string(), overlay.diff().unwrap().to_string());
    assert!(overlay.diff().unwrap().summary().contains("R d/ -> e/"), "the move was kept");
    assert!(overlay.diff().unwrap().summary().contains("L "), "and the link");
    // Once more changes nothing.
    let before = other.diff().unwrap();
    other.apply(&puts).unwrap();
    assert_eq!(other.diff().unwrap(), before);
}

#[test]
fn a_fresh_file_leaves_the_other_names_of_the_old_one_alone() {
    let (_dir, overlay) = tree();
    let top = overlay.root().unwrap();
    overlay
        .link_at(&*top, GuestPath::new(b"top"), Follow::No, &*top, GuestPath::new(b"other"))
        .unwrap();
    let text = |path: &[u8]| overlay.look(path).unwrap().unwrap().side.bytes().unwrap().to_vec();

    overlay.apply(&[Put::new("top", file("in place"))]).unwrap();
    assert_eq!(text(b"other"), b"in place");
    overlay.apply(&[Put { fresh: true, ..Put::new("top", file("new")) }]).unwrap();
    assert_eq!((text(b"top"), text(b"other")), (b"new".to_vec(), b"in place".to_vec()));
}

#[test]
fn permission_bits_do_not_get_in_the_way() {
    let (_dir, overlay) = tree();
    overlay.apply(&[Put::new("d", Some(Side::dir(0o000)))]).unwrap();
    overlay.apply(&[Put::new("d/one", file("still")), Put::new("d/sub/two", None)]).unwrap();
    assert_eq!(overlay.look(b"d/one").unwrap().unwrap().side, file("still").unwrap());
    assert_eq!(overlay.look(b"d/sub/two").unwrap(), None);
    assert_eq!(overlay.look(b"d").unwrap().unwrap().side.mode, 0);
}

#[test]
fn what_does_not_fit_names_its_path() {
    let (_dir, overlay) = tree();
    let fails = |put: Put| overlay.apply(&[put]).unwrap_err().to_string();
    insta::assert_snapshot!(fails(Put::new("no/such/dir", file(""))), @"cannot change `no/such/dir`: no such file or directory (ENOENT); the files are not those of the recording");
    insta::assert_snapshot!(fails(Put::new("d", None)), @"cannot change `d`: directory not empty (ENOTEMPTY); the files are not those of the recording");
    insta::assert_snapshot!(fails(Put::new("top/x", file(""))), @"cannot change `top/x`: not a directory (ENOTDIR); the files are not those of the recording");
    let dangling = Put { link_to: Some(b"gone".to_vec()), ..Put::new("x", file("")) };
    insta::assert_snapshot!(fails(dangling), @"cannot change `x`: no such file or directory (ENOENT); the files are not those of the recording");
}

#[test]
fn names_and_places_are_without_symlinks() {
    let (_dir, overlay) = tree();
    let top = overlay.root().unwrap();
    let place = |path: &str, follow| {
        overlay
            .place_of(&*top, GuestPath::new(path.as_bytes()), follow)
            .map(|path| String::from_utf8(path).unwrap())
    };
    assert_eq!(place("link/new", Follow::Yes), Ok("d/new".into()));
    assert_eq!(place("link", Follow::No), Ok("link".into()));
    assert_eq!(place("link", Follow::Yes), Ok("d".into()));
    assert_eq!(place("d/sub/..", Follow::Yes), Ok("d".into()));
    assert_eq!(place(".", Follow::Yes), Ok(String::new()));
    assert_eq!(place("no/where", Follow::Yes), Err(Errno::Noent));

    let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
    let open = overlay.open_at(&*top, GuestPath::new(b"link/new"), &how).unwrap();
    assert_eq!(overlay.names_of(&*open).unwrap(), [b"d/new"]);
    overlay.rename_at(&*top, GuestPath::new(b"d"), &*top, GuestPath::new(b"moved")).unwrap();
    assert_eq!(overlay.names_of(&*open).unwrap(), [b"moved/new"]);
    overlay.remove_file_at(&*top, GuestPath::new(b"moved/new")).unwrap();
    assert!(overlay.names_of(&*open).unwrap().is_empty());
    assert_eq!(overlay.names_of(&*top).unwrap(), [b""]);
    assert_eq!(overlay.names_of(&*Overlay::new(".").unwrap().root().unwrap()), Err(Errno::Xdev));
}

#[test]
fn a_look_tells_kind_content_and_time() {
    let (_dir, overlay) = tree();
    let seen = overlay.look(b"link").unwrap().unwrap();
    assert_eq!((seen.side.kind, seen.side.bytes()), (FileKind::Symlink, Some(&b"d"[..])));
    assert_eq!(overlay.look(b"top/below").unwrap(), None);
    let top = overlay.root().unwrap();
    let mtime = testbench_clock::WallTime::from_unix_secs(7);
    let times = SetTimes { mtime: Some(testbench_overlay::SetTime::At(mtime)), atime: None };
    overlay.set_times_at(&*top, GuestPath::new(b"top"), Follow::No, times).unwrap();
    assert_eq!(overlay.look(b"top").unwrap().unwrap().mtime, mtime);
    overlay.apply(&[Put::new("top", file("later"))]).unwrap();
    assert_ne!(overlay.look(b"top").unwrap().unwrap().mtime, mtime);
    let put = Put { mtime: Some(mtime), ..Put::new("top", file("later")) };
    overlay.apply(&[put]).unwrap();
    assert_eq!(overlay.look(b"top").unwrap().unwrap().mtime, mtime);
}
