//! Faults, quotas, policy, mounts and the audit, through both front doors.

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use testbench_clock::MockClock;
use testbench_overlay::pipeline::{Audit, Fault, FaultError, FaultPlan, Operation, Quota};
use testbench_overlay::{
    Create, Errno, FileKind, Follow, Fs, GuestPath, MemoryDir, OpenHow, Overlay, OverlayBuilder,
    OverlayError, ReadOnly, Renaming, fs, install,
};

struct Bench {
    dir: tempfile::TempDir,
    overlay: Arc<Overlay>,
    _installed: testbench_clock::Guard,
}

fn bench(files: &[(&str, &str)], set_up: impl FnOnce(OverlayBuilder) -> OverlayBuilder) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let overlay = set_up(Overlay::builder(dir.path())).build().unwrap();
    let _installed = install(overlay.clone());
    Bench { dir, overlay, _installed }
}

impl Bench {
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn open(&self, path: &str, how: &OpenHow) -> Result<Arc<dyn testbench_overlay::File>, Errno> {
        self.overlay.open_at(&*self.overlay.root().unwrap(), GuestPath::new(path), how)
    }
}

const WRITE: OpenHow = OpenHow { write: true, create: Create::IfMissing, ..OpenHow::READ };

fn kind<T: std::fmt::Debug>(result: std::io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn errno<T>(result: Result<T, Errno>) -> Errno {
    result.map(drop).unwrap_err()
}

#[test]
fn the_nth_write_fails_and_changes_nothing() {
    let fault = Fault::error(Errno::Io).on(Operation::Write).at("*.db").nth(3);
    let b = bench(&[("a.db", "0000000000")], |builder| builder.faults(fault));
    let mut file = fs::OpenOptions::new().write(true).open(b.at("a.db")).unwrap();
    file.write_all(b"11").unwrap();
    file.write_all(b"22").unwrap();
    let error = file.write_all(b"33").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert_eq!(fs::read(b.at("a.db")).unwrap(), b"1122000000");
    // The position did not move, and what comes after succeeds.
    file.write_all(b"44").unwrap();
    assert_eq!(fs::read(b.at("a.db")).unwrap(), b"1122440000");
    assert_eq!(b.overlay.diff().unwrap().summary(), "M a.db\n");
    assert_eq!(b.overlay.faults()[0].concerned, 4);
    assert_eq!(b.overlay.faults()[0].fired, 1);
}

#[test]
fn the_disk_is_full_at_a_byte() {
    let b = bench(&[], |builder| builder.faults(Fault::full_after(100_000)));
    let data: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    assert_eq!(kind(fs::write(b.at("big"), &data)), ErrorKind::StorageFull);
    assert_eq!(fs::read(b.at("big")).unwrap(), data[..100_000]);
    assert_eq!(kind(fs::write(b.at("more"), "x")), ErrorKind::StorageFull);
    assert_eq!(fs::read(b.at("more")).unwrap(), b"");
    fs::write(b.at("nothing"), "").unwrap();
    let summary = b.overlay.diff().unwrap().summary();
    assert_eq!(summary, "A big\nA more (empty)\nA nothing (empty)\n");
}

#[test]
fn short_reads_and_writes_move_some_bytes_and_lose_none() {
    let plan = FaultPlan::new().with(Fault::short(7)).with(Fault::short(3).every(2));
    let b = bench(&[], |builder| builder.faults(plan));
    let data: Vec<u8> = (0..1000u32).map(|i| (i / 3) as u8).collect();
    let mut file = fs::File::create_new(b.at("a")).unwrap();
    assert_eq!((file.write(&data).unwrap(), file.write(&data[7..]).unwrap()), (7, 3));
    file.write_all(&data[10..]).unwrap();
    assert_eq!(fs::read(b.at("a")).unwrap(), data);
    let mut buf = [0; 100];
    file.rewind().unwrap();
    assert!(file.read(&mut buf).unwrap() <= 7);
    let mut file = fs::OpenOptions::new().append(true).open(b.at("a")).unwrap();
    assert!(file.write(&data).unwrap() <= 7);
    let count = &b.overlay.faults()[0];
    assert!(count.concerned > 100 && count.fired == count.concerned);
}

#[test]
fn every_operation_can_fail() {
    let plan = |operation| Fault::error(Errno::Nomem).on(operation);
    for operation in Operation::ALL {
        let b = bench(&[("f", "text"), ("d/x", "")], |builder| builder.faults(plan(*operation)));
        std::os::unix::fs::symlink("f", b.at("l")).unwrap();
        let before = b.overlay.checkpoint();
        let top = b.overlay.root().unwrap();
        let path = GuestPath::new;
        let (f, l, d, new) = (path("f"), path("l"), path("d/x"), path("new"));
        let file = || b.open("f", &WRITE);
        let o = &b.overlay;
        let now = testbench_overlay::SetTimes::default();
        let done: Result<(), Errno> = match operation {
            Operation::Open => file().map(drop),
            Operation::Create => b.open("new", &WRITE).map(drop),
            Operation::Stat => o.stat_at(&*top, f, Follow::Yes).map(drop),
            Operation::ReadLink => o.read_link_at(&*top, l).map(drop),
            Operation::ReadDir => top.read_dir().map(drop),
            Operation::Read => file().unwrap().read_at(&mut [0; 1], 0).map(drop),
            Operation::Write => file().unwrap().write_at(b"x", 0).map(drop),
            Operation::SetLen => file().unwrap().set_len(1),
            Operation::Sync => file().unwrap().sync(true),
            Operation::CreateDir => o.create_dir_at(&*top, new, 0o755),
            Operation::Symlink => o.symlink_at(b"x", &*top, new),
            Operation::Link => o.link_at(&*top, f, Follow::No, &*top, new),
            Operation::Rename => o.rename_at(&*top, f, &*top, new),
            Operation::RemoveFile => o.remove_file_at(&*top, d),
            Operation::RemoveDir => o.remove_dir_at(&*top, path("d")),
            Operation::SetTimes => o.set_times_at(&*top, f, Follow::No, now),
            Operation::SetMode => o.set_mode_at(&*top, f, Follow::No, 0o600),
            other => panic!("{other} has no row in this test"),
        };
        assert_eq!(done, Err(Errno::Nomem), "{operation}");
        assert!(b.overlay.diff().unwrap().is_empty(), "{operation} did something");
        drop(before);
    }
}

#[test]
fn what_goes_wrong_without_a_reason_goes_wrong_again_with_the_same_seed() {
    let run = |seed| {
        let plan = FaultPlan::new().seed(seed).with(Fault::error(Errno::Io).one_in(5));
        let b = bench(&[], |builder| builder.faults(plan));
        let outcomes: Vec<bool> =
            (0..60).map(|i| fs::write(b.at(&format!("f{}", i % 7)), [b'x'; 10]).is_ok()).collect();
        (outcomes, b.overlay.diff().map(|diff| diff.to_json()).ok())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).0, run(4).0);
    let failures = run(3).0.iter().filter(|ok| !**ok).count();
    assert!((5..50).contains(&failures), "{failures} of 60");
}

