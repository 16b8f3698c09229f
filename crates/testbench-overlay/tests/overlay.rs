//! What an overlay keeps, hides and reports, one behaviour a test.

mod common;

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Host, Under, tree};
use testbench_clock::{Context, Lifetime, MockClock, WallTime};
use testbench_overlay::{
    Create, Errno, Follow, Fs, GuestPath, LowerModes, LowerPolicy, LowerTimes, MemoryDir, OpenHow,
    Overlay, OverlayError, ReadOnly, Stat, fs, install, install_with,
};

/// A directory with a few files, an overlay of it that is installed, and a check at the end that
/// the directory was not touched.
struct Bench {
    dir: tempfile::TempDir,
    overlay: Arc<Overlay>,
    before: common::Tree,
    _installed: testbench_clock::Guard,
}

fn bench(files: &[(&str, &str)]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let before = tree::<Host>(dir.path());
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    Bench { dir, overlay, before, _installed }
}

impl Bench {
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn summary(&self) -> String {
        self.overlay.diff().unwrap().summary()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(tree::<Host>(self.dir.path()), self.before, "the directory was written");
        }
    }
}

#[test]
fn a_deleted_directory_hides_all_that_was_in_it_and_stays_empty_when_made_anew() {
    let b = bench(&[("d/a", "1"), ("d/e/b", "2"), ("keep", "")]);
    fs::remove_dir_all(b.at("d")).unwrap();
    assert_eq!(b.names(""), ["keep"]);
    assert_eq!(fs::read(b.at("d/e/b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(b.summary(), "D d/\nD d/a\nD d/e/\nD d/e/b\n");
    fs::create_dir(b.at("d")).unwrap();
    assert!(b.names("d").is_empty());
    fs::create_dir(b.at("d/e")).unwrap();
    assert!(b.names("d/e").is_empty());
    assert_eq!(b.summary(), "D d/a\nD d/e/b\n");
}

#[test]
fn a_moved_directory_takes_along_what_nobody_has_looked_at() {
    let b = bench(&[("d/a", "1"), ("d/e/b", "2")]);
    fs::rename(b.at("d"), b.at("m")).unwrap();
    assert_eq!(b.summary(), "R d/ -> m/\n");
    assert_eq!(b.read("m/e/b"), "2");
    fs::write(b.at("m/e/b"), "3").unwrap();
    fs::remove_file(b.at("m/a")).unwrap();
    fs::write(b.at("m/new"), "x").unwrap();
    fs::create_dir(b.at("d")).unwrap();
    assert!(b.names("d").is_empty());
    assert_eq!(b.names("m"), ["e", "new"]);
    fs::remove_dir(b.at("d")).unwrap();
    fs::rename(b.at("m"), b.at("d")).unwrap();
    assert_eq!(b.summary(), "D d/a\nM d/e/b\nA d/new\n");
}

#[test]
fn what_comes_to_nothing_is_not_in_the_diff() {
    let b = bench(&[("a", "text"), ("d/b", "")]);
    fs::write(b.at("a"), "other").unwrap();
    fs::write(b.at("a"), "text").unwrap();
    fs::write(b.at("t"), "").unwrap();
    fs::remove_file(b.at("t")).unwrap();
    fs::rename(b.at("d"), b.at("e")).unwrap();
    fs::rename(b.at("e"), b.at("d")).unwrap();
    fs::remove_file(b.at("d/b")).unwrap();
    fs::write(b.at("d/b"), "").unwrap();
    assert!(b.overlay.diff().unwrap().is_empty(), "{}", b.summary());
}

#[test]
fn hard_links_are_one_file() {
    let b = bench(&[("a", "text")]);
    fs::hard_link(b.at("a"), b.at("b")).unwrap();
    fs::write(b.at("b"), "changed").unwrap();
    assert_eq!(b.read("a"), "changed");
    assert_eq!(fs::metadata(b.at("a")).unwrap().stat().nlink, 2);
    fs::remove_file(b.at("a")).unwrap();
    assert_eq!(b.read("b"), "changed");
    assert_eq!(fs::metadata(b.at("b")).unwrap().stat().nlink, 1);
}

#[test]
fn lower_hard_links_stay_one_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "text").unwrap();
    std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    let _installed = install(Overlay::new(dir.path()).unwrap());
    fs::write(dir.path().join("a"), "changed").unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "changed");
    let ino = |name: &str| fs::metadata(dir.path().join(name)).unwrap().stat().ino;
    assert_eq!(ino("a"), ino("b"));
    assert_eq!(std::fs::read_to_string(dir.path().join("b")).unwrap(), "text");
}

