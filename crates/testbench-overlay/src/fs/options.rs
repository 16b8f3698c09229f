//! How files are opened, as in `std::fs`.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::UMASK;
use super::file::File;
use super::route::{Route, route};
use crate::{Create, Follow, OpenHow};

/// How a file is to be opened. Mirrors [`std::fs::OpenOptions`].
///
/// ```
/// use testbench_overlay::fs;
/// # let dir = tempfile::tempdir()?;
/// # let _installed = testbench_overlay::install(testbench_overlay::Overlay::new(dir.path())?);
/// # let at = |name: &str| dir.path().join(name);
/// use std::io::Write as _;
/// use std::os::unix::fs::OpenOptionsExt as _;
///
/// let mut log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(at("log"))?;
/// log.write_all(b"one\n")?;
/// log.write_all(b"two\n")?;
/// assert_eq!(fs::read_to_string(at("log"))?, "one\ntwo\n");
/// assert!(fs::OpenOptions::new().write(true).create_new(true).open(at("log")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    /// `None` leaves it to the umask on the real disk, and to `0644` in a tree.
    mode: Option<u32>,
    custom_flags: i32,
}

/// Declares the options that are on or off.
macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(&mut self, $name: bool) -> &mut Self {
            self.$name = $name;
            self
        })*
    };
}

impl OpenOptions {
    /// Returns options that allow nothing yet: at least one of `read`, `write` and `append` must
    /// follow.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    switches! {
        /// Allows reading.
        read;
        /// Allows writing. Existing bytes are overwritten, and the file is not truncated.
        write;
        /// Makes every write go to the end of the file (`O_APPEND`).
        append;
        /// Cuts an existing file to nothing (`O_TRUNC`); needs `write`.
        truncate;
        /// Creates a missing file (`O_CREAT`); needs `write` or `append`.
        create;
        /// Creates the file, which must be missing (`O_CREAT | O_EXCL`); `create` and `truncate`
        /// are then ignored.
        create_new;
    }

    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`std::fs::OpenOptions::open`], among them [`io::ErrorKind::InvalidInput`] for options
    /// that do not go together, and those of the [module](super).
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let place = match route(path) {
            Ok(Route::Real) => return self.to_std().open(path).map(File::real),
            Ok(Route::Tree(place)) => Ok(place),
            Err(error) => Err(error),
        };
        // As in std, wrong options are reported before a wrong path.
        let (how, append) = self.how()?;
        File::in_tree(place?, &how, append)
    }

    /// How to open, and whether every write appends.
    fn how(&self) -> io::Result<(OpenHow, bool)> {
        self.check()?;
        let flags = self.flags()?;
        let has = |flag| flags.contains(flag);
        let create = match (self.create || has(OFlags::CREATE), has(OFlags::EXCL)) {
            _ if self.create_new => Create::New,
            (true, true) => Create::New,
            (true, false) => Create::IfMissing,
            (false, _) => Create::Never,
        };
        let how = OpenHow {
            read: self.read,
            write: self.write || self.append,
            truncate: (self.truncate && !self.create_new) || has(OFlags::TRUNC),
            create,
            directory: has(OFlags::DIRECTORY),
            follow: if has(OFlags::NOFOLLOW) { Follow::No } else { Follow::Yes },
            mode: self.mode.unwrap_or(0o666) & !UMASK,
        };
        Ok((how, self.append || has(OFlags::APPEND)))
    }

    /// The rules by which std refuses combinations before it asks the system.
    fn check(&self) -> io::Result<()> {
        let writes = self.write || self.append;
        let creates = self.create || self.create_new;
        let text = if !self.read && !writes {
            "must specify at least one of read, write, or append access"
        } else if (!writes && (self.truncate || creates))
            || (self.append && self.truncate && !self.create_new)
        {
            "creating or truncating a file requires write or append access"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// The custom flags that a tree understands, without those that change nothing in one.
    fn flags(&self) -> io::Result<OFlags> {
        let understood = OFlags::DIRECTORY
            | OFlags::NOFOLLOW
            | OFlags::APPEND
            | OFlags::TRUNC
            | OFlags::CREATE
            | OFlags::EXCL;
        let ignored = OFlags::ACCMODE
            | OFlags::CLOEXEC
            | OFlags::NOCTTY
            | OFlags::NONBLOCK
            | OFlags::SYNC
            | OFlags::DSYNC;
        #[cfg(target_os = "linux")]
        let ignored = ignored | OFlags::DIRECT | OFlags::LARGEFILE | OFlags::NOATIME;
        let flags = OFlags::from_bits_retain(self.custom_flags as _);
        let unknown = flags & !(understood | ignored);
        if unknown.is_empty() {
            return Ok(flags & understood);
        }
        let text = format!("an overlay does not know the open flags {:#o}", unknown.bits());
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    fn to_std(&self) -> std::fs::OpenOptions {
        let mut options = std::fs::OpenOptions::new();
        options
            .read(self.read)
            .write(self.write)
            .append(self.append)
            .truncate(self.truncate)
            .create(self.create)
            .create_new(self.create_new)
            .custom_flags(self.custom_flags);
        if let Some(mode) = self.mode {
            options.mode(mode);
        }
        options
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Some(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.custom_flags = flags;
        self
    }
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`], and those of the [module](super).
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing; creates it if it is missing, else truncates it.
    ///
    /// # Errors
    ///
    /// As [`File::open`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file for reading and writing, which must not exist.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`], and as [`File::open`].
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// As [`OpenOptions::new`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }
}