#[test]
fn latency_is_virtual_time_and_holds_nobody_up() {
    let clock = testbench_clock::install(MockClock::builder().build());
    let fault = Fault::latency(Duration::from_secs(10)).at("slow");
    let b = bench(&[("slow", "s"), ("fast", "f")], |builder| builder.faults(fault));
    let started = testbench_clock::instant_now();
    let elapsed = move || testbench_clock::instant_now().duration_since(started);
    let (slow, fast) = (b.at("slow"), b.at("fast"));
    let reader = testbench_clock::thread::spawn(move || {
        // Open, stat and read, and the read that finds the end.
        let text = fs::read_to_string(slow).unwrap();
        (text, elapsed())
    });
    testbench_clock::sleep(Duration::from_secs(1));
    assert_eq!(fs::read_to_string(fast).unwrap(), "f");
    assert_eq!(elapsed(), Duration::from_secs(1), "reading something else took no time");
    let (text, took) = reader.join().unwrap();
    assert_eq!(text, "s");
    assert!(took >= Duration::from_secs(30), "{took:?}");
    drop(clock);
}

#[test]
fn clones_of_an_open_file_take_turns_on_the_timeline() {
    let _clock = testbench_clock::install(MockClock::builder().build());
    let fault = Fault::latency(Duration::from_secs(1)).on(Operation::Read);
    let b = bench(&[("a", "0123456789")], |builder| builder.faults(fault));
    let file = fs::File::open(b.at("a")).unwrap();
    let readers: Vec<_> = (0..5)
        .map(|_| {
            let mut file = file.try_clone().unwrap();
            testbench_clock::thread::spawn(move || {
                let mut two = [0; 2];
                file.read_exact(&mut two).unwrap();
                two.to_vec()
            })
        })
        .collect();
    let mut read: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    read.sort();
    assert_eq!(read.concat(), b"0123456789");
}

