//! What is done through an open directory, out of which no path leads. The kernel's
//! `RESOLVE_BENEATH` is the control.

use rustix::io::Errno;

use super::fs;
use super::{Dir, Sandbox, leads_out, symlink};
use crate::std_fs::fails_with;

fn refused<T>(result: std::io::Result<T>) {
    match result {
        Ok(_) => panic!("it led out"),
        Err(error) => assert!(leads_out(&error), "{error}"),
    }
}

/// `one`, `dir/two` and `dir/inner/three`.
fn three_levels(at: &Sandbox) {
    fs::create_dir_all(at.path("dir/inner")).unwrap();
    for file in ["one", "dir/two", "dir/inner/three"] {
        fs::write(at.path(file), file).unwrap();
    }
}

pub(crate) fn paths_start_at_the_handle_and_stay_beneath_it(at: &Sandbox) {
    three_levels(at);
    let top = at.top();
    for file in ["one", "dir/two", "dir/inner/three"] {
        for way in ["", "./", "dir/../", "dir/inner/../../", "dir/inner/../inner/../../", ".//"] {
            assert_eq!(top.read(&format!("{way}{file}")).unwrap(), file.as_bytes());
        }
    }
    for path in ["two", "three", "./two", "dir/one", "dir/three", "dir/inner/one", "dir/inner/two"]
    {
        fails_with(top.read(path), Errno::NOENT);
    }
    let inner = top.open_dir("dir/inner").unwrap();
    assert_eq!(inner.read("three").unwrap(), b"dir/inner/three");
    fails_with(inner.read("one"), Errno::NOENT);
    fails_with(inner.open_dir(""), Errno::NOENT);
    for path in ["../inner/three", "../two", "../../one", "../none/x"] {
        refused(inner.read(path));
    }
    for path in ["/", "/etc", "/etc/passwd", "..", "../", "../.", "./..", "../../.."] {
        refused(inner.open_dir(path));
    }
    for path in [".", "./", "./."] {
        inner.open_dir(path).unwrap();
    }
}

