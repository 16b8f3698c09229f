//! Commits: what goes on across them, what they keep, what they refuse, and journals that are not
//! what they should be.

#![allow(clippy::print_stderr, reason = "what is skipped is said")]

mod common;

use std::fs as disk;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use common::{Host, Under, tree};
use testbench_overlay::{
    CommitError, Errno, Fs, GuestPath, HostDir, LowerModes, LowerPolicy, MemoryDir, OpenHow,
    OurChange, Overlay, OverlayError, RecoverError, Recovered, Resolution, TheirChange, fs,
    install,
};

/// A directory with a file `a`, a file `d/b` and an empty directory `e`.
fn lower() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    disk::create_dir(dir.path().join("d")).unwrap();
    disk::create_dir(dir.path().join("e")).unwrap();
    disk::write(dir.path().join("a"), "a before").unwrap();
    disk::write(dir.path().join("d/b"), "b before").unwrap();
    dir
}

fn overlay(root: &Path) -> Arc<Overlay> {
    Overlay::builder(root).lower_modes(LowerModes::Real).build().unwrap()
}

#[test]
fn open_handles_go_on() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    let open = |name: &str| fs::OpenOptions::new().read(true).write(true).open(at(name)).unwrap();
    disk::write(at("big"), vec![7; 300_000]).unwrap();
    let (mut written, mut unread) = (open("a"), open("d/b"));
    let mut unlinked = open("big");
    let mut made = fs::File::create(at("new")).unwrap();
    written.write_all(b"A").unwrap();
    made.write_all(b"new").unwrap();
    fs::rename(at("d"), at("moved")).unwrap();
    fs::remove_file(at("big")).unwrap();
    fs::hard_link(at("new"), at("e/linked")).unwrap();
    let dir_before = overlay.root().unwrap().stat().unwrap();

    overlay.commit().unwrap();
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "A before");
    assert!(!at("big").exists() && !at("d").exists());

    let mut text = String::new();
    written.read_to_string(&mut text).unwrap();
    assert_eq!(text, " before", "from where it stood");
    written.write_all(b", and after").unwrap();
    text.clear();
    unread.read_to_string(&mut text).unwrap();
    assert_eq!(text, "b before", "from its new place");
    unread.set_len(1).unwrap();
    let mut bytes = Vec::new();
    unlinked.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![7; 300_000], "although nothing is left of it");
    unlinked.write_all(b"x").unwrap();
    made.rewind().unwrap();
    made.write_all(b"NEW").unwrap();
    assert_eq!(fs::read_to_string(at("e/linked")).unwrap(), "NEW", "one file with two names");
    assert_eq!(overlay.root().unwrap().stat().unwrap().ino, dir_before.ino);

    assert_eq!(overlay.diff().unwrap().summary(), "M a\nM e/linked\nM moved/b\nM new\n");
    drop((written, unread, unlinked, made));
    overlay.commit().unwrap();
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "A before, and after");
    assert_eq!(disk::read_to_string(at("moved/b")).unwrap(), "b");
    assert_eq!(disk::read_to_string(at("new")).unwrap(), "NEW");
    let ino = |name: &str| disk::metadata(at(name)).unwrap().ino();
    assert_eq!(ino("new"), ino("e/linked"));
    assert_eq!(tree::<Host>(dir.path()), tree::<Under>(dir.path()));
}

#[test]
fn a_commit_is_a_new_beginning() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    let checkpoint = overlay.checkpoint();
    let fork = overlay.fork();
    fs::write(dir.path().join("a"), "after").unwrap();
    let committed = overlay.commit().unwrap();
    assert_eq!((committed.files_written, committed.bytes_written), (1, 5));
    let refused = overlay.rollback(&checkpoint).unwrap_err();
    assert!(matches!(refused, OverlayError::Checkpoint), "{refused}");
    assert!(matches!(overlay.fork_at(&checkpoint), Err(OverlayError::Checkpoint)));
    fork.rollback(&checkpoint).unwrap();

    // What happens on the disk from now on is no conflict with what was seen before.
    disk::write(dir.path().join("a"), "changed by hand").unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "changed by hand");
    let new = overlay.checkpoint();
    fs::remove_file(dir.path().join("a")).unwrap();
    overlay.rollback(&new).unwrap();
    assert_eq!(overlay.commit().unwrap(), Default::default(), "nothing to do");
}

