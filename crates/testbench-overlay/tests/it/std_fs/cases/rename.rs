//! Renaming by path.

use std::path::Path;

use rustix::io::Errno;

use super::Sandbox;
use super::fs;
use crate::std_fs::fails_with;

pub(crate) fn a_directory_is_renamed_to_itself(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    for (from, to) in [("dir", "dir"), ("dir", "dir/"), ("dir/", "dir"), ("dir/", "dir/")] {
        fs::rename(at.path(from), at.path(to)).unwrap();
        assert!(fs::metadata(at.path("dir")).unwrap().is_dir());
    }
    for (from, to) in [("dir", "dir/."), ("dir/.", "dir"), ("dir", "dir/.."), ("dir/..", "dir")] {
        fails_with(fs::rename(at.path(from), at.path(to)), Errno::BUSY);
    }
    fails_with(fs::rename(at.path("dir"), at.path("dir/inner")), Errno::INVAL);
}

pub(crate) fn a_directory_moves_with_what_it_holds(at: &Sandbox) {
    let (old, new) = (Path::new("a/b/c"), Path::new("x/y"));
    fs::create_dir_all(at.path(old)).unwrap();
    fs::create_dir_all(at.path(new)).unwrap();
    fs::write(at.path(old).join("file"), "text").unwrap();
    fs::rename(at.path(old), at.path(new).join("moved")).unwrap();
    assert!(fs::metadata(at.path(new).join("moved")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(at.path("x/y/moved/file")).unwrap(), "text");
    assert!(!fs::exists(at.path(old)).unwrap());
    fs::remove_dir(at.path("a/b")).unwrap();
}
