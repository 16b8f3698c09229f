//! What is refused, and how.

use std::fs as disk;
use std::sync::Arc;

use testbench_overlay::{
    CommitError, CommitOptions, Errno, Fs as _, GuestPath, HostDir, MemoryDir, OpenHow, Overlay,
    fs, install,
};

use crate::commit::lower;
use crate::common::{Host, tree};

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
    commit `only` other paths, commit over it with `force`, or `rollback` and begin again
    ");
    let error = std::io::Error::from(overlay.commit().unwrap_err());
    assert_eq!(Errno::from(&error), Errno::Stale);
    overlay.commit_with(&CommitOptions::new().force()).unwrap();
    assert!(!dir.path().join("a").exists());

    fs::rename(dir.path().join("d"), dir.path().join("moved")).unwrap();
    let only = |path: &str| overlay.commit_with(&CommitOptions::new().only([path])).unwrap_err();
    insta::assert_snapshot!(only("moved"), @"nothing was committed, since `moved` cannot be committed without `d`; name both");
    insta::assert_snapshot!(only("mvoed"), @"nothing was committed, since nothing has changed at `mvoed`");
}

#[test]
fn a_commit_that_finds_conflicts_takes_nothing_up() {
    let dir = lower();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let open = fs::File::open(dir.path().join("d/b")).unwrap();
    fs::remove_file(dir.path().join("d/b")).unwrap();
    fs::write(dir.path().join("a"), "ours").unwrap();
    disk::write(dir.path().join("a"), "theirs").unwrap();
    let before = overlay.usage();
    assert_eq!(overlay.commit().unwrap_err().conflicts().len(), 1);
    assert_eq!(overlay.usage(), before);
    drop(open);
}
