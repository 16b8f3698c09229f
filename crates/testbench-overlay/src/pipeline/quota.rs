//! Quotas: how much an overlay may hold.

use std::sync::Arc;

use crate::upper::store::Store;
use crate::{Errno, Overlay};

/// 16 GiB: more than a test has any use for, less than a disk has.
const BYTES_MAX: u64 = 16 << 30;

/// What an ext4 of 64 GiB has. An inode costs some 500 bytes, so this ends at about 2 GiB.
const INODES_MAX: u64 = 4 << 20;

/// As many as inodes. Each costs some 200 bytes, so this ends below 1 GiB.
const OBSERVATIONS_MAX: u64 = 4 << 20;

/// 16 GiB: reading a file of that length, be it a hole, ends within seconds.
const FILE_LEN_MAX: u64 = 16 << 30;

/// How much an overlay may hold above its lower tree.
///
/// | limit | default | beyond it |
/// | --- | --- | --- |
/// | [`bytes`](Quota::bytes): content that was changed | 16 GiB | [`Errno::Nospc`], as on a full disk |
/// | [`inodes`](Quota::inodes): files, directories and links that were made | 4,194,304 | [`Errno::Nospc`], as on a disk without inodes |
/// | [`observations`](Quota::observations): what was noted of the lower tree | 4,194,304 | [`Errno::Nomem`] |
/// | [`file_len`](Quota::file_len): the length of one file | 16 GiB | [`Errno::Fbig`] |
///
/// It is never [`Errno::Dquot`]: programs that know what to do about a full disk know that of the two,
/// and a [fault](super::Fault::error) can give the other.
///
/// Bytes are counted in blocks of 4 KiB, as a disk does. Holes count for nothing; changing a byte of
/// a lower file counts for the 64 KiB around it that are taken up. A write that goes beyond is cut
/// to what fits, as POSIX wants it, and the next one fails. A lower file that is longer already may
/// be changed, not made longer. What is removed no longer counts, once nobody has it open; but a lower
/// file that was changed does while it may have a name beneath that nobody has looked at.
///
/// Observations are what a diff or a commit compares with the lower tree, but for the files that are
/// there: each name that was looked up in vain, each directory that was listed, each lower file that
/// was removed. Someone who looks for ten million missing names would fill the memory with them;
/// beyond the limit, a look-up or listing that has not been seen yet fails. What has been noted
/// before goes on.
///
/// ```
/// use std::io::ErrorKind;
/// use testbench_overlay::pipeline::Quota;
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::builder(dir.path()).quota(Quota::new().bytes(64 * 1024)).build()?;
/// let _installed = install(overlay.clone());
/// fs::write(dir.path().join("small"), [1; 1000])?;
/// let error = fs::write(dir.path().join("large"), [1; 70_000]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::StorageFull);
/// assert_eq!(fs::metadata(dir.path().join("large"))?.len(), 60 * 1024);
/// assert_eq!(overlay.usage().bytes, 64 * 1024);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    bytes_max: u64,
    inodes_max: u64,
    observations_max: u64,
    file_len_max: u64,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota::new()
    }
}

impl Quota {
    /// The defaults, which a test does not meet unless something has run away.
    ///
    /// ```
    /// use testbench_overlay::pipeline::Quota;
    ///
    /// assert_eq!(Quota::new(), Quota::new().bytes(16 << 30).inodes(4 << 20).file_len(16 << 30));
    /// ```
    pub const fn new() -> Quota {
        Quota {
            bytes_max: BYTES_MAX,
            inodes_max: INODES_MAX,
            observations_max: OBSERVATIONS_MAX,
            file_len_max: FILE_LEN_MAX,
        }
    }

