//! What paths lead to, and creating directories along them.

#[allow(unused_imports, reason = "the mirror has the same as methods of its own")]
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Sandbox;
use super::fs::{self, DirBuilder, File};
use crate::std_fs::fails_with;

fn exists(path: impl AsRef<Path>) -> bool {
    fs::exists(path).unwrap()
}

fn is_dir(path: impl AsRef<Path>) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

pub(crate) fn a_file_exists_until_it_is_removed(at: &Sandbox) {
    assert!(!exists(at.path("file")));
    fs::write(at.path("file"), "x").unwrap();
    assert!(exists(at.path("file")));
    fs::remove_file(at.path("file")).unwrap();
    assert!(!exists(at.path("file")));
    fails_with(fs::remove_file(at.path("file")), Errno::NOENT);
}

pub(crate) fn a_directory_exists_from_creation_to_removal(at: &Sandbox) {
    assert!(!exists(at.path("dir")));
    fs::create_dir(at.path("dir")).unwrap();
    assert!(exists(at.path("dir")) && is_dir(at.path("dir")));
    fails_with(fs::remove_file(at.path("dir")), Errno::ISDIR);
    fs::remove_dir(at.path("dir")).unwrap();
    assert!(!exists(at.path("dir")));
}

pub(crate) fn a_directory_is_created_once(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    fails_with(fs::create_dir(at.path("dir")), Errno::EXIST);
    fails_with(fs::create_dir(at.path("dir/")), Errno::EXIST);
    fails_with(fs::create_dir(at.path("dir/.")), Errno::EXIST);
    fs::write(at.path("file"), "").unwrap();
    fails_with(fs::create_dir(at.path("file")), Errno::EXIST);
}

pub(crate) fn missing_parents_are_created(at: &Sandbox) {
    fs::create_dir_all(at.path("one/two/three")).unwrap();
    assert!(is_dir(at.path("one")) && is_dir(at.path("one/two/three")));
    fs::create_dir_all(at.path("one/two/three")).unwrap();
    fs::write(at.path("one/file"), "").unwrap();
    fails_with(fs::create_dir_all(at.path("one/file")), Errno::EXIST);
    fails_with(fs::create_dir_all(at.path("one/file/two")), Errno::NOTDIR);
}

pub(crate) fn many_threads_create_the_same_deep_path(at: &Sandbox) {
    for round in 0..10 {
        let path = at.path(format!("{round}/{}", ["d"; 40].join("/")));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(super::carried(|| fs::create_dir_all(&path).unwrap()));
            }
        });
        assert!(is_dir(&path));
    }
}

pub(crate) fn creating_the_directory_itself_is_fine(at: &Sandbox) {
    fs::create_dir_all(at.path(".")).unwrap();
    fs::create_dir_all(at.path("")).unwrap();
    fails_with(fs::create_dir(at.path(".")), Errno::EXIST);
}

pub(crate) fn creating_no_path_at_all_is_fine(_: &Sandbox) {
    fs::create_dir_all("").unwrap();
    fails_with(fs::create_dir(""), Errno::NOENT);
}

/// Hangul, Han, kana, and a letter with a combining mark.
const NAMES: [&str; 3] = ["한글-漢字-かな", "e\u{301}", "🦀"];

pub(crate) fn names_in_any_script_are_directories(at: &Sandbox) {
    for name in NAMES {
        assert!(!is_dir(at.path(name)));
        fs::create_dir(at.path(name)).unwrap();
        assert!(is_dir(at.path(name)));
        let file = at.path(name).join(format!("file {name}"));
        File::create(&file).unwrap();
        assert!(exists(&file) && !is_dir(&file));
    }
    assert!(is_dir(at.path(".")) && !is_dir(at.path("no/such/path")));
}

pub(crate) fn names_in_any_script_exist(at: &Sandbox) {
    for name in NAMES {
        assert!(!exists(at.path(name)));
        fs::create_dir(at.path(name)).unwrap();
        assert!(exists(at.path(name)));
        assert!(!exists(at.path(name).join(name)));
    }
    // Not the same bytes, so not the same name.
    assert!(!exists(at.path("\u{e9}")));
}

pub(crate) fn a_directory_may_be_created_with_a_slash(at: &Sandbox) {
    fs::create_dir(at.path("one/")).unwrap();
    fs::create_dir_all(at.path("two/three/")).unwrap();
    fs::create_dir(at.path("two/four//")).unwrap();
    for path in ["one", "two/three", "two/four"] {
        assert!(is_dir(at.path(path)), "{path}");
    }
}

pub(crate) fn a_builder_creates_missing_parents_if_told(at: &Sandbox) {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    builder.create(at.path("d/e/f")).unwrap();
    builder.create(at.path("d/e/f")).unwrap();
    assert!(is_dir(at.path("d/e/f")));
}

pub(crate) fn a_builder_creates_one_directory_otherwise(at: &Sandbox) {
    let builder = DirBuilder::new();
    fails_with(builder.create(at.path("d/e")), Errno::NOENT);
    assert!(!exists(at.path("d")));
    builder.create(at.path("d")).unwrap();
    builder.create(at.path("d/e")).unwrap();
    fails_with(builder.create(at.path("d/e")), Errno::EXIST);
}

