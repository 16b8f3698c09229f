//! A guest cannot leave its mount: not by `..`, not by an absolute path, not by a symlink.
#![cfg(unix)]
mod common;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{bench, text, tree};
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
        for path in [outside.join("secret"), outside.clone()] {
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
    insta::assert_snapshot!(answers, @"");
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
        &["symlink", "/anywhere/at/all", "dir/new-link"],
        &["unlink", "link-out"],
        &["rename", "dir-out", "dir-out-2"],
    ] {
        answers += &fort.probe(args);
    }
    assert_eq!(fort.sentinel(), sentinel);
    assert_eq!(tree(&fort.root()), before);
    insta::assert_snapshot!(answers, @"");
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
        let output = Command::new("rm").arg(path.join("../empty")).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "rm {}", path.display());
    }
    let output = Command::new("cat").arg("file").output().unwrap();
    assert_eq!(text(&output.stdout), "inside\n");
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