#[test]
fn an_unlinked_file_lives_as_long_as_its_handle() {
    let b = bench(&[("a", "lower text")]);
    let mut file = fs::OpenOptions::new().read(true).write(true).open(b.at("a")).unwrap();
    fs::remove_file(b.at("a")).unwrap();
    file.seek(SeekFrom::Start(6)).unwrap();
    file.write_all(b"TEXT").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "lower TEXT");
    assert_eq!(file.metadata().unwrap().stat().nlink, 0);
    fs::write(b.at("a"), "another").unwrap();
    assert_eq!(b.read("a"), "another");
    drop(file);
    assert_eq!(b.summary(), "M a\n");
}

#[test]
fn a_handle_follows_its_file_not_its_name() {
    let b = bench(&[("d/a", "1")]);
    let mut file = fs::OpenOptions::new().append(true).open(b.at("d/a")).unwrap();
    fs::rename(b.at("d"), b.at("m")).unwrap();
    file.write_all(b"2").unwrap();
    assert_eq!(b.read("m/a"), "12");
    fs::write(b.at("other"), "x").unwrap();
    fs::rename(b.at("other"), b.at("m/a")).unwrap();
    file.write_all(b"3").unwrap();
    assert_eq!(b.read("m/a"), "x");
}

#[test]
fn a_new_file_moved_over_an_old_one_is_a_modification() {
    let b = bench(&[("a", "old\n")]);
    fs::write(b.at(".a.tmp"), "new\n").unwrap();
    fs::rename(b.at(".a.tmp"), b.at("a")).unwrap();
    assert_eq!(b.summary(), "M a\n");
    assert_eq!(b.names(""), ["a"]);
}

#[test]
fn a_name_can_change_its_kind() {
    let b = bench(&[("a", "1"), ("d/x", "2")]);
    fs::remove_file(b.at("a")).unwrap();
    fs::create_dir(b.at("a")).unwrap();
    fs::write(b.at("a/in"), "").unwrap();
    fs::remove_dir_all(b.at("d")).unwrap();
    fs::symlink("a", b.at("d")).unwrap();
    assert_eq!(b.names("d"), ["in"]);
    let diff = b.overlay.diff().unwrap().to_string();
    assert!(diff.contains("a/in") && diff.contains("d/x"), "{diff}");
}

#[test]
fn a_few_bytes_in_a_huge_file_do_not_read_or_copy_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let _installed = install(Overlay::new(dir.path()).unwrap());
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(1 << 39)).unwrap();
    file.write_all(b"here").unwrap();
    let mut around = [1; 8];
    file.seek(SeekFrom::Start((1 << 39) - 2)).unwrap();
    file.read_exact(&mut around).unwrap();
    assert_eq!(&around, b"\0\0here\0\0");
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 40);
}

#[test]
fn writing_nothing_changes_nothing() {
    let b = bench(&[("a", "text")]);
    let mut file = fs::OpenOptions::new().write(true).open(b.at("a")).unwrap();
    let mut appending = fs::OpenOptions::new().append(true).open(b.at("a")).unwrap();
    let before = fs::metadata(b.at("a")).unwrap().modified().unwrap();
    file.seek(SeekFrom::Start(100)).unwrap();
    assert_eq!((file.write(b"").unwrap(), appending.write(b"").unwrap()), (0, 0));
    let after = fs::metadata(b.at("a")).unwrap();
    assert_eq!((after.len(), after.modified().unwrap()), (4, before));
    assert_eq!((b.summary().as_str(), b.overlay.usage().bytes), ("", 0));
}

#[test]
fn a_file_cut_and_extended_shows_zeros() {
    let b = bench(&[("a", "0123456789")]);
    let file = fs::OpenOptions::new().write(true).open(b.at("a")).unwrap();
    file.set_len(4).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(fs::read(b.at("a")).unwrap(), b"0123\0\0\0\0");
}

