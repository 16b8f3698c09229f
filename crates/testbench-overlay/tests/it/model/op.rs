//! The operations, and the one way to do them on either subject.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, DirEntryExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::digest;
use crate::model::tree::{Facts, Kind, Look};

/// How many files can be held open from one step to another.
pub(crate) const SLOTS: usize = 3;

/// One operation, on names below the root. Complete in itself: a list of them can be done again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Write(String, Bytes),
    Append(String, Bytes),
    WriteAt(String, u64, Bytes),
    SetLen(String, u64),
    CreateNew(String),
    Read(String),
    CreateDir(String),
    CreateDirMode(String, u32),
    CreateDirAll(String),
    RemoveFile(String),
    RemoveDir(String),
    RemoveDirAll(String),
    Rename(String, String),
    /// Where nothing is, as `RENAME_NOREPLACE`.
    RenameNew(String, String),
    /// As `RENAME_EXCHANGE`.
    Exchange(String, String),
    HardLink(String, String),
    Symlink(String, String),
    ReadLink(String),
    Copy(String, String),
    Chmod(String, u32),
    SetTimes(String, u64),
    Stat(String),
    Lstat(String),
    Exists(String),
    ReadDir(String),
    Canonicalize(String),
    /// Into a slot, in which it stays.
    Open(usize, String, How),
    Clone(usize, usize),
    Close(usize),
    ReadHeld(usize, usize),
    WriteHeld(usize, Bytes),
    Seek(usize, SeekFrom),
    ReadAtHeld(usize, u64, usize),
    WriteAtHeld(usize, u64, Bytes),
    SetLenHeld(usize, u64),
    StatHeld(usize),
    ChmodHeld(usize, u32),
    SetTimesHeld(usize, u64),
    SyncHeld(usize),
    /// A checkpoint, and a copy of the plain tree.
    Save,
    /// Back to the one and the other.
    Restore,
}

/// How to open a file.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct How {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) directory: bool,
    pub(crate) nofollow: bool,
    pub(crate) mode: Option<u32>,
}

impl fmt::Debug for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.read, "READ"),
            (self.write, "WRITE"),
            (self.append, "APPEND"),
            (self.truncate, "TRUNC"),
            (self.create, "CREAT"),
            (self.create_new, "EXCL"),
            (self.directory, "DIRECTORY"),
            (self.nofollow, "NOFOLLOW"),
        ];
        let set: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        f.write_str(&set.join("|"))?;
        self.mode.map_or(Ok(()), |mode| write!(f, " {mode:#o}"))
    }
}

impl How {
    fn flags(self) -> i32 {
        use rustix::fs::OFlags;
        let directory = if self.directory { OFlags::DIRECTORY } else { OFlags::empty() };
        let nofollow = if self.nofollow { OFlags::NOFOLLOW } else { OFlags::empty() };
        (directory | nofollow).bits() as i32
    }
}

/// Content that a line of text describes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bytes {
    pub(crate) len: usize,
    pub(crate) tag: u8,
}

impl Bytes {
    pub(crate) fn make(self) -> Vec<u8> {
        let letter = |i: usize| match i % 61 {
            60 => b'\n',
            i => b'a' + ((i as u8 / 7) ^ self.tag) % 26,
        };
        (0..self.len).map(letter).collect()
    }
}

