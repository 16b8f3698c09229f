//! [`FileType`], as in `std::fs`.

use std::os::unix::fs::FileTypeExt;

use rustix::fs::FileType as RawType;

use crate::FileKind;

/// The kind of a file. Mirrors [`std::fs::FileType`] and its extension for Unix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileType {
    /// The bits of `st_mode` that stand for it; 0 for a special file of a tree, which does not tell
    /// them apart.
    bits: u32,
}

impl FileType {
    /// Returns whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.is(RawType::Directory)
    }

    /// Returns whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.is(RawType::RegularFile)
    }

    /// Returns whether it is a symlink.
    pub fn is_symlink(&self) -> bool {
        self.is(RawType::Symlink)
    }

    pub(super) fn kind(self) -> FileKind {
        match RawType::from_raw_mode(self.bits) {
            RawType::RegularFile => FileKind::File,
            RawType::Directory => FileKind::Dir,
            RawType::Symlink => FileKind::Symlink,
            _ => FileKind::Special,
        }
    }

    pub(super) fn mode_bits(self) -> u32 {
        self.bits
    }

    fn is(self, raw: RawType) -> bool {
        self.bits == raw.as_raw_mode()
    }
}

/// Of a tree.
impl From<FileKind> for FileType {
    fn from(kind: FileKind) -> FileType {
        let bits = match kind {
            FileKind::File => RawType::RegularFile.as_raw_mode(),
            FileKind::Dir => RawType::Directory.as_raw_mode(),
            FileKind::Symlink => RawType::Symlink.as_raw_mode(),
            FileKind::Special => 0,
        };
        FileType { bits }
    }
}

/// Of the real disk.
impl From<std::fs::FileType> for FileType {
    fn from(real: std::fs::FileType) -> FileType {
        let kinds = [
            (real.is_file(), RawType::RegularFile),
            (real.is_dir(), RawType::Directory),
            (real.is_symlink(), RawType::Symlink),
            (real.is_block_device(), RawType::BlockDevice),
            (real.is_char_device(), RawType::CharacterDevice),
            (real.is_fifo(), RawType::Fifo),
            (real.is_socket(), RawType::Socket),
        ];
        let raw = kinds.into_iter().find_map(|(is_it, raw)| is_it.then_some(raw));
        FileType { bits: raw.map_or(0, RawType::as_raw_mode) }
    }
}

impl FileTypeExt for FileType {
    fn is_block_device(&self) -> bool {
        self.is(RawType::BlockDevice)
    }

    fn is_char_device(&self) -> bool {
        self.is(RawType::CharacterDevice)
    }

    fn is_fifo(&self) -> bool {
        self.is(RawType::Fifo)
    }

    fn is_socket(&self) -> bool {
        self.is(RawType::Socket)
    }
}
