//! What stat, open and readdir of untouched lower files cost beside `std::fs`, at most twice as
//! much, through both front doors.
//!
//! `cargo bench -p testbench-overlay --bench lower`. *First* is the first look of an overlay at
//! each file, *again* every later one. All cases take turns, so that a busy machine slows all of
//! them alike; a round's time is compared with that of `std::fs` in the same round.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use testbench_overlay::{Follow, Fs as _, GuestPath, OpenHow, Overlay, fs, install};

const ROUNDS: usize = 101;
const DIRS: usize = 50;
const FILES_PER_DIR: usize = 20;
const MOST: f64 = 2.0;

/// What is measured, with names for both front doors.
struct Case<'t> {
    title: &'t str,
    paths: &'t [PathBuf],
    /// How many things one round looks at.
    items: usize,
    std: fn(&Path),
    fs: fn(&Path),
    trait_fs: fn(&Overlay, &str),
    /// The figure is for people; nothing was promised.
    unbounded: bool,
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (dirs, files) = tree(&root);
    let deep: Vec<PathBuf> = {
        let deep = root.join("a/b/c/d/e/f/g/h");
        std::fs::create_dir_all(&deep).unwrap();
        let path = |n| deep.join(format!("file{n}.txt"));
        (0..100).map(path).inspect(|path| std::fs::write(path, "x").unwrap()).collect()
    };
    let missing: Vec<PathBuf> = files.iter().map(|path| path.with_extension("none")).collect();
    let each = files.len();
    let stat = Case {
        title: "stat",
        paths: &files,
        items: each,
        std: |path| {
            black_box(std::fs::metadata(path).unwrap());
        },
        fs: |path| {
            black_box(fs::metadata(path).unwrap());
        },
        trait_fs: |overlay, path| {
            let top = overlay.root().unwrap();
            black_box(overlay.stat_at(&*top, GuestPath::new(path), Follow::Yes).unwrap());
        },
        unbounded: false,
    };
    let cases = [
        Case { title: "stat, 8 levels down", paths: &deep, items: deep.len(), ..stat },
        Case {
            title: "stat of what is missing",
            paths: &missing,
            std: |path| drop(std::fs::metadata(path).unwrap_err()),
            fs: |path| drop(fs::metadata(path).unwrap_err()),
            trait_fs: |overlay, path| {
                let top = overlay.root().unwrap();
                overlay.stat_at(&*top, GuestPath::new(path), Follow::Yes).unwrap_err();
            },
            unbounded: true,
            ..stat
        },
        Case {
            title: "open",
            std: |path| drop(std::fs::File::open(path).unwrap()),
            fs: |path| drop(fs::File::open(path).unwrap()),
            trait_fs: |overlay, path| drop(open(overlay, path)),
            ..stat
        },
        Case {
            title: "open and read 1 KiB",
            std: |path| drop(std::fs::read(path).unwrap()),
            fs: |path| drop(fs::read(path).unwrap()),
            trait_fs: |overlay, path| {
                open(overlay, path).read_at(&mut [0; 1024], 0).unwrap();
            },
            unbounded: true,
            ..stat
        },
        Case {
            title: "readdir, per entry",
            paths: &dirs,
            std: |path| {
                let names = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name());
                assert_eq!(names.count(), FILES_PER_DIR);
            },
            fs: |path| {
                let names = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name());
                assert_eq!(names.count(), FILES_PER_DIR);
            },
            trait_fs: |overlay, path| {
                assert_eq!(open(overlay, path).read_dir().unwrap().len(), FILES_PER_DIR);
            },
            ..stat
        },
        stat,
    ];
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let chosen = |case: &&Case<'_>| only.as_ref().is_none_or(|only| case.title.contains(only));
    let missed: usize = cases.iter().filter(chosen).map(|case| measure(&root, case)).sum();
    assert_eq!(missed, 0, "over {MOST} times std::fs");
}

/// 50 directories with 20 files of 1 KiB each.
fn tree(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let dirs: Vec<_> = (0..DIRS).map(|n| root.join(format!("src/module{n}"))).collect();
    let mut files = Vec::new();
    for dir in &dirs {
        std::fs::create_dir_all(dir).unwrap();
        for n in 0..FILES_PER_DIR {
            files.push(dir.join(format!("file{n}.txt")));
            std::fs::write(files.last().unwrap(), [b'x'; 1024]).unwrap();
        }
    }
    (dirs, files)
}

fn open(overlay: &Overlay, path: &str) -> Arc<dyn testbench_overlay::File> {
    let top = overlay.root().unwrap();
    overlay.open_at(&*top, GuestPath::new(path), &OpenHow::READ).unwrap()
}

/// Prints the median of the ratios to `std::fs`, and says how many were too high.
fn measure(root: &Path, case: &Case<'_>) -> usize {
    const NAMES: [&str; 4] = ["fs first", "fs again", "Fs first", "Fs again"];
    let guest: Vec<String> = case
        .paths
        .iter()
        .map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())
        .collect();
    let known = Overlay::new(root).unwrap();
    let mut std_ns = Vec::new();
    let mut own: [Vec<(f64, f64)>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let std = time(case, || case.paths.iter().for_each(|path| (case.std)(path)));
        let through_fs = |overlay: &Arc<Overlay>| {
            let _installed = install(overlay.clone());
            time(case, || case.paths.iter().for_each(|path| (case.fs)(path)))
        };
        let through_trait = |overlay: &Overlay| {
            time(case, || guest.iter().for_each(|path| (case.trait_fs)(overlay, path)))
        };
        let fresh = || Overlay::new(root).unwrap();
        // In another order each time: what one has freed, the next one gets.
        for n in 0..4 {
            let which = (round + n) % 4;
            let ns = match which {
                0 => through_fs(&fresh()),
                1 => through_fs(&known),
                2 => through_trait(&fresh()),
                _ => through_trait(&known),
            };
            // The first round warms up.
            if round > 0 {
                own[which].push((ns / std, ns));
            }
        }
        std_ns.push(std);
    }
    println!("{:<24} std::fs  {:>6.0} ns", case.title, median(std_ns));
    let mut missed = 0;
    for (name, times) in NAMES.iter().zip(own) {
        let (ratios, ns): (Vec<_>, Vec<_>) = times.into_iter().unzip();
        let ratio = median(ratios);
        let over = ratio > MOST && !case.unbounded;
        missed += usize::from(over);
        let verdict = if over { "  too slow" } else { "" };
        println!("{:<24} {name} {:>6.0} ns {ratio:>6.2}x{verdict}", "", median(ns));
    }
    missed
}

/// In nanoseconds per item.
fn time(case: &Case<'_>, action: impl FnOnce()) -> f64 {
    let start = Instant::now();
    action();
    start.elapsed().as_nanos() as f64 / case.items as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
