//! An overlay written out, changed there, and read back.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use crate::common::{Host, Under, tree};
use testbench_overlay::{Overlay, capture, fs, install};

fn lower() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("d/e")).unwrap();
    std::fs::write(dir.path().join("a"), "a\n").unwrap();
    std::fs::write(dir.path().join("d/b"), vec![7; 200_000]).unwrap();
    symlink("d/b", dir.path().join("l")).unwrap();
    dir
}

#[test]
fn what_is_written_out_is_the_merged_tree() {
    let (lower, out) = (lower(), tempfile::tempdir().unwrap());
    let overlay = Overlay::new(lower.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(lower.path().join("d/new"), "new").unwrap();
    fs::hard_link(lower.path().join("d/new"), lower.path().join("linked")).unwrap();
    fs::remove_file(lower.path().join("a")).unwrap();
    fs::set_permissions(lower.path().join("d/e"), fs::Permissions::from_mode(0o500)).unwrap();
    overlay.materialize(out.path()).unwrap();
    assert_eq!(tree::<Host>(out.path()), tree::<Under>(lower.path()));
    let ino = |name: &str| std::fs::metadata(out.path().join(name)).unwrap().ino();
    assert_eq!(ino("d/new"), ino("linked"));
}

#[test]
fn only_an_empty_directory_is_written_into() {
    let (lower, out) = (lower(), lower());
    let error = Overlay::new(lower.path()).unwrap().materialize(out.path()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
}

#[test]
fn what_changes_there_becomes_a_change_of_the_overlay() {
    let (lower, out) = (lower(), tempfile::tempdir().unwrap());
    let before = tree::<Host>(lower.path());
    let overlay = Overlay::new(lower.path()).unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    written.absorb().unwrap();
    assert!(overlay.diff().unwrap().is_empty());

    let script = "echo more >> a; rm l; mkdir l; echo x > l/x; rm -r d/e; ln -s a s; \
                  printf z | dd of=d/b bs=1 seek=100000 conv=notrunc status=none; \
                  ln a hard; chmod 755 d/b; printf gone > t; rm t; cp a a2; mv a2 renamed";
    let status = Command::new("sh").arg("-c").arg(script).current_dir(out.path()).status().unwrap();
    assert!(status.success());
    written.absorb().unwrap();
    let _installed = install(overlay.clone());
    assert_eq!(tree::<Under>(lower.path()), tree::<Host>(out.path()));
    assert_eq!(tree::<Host>(lower.path()), before);
    let (size, nlink) = (fs::metadata(lower.path().join("d/b")).unwrap().len(), 2);
    assert_eq!(size, 200_000);
    assert_eq!(fs::metadata(lower.path().join("hard")).unwrap().stat().nlink, nlink);

    let diff = overlay.diff().unwrap();
    written.absorb().unwrap();
    assert_eq!(overlay.diff().unwrap(), diff, "nothing to absorb");
    fs::remove_dir_all(lower.path().join("l")).unwrap();
}

#[test]
fn a_time_that_was_set_there_is_kept_and_one_that_came_about_is_that_of_the_clock() {
    let (lower, out) = (lower(), tempfile::tempdir().unwrap());
    let overlay = Overlay::new(lower.path()).unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    let _installed = install(overlay.clone());
    let mtime = |name: &str| fs::symlink_metadata(lower.path().join(name)).unwrap().stat().mtime;
    let now = || testbench_clock::current().wall();
    let run = |script: &str| {
        let status = Command::new("sh").arg("-c").arg(script).current_dir(out.path()).status();
        assert!(status.unwrap().success(), "{script}");
    };
    let (before, copied) = (now(), mtime("a"));

    run("touch a; cp -p a d/copy; touch -d @7 d/b; touch -d @8 d; touch -h -d @9 l; echo x > new
         mkdir dated; echo x > dated/in; touch -d @10 dated/in; touch -d @11 dated");
    let absorbed = written.absorb().unwrap();
    let names: Vec<_> = absorbed.iter().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(names, ["a", "d", "d/b", "d/copy", "dated", "dated/in", "l", "new"]);
    for (name, secs) in [("d/b", 7), ("d", 8), ("l", 9), ("dated/in", 10), ("dated", 11)] {
        assert_eq!(mtime(name).unix_nanos(), secs * 1_000_000_000, "{name}");
    }
    for name in ["a", "new", "d/copy"] {
        assert!((before..=now()).contains(&mtime(name)) && mtime(name) > copied, "{name}");
    }
    let diff = overlay.diff().unwrap();
    assert_eq!(
        diff.summary(),
        "A d/copy
A dated/
A dated/in
A new
"
    );

    let times: Vec<_> = ["a", "d/b", "d", "new", "d/copy"].map(mtime).into();
    assert!(written.absorb().unwrap().is_empty());
    run("touch -d @12 a");
    assert_eq!(written.absorb().unwrap(), [b"a"]);
    assert_eq!(mtime("a").unix_nanos(), 12_000_000_000);
    assert_eq!(times[1..], ["d/b", "d", "new", "d/copy"].map(mtime));
}

/// In every order of the names: new ones before and behind the one that was there, the old one kept,
/// replaced or gone.
#[test]
fn names_of_one_file_stay_so_in_whatever_order_they_came() {
    for script in [
        "ln m a; ln m z",
        "ln m a; ln m z; rm m",
        "ln m z; rm m; ln z a; ln z m",
        "echo new > a; ln a m2; ln a z; rm m; ln a m",
        "mkdir d; ln m d/m; rm m; ln d/m a",
        "ln two a; rm two; ln a m3; echo more >> a",
        "ln -s x l; ln l k; rm l; ln k l",
        "ln s a; ln s z",
        "ln s a; rm s; ln -s m s",
        "rm s; ln -s elsewhere s; ln s a",
    ] {
        let (lower, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(lower.path().join("m"), "text").unwrap();
        symlink("m", lower.path().join("s")).unwrap();
        std::fs::write(lower.path().join("one"), "linked").unwrap();
        std::fs::hard_link(lower.path().join("one"), lower.path().join("two")).unwrap();
        let overlay = Overlay::new(lower.path()).unwrap();
        let mut written = overlay.materialize(out.path()).unwrap();
        let status = Command::new("sh").arg("-c").arg(script).current_dir(out.path()).status();
        assert!(status.unwrap().success(), "{script}");
        written.absorb().unwrap();
        let again = tempfile::tempdir().unwrap();
        overlay.materialize(again.path()).unwrap();
        assert_eq!(tree::<Host>(again.path()), tree::<Host>(out.path()), "{script}");
        assert_eq!(groups(again.path()), groups(out.path()), "{script}");
    }
}

/// Names that are one file, by their inode.
fn groups(dir: &std::path::Path) -> Vec<Vec<String>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut by_ino = std::collections::BTreeMap::<u64, Vec<String>>::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.unwrap();
        let ino = entry.path().symlink_metadata().unwrap().ino();
        let name = entry.path().strip_prefix(dir).unwrap().display().to_string();
        by_ino.entry(ino).or_default().push(name);
    }
    let mut groups: Vec<_> = by_ino.into_values().collect();
    groups.sort();
    groups
}

/// They are not written out, and so neither in the way of what happens there nor lost by it.
#[test]
fn directories_that_hold_special_files_are_absorbed() {
    let (lower, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = Command::new("sh")
        .arg("-c")
        .arg("mkdir -p gone/in kept; mkfifo gone/p gone/in/p kept/p taken; echo x > gone/f")
        .current_dir(lower.path())
        .status();
    assert!(made.unwrap().success());
    let overlay = Overlay::new(lower.path()).unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    std::fs::remove_dir_all(out.path().join("gone")).unwrap();
    std::fs::write(out.path().join("taken"), "a file now").unwrap();
    std::fs::write(out.path().join("kept/new"), "").unwrap();
    written.absorb().unwrap();
    let diff = overlay.diff().unwrap().summary();
    assert_eq!(
        diff,
        "D gone/\nD gone/f\nD gone/in/\nD gone/in/p (special)\nD gone/p (special)\nA kept/new (empty)\n\
         T taken (special -> file)\n"
    );
}

#[test]
fn permission_bits_do_not_stop_what_has_happened() {
    let (lower, out) = (lower(), tempfile::tempdir().unwrap());
    let overlay = Overlay::new(lower.path()).unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    std::fs::write(out.path().join("d/in"), "x").unwrap();
    std::fs::set_permissions(out.path().join("d"), std::fs::Permissions::from_mode(0o555)).unwrap();
    written.absorb().unwrap();
    let summary = overlay.diff().unwrap().summary();
    assert!(summary.contains("A d/in"), "{summary}");
    std::fs::set_permissions(out.path().join("d"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn code_that_calls_std_is_captured() {
    let lower = lower();
    let before = tree::<Host>(lower.path());
    let diff = capture(lower.path(), |copy| {
        std::fs::write(copy.join("a"), "b\n")?;
        std::fs::remove_dir(copy.join("d/e"))
    })
    .unwrap();
    assert_eq!(diff.summary(), "M a\nD d/e/\n");
    assert_eq!(tree::<Host>(lower.path()), before);
    let failed = capture(lower.path(), |_| Err::<(), _>(std::io::Error::other("mine")));
    assert_eq!(failed.unwrap_err().to_string(), "mine");
}

/// The directory written to would be a part of what is read.
#[test]
fn an_overlay_is_never_written_into_its_own_lower_directory() {
    let lower = lower();
    std::fs::create_dir(lower.path().join("out")).unwrap();
    let aside = tempfile::tempdir().unwrap();
    symlink(lower.path(), aside.path().join("link")).unwrap();
    let before = tree::<Host>(lower.path());
    let overlay = Overlay::new(lower.path()).unwrap();
    let stacked = Overlay::over(overlay.clone()).build().unwrap();
    for overlay in [&overlay, &stacked] {
        for out in [
            lower.path().join("out"),
            lower.path().join("made/below"),
            lower.path().join("d/../out"),
            aside.path().join("link/out"),
            aside.path().join("link/made"),
            lower.path().parent().unwrap().to_owned(),
        ] {
            let error = overlay.materialize(&out).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{out:?}: {error}");
            assert!(error.to_string().contains("lower directory"), "{error}");
        }
    }
    let through_nothing = aside.path().join("missing/../out");
    let error = overlay.materialize(through_nothing).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    assert_eq!(tree::<Host>(lower.path()), before);
    overlay.materialize(aside.path().join("made/below")).unwrap();
}

#[test]
fn what_is_hidden_is_not_written_out_and_what_is_read_only_is_not_absorbed() {
    let lower = lower();
    std::fs::write(lower.path().join("d/key"), "secret").unwrap();
    let builder = Overlay::builder(lower.path()).hide("**/key").read_only_at("d/e");
    let overlay = builder.build().unwrap();
    std::fs::write(lower.path().join("d/e/x"), "x").unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    assert!(!out.path().join("d/key").exists());
    assert!(written.absorb().unwrap().is_empty(), "what was left out is not removed");

    let at = |name: &str| out.path().join(name);
    std::fs::write(at("d/e/scratch"), "").unwrap();
    std::fs::remove_file(at("d/e/scratch")).unwrap();
    std::fs::hard_link(at("d/e/x"), at("linked")).unwrap();
    std::fs::write(at("a"), "changed").unwrap();
    written.absorb().unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "M a\nL linked -> d/e/x\n");

    std::fs::write(at("a"), "changed again").unwrap();
    std::fs::write(at("d/e/x"), "changed").unwrap();
    let error = written.absorb().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    assert!(error.to_string().contains("d/e/x"), "{error}");
    assert_eq!(overlay.diff().unwrap().summary(), "M a\nL linked -> d/e/x\n", "nothing of it");
}

#[test]
fn a_hidden_name_that_is_made_is_refused() {
    let (lower, out) = (lower(), tempfile::tempdir().unwrap());
    let overlay = Overlay::builder(lower.path()).hide("*.key").build().unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    std::fs::write(out.path().join("my.key"), "").unwrap();
    let error = written.absorb().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
    assert!(overlay.diff().unwrap().is_empty());
}
