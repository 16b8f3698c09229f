//! What operations cost in system calls and in bytes read beneath: figures that do not depend on
//! how busy the machine is. Times are in `benches/`.
#![allow(clippy::disallowed_methods, reason = "the real disk is what is counted")]

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use testbench_overlay::{
    DirEntry, File, Follow, Fs, GuestPath, HostDir, OpenHow, Overlay, Result, Stat, fs, install,
};

/// The unit of copying.
const CHUNK: u64 = 64 * 1024;

#[test]
fn small_writes_into_a_large_lower_file_copy_the_chunks_they_touch() {
    const LEN: u64 = 1 << 30;
    const WRITE: usize = 4096;
    let dir = tempfile::tempdir().unwrap();
    let lower = std::fs::File::create(dir.path().join("large")).unwrap();
    lower.set_len(LEN).unwrap();
    lower.write_all_at(b"end", LEN - 3).unwrap();

    let counting = Arc::new(Counting::new(HostDir::open(dir.path()).unwrap().read_only()));
    let overlay = Overlay::over(counting.clone()).mounted_at("/").build().unwrap();
    let _installed = install(overlay);
    let file = fs::File::options().read(true).write(true).open("/large").unwrap();
    let mut seed = 1_u64;
    let mut touched = BTreeSet::new();
    let mut writes = Vec::new();
    for _ in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let offset = (seed >> 20) % (LEN - WRITE as u64);
        file.write_all_at(&[7; WRITE], offset).unwrap();
        touched.extend([offset / CHUNK, (offset + WRITE as u64 - 1) / CHUNK]);
        writes.push(offset);
    }
    assert!(touched.len() > 200, "some writes lie across the border of two chunks");
    assert_eq!(counting.bytes.load(Ordering::Relaxed), touched.len() as u64 * CHUNK);

    // What they wrote is there, and so is what they did not touch.
    for offset in writes {
        let mut bytes = [0; WRITE];
        file.read_exact_at(&mut bytes, offset).unwrap();
        assert_eq!(bytes, [7; WRITE]);
    }
    let mut end = [0; 3];
    file.read_exact_at(&mut end, LEN - 3).unwrap();
    assert_eq!(&end, b"end");
}

/// Beneath, a file does not say where its other names are.
#[test]
fn names_of_many_changed_files_are_searched_for_once_and_nobody_waits_for_it() {
    const FILES: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for n in 0..FILES {
        std::fs::create_dir_all(root.join(format!("d{n}"))).unwrap();
        std::fs::write(root.join(format!("d{n}/f")), "before").unwrap();
        std::fs::hard_link(root.join(format!("d{n}/f")), dir.path().join(format!("{n}"))).unwrap();
    }
    let counting = Arc::new(Counting::new(HostDir::open(&root).unwrap().read_only()));
    let overlay = Overlay::over(counting.clone()).mounted_at("/").build().unwrap();
    let _installed = install(overlay.clone());
    for n in 0..FILES {
        fs::write(format!("/d{n}/f"), "after").unwrap();
    }
    let (ask, asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let other = std::thread::spawn({
        let overlay = overlay.clone();
        move || {
            let _installed = install(overlay);
            for () in asked {
                answer.send(fs::metadata("/d7/f").unwrap().len()).unwrap();
            }
        }
    });
    let listed = Arc::new(AtomicU64::new(0));
    let count = listed.clone();
    *counting.on_list.lock().unwrap() = Some(Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        ask.send(()).unwrap();
        assert_eq!(answered.recv_timeout(Duration::from_secs(60)), Ok(5), "it waits");
    }));
    assert_eq!(overlay.diff().unwrap().stat().modified, FILES);
    assert_eq!(listed.load(Ordering::Relaxed), FILES as u64 + 1, "each directory once");
    *counting.on_list.lock().unwrap() = None;
    other.join().unwrap();
}

/// The one figure of time here: fifty times as many names made a link fifty times as slow.
#[test]
fn a_link_costs_the_same_however_many_names_the_file_has() {
    let dir = tempfile::tempdir().unwrap();
    let _installed = install(Overlay::new(dir.path()).unwrap());
    fs::write(dir.path().join("a"), "").unwrap();
    let hundred = |from: usize| {
        let began = Instant::now();
        for n in from..from + 100 {
            fs::hard_link(dir.path().join("a"), dir.path().join(format!("{n}"))).unwrap();
        }
        began.elapsed()
    };
    let times: Vec<Duration> = (0..60).map(|n| hundred(n * 100)).collect();
    let best = |times: &[Duration]| *times.iter().min().unwrap();
    let (few, many) = (best(&times[..10]), best(&times[50..]));
    assert!(many < few * 6, "{few:?} at first, {many:?} with thousands of names");
}