impl Op {
    /// The paths in it.
    pub(crate) fn paths(&self) -> Vec<&str> {
        match self {
            Op::Write(p, ..)
            | Op::Append(p, ..)
            | Op::WriteAt(p, ..)
            | Op::SetLen(p, ..)
            | Op::CreateNew(p)
            | Op::Read(p)
            | Op::CreateDir(p)
            | Op::CreateDirMode(p, ..)
            | Op::CreateDirAll(p)
            | Op::RemoveFile(p)
            | Op::RemoveDir(p)
            | Op::RemoveDirAll(p)
            | Op::Symlink(_, p)
            | Op::ReadLink(p)
            | Op::Chmod(p, ..)
            | Op::SetTimes(p, ..)
            | Op::Stat(p)
            | Op::Lstat(p)
            | Op::Exists(p)
            | Op::ReadDir(p)
            | Op::Canonicalize(p)
            | Op::Open(_, p, ..) => vec![p],
            Op::Rename(a, b)
            | Op::RenameNew(a, b)
            | Op::Exchange(a, b)
            | Op::HardLink(a, b)
            | Op::Copy(a, b) => vec![a, b],
            _ => Vec::new(),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Op::Write(..) => "write",
            Op::Append(..) => "append",
            Op::WriteAt(..) => "write_at",
            Op::SetLen(..) => "set_len",
            Op::CreateNew(..) => "create_new",
            Op::Read(..) => "read",
            Op::CreateDir(..) => "create_dir",
            Op::CreateDirMode(..) => "create_dir+mode",
            Op::CreateDirAll(..) => "create_dir_all",
            Op::RemoveFile(..) => "remove_file",
            Op::RemoveDir(..) => "remove_dir",
            Op::RemoveDirAll(..) => "remove_dir_all",
            Op::Rename(..) => "rename",
            Op::RenameNew(..) => "rename_noreplace",
            Op::Exchange(..) => "rename_exchange",
            Op::HardLink(..) => "hard_link",
            Op::Symlink(..) => "symlink",
            Op::ReadLink(..) => "read_link",
            Op::Copy(..) => "copy",
            Op::Chmod(..) => "chmod",
            Op::SetTimes(..) => "set_times",
            Op::Stat(..) => "stat",
            Op::Lstat(..) => "lstat",
            Op::Exists(..) => "exists",
            Op::ReadDir(..) => "read_dir",
            Op::Canonicalize(..) => "canonicalize",
            Op::Open(..) => "open",
            Op::Clone(..) => "try_clone",
            Op::Close(..) => "close",
            Op::ReadHeld(..) => "f.read",
            Op::WriteHeld(..) => "f.write",
            Op::Seek(..) => "f.seek",
            Op::ReadAtHeld(..) => "f.read_at",
            Op::WriteAtHeld(..) => "f.write_at",
            Op::SetLenHeld(..) => "f.set_len",
            Op::StatHeld(..) => "f.metadata",
            Op::ChmodHeld(..) => "f.chmod",
            Op::SetTimesHeld(..) => "f.set_times",
            Op::SyncHeld(..) => "f.sync",
            Op::Save => "checkpoint",
            Op::Restore => "rollback",
        }
    }
}

/// `std::fs`, or what mirrors it: runs operations, and shows what is there.
pub(crate) trait Subject: Default + Look {
    /// What came of it, in a form that can be compared.
    fn run(&mut self, root: &Path, op: &Op) -> io::Result<String>;

    fn is_open(&self, slot: usize) -> bool;

    fn close_all(&mut self) {
        *self = Self::default();
    }
}

/// Whole seconds after 1970, all of them long ago.
fn time(secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
}

/// std cannot do this by path yet.
fn set_times_on_disk(path: PathBuf, at: SystemTime) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let secs = at.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs as i64, tv_nsec: 0 },
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

fn set_times_in_overlay(path: PathBuf, at: SystemTime) -> io::Result<()> {
    let times = testbench_overlay::fs::FileTimes::new().set_modified(at);
    testbench_overlay::fs::set_times(path, times)
}

/// Of this std knows nothing.
fn rename_on_disk(root: &Path, from: &str, to: &str, exchange: bool) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let how = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    Ok(renameat_with(CWD, join(root, from), CWD, join(root, to), how)?)
}

fn rename_in_overlay(_: &Path, from: &str, to: &str, exchange: bool) -> io::Result<()> {
    use testbench_overlay::{Fs as _, GuestPath, Renaming};
    let how = if exchange { Renaming::Exchange } else { Renaming::New };
    let testbench_clock::Lookup::Open(overlay) = testbench_overlay::active() else {
        return no_handle();
    };
    let top = overlay.root()?;
    let (from, to) = (GuestPath::new(from), GuestPath::new(to));
    Ok(overlay.rename_with(&*top, from, &*top, to, how)?)
}

fn no_handle<T>() -> io::Result<T> {
    Err(io::Error::other("nothing is open there"))
}

