//! Permission bits, as in `std::fs`.

use std::os::unix::fs::PermissionsExt;

/// Permission bits. Mirrors [`std::fs::Permissions`] and its extension for Unix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    mode: u32,
}

impl Permissions {
    /// Returns the permissions that `chmod` sets for these bits. Bits beyond `0o7777` are dropped.
    pub fn from_mode(mode: u32) -> Permissions {
        Permissions { mode: mode & 0o7777 }
    }

    /// The bits of `chmod`, `0o7777` at most: the kind of the file is not in them, other than in
    /// std.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Sets the bits of `chmod`.
    pub fn set_mode(&mut self, mode: u32) {
        self.mode = mode & 0o7777;
    }

    /// Returns whether no write bit is set.
    pub fn readonly(&self) -> bool {
        self.mode & 0o222 == 0
    }

    /// Sets or clears all three write bits, as in std.
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
