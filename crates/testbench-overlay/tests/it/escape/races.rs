//! Names that are swapped while they are in use: in turn a directory inside and a symlink to the one
//! outside. Whatever is asked for, it is done inside or not at all.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use testbench_overlay::{
    Diff, Errno, File, Follow, Fs, GuestPath, HostDir, OpenHow, Overlay, SetTime, SetTimes,
    capture, fs, install,
};

use crate::escape::arena::{Arena, HIDDEN, NEW, OPEN, SECRET, WRITE};

/// How often something is tried at least, and until both outcomes were seen.
const ROUNDS: usize = 2_000;

/// After that many without both there is no race.
const ROUNDS_MAX: usize = 2_000_000;

/// A root in which `swap` can be a directory with the same names as the one outside, or a symlink.
fn arena() -> Arena {
    Arena::new(|root, _| {
        std::fs::create_dir_all(root.join("real/dir")).unwrap();
        std::fs::create_dir(root.join("real/empty")).unwrap();
        for path in [root.join("real").join(SECRET), root.join("real/dir").join(SECRET)] {
            std::fs::write(path, OPEN).unwrap();
        }
        std::fs::write(root.join("real/tool"), OPEN).unwrap();
        symlink(SECRET, root.join("real/link")).unwrap();
        symlink("../outside", root.join("way-out")).unwrap();
    })
}

/// Runs `work` again and again while `swap` is now the one and now the other; `work` says whether
/// it got something. Both must happen.
fn race(root: &Path, swapped: [&str; 2], rounds: usize, mut work: impl FnMut(usize) -> bool) {
    let stop = AtomicBool::new(false);
    let turns = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swap = root.join("swap");
            while !stop.load(Ordering::Relaxed) {
                for from in swapped.map(|name| root.join(name)) {
                    std::fs::rename(&from, &swap).unwrap();
                    std::thread::yield_now();
                    std::fs::rename(&swap, &from).unwrap();
                }
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _stop = StopOnDrop(&stop);
        let (mut got, mut refused, mut done) = (0, 0, 0);
        while done < rounds || ((got == 0 || refused == 0) && done < ROUNDS_MAX) {
            *(if work(done) { &mut got } else { &mut refused }) += 1;
            done += 1;
        }
        let turns = turns.load(Ordering::Relaxed);
        assert!(got > 0 && refused > 0, "{got} done, {refused} refused in {turns} turns: no race");
    });
}

/// Ends the other thread, also when an assertion has failed.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const SWAP: [&str; 2] = ["real", "way-out"];

/// Asserts that what was read is what lies inside.
fn text(file: &dyn File) {
    let mut bytes = [0; 16];
    let Ok(n) = file.read_at(&mut bytes, 0) else { return };
    assert_eq!(std::str::from_utf8(&bytes[..n]), Ok(OPEN));
}

#[test]
fn reading_a_host_directory() {
    let arena = arena();
    let host = HostDir::open(arena.root()).unwrap();
    let top = host.root().unwrap();
    let paths =
        ["swap/secret", "swap/dir/secret", "swap/dir/../secret", "swap/link", "./swap/tool"];
    race(&arena.root(), SWAP, ROUNDS, |round| {
        let path = GuestPath::new(paths[round % paths.len()]);
        let opened = host.open_at(&*top, path, &OpenHow::READ);
        if let Ok(file) = &opened {
            text(&**file);
        }
        opened.is_ok()
    });
    race(&arena.root(), SWAP, ROUNDS, |_| {
        let dir = OpenHow { directory: true, ..OpenHow::READ };
        let Ok(dir) = host.open_at(&*top, GuestPath::new("swap"), &dir) else { return false };
        assert!(dir.stat().unwrap().ino != ino(&arena.outside()));
        text(&*host.open_at(&*dir, GuestPath::new(SECRET), &OpenHow::READ).unwrap());
        dir.read_dir().is_ok()
    });
    arena.check();
}