pub(crate) fn links_on_the_way_are_followed_beneath_the_handle(at: &Sandbox) {
    three_levels(at);
    let top = at.top();
    top.symlink("dir", "link").unwrap();
    top.symlink("nowhere", "broken").unwrap();
    let good = ["link/../one", "link/two", "link/inner/three", "./dir/.././/link/..///./one"];
    for path in good.iter().chain(&["link/inner/../inner/../../one"]) {
        top.read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for path in ["link/one", "link/../two", "link/none", "broken/../one", "dir/../link/../none"] {
        fails_with(top.read(path), Errno::NOENT);
    }
    let inner = top.open_dir("link/inner").unwrap();
    refused(inner.read("../inner/../inner/../../link/two"));
    // A link that leads out of the handle, although not out of the tree.
    top.symlink("../../one", "dir/inner/above").unwrap();
    assert_eq!(top.read("dir/inner/above").unwrap(), b"one");
    refused(inner.read("above"));
}

pub(crate) fn the_kernels_own_links_are_not_followed(_: &Sandbox) {
    let own = Dir::ambient("/proc/self/fd");
    let names = own.names().unwrap();
    assert!(names.iter().any(|name| name == "0"));
    for name in names {
        own.read(&name).unwrap_err();
    }
    let process = Dir::ambient("/proc/self");
    process.open_dir("cwd").map(drop).unwrap_err();
    process.open_dir("root/etc").map(drop).unwrap_err();
}

pub(crate) fn the_root_of_the_machine_is_not_in_a_handle(at: &Sandbox) {
    for path in ["/", "/made", "/tmp/made"] {
        refused(at.top().create_dir(path));
    }
    assert!(at.top().names().unwrap().is_empty());
}

pub(crate) fn a_handle_sees_what_was_created_by_path(at: &Sandbox) {
    let top = at.top();
    fs::create_dir_all(at.path("d/e")).unwrap();
    assert!(top.is_dir("d").unwrap());
    assert!(top.open_dir("d").unwrap().is_dir("e").unwrap());
    assert!(top.is_dir("d/e").unwrap());
    top.open_dir("d").unwrap().create_dir("f").unwrap();
    assert!(fs::metadata(at.path("d/f")).unwrap().is_dir());
}

pub(crate) fn a_directory_is_renamed_to_itself(at: &Sandbox) {
    let top = at.top();
    top.create_dir("dir").unwrap();
    for (from, to) in [("dir", "dir"), ("dir", "dir/"), ("dir/", "dir"), ("dir/", "dir/")] {
        top.rename(from, to).unwrap();
    }
    for (from, to) in [("dir", "dir/."), ("dir/.", "dir"), ("dir", "."), (".", "dir")] {
        fails_with(top.rename(from, to), Errno::BUSY);
    }
    assert_eq!(top.names().unwrap(), ["dir"]);
}

pub(crate) fn files_are_found_by_the_names_listed(at: &Sandbox) {
    let top = at.top();
    top.create_dir("dir").unwrap();
    for n in 0..5 {
        fs::write(at.path(format!("dir/{n}")), format!("number {n}")).unwrap();
    }
    let dir = top.open_dir("dir").unwrap();
    let names = dir.names().unwrap();
    assert_eq!(names, ["0", "1", "2", "3", "4"]);
    for name in names {
        assert_eq!(dir.read(&name).unwrap(), format!("number {name}").as_bytes());
        dir.remove_file(&name).unwrap();
    }
    assert!(dir.names().unwrap().is_empty());
    fs::remove_dir(at.path("dir")).unwrap();
    fails_with(dir.create("late"), Errno::NOENT);
}

pub(crate) fn links_upwards_end_at_the_handle(at: &Sandbox) {
    fs::create_dir_all(at.path("a/b")).unwrap();
    let top = at.top();
    for (link, target) in [("c", ".."), ("d", "../.."), ("e", "../../.."), ("f", "../../../..")] {
        top.symlink(target, &format!("a/b/{link}")).unwrap();
    }
    for link in ["a/b/c", "a/b/d"] {
        assert!(top.open_dir(link).is_ok() && top.is_dir(link).unwrap());
    }
    for link in ["a/b/e", "a/b/f"] {
        refused(top.open_dir(link));
        refused(top.is_dir(link));
    }
}

pub(crate) fn a_hard_link_to_a_link_is_a_link(at: &Sandbox) {
    let top = at.top();
    fs::write(at.path("file"), "text").unwrap();
    top.symlink("file", "link").unwrap();
    top.hard_link("link", "hard").unwrap();
    assert_eq!(top.read_link("hard").unwrap(), "file");
    assert_eq!(top.read("hard").unwrap(), b"text");
    top.rename("file", "moved").unwrap();
    fails_with(top.read("link"), Errno::NOENT);
    fails_with(top.read("hard"), Errno::NOENT);
    fails_with(top.read_link("file"), Errno::NOENT);
    fails_with(top.read_link("moved"), Errno::INVAL);
    top.remove_file("moved").unwrap();
    assert_eq!((top.read_link("link").unwrap(), top.read_link("hard").unwrap()), {
        ("file".to_owned(), "file".to_owned())
    });
}

pub(crate) fn an_absolute_path_is_not_in_a_handle(at: &Sandbox) {
    let top = at.top();
    for path in ["/", "/etc", "//", "/.", "/.."] {
        refused(top.is_dir(path));
        refused(top.read(path));
        refused(top.read_link(path));
        refused(top.create(path));
        refused(top.remove_file(path));
    }
}

pub(crate) fn a_link_out_is_refused_with_and_without_slash(at: &Sandbox) {
    fs::create_dir(at.path("sandbox")).unwrap();
    symlink("../outside", at.path("sandbox/hidden")).unwrap();
    symlink("hidden/", at.path("sandbox/indirect")).unwrap();
    let sandbox = at.top().open_dir("sandbox").unwrap();
    for path in ["hidden", "hidden/", "indirect", "indirect/", "indirect/x"] {
        refused(sandbox.open_dir(path));
        refused(sandbox.read(path));
    }
}

pub(crate) fn a_link_to_an_existing_directory_outside_is_refused(at: &Sandbox) {
    fs::create_dir_all(at.path("sandbox")).unwrap();
    fs::create_dir_all(at.path("outside/inner")).unwrap();
    symlink("../outside", at.path("sandbox/hidden")).unwrap();
    symlink("hidden/", at.path("sandbox/indirect")).unwrap();
    symlink("/.", at.path("sandbox/root")).unwrap();
    let sandbox = at.top().open_dir("sandbox").unwrap();
    for link in ["hidden", "indirect", "root"] {
        for end in ["", "/", "/.", "/inner"] {
            refused(sandbox.open_dir(&format!("{link}{end}")));
        }
    }
    refused(sandbox.create("hidden/file"));
    refused(sandbox.create_dir("hidden/dir"));
    assert_eq!(fs::read_dir(at.path("outside")).unwrap().count(), 1);
}

pub(crate) fn a_handle_can_be_listed_again(at: &Sandbox) {
    let top = at.top();
    assert!(top.names().unwrap().is_empty());
    fs::write(at.path("one"), "").unwrap();
    assert_eq!(top.names().unwrap(), ["one"]);
    fs::write(at.path("two"), "").unwrap();
    assert_eq!(top.names().unwrap(), ["one", "two"]);
}

pub(crate) fn renames_stay_beneath_the_handle(at: &Sandbox) {
    let top = at.top();
    fs::create_dir_all(at.path("d/e")).unwrap();
    fs::write(at.path("d/e/file"), "text").unwrap();
    top.rename("d/e/file", "d/e/renamed").unwrap();
    assert_eq!(fs::read_dir(at.path("d/e")).unwrap().count(), 1);
    top.rename("d/e/renamed", "d/e/renamed").unwrap();
    for out in ["..", "d/../..", "/tmp", "/", "/.", "/..", "d/e/../../..", "d/e/../../../x"] {
        refused(top.rename("d/e/renamed", out));
    }
    for out in ["..", "/", "/..", "d/../../x"] {
        refused(top.rename(out, "new"));
    }
    fails_with(top.rename("d/e/renamed", "d/e/none/.."), Errno::NOENT);
    fails_with(top.rename("d/e/renamed", ""), Errno::NOENT);
    fails_with(top.rename("d/e/renamed", "d/e"), Errno::NOTEMPTY);
    fails_with(top.rename("d/e/renamed/", "new"), Errno::NOTDIR);
    for busy in ["d/..", "d/.", "d/e/../..", "."] {
        fails_with(top.rename("d/e/renamed", busy), Errno::BUSY);
    }
    top.rename("d/e", "d/e").unwrap();
    top.rename("d/e/renamed", "file").unwrap();
    assert_eq!(top.names().unwrap(), ["d", "file"]);
    fs::write(at.path("present"), "old").unwrap();
    top.rename("file", "present").unwrap();
    assert_eq!(top.names().unwrap(), ["d", "present"]);
    assert_eq!(top.read("present").unwrap(), b"text");
}

/// A handle of `dir/inner` and the one that comes of opening it again.
fn reopened(at: &Sandbox, from_inner: bool, path: &str) {
    fs::create_dir_all(at.path("dir/inner")).unwrap();
    let top = at.top();
    let inner = top.open_dir("dir/inner").unwrap();
    let again = if from_inner { inner.open_dir(path) } else { top.open_dir(path) }.unwrap();
    assert_eq!(again.identity(), inner.identity());
    again.create("file").unwrap();
    assert_eq!(inner.names().unwrap(), ["file"]);
}

pub(crate) fn reopened_as_a_dot(at: &Sandbox) {
    reopened(at, true, ".");
}

pub(crate) fn reopened_as_a_dot_and_a_slash(at: &Sandbox) {
    reopened(at, true, "./");
}

pub(crate) fn reopened_as_two_dots_and_a_slash_between(at: &Sandbox) {
    reopened(at, true, "./.");
}

pub(crate) fn reopened_by_its_path(at: &Sandbox) {
    reopened(at, false, "dir/inner");
}

pub(crate) fn reopened_by_its_path_and_a_dot(at: &Sandbox) {
    reopened(at, false, "dir/inner/.");
}

pub(crate) fn reopened_by_its_path_and_a_slash(at: &Sandbox) {
    reopened(at, false, "dir/inner/");
}

pub(crate) fn opening_without_following(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    fs::write(at.path("file"), "").unwrap();
    let top = at.top();
    top.symlink("file", "to-file").unwrap();
    let targets = ["dir", "dir/", "dir/.", "dir/..", "dir/../", ".", "./"];
    for (n, target) in targets.iter().enumerate() {
        top.symlink(target, &format!("link{n}")).unwrap();
    }
    for path in ["file", "to-file"] {
        fails_with(top.open_dir(path), Errno::NOTDIR);
        top.open_dir_nofollow(path).map(drop).unwrap_err();
    }
    for way in ["", "dir/../", "link0/../"] {
        for n in 0..targets.len() {
            let link = format!("{way}link{n}");
            top.open_dir(&link).unwrap();
            top.open_dir_nofollow(&link).map(drop).unwrap_err();
            // With something behind it, the link is not the end of the path.
            for end in ["/", "/.", "/./"] {
                let path = format!("{link}{end}");
                assert_eq!(
                    top.open_dir_nofollow(&path).unwrap().identity(),
                    top.open_dir(&path).unwrap().identity(),
                    "{path}"
                );
            }
        }
    }
    for path in ["dir", "dir/..", "dir/../", ".", "./"] {
        top.open_dir_nofollow(path).unwrap();
    }
}