    /// At most this many bytes of content, in blocks of 4 KiB.
    ///
    /// ```
    /// use testbench_overlay::pipeline::Quota;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::builder(dir.path()).quota(Quota::new().bytes(8 << 10)).build()?;
    /// let _installed = install(overlay);
    /// fs::write(dir.path().join("a"), "a block")?;
    /// fs::write(dir.path().join("b"), "and another one")?;
    /// assert!(fs::write(dir.path().join("c"), "no room").is_err());
    /// fs::remove_file(dir.path().join("a"))?;
    /// assert!(fs::write(dir.path().join("c"), "room").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn bytes(self, bytes_max: u64) -> Quota {
        Quota { bytes_max, ..self }
    }

    /// At most this many new files, directories and symlinks.
    ///
    /// ```
    /// use testbench_overlay::pipeline::Quota;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("lower"), "")?;
    /// let overlay = Overlay::builder(dir.path()).quota(Quota::new().inodes(1)).build()?;
    /// let _installed = install(overlay);
    /// fs::write(dir.path().join("lower"), "changed, which makes no new file")?;
    /// fs::symlink("lower", dir.path().join("link"))?;
    /// assert!(fs::create_dir(dir.path().join("d")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn inodes(self, inodes_max: u64) -> Quota {
        Quota { inodes_max, ..self }
    }

    /// At most this many notes of what the lower tree did not have, and of what it listed.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use testbench_overlay::pipeline::Quota;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::builder(dir.path()).quota(Quota::new().observations(2)).build()?;
    /// let _installed = install(overlay.clone());
    /// let missing = |name| fs::metadata(dir.path().join(name)).unwrap_err().kind();
    /// assert_eq!(["a", "b", "c"].map(missing)[1..], [ErrorKind::NotFound, ErrorKind::OutOfMemory]);
    /// assert_eq!(missing("a"), ErrorKind::NotFound, "noted before");
    /// assert_eq!(overlay.usage().observations, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn observations(self, observations_max: u64) -> Quota {
        Quota { observations_max, ..self }
    }

    /// No file longer than this, in bytes. No file can be longer than `i64::MAX`.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use testbench_overlay::pipeline::Quota;
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::builder(dir.path()).quota(Quota::new().file_len(100)).build()?;
    /// let _installed = install(overlay);
    /// let file = fs::File::create(dir.path().join("a"))?;
    /// assert_eq!(file.set_len(101).unwrap_err().kind(), ErrorKind::FileTooLarge);
    /// file.set_len(100)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn file_len(self, file_len_max: u64) -> Quota {
        Quota { file_len_max, ..self }
    }
}

impl Quota {
    /// Returns how many bytes of content may be held.
    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Returns how many new files, directories and symlinks may be held.
    pub const fn inodes_max(&self) -> u64 {
        self.inodes_max
    }
}

/// What an overlay holds above its lower tree. Made by [`Overlay::usage`].
///
/// ```
/// use testbench_overlay::{Overlay, fs, install};
///
/// let dir = tempfile::tempdir()?;
/// let overlay = Overlay::new(dir.path())?;
/// let _installed = install(overlay.clone());
/// fs::write(dir.path().join("a"), "x")?;
/// assert_eq!((overlay.usage().bytes, overlay.usage().inodes), (4096, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of content, in blocks of 4 KiB.
    pub bytes: u64,
    /// New files, directories and symlinks.
    pub inodes: u64,
    /// Notes of what the lower tree did not have, of what it listed, and of what was removed.
    pub observations: u64,
}

impl Overlay {
    /// What this overlay holds, by the measures of its [`Quota`]. What only checkpoints and forks
    /// hold is not in it.
    ///
    /// ```
    /// use testbench_overlay::{Overlay, fs, install};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let overlay = Overlay::new(dir.path())?;
    /// let _installed = install(overlay.clone());
    /// let file = fs::File::create(dir.path().join("sparse"))?;
    /// file.set_len(1 << 30)?;
    /// assert_eq!(overlay.usage().bytes, 0, "a hole");
    /// fs::write(dir.path().join("a"), "text")?;
    /// assert_eq!((overlay.usage().bytes, overlay.usage().inodes), (4096, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn usage(&self) -> Usage {
        let state = &self.core.tx().live.state;
        Usage { observations: state.reads.size() as u64, ..state.usage }
    }

    /// Returns the quota that was set, or the defaults.
    pub fn quota(&self) -> Quota {
        self.core.config.quota
    }
}

impl Usage {
    /// [`Errno::Nospc`] if there is no room for one more inode.
    pub(crate) fn check_inode(&self, quota: &Quota) -> Result<(), Errno> {
        if self.inodes < quota.inodes_max { Ok(()) } else { Err(Errno::Nospc) }
    }

    /// [`Errno::Nomem`] if there is no room for one more note of the lower tree.
    pub(crate) fn check_observation(noted: usize, quota: &Quota) -> Result<(), Errno> {
        if (noted as u64) < quota.observations_max { Ok(()) } else { Err(Errno::Nomem) }
    }

    /// The room that is left for the content of one file.
    pub(crate) fn room(&self, quota: &Quota, store: &Arc<Store>) -> Room {
        Room {
            bytes: quota.bytes_max.saturating_sub(self.bytes),
            len_max: quota.file_len_max.min(crate::upper::content::LEN_MAX),
            store: store.clone(),
        }
    }
}

impl Room {
    /// For content that has been within its quota before.
    pub(crate) fn unlimited(store: &Arc<Store>) -> Room {
        Room { bytes: u64::MAX / 2, len_max: crate::upper::content::LEN_MAX, store: store.clone() }
    }
}

/// How far the content of a file may grow, and where it is kept.
#[derive(Debug)]
pub(crate) struct Room {
    /// That many more bytes may be held.
    pub(crate) bytes: u64,
    /// Files may become this long.
    pub(crate) len_max: u64,
    pub(crate) store: Arc<Store>,
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};
    use std::path::PathBuf;

    use super::*;
    use crate::fs;
    use crate::install;
    use crate::pipeline::{Fault, FaultPlan, Operation};

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
}