fn is_no_step(dir: PathBuf) {
    File::create(dir.join("file")).unwrap();
    for rest in ["file/../file", "file/..", "file/.", "file/../file/", "file/", "file/x"] {
        let path = dir.join(rest);
        fails_with(File::open(&path), Errno::NOTDIR);
        fails_with(fs::read_dir(&path), Errno::NOTDIR);
        fails_with(fs::metadata(&path), Errno::NOTDIR);
        fails_with(fs::symlink_metadata(&path), Errno::NOTDIR);
        fails_with(fs::canonicalize(&path), Errno::NOTDIR);
    }
}

pub(crate) fn a_file_is_no_step_on_the_way(at: &Sandbox) {
    is_no_step(at.path(""));
}

pub(crate) fn a_file_deeper_down_is_no_step_on_the_way(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    is_no_step(at.path("dir"));
}

pub(crate) fn exists_follows_what_is_created(at: &Sandbox) {
    assert!(!exists(at.path("d")) && !exists(at.path("d/e")));
    fs::create_dir(at.path("d")).unwrap();
    assert!(exists(at.path("d")) && !exists(at.path("d/e")));
    fs::create_dir(at.path("d/e")).unwrap();
    assert!(exists(at.path("d/e")));
    super::symlink("nowhere", at.path("dangling")).unwrap();
    assert!(!exists(at.path("dangling")));
    super::symlink("loop", at.path("loop")).unwrap();
    fails_with(fs::exists(at.path("loop")), Errno::LOOP);
}

pub(crate) fn looking_into_a_directory_needs_search_permission(at: &Sandbox) {
    DirBuilder::new().mode(0o477).create(at.path("dir")).unwrap();
    for path in ["dir", "dir/", "dir//"] {
        assert!(is_dir(at.path(path)), "{path}");
    }
    for path in ["dir/.", "dir/./", "dir/./.", "dir/..", "dir/../", "dir/../.", "dir/x"] {
        fails_with(fs::metadata(at.path(path)), Errno::ACCESS);
    }
    assert_eq!(fs::read_dir(at.path("dir")).unwrap().count(), 0);
}

pub(crate) fn search_permission_alone_leads_through(at: &Sandbox) {
    DirBuilder::new().mode(0o333).create(at.path("dir")).unwrap();
    DirBuilder::new().mode(0o111).create(at.path("dir/inner")).unwrap();
    for path in ["dir/.", "dir/inner", "dir/inner/.", "dir/inner/../inner"] {
        assert!(is_dir(at.path(path)), "{path}");
    }
    fails_with(fs::read_dir(at.path("dir")), Errno::ACCESS);
    fails_with(File::open(at.path("dir")), Errno::ACCESS);
    fails_with(File::create(at.path("dir/inner/file")), Errno::ACCESS);
    File::create(at.path("dir/file")).unwrap();
}

pub(crate) fn without_any_permission_nothing_opens(at: &Sandbox) {
    DirBuilder::new().mode(0o000).create(at.path("dir")).unwrap();
    assert!(is_dir(at.path("dir")));
    fails_with(File::open(at.path("dir")), Errno::ACCESS);
    fails_with(fs::read_dir(at.path("dir")), Errno::ACCESS);
    fails_with(File::open(at.path("dir/.")), Errno::ACCESS);
    fails_with(File::create(at.path("dir/file")), Errno::ACCESS);
    fs::remove_dir(at.path("dir")).unwrap();
}

pub(crate) fn a_nul_byte_is_refused_everywhere(at: &Sandbox) {
    fn refused<T>(on: &str, result: std::io::Result<T>) {
        let Err(error) = result else { panic!("{on} took a NUL byte") };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{on}: {error}");
    }
    fs::write(at.path("file"), "").unwrap();
    let (nul, file) = (at.path("a\0b"), at.path("file"));
    refused("open", File::open(&nul));
    refused("create", File::create(&nul));
    refused("read_dir", fs::read_dir(&nul));
    refused("metadata", fs::metadata(&nul));
    refused("symlink_metadata", fs::symlink_metadata(&nul));
    refused("exists", fs::exists(&nul));
    refused("remove_file", fs::remove_file(&nul));
    refused("remove_dir", fs::remove_dir(&nul));
    refused("remove_dir_all", fs::remove_dir_all(&nul));
    refused("create_dir", fs::create_dir(&nul));
    refused("create_dir_all", fs::create_dir_all(&nul));
    refused("rename from", fs::rename(&nul, at.path("a")));
    refused("rename to", fs::rename(&file, &nul));
    refused("hard_link from", fs::hard_link(&nul, at.path("a")));
    refused("hard_link to", fs::hard_link(&file, &nul));
    refused("symlink to", super::symlink("file", &nul));
    refused("symlink target", super::symlink("a\0b", at.path("a")));
    refused("read_link", fs::read_link(&nul));
    refused("canonicalize", fs::canonicalize(&nul));
    refused("copy from", fs::copy(&nul, at.path("a")));
    refused("copy to", fs::copy(&file, &nul));
    let permissions = fs::metadata(&file).unwrap().permissions();
    refused("set_permissions", fs::set_permissions(&nul, permissions));
    assert_eq!(fs::read_dir(at.path("")).unwrap().count(), 1);
}
