//! The promises about cost that are not about single lower files (those are in `lower.rs`), each
//! printed beside what it is compared with:
//!
//! - opening an overlay and reading one file costs the same however large the tree is;
//! - small writes all over a large lower file copy the chunks that they touch and no more;
//! - a checkpoint and a fork take under a microsecond, with 100,000 changed files;
//! - a large file is read and written at 0.8 times the throughput of `std::fs` or better;
//! - the diff of 10,000 changed files takes no longer than `git diff --no-index`.
//!
//! `cargo bench -p testbench-overlay --bench targets`; with `-- open` and the like only one of them.
//! The tree of the first has 1,000,000 files, or as many as `TESTBENCH_BENCH_FILES` says. The number
//! of system calls that it takes, and of bytes that are read beneath, are tests (`tests/cost.rs`).
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::collections::BTreeSet;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbench_overlay::{Overlay, fs, install};

/// A name, and what measures it and says whether it is met.
type Target = (&'static str, fn() -> bool);

fn main() {
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let targets: [Target; 5] = [
        ("open", open),
        ("checkpoint", checkpoint),
        ("writes", writes),
        ("throughput", throughput),
        ("diff", diff),
    ];
    let chosen = targets.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| name == only));
    let missed: Vec<&str> = chosen.filter(|(_, met)| !met()).map(|(name, _)| *name).collect();
    assert!(missed.is_empty(), "missed: {missed:?}");
}

/// 1,000 opens of each, in turns.
fn open() -> bool {
    let count = std::env::var("TESTBENCH_BENCH_FILES").map_or(1_000_000, |n| n.parse().unwrap());
    let (small, large) = (tree_of(10), tree_of(count));
    let open_and_read = |root: &Path| {
        let start = Instant::now();
        let _installed = install(Overlay::new(root).unwrap());
        assert_eq!(fs::read(root.join("d0/f0")).unwrap(), b"content");
        start.elapsed()
    };
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        of_small.push(open_and_read(small.path()));
        of_large.push(open_and_read(large.path()));
    }
    let (small, large) = (median(of_small), median(of_large));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    println!("open an overlay and read a file: {small:?} of 10, {large:?} of {count}: {ratio:.3}");
    (0.9..=1.1).contains(&ratio)
}

/// Directories of up to 1,000 files. Only the one that is read holds anything, or the large tree would
/// take gigabytes.
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

fn checkpoint() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    for n in 0..100_000 {
        let sub = dir.path().join(format!("d{}", n / 1000));
        if n % 1000 == 0 {
            fs::create_dir(&sub).unwrap();
        }
        fs::write(sub.join(format!("f{}", n % 1000)), "changed").unwrap();
    }
    let time = |action: &dyn Fn()| {
        median((0..1001).map(|_| {
            let start = Instant::now();
            (0..100).for_each(|_| action());
            start.elapsed() / 100
        }))
    };
    let checkpoint = time(&|| drop(black_box(overlay.checkpoint())));
    let fork = time(&|| drop(black_box(overlay.fork())));
    println!("with 100,000 changed files: checkpoint {checkpoint:?}, fork {fork:?}");
    checkpoint.max(fork) < Duration::from_micros(1)
}

/// The unit of copying.
const CHUNK_BYTES: u64 = 64 << 10;

/// 1,000 writes of 4 KiB, beside the same ones in place, and beside the copy that taking the whole
/// file up would be.
fn writes() -> bool {
    const LEN_BYTES: u64 = 1 << 30;
    const WRITE_BYTES: usize = 4 << 10;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut lower = File::create(path("lower")).unwrap();
    let bytes = vec![1; 1 << 20];
    (0..LEN_BYTES >> 20).for_each(|_| lower.write_all(&bytes).unwrap());
    let start = Instant::now();
    std::fs::copy(path("lower"), path("copy")).unwrap();
    let whole = start.elapsed();

    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let own = fs::OpenOptions::new().write(true).open(path("lower")).unwrap();
    let std = File::options().write(true).open(path("copy")).unwrap();
    let (mut of_own, mut of_std, mut touched) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut seed = 1_u64;
    for _ in 0..1000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let offset = (seed >> 20) % (LEN_BYTES - WRITE_BYTES as u64);
        touched.extend(offset / CHUNK_BYTES..=(offset + WRITE_BYTES as u64 - 1) / CHUNK_BYTES);
        let start = Instant::now();
        own.write_all_at(&[7; WRITE_BYTES], offset).unwrap();
        of_own.push(start.elapsed());
        let start = Instant::now();
        std.write_all_at(&[7; WRITE_BYTES], offset).unwrap();
        of_std.push(start.elapsed());
    }
    let (touched, copied) = (touched.len() as u64, overlay.usage().bytes / CHUNK_BYTES);
    println!(
        "1,000 random 4 KiB writes into 1 GiB: {touched} chunks touched, {copied} copied ({} MiB); \
         a write takes {:?}, in place {:?}; copying the file {whole:?}",
        (copied * CHUNK_BYTES) >> 20,
        median(of_own),
        median(of_std),
    );
    copied == touched
}

const LARGE_BYTES: usize = 64 << 20;