#[test]
fn a_fork_goes_on_with_the_plan_on_its_own() {
    let fault = Fault::error(Errno::Io).on(Operation::Create).nth(2);
    let b = bench(&[], |builder| builder.faults(fault));
    fs::write(b.at("one"), "").unwrap();
    let fork = b.overlay.fork();
    assert!(fs::write(b.at("two"), "").is_err());
    let _installed = install(fork.clone());
    assert!(fs::write(b.at("two"), "").is_err());
    fs::write(b.at("three"), "").unwrap();
    assert_eq!((b.overlay.faults()[0].concerned, fork.faults()[0].concerned), (2, 3));
}

#[test]
fn rules_that_make_no_sense_are_refused_when_the_overlay_is_made() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = |set_up: fn(OverlayBuilder) -> OverlayBuilder| {
        set_up(Overlay::builder(dir.path())).build().unwrap_err()
    };
    let fault = error(|b| b.faults(Fault::error(Errno::Io).nth(0)));
    assert!(matches!(fault, OverlayError::Fault { source: FaultError::Zeroth }), "{fault}");
    let pattern = error(|b| b.hide("a{b"));
    assert!(pattern.to_string().contains("`a{b` cannot be used"), "{pattern}");
    let path = error(|b| b.read_only_at("../etc"));
    assert!(path.to_string().contains("`../etc`"), "{path}");
    let tree = || Arc::new(MemoryDir::builder().build().unwrap());
    for (path, errno) in [
        ("/", Errno::Busy),
        ("file", Errno::Notdir),
        ("file/x", Errno::Notdir),
        ("missing/x", Errno::Noent),
    ] {
        let error = Overlay::builder(dir.path()).mount(path, tree()).build().unwrap_err();
        let OverlayError::MountTree { errno: found, .. } = error else { panic!("{error}") };
        assert_eq!(found, errno, "{path}");
    }
    let twice = Overlay::builder(dir.path()).mount("m", tree()).mount("/m/", tree()).build();
    assert!(matches!(twice, Err(OverlayError::MountTree { errno: Errno::Exist, .. })));
}

#[test]
fn quotas_bound_bytes_files_and_lengths() {
    let quota = Quota::new().bytes(100 * 1024).inodes(3).file_len(1 << 20);
    let b = bench(&[("old", "old"), ("d/x", "")], |builder| builder.quota(quota));
    fs::write(b.at("a"), vec![1; 60 * 1024]).unwrap();
    assert_eq!(kind(fs::write(b.at("b"), vec![2; 60 * 1024])), ErrorKind::StorageFull);
    assert_eq!(fs::read(b.at("b")).unwrap(), vec![2; 40 * 1024]);
    assert_eq!(kind(fs::write(b.at("old"), "new")), ErrorKind::StorageFull);
    fs::remove_file(b.at("b")).unwrap();
    fs::write(b.at("old"), "new").unwrap();
    fs::create_dir(b.at("c")).unwrap();
    fs::symlink("x", b.at("l")).unwrap();
    assert_eq!(kind(fs::symlink("x", b.at("m"))), ErrorKind::StorageFull);
    assert_eq!(kind(fs::create_dir(b.at("m"))), ErrorKind::StorageFull);
    assert_eq!(kind(fs::write(b.at("m"), "")), ErrorKind::StorageFull);
    fs::hard_link(b.at("a"), b.at("m")).unwrap();
    fs::rename(b.at("d"), b.at("moved")).unwrap();
    let file = fs::OpenOptions::new().write(true).open(b.at("a")).unwrap();
    assert_eq!(kind(file.set_len((1 << 20) + 1)), ErrorKind::FileTooLarge);
    file.set_len(1 << 20).unwrap();
    assert_eq!((b.overlay.usage().bytes, b.overlay.usage().inodes), (64 * 1024, 3));
    drop(file);
    fs::remove_file(b.at("a")).unwrap();
    fs::remove_file(b.at("m")).unwrap();
    assert_eq!((b.overlay.usage().bytes, b.overlay.usage().inodes), (4 * 1024, 2));
}

