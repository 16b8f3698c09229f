//! Listing directories.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::Path;

use rustix::io::Errno;

use super::Sandbox;
use super::fs;
use crate::std_fs::fails_with;

fn names(path: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn entries_know_what_they_are(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    fs::write(at.path("file"), "four").unwrap();
    super::symlink("dir", at.path("link")).unwrap();
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(at.path("")).unwrap() {
        let entry = entry.unwrap();
        let (listed, asked) = (entry.file_type().unwrap(), entry.metadata().unwrap());
        assert_eq!(listed, asked.file_type());
        assert_eq!(entry.path(), at.path(entry.file_name()));
        assert_eq!(entry.ino(), asked.ino());
        let kind = (listed.is_dir(), listed.is_file(), listed.is_symlink());
        seen.insert(entry.file_name().into_string().unwrap(), kind);
    }
    let wanted = [
        ("dir", (true, false, false)),
        ("file", (false, true, false)),
        ("link", (false, false, true)),
    ];
    assert_eq!(seen, wanted.map(|(name, kind)| (name.to_owned(), kind)).into());
}

pub(crate) fn every_file_of_a_directory_is_listed_once(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    for n in 0..300 {
        fs::write(at.path(format!("dir/{n}.txt")), format!("number {n}")).unwrap();
    }
    let listed = names(at.path("dir"));
    assert_eq!(listed.len(), 300);
    for name in &listed {
        let text = fs::read_to_string(at.path("dir").join(name)).unwrap();
        assert_eq!(format!("{}.txt", text.strip_prefix("number ").unwrap()), *name);
        fs::remove_file(at.path("dir").join(name)).unwrap();
    }
    assert!(names(at.path("dir")).is_empty());
    fs::remove_dir(at.path("dir")).unwrap();
}

pub(crate) fn an_entry_prints_its_path(at: &Sandbox) {
    fs::write(at.path("b"), "").unwrap();
    let entry = fs::read_dir(at.path("")).unwrap().next().unwrap().unwrap();
    assert_eq!(format!("{entry:?}"), format!("DirEntry({:?})", at.path("b")));
}

pub(crate) fn listing_what_is_missing(at: &Sandbox) {
    fs::write(at.path("file"), "").unwrap();
    fails_with(fs::read_dir(at.path("not/there")), Errno::NOENT);
    fails_with(fs::read_dir(at.path("file")), Errno::NOTDIR);
}

pub(crate) fn a_slash_and_a_dot_change_nothing(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    for name in ["x", "y", "z"] {
        fs::write(at.path("dir").join(name), "").unwrap();
    }
    for path in ["dir", "dir/", "dir/.", "dir/./", "./dir", "dir/../dir//"] {
        assert_eq!(names(at.path(path)), ["x", "y", "z"], "{path}");
    }
}

pub(crate) fn new_files_show_up(at: &Sandbox) {
    assert!(names(at.path("")).is_empty());
    fs::write(at.path("one"), "").unwrap();
    assert_eq!(names(at.path("")), ["one"]);
    let before = fs::read_dir(at.path("")).unwrap();
    fs::write(at.path("two"), "").unwrap();
    assert_eq!(names(at.path("")), ["one", "two"]);
    fs::remove_file(at.path("one")).unwrap();
    assert_eq!(names(at.path("")), ["two"]);
    assert!(before.count() >= 1);
}
