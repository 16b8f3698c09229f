//! `git apply` of a patch onto the old tree gives the new one, and `git apply -R` the old one
//! again, as far as git can see.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stdout,
    reason = "the table and a skipped test are for the reader of the log"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path as HostPath;
use std::process::Command;

use crate::diff_support::{
    Item, Listing, Path, Rng, Tree, cases, changes, in_repository, random_change, random_tree,
};
use testbench_overlay::GuestPath;
use testbench_overlay::diff::Diff;

/// What git keeps of a file or symlink: its mode and its bytes.
type InGit = BTreeMap<Path, (&'static str, Vec<u8>)>;

#[test]
fn random_trees_survive_git_apply_both_ways() {
    if !git_is_there() {
        return;
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..cases(250) {
        let mut rng = Rng::new(seed);
        let lower = random_tree(&mut rng);
        let mut upper = lower.clone();
        for _ in 0..1 + rng.below(12) {
            *kinds.entry(random_change(&mut rng, &mut upper)).or_default() += 1;
        }
        round_trip(&lower, &upper, &format!("seed {seed}"));
    }
    println!("{kinds:#?}");
    for kind in ["create", "remove", "replace", "write", "chmod", "link", "rename", "rename dir"] {
        assert!(kinds[kind] >= 20, "too few of `{kind}`: {kinds:?}");
    }
}

#[test]
fn names_that_git_refuses_are_left_alone() {
    if !git_is_there() {
        return;
    }
    let mut lower = Tree::default();
    lower.create(b"sub", Item::Dir { mode: 0o755 });
    lower.create(b"sub/.git", Item::Dir { mode: 0o755 });
    lower.create(b"sub/.git/HEAD", Item::file(0o644, b"ref: refs/heads/main\n"));
    lower.create(b"plain", Item::file(0o644, b"plain\n"));
    lower.create(b"git~1", Item::file(0o644, b"x\0y"));
    let mut upper = lower.clone();
    upper.set(b"sub/.git/HEAD", Item::file(0o644, b"ref: refs/heads/other\n"));
    upper.rename(b"plain", b"sub/.git/plain");
    upper.rename(b"git~1", b"out");
    upper.create(b"new", Item::file(0o755, b"new\n"));
    round_trip(&lower, &upper, "refused names");
}

#[test]
fn what_git_itself_refuses_is_known() {
    if !git_is_there() {
        return;
    }
    // Control: a patch that simply adds a file is applied.
    for (name, applies) in [
        ("plain", true),
        (".git", false),
        (".GIT", false),
        ("git~1", false),
        (".git.", false),
        (".git::$DATA", false),
        ("x\\.git", false),
        (".gitignore", true),
        (".gitmodules", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let raw = format!(
            "diff --git \"a/{0}\" \"b/{0}\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/{0}\"\n@@ -0,0 +1,1 @@\n+x\n",
            name.replace('\\', "\\\\")
        );
        let _ = git_apply(dir.path(), raw.as_bytes(), false);
        assert_eq!(dir.path().join(name).exists(), applies, "git and `{name}`");
        let mut tree = Tree::default();
        tree.create(name.as_bytes(), Item::file(0o644, b"x\n"));
        let patch = Diff::from_changes(changes(&Tree::default(), &tree)).patch();
        assert_eq!(patch.starts_with(b"diff"), applies, "the patch and `{name}`");
    }
}

#[test]
fn a_patch_of_remarks_only_changes_nothing() {
    if !git_is_there() {
        return;
    }
    let lower = Tree::default();
    let mut upper = Tree::default();
    upper.create(b"empty", Item::Dir { mode: 0o755 });
    let patch = Diff::from_changes(changes(&lower, &upper)).patch();
    assert_eq!(patch, b"# add dir empty mode 0755\n");
    round_trip(&lower, &upper, "remarks only");
}

fn round_trip(lower: &Tree, upper: &Tree, what: &str) {
    let diff = Diff::from_changes(changes(lower, upper));
    let patch = diff.patch();
    let (old, new) = (lower.listing(), upper.listing());
    let untouched = |listing: &Listing| in_git(listing, true);
    let (before, after) = (in_git(&old, false), in_git(&new, false));
    let kept = untouched(&old);

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &merge(&before, &kept));
    let said = git_apply(dir.path(), &patch, false);
    check(dir.path(), &merge(&after, &kept), what, "git apply", &said, &patch);
    let said = git_apply(dir.path(), &patch, true);
    check(dir.path(), &merge(&before, &kept), what, "git apply -R", &said, &patch);
}

fn check(dir: &HostPath, expected: &InGit, what: &str, call: &str, said: &str, patch: &[u8]) {
    let mut found = InGit::new();
    read(dir, b"", &mut found);
    if found != *expected {
        let other = |these: &InGit, those: &InGit| -> String {
            let lines = these.iter().filter(|(path, file)| those.get(*path) != Some(file));
            lines
                .map(|(path, (mode, bytes))| {
                    let start = GuestPath::new(&bytes[..bytes.len().min(200)]);
                    format!(
                        "  {mode} {:?}: {} bytes, {start:?}\n",
                        GuestPath::new(path),
                        bytes.len()
                    )
                })
                .collect()
        };
        let (missing, extra) = (other(expected, &found), other(&found, expected));
        let lines = patch.split(|byte| *byte == b'\n').map(|line| &line[..line.len().min(200)]);
        let patch: String = lines.map(|line| format!("{}\n", line.escape_ascii())).collect();
        panic!(
            "{what}: {call} gives another tree\nmissing:\n{missing}extra:\n{extra}git: {said}\n{patch}"
        );
    }
}

/// The files and symlinks of a tree, those that git refuses or the others.
fn in_git(listing: &Listing, refused: bool) -> InGit {
    let of = |path: &Path| in_repository(path) == refused;
    listing
        .iter()
        .filter(|(path, _)| of(path))
        .filter_map(|(path, item)| match item {
            Item::File { mode, bytes } if mode & 0o100 != 0 => Some((path, "x", bytes)),
            Item::File { bytes, .. } => Some((path, "-", bytes)),
            Item::Symlink { target } => Some((path, "l", target)),
            Item::Dir { .. } => None,
        })
        .map(|(path, mode, bytes)| (path.clone(), (mode, bytes.to_vec())))
        .collect()
}

fn merge(one: &InGit, other: &InGit) -> InGit {
    one.clone().into_iter().chain(other.clone()).collect()
}

fn write(dir: &HostPath, files: &InGit) {
    for (path, (mode, bytes)) in files {
        let host = dir.join(OsStr::from_bytes(path));
        fs::create_dir_all(host.parent().unwrap()).unwrap();
        if *mode == "l" {
            symlink(OsStr::from_bytes(bytes), &host).unwrap();
        } else {
            fs::write(&host, bytes).unwrap();
            let bits = if *mode == "x" { 0o755 } else { 0o644 };
            fs::set_permissions(&host, fs::Permissions::from_mode(bits)).unwrap();
        }
    }
}

fn read(dir: &HostPath, path: &[u8], files: &mut InGit) {
    for entry in fs::read_dir(dir.join(OsStr::from_bytes(path))).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let path = if path.is_empty() {
            name.as_bytes().to_vec()
        } else {
            [path, b"/", name.as_bytes()].concat()
        };
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        if meta.is_dir() {
            read(dir, &path, files);
        } else if meta.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec();
            files.insert(path, ("l", target));
        } else {
            let mode = if meta.permissions().mode() & 0o100 != 0 { "x" } else { "-" };
            files.insert(path, (mode, fs::read(entry.path()).unwrap()));
        }
    }
}

/// Runs `git apply` in `dir`, without any configuration, and returns its output.
fn git_apply(dir: &HostPath, patch: &[u8], reverse: bool) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), patch).unwrap();
    let mut command = Command::new("git");
    command.args(["apply", "--allow-empty", "--whitespace=nowarn"]);
    if reverse {
        command.arg("-R");
    }
    command
        .arg(file.path())
        .current_dir(dir)
        .env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE");
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn git_is_there() -> bool {
    let there = Command::new("git").arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        // Written past the test runner's capture: a comparison that did not happen must be seen.
        let notice = "SKIPPED: git is not installed, so nothing shows that `git apply` takes the \
                      patch\n";
        let _ = std::io::stderr().write_all(notice.as_bytes());
    }
    there
}
