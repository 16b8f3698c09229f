//! What goes on across a commit.

use std::fs as disk;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use testbench_overlay::{CommitError, Fs as _, LowerModes, Overlay, OverlayError, fs, install};

use crate::commit::{lower, overlay};
use crate::common::{Host, Under, tree};

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
    disk::write(dir.path().join("a"), "the work of another process").unwrap();
    assert!(matches!(overlay.commit(), Err(CommitError::Conflicts { .. })));
    assert_eq!(disk::read_to_string(dir.path().join("a")).unwrap(), "the work of another process");
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
