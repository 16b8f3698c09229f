//! [`FileType`], as in `std::fs`.

use std::os::unix::fs::FileTypeExt;

use crate::FileKind;

/// The kind of a file. Mirrors [`std::fs::FileType`] and its extension for Unix.
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
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Dir
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a symlink.
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
