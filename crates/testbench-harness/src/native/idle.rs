//! [`look`]: whether a native child waits for its parent, and for nothing else.
//!
//! On Linux, `/proc` shows this. Each thread of the child and of its descendants, and each copying
//! thread, must be blocked in a call that only another process can end, such as a read from a pipe.
//! None of them may have run between two looks. Then there was an instant at which all were blocked,
//! and only the timeline can start anything after it. A sleep, a socket, a terminal or a poll with a
//! timeout is not such a call: it ends by itself.
//!
//! On other systems, and if the kernel does not tell, the caller guesses: nothing moved for a while.

use super::hold::Sight;

/// The result of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Everything waits for the timeline.
    Idle,
    /// A thread runs, or waits for something else.
    Busy,
    /// The system does not tell.
    Unknown,
}

/// Looks at the child `pid` and at the copying threads.
pub(crate) fn look(pid: u32, sight: &Sight) -> Look {
    imp::look(pid, sight)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod imp {
    #![allow(clippy::disallowed_methods, reason = "the kernel tells of processes in files")]

    use std::fs;
    use std::io;

    use super::{Look, Sight};

    /// A child with more processes counts as busy, without a closer look.
    const PROCESSES_MAX: usize = 256;

    /// A blocked thread: its process, its id, and how often it has run.
    type Blocked = (u32, u32, u64);

    pub(super) fn look(pid: u32, sight: &Sight) -> Look {
        match (snapshot(pid, sight), snapshot(pid, sight)) {
            (Ok(Some(one)), Ok(Some(two))) if one == two => Look::Idle,
            (Ok(_), Ok(_)) => Look::Busy,
            _ => Look::Unknown,
        }
    }

    /// Returns every thread, if all are blocked until another process acts.
    fn snapshot(pid: u32, sight: &Sight) -> io::Result<Option<Vec<Blocked>>> {
        let mut blocked = Vec::new();
        let own = std::process::id();
        for thread in &sight.threads {
            let Some(found) = thread_blocked(own, *thread)? else { return Ok(None) };
            blocked.push(found);
        }
        if !sight.reaped && is_dead(pid)? {
            // The child has ended, and its parent is about to report that.
            return Ok(None);
        }
        let mut left = if sight.reaped { Vec::new() } else { vec![pid] };
        let mut seen = 0;
        while let Some(pid) = left.pop() {
            seen += 1;
            if seen > PROCESSES_MAX {
                return Ok(None);
            }
            for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
                let Some(thread) = entry?.file_name().to_str().and_then(|name| name.parse().ok())
                else {
                    continue;
                };
                let Some(found) = thread_blocked(pid, thread)? else { return Ok(None) };
                blocked.push(found);
                let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"))?;
                left.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
        }
        Ok(Some(blocked))
    }

    /// Whether every thread of a process has ended, and its parent has not fetched its status yet.
    fn is_dead(pid: u32) -> io::Result<bool> {
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = fs::read_to_string(entry?.path().join("status"))?;
            if !is_zombie(&status) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_zombie(status: &str) -> bool {
        field(status, "State:").is_some_and(|state| state.starts_with('Z'))
    }

    /// Returns the thread if only another process can wake it, else `None`.
    fn thread_blocked(pid: u32, thread: u32) -> io::Result<Option<Blocked>> {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status"))?;
        if is_zombie(&status) {
            // It stays until its parent fetches its status.
            return Ok(Some((pid, thread, 0)));
        }
        let call = fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall"))?;
        if !call_args(&call).is_some_and(|(call, args)| is_for_good(pid, call, args)) {
            return Ok(None);
        }
        let ran = |kind| field(&status, kind).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        let ran = ran("voluntary_ctxt_switches:") + ran("nonvoluntary_ctxt_switches:");
        Ok(Some((pid, thread, ran)))
    }

    fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
    }

    /// Parses the system call in which a thread is blocked, with its arguments: `0 0x3 0x7ffe… …`.
    /// Returns `None` if the thread is in no call.
    fn call_args(text: &str) -> Option<(libc::c_long, [u64; 6])> {
        let mut words = text.split_whitespace();
        let call = words.next()?.parse().ok()?;
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
        }
        Some((call, args))
    }

    /// Whether only another process can end the call.
    fn is_for_good(pid: u32, call: libc::c_long, args: [u64; 6]) -> bool {
        let polls_forever = |without_timeout| without_timeout && has_pipes_alone(pid);
        match call {
            libc::SYS_read | libc::SYS_write | libc::SYS_readv | libc::SYS_writev => {
                is_pipe(pid, args[0])
            }
            libc::SYS_splice => is_pipe(pid, args[0]) && is_pipe(pid, args[2]),
            libc::SYS_wait4 | libc::SYS_waitid | libc::SYS_rt_sigsuspend => true,
            libc::SYS_futex => args[3] == 0,
            libc::SYS_ppoll => polls_forever(args[2] == 0),
            libc::SYS_pselect6 => polls_forever(args[4] == 0),
            libc::SYS_epoll_pwait => polls_forever(args[3] as u32 == u32::MAX),
            // The older forms, which aarch64 does not have.
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll => polls_forever(args[2] as u32 == u32::MAX),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait => polls_forever(args[3] as u32 == u32::MAX),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_select => polls_forever(args[4] == 0),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_pause => true,
            _ => false,
        }
    }

    fn is_pipe(pid: u32, fd: u64) -> bool {
        let target = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        target.is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"pipe:"))
    }

    /// Whether nothing that the process has open can wake it by itself.
    fn has_pipes_alone(pid: u32) -> bool {
        let wakes_by_itself: [&[u8]; 5] = [
            b"socket:",
            b"anon_inode:[timerfd]",
            b"anon_inode:inotify",
            b"anon_inode:[signalfd]",
            b"/dev/",
        ];
        let harmless: [&[u8]; 2] = [b"/dev/null", b"/dev/zero"];
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().all(|fd| {
            let Ok(target) = fs::read_link(fd.path()) else { return false };
            let target = target.as_os_str().as_encoded_bytes();
            harmless.contains(&target) || !wakes_by_itself.iter().any(|t| target.starts_with(t))
        })
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod imp {
    use super::{Look, Sight};

    pub(super) fn look(_: u32, _: &Sight) -> Look {
        Look::Unknown
    }
}