#[test]
fn permission_bits_bind_whoever_runs_the_process() {
    let b = bench(&[("a", "text"), ("d/x", "")]);
    fs::set_permissions(b.at("a"), fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(fs::write(b.at("a"), "").unwrap_err().raw_os_error(), Some(13));
    assert_eq!(b.read("a"), "text");
    fs::set_permissions(b.at("d"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::read(b.at("d/x")).unwrap_err().raw_os_error(), Some(13));
    fs::set_permissions(b.at("d"), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(fs::write(b.at("d/new"), "").unwrap_err().raw_os_error(), Some(13));
    assert_eq!(fs::remove_file(b.at("d/x")).unwrap_err().raw_os_error(), Some(13));
    fs::set_permissions(b.at("d"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(fs::read_dir(b.at("d")).is_err());

    let overlay = Overlay::builder(b.dir.path()).as_root(true).build().unwrap();
    let _installed = install(overlay);
    fs::set_permissions(b.at("a"), fs::Permissions::from_mode(0)).unwrap();
    fs::write(b.at("a"), "").unwrap();
}

/// Everything a guest can learn from metadata.
fn visible(fs: &dyn Fs) -> String {
    fn add(fs: &dyn Fs, dir: &dyn testbench_overlay::File, depth: usize, text: &mut String) {
        for entry in dir.read_dir().unwrap() {
            let name = GuestPath::new(&entry.name);
            let stat = fs.stat_at(dir, name, Follow::No).unwrap();
            assert_eq!(stat.ino, entry.ino, "{name}");
            *text += &format!("{:depth$}{name} {stat:?}\n", "");
            if let Ok(sub) = fs.open_at(
                dir,
                name,
                &OpenHow { directory: true, follow: Follow::No, ..OpenHow::READ },
            ) {
                add(fs, &*sub, depth + 1, text);
            }
        }
    }
    let mut text = String::new();
    let top = fs.root().unwrap();
    text += &format!("{:?}\n", top.stat().unwrap());
    add(fs, &*top, 0, &mut text);
    text
}

#[test]
fn what_guests_see_does_not_depend_on_root_umask_times_or_order() {
    let clock = MockClock::builder().build();
    let mut seen = Vec::new();
    for (order, umask) in [(false, 0o022), (true, 0o077), (false, 0o002)] {
        let dir = tempfile::tempdir().unwrap();
        let mut names = vec!["a", "b", "d/c", "d/e/f", "z"];
        if order {
            names.reverse();
        }
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name).unwrap();
            // As that umask would have left it; the umask itself belongs to all threads.
            set_mode(&path, 0o666 & !umask);
            set_mode(path.parent().unwrap(), 0o777 & !umask);
        }
        set_mode(dir.path(), 0o777 & !umask);
        let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build().unwrap();
        let top = overlay.root().unwrap();
        let how = OpenHow { write: true, create: Create::New, ..OpenHow::READ };
        overlay.open_at(&*top, GuestPath::new("d/new"), &how).unwrap();
        seen.push(visible(&*overlay));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert!(seen[0].contains("2000-01-01T00:00:00Z"), "{}", seen[0]);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn real_times_and_modes_are_shown_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, "").unwrap();
    set_mode(&path, 0o640);
    let real = WallTime::from(std::fs::metadata(&path).unwrap().modified().unwrap());
    let overlay = Overlay::builder(dir.path())
        .lower_times(LowerTimes::Real)
        .lower_modes(LowerModes::Real)
        .build()
        .unwrap();
    let top = overlay.root().unwrap();
    let stat: Stat = overlay.stat_at(&*top, GuestPath::new("a"), Follow::No).unwrap();
    assert_eq!((stat.mtime, stat.mode), (real, 0o640));
}

#[test]
fn times_come_from_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = MockClock::builder().start(WallTime::from_unix_secs(1000)).build();
    let overlay = Overlay::builder(dir.path()).clock(clock.clone()).build().unwrap();
    let _installed = install(overlay);
    let at = |path: &str| {
        WallTime::from(fs::metadata(dir.path().join(path)).unwrap().modified().unwrap())
    };
    fs::write(dir.path().join("a"), "").unwrap();
    clock.advance(Duration::from_secs(5)).unwrap();
    fs::write(dir.path().join("b"), "").unwrap();
    assert_eq!(at("a"), WallTime::from_unix_secs(1000));
    assert_eq!(at("b"), WallTime::from_unix_secs(1005));
    assert_eq!(at(""), WallTime::from_unix_secs(1005));
    clock.advance(Duration::from_secs(5)).unwrap();
    fs::read(dir.path().join("a")).unwrap();
    assert_eq!(at("a"), WallTime::from_unix_secs(1000));
}

#[test]
fn a_file_that_changes_underneath_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, "first").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    std::fs::write(&path, "second").unwrap();
    let error = fs::read_to_string(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle);
    assert!(error.to_string().contains("lower file \"a\" was changed"), "{error}");
    assert_eq!(overlay.lower_changes().len(), 1);
    assert_eq!(overlay.lower_changes()[0].path(), b"a");

    assert!(!fs::exists(dir.path().join("absent")).unwrap());
    std::fs::write(dir.path().join("absent"), "").unwrap();
    let error = fs::exists(dir.path().join("absent")).unwrap_err();
    assert!(error.to_string().contains("has appeared"), "{error}");
    assert!(fs::read_dir(dir.path()).is_ok());
    std::fs::remove_file(&path).unwrap();
    let error = fs::read_dir(dir.path()).unwrap_err();
    assert!(error.to_string().contains("gained or lost entries"), "{error}");
}