#[test]
fn an_overlay_on_top_goes_on_after_the_one_beneath_has_committed() {
    for modes in [LowerModes::Real, LowerModes::Owner] {
        let dir = lower();
        let at = |name: &str| dir.path().join(name);
        let beneath = Overlay::builder(dir.path()).lower_modes(modes).build().unwrap();
        {
            let _installed = install(beneath.clone());
            fs::write(at("a"), "a after").unwrap();
            fs::create_dir_all(at("new/dir")).unwrap();
            fs::write(at("new/dir/file"), "new").unwrap();
            fs::hard_link(at("new/dir/file"), at("new/linked")).unwrap();
            fs::symlink("a", at("link")).unwrap();
            fs::rename(at("d"), at("moved")).unwrap();
        }
        let upper = Overlay::over(beneath.clone()).mounted_at("/up").build().unwrap();
        let _installed = install(upper.clone());
        let up = |name: &str| Path::new("/up").join(name);
        let read = |name: &str| fs::read_to_string(up(name)).unwrap();
        let see = || ["a", "new/dir/file", "new/linked", "link", "moved/b"].map(read);
        let before = see();
        fs::write(up("new/ours"), "ours").unwrap();
        beneath.commit().unwrap();
        assert_eq!(see(), before);
        assert_eq!(upper.check_lower().unwrap(), []);
        assert_eq!(upper.diff().unwrap().summary(), "A new/ours\n");
        assert!(beneath.diff().unwrap().is_empty());
        assert_eq!((beneath.usage().bytes, beneath.usage().inodes), (0, 0));
    }
}

/// A conflict about `a`, for a resolver.
fn with_conflict() -> (tempfile::TempDir, Arc<Overlay>) {
    let dir = lower();
    let overlay = overlay(dir.path());
    let installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "ours").unwrap();
    disk::write(dir.path().join("a"), "theirs, longer").unwrap();
    drop(installed);
    (dir, overlay)
}

#[test]
fn a_resolver_may_read_through_the_overlay() {
    let (dir, overlay) = with_conflict();
    let _installed = install(overlay.clone());
    let committed = overlay.commit_with(|_, _| {
        assert_eq!(fs::read(dir.path().join("d/b")).unwrap(), b"b before");
        Resolution::Content(fs::read(dir.path().join("a")).unwrap())
    });
    assert_eq!(committed.unwrap().files_written, 1);
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "ours");
}

#[test]
fn nothing_is_committed_that_a_resolver_changes_meanwhile() {
    let (dir, overlay) = with_conflict();
    let _installed = install(overlay.clone());
    let refused = overlay.commit_with(|_, _| {
        fs::write(dir.path().join("new"), "").unwrap();
        Resolution::Ours
    });
    assert!(matches!(refused, Err(CommitError::Changed)), "{refused:?}");
    let refused = overlay.commit_with(|_, _| {
        overlay.commit_with(|_, _| Resolution::Ours).unwrap();
        Resolution::Ours
    });
    assert!(matches!(refused, Err(CommitError::Changed)), "{refused:?}");
    assert!(dir.path().join("new").exists(), "by the inner commit");
}

#[test]
fn one_file_cannot_be_given_two_contents() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    disk::hard_link(at("a"), at("linked")).unwrap();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    assert_eq!(fs::read(at("a")).unwrap(), fs::read(at("linked")).unwrap());
    fs::write(at("a"), "ours").unwrap();
    disk::write(at("a"), "theirs, longer").unwrap();
    let refused = overlay.commit_with(|conflict, _| Resolution::Content(conflict.path().into()));
    let error = refused.unwrap_err().to_string();
    assert!(error.starts_with("linked: ") && error.contains("another content"), "{error}");
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "theirs, longer");
    overlay.commit_with(|_, _| Resolution::Content(b"both".into())).unwrap();
    assert_eq!(disk::read_to_string(at("linked")).unwrap(), "both");
}

