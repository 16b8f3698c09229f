//! Permission bits, as in `std::fs`.

use std::os::unix::fs::PermissionsExt;

/// Permission bits. Mirrors [`std::fs::Permissions`] and its extension for Unix.
///
/// ```
/// use testbench_overlay::fs::Permissions;
///
/// let mut permissions = Permissions::from_mode(0o644);
/// assert!(!permissions.readonly());
/// permissions.set_readonly(true);
/// assert_eq!(permissions.mode(), 0o444);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    mode: u32,
}

impl Permissions {
    /// The permissions that `chmod` gives for these bits. What is not among `0o7777` is left out.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// fs::write(at("run"), "")?;
    /// fs::set_permissions(at("run"), fs::Permissions::from_mode(0o755))?;
    /// assert_eq!(fs::metadata(at("run"))?.permissions().mode(), 0o755);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_mode(mode: u32) -> Permissions {
        Permissions { mode: mode & 0o7777 }
    }

    /// The bits of `chmod`, `0o7777` at most: the kind of the file is not in them, other than in
    /// std.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// fs::create_dir(at("d"))?;
    /// assert_eq!(fs::metadata(at("d"))?.permissions().mode(), 0o755);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Sets the bits of `chmod`.
    ///
    /// ```
    /// use testbench_overlay::fs;
    /// # let dir = tempfile::tempdir()?;
    /// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
    /// # let at = |name: &str| dir.path().join(name);
    /// fs::write(at("run"), "")?;
    /// let mut permissions = fs::metadata(at("run"))?.permissions();
    /// permissions.set_mode(permissions.mode() | 0o111);
    /// fs::set_permissions(at("run"), permissions)?;
    /// assert_eq!(fs::metadata(at("run"))?.permissions().mode(), 0o755);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_mode(&mut self, mode: u32) {
        self.mode = mode & 0o7777;
    }

    /// Whether no write bit is set, so that nobody may write.
    ///
    /// ```
    /// use testbench_overlay::fs::Permissions;
    ///
    /// assert!(Permissions::from_mode(0o555).readonly());
    /// assert!(!Permissions::from_mode(0o575).readonly(), "the group may");
    /// ```
    pub fn readonly(&self) -> bool {
        self.mode & 0o222 == 0
    }

    /// Sets or clears all three write bits, as in std.
    ///
    /// ```
    /// use testbench_overlay::fs::Permissions;
    ///
    /// let mut permissions = Permissions::from_mode(0o400);
    /// permissions.set_readonly(false);
    /// assert_eq!(permissions.mode(), 0o622, "for all three");
    /// ```
    pub fn set_readonly(&mut self, readonly: bool) {
        if readonly {
            self.mode &= !0o222;
        } else {
            self.mode |= 0o222;
        }
    }
}

impl PermissionsExt for Permissions {
    fn mode(&self) -> u32 {
        self.mode
    }

    fn set_mode(&mut self, mode: u32) {
        Permissions::set_mode(self, mode);
    }

    fn from_mode(mode: u32) -> Permissions {
        Permissions::from_mode(mode)
    }
}

impl From<std::fs::Permissions> for Permissions {
    fn from(real: std::fs::Permissions) -> Permissions {
        Permissions::from_mode(real.mode())
    }
}

impl From<Permissions> for std::fs::Permissions {
    fn from(ours: Permissions) -> std::fs::Permissions {
        PermissionsExt::from_mode(ours.mode)
    }
}
