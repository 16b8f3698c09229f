//! The sums against what is held.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use super::*;
use crate::pipeline::{Fault, FaultPlan, Operation};
use crate::{Overlay, fs, install};

/// Numbers that come again with the same seed (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) as usize) % n
    }

    fn pick<'t>(&mut self, from: &'t [PathBuf]) -> &'t PathBuf {
        &from[self.below(from.len())]
    }
}

/// One thing that anybody may do; whether it succeeds does not matter.
fn step(random: &mut Random, paths: &[PathBuf], open: &mut Vec<fs::File>) {
    let len = [0, 1, 4096, 4097, 65_536, 65_537, 300_000][random.below(7)];
    let (path, other) = (random.pick(paths), random.pick(paths));
    let held = random.below(open.len().max(1));
    let _ = match random.below(10) {
        0 | 1 => fs::write(path, vec![1; len]),
        2 => fs::remove_file(path),
        3 => fs::rename(path, other),
        4 => fs::hard_link(path, other),
        5 => fs::create_dir(path),
        6 => fs::remove_dir_all(path),
        7 => fs::OpenOptions::new().write(true).create(true).open(path).map(|f| open.push(f)),
        8 if !open.is_empty() => {
            let at = SeekFrom::Start(random.below(400_000) as u64);
            open[held].seek(at).and_then(|_| open[held].write(&vec![2; len])).map(drop)
        }
        9 if !open.is_empty() => match random.below(2) {
            0 => open[held].set_len(random.below(400_000) as u64),
            _ => {
                open.swap_remove(held);
                Ok(())
            }
        },
        _ => fs::symlink("anywhere", path),
    };
}

#[test]
fn usage_is_what_is_held_whatever_happens_and_goes_wrong() {
    let mut most = Usage::default();
    for seed in 0..40 {
        let random = &mut Random(seed);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/lower"), vec![0; 150_000]).unwrap();
        let names = ["a", "b", "d", "d/lower", "d/a", "e", "e/a"];
        let paths = names.map(|name| dir.path().join(name));
        let quota = Quota::new().bytes(200_000 + (seed << 14)).inodes(5).file_len(350_000);
        let plan = FaultPlan::new()
            .seed(seed)
            .with(Fault::error(Errno::Io).one_in(10))
            .with(Fault::short(1000).on(Operation::Write).one_in(3));
        let builder = Overlay::builder(dir.path()).quota(quota).faults(plan);
        let mut overlay = builder.build().unwrap();
        let (mut saved, mut open) = (vec![overlay.checkpoint()], Vec::new());
        for _ in 0..100 {
            match random.below(15) {
                0 => saved.push(overlay.checkpoint()),
                1 => overlay.rollback(&saved[random.below(saved.len())]).unwrap(),
                2 => overlay = overlay.fork(),
                3 => overlay = overlay.fork_at(&saved[random.below(saved.len())]).unwrap(),
                _ => {
                    let _installed = install(overlay.clone());
                    step(random, &paths, &mut open);
                }
            }
            let mut counted = overlay.core.tx().live.state.clone();
            let usage = counted.usage;
            counted.count_usage();
            assert_eq!(usage, counted.usage, "seed {seed}");
            let Usage { bytes, inodes, .. } = usage;
            assert!(bytes <= quota.bytes_max && inodes <= 5, "seed {seed}: {bytes}, {inodes}");
            most.bytes = most.bytes.max(bytes);
            most.inodes = most.inodes.max(inodes);
        }
        drop(open);
        overlay.rollback(&saved[0]).unwrap();
        assert_eq!(overlay.usage(), Usage::default(), "seed {seed}");
    }
    assert!(most.bytes > 300_000 && most.inodes == 5, "hardly anything happened: {most:?}");
}