#[test]
fn renaming_a_lower_directory_takes_the_same_calls_however_much_is_in_it() {
    let calls_beneath = |entries: usize| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        for n in 0..entries {
            std::fs::write(dir.path().join(format!("d/{n}")), "content").unwrap();
        }
        let counting = Arc::new(Counting::new(HostDir::open(dir.path()).unwrap().read_only()));
        let listed = counting.count_lists();
        let overlay = Overlay::over(counting.clone()).mounted_at("/").build().unwrap();
        let _installed = install(overlay);
        fs::rename("/d", "/moved").unwrap();
        assert_eq!(fs::read("/moved/0").unwrap(), b"content");
        assert_eq!(listed.load(Ordering::Relaxed), 0, "of {entries}");
        // They can be listed, so that it would have been counted.
        assert_eq!(fs::read_dir("/moved").unwrap().count(), entries);
        let calls = counting.calls.load(Ordering::Relaxed);
        assert_eq!(listed.load(Ordering::Relaxed), 1);
        calls
    };
    assert_eq!(calls_beneath(1), calls_beneath(5_000));
}

/// A figure of time: two hundred times as many files would make it two hundred times as slow.
#[test]
fn a_rollback_costs_the_same_however_many_files_have_changed() {
    let best = |files: usize| {
        let dir = tempfile::tempdir().unwrap();
        let overlay = Overlay::new(dir.path()).unwrap();
        let _installed = install(overlay.clone());
        for n in 0..files {
            fs::write(dir.path().join(format!("{n}")), "changed").unwrap();
        }
        let start = overlay.checkpoint();
        let rollback = |_| {
            fs::write(dir.path().join("0"), "once more").unwrap();
            let began = Instant::now();
            overlay.rollback(&start).unwrap();
            began.elapsed()
        };
        let best = (0..50).map(rollback).min().unwrap();
        assert_eq!(fs::read(dir.path().join("0")).unwrap(), b"changed");
        best
    };
    let (few, many) = (best(100), best(20_000));
    assert!(many < few * 20, "{few:?} with a hundred, {many:?} with thousands of changed files");
}

/// The whole way from nothing to the bytes of one file, in a large tree and in a small one.
#[test]
fn opening_an_overlay_and_reading_a_file_takes_the_same_calls_in_any_tree() {
    compare_trees(2_000);
}

#[test]
#[ignore = "makes a million files"]
fn opening_an_overlay_and_reading_a_file_takes_the_same_calls_in_a_tree_of_a_million_files() {
    compare_trees(1_000_000);
}

#[expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the calls are for people, and what is skipped is said loudly"
)]
fn compare_trees(files: usize) {
    let (small, large) = (tree_of(10), tree_of(files));
    let calls_beneath = |root: &Path| {
        let counting = Arc::new(Counting::new(HostDir::open(root).unwrap().read_only()));
        let overlay = Overlay::over(counting.clone()).mounted_at("/").build().unwrap();
        let _installed = install(overlay);
        assert_eq!(fs::read("/d0/f0").unwrap(), b"content");
        counting.calls.load(Ordering::Relaxed)
    };
    let (of_small, of_large) = (calls_beneath(small.path()), calls_beneath(large.path()));
    assert!(of_small > 0, "nothing was counted");
    assert_eq!(of_small, of_large);
    match (system_calls(small.path()), system_calls(large.path())) {
        (Some(of_small), Some(of_large)) => {
            assert!(of_small.len() > 3, "{of_small:#?}");
            assert_eq!(of_small, of_large, "of 10 files and of {files}");
            println!("{} system calls in each: {of_small:?}", of_small.len());
        }
        _ => eprintln!("SKIPPED: strace is missing, so the system calls were not counted"),
    }
}