#[test]
fn a_change_while_a_file_is_open_is_noticed_by_the_next_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, vec![b'1'; 1000]).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.read_exact(&mut [0; 10]).unwrap();
    std::fs::write(&path, vec![b'2'; 1000]).unwrap();
    assert!(file.read_exact(&mut [0; 10]).is_err());
    assert!(file.write_all(b"x").is_err());
    assert!(overlay.diff().unwrap().is_empty(), "a failed write changes nothing");
}

#[test]
fn a_changed_file_that_was_changed_here_too_cannot_be_compared() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(name), "first").unwrap();
    }
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "ours").unwrap();
    fs::remove_file(dir.path().join("b")).unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "M a\nD b\n");
    std::fs::write(dir.path().join("b"), "theirs").unwrap();
    let error = overlay.diff().unwrap_err().to_string();
    assert!(error.contains("lower file \"b\" was changed"), "{error}");
}

#[test]
fn captured_is_what_was_first_seen_and_live_is_what_is_there() {
    for (policy, wanted) in [(LowerPolicy::Capture, "first"), (LowerPolicy::Live, "second!")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "first").unwrap();
        let overlay = Overlay::builder(dir.path()).on_lower_change(policy).build().unwrap();
        let _installed = install(overlay.clone());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert!(!fs::exists(dir.path().join("late")).unwrap());
        std::fs::write(&path, "second!").unwrap();
        std::fs::write(dir.path().join("late"), "").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), wanted, "{policy:?}");
        let late = fs::exists(dir.path().join("late")).unwrap();
        assert_eq!(late, policy == LowerPolicy::Live);
        assert!(overlay.diff().unwrap().is_empty(), "{policy:?}");
    }
}

#[test]
fn after_the_session_nothing_reaches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late");
    let session = Lifetime::new("docs");
    let guard = install_with(Overlay::new(dir.path()).unwrap(), &session);
    let context = Context::capture();
    drop(guard);
    session.end();
    let (late, kept) = (path.clone(), context);
    std::thread::spawn(move || {
        let _entered = kept.enter();
        let error = fs::write(&late, "x").unwrap_err();
        assert!(error.to_string().contains("session `docs` ended at"), "{error}");
        assert!(fs::read_dir(late.parent().unwrap()).is_err());
    })
    .join()
    .unwrap();
    assert!(!path.exists());
    // Without a context the real disk is meant.
    std::thread::spawn(move || fs::write(&path, "x").unwrap()).join().unwrap();
    assert!(dir.path().join("late").exists());
}

#[test]
fn relative_paths_start_from_the_top_unless_the_current_directory_is_inside() {
    let b = bench(&[]);
    fs::write("made.txt", "here").unwrap();
    assert_eq!(b.read("made.txt"), "here");
    assert!(!Path::new("made.txt").exists());
}

#[test]
fn a_root_may_be_named_through_a_symlink_outside_of_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("real/sub")).unwrap();
    std::fs::write(dir.path().join("real/sub/a"), "x").unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("alias")).unwrap();
    let by_alias = Overlay::new(dir.path().join("alias/sub")).unwrap();
    for (overlay, name) in
        [(by_alias, "real/sub/a"), (Overlay::new(dir.path().join("real")).unwrap(), "alias/sub/a")]
    {
        let _installed = install(overlay);
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "x", "{name}");
        let canonical = fs::canonicalize(dir.path().join(name)).unwrap();
        assert_eq!(canonical, dir.path().canonicalize().unwrap().join("real/sub/a"));
    }
}

