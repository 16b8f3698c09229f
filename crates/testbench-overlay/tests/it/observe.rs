//! The lower directory changes after the overlay has seen it; and files of it have several names.
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use testbench_clock::MockClock;
use testbench_overlay::{Fs as _, GuestPath, LowerChangeKind, OpenHow, Overlay, fs, install};

struct Bench {
    dir: tempfile::TempDir,
    overlay: Arc<Overlay>,
    _installed: testbench_clock::Guard,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("d")).unwrap();
    for path in ["a", "d/x"] {
        std::fs::write(dir.path().join(path), "first").unwrap();
    }
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    Bench { dir, overlay, _installed }
}

impl Bench {
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn changes(&self) -> Vec<(String, LowerChangeKind)> {
        let changes = self.overlay.check_lower().unwrap();
        let path = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        changes.iter().map(|change| (path(change.path()), change.kind())).collect()
    }
}

const STALE: ErrorKind = ErrorKind::StaleNetworkFileHandle;

/// Sees something, changes it beneath, and looks again.
fn after(
    see: impl Fn(&Bench),
    change: impl Fn(&Bench),
    look: impl Fn(&Bench) -> Result<String, ErrorKind>,
) -> Result<String, ErrorKind> {
    let b = bench();
    see(&b);
    assert_eq!(b.changes(), []);
    change(&b);
    assert!(!b.changes().is_empty());
    look(&b)
}

fn read(b: &Bench) -> Result<String, ErrorKind> {
    fs::read_to_string(b.at("a")).map_err(|error| error.kind())
}

fn text(text: &str) -> Result<String, ErrorKind> {
    Ok(text.to_owned())
}

#[test]
fn content_that_changed() {
    let change = |b: &Bench| std::fs::write(b.at("a"), "longer than before").unwrap();
    let see = |b: &Bench| assert_eq!(read(b).unwrap(), "first");
    assert_eq!(after(see, change, read), Err(STALE));
}

#[test]
fn a_file_that_was_removed() {
    let see = |b: &Bench| assert_eq!(read(b).unwrap(), "first");
    let change = |b: &Bench| std::fs::remove_file(b.at("a")).unwrap();
    assert_eq!(after(see, change, read), Err(STALE));
}

#[test]
fn a_file_of_another_kind() {
    let see = |b: &Bench| assert_eq!(read(b).unwrap(), "first");
    let change = |b: &Bench| {
        std::fs::remove_file(b.at("a")).unwrap();
        std::fs::create_dir(b.at("a")).unwrap();
        assert_eq!(b.changes()[0], ("a".to_owned(), LowerChangeKind::Retyped));
    };
    assert_eq!(after(see, change, read), Err(STALE));
}

#[test]
fn a_file_that_appeared_where_nothing_was() {
    let look = |b: &Bench| fs::read_to_string(b.at("new")).map_err(|error| error.kind());
    let see = |b: &Bench| assert_eq!(look(b), Err(ErrorKind::NotFound));
    let change = |b: &Bench| std::fs::write(b.at("new"), "new").unwrap();
    assert_eq!(after(see, change, look), Err(STALE));
}

#[test]
fn a_listing_that_changed() {
    let look = |b: &Bench| {
        let entries = fs::read_dir(b.at("d")).map_err(|error| error.kind())?;
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        Ok(names.collect::<Vec<_>>().join(" "))
    };
    let see = |b: &Bench| assert_eq!(look(b).unwrap(), "x");
    let change = |b: &Bench| std::fs::write(b.at("d/y"), "").unwrap();
    assert_eq!(after(see, change, look), Err(STALE));
}

