//! [`FuseOptions`]: how an overlay is mounted.

use std::time::Duration;

use fuser::{Config, MountOption, SessionACL};

/// More than one thread serves requests, because a fault's latency or a slow disk may hold up one of them.
/// More than a few would wait for each other, since an overlay changes under one lock.
const THREADS: usize = 4;

/// How an overlay is mounted. By default only the user that mounts it may use it, it is writable, and
/// the kernel caches nothing that may change.
///
/// ```no_run
/// use testbench_mount::FuseOptions;
/// use testbench_overlay::Overlay;
///
/// // For several users: the kernel checks permissions, and the overlay does not check them again.
/// let overlay = Overlay::builder("/srv/site").as_root(true).build()?;
/// let mount = FuseOptions::new().allow_others(true).mount(&overlay, "/mnt")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FuseOptions {
    allow_others: bool,
    read_only: bool,
    pub(crate) cache: Duration,
}

impl FuseOptions {
    /// Returns the defaults.
    pub fn new() -> FuseOptions {
        FuseOptions::default()
    }

    /// Lets other users in, as far as owners and modes permit (`allow_other`). Users other than root need
    /// `user_allow_other` in `/etc/fuse.conf` for it.
    pub fn allow_others(mut self, allow: bool) -> FuseOptions {
        self.allow_others = allow;
        self
    }

    /// Makes every change through the mount fail with `EROFS`.
    pub fn read_only(mut self, read_only: bool) -> FuseOptions {
        self.read_only = read_only;
        self
    }

    /// Lets the kernel keep the result of a look-up for `duration` (zero by default), which saves most of
    /// its requests. A change made by other ways than the mount may show that much later.
    pub fn cache_for(mut self, duration: Duration) -> FuseOptions {
        self.cache = duration;
        self
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("testbench-overlay".to_owned()),
            MountOption::Subtype("testbench".to_owned()),
            MountOption::DefaultPermissions,
        ];
        if self.read_only {
            config.mount_options.push(MountOption::RO);
        }
        config.acl = if self.allow_others { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(THREADS);
        config
    }
}