#[test]
fn usage_goes_back_with_the_state_and_counts_what_is_open() {
    let b = bench(&[], |builder| builder.quota(Quota::new().bytes(8192)));
    fs::write(b.at("a"), [1; 5000]).unwrap();
    let checkpoint = b.overlay.checkpoint();
    let held = fs::File::open(b.at("a")).unwrap();
    fs::remove_file(b.at("a")).unwrap();
    assert_eq!(b.overlay.usage().bytes, 8192);
    assert_eq!(kind(fs::write(b.at("b"), "x")), ErrorKind::StorageFull);
    drop(held);
    assert_eq!(b.overlay.usage().bytes, 0);
    fs::write(b.at("b"), "x").unwrap();
    b.overlay.rollback(&checkpoint).unwrap();
    assert_eq!((b.overlay.usage().bytes, b.overlay.usage().inodes), (8192, 1));
    assert_eq!(b.overlay.fork().usage(), b.overlay.usage());
}

#[test]
fn memory_beyond_the_budget_goes_to_a_file_and_states_stay_what_they_were() {
    let b = bench(&[], |builder| builder.memory(256 * 1024));
    let data = |tag: u8| vec![tag; 1 << 20];
    fs::write(b.at("a"), data(1)).unwrap();
    let checkpoint = b.overlay.checkpoint();
    let fork = b.overlay.fork();
    fs::write(b.at("a"), data(2)).unwrap();
    fs::write(b.at("b"), data(3)).unwrap();
    assert!(fs::read(b.at("a")).unwrap() == data(2) && fs::read(b.at("b")).unwrap() == data(3));
    {
        let _installed = install(fork.clone());
        fs::write(b.at("c"), data(4)).unwrap();
        assert!(fs::read(b.at("a")).unwrap() == data(1) && fs::read(b.at("c")).unwrap() == data(4));
        assert!(!fs::exists(b.at("b")).unwrap());
    }
    b.overlay.rollback(&checkpoint).unwrap();
    assert!(fs::read(b.at("a")).unwrap() == data(1));
    assert_eq!(b.overlay.diff().unwrap().summary(), "A a\n");
}

