//! A guest cannot leave its mount: not by `..`, not by an absolute path, not by a symlink.
#![cfg(unix)]

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::{bench, text, tree};
use tempfile::TempDir;
use testbench_harness::Command;

/// A root with ways out of it, beside a directory that must never be reached.
struct Fort {
    base: TempDir,
}

impl Fort {
    fn new() -> Fort {
        let fort = Fort { base: tempfile::tempdir().unwrap() };
        let (root, outside) = (fort.root(), fort.outside());
        fs::create_dir_all(root.join("dir/empty")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(root.join("dir/file"), "inside\n").unwrap();
        fs::write(root.join("file"), "inside\n").unwrap();
        fs::write(outside.join("secret"), "secret\n").unwrap();
        fs::create_dir(outside.join("empty")).unwrap();
        symlink("dir/file", root.join("link-in")).unwrap();
        symlink(outside.join("secret"), root.join("link-out")).unwrap();
        symlink(outside.join("new"), root.join("link-new")).unwrap();
        symlink(&outside, root.join("dir-out")).unwrap();
        symlink("../../outside", root.join("dir/up")).unwrap();
        // Long ago, so that any read would show even where access times are kept loosely.
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let times = FileTimes::new().set_accessed(past).set_modified(past + Duration::from_secs(1));
        for path in [outside.join("secret"), outside.join("empty"), outside.clone()] {
            File::open(path).unwrap().set_times(times).unwrap();
        }
        fort
    }

    fn root(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap().join("outside")
    }

    /// Times, links and owner of what lies outside. Asking for them does not change them.
    fn sentinel(&self) -> Vec<[i64; 8]> {
        let look = |path: &Path| {
            let m = fs::symlink_metadata(path).unwrap();
            let (ino, mode, nlink) = (m.ino() as i64, i64::from(m.mode()), m.nlink() as i64);
            [ino, mode, nlink, m.size() as i64, m.atime(), m.mtime(), m.ctime(), m.ctime_nsec()]
        };
        let outside = self.outside();
        vec![look(&outside), look(&outside.join("secret")), look(&outside.join("empty"))]
    }

    /// What the prober says, with the host's paths hidden.
    fn probe(&self, args: &[&str]) -> String {
        let output = Command::new("escape").args(args).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{args:?}");
        let base = self.base.path().canonicalize().unwrap();
        text(&output.stdout).replace(base.to_str().unwrap(), "")
    }
}

/// Paths that lead to `outside/NAME`, with the name of what they go through.
fn ways_out(fort: &Fort, name: &str) -> Vec<String> {
    let absolute = fort.outside().join(name).to_str().unwrap().to_owned();
    let relative = ["../outside", "dir/../../outside", "dir-out", "dir/up", "dir/../dir/up"];
    let mut ways: Vec<String> = relative.iter().map(|way| format!("{way}/{name}")).collect();
    ways.push(absolute);
    ways
}

#[test]
fn every_operation_is_refused_on_every_way_out() {
    let fort = Fort::new();
    let (before, sentinel) = (tree(&fort.root()), fort.sentinel());
    let session = bench(fort.root()).build().unwrap().enter();
    let mut answers = String::new();
    for (operation, name) in [
        ("open", "secret"),
        ("read", "secret"),
        ("list", "empty"),
        ("write", "secret"),
        ("create", "new"),
        ("mkdir", "new"),
        ("rmdir", "empty"),
        ("unlink", "secret"),
        ("stat", "secret"),
        ("readlink", "secret"),
        ("touch", "secret"),
    ] {
        let ways = ways_out(&fort, name);
        let mut args = vec![operation];
        args.extend(ways.iter().map(String::as_str));
        answers += &fort.probe(&args);
    }
    for operation in ["open", "read", "write", "stat", "touch"] {
        answers += &fort.probe(&[operation, "link-out"]);
    }
    answers += &fort.probe(&["create", "link-new"]);
    answers += &fort.probe(&["open", "..", "dir/../..", "/", "dir-out", "dir/up/"]);
    for operation in ["rename", "link"] {
        for way in ways_out(&fort, "new") {
            answers += &fort.probe(&[operation, "file", &way]);
        }
        for way in ways_out(&fort, "secret") {
            answers += &fort.probe(&[operation, &way, "stolen"]);
        }
    }
    for way in ways_out(&fort, "new") {
        answers += &fort.probe(&["symlink", "target", &way]);
    }
    assert_eq!(fort.sentinel(), sentinel);
    assert_eq!(fs::read_to_string(fort.outside().join("secret")).unwrap(), "secret\n");
    assert!(session.finish().unwrap().diff.is_empty());
    assert_eq!(tree(&fort.root()), before);
    insta::assert_snapshot!(answers, @r"
    open ../outside/secret: ENOTCAPABLE
    open dir/../../outside/secret: ENOTCAPABLE
    open dir-out/secret: ENOTCAPABLE
    open dir/up/secret: ENOTCAPABLE
    open dir/../dir/up/secret: ENOTCAPABLE
    open /outside/secret: ENOTCAPABLE
    read ../outside/secret: ENOTCAPABLE
    read dir/../../outside/secret: ENOTCAPABLE
    read dir-out/secret: ENOTCAPABLE
    read dir/up/secret: ENOTCAPABLE
    read dir/../dir/up/secret: ENOTCAPABLE
    read /outside/secret: ENOTCAPABLE
    list ../outside/empty: ENOTCAPABLE
    list dir/../../outside/empty: ENOTCAPABLE
    list dir-out/empty: ENOTCAPABLE
    list dir/up/empty: ENOTCAPABLE
    list dir/../dir/up/empty: ENOTCAPABLE
    list /outside/empty: ENOTCAPABLE
    write ../outside/secret: ENOTCAPABLE
    write dir/../../outside/secret: ENOTCAPABLE
    write dir-out/secret: ENOTCAPABLE
    write dir/up/secret: ENOTCAPABLE
    write dir/../dir/up/secret: ENOTCAPABLE
    write /outside/secret: ENOTCAPABLE
    create ../outside/new: ENOTCAPABLE
    create dir/../../outside/new: ENOTCAPABLE
    create dir-out/new: ENOTCAPABLE
    create dir/up/new: ENOTCAPABLE
    create dir/../dir/up/new: ENOTCAPABLE
    create /outside/new: ENOTCAPABLE
    mkdir ../outside/new: ENOTCAPABLE
    mkdir dir/../../outside/new: ENOTCAPABLE
    mkdir dir-out/new: ENOTCAPABLE
    mkdir dir/up/new: ENOTCAPABLE
    mkdir dir/../dir/up/new: ENOTCAPABLE
    mkdir /outside/new: ENOTCAPABLE
    rmdir ../outside/empty: ENOTCAPABLE
    rmdir dir/../../outside/empty: ENOTCAPABLE
    rmdir dir-out/empty: ENOTCAPABLE
    rmdir dir/up/empty: ENOTCAPABLE
    rmdir dir/../dir/up/empty: ENOTCAPABLE
    rmdir /outside/empty: ENOTCAPABLE
    unlink ../outside/secret: ENOTCAPABLE
    unlink dir/../../outside/secret: ENOTCAPABLE
    unlink dir-out/secret: ENOTCAPABLE
    unlink dir/up/secret: ENOTCAPABLE
    unlink dir/../dir/up/secret: ENOTCAPABLE
    unlink /outside/secret: ENOTCAPABLE
    stat ../outside/secret: ENOTCAPABLE
    stat dir/../../outside/secret: ENOTCAPABLE
    stat dir-out/secret: ENOTCAPABLE
    stat dir/up/secret: ENOTCAPABLE
    stat dir/../dir/up/secret: ENOTCAPABLE
    stat /outside/secret: ENOTCAPABLE
    readlink ../outside/secret: ENOTCAPABLE
    readlink dir/../../outside/secret: ENOTCAPABLE
    readlink dir-out/secret: ENOTCAPABLE
    readlink dir/up/secret: ENOTCAPABLE
    readlink dir/../dir/up/secret: ENOTCAPABLE
    readlink /outside/secret: ENOTCAPABLE
    touch ../outside/secret: ENOTCAPABLE
    touch dir/../../outside/secret: ENOTCAPABLE
    touch dir-out/secret: ENOTCAPABLE
    touch dir/up/secret: ENOTCAPABLE
    touch dir/../dir/up/secret: ENOTCAPABLE
    touch /outside/secret: ENOTCAPABLE
    open link-out: ENOTCAPABLE
    read link-out: ENOTCAPABLE
    write link-out: ENOTCAPABLE
    stat link-out: ENOTCAPABLE
    touch link-out: ENOTCAPABLE
    create link-new: EEXIST
    open ..: ENOTCAPABLE
    open dir/../..: ENOTCAPABLE
    open /: ENOTCAPABLE
    open dir-out: ENOTCAPABLE
    open dir/up/: ENOTCAPABLE
    rename file ../outside/new: ENOTCAPABLE
    rename file dir/../../outside/new: ENOTCAPABLE
    rename file dir-out/new: ENOTCAPABLE
    rename file dir/up/new: ENOTCAPABLE
    rename file dir/../dir/up/new: ENOTCAPABLE
    rename file /outside/new: ENOTCAPABLE
    rename ../outside/secret stolen: ENOTCAPABLE
    rename dir/../../outside/secret stolen: ENOTCAPABLE
    rename dir-out/secret stolen: ENOTCAPABLE
    rename dir/up/secret stolen: ENOTCAPABLE
    rename dir/../dir/up/secret stolen: ENOTCAPABLE
    rename /outside/secret stolen: ENOTCAPABLE
    link file ../outside/new: ENOTCAPABLE
    link file dir/../../outside/new: ENOTCAPABLE
    link file dir-out/new: ENOTCAPABLE
    link file dir/up/new: ENOTCAPABLE
    link file dir/../dir/up/new: ENOTCAPABLE
    link file /outside/new: ENOTCAPABLE
    link ../outside/secret stolen: ENOTCAPABLE
    link dir/../../outside/secret stolen: ENOTCAPABLE
    link dir-out/secret stolen: ENOTCAPABLE
    link dir/up/secret stolen: ENOTCAPABLE
    link dir/../dir/up/secret stolen: ENOTCAPABLE
    link /outside/secret stolen: ENOTCAPABLE
    symlink target ../outside/new: ENOTCAPABLE
    symlink target dir/../../outside/new: ENOTCAPABLE
    symlink target dir-out/new: ENOTCAPABLE
    symlink target dir/up/new: ENOTCAPABLE
    symlink target dir/../dir/up/new: ENOTCAPABLE
    symlink target /outside/new: ENOTCAPABLE
    ");
}

/// The controls: each operation of the test above succeeds on a path that stays inside.
#[test]
fn every_operation_succeeds_inside() {
    let fort = Fort::new();
    let (before, sentinel) = (tree(&fort.root()), fort.sentinel());
    let _session = bench(fort.root()).build().unwrap().enter();
    let mut answers = String::new();
    for args in [
        ["open", "dir/../file"].as_slice(),
        &["read", "dir/file"],
        &["read", "link-in"],
        &["list", "dir/../dir"],
        &["write", "link-in"],
        &["create", "dir/new"],
        &["mkdir", "dir/../made"],
        &["rmdir", "dir/empty"],
        &["unlink", "dir/new"],
        &["stat", "link-in"],
        &["-n", "stat", "link-out"],
        &["readlink", "link-out"],
        &["touch", "dir/file"],
        &["rename", "file", "dir/renamed"],
        &["link", "dir/file", "dir/linked"],
        &["symlink", "file", "dir/new-link"],
        &["unlink", "link-out"],
        &["rename", "dir-out", "dir-out-2"],
    ] {
        answers += &fort.probe(args);
    }
    assert_eq!(fort.sentinel(), sentinel);
    assert_eq!(tree(&fort.root()), before);
    insta::assert_snapshot!(answers, @r"
    open dir/../file: OK
    read dir/file gave: inside
    read dir/file: OK
    read link-in gave: inside
    read link-in: OK
    list dir/../dir: OK
    write link-in: OK
    create dir/new: OK
    mkdir dir/../made: OK
    rmdir dir/empty: OK
    unlink dir/new: OK
    stat link-in: OK
    stat link-out: OK
    readlink link-out gave: /outside/secret
    readlink link-out: OK
    touch dir/file: OK
    rename file dir/renamed: OK
    link dir/file dir/linked: OK
    symlink file dir/new-link: OK
    unlink link-out: OK
    rename dir-out dir-out-2: OK
    ");
}

/// The same through the C library of ordinary tools, which chooses the directory itself.
#[test]
fn ordinary_tools_cannot_leave_either() {
    let fort = Fort::new();
    let sentinel = fort.sentinel();
    let _session = bench(fort.root()).build().unwrap().enter();
    let secret = fort.outside().join("secret");
    for path in [Path::new("../outside/secret"), Path::new("link-out"), &secret] {
        let output = Command::new("cat").arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "cat {}", path.display());
        assert_eq!(text(&output.stdout), "", "cat {}", path.display());
        let output = Command::new("cp").arg("file").arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "cp file {}", path.display());
    }
    for path in [Path::new("../outside/secret"), Path::new("dir-out/secret"), &secret] {
        let output = Command::new("rm").arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "rm {}", path.display());
        assert_ne!(text(&output.stderr), "", "rm {}", path.display());
    }
    // The same tools work inside.
    let inside: [&[&str]; 3] = [&["cp", "file", "copy"], &["cat", "copy"], &["rm", "copy"]];
    for line in inside {
        let output = Command::new(line[0]).args(&line[1..]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line:?}: {}", text(&output.stderr));
    }
    assert_eq!(fort.sentinel(), sentinel);
}