/// Directories of up to 1,000 files. Only the one that is read holds anything, or a million would take
/// gigabytes.
fn tree_of(files: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..files {
        let sub = dir.path().join(format!("d{}", n / 1000));
        if n % 1000 == 0 {
            std::fs::create_dir(&sub).unwrap();
        }
        let content = if n == 0 { "content" } else { "" };
        std::fs::write(sub.join(format!("f{}", n % 1000)), content).unwrap();
    }
    dir
}

const TREE: &str = "TESTBENCH_COST_TREE";
const BEGIN: &str = "/testbench-cost-begin";
const END: &str = "/testbench-cost-end";

/// The names of the calls that the child below makes, in order; `None` without strace.
fn system_calls(root: &Path) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "cost::opens_and_reads_when_told", "--ignored"])
        .env(TREE, root)
        .output();
    let Ok(output) = output else { return None };
    let Ok(trace) = std::fs::read_to_string(trace) else { return None };
    if trace.is_empty() {
        // It is there, but may not trace.
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<(&str, &str)> = trace.lines().filter_map(|l| l.split_once(' ')).collect();
    let at = |mark: &str| lines.iter().position(|(_, call)| call.contains(mark));
    let (begin, end) = (at(BEGIN).expect("the mark is there"), at(END).expect("so is this one"));
    let thread = lines[begin].0;
    let own = lines[begin + 1..end].iter().filter(|(tid, _)| *tid == thread);
    // Memory is asked for as the allocator sees fit.
    let names = own.filter_map(|(_, call)| call.trim_start().split_once('(')).map(|(name, _)| name);
    let of_files = names.filter(|name| !matches!(*name, "brk" | "mmap" | "munmap" | "madvise"));
    Some(of_files.map(str::to_owned).collect())
}

/// What another test runs under strace.
#[test]
#[ignore = "run by another test"]
fn opens_and_reads_when_told() {
    let Some(root) = std::env::var_os(TREE) else { return };
    let root = Path::new(&root);
    let read = || {
        let _installed = install(Overlay::new(root).unwrap());
        fs::read(root.join("d0/f0")).unwrap()
    };
    // Once for everything that is done once in a process.
    read();
    let _ = std::fs::metadata(BEGIN);
    assert_eq!(read(), b"content");
    let _ = std::fs::metadata(END);
}

/// A tree that counts what is asked of it.
struct Counting {
    inner: HostDir,
    calls: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    on_list: OnList,
}

/// Called before each listing.
type OnList = Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>;

struct CountingFile {
    inner: Arc<dyn File>,
    calls: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    on_list: OnList,
}

impl Counting {
    fn new(inner: HostDir) -> Counting {
        let (calls, bytes, on_list) = Default::default();
        Counting { inner, calls, bytes, on_list }
    }

    /// Counts listings from now on.
    fn count_lists(&self) -> Arc<AtomicU64> {
        let listed = Arc::new(AtomicU64::new(0));
        let count = listed.clone();
        *self.on_list.lock().unwrap() = Some(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        listed
    }

    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        let (calls, bytes) = (self.calls.clone(), self.bytes.clone());
        Arc::new(CountingFile { inner, calls, bytes, on_list: self.on_list.clone() })
    }

    fn count<'d>(&self, dir: &'d dyn File) -> &'d dyn File {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &*(dir as &dyn Any).downcast_ref::<CountingFile>().unwrap().inner
    }
}

impl Fs for Counting {
    fn root(&self) -> Result<Arc<dyn File>> {
        self.inner.root().map(|file| self.file(file))
    }

    fn open_at(&self, dir: &dyn File, path: GuestPath<'_>, how: &OpenHow) -> Result<Arc<dyn File>> {
        self.inner.open_at(self.count(dir), path, how).map(|file| self.file(file))
    }

    fn stat_at(&self, dir: &dyn File, path: GuestPath<'_>, follow: Follow) -> Result<Stat> {
        self.inner.stat_at(self.count(dir), path, follow)
    }

    fn read_link_at(&self, dir: &dyn File, path: GuestPath<'_>) -> Result<Vec<u8>> {
        self.inner.read_link_at(self.count(dir), path)
    }
}

impl File for CountingFile {
    fn stat(&self) -> Result<Stat> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.stat()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let read = self.inner.read_at(buf, offset)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn read_dir(&self) -> Result<Vec<DirEntry>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(on_list) = &mut *self.on_list.lock().unwrap() {
            on_list();
        }
        self.inner.read_dir()
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for CountingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