#[test]
fn a_missing_root_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Overlay::new(dir.path().join("no")).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot make an overlay of ") && error.contains("No such file"),
        "{error}"
    );
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(Overlay::new(dir.path().join("file")).is_err());
    let error = Overlay::builder(dir.path()).mounted_at("relative").build().unwrap_err();
    assert!(error.to_string().contains("must be absolute"), "{error}");
}

#[test]
fn overlays_stack() {
    let b = bench(&[("a", "0"), ("d/b", "0")]);
    fs::write(b.at("a"), "1").unwrap();
    fs::rename(b.at("d"), b.at("e")).unwrap();
    let upper = Overlay::over(b.overlay.clone()).build().unwrap();
    let top = upper.root().unwrap();
    let how = OpenHow { write: true, truncate: true, ..OpenHow::READ };
    let file = upper.open_at(&*top, GuestPath::new("e/b"), &how).unwrap();
    file.write_at(b"2", 0).unwrap();
    upper.remove_file_at(&*top, GuestPath::new("a")).unwrap();
    assert_eq!(upper.diff().unwrap().summary(), "D a\nM e/b\n");
    assert_eq!(b.summary(), "M a\nR d/ -> e/\n");
    assert_eq!(b.read("e/b"), "0");
}

#[test]
fn a_checkpoint_is_a_value() {
    let b = bench(&[("a", "0")]);
    let start = b.overlay.checkpoint();
    fs::write(b.at("a"), "1").unwrap();
    let mut held = fs::File::create_new(b.at("new")).unwrap();
    held.write_all(b"open").unwrap();
    let one = b.overlay.checkpoint();
    let fork = b.overlay.fork();
    fs::write(b.at("a"), "2").unwrap();
    assert_eq!(b.read("a"), "2");

    b.overlay.rollback(&one).unwrap();
    assert_eq!(b.read("a"), "1");
    held.write_all(b"ed").unwrap();
    assert_eq!(b.read("new"), "opened");

    b.overlay.rollback(&start).unwrap();
    assert!(b.overlay.diff().unwrap().is_empty());
    assert_eq!(Errno::from(held.write_all(b"x").unwrap_err()), Errno::Stale);
    fs::write(b.at("again"), "fresh").unwrap();
    assert!(held.write_all(b"x").is_err(), "a number is not given twice");

    assert_eq!(fork.diff().unwrap().summary(), "M a\nA new\n");
    let other = Overlay::new(b.dir.path()).unwrap();
    assert!(other.rollback(&one).is_err());
    assert_eq!(fork.fork_at(&start).unwrap().diff().unwrap().summary(), "");
}

#[test]
fn a_rollback_leaves_no_file_without_a_name_behind() {
    let b = bench(&[]);
    let file = fs::File::create_new(b.at("a")).unwrap();
    fs::remove_file(b.at("a")).unwrap();
    let unlinked = b.overlay.checkpoint();
    drop(file);
    b.overlay.rollback(&unlinked).unwrap();
    assert!(format!("{:?}", b.overlay.checkpoint()).contains("inodes: 1"), "only the top is left");
}

#[test]
fn trees_in_memory_and_read_only_trees() {
    let tree = MemoryDir::builder().file("d/a", "text").symlink("l", "d/a").executable("x", "");
    let tree = ReadOnly::new(tree.build().unwrap());
    let top = tree.root().unwrap();
    let open = |path: &str, how: &OpenHow| tree.open_at(&*top, GuestPath::new(path), how);
    let file = open("l", &OpenHow::READ).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(file.read_at(&mut bytes, 1), Ok(3));
    assert_eq!(file.write_at(b"x", 0), Err(Errno::Badf));
    assert_eq!(file.set_mode(0), Err(Errno::Rofs));
    let write = OpenHow { write: true, ..OpenHow::READ };
    assert_eq!(open("d/a", &write).map(drop), Err(Errno::Rofs));
    let create = OpenHow { create: Create::IfMissing, ..OpenHow::READ };
    assert_eq!(open("d/a", &create).map(drop), Ok(()));
    assert_eq!(open("d/b", &create).map(drop), Err(Errno::Rofs));
    let error = MemoryDir::builder().file("a", "").file("a/b", "").build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make `a/b` in a tree in memory: not a directory (ENOTDIR)"
    );
}

