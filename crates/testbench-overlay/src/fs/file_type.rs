//! What kind of file something is, as in `std::fs`.

use std::os::unix::fs::FileTypeExt;

use crate::FileKind;

/// What kind of file something is. Mirrors [`std::fs::FileType`] and its extension for Unix.
///
/// ```
/// use testbench_overlay::fs;
/// # let dir = tempfile::tempdir()?;
/// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
/// # let at = |name: &str| dir.path().join(name);
/// fs::symlink("x", at("l"))?;
/// let kind = fs::symlink_metadata(at("l"))?.file_type();
/// assert!(kind.is_symlink() && !kind.is_file() && !kind.is_dir());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileType {
    kind: FileKind,
    special: Special,
}

/// Which [`FileKind::Special`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Special {
    /// None, or one that a tree does not tell from the others.
    Any,
    BlockDevice,
    CharDevice,
    Fifo,
    Socket,
}

impl FileType {
    pub(super) fn new(kind: FileKind) -> FileType {
        FileType { kind, special: Special::Any }
    }

    /// Whether it is a directory.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// assert!(fs::metadata(dir.path())?.file_type().is_dir());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Dir
    }

    /// Whether it is a regular file.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// fs::write(at("a"), "")?;
    /// fs::create_dir(at("d"))?;
    /// let mut files = Vec::new();
    /// for entry in fs::read_dir(dir.path())? {
    ///     let entry = entry?;
    ///     if entry.file_type()?.is_file() {
    ///         files.push(entry.file_name());
    ///     }
    /// }
    /// assert_eq!(files, ["a"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a symlink.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// fs::symlink(".", at("here"))?;
    /// let entry = fs::read_dir(dir.path())?.next().unwrap()?;
    /// assert!(entry.file_type()?.is_symlink());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }

    pub(super) fn kind(self) -> FileKind {
        self.kind
    }

    /// The bits of `st_mode` that stand for it.
    pub(super) fn mode_bits(self) -> u32 {
        let file_type = match (self.kind, self.special) {
            (FileKind::File, _) => rustix::fs::FileType::RegularFile,
            (FileKind::Dir, _) => rustix::fs::FileType::Directory,
            (FileKind::Symlink, _) => rustix::fs::FileType::Symlink,
            (FileKind::Special, Special::BlockDevice) => rustix::fs::FileType::BlockDevice,
            (FileKind::Special, Special::CharDevice) => rustix::fs::FileType::CharacterDevice,
            (FileKind::Special, Special::Fifo) => rustix::fs::FileType::Fifo,
            (FileKind::Special, Special::Socket) => rustix::fs::FileType::Socket,
            (FileKind::Special, Special::Any) => return 0,
        };
        file_type.as_raw_mode()
    }
}

/// Of the real disk.
impl From<std::fs::FileType> for FileType {
    fn from(real: std::fs::FileType) -> FileType {
        let special = |special| FileType { kind: FileKind::Special, special };
        match real {
            t if t.is_file() => FileType::new(FileKind::File),
            t if t.is_dir() => FileType::new(FileKind::Dir),
            t if t.is_symlink() => FileType::new(FileKind::Symlink),
            t if t.is_block_device() => special(Special::BlockDevice),
            t if t.is_char_device() => special(Special::CharDevice),
            t if t.is_fifo() => special(Special::Fifo),
            t if t.is_socket() => special(Special::Socket),
            _ => special(Special::Any),
        }
    }
}

impl FileTypeExt for FileType {
    fn is_block_device(&self) -> bool {
        self.special == Special::BlockDevice
    }

    fn is_char_device(&self) -> bool {
        self.special == Special::CharDevice
    }

    fn is_fifo(&self) -> bool {
        self.special == Special::Fifo
    }

    fn is_socket(&self) -> bool {
        self.special == Special::Socket
    }
}