macro_rules! subject {
    ($name:ident, $($fs:ident)::+, $symlink:path, $set_times:path, $rename:path) => {
        #[derive(Default)]
        pub(crate) struct $name {
            slots: [Option<$($fs)::+::File>; SLOTS],
        }

        impl Subject for $name {
            fn run(&mut self, root: &Path, op: &Op) -> io::Result<String> {
                match op {
                    Op::Open(slot, path, how) => self.open(*slot, &join(root, path), *how),
                    Op::Close(slot) => {
                        self.slots[*slot] = None;
                        Ok(String::new())
                    }
                    Op::Clone(from, to) => match &self.slots[*from] {
                        Some(file) => {
                            self.slots[*to] = Some(file.try_clone()?);
                            Ok(String::new())
                        }
                        None => no_handle(),
                    },
                    Op::ReadHeld(slot, ..)
                    | Op::WriteHeld(slot, ..)
                    | Op::Seek(slot, ..)
                    | Op::ReadAtHeld(slot, ..)
                    | Op::WriteAtHeld(slot, ..)
                    | Op::SetLenHeld(slot, ..)
                    | Op::StatHeld(slot)
                    | Op::ChmodHeld(slot, ..)
                    | Op::SetTimesHeld(slot, ..)
                    | Op::SyncHeld(slot) => match &mut self.slots[*slot] {
                        Some(file) => Self::on_file(file, op),
                        None => no_handle(),
                    },
                    _ => Self::on_path(root, op),
                }
            }

            fn is_open(&self, slot: usize) -> bool {
                self.slots[slot].is_some()
            }
        }

        impl Look for $name {
            fn list(path: &Path) -> io::Result<Vec<(OsString, u64)>> {
                let entries = $($fs)::+::read_dir(path)?;
                entries.map(|entry| entry.map(|entry| (entry.file_name(), entry.ino()))).collect()
            }

            fn facts(path: &Path) -> io::Result<Facts> {
                let m = $($fs)::+::symlink_metadata(path)?;
                let kind = match (m.is_dir(), m.is_symlink()) {
                    (true, _) => Kind::Dir,
                    (_, true) => Kind::Link,
                    _ => Kind::File,
                };
                let (mode, mtime) = (m.mode() & 0o7777, m.modified()?);
                Ok(Facts { kind, mode, ino: m.ino(), nlink: m.nlink(), mtime })
            }

            fn read(path: &Path) -> io::Result<Vec<u8>> {
                $($fs)::+::read(path)
            }

            fn read_link(path: &Path) -> io::Result<PathBuf> {
                $($fs)::+::read_link(path)
            }
        }

        impl $name {
            fn open(&mut self, slot: usize, path: &Path, how: How) -> io::Result<String> {
                let mut options = $($fs)::+::OpenOptions::new();
                options
                    .read(how.read)
                    .write(how.write)
                    .append(how.append)
                    .truncate(how.truncate)
                    .create(how.create)
                    .create_new(how.create_new);
                if let Some(mode) = how.mode {
                    options.mode(mode);
                }
                options.custom_flags(how.flags());
                // What was open there is so until the new one is.
                self.slots[slot] = Some(options.open(path)?);
                Ok(String::new())
            }

            fn on_file(file: &mut $($fs)::+::File, op: &Op) -> io::Result<String> {
                match op {
                    Op::ReadHeld(_, len) => {
                        let mut bytes = Vec::new();
                        file.take(*len as u64).read_to_end(&mut bytes)?;
                        Ok(digest(&bytes))
                    }
                    Op::WriteHeld(_, bytes) => file.write_all(&bytes.make()).map(nothing),
                    // The offsets of a directory are its file system's own affair.
                    Op::Seek(..) if file.metadata()?.is_dir() => Ok(String::new()),
                    Op::Seek(_, to) => file.seek(*to).map(|at| at.to_string()),
                    Op::ReadAtHeld(_, at, len) => {
                        let mut bytes = vec![0; *len];
                        let mut done = 0;
                        while done < bytes.len() {
                            match file.read_at(&mut bytes[done..], at + done as u64)? {
                                0 => break,
                                n => done += n,
                            }
                        }
                        Ok(digest(&bytes[..done]))
                    }
                    Op::WriteAtHeld(_, at, bytes) => {
                        file.write_all_at(&bytes.make(), *at).map(nothing)
                    }
                    Op::SetLenHeld(_, len) => file.set_len(*len).map(nothing),
                    Op::StatHeld(_) => {
                        let m = file.metadata()?;
                        Ok(match m.is_dir() {
                            true => format!("dir {:o}", m.mode() & 0o7777),
                            false => format!("file {:o} {} {}", m.mode() & 0o7777, m.len(), m.nlink()),
                        })
                    }
                    Op::ChmodHeld(_, mode) => {
                        file.set_permissions($($fs)::+::Permissions::from_mode(*mode)).map(nothing)
                    }
                    Op::SetTimesHeld(_, secs) => file.set_modified(time(*secs)).map(nothing),
                    Op::SyncHeld(_) => file.sync_all().map(nothing),
                    _ => unreachable!("{op:?} is not about an open file"),
                }
            }

            fn on_path(root: &Path, op: &Op) -> io::Result<String> {
                use $($fs)::+ as fs;
                let at = |name: &str| join(root, name);
                match op {
                    Op::Write(p, bytes) => fs::write(at(p), bytes.make()).map(nothing),
                    Op::Append(p, bytes) => {
                        let mut file = fs::OpenOptions::new().append(true).open(at(p))?;
                        file.write_all(&bytes.make()).map(nothing)
                    }
                    Op::WriteAt(p, offset, bytes) => {
                        let mut file = fs::OpenOptions::new().write(true).open(at(p))?;
                        file.seek(SeekFrom::Start(*offset))?;
                        file.write_all(&bytes.make()).map(nothing)
                    }
                    Op::SetLen(p, len) => {
                        fs::OpenOptions::new().write(true).open(at(p))?.set_len(*len).map(nothing)
                    }
                    Op::CreateNew(p) => fs::File::create_new(at(p)).map(|_| String::new()),
                    Op::Read(p) => fs::read(at(p)).map(|bytes| digest(&bytes)),
                    Op::CreateDir(p) => fs::create_dir(at(p)).map(nothing),
                    Op::CreateDirMode(p, mode) => {
                        fs::DirBuilder::new().mode(*mode).create(at(p)).map(nothing)
                    }
                    Op::CreateDirAll(p) => fs::create_dir_all(at(p)).map(nothing),
                    Op::RemoveFile(p) => fs::remove_file(at(p)).map(nothing),
                    Op::RemoveDir(p) => fs::remove_dir(at(p)).map(nothing),
                    Op::RemoveDirAll(p) => fs::remove_dir_all(at(p)).map(nothing),
                    Op::Rename(a, b) => fs::rename(at(a), at(b)).map(nothing),
                    Op::RenameNew(a, b) => $rename(root, a, b, false).map(nothing),
                    Op::Exchange(a, b) => $rename(root, a, b, true).map(nothing),
                    Op::HardLink(a, b) => fs::hard_link(at(a), at(b)).map(nothing),
                    Op::Symlink(target, p) => $symlink(target, at(p)).map(nothing),
                    Op::ReadLink(p) => fs::read_link(at(p)).map(|t| t.display().to_string()),
                    Op::Copy(a, b) => fs::copy(at(a), at(b)).map(|n| n.to_string()),
                    Op::Chmod(p, mode) => {
                        fs::set_permissions(at(p), fs::Permissions::from_mode(*mode)).map(nothing)
                    }
                    Op::SetTimes(p, secs) => $set_times(at(p), time(*secs)).map(nothing),
                    Op::Stat(p) => fs::metadata(at(p)).map(|m| match m.is_dir() {
                        true => format!("dir {:o}", m.mode() & 0o7777),
                        false => format!("file {:o} {} {}", m.mode() & 0o7777, m.len(), m.nlink()),
                    }),
                    Op::Lstat(p) => fs::symlink_metadata(at(p)).map(|m| match m.is_dir() {
                        true => format!("dir {:o}", m.mode() & 0o7777),
                        false => format!("{} {:o} {}", m.is_symlink(), m.mode() & 0o7777, m.len()),
                    }),
                    Op::Exists(p) => fs::exists(at(p)).map(|there| there.to_string()),
                    Op::ReadDir(p) => {
                        let entries: Vec<_> = fs::read_dir(at(p))?.collect::<io::Result<_>>()?;
                        let mut names: Vec<_> = entries.iter().map(|e| e.file_name()).collect();
                        names.sort();
                        Ok(format!("{names:?}"))
                    }
                    Op::Canonicalize(p) => {
                        let path = fs::canonicalize(at(p))?;
                        let below = path.strip_prefix(root);
                        Ok(below.map_or_else(|_| "outside".into(), |p| p.display().to_string()))
                    }
                    _ => unreachable!("{op:?} is not about a path"),
                }
            }
        }
    };
}

subject!(Plain, std::fs, std::os::unix::fs::symlink, set_times_on_disk, rename_on_disk);
subject!(
    Mirror,
    testbench_overlay::fs,
    testbench_overlay::fs::symlink,
    set_times_in_overlay,
    rename_in_overlay
);

fn nothing((): ()) -> String {
    String::new()
}

/// Textually, so that what stands at the end of a name stays.
pub(crate) fn join(root: &Path, name: &str) -> PathBuf {
    PathBuf::from(format!("{}/{name}", root.display()))
}