/// The tree beneath is on a clock that stands still, so that a write leaves no trace in the metadata.
#[test]
fn a_change_that_leaves_every_number_as_it_was_is_found_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    let clock = MockClock::builder().build();
    let lower = Overlay::builder(dir.path()).clock(clock.clone()).build().unwrap();
    let write = |text: &str| {
        let _installed = install(lower.clone());
        fs::write(&file, text).unwrap();
        *fs::metadata(&file).unwrap().stat()
    };
    let before = write("first");
    let upper = Overlay::over(lower.clone()).clock(clock).build().unwrap();
    let top = upper.root().unwrap();
    let path = GuestPath::new("a");
    let mut seen = [0; 5];
    let opened = upper.open_at(&*top, path, &OpenHow::READ).unwrap();
    assert_eq!((opened.read_at(&mut seen, 0), &seen), (Ok(5), b"first"));
    assert!(upper.check_lower().unwrap().is_empty());

    assert_eq!(write("other"), before, "the numbers tell nothing");
    let [change] = &upper.check_lower().unwrap()[..] else { panic!("not found") };
    assert_eq!((change.path(), change.kind()), (&b"a"[..], LowerChangeKind::Modified));
    let how = OpenHow { write: true, ..OpenHow::READ };
    upper.open_at(&*top, path, &how).unwrap().write_at(b"ours!", 0).unwrap();
    assert!(upper.diff().is_err(), "there is nothing left to compare with");
    // What was seen comes back, and all is well again.
    write("first");
    assert!(upper.check_lower().unwrap().is_empty());
    assert_eq!(upper.diff().unwrap().summary(), "M a\n");
}

/// The same on the disk, where the step of its clock is of a few milliseconds or less.
#[test]
fn a_change_of_the_same_length_in_one_step_of_the_disk_s_clock_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    let stamp = || {
        let m = std::fs::metadata(&file).unwrap();
        (m.ino(), m.size(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
    };
    for _ in 0..300 {
        std::fs::write(&file, "other").unwrap();
        let overlay = Overlay::new(dir.path()).unwrap();
        let _installed = install(overlay.clone());
        assert_eq!(fs::read_to_string(&file).unwrap(), "other");
        let seen = stamp();
        std::fs::write(&file, "third").unwrap();
        if stamp() == seen {
            let [change] = &overlay.check_lower().unwrap()[..] else { panic!("not found") };
            assert_eq!(change.kind(), LowerChangeKind::Modified);
            return;
        }
    }
    eprintln!("SKIPPED: no two writes fell into one step of this disk's clock");
}

#[test]
fn names_outside_of_the_root_do_not_count_and_removed_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(dir.path().join("cache"), "text").unwrap();
    std::fs::hard_link(dir.path().join("cache"), root.join("a")).unwrap();
    let overlay = Overlay::new(&root).unwrap();
    let _installed = install(overlay.clone());
    let held = fs::File::open(root.join("a")).unwrap();
    assert_eq!(held.metadata().unwrap().stat().nlink, 1);
    fs::remove_file(root.join("a")).unwrap();
    assert_eq!(held.metadata().unwrap().stat().nlink, 0);
    drop(held);
    std::fs::write(root.join("a"), "changed underneath").unwrap();
    assert!(!overlay.check_lower().unwrap().is_empty(), "what was removed was seen");
}

#[test]
fn a_change_shows_under_names_that_nobody_has_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("d/e")).unwrap();
    std::fs::write(dir.path().join("a"), "old\n").unwrap();
    std::fs::hard_link(dir.path().join("a"), dir.path().join("d/e/b")).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "new\n").unwrap();
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(overlay.diff().unwrap().summary(), "D a\nM d/e/b\n");
    assert_eq!(fs::read_to_string(dir.path().join("d/e/b")).unwrap(), "new\n");
}

#[test]
fn what_moves_out_of_a_repository_has_its_content_in_the_patch() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join(".git/hooks")).unwrap();
    std::fs::write(dir.path().join(".git/hooks/x"), "hook\n").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    fs::rename(dir.path().join(".git/hooks"), dir.path().join("hooks")).unwrap();
    let patch = String::from_utf8(overlay.diff().unwrap().patch()).unwrap();
    assert!(patch.contains("\n+hook\n"), "{patch}");
}

#[test]
fn absorbing_keeps_links_in_any_order_and_passes_over_special_files() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("s")).unwrap();
    std::fs::write(dir.path().join("m"), "text").unwrap();
    std::fs::write(dir.path().join("z"), "other").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s/sock")).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let mut written = overlay.materialize(out.path()).unwrap();
    std::fs::hard_link(out.path().join("m"), out.path().join("a")).unwrap();
    std::fs::remove_file(out.path().join("z")).unwrap();
    std::fs::hard_link(out.path().join("m"), out.path().join("z")).unwrap();
    std::fs::remove_dir_all(out.path().join("s")).unwrap();
    written.absorb().unwrap();
    let _installed = install(overlay.clone());
    fs::write(dir.path().join("a"), "one file").unwrap();
    for name in ["m", "z"] {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "one file");
    }
    assert!(!fs::exists(dir.path().join("s")).unwrap());
}

