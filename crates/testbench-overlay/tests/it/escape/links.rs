//! Hard links to files outside, and roots that are links themselves or are replaced.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use testbench_overlay::{Overlay, capture, fs, install};

use crate::escape::arena::{Arena, OPEN, SECRET, read, trees};

/// A file that has a name inside belongs to the tree; but the overlay, and its commit, must not
/// change what the name outside shows.
#[test]
fn a_file_with_a_name_outside_stays_as_it_is_there() {
    let changes: [(&str, fn(&std::path::Path)); 7] = [
        ("write", |file| fs::write(file, "changed").unwrap()),
        ("append", |file| {
            use std::io::Write as _;
            let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
            file.write_all(b"more").unwrap();
        }),
        ("truncate", |file| {
            fs::OpenOptions::new().write(true).open(file).unwrap().set_len(1).unwrap();
        }),
        ("mode", |file| fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap()),
        ("times", |file| {
            let times = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
            fs::set_times(file, times).unwrap();
        }),
        ("rename and mode", |file| {
            fs::rename(file, file.with_file_name("moved")).unwrap();
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(file.with_file_name("moved"), mode).unwrap();
        }),
        ("one more name", |file| fs::hard_link(file, file.with_file_name("more")).unwrap()),
    ];
    for (what, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("cache"));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(&outside, SECRET).unwrap();
        std::fs::hard_link(&outside, root.join("file")).unwrap();
        let look = || {
            let m = std::fs::metadata(&outside).unwrap();
            (std::fs::read(&outside).unwrap(), m.mode(), m.mtime(), m.mtime_nsec())
        };
        let before = look();
        let overlay = Overlay::new(&root).unwrap();
        let installed = install(overlay.clone());
        change(&root.join("file"));
        drop(installed);
        assert_eq!(look(), before, "{what}");
        // Times are in no diff unless asked for.
        assert_eq!(overlay.diff().unwrap().is_empty(), what == "times", "{what}");
        overlay.commit().unwrap();
        assert_eq!(look(), before, "{what}, committed");
        assert!(overlay.diff().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn a_copy_shares_no_file_with_what_it_was_made_of() {
    let arena = Arena::new(|_, _| {});
    let (root, out) = (arena.root(), tempfile::tempdir().unwrap());
    std::fs::hard_link(arena.root().join("open"), root.join("second")).unwrap();
    Overlay::new(&root).unwrap().materialize(out.path()).unwrap();
    let ino = |path: &std::path::Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(ino(&out.path().join("open")), ino(&out.path().join("second")));
    assert_ne!(ino(&out.path().join("open")), ino(&root.join("open")));
    let diff = capture(&root, |copy| std::fs::write(copy.join("open"), "changed")).unwrap();
    assert_eq!(diff.entries().len(), 2);
    assert_eq!(std::fs::read_to_string(root.join("second")).unwrap(), OPEN);
}

#[test]
fn a_root_may_be_named_by_a_symlink_which_may_then_lead_elsewhere() {
    let arena = Arena::new(|root, _| {
        symlink("root", root.with_file_name("way")).unwrap();
    });
    let way = arena.root().with_file_name("way");
    let trees = trees(&way);
    let overlay = Overlay::new(&way).unwrap();
    assert_eq!(overlay.host_root(), Some(&*arena.root()));
    std::fs::remove_file(&way).unwrap();
    symlink("outside", &way).unwrap();
    for (name, fs, top) in trees {
        assert_eq!(read(&*fs, &*top, "open").as_deref(), Ok(OPEN), "{name}");
        assert!(read(&*fs, &*top, SECRET).is_err(), "{name}");
    }
    let _installed = install(overlay.clone());
    fs::write(way.join("new"), "new").unwrap();
    fs::remove_file(way.join("in/open")).unwrap();
    overlay.commit().unwrap();
    assert_eq!(std::fs::read_to_string(arena.root().join("new")).unwrap(), "new");
    assert!(!arena.root().join("in/open").exists());
    std::fs::remove_file(&way).unwrap();
    arena.check();
}

#[test]
fn a_root_that_is_replaced_is_not_what_was_opened() {
    let arena = Arena::new(|_, _| {});
    let (root, away) = (arena.root(), arena.root().with_file_name("away"));
    let overlay = Overlay::new(&root).unwrap();
    let trees = trees(&root);
    std::fs::rename(&root, &away).unwrap();
    symlink("outside", &root).unwrap();
    for (name, fs, top) in trees {
        assert_eq!(read(&*fs, &*top, "in/open").as_deref(), Ok(OPEN), "{name}");
        assert!(read(&*fs, &*top, SECRET).is_err(), "{name}");
        assert!(read(&*fs, &*top, "dir/secret").is_err(), "{name}");
    }
    let _installed = install(overlay.clone());
    fs::write(root.join("secret"), "overlay").unwrap();
    fs::write(root.join("dir"), "overlay").unwrap();
    // Whatever becomes of it, it is not written through the new meaning of the path.
    let committed = overlay.commit();
    assert_eq!(committed.is_ok(), away.join("secret").exists());
    std::fs::remove_file(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    arena.check();
}
