//! WASI's two sets of flags: the operations that a descriptor allows, and the behaviour of its file.
//!
//! As in wasmtime, an opened file gets all the rights of its kind that its directory passes on, and
//! reading and writing only on request. So a program that never narrows rights never notices them.
//! `fd_fdstat_set_rights` narrows and never widens: the operations that were given up then fail with
//! `ENOTCAPABLE`.

use bitflags::{Flags, bitflags};

bitflags! {
    /// `rights` of WASI.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Rights: u64 {
        const FD_DATASYNC = 1 << 0;
        const FD_READ = 1 << 1;
        const FD_SEEK = 1 << 2;
        const FD_FDSTAT_SET_FLAGS = 1 << 3;
        const FD_SYNC = 1 << 4;
        const FD_TELL = 1 << 5;
        const FD_WRITE = 1 << 6;
        const FD_ADVISE = 1 << 7;
        const FD_ALLOCATE = 1 << 8;
        const PATH_CREATE_DIRECTORY = 1 << 9;
        const PATH_CREATE_FILE = 1 << 10;
        const PATH_LINK_SOURCE = 1 << 11;
        const PATH_LINK_TARGET = 1 << 12;
        const PATH_OPEN = 1 << 13;
        const FD_READDIR = 1 << 14;
        const PATH_READLINK = 1 << 15;
        const PATH_RENAME_SOURCE = 1 << 16;
        const PATH_RENAME_TARGET = 1 << 17;
        const PATH_FILESTAT_GET = 1 << 18;
        const PATH_FILESTAT_SET_SIZE = 1 << 19;
        const PATH_FILESTAT_SET_TIMES = 1 << 20;
        const FD_FILESTAT_GET = 1 << 21;
        const FD_FILESTAT_SET_SIZE = 1 << 22;
        const FD_FILESTAT_SET_TIMES = 1 << 23;
        const PATH_SYMLINK = 1 << 24;
        const PATH_REMOVE_DIRECTORY = 1 << 25;
        const PATH_UNLINK_FILE = 1 << 26;
        const POLL_FD_READWRITE = 1 << 27;
        const SOCK_SHUTDOWN = 1 << 28;
        const SOCK_ACCEPT = 1 << 29;
    }
}

impl Rights {
    /// The rights of a directory: all but those for contents, sizes, polling and sockets.
    pub(crate) const DIRECTORY: Rights = Rights::all()
        .difference(Rights::FD_READ)
        .difference(Rights::FD_WRITE)
        .difference(Rights::FD_SEEK)
        .difference(Rights::FD_TELL)
        .difference(Rights::FD_ADVISE)
        .difference(Rights::FD_ALLOCATE)
        .difference(Rights::FD_FILESTAT_SET_SIZE)
        .difference(Rights::POLL_FD_READWRITE)
        .difference(Rights::SOCK_SHUTDOWN)
        .difference(Rights::SOCK_ACCEPT);

    /// The rights of a regular file that is open for reading and writing.
    pub(crate) const FILE: Rights = Rights::FD_DATASYNC
        .union(Rights::FD_READ)
        .union(Rights::FD_SEEK)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_SYNC)
        .union(Rights::FD_TELL)
        .union(Rights::FD_WRITE)
        .union(Rights::FD_ADVISE)
        .union(Rights::FD_ALLOCATE)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_FILESTAT_SET_SIZE)
        .union(Rights::FD_FILESTAT_SET_TIMES)
        .union(Rights::POLL_FD_READWRITE);

    /// The rights of a pipe or a standard stream, in both directions. It cannot seek: by that a C
    /// library tells a terminal from a file.
    pub(crate) const STREAM: Rights = Rights::FD_READ
        .union(Rights::FD_WRITE)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::POLL_FD_READWRITE);
}

bitflags! {
    /// `fdflags` of WASI.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct FdFlags: u16 {
        const APPEND = 1 << 0;
        const DSYNC = 1 << 1;
        const NONBLOCK = 1 << 2;
        const RSYNC = 1 << 3;
        const SYNC = 1 << 4;
    }
}

impl FdFlags {
    /// The flags that ask for stable storage.
    pub(crate) const ANY_SYNC: FdFlags = FdFlags::DSYNC.union(FdFlags::RSYNC).union(FdFlags::SYNC);
}

/// Returns the names of a set's members with `|` between them; `0` for no member, `ALL` for all.
pub(crate) fn names<F: Flags>(set: &F) -> String {
    let names: Vec<&str> = set.iter_names().map(|(name, _)| name).collect();
    match names.len() {
        0 => "0".to_owned(),
        2.. if set.is_all() => "ALL".to_owned(),
        _ => names.join("|"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_print_their_names_and_refuse_unknown_bits() {
        assert_eq!(names(&(FdFlags::APPEND | FdFlags::SYNC)), "APPEND|SYNC");
        assert_eq!(names(&FdFlags::default()), "0");
        assert_eq!(FdFlags::from_bits(32), None);
        assert_eq!(Rights::from_bits((1 << 30) - 1), Some(Rights::all()));
        assert_eq!(names(&Rights::all()), "ALL");
        assert_eq!(Rights::DIRECTORY.bits().count_ones(), 20);
    }
}