fn ino(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[test]
fn changing_a_host_directory() {
    let arena = arena();
    let root = arena.root();
    let host = HostDir::open(&root).unwrap();
    let top = host.root().unwrap();
    let now = SetTimes { atime: Some(SetTime::Now), mtime: Some(SetTime::Now) };
    race(&root, SWAP, 4 * ROUNDS, |round| {
        let path = GuestPath::new;
        let (secret, new, spare) = (path("swap/secret"), path("swap/new"), path("spare"));
        let done = match round % 12 {
            0 => host
                .open_at(&*top, secret, &WRITE)
                .and_then(|f| f.write_at(OPEN.as_bytes(), 0))
                .map(drop),
            1 => host.open_at(&*top, new, &NEW).map(drop),
            2 => host.remove_file_at(&*top, new),
            3 => host.create_dir_at(&*top, path("swap/made"), 0o700),
            4 => host.remove_dir_at(&*top, path("swap/made")),
            5 => host.symlink_at(b"x", &*top, path("swap/sym")),
            6 => host.remove_file_at(&*top, path("swap/sym")),
            7 => host.set_mode_at(&*top, secret, Follow::Yes, 0o640),
            8 => host.set_times_at(&*top, secret, Follow::Yes, now),
            9 => host.rename_at(&*top, path("swap/tool"), &*top, spare),
            10 => host.rename_at(&*top, spare, &*top, path("swap/tool")),
            _ => {
                let linked = host.link_at(&*top, secret, Follow::No, &*top, spare);
                linked.and_then(|()| host.remove_file_at(&*top, spare))
            }
        };
        if let Err(errno) = done {
            let fits = matches!(
                errno,
                Errno::Noent | Errno::NotCapable | Errno::Loop | Errno::Notdir | Errno::Exist
            );
            assert!(fits, "{errno}");
        }
        done.is_ok()
    });
    arena.check();
}

/// A new overlay each time, since an overlay that has seen a name keeps to what it saw.
#[test]
fn reading_overlays() {
    let arena = arena();
    race(&arena.root(), SWAP, ROUNDS / 2, |_| {
        let Ok(overlay) = Overlay::new(arena.root()) else {
            return false;
        };
        let top = overlay.root().unwrap();
        let mut got = false;
        for path in ["swap/secret", "swap/dir/secret", "swap/link", "swap"] {
            let opened = overlay.open_at(&*top, GuestPath::new(path), &OpenHow::READ);
            let Ok(file) = opened else { continue };
            got = true;
            match path {
                "swap" => drop(file.read_dir()),
                _ => text(&*file),
            }
        }
        got
    });
    arena.check();
}

/// One overlay all the time, which copies up, writes and diffs over what moves beneath it.
#[test]
fn working_in_one_overlay() {
    let arena = arena();
    let root = arena.root();
    let overlay = Overlay::new(&root).unwrap();
    let start = overlay.checkpoint();
    let _installed = install(overlay.clone());
    let (mut done, mut failed) = (0, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swap = root.join("swap");
            while !stop.load(Ordering::Relaxed) {
                for from in SWAP.map(|name| root.join(name)) {
                    std::fs::rename(&from, &swap).unwrap();
                    std::fs::rename(&swap, &from).unwrap();
                }
            }
        });
        let _stop = StopOnDrop(&stop);
        let mut round = 0;
        while round < ROUNDS / 4 || ((done == 0 || failed == 0) && round < ROUNDS_MAX) {
            round += 1;
            let at = |path: &str| root.join(path);
            let results = [
                fs::write(at("swap/secret"), OPEN),
                fs::rename(at("swap/tool"), at("tool")),
                fs::set_permissions(at("swap/dir"), fs::Permissions::from_mode(0o700)),
                fs::create_dir_all(at("swap/new/deep")),
                fs::read(at("swap/dir/secret")).map(|bytes| assert_eq!(bytes, OPEN.as_bytes())),
                fs::remove_dir_all(at("swap/dir")),
            ];
            done += results.iter().filter(|result| result.is_ok()).count();
            failed += results.iter().filter(|result| result.is_err()).count();
            if let Ok(diff) = overlay.diff() {
                assert!(!diff.to_string().contains(HIDDEN), "{diff}");
            }
            if round % 10 == 0 {
                overlay.rollback(&start).unwrap();
            }
        }
    });
    let both = done > 0 && failed > 0;
    assert!(both, "{done} done, {failed} failed: no race");
    arena.check();
}