fn throughput() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let bytes: Vec<u8> = (0..LARGE_BYTES).map(|n| (n % 251) as u8).collect();
    std::fs::write(path("lower"), &bytes).unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let mut met = true;
    for step in [8 << 10, 64 << 10, 1 << 20] {
        let mut real = File::open(path("lower")).unwrap();
        let mut own = fs::File::open(path("lower")).unwrap();
        met &= compare(&format!("read a lower file by {}", Bytes(step)), |which| match which {
            Which::Std => read_through(&mut real, step),
            Which::Overlay => read_through(&mut own, step),
        });
        met &= compare(&format!("write a new file by {}", Bytes(step)), |which| match which {
            Which::Std => write_through(File::create(path("new")).unwrap(), &bytes, step),
            Which::Overlay => write_through(fs::File::create(path("new")).unwrap(), &bytes, step),
        });
        let mut own = fs::File::open(path("new")).unwrap();
        met &= compare(&format!("read a new file by {}", Bytes(step)), |which| match which {
            Which::Std => read_through(&mut real, step),
            Which::Overlay => read_through(&mut own, step),
        });
        let start = overlay.checkpoint();
        let mut real = File::options().write(true).open(path("new")).unwrap();
        met &= compare(&format!("overwrite a file by {}", Bytes(step)), |which| match which {
            Which::Std => {
                real.rewind().unwrap();
                write_through(&mut real, &bytes, step);
            }
            Which::Overlay => {
                let options = fs::OpenOptions::new().write(true).clone();
                write_through(options.open(path("lower")).unwrap(), &bytes, step);
            }
        });
        overlay.rollback(&start).unwrap();
    }
    met
}

#[derive(Clone, Copy)]
enum Which {
    Std,
    Overlay,
}

/// Prints the throughput of `std::fs` and that of the overlay; at least 0.8 of it is met.
fn compare(what: &str, mut action: impl FnMut(Which)) -> bool {
    let mut time = |which| {
        let start = Instant::now();
        action(which);
        start.elapsed()
    };
    let (mut std, mut own) = (Vec::new(), Vec::new());
    for _ in 0..21 {
        std.push(time(Which::Std));
        own.push(time(Which::Overlay));
    }
    let mib_per_s = |time: Duration| (LARGE_BYTES >> 20) as f64 / time.as_secs_f64();
    let (std, own) = (mib_per_s(median(std)), mib_per_s(median(own)));
    println!("{what}: std::fs {std:.0} MiB/s, overlay {own:.0} MiB/s: {:.2}", own / std);
    own >= 0.8 * std
}

fn read_through(mut file: impl Read + std::io::Seek, step: usize) {
    let mut buffer = vec![0; step];
    file.rewind().unwrap();
    let mut left = LARGE_BYTES;
    while left > 0 {
        left -= file.read(&mut buffer).unwrap();
        black_box(&buffer);
    }
}

fn write_through(mut file: impl Write, bytes: &[u8], step: usize) {
    for part in bytes.chunks(step) {
        file.write_all(part).unwrap();
    }
}

/// A line in the middle of each of 10,000 files is changed.
fn diff() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (lower, merged) = (dir.path().join("lower"), dir.path().join("merged"));
    std::fs::create_dir(&lower).unwrap();
    let text = |file: usize, middle: &str| -> String {
        let line = |n| match n {
            30 => format!("{middle}\n"),
            n => format!("line {n} of the file with the number {file}\n"),
        };
        (0..60).map(line).collect()
    };
    let overlay = Overlay::new(&lower).unwrap();
    let path = |n: usize| lower.join(format!("d{}/f{n}.txt", n / 100));
    for n in 0..10_000 {
        if n % 100 == 0 {
            std::fs::create_dir(path(n).parent().unwrap()).unwrap();
        }
        std::fs::write(path(n), text(n, "as it was")).unwrap();
    }
    let installed = install(overlay.clone());
    for n in 0..10_000 {
        fs::write(path(n), text(n, "changed")).unwrap();
    }
    drop(installed);
    drop(overlay.materialize(&merged).unwrap());
    let git = |lower: &PathBuf, merged: &PathBuf| {
        let mut git = Command::new("git");
        git.args(["-c", "core.autocrlf=false", "diff", "--no-index", "--no-color"]);
        git.arg(lower).arg(merged).stdin(Stdio::null()).stderr(Stdio::null());
        git.output().unwrap().stdout
    };
    let (mut of_git, mut own) = (Vec::new(), Vec::new());
    let mut lines = (0, 0);
    let count =
        |patch: &[u8]| patch.split(|b| *b == b'\n').filter(|l| l.starts_with(b"@@")).count();
    for _ in 0..11 {
        let start = Instant::now();
        let patch = git(&lower, &merged);
        of_git.push(start.elapsed());
        lines.0 = count(&patch);
        let start = Instant::now();
        let patch = overlay.diff().unwrap().patch();
        own.push(start.elapsed());
        lines.1 = count(&patch);
    }
    assert_eq!(lines, (10_000, 10_000), "both have one hunk for each file");
    let (of_git, own) = (median(of_git), median(own));
    let ratio = own.as_secs_f64() / of_git.as_secs_f64();
    println!("diff of 10,000 changed files: git {of_git:?}, overlay {own:?}: {ratio:.2}");
    ratio <= 1.0
}

fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort();
    times[times.len() / 2]
}

struct Bytes(usize);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} KiB", self.0 >> 10)
    }
}