#[test]
fn the_policies_differ_in_what_was_only_looked_at() {
    for policy in [LowerPolicy::Verify, LowerPolicy::Capture, LowerPolicy::Live] {
        let dir = lower();
        let overlay = Overlay::builder(dir.path()).on_lower_change(policy).build().unwrap();
        let _installed = install(overlay.clone());
        fs::read(dir.path().join("d/b")).unwrap();
        fs::write(dir.path().join("a"), "ours").unwrap();
        disk::write(dir.path().join("d/b"), "theirs").unwrap();
        let outcome = overlay.commit();
        assert_eq!(outcome.is_err(), policy == LowerPolicy::Verify, "{policy:?}: {outcome:?}");
        if let Err(error) = outcome {
            let [conflict] = error.conflicts() else { panic!("{error}") };
            assert_eq!((conflict.path(), conflict.ours()), (&b"d/b"[..], &OurChange::Looked));
            overlay.commit_with(|_, _| Resolution::Theirs).unwrap();
        }
        assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "ours");
        assert_eq!(fs::read_to_string(dir.path().join("d/b")).unwrap(), "theirs");

        fs::write(dir.path().join("d/b"), "ours").unwrap();
        disk::write(dir.path().join("d/b"), "theirs again").unwrap();
        let error = overlay.commit().unwrap_err();
        assert_eq!(error.conflicts()[0].theirs(), TheirChange::Modified, "{policy:?}");
    }
}

#[test]
fn a_resolver_gets_all_three_versions_where_they_are_known() {
    let dir = lower();
    let builder = Overlay::builder(dir.path()).on_lower_change(LowerPolicy::Capture);
    let overlay = builder.build().unwrap();
    let _installed = install(overlay.clone());
    fs::rename(dir.path().join("a"), dir.path().join("e/a")).unwrap();
    fs::write(dir.path().join("e/a"), "ours").unwrap();
    disk::write(dir.path().join("a"), "theirs").unwrap();
    let mut seen = Vec::new();
    let aborted = overlay.commit_with(|conflict, versions| {
        let text = |side: &Option<testbench_overlay::diff::Side>| {
            let bytes = side.as_ref().and_then(|side| side.bytes());
            bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        seen.push(format!("{conflict}"));
        seen.extend(
            [&versions.base, &versions.ours, &versions.theirs].into_iter().filter_map(text),
        );
        Resolution::Abort
    });
    assert_eq!(aborted.unwrap_err().conflicts().len(), 1);
    let wanted = "a: renamed to e/a in the overlay, modified beneath it";
    assert_eq!(seen, [wanted, "a before", "ours", "theirs"]);
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "theirs");
    // It was aborted, not given up.
    overlay.commit_with(|_, _| Resolution::Content(b"all".to_vec())).unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("e/a")).unwrap(), "all");
    assert!(!dir.path().join("a").exists());
}

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
fn there_must_be_a_real_directory_beneath() {
    let memory = MemoryDir::builder().file("a", "text").build().unwrap();
    let overlay = Overlay::over(Arc::new(memory)).build().unwrap();
    let create = OpenHow { write: true, create: testbench_overlay::Create::New, ..OpenHow::READ };
    let top = overlay.root().unwrap();
    overlay.open_at(&*top, GuestPath::new("new"), &create).unwrap();
    let error = overlay.commit().unwrap_err();
    assert!(matches!(error, CommitError::NoDirectory), "{error}");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::Unsupported);

    let dir = lower();
    let stacked = Overlay::over(Overlay::new(dir.path()).unwrap()).build().unwrap();
    assert!(matches!(stacked.commit(), Err(CommitError::NoDirectory)));

    let read_only = HostDir::open(dir.path()).unwrap().read_only();
    let overlay = Overlay::over(Arc::new(read_only)).build().unwrap();
    assert!(matches!(overlay.commit(), Err(CommitError::ReadOnly { .. })));
    let writable = HostDir::open(dir.path()).unwrap();
    let overlay = Overlay::over(Arc::new(writable)).build().unwrap();
    let top = overlay.root().unwrap();
    overlay.create_dir_at(&*top, GuestPath::new("made"), 0o755).unwrap();
    overlay.commit().unwrap();
    assert!(dir.path().join("made").is_dir());
}