#[test]
fn committing() {
    let arena = arena();
    let root = arena.root();
    race(&root, SWAP, 200, |round| {
        let Ok(overlay) = Overlay::new(&root) else {
            return false;
        };
        let _installed = install(overlay.clone());
        let dir = root.join("swap");
        let prepared = fs::write(dir.join(SECRET), OPEN)
            .and_then(|()| fs::write(dir.join(format!("new{}", round % 5)), "new"))
            .and_then(|()| {
                fs::set_permissions(dir.join("tool"), fs::Permissions::from_mode(0o700))
            });
        let _ = fs::remove_file(dir.join(format!("new{}", (round + 2) % 5)));
        let committed = prepared.is_ok() && overlay.commit().is_ok();
        if root.join(".testbench-commit").exists() {
            let _ = Overlay::recover(&root);
            let _ = std::fs::remove_dir_all(root.join(".testbench-commit"));
        }
        committed
    });
    arena.check();
}

/// What is written out is swapped while it is being written, and what has been written while it is
/// read back.
#[test]
fn writing_out_and_absorbing() {
    let arena = arena();
    let root = arena.root();
    let overlay = Overlay::builder(&root).build().unwrap();
    let installed = install(overlay.clone());
    for n in 0..20 {
        let dir = root.join(format!("many/{n}"));
        fs::create_dir_all(dir.join("dir")).unwrap();
        fs::write(dir.join(SECRET), OPEN).unwrap();
        fs::write(dir.join("dir").join(SECRET), OPEN).unwrap();
    }
    drop(installed);
    let outside = arena.outside();
    let (mut wrote, mut absorbed, mut failed) = (0, 0, 0);
    let mut round = 0;
    while round < 12 || ((wrote == 0 || absorbed == 0 || failed == 0) && round < 2_000) {
        round += 1;
        let base = tempfile::tempdir().unwrap();
        let out = base.path().join("out");
        let start = overlay.checkpoint();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut at = round;
                while !stop.load(Ordering::Relaxed) {
                    at = (at + 1) % 20;
                    let dir = out.join(format!("many/{at}"));
                    let aside = base.path().join("aside");
                    if std::fs::rename(&dir, &aside).is_ok() {
                        symlink(&outside, &dir).unwrap();
                        std::thread::yield_now();
                        let _ = std::fs::remove_file(&dir);
                        let _ = std::fs::rename(&aside, &dir);
                    }
                }
            });
            let _stop = StopOnDrop(&stop);
            match overlay.materialize(&out) {
                Ok(mut written) => {
                    wrote += 1;
                    for _ in 0..5 {
                        *(if written.absorb().is_ok() { &mut absorbed } else { &mut failed }) += 1;
                    }
                }
                Err(_) => failed += 1,
            }
        });
        // What was taken over is what lies there: links, and nothing that they lead to.
        let _installed = install(overlay.clone());
        for n in 0..20 {
            let path = root.join(format!("many/{n}")).join(SECRET);
            if let Ok(text) = fs::read_to_string(path) {
                assert_eq!(text, OPEN);
            }
        }
        overlay.rollback(&start).unwrap();
    }
    assert!(wrote > 0 && absorbed > 0 && failed > 0, "{wrote} {absorbed} {failed}");
    arena.check();
}

#[test]
fn capturing_and_comparing() {
    let arena = arena();
    let root = arena.root();
    let other = tempfile::tempdir().unwrap();
    race(&root, SWAP, 100, |round| {
        if round % 10 == 0 {
            // `capture` reads the whole tree, too.
            if let Ok(diff) = capture(&root, |copy| std::fs::write(copy.join("x"), OPEN)) {
                assert!(!diff.to_string().contains(HIDDEN), "{diff}");
            }
        }
        let Ok(diff) = Diff::between(other.path(), &root) else { return false };
        let json = diff.to_json();
        assert!(!diff.to_string().contains(HIDDEN), "{diff}");
        json.contains("\"path\":\"swap/secret\"")
    });
    arena.check();
}
