//! Quotas: how much an overlay may hold.

use std::sync::Arc;

use crate::Errno;
use crate::lower::observe::Origin;
use crate::upper::store::Store;
use crate::vfs::Result;
use crate::vfs::name::{Name, RelPath};

// The sizes in the account are near those measured. They are constants, so that a limit is met at the
// same place on every machine and with every compiler.

/// An inode and its place in the table.
const INODE_BYTES: u64 = 272;

/// The state in which a lower file was first seen, without its path.
const ORIGIN_BYTES: u64 = 432;

/// An entry of a directory and the note of it at its inode, without the name.
const ENTRY_BYTES: u64 = 240;

/// An observation, without its path.
const OBSERVATION_BYTES: u64 = 304;

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
/// and a [fault](crate::pipeline::Fault::error) can give the other.
///
/// Bytes are counted in blocks of 4 KiB, as a disk does. Holes count for nothing; changing a byte of
/// a lower file counts for the 64 KiB around it that are taken up. A write that goes beyond is cut
/// to what fits, as POSIX wants it, and the next one fails. A lower file that is longer already may
/// be changed, not made longer. A removed file no longer counts once it is closed. A changed lower file
/// still counts while it may have another name beneath that was not looked up.
///
/// Observations are what a diff or a commit compares with the lower tree, but for the files that are
/// there: each name that was looked up in vain, each directory that was listed, each lower file that
/// was removed. A program that looks up ten million missing names would fill the memory with them.
/// Beyond the limit, a lookup or listing that needs a new observation fails. Earlier observations
/// continue to be answered.
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
    pub const fn new() -> Quota {
        Quota {
            // 16 GiB: more than a test has any use for, less than a disk has.
            bytes_max: 16 << 30,
            // As many as an ext4 of 64 GiB has. An inode costs some 500 bytes, so this ends at about 2 GiB.
            inodes_max: 4 << 20,
            // As many as inodes. Each costs some 350 bytes, so this ends below 2 GiB.
            observations_max: 4 << 20,
            // 16 GiB: reading a file of that length, be it a hole, ends within seconds.
            file_len_max: 16 << 30,
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
    pub const fn inodes(self, inodes_max: u64) -> Quota {
        Quota { inodes_max, ..self }
    }

    /// At most this many notes of what the lower tree did not have, and of what it listed.
    pub const fn observations(self, observations_max: u64) -> Quota {
        Quota { observations_max, ..self }
    }

    /// No file longer than this, in bytes. No file can be longer than `i64::MAX`.
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

/// The account of an overlay: its content above the lower tree. Made by [`Overlay::usage`](crate::Overlay::usage).
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
    /// Bytes of memory for everything but content: inodes, names, symlink targets and notes of the
    /// lower tree. By fixed sizes, so that the sum is the same on every machine.
    pub metadata_bytes: u64,
}

impl Usage {
    /// Returns the part of an inode, without that of its node.
    pub(crate) fn of_inode(origin: Option<&Origin>) -> Usage {
        let paths = origin.into_iter().flat_map(|origin| &origin.paths);
        let seen: u64 = paths.map(|path| ORIGIN_BYTES + path.as_bytes().len() as u64).sum();
        let inodes = u64::from(origin.is_none());
        Usage { inodes, metadata_bytes: INODE_BYTES + seen, ..Usage::default() }
    }

    /// Returns the part of an observation that belongs to no inode.
    pub(crate) fn of_observation(path: &RelPath) -> Usage {
        let metadata_bytes = OBSERVATION_BYTES + path.as_bytes().len() as u64;
        Usage { observations: 1, metadata_bytes, ..Usage::default() }
    }

    pub(crate) fn charge(&mut self, part: Usage) {
        self.bytes += part.bytes;
        self.inodes += part.inodes;
        self.observations += part.observations;
        self.metadata_bytes += part.metadata_bytes;
    }

    pub(crate) fn release(&mut self, part: Usage) {
        self.bytes -= part.bytes;
        self.inodes -= part.inodes;
        self.observations -= part.observations;
        self.metadata_bytes -= part.metadata_bytes;
    }

    /// [`Errno::Nospc`] if there is no room for one more inode.
    pub(crate) fn check_inode(&self, quota: &Quota) -> Result<()> {
        if self.inodes < quota.inodes_max { Ok(()) } else { Err(Errno::Nospc) }
    }

    /// [`Errno::Nomem`] if there is no room for one more observation of the lower tree.
    pub(crate) fn check_observation(&self, quota: &Quota) -> Result<()> {
        if self.observations < quota.observations_max { Ok(()) } else { Err(Errno::Nomem) }
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

/// Returns the part of a directory's entry.
pub(crate) fn entry_bytes(name: &Name) -> u64 {
    ENTRY_BYTES + name.as_bytes().len() as u64
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
mod tests;