#[test]
fn a_hole_stays_a_hole_when_it_is_written_out() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let file = fs::File::create_new(dir.path().join("sparse")).unwrap();
    file.set_len(8 << 30).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"x", 5 << 30).unwrap();
    assert_eq!(overlay.usage().bytes, 4096);
    overlay.materialize(out.path()).unwrap();
    let metadata = std::fs::metadata(out.path().join("sparse")).unwrap();
    assert_eq!(metadata.len(), 8 << 30);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
}

/// The diff is against what was first seen, which was nothing.
#[test]
fn what_appears_beneath_a_file_of_ours_is_not_what_ours_is_compared_with() {
    let b = bench();
    fs::write(b.at("new"), "ours").unwrap();
    std::fs::write(b.at("new"), "theirs").unwrap();
    let error = b.overlay.diff().unwrap_err().to_string();
    assert!(error.contains("lower file \"new\" has appeared"), "{error}");
}

#[test]
fn what_appears_in_a_directory_that_was_listed_and_removed_was_not_removed_with_it() {
    let b = bench();
    fs::remove_dir_all(b.at("d")).unwrap();
    std::fs::write(b.at("d/late"), "").unwrap();
    let changes = b.changes();
    assert!(changes.contains(&("d".to_owned(), LowerChangeKind::Listing)), "{changes:?}");
    let error = b.overlay.diff().unwrap_err().to_string();
    assert!(error.contains("lower file \"d\" has gained or lost entries"), "{error}");
}

#[test]
fn what_appears_in_a_directory_that_was_listed_and_moved_has_not_moved_with_it() {
    let b = bench();
    assert_eq!(fs::read_dir(b.at("d")).unwrap().count(), 1);
    fs::rename(b.at("d"), b.at("e")).unwrap();
    std::fs::write(b.at("d/late"), "").unwrap();
    let error = b.overlay.diff().unwrap_err().to_string();
    assert!(error.contains("lower file \"d\" has gained or lost entries"), "{error}");
}

/// A directory is replaced after the overlay has written into it, or has only looked into it.
#[test]
fn a_directory_whose_path_was_given_to_another() {
    let read = |path: &'static str| {
        move |b: &Bench| fs::read_to_string(b.at(path)).map_err(|error| error.kind())
    };
    let list = |b: &Bench| {
        let entries = fs::read_dir(b.at("d")).map_err(|error| error.kind())?;
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        Ok(names.collect::<Vec<_>>().join(" "))
    };
    let change = |b: &Bench| {
        std::fs::rename(b.at("d"), b.at("e")).unwrap();
        std::fs::create_dir(b.at("d")).unwrap();
        std::fs::write(b.at("d/x"), "other").unwrap();
        std::fs::write(b.at("d/new"), "other").unwrap();
    };
    let looked = |b: &Bench| assert_eq!(read("d/x")(b).unwrap(), "first");
    let wrote = |b: &Bench| {
        looked(b);
        fs::write(b.at("d/ours"), "ours").unwrap();
    };
    assert_eq!(after(looked, change, read("d/x")), Err(STALE));
    assert_eq!(after(wrote, change, read("d/x")), Err(STALE));
    assert_eq!(after(looked, change, read("d/new")), Err(STALE));
    assert_eq!(after(wrote, change, read("d/new")), Err(STALE));
    assert_eq!(after(wrote, change, list), Err(STALE));
    assert_eq!(after(wrote, change, read("d/ours")), text("ours"));
}

/// The same two levels up.
#[test]
fn a_directory_further_up_whose_path_was_given_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::create_dir_all(at("a/b/c")).unwrap();
    std::fs::write(at("a/b/c/x"), "first").unwrap();
    let _installed = install(Overlay::new(dir.path()).unwrap());
    fs::write(at("a/b/c/ours"), "ours").unwrap();
    assert_eq!(fs::read_to_string(at("a/b/c/x")).unwrap(), "first");
    std::fs::rename(at("a"), at("z")).unwrap();
    std::fs::create_dir_all(at("a/b/c")).unwrap();
    std::fs::write(at("a/b/c/x"), "other").unwrap();
    assert_eq!(fs::read(at("a/b/c/x")).unwrap_err().kind(), STALE);
}