#[test]
fn the_name_of_the_journal_is_taken() {
    let dir = lower();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::create_dir(dir.path().join(".testbench-commit")).unwrap();
    assert!(matches!(overlay.commit(), Err(CommitError::Reserved)));
    fs::remove_dir(dir.path().join(".testbench-commit")).unwrap();
    fs::create_dir(dir.path().join("made")).unwrap();
    overlay.commit().unwrap();
    assert!(dir.path().join("made").is_dir());
}

#[test]
fn a_directory_swapped_for_a_symlink_is_not_followed() {
    let (dir, outside) = (lower(), lower());
    let overlay = Overlay::builder(dir.path()).on_lower_change(LowerPolicy::Live).build().unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("d/new"), "ours").unwrap();
    fs::write(dir.path().join("d/b"), "ours").unwrap();
    disk::remove_dir_all(dir.path().join("d")).unwrap();
    symlink(outside.path().join("d"), dir.path().join("d")).unwrap();
    let before = tree::<Host>(outside.path());
    assert!(overlay.commit().is_err());
    overlay.commit_with(|_, _| Resolution::Ours).unwrap();
    assert_eq!(tree::<Host>(outside.path()), before);
    assert!(disk::symlink_metadata(dir.path().join("d")).unwrap().is_dir());
    assert_eq!(disk::read_to_string(dir.path().join("d/b")).unwrap(), "ours");
}

/// As an interrupted commit leaves it, made by hand.
fn stage(root: &Path, files: &[(&str, &str)]) {
    disk::create_dir(root.join(".testbench-commit")).unwrap();
    for (name, text) in files {
        disk::write(root.join(".testbench-commit").join(name), text).unwrap();
    }
}

const FORMAT: (&str, &str) = ("format", "testbench-overlay commit journal 1\n");

#[test]
fn a_journal_that_is_not_ours_or_damaged_loses_nothing() {
    let damaged = "testbench-overlay commit journal 1 00\n{}\n";
    let newer = "testbench-overlay commit journal 7 00\n{}\n";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("precious", "data")], "foreign"),
        (&[FORMAT, ("precious", "data")], "foreign"),
        (&[("format", "something else\n")], "foreign"),
        (&[FORMAT, ("journal", "a diary")], "foreign"),
        (&[("n0", "not begun by us")], "foreign"),
        (&[FORMAT, ("journal", damaged), ("o1", "precious")], "damaged"),
        (&[FORMAT, ("journal", ""), ("o1", "precious")], "foreign"),
        (&[FORMAT, ("journal", newer), ("o1", "precious")], "version"),
    ];
    for (files, wanted) in cases {
        let dir = lower();
        stage(dir.path(), files);
        let before = tree::<Host>(dir.path());
        let error = Overlay::recover(dir.path()).unwrap_err();
        let is = match &error {
            RecoverError::Foreign { .. } => "foreign",
            RecoverError::Damaged { .. } => "damaged",
            RecoverError::Version { found, .. } if found == "7" => "version",
            other => panic!("{files:?}: {other}"),
        };
        assert_eq!(is, *wanted, "{files:?}");
        assert!(error.to_string().contains("nothing was changed"), "{error}");
        assert_eq!(tree::<Host>(dir.path()), before, "{files:?}");
        assert!(matches!(Overlay::new(dir.path()), Err(OverlayError::Unfinished { .. })));
    }
}

