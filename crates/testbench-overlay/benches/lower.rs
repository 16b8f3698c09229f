//! What stat, open and readdir of untouched lower files cost beside `std::fs`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use testbench_overlay::{Follow, Fs as _, GuestPath, OpenHow, Overlay, fs, install};

const ROUNDS: usize = 51;
const DIRS: usize = 50;
const FILES: usize = 20;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let mut files = Vec::new();
    let mut dirs = Vec::new();
    for d in 0..DIRS {
        let sub = root.join(format!("src/module{d}"));
        std::fs::create_dir_all(&sub).unwrap();
        for f in 0..FILES {
            let file = sub.join(format!("file{f}.txt"));
            std::fs::write(&file, "x".repeat(1024)).unwrap();
            files.push(file);
        }
        dirs.push(sub);
    }
    let guest = |p: &Path| p.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let guest_files: Vec<String> = files.iter().map(|p| guest(p)).collect();
    let guest_dirs: Vec<String> = dirs.iter().map(|p| guest(p)).collect();
    let overlay = Overlay::new(&root).unwrap();
    let fresh = || Overlay::new(&root).unwrap();

    group(
        "stat",
        files.len(),
        &mut [
            ("std", &mut || {
                files.iter().for_each(|p| drop(black_box(std::fs::metadata(p).unwrap())))
            }),
            ("fs again", &mut || {
                with(&overlay, || {
                    files.iter().for_each(|p| drop(black_box(fs::metadata(p).unwrap())))
                })
            }),
            ("fs first", &mut || {
                with(&fresh(), || {
                    files.iter().for_each(|p| drop(black_box(fs::metadata(p).unwrap())))
                })
            }),
            ("Fs again", &mut || stat_all(&overlay, &guest_files)),
            ("Fs first", &mut || stat_all(&fresh(), &guest_files)),
        ],
    );
    group(
        "stat missing",
        files.len(),
        &mut [
            ("std", &mut || {
                files
                    .iter()
                    .for_each(|p| drop(black_box(std::fs::metadata(missing(p)).unwrap_err())))
            }),
            ("fs again", &mut || {
                with(&overlay, || {
                    files
                        .iter()
                        .for_each(|p| drop(black_box(fs::metadata(missing(p)).unwrap_err())))
                })
            }),
            ("fs first", &mut || {
                with(&fresh(), || {
                    files
                        .iter()
                        .for_each(|p| drop(black_box(fs::metadata(missing(p)).unwrap_err())))
                })
            }),
        ],
    );
    group(
        "open",
        files.len(),
        &mut [
            ("std", &mut || {
                files.iter().for_each(|p| drop(black_box(std::fs::File::open(p).unwrap())))
            }),
            ("fs again", &mut || {
                with(&overlay, || {
                    files.iter().for_each(|p| drop(black_box(fs::File::open(p).unwrap())))
                })
            }),
            ("fs first", &mut || {
                with(&fresh(), || {
                    files.iter().for_each(|p| drop(black_box(fs::File::open(p).unwrap())))
                })
            }),
            ("Fs again", &mut || open_all(&overlay, &guest_files)),
            ("Fs first", &mut || open_all(&fresh(), &guest_files)),
        ],
    );
    group(
        "read",
        files.len(),
        &mut [
            ("std", &mut || files.iter().for_each(|p| drop(black_box(std::fs::read(p).unwrap())))),
            ("fs again", &mut || {
                with(&overlay, || files.iter().for_each(|p| drop(black_box(fs::read(p).unwrap()))))
            }),
            ("fs first", &mut || {
                with(&fresh(), || files.iter().for_each(|p| drop(black_box(fs::read(p).unwrap()))))
            }),
        ],
    );
    group(
        "readdir (entries)",
        files.len(),
        &mut [
            ("std", &mut || {
                dirs.iter().for_each(|p| {
                    drop(black_box(
                        std::fs::read_dir(p).unwrap().map(|e| e.unwrap().file_name()).count(),
                    ))
                })
            }),
            ("fs again", &mut || {
                with(&overlay, || {
                    dirs.iter().for_each(|p| {
                        drop(black_box(
                            fs::read_dir(p).unwrap().map(|e| e.unwrap().file_name()).count(),
                        ))
                    })
                })
            }),
            ("fs first", &mut || {
                with(&fresh(), || {
                    dirs.iter().for_each(|p| {
                        drop(black_box(
                            fs::read_dir(p).unwrap().map(|e| e.unwrap().file_name()).count(),
                        ))
                    })
                })
            }),
            ("Fs again", &mut || list_all(&overlay, &guest_dirs)),
            ("Fs first", &mut || list_all(&fresh(), &guest_dirs)),
        ],
    );
}

fn missing(path: &Path) -> PathBuf {
    path.with_extension("none")
}

fn with(overlay: &Arc<Overlay>, action: impl FnOnce()) {
    let _installed = install(overlay.clone());
    action();
}

fn stat_all(overlay: &Overlay, paths: &[String]) {
    let top = overlay.root().unwrap();
    for path in paths {
        black_box(overlay.stat_at(&*top, GuestPath::new(path), Follow::Yes).unwrap());
    }
}

fn open_all(overlay: &Overlay, paths: &[String]) {
    let top = overlay.root().unwrap();
    for path in paths {
        black_box(overlay.open_at(&*top, GuestPath::new(path), &OpenHow::READ).unwrap());
    }
}

fn list_all(overlay: &Overlay, paths: &[String]) {
    let top = overlay.root().unwrap();
    for path in paths {
        black_box(
            overlay
                .open_at(&*top, GuestPath::new(path), &OpenHow::READ)
                .unwrap()
                .read_dir()
                .unwrap(),
        );
    }
}

fn group(title: &str, items: usize, cases: &mut [(&str, &mut dyn FnMut())]) {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
    for round in 0..=ROUNDS {
        for (at, (_, action)) in cases.iter_mut().enumerate() {
            let start = Instant::now();
            action();
            if round > 0 {
                times[at].push(start.elapsed() / items as u32);
            }
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let base = median(&mut times[0]).as_nanos() as f64;
    for (at, (name, _)) in cases.iter().enumerate() {
        let own = median(&mut times[at]);
        println!("{title:<20} {name:<10} {own:>10.1?} {:>6.2}x", own.as_nanos() as f64 / base);
    }
}
