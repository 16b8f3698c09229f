//! Differences between platforms.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitStatus;

/// A descriptor of a pipe, a file or a terminal.
#[cfg(unix)]
pub(crate) type OwnedPipe = std::os::fd::OwnedFd;
/// A handle of a pipe, a file or a terminal.
#[cfg(not(unix))]
pub(crate) type OwnedPipe = std::os::windows::io::OwnedHandle;

/// Converts the handle to a `File`, which std can read, write and duplicate.
pub(crate) fn file_of(pipe: impl Into<OwnedPipe>) -> std::fs::File {
    std::fs::File::from(pipe.into())
}

/// By force.
pub(crate) const SIGKILL: i32 = 9;
/// By `abort`.
pub(crate) const SIGABRT: i32 = 6;

#[cfg(unix)]
mod imp {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::ExitStatusExt;

    /// The status with which a POSIX shell reports how a child ended.
    pub(crate) fn shell_status(status: ExitStatus) -> i32 {
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
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

    /// The inverse of [`guest_bytes`].
    pub(crate) fn os_string(bytes: impl Into<Vec<u8>>) -> OsString {
        std::os::unix::ffi::OsStringExt::from_vec(bytes.into())
    }

    /// Whether this is the end by force.
    pub(crate) fn is_killed(status: ExitStatus) -> bool {
        status.signal() == Some(SIGKILL)
    }
}

#[cfg(not(unix))]
mod imp {
    use super::*;
    use std::os::windows::process::ExitStatusExt;

    /// The status with which a POSIX shell reports how a child ended.
    pub(crate) fn shell_status(status: ExitStatus) -> i32 {
        status.code().unwrap_or(1)
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

    /// The inverse of [`guest_bytes`].
    pub(crate) fn os_string(bytes: impl Into<Vec<u8>>) -> OsString {
        String::from_utf8_lossy(&bytes.into()).into_owned().into()
    }

    /// Whether this may be the end by force, which the status does not tell.
    pub(crate) fn is_killed(status: ExitStatus) -> bool {
        !status.success()
    }
}

/// The rest of `path` after `dir`, if `path` starts with its components.
pub(crate) fn beneath<'a>(path: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    match path.strip_prefix(dir)? {
        [] => Some(&[]),
        // More slashes may follow, and the rest must not look absolute.
        [b'/', rest @ ..] => {
            let start = rest.iter().position(|b| *b != b'/').unwrap_or(rest.len());
            Some(&rest[start..])
        }
        _ => None,
    }
}

/// The kernel's number of this thread; 0 where it is of no use.
pub(crate) fn thread_id() -> u32 {
    #[cfg(target_os = "linux")]
    return rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    #[cfg(not(target_os = "linux"))]
    return 0;
}

/// Blocks until the child `pid` of this process has ended, without reaping it; returns at once where
/// the platform cannot do that.
pub(crate) fn wait_for_end(pid: u32) {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pid;
}

pub(crate) use imp::{guest_bytes, guest_path, has_separator, is_killed, os_string, shell_status};
