//! The one error number of the file and process calls, and its one translation to and from
//! [`std::io::Error`].

use std::fmt;
use std::io;

/// Declares the numbers: variant, POSIX name, the platform's constant, description.
macro_rules! errnos {
    ($($variant:ident $name:ident $os:ident $text:literal;)*) => {
        /// Why an operation failed, by its POSIX name; [`Errno::NotCapable`] is WASI's.
        ///
        /// ```
        /// use std::io;
        /// use testbench_overlay::Errno;
        ///
        /// let error = io::Error::from(Errno::Noent);
        /// assert_eq!(error.kind(), io::ErrorKind::NotFound);
        /// assert_eq!(Errno::from(&error), Errno::Noent);
        /// assert_eq!(Errno::Noent.to_string(), "no such file or directory (ENOENT)");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Errno {
            $(#[doc = concat!("`", stringify!($name), "`: ", $text, ".")] $variant,)*
            /// `ENOTCAPABLE` of WASI: the path leads out of the directory, or the descriptor lacks
            /// the right. As an [`io::Error`] it is [`io::ErrorKind::PermissionDenied`].
            NotCapable,
        }

        impl Errno {
            /// All errors, in the order of their names; [`Errno::NotCapable`] comes last.
            pub const ALL: &[Errno] = &[$(Errno::$variant,)* Errno::NotCapable];

            /// The POSIX name, such as `ENOENT`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Errno::$variant => stringify!($name),)*
                    Errno::NotCapable => "ENOTCAPABLE",
                }
            }

            /// A description in a few words.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Errno::$variant => $text,)*
                    Errno::NotCapable => "path leads outside of what may be reached",
                }
            }

            fn to_os(self) -> Option<i32> {
                match self {
                    $(Errno::$variant => Some(rustix::io::Errno::$os.raw_os_error()),)*
                    Errno::NotCapable => None,
                }
            }

            fn from_os(raw: i32) -> Option<Errno> {
                Errno::ALL.iter().copied().find(|errno| errno.to_os() == Some(raw))
            }
        }
    };
}

errnos! {
    Acces EACCES ACCESS "permission denied";
    Again EAGAIN AGAIN "resource unavailable, try again";
    Badf EBADF BADF "bad file descriptor";
    Busy EBUSY BUSY "device or resource busy";
    Canceled ECANCELED CANCELED "operation canceled";
    Connrefused ECONNREFUSED CONNREFUSED "connection refused";
    Deadlk EDEADLK DEADLK "resource deadlock would occur";
    Dom EDOM DOM "argument out of domain";
    Dquot EDQUOT DQUOT "quota exceeded";
    Exist EEXIST EXIST "file exists";
    Fault EFAULT FAULT "bad address";
    Fbig EFBIG FBIG "file too large";
    Ilseq EILSEQ ILSEQ "illegal byte sequence";
    Intr EINTR INTR "interrupted function";
    Inval EINVAL INVAL "invalid argument";
    Io EIO IO "i/o error";
    Isdir EISDIR ISDIR "is a directory";
    Loop ELOOP LOOP "too many levels of symbolic links";
    Mfile EMFILE MFILE "too many open files";
    Mlink EMLINK MLINK "too many links";
    Nametoolong ENAMETOOLONG NAMETOOLONG "file name too long";
    Nfile ENFILE NFILE "too many open files in system";
    Noent ENOENT NOENT "no such file or directory";
    Nomem ENOMEM NOMEM "not enough memory";
    Nospc ENOSPC NOSPC "no space left on device";
    Nosys ENOSYS NOSYS "function not supported";
    Notdir ENOTDIR NOTDIR "not a directory";
    Notempty ENOTEMPTY NOTEMPTY "directory not empty";
    Notsock ENOTSOCK NOTSOCK "not a socket";
    Notsup EOPNOTSUPP OPNOTSUPP "not supported";
    Notty ENOTTY NOTTY "inappropriate i/o control operation";
    Nxio ENXIO NXIO "no such device or address";
    Overflow EOVERFLOW OVERFLOW "value too large";
    Perm EPERM PERM "operation not permitted";
    Pipe EPIPE PIPE "broken pipe";
    Range ERANGE RANGE "result too large";
    Rofs EROFS ROFS "read-only file system";
    Spipe ESPIPE SPIPE "invalid seek";
    Srch ESRCH SRCH "no such process";
    Stale ESTALE STALE "stale file handle";
    Txtbsy ETXTBSY TXTBSY "text file busy";
    Xdev EXDEV XDEV "cross-device link";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.description(), self.name())
    }
}

impl std::error::Error for Errno {}

/// The error carries the platform's number, so that its kind and text are those of a real file
/// system.
impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        match errno.to_os() {
            Some(raw) => io::Error::from_raw_os_error(raw),
            None => io::Error::new(io::ErrorKind::PermissionDenied, errno),
        }
    }
}

/// An error without a number becomes the first [`Errno`] of its kind, else [`Errno::Io`].
impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Errno {
        if let Some(errno) = error.get_ref().and_then(|inner| inner.downcast_ref::<Errno>()) {
            return *errno;
        }
        let found = match (error.raw_os_error(), error.kind()) {
            (Some(raw), _) => Errno::from_os(raw),
            // No number of the platform has this kind.
            (None, io::ErrorKind::InvalidData) => Some(Errno::Ilseq),
            (None, kind) => {
                Errno::ALL.iter().copied().find(|errno| io::Error::from(*errno).kind() == kind)
            }
        };
        found.unwrap_or(Errno::Io)
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        Errno::from(&error)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Errno {
        Errno::from_os(errno.raw_os_error()).unwrap_or(Errno::Io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_way_to_io_error_and_back() {
        for errno in Errno::ALL {
            assert_eq!(Errno::from(io::Error::from(*errno)), *errno);
        }
    }

    #[test]
    fn an_error_without_a_number_keeps_its_kind() {
        let error = io::Error::from(io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(Errno::from(error), Errno::Notempty);
        assert_eq!(io::Error::from(Errno::NotCapable).kind(), io::ErrorKind::PermissionDenied);
    }
}