#[test]
fn the_error_names_the_file_that_was_asked_for() {
    let b = bench();
    for name in ["a", "d/x"] {
        fs::metadata(b.at(name)).unwrap();
        std::fs::write(b.at(name), "second, longer").unwrap();
    }
    for name in ["a", "d/x", "a"] {
        let error = fs::metadata(b.at(name)).unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")), "{name}: {error}");
    }
}

#[test]
fn an_error_of_an_open_file_names_the_path_at_which_it_was_opened() {
    use std::io::{Read as _, Write as _};

    let b = bench();
    let mut options = fs::OpenOptions::new();
    let mut open = ["a", "d/x"].map(|name| options.read(true).write(true).open(b.at(name)));
    std::fs::write(b.at("a"), "second, longer").unwrap();
    std::fs::write(b.at("d/x"), "second, longer").unwrap();
    for (name, file) in ["a", "d/x"].iter().zip(&mut open) {
        let file = file.as_mut().unwrap();
        for error in [file.read(&mut [0; 4]).unwrap_err(), file.write(b"x").unwrap_err()] {
            assert_eq!(error.kind(), STALE);
            assert!(error.to_string().contains(&format!("{name:?}")), "{name}: {error}");
        }
    }
}

#[test]
fn an_open_file_that_a_rollback_undid_says_so() {
    let b = bench();
    let start = b.overlay.checkpoint();
    let made = fs::File::create(b.at("made")).unwrap();
    b.overlay.rollback(&start).unwrap();
    let error = made.set_len(1).unwrap_err();
    assert_eq!(error.kind(), STALE);
    assert!(error.to_string().contains("`made` was opened"), "{error}");
    assert!(error.to_string().contains("a rollback"), "{error}");
}

#[test]
fn a_rollback_is_not_taken_for_an_earlier_change_beneath() {
    let b = bench();
    let opened = fs::File::open(b.at("a")).unwrap();
    fs::read(b.at("d/x")).unwrap();
    for path in ["a", "d/x"] {
        std::fs::write(b.at(path), "second, and longer").unwrap();
    }
    assert_eq!(fs::read(b.at("d/x")).unwrap_err().kind(), STALE);
    let start = b.overlay.checkpoint();
    let made = fs::File::create(b.at("made")).unwrap();
    b.overlay.rollback(&start).unwrap();
    let error = made.set_len(1).unwrap_err();
    assert_eq!(error.kind(), STALE);
    assert!(error.to_string().contains("`made` was opened"), "{error}");
    assert!(error.to_string().contains("a rollback"), "{error}");
    // What is still there has failed because of the disk.
    let error = std::io::read_to_string(opened).unwrap_err();
    assert_eq!(error.kind(), STALE);
    assert!(!error.to_string().contains("a rollback"), "{error}");
    assert!(error.to_string().contains("\"a\""), "{error}");
}

#[test]
fn small_reads_in_a_row_give_what_was_first_seen_or_an_error() {
    use std::io::Read as _;

    const STEP: usize = 1000;
    let b = bench();
    std::fs::write(b.at("a"), vec![1; 200 * STEP]).unwrap();
    let mut file = fs::File::open(b.at("a")).unwrap();
    let mut buf = [0; STEP];
    for _ in 0..3 {
        file.read_exact(&mut buf).unwrap();
    }
    std::fs::write(b.at("a"), vec![2; 200 * STEP]).unwrap();
    let mut seen = Vec::new();
    let end = loop {
        match file.read(&mut buf) {
            Ok(0) => break None,
            Ok(_) => seen.push(buf[0]),
            Err(error) => break Some(error),
        }
    };
    seen.dedup();
    // Some had been read ahead. None of the new ones is passed off as an old one.
    assert!(matches!(seen[..], [] | [1]), "{seen:?}");
    assert_eq!(end.map(|error| error.kind()), Some(STALE));
}
