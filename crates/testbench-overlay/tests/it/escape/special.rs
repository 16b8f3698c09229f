//! Devices, sockets and FIFOs beneath: listed, moved, removed; never opened, so that nothing hangs.

use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use testbench_overlay::{
    Diff, Errno, FileKind, Follow, Fs as _, GuestPath, HostDir, OpenHow, Overlay, capture, fs,
    install,
};

use crate::escape::arena::{Arena, OPEN, WRITE, read, trees};

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// What could be made here. Device nodes take privileges.
fn specials(root: &Path) -> Vec<&'static str> {
    mkfifo(&root.join("fifo"));
    drop(UnixListener::bind(root.join("socket")).unwrap());
    let mut made = vec!["fifo", "socket"];
    for (name, kind, minor) in [("null", "c", "3"), ("zero", "c", "5"), ("loop0", "b", "0")] {
        let major = if kind == "c" { "1" } else { "7" };
        let mut mknod = Command::new("mknod");
        mknod.arg(root.join(name)).args([kind, major, minor]);
        if mknod.output().is_ok_and(|output| output.status.success()) {
            made.push(name);
        } else {
            eprintln!("SKIPPED: no device node `{name}` can be made by this user");
        }
    }
    made
}

#[test]
fn they_are_listed_and_refused() {
    let mut made = Vec::new();
    let arena = Arena::new(|root, _| made = specials(root));
    for (tree, fs, top) in trees(&arena.root()) {
        let entries = top.read_dir().unwrap();
        for name in &made {
            let entry = entries.iter().find(|e| *e.name == *name.as_bytes()).unwrap();
            assert_eq!(entry.kind, FileKind::Special, "{tree}: {name}");
            let path = GuestPath::new(name);
            let stat = fs.stat_at(&*top, path, Follow::Yes).unwrap();
            assert_eq!((stat.kind, stat.size), (FileKind::Special, 0), "{tree}: {name}");
            assert_eq!(read(&*fs, &*top, name), Err(Errno::Nxio), "{tree}: {name}");
            let write = OpenHow { write: true, ..OpenHow::READ };
            for how in [&write, &WRITE] {
                let opened = fs.open_at(&*top, path, how).map(drop);
                assert!(matches!(opened, Err(Errno::Nxio | Errno::Rofs)), "{tree}: {name}");
            }
            let below = format!("{name}/x");
            assert_eq!(read(&*fs, &*top, &below), Err(Errno::Notdir), "{tree}: {name}");
        }
    }
    arena.check();
}

#[test]
fn they_can_be_renamed_removed_and_committed() {
    let mut made = Vec::new();
    let arena = Arena::new(|root, _| made = specials(root));
    let root = arena.root();
    let overlay = Overlay::new(&root).unwrap();
    let _installed = install(overlay.clone());
    fs::rename(root.join("fifo"), root.join("in/pipe")).unwrap();
    fs::remove_file(root.join("socket")).unwrap();
    assert!(fs::copy(root.join("in/pipe"), root.join("copy")).is_err());
    assert!(fs::read_to_string(root.join("in/pipe")).is_err());
    overlay.diff().unwrap();
    assert!(root.join("socket").exists());
    overlay.commit().unwrap();
    let kind = std::fs::symlink_metadata(root.join("in/pipe")).unwrap().file_type();
    assert!(kind.is_fifo() && !root.join("fifo").exists() && !root.join("socket").exists());
    arena.check();
}

#[test]
fn copies_and_comparisons_pass_them_over() {
    let arena = Arena::new(|root, _| drop(specials(root)));
    let (root, out) = (arena.root(), tempfile::tempdir().unwrap());
    let mut written = Overlay::new(&root).unwrap().materialize(out.path().join("copy")).unwrap();
    assert!(!out.path().join("copy/fifo").exists() && out.path().join("copy/open").exists());
    mkfifo(&out.path().join("copy/new"));
    written.absorb().unwrap();
    let diff = capture(&root, |copy| {
        mkfifo(&copy.join("new"));
        std::fs::write(copy.join("fifo"), "a file now")
    });
    assert_eq!(diff.unwrap().summary(), "T fifo (special -> file)\n");
    assert!(!Diff::between(&root, out.path()).unwrap().is_empty());
    arena.check();
}

/// A file that turns into a FIFO between a look at it and its opening must not make us wait for
/// a writer.
#[test]
fn a_file_that_becomes_a_fifo_hangs_nobody() {
    let arena = Arena::new(|root, _| {
        mkfifo(&root.join("fifo"));
        std::fs::write(root.join("file"), OPEN).unwrap();
    });
    let root = arena.root();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (file, fifo, x) = (root.join("file"), root.join("fifo"), root.join("x"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for from in [&file, &fifo] {
                    std::fs::rename(from, &x).unwrap();
                    std::fs::rename(&x, from).unwrap();
                }
            }
        });
        let _stop = crate::escape::races::StopOnDrop(&stop);
        let host = HostDir::open(&root).unwrap();
        let top = host.root().unwrap();
        let (mut read_it, mut refused, mut rounds) = (0, 0, 0);
        while rounds < 5_000 || ((read_it == 0 || refused == 0) && rounds < 5_000_000) {
            rounds += 1;
            match read(&host, &*top, "x") {
                Ok(text) => {
                    assert_eq!(text, OPEN);
                    read_it += 1;
                }
                Err(Errno::Nxio) => refused += 1,
                Err(errno) => assert_eq!(errno, Errno::Noent),
            }
            if rounds % 50 == 0 {
                let overlay = Overlay::new(&root).unwrap();
                let got = read(&*overlay, &*overlay.root().unwrap(), "x");
                assert!(!matches!(&got, Ok(text) if text != OPEN), "{got:?}");
            }
        }
        assert!(read_it > 0 && refused > 0, "{read_it} read, {refused} refused of {rounds}");
    });
}
