//! Where every system call passes that changes something on the disk.
//!
//! The gate of production is open: it is compiled away. The tests put a counter there that ends
//! the process, or fails, at the nth call.

use crate::Errno;

/// A system call that changes something on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    MakeDir,
    MakeFile,
    Write,
    SetLen,
    Symlink,
    Link,
    Rename,
    Unlink,
    RemoveDir,
    SetMode,
    SetTimes,
    SetOwner,
    SetXattr,
    Sync,
    SyncAll,
}

impl Call {
    /// The attempt, for messages.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Call::MakeDir | Call::MakeFile | Call::Symlink => "create",
            Call::Write | Call::SetLen => "write",
            Call::Link => "link",
            Call::Rename => "move",
            Call::Unlink | Call::RemoveDir => "remove",
            Call::SetMode | Call::SetTimes => "set the mode or times of",
            Call::SetOwner | Call::SetXattr => "set the owner or attributes of",
            Call::Sync | Call::SyncAll => "sync",
        }
    }
}

/// A check before each [`Call`].
pub(crate) trait Gate {
    /// How much one write takes. A mebibyte is past the size at which system calls cost anything.
    const WRITE_BYTES_MAX: usize = 1 << 20;

    /// Makes the call, or fails in its place.
    #[inline]
    fn pass<T>(&self, call: Call, run: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let _ = call;
        run()
    }
}

/// Lets everything pass.
#[derive(Debug)]
pub(crate) struct Open;

impl Gate for Open {}