#[test]
fn what_was_being_prepared_is_thrown_away() {
    for files in [&[][..], &[("format", "testbench-ov")], &[FORMAT, ("n0", "x"), ("n1", "y")]] {
        let dir = lower();
        let before = tree::<Host>(dir.path());
        stage(dir.path(), files);
        let found = Overlay::recover(dir.path()).unwrap().unwrap();
        assert!(found.to_string().ends_with("was interrupted before it changed anything"));
        assert_eq!(found.resume().unwrap(), Recovered::Before);
        assert_eq!(tree::<Host>(dir.path()), before);
    }
    assert!(Overlay::recover(lower().path()).unwrap().is_none());
    assert!(matches!(Overlay::recover("/nonexistent"), Err(RecoverError::Open { .. })));
}

/// A journal with these steps, as a commit writes it.
fn journal(steps: &str) -> String {
    format!(
        "testbench-overlay commit journal 1 {}\n{steps}\n",
        blake3::hash(steps.as_bytes()).to_hex()
    )
}

#[test]
fn a_journal_of_another_tree_changes_nothing() {
    let step = |from: &str| {
        let was = r#"{"kind":"file","size":3,"mtime":[1,0]}"#;
        journal(&format!(
            r#"{{"outs":[{{"from":"{from}","slot":"o1","was":{was}}}],"ins":[],"metas":[]}}"#
        ))
    };
    // Something else is there, nothing is there, and a path that leads out.
    for (from, damaged) in [("a", false), ("gone", false), ("../a", true)] {
        let dir = lower();
        stage(dir.path(), &[FORMAT, ("journal", &step(from))]);
        let before = tree::<Host>(dir.path());
        for resume in [true, false] {
            let error = match Overlay::recover(dir.path()) {
                Ok(found) if resume => found.unwrap().resume().unwrap_err(),
                Ok(found) => found.unwrap().undo().unwrap_err(),
                Err(error) => error,
            };
            let is_damaged = matches!(error, RecoverError::Damaged { .. });
            assert!(is_damaged == damaged, "{error}");
            assert!(damaged || matches!(error, RecoverError::Changed { .. }), "{error}");
            assert_eq!(tree::<Host>(dir.path()), before, "{from}");
        }
    }
}

#[test]
fn what_was_changed_since_the_interruption_is_not_lost() {
    let dir = lower();
    let at = |name: &str| dir.path().join(name);
    // One step is done: `a` lies on the stage, and somebody has made a new `a`.
    let meta = disk::metadata(at("a")).unwrap();
    let mark = format!(
        r#"{{"kind":"file","size":{},"mtime":[{},{}]}}"#,
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    let steps =
        format!(r#"{{"outs":[{{"from":"a","slot":"o1","was":{mark}}}],"ins":[],"metas":[]}}"#);
    stage(dir.path(), &[FORMAT, ("journal", &journal(&steps))]);
    disk::rename(at("a"), at(".testbench-commit/o1")).unwrap();
    disk::write(at("a"), "new since").unwrap();
    let error = Overlay::recover(dir.path()).unwrap().unwrap().undo().unwrap_err();
    assert!(matches!(&error, RecoverError::Changed { path } if *path == at("a")), "{error}");
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "new since");
    assert_eq!(disk::read_to_string(at(".testbench-commit/o1")).unwrap(), "a before");
    // Put right, it goes on.
    disk::rename(at("a"), at("saved")).unwrap();
    assert_eq!(Overlay::recover(dir.path()).unwrap().unwrap().undo().unwrap(), Recovered::Before);
    assert_eq!(disk::read_to_string(at("a")).unwrap(), "a before");
    assert!(!at(".testbench-commit").exists());
}

#[test]
fn one_commit_or_recovery_at_a_time() {
    let dir = lower();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "after").unwrap();
    stage(dir.path(), &[FORMAT]);
    let held = Overlay::recover(dir.path()).unwrap().unwrap();
    assert!(matches!(Overlay::recover(dir.path()), Err(RecoverError::Busy { .. })));
    let error = overlay.commit().unwrap_err();
    assert!(matches!(error, CommitError::Unfinished { .. }), "{error}");
    drop(held);
    Overlay::recover(dir.path()).unwrap().unwrap().undo().unwrap();
    overlay.commit().unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "after");
}

