//! What is known about files.

#[allow(unused_imports, reason = "the mirror has the same as methods of its own")]
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
#[allow(unused_imports, reason = "the mirror has the same as methods of its own")]
use std::os::unix::fs::{DirEntryExt as _, OpenOptionsExt as _, PermissionsExt as _};

use rustix::io::Errno;

use super::Sandbox;
use super::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use crate::std_fs::fails_with;

pub(crate) fn files_and_directories_are_no_devices(at: &Sandbox) {
    let file = File::create(at.path("file")).unwrap().metadata().unwrap().file_type();
    let dir = fs::metadata(at.path("")).unwrap().file_type();
    for kind in [file, dir] {
        assert!(!kind.is_block_device() && !kind.is_char_device());
        assert!(!kind.is_fifo() && !kind.is_socket() && !kind.is_symlink());
    }
    assert_eq!((file.is_file(), file.is_dir()), (true, false));
    assert_eq!((dir.is_file(), dir.is_dir()), (false, true));
    assert_ne!(file, dir);
}

/// Upstream dropped the test and kept its attributes.
pub(crate) fn permission_bits_are_set_and_read(at: &Sandbox) {
    let path = at.path("file");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path).unwrap();
    assert_eq!(mode(), 0o640);
    fs::set_permissions(&path, Permissions::from_mode(0o4705)).unwrap();
    assert_eq!(mode(), 0o4705);
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    assert_eq!(mode(), 0o600);
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    assert!(!permissions.readonly());
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions.clone()).unwrap();
    assert_eq!((mode(), fs::metadata(&path).unwrap().permissions().readonly()), (0o400, true));
    permissions.set_mode(0o644);
    fs::set_permissions(&path, permissions).unwrap();
    assert_eq!(mode(), 0o644);

    DirBuilder::new().mode(0o700).create(at.path("dir")).unwrap();
    assert_eq!(fs::metadata(at.path("dir")).unwrap().permissions().mode() & 0o7777, 0o700);
    super::symlink("dir", at.path("link")).unwrap();
    fs::set_permissions(at.path("link"), Permissions::from_mode(0o750)).unwrap();
    assert_eq!(fs::metadata(at.path("dir")).unwrap().permissions().mode() & 0o7777, 0o750);
    fails_with(fs::set_permissions(at.path("none"), Permissions::from_mode(0o600)), Errno::NOENT);
}

pub(crate) fn a_file_is_a_file_by_handle_and_by_path(at: &Sandbox) {
    fs::write(at.path("file"), "abc").unwrap();
    let by_handle = File::open(at.path("file")).unwrap().metadata().unwrap();
    let by_path = fs::metadata(at.path("file")).unwrap();
    for metadata in [by_handle, by_path] {
        assert!(metadata.is_file() && metadata.file_type().is_file());
        assert!(!metadata.is_dir() && !metadata.is_symlink());
        assert_eq!(metadata.len(), 3);
    }
}

pub(crate) fn a_directory_is_a_directory(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    let metadata = fs::metadata(at.path("dir")).unwrap();
    assert!(metadata.is_dir() && metadata.file_type().is_dir());
    fs::remove_dir(at.path("dir")).unwrap();
    fails_with(fs::metadata(at.path("dir")), Errno::NOENT);
}

pub(crate) fn a_directory_is_no_file(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    assert!(!fs::metadata(at.path("dir")).unwrap().is_file());
    assert!(!fs::symlink_metadata(at.path("dir")).unwrap().is_file());
}

pub(crate) fn path_handle_and_listing_agree(at: &Sandbox) {
    fs::create_dir(at.path("dir")).unwrap();
    fs::write(at.path("dir/file"), "some text").unwrap();
    let by_path = fs::metadata(at.path("dir/file")).unwrap();
    let by_handle = File::open(at.path("dir/file")).unwrap().metadata().unwrap();
    let entry = fs::read_dir(at.path("dir")).unwrap().next().unwrap().unwrap();
    let by_listing = entry.metadata().unwrap();
    assert_eq!(entry.ino(), by_path.ino());
    for other in [&by_handle, &by_listing] {
        assert_eq!(other.file_type(), by_path.file_type());
        assert_eq!(other.len(), by_path.len());
        assert_eq!(other.permissions(), by_path.permissions());
        assert_eq!(other.modified().unwrap(), by_path.modified().unwrap());
        assert_eq!(other.accessed().unwrap(), by_path.accessed().unwrap());
        assert_eq!(other.created().ok(), by_path.created().ok());
        assert_eq!((other.dev(), other.ino()), (by_path.dev(), by_path.ino()));
        assert_eq!((other.mode(), other.nlink()), (by_path.mode(), by_path.nlink()));
        assert_eq!((other.uid(), other.gid()), (by_path.uid(), by_path.gid()));
        assert_eq!((other.size(), other.rdev()), (by_path.size(), by_path.rdev()));
        assert_eq!((other.mtime(), other.mtime_nsec()), (by_path.mtime(), by_path.mtime_nsec()));
        assert_eq!((other.ctime(), other.ctime_nsec()), (by_path.ctime(), by_path.ctime_nsec()));
    }
    let dir = File::open(at.path("dir")).unwrap().metadata().unwrap();
    let dir_by_path = fs::metadata(at.path("dir")).unwrap();
    assert_eq!((dir.dev(), dir.ino()), (dir_by_path.dev(), dir_by_path.ino()));
    assert_eq!(by_path.mode(), 0o100_644);
    assert_eq!(dir.mode(), 0o040_755);
}

pub(crate) fn device_number_and_link_count(at: &Sandbox) {
    for name in ["a", "b"] {
        fs::write(at.path(name), name).unwrap();
    }
    let stat = |name: &str| fs::metadata(at.path(name)).unwrap();
    let (top, a, b) = (stat(""), stat("a"), stat("b"));
    assert_eq!([top.dev(), b.dev()], [a.dev(); 2]);
    assert!(top.ino() != a.ino() && top.ino() != b.ino() && a.ino() != b.ino());
    assert_eq!((a.nlink(), b.nlink()), (1, 1));
    let held = File::open(at.path("b")).unwrap();
    fs::hard_link(at.path("b"), at.path("c")).unwrap();
    assert_eq!((stat("b").nlink(), stat("c").nlink()), (2, 2));
    assert_eq!(held.metadata().unwrap().nlink(), 2);
    assert_eq!(stat("c").ino(), b.ino());

    super::symlink("b", at.path("link")).unwrap();
    let itself = fs::symlink_metadata(at.path("link")).unwrap();
    assert_eq!(stat("link").ino(), b.ino());
    assert_ne!(itself.ino(), b.ino());
    assert_eq!((itself.dev(), itself.nlink(), itself.len()), (a.dev(), 1, 1));

    fs::remove_file(at.path("b")).unwrap();
    assert_eq!(stat("c").nlink(), 1);
    fs::remove_file(at.path("c")).unwrap();
    assert_eq!(held.metadata().unwrap().nlink(), 0);
}
