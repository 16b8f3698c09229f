//! What files keep, and where they are not followed.

use std::fs as disk;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use testbench_overlay::{CommitOptions, Overlay, fs, install};

use crate::commit::{lower, overlay};
use crate::common;
use crate::common::{Host, tree};

#[test]
fn owner_and_extended_attributes_of_a_changed_file_stay() {
    let dir = lower();
    let file = dir.path().join("a");
    let value = b"value";
    let flags = rustix::fs::XattrFlags::empty();
    let has_xattrs = rustix::fs::setxattr(&file, "user.test", value, flags).is_ok();
    if common::is_root() {
        std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
    }
    disk::set_permissions(&file, disk::Permissions::from_mode(0o6751)).unwrap();
    let before = disk::metadata(&file).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(&file, "after").unwrap();
    overlay.commit().unwrap();
    let after = disk::metadata(&file).unwrap();
    assert_eq!(
        (after.uid(), after.gid(), after.mode()),
        (before.uid(), before.gid(), before.mode())
    );
    assert_ne!(after.ino(), before.ino(), "written beside and renamed");
    if has_xattrs {
        let mut buf = [0; 16];
        let len = rustix::fs::getxattr(&file, "user.test", &mut buf[..]).unwrap();
        assert_eq!(&buf[..len], value);
    }
}

#[test]
fn a_file_with_a_name_outside_is_not_changed_there() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    disk::create_dir(&root).unwrap();
    for name in ["written", "chmod", "moved", "deleted"] {
        disk::write(dir.path().join(name), name).unwrap();
        disk::hard_link(dir.path().join(name), root.join(name)).unwrap();
    }
    disk::write(&outside, "outside").unwrap();
    symlink(&outside, root.join("link")).unwrap();
    let before = tree::<Host>(dir.path());
    let overlay = overlay(&root);
    let _installed = install(overlay.clone());
    fs::write(root.join("written"), "changed").unwrap();
    fs::set_permissions(root.join("chmod"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(root.join("moved"), root.join("here")).unwrap();
    fs::remove_file(root.join("deleted")).unwrap();
    assert!(fs::write(root.join("link"), "through").is_err());
    overlay.commit().unwrap();
    let after = tree::<Host>(dir.path());
    for name in ["written", "chmod", "moved", "deleted", "outside"] {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
    assert_eq!(disk::read_to_string(root.join("written")).unwrap(), "changed");
    assert_eq!(disk::metadata(root.join("chmod")).unwrap().mode() & 0o777, 0o600);
    let ino = |path: &Path| disk::metadata(path).unwrap().ino();
    assert_eq!(ino(&root.join("here")), ino(&dir.path().join("moved")), "moved, not copied");
}

#[test]
fn all_names_of_a_changed_file_are_changed_seen_or_not() {
    let dir = lower();
    disk::create_dir_all(dir.path().join("deep/er")).unwrap();
    disk::hard_link(dir.path().join("a"), dir.path().join("deep/er/unseen")).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "after").unwrap();
    fs::rename(dir.path().join("deep"), dir.path().join("e/moved")).unwrap();
    overlay.commit().unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("e/moved/er/unseen")).unwrap(), "after");
    let ino = |name: &str| disk::metadata(dir.path().join(name)).unwrap().ino();
    assert_eq!(ino("a"), ino("e/moved/er/unseen"));
}

#[test]
fn a_directory_swapped_for_a_symlink_is_not_followed() {
    let (dir, outside) = (lower(), lower());
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("d/new"), "ours").unwrap();
    fs::write(dir.path().join("d/b"), "ours").unwrap();
    disk::remove_dir_all(dir.path().join("d")).unwrap();
    symlink(outside.path().join("d"), dir.path().join("d")).unwrap();
    let before = tree::<Host>(outside.path());
    assert!(overlay.commit().is_err());
    overlay.commit_with(&CommitOptions::new().force()).unwrap();
    assert_eq!(tree::<Host>(outside.path()), before);
    assert!(disk::symlink_metadata(dir.path().join("d")).unwrap().is_dir());
    assert_eq!(disk::read_to_string(dir.path().join("d/b")).unwrap(), "ours");
}