#[test]
fn another_file_system_inside_is_refused_before_anything_is_written() {
    let dir = lower();
    let mounted = dir.path().join("e");
    let mut mount = std::process::Command::new("mount");
    let mounts = mount.args(["-t", "tmpfs", "none"]).arg(&mounted).output();
    if !mounts.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this machine does not let us mount");
        return;
    }
    disk::write(mounted.join("in"), "in").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "after").unwrap();
    fs::write(mounted.join("in"), "after").unwrap();
    let error = overlay.commit().unwrap_err();
    std::process::Command::new("umount").arg("-l").arg(&mounted).status().unwrap();
    assert!(
        matches!(&error, CommitError::Device { path } if path.starts_with(&mounted)),
        "{error}"
    );
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "a before");
}

#[test]
fn a_disk_that_is_full_is_reported_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut mount = std::process::Command::new("mount");
    let mounts = mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(dir.path()).output();
    if !mounts.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this machine does not let us mount");
        return;
    }
    disk::write(dir.path().join("a"), vec![1; 300_000]).unwrap();
    let before = tree::<Host>(dir.path());
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), vec![2; 300_000]).unwrap();
    fs::write(dir.path().join("b"), vec![3; 800_000]).unwrap();
    let error = overlay.commit().unwrap_err();
    let after = tree::<Host>(dir.path());
    // With less to write it fits.
    fs::write(dir.path().join("b"), "short").unwrap();
    let again = overlay.commit();
    let committed = disk::read_to_string(dir.path().join("b"));
    drop((overlay, _installed));
    std::process::Command::new("umount").arg("-l").arg(dir.path()).status().unwrap();
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert_eq!(after, before);
    again.unwrap();
    assert_eq!(committed.unwrap(), "short");
}

#[test]
fn errors_say_what_to_do() {
    let dir = lower();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::remove_file(dir.path().join("a")).unwrap();
    disk::write(dir.path().join("a"), "longer than before").unwrap();
    insta::assert_snapshot!(overlay.commit().unwrap_err(), @r"
    nothing was committed, since the directory has changed meanwhile:
      a: deleted in the overlay, modified beneath it
    use `commit_with` to decide on each, or `rollback` and begin again
    ");
    let error = std::io::Error::from(overlay.commit().unwrap_err());
    assert_eq!(Errno::from(&error), Errno::Stale);
    let refused = overlay.commit_with(|_, _| Resolution::Content(b"x".to_vec()));
    refused.unwrap();
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "x");
}

#[test]
fn a_removed_directory_in_which_a_file_is_open_is_no_conflict() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    let _open = fs::File::open(dir.path().join("d/b")).unwrap();
    fs::remove_dir_all(dir.path().join("d")).unwrap();
    overlay.commit().unwrap();
    assert!(!dir.path().join("d").exists());
}

#[test]
fn a_removed_file_that_is_open_and_changed_beneath_is_a_conflict() {
    let dir = lower();
    let overlay = overlay(dir.path());
    let _installed = install(overlay.clone());
    fs::read(dir.path().join("a")).unwrap();
    let _open = fs::File::create(dir.path().join("a")).unwrap();
    fs::remove_file(dir.path().join("a")).unwrap();
    disk::write(dir.path().join("a"), "the work of somebody else").unwrap();
    assert!(matches!(overlay.commit(), Err(CommitError::Conflicts { .. })));
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "the work of somebody else");
}

#[test]
fn a_fork_while_another_thread_commits_is_of_before_or_after() {
    let dir = lower();
    let overlay = overlay(dir.path());
    std::thread::scope(|scope| {
        let committer = scope.spawn(|| (0..5_000).all(|_| overlay.commit().is_ok()));
        while !committer.is_finished() {
            assert!(overlay.fork().diff().unwrap().is_empty());
        }
        assert!(committer.join().unwrap(), "each commit was done");
    });
}
