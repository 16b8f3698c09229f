//! The kernel's part of a guest's specification.

use std::fmt;
use std::sync::Arc;

use testbench_clock::{Clock, MockClock, Seed};
use testbench_overlay::{File, Fs, ReadOnly};

use super::random::Random;
use super::stdio::{Stdin, Stdout};
use crate::error::StartError;
use crate::limits::Limits;

/// Everything that the kernel needs to make a process.
#[derive(Clone)]
pub(crate) struct ProcessSpec {
    /// Names the guest in reports.
    pub(crate) name: String,
    /// `argv[0]` first.
    pub(crate) args: Vec<Vec<u8>>,
    /// In the order given; each key once.
    pub(crate) env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Absolute; `None` is `/`, of which the guest is told nothing.
    pub(crate) cwd: Option<Vec<u8>>,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Stdout,
    pub(crate) stderr: Stdout,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the clock is a caller's, whose place the process borrows while it waits.
    pub(crate) borrows_place: bool,
    pub(crate) random: Random,
    pub(crate) limits: Limits,
}

/// A directory that a guest finds open when it starts (a preopen).
#[derive(Clone)]
pub struct Mount {
    /// The files.
    pub fs: Arc<dyn Fs>,
    /// The directory of `fs` that is mounted; `None` is its root.
    pub dir: Option<Arc<dyn File>>,
    /// Where the guest sees it, usually an absolute path.
    pub guest_path: Vec<u8>,
}

impl Mount {
    /// Mounts the root of `fs` at `guest_path`: an [`Overlay`](testbench_overlay::Overlay), a
    /// [`HostDir`](testbench_overlay::HostDir), a [`MemoryDir`](testbench_overlay::MemoryDir), or
    /// another implementation of [`Fs`].
    pub fn new(fs: Arc<dyn Fs>, guest_path: impl Into<Vec<u8>>) -> Self {
        Mount { fs, dir: None, guest_path: guest_path.into() }
    }

    /// Mounts the root of `fs` so that the guest can only read it. Other users of the tree can still
    /// change it.
    pub fn read_only(fs: Arc<dyn Fs>, guest_path: impl Into<Vec<u8>>) -> Self {
        Mount::new(Arc::new(ReadOnly::over(fs)), guest_path)
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("guest_path", &String::from_utf8_lossy(&self.guest_path))
            .finish_non_exhaustive()
    }
}

impl ProcessSpec {
    /// The defaults of [`GuestSpec`](crate::GuestSpec).
    pub(crate) fn hermetic(name: &str) -> Self {
        ProcessSpec {
            name: name.to_owned(),
            args: vec![name.as_bytes().to_vec()],
            env: Vec::new(),
            cwd: None,
            stdin: Stdin::Empty,
            stdout: Stdout::Capture,
            stderr: Stdout::Capture,
            mounts: Vec::new(),
            clock: MockClock::builder().build(),
            borrows_place: false,
            random: Seed::new(0).stream("guest").into(),
            limits: Limits::default(),
        }
    }

    /// Fails if the guest could not read an argument or a variable back as it was given.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let guest = || self.name.clone();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(index) = self.args.iter().position(|arg| arg.contains(&0)) {
            return Err(StartError::NulInArgument { guest: guest(), index });
        }
        for (key, value) in &self.env {
            let why = if key.is_empty() {
                "has an empty name"
            } else if key.contains(&b'=') {
                "has a `=` in its name"
            } else if key.contains(&0) {
                "has a NUL byte in its name"
            } else if value.contains(&0) {
                "has a NUL byte in its value"
            } else {
                continue;
            };
            return Err(StartError::Environment { guest: guest(), key: lossy(key), why });
        }
        match &self.cwd {
            Some(cwd) if cwd.first() != Some(&b'/') => {
                Err(StartError::RelativeCwd { guest: guest(), cwd: lossy(cwd) })
            }
            _ => Ok(()),
        }
    }
}
