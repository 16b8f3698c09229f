//! The sums against what is held.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use super::*;
use crate::pipeline::{Fault, FaultPlan, Operation};
use crate::upper::inode::State;
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

/// One operation of a guest; whether it succeeds does not matter.
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

/// The sum done anew.
fn counted(state: &State) -> Usage {
    let mut usage = Usage::default();
    state.inodes.values().for_each(|inode| usage.charge(inode.usage()));
    state.reads.keys().for_each(|path| usage.charge(Usage::of_observation(path)));
    usage
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
        let start = overlay.usage();
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
            let usage = overlay.usage();
            assert_eq!(usage, counted(&overlay.core.tx().live.state), "seed {seed}");
            let Usage { bytes, inodes, .. } = usage;
            assert!(bytes <= quota.bytes_max && inodes <= 5, "seed {seed}: {bytes}, {inodes}");
            most.bytes = most.bytes.max(bytes);
            most.inodes = most.inodes.max(inodes);
        }
        drop(open);
        overlay.rollback(&saved[0]).unwrap();
        assert_eq!(overlay.usage(), start, "seed {seed}");
    }
    assert!(most.bytes > 300_000 && most.inodes == 5, "hardly anything happened: {most:?}");
}

/// Where the account of `overlay` is after `act`, relative to before.
fn charged(overlay: &Overlay, act: impl FnOnce()) -> [i64; 4] {
    let fields =
        |usage: Usage| [usage.bytes, usage.inodes, usage.observations, usage.metadata_bytes];
    let before = fields(overlay.usage());
    act();
    let after = fields(overlay.usage());
    std::array::from_fn(|field| after[field] as i64 - before[field] as i64)
}

#[test]
fn each_kind_of_what_is_held_is_charged_and_released() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("lower"), "").unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let charge = |act: &dyn Fn()| charged(&overlay, act);
    let [inode, entry, origin, observation] =
        [INODE_BYTES, ENTRY_BYTES, ORIGIN_BYTES, OBSERVATION_BYTES].map(|bytes| bytes as i64);
    let nothing = [0; 4];
    // Observations: a name that is missing, a listing, a lower file.
    let miss = || assert!(fs::metadata(at("missing")).is_err());
    assert_eq!(charge(&miss), [0, 0, 1, observation + 7]);
    assert_eq!(charge(&miss), nothing);
    let list = || drop(fs::read_dir(dir.path()).unwrap());
    assert_eq!(charge(&list), [0, 0, 1, observation]);
    let look = || _ = fs::metadata(at("lower")).unwrap();
    assert_eq!(charge(&look), [0, 0, 0, inode + origin + 5]);
    // An inode with its name; its observations were made above.
    assert_eq!(charge(&|| fs::create_dir(at("missing")).unwrap()), [0, 1, 0, inode + entry + 7]);
    // Content, a target and a further name.
    let file = || fs::write(at("missing/file"), "text").unwrap();
    assert_eq!(charge(&file), [4096, 1, 0, inode + entry + 4]);
    let link = || fs::symlink("a".repeat(1000), at("missing/link")).unwrap();
    assert_eq!(charge(&link), [0, 1, 0, inode + entry + 4 + 1000]);
    let hard = || fs::hard_link(at("missing/file"), at("missing/second")).unwrap();
    assert_eq!(charge(&hard), [0, 0, 0, entry + 6]);
    let rename = || fs::rename(at("missing/second"), at("missing/the second")).unwrap();
    assert_eq!(charge(&rename), [0, 0, 0, 4]);
    assert_eq!(charge(&|| fs::remove_file(at("missing/the second")).unwrap())[3], -entry - 10);
    let remove = || fs::remove_dir_all(at("missing")).unwrap();
    assert_eq!(charge(&remove), [-4096, -3, 0, -3 * (inode + entry) - 7 - 4 - 4 - 1000]);
    // A whiteout is an entry; the removed file is observed still.
    let remove = || fs::remove_file(at("lower")).unwrap();
    assert_eq!(charge(&remove), [0, 0, 1, entry + 5 + observation - inode - origin]);
}

#[test]
fn a_thousand_files_with_long_names_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = Overlay::new(dir.path()).unwrap();
    let _installed = install(overlay.clone());
    let files = dir.path().join("new");
    fs::create_dir(&files).unwrap();
    let (start, checkpoint) = (overlay.usage(), overlay.checkpoint());
    let names = (0..1000).map(|n| files.join(format!("{n:0>200}")));
    for name in names.clone() {
        fs::write(name, "text").unwrap();
    }
    let full = overlay.usage();
    assert_eq!((full.bytes, full.inodes), (1000 * 4096, 1001));
    assert_eq!(
        full.metadata_bytes - start.metadata_bytes,
        1000 * (INODE_BYTES + ENTRY_BYTES + 200)
    );
    let fork = overlay.fork();
    names.for_each(|name| fs::remove_file(name).unwrap());
    assert_eq!((overlay.usage(), fork.usage()), (start, full));
    fs::write(files.join("another"), "text").unwrap();
    overlay.rollback(&checkpoint).unwrap();
    fork.rollback(&checkpoint).unwrap();
    assert_eq!((overlay.usage(), fork.usage()), (start, start));
}
