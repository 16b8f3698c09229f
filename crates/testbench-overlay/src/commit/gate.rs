//! Where every system call passes that changes something on the disk.
//!
//! The gate of production is open. The tests put a counter there that ends the process, or fails, at
//! the nth call.

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
    /// Returns the most bytes that one write takes. With more, a system call costs nothing beside
    /// them.
    fn write_bytes_max(&self) -> usize {
        1 << 20
    }

    /// Lets the call be made, or returns the error that it fails with.
    fn pass(&self, call: Call) -> Result<(), Errno>;
}

/// Lets everything pass.
#[derive(Debug)]
pub(crate) struct Open;

impl Gate for Open {
    fn pass(&self, _: Call) -> Result<(), Errno> {
        Ok(())
    }
}