/// A name that is now a directory inside and now a symlink to the one outside, swapped on the disk
/// while guests use it.
#[test]
fn a_name_that_is_swapped_while_guests_use_it_leads_nowhere_else() {
    let fort = Fort::new();
    let (root, sentinel) = (fort.root(), fort.sentinel());
    fs::create_dir(root.join("real")).unwrap();
    fs::write(root.join("real/secret"), "inside\n").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut read, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swap = root.join("swap");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for from in [root.join("real"), root.join("dir-out")] {
                    fs::rename(&from, &swap).unwrap();
                    std::thread::yield_now();
                    fs::rename(&swap, &from).unwrap();
                }
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut runs = 0;
            while runs < 300 || ((read == 0 || refused == 0) && runs < 30_000) {
                runs += 1;
                // A new overlay each time: one that has seen a name keeps to what it saw.
                let Ok(session) = bench(&root).build() else { continue };
                let _session = session.enter();
                let line = match runs % 3 {
                    0 => ["cp", "file", "swap/secret"],
                    _ => ["cat", "swap/secret", "swap/secret"],
                };
                let output = Command::new(line[0]).args(&line[1..]).output().unwrap();
                assert!(!text(&output.stdout).contains("secret\n"));
                *(if output.status.success() { &mut read } else { &mut refused }) += 1;
            }
        }));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(read > 0 && refused > 0, "{read} done, {refused} refused: there was no race");
    assert_eq!(fort.sentinel(), sentinel);
}

#[test]
fn without_an_overlay_a_guest_has_no_files_at_all() {
    let fort = Fort::new();
    let sentinel = fort.sentinel();
    let _session = testbench_harness::Testbench::builder()
        .toolchain(testbench_harness::Toolchain::builtin())
        .build()
        .unwrap()
        .enter();
    let output = Command::new("cat").arg(fort.outside().join("secret")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(fort.sentinel(), sentinel);
}
