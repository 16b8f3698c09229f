//! How something is opened.

/// How [`Fs::open_at`](crate::Fs::open_at) opens.
///
/// ```
/// use testbench_overlay::{Create, Fs, GuestPath, MemoryDir, OpenHow};
///
/// let tree = MemoryDir::builder().build()?;
/// let how = OpenHow { write: true, create: Create::IfMissing, mode: 0o600, ..OpenHow::READ };
/// let key = tree.open_at(&*tree.root()?, GuestPath::new("key"), &how)?;
/// assert_eq!(key.write_at(b"secret", 0)?, 6);
/// assert_eq!(key.read_at(&mut [0; 8], 0)?, 6, "for reading, too");
/// assert_eq!(key.stat()?.mode, 0o600);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHow {
    /// The content may be read.
    pub read: bool,
    /// The content may be changed; for a directory this is [`Errno::Isdir`](crate::Errno::Isdir).
    pub write: bool,
    /// Cut to length 0. That takes the permission to write, also where the handle is not to have it
    /// (`O_RDONLY | O_TRUNC`, as Linux has it).
    pub truncate: bool,
    /// Whether a missing file is created.
    pub create: Create,
    /// Anything but a directory is [`Errno::Notdir`](crate::Errno::Notdir).
    pub directory: bool,
    /// With [`Follow::No`] a symlink at the end is [`Errno::Loop`](crate::Errno::Loop).
    pub follow: Follow,
    /// The permission bits of a file that is created. No umask applies.
    pub mode: u32,
}

impl OpenHow {
    /// An existing file or directory, for reading, symlinks followed: also what other ways of
    /// opening start from.
    pub const READ: OpenHow = OpenHow {
        read: true,
        write: false,
        truncate: false,
        create: Create::Never,
        directory: false,
        follow: Follow::Yes,
        mode: 0o644,
    };
}

/// Whether [`Fs::open_at`](crate::Fs::open_at) creates a missing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// A missing file is [`Errno::Noent`](crate::Errno::Noent).
    Never,
    /// A missing file is created (`O_CREAT`).
    IfMissing,
    /// A present file, be it a dangling symlink, is [`Errno::Exist`](crate::Errno::Exist) (`O_CREAT | O_EXCL`).
    New,
}

/// Whether a symlink at the end of a path stands for itself or for what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// For itself (`O_NOFOLLOW`, `AT_SYMLINK_NOFOLLOW`).
    No,
    /// For what it points to.
    Yes,
}