#[test]
fn many_threads_share_an_overlay() {
    let b = bench(&[("a", "0")]);
    let context = Context::capture();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (context, b) = (&context, &b.dir);
            scope.spawn(move || {
                let _entered = context.enter();
                for i in 0..200 {
                    let path = b.path().join(format!("t{thread}-{i}"));
                    fs::write(&path, "x").unwrap();
                    fs::rename(&path, b.path().join(format!("d{thread}"))).unwrap();
                    let mut log =
                        fs::OpenOptions::new().append(true).create(true).open(b.path().join("log"));
                    log.as_mut().unwrap().write_all(b"line\n").unwrap();
                }
            });
        }
    });
    assert_eq!(b.names(""), ["a", "d0", "d1", "d2", "d3", "log"]);
    assert_eq!(b.read("log").lines().count(), 800);
    assert_eq!(tree::<Under>(b.dir.path()).len(), 6);
}

/// A guest can nest directories without limit by relative paths; a walk that recurses would end
/// the process.
#[test]
fn a_tree_may_be_deeper_than_the_stack_of_a_thread() {
    const DEPTH: usize = 10_000;
    let overlay = Overlay::over(Arc::new(MemoryDir::builder().build().unwrap())).build().unwrap();
    let how = OpenHow { directory: true, ..OpenHow::READ };
    let mut dir = overlay.root().unwrap();
    for _ in 0..DEPTH {
        overlay.create_dir_at(&*dir, GuestPath::new("d"), 0o755).unwrap();
        dir = overlay.open_at(&*dir, GuestPath::new("d"), &how).unwrap();
    }
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let diff = small.spawn(move || overlay.diff().unwrap()).unwrap().join().unwrap();
    assert_eq!(diff.entries().len(), DEPTH);
}

/// So can a test by paths, up to the length that a path may have; and the removal takes any depth.
#[test]
fn whole_trees_are_made_and_removed_without_a_stack() {
    const DEPTH: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let how = OpenHow { directory: true, ..OpenHow::READ };
    let mut at = overlay.root().unwrap();
    for _ in 0..DEPTH {
        overlay.create_dir_at(&*at, GuestPath::new("d"), 0o755).unwrap();
        at = overlay.open_at(&*at, GuestPath::new("d"), &how).unwrap();
    }
    drop(at);
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let remove = move || {
        let _installed = install(overlay.clone());
        fs::remove_dir_all(dir.path().join("d")).unwrap();
        assert!(overlay.diff().unwrap().is_empty());
        let long = dir.path().join("e/".repeat(1_900));
        fs::create_dir_all(&long).unwrap();
        assert!(fs::metadata(&long).unwrap().is_dir());
        let error = fs::create_dir_all(dir.path().join("f/".repeat(DEPTH))).unwrap_err();
        assert_eq!(Errno::from(error), Errno::Nametoolong);
        fs::remove_dir_all(dir.path().join("e")).unwrap();
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    };
    small.spawn(remove).unwrap().join().unwrap();
}

/// A tree on the disk that is deeper than any path is long, removed above it.
#[test]
fn a_deep_lower_tree_is_removed_and_compared() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    const DEPTH: usize = 2_100;
    let dir = tempfile::tempdir().unwrap();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    let overlay = Overlay::new(dir.path()).unwrap();
    let top = dir.path().to_path_buf();
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let remove = move || {
        let _installed = install(overlay.clone());
        fs::remove_dir_all(top.join("d")).unwrap();
        assert_eq!(overlay.diff().unwrap().entries().len(), DEPTH);
    };
    small.spawn(remove).unwrap().join().unwrap();
    std::fs::remove_dir_all(dir.path().join("d")).unwrap();
}

/// The directory above it is another one, so that its own entry there says nothing of it.
#[test]
fn what_comes_back_to_its_place_has_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::create_dir_all(at("a/b/deep")).unwrap();
    for file in ["a/f", "a/b/f", "a/b/deep/f"] {
        std::fs::write(at(file), file).unwrap();
    }
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::create_dir(at("c")).unwrap();
    fs::rename(at("a/b"), at("c/b")).unwrap();
    fs::rename(at("a"), at("old")).unwrap();
    fs::rename(at("c"), at("a")).unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "A a/\nR a/ -> old/\n");
    // Nor has what is deeper down, under several new directories.
    fs::rename(at("a/b/deep"), at("deep")).unwrap();
    fs::remove_dir_all(at("a")).unwrap();
    fs::remove_dir_all(at("old")).unwrap();
    fs::create_dir_all(at("a/b")).unwrap();
    fs::rename(at("deep"), at("a/b/deep")).unwrap();
    fs::write(at("a/b/deep/new"), "new").unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "A a/b/deep/new\nD a/b/f\nD a/f\n");
    overlay.commit().unwrap();
    assert_eq!(std::fs::read_to_string(at("a/b/deep/f")).unwrap(), "a/b/deep/f");
}

