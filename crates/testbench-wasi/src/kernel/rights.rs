//! What a descriptor allows, and how its file behaves: WASI's two sets of flags.
//!
//! Rights are granted as wasmtime grants them: whatever can be done with a file of this kind,
//! reading and writing if they were asked for, within what the directory passes on. A program that
//! never narrows rights therefore never meets them. `fd_fdstat_set_rights` narrows, never widens,
//! and what was given up is refused with `ENOTCAPABLE` from then on.

/// Declares a set of flags whose members have names.
macro_rules! flags {
    ($(#[$meta:meta])* $vis:vis struct $set:ident: $repr:ty { $($name:ident = $bit:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $set($repr);

        impl $set {
            $($vis const $name: $set = $set(1 << $bit);)*
            /// Every member.
            $vis const ALL: $set = $set($(1 << $bit)|*);

            /// The set of these bits; `None` if one of them has no meaning.
            #[allow(dead_code, reason = "not every set is read from bits that may be wrong")]
            $vis const fn from_bits(bits: $repr) -> Option<$set> {
                if bits & !$set::ALL.0 == 0 { Some($set(bits)) } else { None }
            }

            /// As WASI encodes it.
            #[allow(dead_code, reason = "not every set is encoded")]
            $vis const fn bits(self) -> $repr {
                self.0
            }

            /// Whether all of `other` is in `self`.
            $vis const fn contains(self, other: $set) -> bool {
                self.0 & other.0 == other.0
            }

            /// `self` without `other`.
            #[allow(dead_code, reason = "not every set is reduced")]
            $vis const fn without(self, other: $set) -> $set {
                $set(self.0 & !other.0)
            }

            /// `self` and `other`, in constants.
            #[allow(dead_code, reason = "not every set is combined")]
            $vis const fn or(self, other: $set) -> $set {
                $set(self.0 | other.0)
            }
        }

        impl std::ops::BitOr for $set {
            type Output = $set;
            fn bitor(self, other: $set) -> $set {
                $set(self.0 | other.0)
            }
        }

        impl std::ops::BitAnd for $set {
            type Output = $set;
            fn bitand(self, other: $set) -> $set {
                $set(self.0 & other.0)
            }
        }

        /// The members' names, `|` between them; `0` for none, `ALL` for every one.
        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                if *self == $set::ALL && self.0.count_ones() > 1 {
                    return f.write_str("ALL");
                }
                let mut separator = "";
                $(if self.contains($set::$name) {
                    write!(f, "{separator}{}", stringify!($name))?;
                    separator = "|";
                })*
                if separator.is_empty() { f.write_str("0") } else { Ok(()) }
            }
        }
    };
}
pub(crate) use flags;

flags! {
    /// `rights` of WASI.
    pub(crate) struct Rights: u64 {
        FD_DATASYNC = 0,
        FD_READ = 1,
        FD_SEEK = 2,
        FD_FDSTAT_SET_FLAGS = 3,
        FD_SYNC = 4,
        FD_TELL = 5,
        FD_WRITE = 6,
        FD_ADVISE = 7,
        FD_ALLOCATE = 8,
        PATH_CREATE_DIRECTORY = 9,
        PATH_CREATE_FILE = 10,
        PATH_LINK_SOURCE = 11,
        PATH_LINK_TARGET = 12,
        PATH_OPEN = 13,
        FD_READDIR = 14,
        PATH_READLINK = 15,
        PATH_RENAME_SOURCE = 16,
        PATH_RENAME_TARGET = 17,
        PATH_FILESTAT_GET = 18,
        PATH_FILESTAT_SET_SIZE = 19,
        PATH_FILESTAT_SET_TIMES = 20,
        FD_FILESTAT_GET = 21,
        FD_FILESTAT_SET_SIZE = 22,
        FD_FILESTAT_SET_TIMES = 23,
        PATH_SYMLINK = 24,
        PATH_REMOVE_DIRECTORY = 25,
        PATH_UNLINK_FILE = 26,
        POLL_FD_READWRITE = 27,
        SOCK_SHUTDOWN = 28,
        SOCK_ACCEPT = 29,
    }
}

impl Rights {
    /// What can be done with a directory.
    pub(crate) const DIRECTORY: Rights = Rights::PATH_CREATE_DIRECTORY
        .or(Rights::PATH_CREATE_FILE)
        .or(Rights::PATH_LINK_SOURCE)
        .or(Rights::PATH_LINK_TARGET)
        .or(Rights::PATH_OPEN)
        .or(Rights::FD_READDIR)
        .or(Rights::PATH_READLINK)
        .or(Rights::PATH_RENAME_SOURCE)
        .or(Rights::PATH_RENAME_TARGET)
        .or(Rights::PATH_FILESTAT_GET)
        .or(Rights::PATH_FILESTAT_SET_SIZE)
        .or(Rights::PATH_FILESTAT_SET_TIMES)
        .or(Rights::FD_FILESTAT_GET)
        .or(Rights::FD_FILESTAT_SET_TIMES)
        .or(Rights::FD_FDSTAT_SET_FLAGS)
        .or(Rights::FD_DATASYNC)
        .or(Rights::FD_SYNC)
        .or(Rights::PATH_SYMLINK)
        .or(Rights::PATH_REMOVE_DIRECTORY)
        .or(Rights::PATH_UNLINK_FILE);

    /// What can be done with a regular file that is open for reading and writing.
    pub(crate) const FILE: Rights = Rights::FD_DATASYNC
        .or(Rights::FD_READ)
        .or(Rights::FD_SEEK)
        .or(Rights::FD_FDSTAT_SET_FLAGS)
        .or(Rights::FD_SYNC)
        .or(Rights::FD_TELL)
        .or(Rights::FD_WRITE)
        .or(Rights::FD_ADVISE)
        .or(Rights::FD_ALLOCATE)
        .or(Rights::FD_FILESTAT_GET)
        .or(Rights::FD_FILESTAT_SET_SIZE)
        .or(Rights::FD_FILESTAT_SET_TIMES)
        .or(Rights::POLL_FD_READWRITE);

    /// What can be done with a pipe or a standard stream, both ways. No seeking: by that a C
    /// library tells a terminal from a file.
    pub(crate) const STREAM: Rights = Rights::FD_READ
        .or(Rights::FD_WRITE)
        .or(Rights::FD_FDSTAT_SET_FLAGS)
        .or(Rights::FD_FILESTAT_GET)
        .or(Rights::POLL_FD_READWRITE);
}

flags! {
    /// `fdflags` of WASI.
    pub(crate) struct FdFlags: u16 {
        APPEND = 0,
        DSYNC = 1,
        NONBLOCK = 2,
        RSYNC = 3,
        SYNC = 4,
    }
}

impl FdFlags {
    /// Those that ask for stable storage.
    pub(crate) const ANY_SYNC: FdFlags = FdFlags::DSYNC.or(FdFlags::RSYNC).or(FdFlags::SYNC);

    /// Whether the sets have a member in common.
    pub(crate) fn intersects(self, other: FdFlags) -> bool {
        (self & other) != FdFlags::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_print_their_names_and_refuse_unknown_bits() {
        assert_eq!((FdFlags::APPEND | FdFlags::SYNC).to_string(), "APPEND|SYNC");
        assert_eq!(FdFlags::default().to_string(), "0");
        assert_eq!(FdFlags::from_bits(32), None);
        assert_eq!(Rights::from_bits((1 << 30) - 1), Some(Rights::ALL));
    }
}
