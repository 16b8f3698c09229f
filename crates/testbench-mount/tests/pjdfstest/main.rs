//! pjdfstest, the suite of tests for POSIX file systems, on a mounted overlay: what passes on the
//! real disk passes there, except for what `unlike_a_disk.txt` lists with its reason. That list can
//! only shrink: a test in it that passes fails the run, as one that fails and is not in it.
//!
//! `PJDFSTEST=<executable> cargo test -p testbench-mount --test pjdfstest`, as root;
//! `cargo install pjdfstest` installs the executable.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "the real disk is the control")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and what is skipped are said"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use testbench_mount::{FuseOptions, MountError};
use testbench_overlay::Overlay;
use testbench_overlay::pipeline::Audit;

/// `<test>  <reason>`, by line.
const UNLIKE_A_DISK: &str = include_str!("unlike_a_disk.txt");

/// The suite of version 0.2 has 398 tests. Far fewer would mean that it did not run as it should.
const TESTS_MIN: usize = 350;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

type Outcomes = BTreeMap<String, Outcome>;

#[test]
fn what_passes_on_the_disk_passes_on_the_mount() {
    let Some(suite) = std::env::var_os("PJDFSTEST") else {
        return eprintln!("SKIPPED: PJDFSTEST does not name the executable of pjdfstest");
    };
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: most of pjdfstest wants root");
    }
    let suite = Path::new(&suite);
    let disk = run(suite, open_dir().path());
    let passed = |outcomes: &Outcomes| outcomes.values().filter(|o| **o == Outcome::Passed).count();
    println!("on the disk {} of {} pass", passed(&disk), disk.len());
    assert!(passed(&disk) >= TESTS_MIN, "{disk:#?}");

    let lower = open_dir();
    // The kernel checks who may do what; the overlay would check it again for the owner.
    let plain = Overlay::builder(lower.path()).as_root(true);
    // With an audit, every operation goes through all the stages of the pipeline.
    let staged = Overlay::builder(lower.path()).as_root(true).audit(&Audit::new());
    for (name, builder) in [("plain", plain), ("staged", staged)] {
        let at = open_dir();
        let options = FuseOptions::new().allow_others(true);
        let mount = match options.mount(&builder.build().unwrap(), at.path()) {
            Err(error @ (MountError::NoFuse { .. } | MountError::Denied { .. })) => {
                return eprintln!("SKIPPED: {error}");
            }
            mount => mount.unwrap(),
        };
        let mounted = run(suite, mount.path());
        mount.unmount().unwrap();
        println!("on a mounted overlay ({name}) {} of {} pass", passed(&mounted), mounted.len());
        let wrong = judge(&disk, &mounted, &listed(UNLIKE_A_DISK));
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    }
    assert!(fs::read_dir(lower.path()).unwrap().next().is_none(), "the lower tree was written");
}

#[test]
fn the_list_can_only_shrink() {
    let outcomes = |list: &[(&str, Outcome)]| -> Outcomes {
        list.iter().map(|(name, outcome)| ((*name).to_owned(), *outcome)).collect()
    };
    use Outcome::{Failed, Passed, Skipped};
    let disk = outcomes(&[("a", Passed), ("b", Passed), ("c", Failed), ("d", Skipped)]);
    let list = listed("# why\nb  a reason\n");
    let judge = |mount: &[(&str, Outcome)]| judge(&disk, &outcomes(mount), &list).len();
    assert_eq!(judge(&[("a", Passed), ("b", Failed), ("c", Failed), ("d", Skipped)]), 0);
    assert_eq!(judge(&[("a", Failed), ("b", Failed), ("c", Passed), ("d", Failed)]), 1, "unlisted");
    assert_eq!(judge(&[("a", Passed), ("b", Passed), ("c", Failed), ("d", Skipped)]), 1, "passes");
    assert_eq!(
        judge(&[("a", Skipped), ("b", Failed), ("c", Failed), ("d", Skipped)]),
        1,
        "skipped"
    );
    assert_eq!(judge(&[("b", Failed), ("c", Failed), ("d", Skipped)]), 1, "not run");
    assert_eq!(judge(&[("a", Passed), ("c", Failed), ("d", Skipped)]), 1, "listed and not run");
}

/// Every difference between a disk and a mount that is not as it is listed.
fn judge(disk: &Outcomes, mount: &Outcomes, listed: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, _) in disk.iter().filter(|(_, outcome)| **outcome == Outcome::Passed) {
        match (mount.get(name), listed.get(&**name)) {
            (Some(Outcome::Passed), Some(_)) => {
                wrong.push(format!("{name} passes: take it off the list"));
            }
            (Some(Outcome::Passed), None) | (Some(_), Some(_)) => {}
            (outcome, _) => {
                wrong.push(format!("{name} passes on the disk; the mount: {outcome:?}"))
            }
        }
    }
    let gone = listed.keys().filter(|name| disk.get(**name) != Some(&Outcome::Passed));
    wrong.extend(gone.map(|name| format!("{name} is listed, but does not pass on the disk")));
    wrong
}

/// What is expected to differ, each with its reason.
fn listed(list: &str) -> BTreeMap<&str, &str> {
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let entry = |line| str::split_once(line, "  ").expect("a test, two spaces, a reason");
    lines.map(entry).map(|(name, reason)| (name, reason.trim())).collect()
}

/// Runs the suite in a directory.
fn run(suite: &Path, dir: &Path) -> Outcomes {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("pjdfstest.toml");
    fs::write(&config, configuration()).unwrap();
    let mut command = Command::new(suite);
    command.arg("-c").arg(&config).arg("-p").arg(dir).env("NO_COLOR", "1");
    let elsewhere = Path::new("/dev/shm");
    if elsewhere.is_dir() {
        command.arg("-s").arg(elsewhere);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if std::env::var_os("PJDFSTEST_VERBOSE").is_some() {
        println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    let outcomes = text.lines().filter_map(|line| {
        let (name, outcome) = line.split_once(char::is_whitespace)?;
        let outcome = match outcome.trim() {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed,
            "skipped" => Outcome::Skipped,
            _ => return None,
        };
        Some((name.to_owned(), outcome))
    });
    outcomes.collect()
}

/// All that Linux has, and two users without rights of their own.
fn configuration() -> String {
    let users = users();
    let entries: Vec<String> =
        users.iter().map(|(user, group)| format!("[{user:?}, {group:?}]")).collect();
    format!(
        "[features]\nposix_fallocate = {{}}\nrename_ctime = {{}}\nutime_now = {{}}\nutimensat = {{}}\n\
         [settings]\nnaptime = 0.02\nallow_remount = false\n\
         [dummy_auth]\nentries = [{}]\n",
        entries.join(", ")
    )
}

/// Two users of this machine beside root, each with his group.
fn users() -> Vec<(String, String)> {
    let (users, groups) =
        (fs::read_to_string("/etc/passwd").unwrap(), fs::read_to_string("/etc/group").unwrap());
    let group = |gid: &str| {
        let fields = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        fields
            .filter(|fields| fields.get(2) == Some(&gid))
            .find_map(|f| Some((*f.first()?).to_owned()))
    };
    let users = users.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { return None };
        if uid == "0" || gid == "0" {
            return None;
        }
        Some((name.to_owned(), group(gid)?))
    });
    // Each with a group of his own.
    let mut picked: Vec<(String, String)> = Vec::new();
    for (user, group) in users {
        if !picked.iter().any(|(_, other)| *other == group) {
            picked.push((user, group));
        }
    }
    picked.truncate(2);
    picked
}

/// A directory that other users may use.
fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}
