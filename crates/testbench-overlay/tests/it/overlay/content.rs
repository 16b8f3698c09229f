//! What files hold, and how long.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use testbench_overlay::{Overlay, OverlayError, fs, install};

use crate::overlay::bench;

#[test]
fn an_unlinked_file_lives_as_long_as_its_handle() {
    let b = bench(&[("a", "lower text")]);
    let mut file = fs::OpenOptions::new().read(true).write(true).open(b.at("a")).unwrap();
    fs::remove_file(b.at("a")).unwrap();
    file.seek(SeekFrom::Start(6)).unwrap();
    file.write_all(b"TEXT").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "lower TEXT");
    assert_eq!(file.metadata().unwrap().stat().nlink, 0);
    fs::write(b.at("a"), "another").unwrap();
    assert_eq!(b.read("a"), "another");
    drop(file);
    assert_eq!(b.summary(), "M a\n");
}

#[test]
fn a_handle_follows_its_file_not_its_name() {
    let b = bench(&[("d/a", "1")]);
    let mut file = fs::OpenOptions::new().append(true).open(b.at("d/a")).unwrap();
    fs::rename(b.at("d"), b.at("m")).unwrap();
    file.write_all(b"2").unwrap();
    assert_eq!(b.read("m/a"), "12");
    fs::write(b.at("other"), "x").unwrap();
    fs::rename(b.at("other"), b.at("m/a")).unwrap();
    file.write_all(b"3").unwrap();
    assert_eq!(b.read("m/a"), "x");
}

#[test]
fn a_few_bytes_in_a_huge_file_do_not_read_or_copy_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let _installed = install(Overlay::new(dir.path()).unwrap());
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(1 << 39)).unwrap();
    file.write_all(b"here").unwrap();
    let mut around = [1; 8];
    file.seek(SeekFrom::Start((1 << 39) - 2)).unwrap();
    file.read_exact(&mut around).unwrap();
    assert_eq!(&around, b"\0\0here\0\0");
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 40);
}

#[test]
fn writing_nothing_changes_nothing() {
    let b = bench(&[("a", "text")]);
    let mut file = fs::OpenOptions::new().write(true).open(b.at("a")).unwrap();
    let mut appending = fs::OpenOptions::new().append(true).open(b.at("a")).unwrap();
    let before = fs::metadata(b.at("a")).unwrap().modified().unwrap();
    file.seek(SeekFrom::Start(100)).unwrap();
    assert_eq!((file.write(b"").unwrap(), appending.write(b"").unwrap()), (0, 0));
    let after = fs::metadata(b.at("a")).unwrap();
    assert_eq!((after.len(), after.modified().unwrap()), (4, before));
    assert_eq!((b.summary().as_str(), b.overlay.usage().bytes), ("", 0));
}

#[test]
fn a_file_cut_and_extended_shows_zeros() {
    let b = bench(&[("a", "0123456789")]);
    let file = fs::OpenOptions::new().write(true).open(b.at("a")).unwrap();
    file.set_len(4).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(fs::read(b.at("a")).unwrap(), b"0123\0\0\0\0");
}

/// The length is looked at before anything is read or made room for.
#[test]
fn a_diff_refuses_a_hole_of_gigabytes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small"), "text").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let file = fs::OpenOptions::new().write(true).open(dir.path().join("small")).unwrap();
    file.set_len(5 << 30).unwrap();
    let error = overlay.diff().unwrap_err();
    let OverlayError::DiffTooLarge { path, bytes_max } = &error else { panic!("{error}") };
    assert_eq!((&**path, *bytes_max), ("small", 4 << 30));
    assert!(error.to_string().contains("`small`"), "{error}");
    file.set_len(4).unwrap();
    assert!(overlay.diff().unwrap().is_empty());
    // One that is there already, and goes.
    let large = std::fs::File::create(dir.path().join("large")).unwrap();
    large.set_len(5 << 30).unwrap();
    fs::remove_file(dir.path().join("large")).unwrap();
    assert!(matches!(overlay.diff(), Err(OverlayError::DiffTooLarge { .. })));
    assert_eq!(overlay.commit().unwrap().removed, 1);
}

/// As for an unprivileged owner: `chmod 6755 f; echo y >> f` leaves 0755 on a disk.
#[test]
fn writing_takes_the_set_id_bits_from_all_but_root() {
    use std::io::Write as _;
    let cases = [(0o6755, 0o755), (0o6744, 0o2744), (0o1644, 0o1644)];
    for (as_root, (before, after)) in [false, true].into_iter().flat_map(|r| cases.map(|c| (r, c)))
    {
        let dir = tempfile::tempdir().unwrap();
        let overlay = testbench_overlay::Overlay::builder(dir.path()).as_root(as_root);
        let _installed = testbench_overlay::install(overlay.build().unwrap());
        let file = dir.path().join("f");
        testbench_overlay::fs::write(&file, "x").unwrap();
        let permissions = testbench_overlay::fs::Permissions::from_mode(before);
        testbench_overlay::fs::set_permissions(&file, permissions).unwrap();
        let mut open = testbench_overlay::fs::OpenOptions::new().append(true).open(&file).unwrap();
        open.write_all(b"y").unwrap();
        let mode = testbench_overlay::fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if as_root { before } else { after }, "{before:o}, as root: {as_root}");
    }
}