#[test]
fn a_read_only_subtree_answers_in_the_order_of_a_read_only_mount() {
    let files = [("ro/d/f", "text"), ("rw/f", "other")];
    let b = bench(&files, |builder| builder.read_only_at("ro/d"));
    std::os::unix::fs::symlink("f", b.at("ro/d/l")).unwrap();
    let rofs = ErrorKind::ReadOnlyFilesystem;
    assert_eq!(fs::read_to_string(b.at("ro/d/f")).unwrap(), "text");
    assert_eq!(kind(fs::write(b.at("ro/d/f"), "x")), rofs);
    assert_eq!(kind(fs::write(b.at("ro/d/new"), "x")), rofs);
    assert_eq!(kind(fs::File::create_new(b.at("ro/d/f"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs::File::create_new(b.at("ro/d/new"))), rofs);
    assert_eq!(kind(fs::create_dir(b.at("ro/d/f"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs::create_dir(b.at("ro/d/new"))), rofs);
    assert_eq!(kind(fs::create_dir(b.at("ro/d/no/new"))), ErrorKind::NotFound);
    assert_eq!(kind(fs::symlink("x", b.at("ro/d/l"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs::symlink("x", b.at("ro/d/new"))), rofs);
    assert_eq!(kind(fs::remove_file(b.at("ro/d/missing"))), rofs);
    assert_eq!(kind(fs::remove_dir(b.at("ro/d"))), rofs);
    assert_eq!(kind(fs::remove_dir_all(b.at("ro/d"))), rofs);
    assert_eq!(kind(fs::rename(b.at("ro/d/f"), b.at("rw/g"))), rofs);
    assert_eq!(kind(fs::rename(b.at("rw/f"), b.at("ro/d/f"))), rofs);
    assert_eq!(kind(fs::rename(b.at("ro"), b.at("moved"))), ErrorKind::ResourceBusy);
    assert_eq!(kind(fs::hard_link(b.at("ro/d/f"), b.at("rw/g"))), rofs);
    assert_eq!(kind(fs::hard_link(b.at("rw/f"), b.at("ro/d/g"))), rofs);
    assert_eq!(kind(fs::hard_link(b.at("rw/f"), b.at("ro/d/f"))), ErrorKind::AlreadyExists);
    let mode = fs::Permissions::from_mode(0o600);
    assert_eq!(kind(fs::set_permissions(b.at("ro/d/f"), mode.clone())), rofs);
    assert_eq!(kind(fs::set_permissions(b.at("ro/d/no"), mode.clone())), ErrorKind::NotFound);
    let file = fs::File::open(b.at("ro/d/f")).unwrap();
    assert_eq!(kind(file.set_permissions(mode)), rofs);
    assert_eq!(kind(fs::OpenOptions::new().append(true).open(b.at("ro/d/l"))), rofs);
    // Beside it everything goes on.
    fs::write(b.at("ro/new"), "x").unwrap();
    fs::write(b.at("ro/d.txt"), "x").unwrap();
    fs::rename(b.at("rw"), b.at("elsewhere")).unwrap();
    let summary = b.overlay.diff().unwrap().summary();
    assert_eq!(summary, "R rw/ -> elsewhere/\nA ro/d.txt\nA ro/new\n");
}

#[test]
fn what_is_hidden_is_not_there_and_stays_as_it_is() {
    let files = [("keys/id.pem", "secret"), ("keys/pub", "p"), (".env", "T=1"), ("d/.env", "T=2")];
    let b = bench(&files, |builder| builder.hide(".env").hide("keys/*.pem").hide("only"));
    std::os::unix::fs::symlink("keys/id.pem", b.at("link")).unwrap();
    std::fs::create_dir_all(b.at("box/only/deep")).unwrap();
    assert_eq!(b.names(""), ["box", "d", "keys", "link"]);
    assert_eq!((b.names("keys"), b.names("d").len()), (vec!["pub".to_owned()], 0));
    for path in [".env", "d/.env", "keys/id.pem", "link", "box/only/deep", "d/../.env"] {
        assert_eq!(kind(fs::read(b.at(path))), ErrorKind::NotFound, "{path}");
        assert_eq!(kind(fs::metadata(b.at(path))), ErrorKind::NotFound, "{path}");
    }
    let denied = ErrorKind::PermissionDenied;
    assert_eq!(kind(fs::write(b.at(".env"), "mine")), denied);
    assert_eq!(kind(fs::write(b.at("link"), "mine")), denied);
    assert_eq!(kind(fs::create_dir(b.at("box/only"))), denied);
    assert_eq!(kind(fs::symlink("x", b.at("d/.env"))), denied);
    assert_eq!(kind(fs::rename(b.at("keys/pub"), b.at("keys/a.pem"))), denied);
    assert_eq!(kind(fs::hard_link(b.at("keys/pub"), b.at(".env"))), denied);
    assert_eq!(kind(fs::remove_file(b.at(".env"))), ErrorKind::NotFound);
    assert_eq!(kind(fs::rename(b.at(".env"), b.at("x"))), ErrorKind::NotFound);
    assert_eq!(kind(fs::remove_dir(b.at("d"))), ErrorKind::DirectoryNotEmpty);
    assert!(b.overlay.diff().unwrap().is_empty());
}

#[test]
fn a_directory_does_not_move_from_where_something_in_it_is_hidden() {
    let files = [("s/key", "secret"), ("s/deep/pub", "p"), ("src/a/key", "k"), ("src/b/x", "x")];
    let b = bench(&files, |builder| builder.hide("s/key").hide("src/*/key").mount("m", memory()));
    let top = b.overlay.root().unwrap();
    let exchange = |a: &str, b_: &str| {
        let (from, to) = (GuestPath::new(a), GuestPath::new(b_));
        b.overlay.rename_with(&*top, from, &*top, to, Renaming::Exchange)
    };
    assert_eq!(kind(fs::rename(b.at("s"), b.at("t"))), ErrorKind::ResourceBusy);
    assert_eq!(kind(fs::rename(b.at("src/a"), b.at("a"))), ErrorKind::ResourceBusy);
    assert_eq!(exchange("s", "src/b"), Err(Errno::Busy));
    assert_eq!(exchange("src/b", "s"), Err(Errno::Busy));
    assert_eq!(b.names(""), ["m", "s", "src"]);
    // What can move, does: it stays hidden there, or nothing in it is.
    fs::rename(b.at("src/a"), b.at("src/c")).unwrap();
    assert!(!fs::exists(b.at("src/c/key")).unwrap());
    fs::rename(b.at("s/deep"), b.at("t")).unwrap();
    fs::write(b.at("s/plain"), "").unwrap();
    fs::rename(b.at("s/plain"), b.at("plain")).unwrap();
    fs::rename(b.at("m/d"), b.at("m/e")).unwrap();
}

fn memory() -> Arc<MemoryDir> {
    Arc::new(MemoryDir::builder().file("d/b", "deep").build().unwrap())
}

fn with_mounts() -> (Bench, Arc<MemoryDir>) {
    let inner = MemoryDir::builder()
        .file("a", "in the mount")
        .file("d/b", "deep")
        .symlink("up", "../beside")
        .symlink("own", "d/b")
        .build()
        .unwrap();
    let inner = Arc::new(inner);
    let nested = MemoryDir::builder().file("n", "nested").build().unwrap();
    let read_only = ReadOnly::new(MemoryDir::builder().file("r", "fixed").build().unwrap());
    let b = bench(&[("beside", "outer"), ("p/covered/x", "under")], |builder| {
        builder
            .mount("p/m", inner.clone())
            .mount("p/m/d/nested", Arc::new(nested))
            .mount("p/covered", Arc::new(read_only))
    });
    std::os::unix::fs::symlink("p/m/a", b.at("into")).unwrap();
    (b, inner)
}

#[test]
fn a_mounted_tree_is_part_of_the_tree() {
    let (b, inner) = with_mounts();
    assert_eq!(b.names("p"), ["covered", "m"]);
    assert_eq!(
        (b.names("p/m"), b.names("p/covered")),
        (vec!["a".into(), "d".into(), "own".into(), "up".into()], vec!["r".into()])
    );
    assert_eq!(b.names("p/m/d"), ["b", "nested"]);
    let read = |path: &str| fs::read_to_string(b.at(path)).unwrap();
    assert_eq!(
        (read("p/m/a"), read("into"), read("p/m/own")),
        ("in the mount".into(), "in the mount".into(), "deep".into())
    );
    assert_eq!((read("p/m/d/nested/n"), read("p/covered/r")), ("nested".into(), "fixed".into()));
    // `..` out of it, by path and by a symlink in it.
    assert_eq!(
        (read("p/m/../../beside"), read("p/m/d/nested/../../../../beside")),
        ("outer".into(), "outer".into())
    );
    assert_eq!(kind(fs::read(b.at("p/m/up"))), ErrorKind::NotFound, "p/beside is not there");
    fs::write(b.at("p/beside"), "made").unwrap();
    assert_eq!(read("p/m/up"), "made");
    let canonical = |path: &str| fs::canonicalize(b.at(path)).unwrap();
    let root = b.dir.path().canonicalize().unwrap();
    assert_eq!(canonical("into"), root.join("p/m/a"));
    assert_eq!(canonical("p/m/up"), root.join("p/beside"));
    assert_eq!(canonical("p/m/d/nested/.."), root.join("p/m/d"));

    fs::write(b.at("p/m/new"), "written through").unwrap();
    fs::create_dir(b.at("p/m/d/dir")).unwrap();
    fs::rename(b.at("p/m/new"), b.at("p/m/d/dir/moved")).unwrap();
    let top = inner.root().unwrap();
    let stat = inner.stat_at(&*top, GuestPath::new("d/dir/moved"), Follow::Yes).unwrap();
    assert_eq!(stat.size, 15);
    assert_eq!(b.overlay.diff().unwrap().summary(), "A p/beside\n");
}

#[test]
fn a_mount_is_another_device_whose_place_is_taken() {
    let (b, _) = with_mounts();
    let crosses = ErrorKind::CrossesDevices;
    assert_eq!(kind(fs::rename(b.at("beside"), b.at("p/m/x"))), crosses);
    assert_eq!(kind(fs::rename(b.at("p/m/a"), b.at("x"))), crosses);
    assert_eq!(kind(fs::rename(b.at("p/m/d/nested/n"), b.at("p/m/n"))), crosses);
    assert_eq!(kind(fs::hard_link(b.at("p/m/a"), b.at("x"))), crosses);
    assert_eq!(kind(fs::hard_link(b.at("beside"), b.at("p/m/a"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs::hard_link(b.at("beside"), b.at("p/m/x"))), crosses);
    let busy = ErrorKind::ResourceBusy;
    assert_eq!(kind(fs::rename(b.at("p/m"), b.at("p/other"))), busy);
    assert_eq!(kind(fs::rename(b.at("p/m/d"), b.at("p/m/e"))), busy);
    fs::create_dir(b.at("p/empty")).unwrap();
    assert_eq!(kind(fs::rename(b.at("p/empty"), b.at("p/m"))), busy);
    assert_eq!(kind(fs::remove_dir(b.at("p/m"))), busy);
    assert_eq!(kind(fs::remove_file(b.at("p/m"))), ErrorKind::IsADirectory);
    assert_eq!(kind(fs::create_dir(b.at("p/m"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs::write(b.at("p/covered/x"), "")), ErrorKind::ReadOnlyFilesystem);
    let stat = |path: &str| *fs::metadata(b.at(path)).unwrap().stat();
    assert_ne!(stat("p/m").dev, stat("p").dev);
    assert_eq!(stat("p/m").dev, stat("p/m/d/b").dev);
    assert_ne!(stat("p/m").dev, stat("p/m/d/nested").dev);
    assert_eq!(
        fs::File::open(b.at("p/m/a")).unwrap().metadata().unwrap().stat().dev,
        stat("p/m").dev
    );
}

#[test]
fn a_mount_comes_along_with_the_directory_that_holds_it() {
    let (b, _) = with_mounts();
    fs::rename(b.at("p"), b.at("q")).unwrap();
    assert_eq!(fs::read_to_string(b.at("q/m/a")).unwrap(), "in the mount");
    assert_eq!(b.names("q"), ["covered", "m"]);
    assert!(!fs::exists(b.at("p")).unwrap());
    assert_eq!(kind(fs::remove_dir(b.at("q"))), ErrorKind::DirectoryNotEmpty);
    let checkpoint = b.overlay.checkpoint();
    fs::remove_file(b.at("q/m/a")).unwrap();
    b.overlay.rollback(&checkpoint).unwrap();
    assert!(!fs::exists(b.at("q/m/a")).unwrap(), "what is mounted has its own state");
}

#[test]
fn handles_know_their_tree() {
    let (b, inner) = with_mounts();
    let directory = OpenHow { directory: true, ..OpenHow::READ };
    let (m, p) = (b.open("p/m", &directory).unwrap(), b.open("p", &directory).unwrap());
    let read = |dir: &dyn testbench_overlay::File, path: &str| {
        let file = b.overlay.open_at(dir, GuestPath::new(path), &OpenHow::READ)?;
        let mut buf = [0; 32];
        let n = file.read_at(&mut buf, 0)?;
        Ok(String::from_utf8(buf[..n].to_vec()).unwrap())
    };
    assert_eq!(read(&*m, "a"), Ok("in the mount".to_owned()));
    assert_eq!(read(&*p, "m/d/nested/n"), Ok("nested".to_owned()));
    // A handle is a boundary, as in any tree.
    assert_eq!(read(&*m, "../../beside"), Err(Errno::NotCapable));
    assert_eq!(read(&*m, "up"), Err(Errno::NotCapable));
    assert_eq!(read(&*p, "m/../covered/r"), Ok("fixed".to_owned()));
    assert_eq!(read(&*inner.root().unwrap(), "a"), Err(Errno::Xdev), "not one of the overlay's");
    let other = Overlay::new(b.dir.path()).unwrap();
    assert_eq!(errno(other.stat_at(&*m, GuestPath::new("a"), Follow::Yes)), Errno::Xdev);
    assert_eq!(b.overlay.names_of(&*p).unwrap(), [b"p"]);
}

#[test]
fn an_overlay_mounted_into_what_rests_on_it_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "text").unwrap();
    let below = Overlay::new(dir.path()).unwrap();
    let above = Overlay::over(below.clone()).mount("self", below.clone()).build().unwrap();
    let top = above.root().unwrap();
    let stat = |path: &str| above.stat_at(&*top, GuestPath::new(path), Follow::Yes);
    assert_eq!(stat("self/f").unwrap().size, 4);
    assert_eq!(stat("f").unwrap().size, 4);
    assert_eq!(top.read_dir().unwrap().len(), 2);
}

#[test]
fn the_audit_says_what_a_program_depends_on() {
    let audit = Audit::new();
    let clock = MockClock::builder().build();
    let b = bench(&[("src/main.c", "int"), ("src/util.h", "x"), ("unused", "")], |builder| {
        builder.audit(&audit).clock(clock.clone())
    });
    fs::symlink("src", b.at("link")).unwrap();
    b.names("link");
    let _ = fs::read(b.at("src/stdio.h"));
    fs::read(b.at("link/../src/util.h")).unwrap();
    clock.advance(Duration::from_secs(5)).unwrap();
    fs::rename(b.at("unused"), b.at("used")).unwrap();
    let _ = fs::remove_dir(b.at("src"));
    assert_eq!(audit.misses(), [b"src/stdio.h".to_vec()]);
    assert_eq!(audit.reads(), [b"src/util.h".to_vec()]);
    assert_eq!(audit.listings(), [b"src".to_vec()]);
    insta::assert_snapshot!(audit.to_string(), @r"
    symlink link
    open src
    read_dir src
    open src/stdio.h: ENOENT
    open src/util.h
    stat src/util.h
    read src/util.h: 1 byte
    read src/util.h: 0 bytes
    rename unused -> used
    remove_dir src: ENOTEMPTY
    ");
    let events = audit.take();
    let later = events.iter().filter(|event| event.at > events[0].at);
    assert_eq!(
        later.map(|event| event.operation.name()).collect::<Vec<_>>(),
        ["rename", "remove_dir"]
    );
    assert!(audit.events().is_empty() && audit.dropped() == 0);
}

#[test]
fn the_audit_is_bounded() {
    let audit = Audit::holding(10);
    let b = bench(&[], |builder| builder.audit(&audit));
    for i in 0..25 {
        fs::create_dir(b.at(&format!("d{i}"))).unwrap();
    }
    assert_eq!((audit.events().len(), audit.dropped()), (10, 15));
    assert_eq!(&*audit.events()[9].path, b"d24");
}

#[test]
fn faults_come_before_policy_and_the_audit_sees_them() {
    let audit = Audit::new();
    let fault = Fault::error(Errno::Io).on(Operation::Create);
    let b =
        bench(&[("ro/f", "")], |builder| builder.faults(fault).read_only_at("ro").audit(&audit));
    assert_eq!(errno(b.open("ro/new", &WRITE)), Errno::Io);
    assert_eq!(errno(b.open("ro/f", &WRITE)), Errno::Rofs);
    assert_eq!(audit.to_string(), "create ro/new: EIO\nopen ro/f: EROFS\n");
}

#[test]
fn without_rules_there_are_no_stages() {
    let b = bench(&[("f", "text")], |builder| builder.quota(Quota::new()).memory(1 << 20));
    let debug = format!("{:?}", b.overlay.root().unwrap());
    assert!(debug.starts_with("Handle"), "{debug}");
    assert!(b.overlay.faults().is_empty());
    let with = bench(&[], |builder| builder.hide("x"));
    assert!(format!("{:?}", with.overlay.root().unwrap()).starts_with("StagedFile"));
}

#[test]
fn seeking_and_kinds_go_through_unchanged() {
    let audit = Audit::new();
    let b = bench(&[("f", "0123456789")], |builder| builder.audit(&audit));
    let mut file = fs::File::open(b.at("f")).unwrap();
    file.seek(SeekFrom::End(-3)).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "789");
    let top = b.overlay.root().unwrap();
    assert_eq!(top.stat().unwrap().kind, FileKind::Dir);
    assert_eq!(errno(b.overlay.remove_dir_at(&*top, GuestPath::new("."))), Errno::Inval);
    fs::create_dir(b.at("d")).unwrap();
    assert_eq!(errno(b.overlay.remove_dir_at(&*top, GuestPath::new("d/.."))), Errno::Notempty);
    let d = GuestPath::new("d/.");
    assert_eq!(errno(b.overlay.rename_at(&*top, d, &*top, GuestPath::new("e"))), Errno::Busy);
    assert_eq!(errno(b.open("d/", &WRITE)), Errno::Isdir);
    assert_eq!(errno(b.open("missing/", &OpenHow { create: Create::New, ..WRITE })), Errno::Isdir);
}