/// The length is looked at before anything is read or made room for.
#[test]
fn a_diff_refuses_a_hole_of_gigabytes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small"), "text").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let file = fs::OpenOptions::new().write(true).open(dir.path().join("small")).unwrap();
    file.set_len(5 << 30).unwrap();
    let error = overlay.diff().unwrap_err();
    let OverlayError::DiffTooLarge { path, bytes_max } = &error else { panic!("{error}") };
    assert_eq!((&**path, *bytes_max), ("small", 4 << 30));
    assert!(error.to_string().contains("`small`"), "{error}");
    file.set_len(4).unwrap();
    assert!(overlay.diff().unwrap().is_empty());
    // One that is there already, and goes.
    let large = std::fs::File::create(dir.path().join("large")).unwrap();
    large.set_len(5 << 30).unwrap();
    fs::remove_file(dir.path().join("large")).unwrap();
    assert!(matches!(overlay.diff(), Err(OverlayError::DiffTooLarge { .. })));
    assert_eq!(overlay.commit().unwrap().removed, 1);
}

#[test]
fn where_a_handle_is_can_be_asked_behind_the_stages_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/a"), "").unwrap();
    let mounted = Arc::new(MemoryDir::builder().file("x", "").build().unwrap());
    let builder = || Overlay::builder(dir.path());
    let log = testbench_overlay::pipeline::Audit::new();
    for overlay in
        [builder().build().unwrap(), builder().audit(&log).mount("m", mounted).build().unwrap()]
    {
        let top = overlay.root().unwrap();
        let open = |path: &str| overlay.open_at(&*top, GuestPath::new(path), &OpenHow::READ);
        let (d, a) = (open("d").unwrap(), open("d/a").unwrap());
        overlay.link_at(&*d, GuestPath::new("a"), Follow::No, &*top, GuestPath::new("b")).unwrap();
        assert_eq!(overlay.names_of(&*top).unwrap(), [b""]);
        assert_eq!(overlay.names_of(&*d).unwrap(), [b"d"]);
        assert_eq!(overlay.names_of(&*a).unwrap(), [&b"b"[..], b"d/a"]);
        let place = |name: &str| overlay.place_of(&*d, GuestPath::new(name), Follow::Yes);
        assert_eq!(place("a").unwrap(), b"d/a");
        assert_eq!(place("new").unwrap(), b"d/new");
        overlay.rename_at(&*top, GuestPath::new("d"), &*top, GuestPath::new("e")).unwrap();
        assert_eq!(place("a").unwrap(), b"e/a");
        let foreign = Overlay::new(dir.path()).unwrap();
        assert_eq!(foreign.names_of(&*a), Err(Errno::Xdev));
        if let Ok(inside) = open("m/x") {
            assert_eq!(overlay.names_of(&*inside), Err(Errno::Xdev));
        }
    }
}

/// As for an unprivileged owner: `chmod 6755 f; echo y >> f` leaves 0755 on a disk.
#[test]
fn writing_takes_the_set_id_bits_from_all_but_root() {
    use std::io::Write as _;
    let cases = [(0o6755, 0o755), (0o6744, 0o2744), (0o1644, 0o1644)];
    for (as_root, (before, after)) in [false, true].into_iter().flat_map(|r| cases.map(|c| (r, c)))
    {
        let dir = tempfile::tempdir().unwrap();
        let overlay = testbench_overlay::Overlay::builder(dir.path()).as_root(as_root);
        let _installed = testbench_overlay::install(overlay.build().unwrap());
        let file = dir.path().join("f");
        testbench_overlay::fs::write(&file, "x").unwrap();
        let permissions = testbench_overlay::fs::Permissions::from_mode(before);
        testbench_overlay::fs::set_permissions(&file, permissions).unwrap();
        let mut open = testbench_overlay::fs::OpenOptions::new().append(true).open(&file).unwrap();
        open.write_all(b"y").unwrap();
        let mode = testbench_overlay::fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if as_root { before } else { after }, "{before:o}, as root: {as_root}");
    }
}
