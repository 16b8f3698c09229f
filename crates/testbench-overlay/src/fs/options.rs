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
///
/// let mut log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(at("log"))?;
/// log.write_all(b"one\n")?;
/// log.write_all(b"two\n")?;
/// assert_eq!(fs::read_to_string(at("log"))?, "one\ntwo\n");
/// assert!(fs::OpenOptions::new().write(true).create_new(true).open(at("log")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
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

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions::new()
    }
}

impl OpenOptions {
    /// Nothing allowed yet: at least one of `read`, `write` and `append` is to follow.
    pub fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: None,
            custom_flags: 0,
        }
    }

    /// Whether the file may be read.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// Allows writing. Existing bytes are overwritten, and the file is not truncated.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Makes every write go to the end of the file (`O_APPEND`).
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Whether an existing file is cut to nothing (`O_TRUNC`); wants `write`.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Whether a missing file is created (`O_CREAT`); wants `write` or `append`.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Whether the file must be missing and is created (`O_CREAT | O_EXCL`); `create` and
    /// `truncate` are then ignored.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// Sets the permission bits of a new file, less the umask; as with
    /// [`OpenOptionsExt`], the extension for Unix.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Some(mode);
        self
    }

    /// Flags for the `open` of the system beside those that the other options stand for, as with
    /// the extension for Unix.
    ///
    /// In a tree `O_DIRECTORY`, `O_NOFOLLOW`, `O_APPEND`, `O_TRUNC`, `O_CREAT` and `O_EXCL` mean what
    /// they mean on the disk; those about blocking, caching and durability mean nothing, and with
    /// any other one the open fails with [`io::ErrorKind::Unsupported`].
    pub fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.custom_flags = flags;
        self
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
        // As in std, what is wrong with the options comes before what is wrong with the path.
        let (how, append) = self.how()?;
        File::in_tree(place?, &how, append)
    }

    /// How to open, and whether every write appends.
    fn how(&self) -> io::Result<(OpenHow, bool)> {
        self.check()?;
        let writes = self.write || self.append;
        let mode = self.mode.unwrap_or(0o666) & !UMASK;
        let mut how = OpenHow {
            read: self.read,
            write: writes,
            truncate: self.truncate && !self.create_new,
            create: match (self.create, self.create_new) {
                (_, true) => Create::New,
                (true, false) => Create::IfMissing,
                (false, false) => Create::Never,
            },
            directory: false,
            follow: Follow::Yes,
            mode,
        };
        let flags = self.flags()?;
        how.directory |= flags.contains(OFlags::DIRECTORY);
        how.truncate |= flags.contains(OFlags::TRUNC);
        if flags.contains(OFlags::NOFOLLOW) {
            how.follow = Follow::No;
        }
        if flags.contains(OFlags::CREATE) && how.create == Create::Never {
            how.create = Create::IfMissing;
        }
        if flags.contains(OFlags::EXCL) && how.create == Create::IfMissing {
            how.create = Create::New;
        }
        Ok((how, self.append || flags.contains(OFlags::APPEND)))
    }

    /// The rules by which std refuses combinations before it asks the system.
    fn check(&self) -> io::Result<()> {
        let writes = self.write || self.append;
        let creates = self.create || self.create_new;
        let text = match () {
            () if !self.read && !writes => {
                "must specify at least one of read, write, or append access"
            }
            () if (!writes && (self.truncate || creates))
                || (self.append && self.truncate && !self.create_new) =>
            {
                "creating or truncating a file requires write or append access"
            }
            () => return Ok(()),
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
        match unknown.is_empty() {
            true => Ok(flags & understood),
            false => {
                let text = format!("an overlay does not know the open flags {:#o}", unknown.bits());
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
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
        OpenOptions::mode(self, mode)
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        OpenOptions::custom_flags(self, flags)
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
