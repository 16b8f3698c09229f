//! What differs by platform.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitStatus;

/// How a child ended, in the platform's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// With this code; a parent sees its low eight bits.
    Code(u32),
    /// By `abort`.
    Aborted,
    /// By force.
    Killed,
}

#[cfg(unix)]
mod imp {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::ExitStatusExt;

    const SIGABRT: i32 = 6;
    const SIGKILL: i32 = 9;

    pub(crate) fn exit_status(status: Status) -> ExitStatus {
        // The layout of a wait status: a signal in the low seven bits, else the code above them.
        ExitStatus::from_raw(match status {
            Status::Code(code) => ((code & 0xff) as i32) << 8,
            Status::Aborted => SIGABRT,
            Status::Killed => SIGKILL,
        })
    }

    pub(crate) fn has_separator(program: &OsStr) -> bool {
        program.as_bytes().contains(&b'/')
    }

    /// A host path as a guest writes it.
    pub(crate) fn guest_path(path: &Path) -> Vec<u8> {
        path.as_os_str().as_bytes().to_vec()
    }

    /// A string of the host as a guest gets it.
    pub(crate) fn guest_bytes(text: &OsStr) -> Vec<u8> {
        text.as_bytes().to_vec()
    }
}

#[cfg(not(unix))]
mod imp {
    use super::*;
    use std::os::windows::process::ExitStatusExt;

    pub(crate) fn exit_status(status: Status) -> ExitStatus {
        // There are no signals; these are the codes with which a POSIX shell reports them.
        ExitStatus::from_raw(match status {
            Status::Code(code) => code & 0xff,
            Status::Aborted => 128 + 6,
            Status::Killed => 128 + 9,
        })
    }

    pub(crate) fn has_separator(program: &OsStr) -> bool {
        program.as_encoded_bytes().iter().any(|b| matches!(b, b'/' | b'\\' | b':'))
    }

    /// A host path as a guest writes it: `C:\x` is `/C:/x`.
    pub(crate) fn guest_path(path: &Path) -> Vec<u8> {
        let text = path.to_string_lossy().replace('\\', "/");
        if path.is_absolute() { format!("/{text}").into_bytes() } else { text.into_bytes() }
    }

    /// A string of the host as a guest gets it: guests know no UTF-16.
    pub(crate) fn guest_bytes(text: &OsStr) -> Vec<u8> {
        text.to_string_lossy().into_owned().into_bytes()
    }
}

pub(crate) use imp::{exit_status, guest_bytes, guest_path, has_separator};
